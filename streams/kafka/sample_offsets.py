"""Chooses the offsets of a topic's sample: its newest records, and blocks spread over the older ones.

Pure: `streams.kafka.sample` reads them.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["Block", "sample_plan"]

BLOCKS: Final = 8
"""Blocks of each partition besides its newest records. Each costs one round trip for all partitions together."""

PHASE: Final = 0.618_034
"""Golden ratio: it shifts the blocks of each partition differently, so that together they cover most of the time."""

Block = tuple[int, int]
"""First offset, and the offset after the last."""


def sample_plan(ranges: Mapping[int, Block], records: int) -> list[dict[int, Block]]:
    """Return the offsets to read, in rounds of one block a partition.

    A topic with at most `records` offsets is read whole. Of a larger one, the first round has the newest half of the
    sample, and the following rounds are spread evenly over the older offsets.

    Args:
        ranges: available offsets by partition.
        records: number of offsets to read; every partition that is not empty gives at least one.
    """
    rounds: list[dict[int, Block]] = [{} for _ in range(BLOCKS + 1)]
    for partition, share in _shares(ranges, records).items():
        low, high = ranges[partition]
        spread = share // 2 if share < high - low else 0
        newest = high - (share - spread)
        rounds[0][partition] = (newest, high)
        blocks = min(BLOCKS, spread)
        left_out = newest - low - spread  # before, between and after the blocks
        for at in range(blocks):
            count = spread // blocks + (at < spread % blocks)
            before = at * (spread // blocks) + min(at, spread % blocks)
            first = low + before + int(left_out * (at + (partition * PHASE) % 1) / blocks)
            rounds[at + 1][partition] = (first, first + count)
    return [blocks for blocks in rounds if blocks]


def _shares(ranges: Mapping[int, Block], records: int) -> dict[int, int]:
    """Divide the records among the partitions: equally, except that small ones leave their rest to the others."""
    sizes = sorted((high - low, partition) for partition, (low, high) in ranges.items() if high > low)
    shares = {}
    for at, (size, partition) in enumerate(sizes):
        shares[partition] = min(size, max(1, records // (len(sizes) - at)))
        records = max(records - shares[partition], 0)
    return shares
