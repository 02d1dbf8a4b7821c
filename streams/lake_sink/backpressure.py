"""How far ahead of what can be written records are read: memory is bounded, and there is always a way on.

Must not read or write anything.
"""

from streams.lake_sink.buffer import Share
from streams.lake_sink.cut import INPUTS, Pending
from streams.ledger.entry import LedgerRecord

__all__ = ["is_full", "size_of", "to_pause"]


def size_of(pending: Pending) -> int:
    """Return the bytes that wait of a partition."""
    return sum(waiting.size for waiting in pending.waiting.values())


def is_full(pending: Pending, share: Share) -> bool:
    """Tell whether so much waits of a partition that it should be written now."""
    return size_of(pending) > share.size or sum(map(_spoken_of, pending.entries)) > share.records


def to_pause(pending: Pending, share: Share, paused: frozenset[str]) -> frozenset[str]:
    """Return the tables whose topics should not be read for now, because what came of them could not be written.

    What the first step lacks is read in any case. What is paused goes on only when half of the room is free: each
    pause throws away what was fetched already.

    Args:
        pending: of one partition.
        share: of the memory.
        paused: what is paused.
    """
    lacking = _lacking(pending)
    size = size_of(pending)
    near = _near(pending, share)
    found = set()
    for table in set(pending.waiting) - lacking:
        room = share.half() if table in paused else share
        if size > room.size or _ahead(pending, table, near) > room.records:
            found.add(table)
    return frozenset(found)


def _lacking(pending: Pending) -> set[str]:
    """Return what the first step lacks."""
    if not pending.entries:
        return {"ledger"}
    first = pending.entries[0]
    lacking = {name for name in INPUTS if pending.waiting[name].position < getattr(first, name)[1]}
    if len(pending.waiting["outcomes"].messages) < pending.new(first, "outcomes"):
        lacking.add("outcomes")
    if sum(number is not None for number in pending.numbers) < pending.new(first, "rejects"):
        lacking.add("rejects")
    return lacking


def _near(pending: Pending, share: Share) -> list[LedgerRecord]:
    """Return the steps that come next: the first one, and more as long as they speak of no more than there is room."""
    spoken = 0
    for count, entry in enumerate(pending.entries):
        spoken += _spoken_of(entry)
        if spoken > share.records:
            return pending.entries[: max(count, 1)]
    return pending.entries


def _ahead(pending: Pending, table: str, near: list[LedgerRecord]) -> int:
    """Return how much was read of a topic beyond what comes next; of the ledger, what its steps speak of."""
    waiting = pending.waiting[table]
    if table == "ledger":
        return sum(map(_spoken_of, pending.entries))
    if table in INPUTS:
        return waiting.count_from(getattr(near[-1], table)[1] if near else 0)
    return len(waiting.messages) - sum(pending.new(entry, table) for entry in near)


def _spoken_of(entry: LedgerRecord) -> int:
    inputs = entry.predictions[1] - entry.predictions[0] + entry.labels[1] - entry.labels[0]
    return inputs + entry.outcomes + entry.rejects
