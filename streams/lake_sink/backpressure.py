"""Which topics are paused because more was read of them than can be written, so that memory stays bounded."""

from streams.lake_sink.buffer import MemoryShare
from streams.lake_sink.cut import INPUTS, PendingPartition
from streams.ledger.entry import LedgerRecord

__all__ = ["is_full", "tables_to_pause"]


def is_full(pending: PendingPartition, share: MemoryShare) -> bool:
    """Tell whether so much of a partition waits that it should be written now."""
    return _size(pending) > share.size or sum(map(_record_count, pending.entries)) > share.records


def tables_to_pause(pending: PendingPartition, share: MemoryShare, paused: frozenset[str]) -> frozenset[str]:
    """Return the tables whose topics should be paused, because their messages cannot be written yet.

    A topic that the first step needs is never paused, so that there is always progress. A paused topic is resumed only
    when half of its share is free: each pause drops what the client has fetched in advance.

    Args:
        paused: tables that are paused now.
    """
    needed = _needed(pending)
    size = _size(pending)
    steps = _next_steps(pending, share)
    found = set()
    for table in set(pending.buffers) - needed:
        limit = share.half() if table in paused else share
        if size > limit.size or _records_ahead(pending, table, steps) > limit.records:
            found.add(table)
    return frozenset(found)


def _size(pending: PendingPartition) -> int:
    return sum(buffer.size for buffer in pending.buffers.values())


def _needed(pending: PendingPartition) -> set[str]:
    """Return the tables of which the first step still lacks messages."""
    if not pending.entries:
        return {"ledger"}
    first = pending.entries[0]
    needed = {name for name in INPUTS if pending.buffers[name].position < getattr(first, name)[1]}
    if len(pending.buffers["outcomes"].messages) < pending.unwritten_rows(first, "outcomes"):
        needed.add("outcomes")
    if sum(step is not None for step in pending.reject_steps) < pending.unwritten_rows(first, "rejects"):
        needed.add("rejects")
    return needed


def _next_steps(pending: PendingPartition, share: MemoryShare) -> list[LedgerRecord]:
    """Return the first step, and those after it as long as their records fit into the share."""
    records = 0
    for count, entry in enumerate(pending.entries):
        records += _record_count(entry)
        if records > share.records:
            return pending.entries[: max(count, 1)]
    return pending.entries


def _records_ahead(pending: PendingPartition, table: str, steps: list[LedgerRecord]) -> int:
    """Return how many messages were read beyond the next steps; of the ledger, the records that its steps count."""
    buffer = pending.buffers[table]
    if table == "ledger":
        return sum(map(_record_count, pending.entries))
    if table in INPUTS:
        return buffer.count_from(getattr(steps[-1], table)[1] if steps else 0)
    return len(buffer.messages) - sum(pending.unwritten_rows(entry, table) for entry in steps)


def _record_count(entry: LedgerRecord) -> int:
    inputs = entry.predictions[1] - entry.predictions[0] + entry.labels[1] - entry.labels[0]
    return inputs + entry.outcomes + entry.rejects
