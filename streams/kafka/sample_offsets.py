"""Which offsets of a topic make a sample: its newest records, and blocks spread over all that is there.

Must not read anything.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["Block", "sample_plan"]

BLOCKS: Final = 8
"""Pieces of each partition beside its newest records. Each costs one round trip, all partitions together."""

PHASE: Final = 0.618_034
"""Golden section: the blocks of different partitions lie at different depths, so that together they miss little."""

Block = tuple[int, int]
"""First offset, and the one after the last."""


def sample_plan(ranges: Mapping[int, Block], records: int) -> list[dict[int, Block]]:
    """Return which offsets to read, in rounds of one block a partition.

    A topic with no more than `records` is read whole. Of others the first round has the newest half, and the
    following ones lie evenly over what is before them.

    Args:
        ranges: what is there, by partition.
        records: how many to read; each partition that has any gives one at least.
    """
    rounds: list[dict[int, Block]] = [{} for _ in range(BLOCKS + 1)]
    for partition, share in _shares(ranges, records).items():
        low, high = ranges[partition]
        spread = share // 2 if share < high - low else 0
        newest = high - (share - spread)
        rounds[0][partition] = (newest, high)
        blocks = min(BLOCKS, spread)
        for at in range(blocks):
            count = spread // blocks + (at < spread % blocks)
            step = (newest - low) / blocks
            slack = max(step - count, 0)
            first = low + int(at * step + slack * ((partition * PHASE) % 1))
            rounds[at + 1][partition] = (first, min(first + count, newest))
    return [blocks for blocks in rounds if blocks]


def _shares(ranges: Mapping[int, Block], records: int) -> dict[int, int]:
    """Divide the records among the partitions: equally, and what small ones leave goes to the others."""
    sizes = sorted((high - low, partition) for partition, (low, high) in ranges.items() if high > low)
    shares = {}
    for at, (size, partition) in enumerate(sizes):
        shares[partition] = min(size, max(1, records // (len(sizes) - at)))
        records = max(records - shares[partition], 0)
    return shares
