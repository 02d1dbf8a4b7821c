"""Reads the ledger topic from its end: a partition's newest entry, or the entries of a range of steps.

Steps are numbered without gaps, so a few offsets before the end are enough to find the newest entries.
"""

import time

from streams.kafka.client import KafkaClients
from streams.kafka.range import VISIBLE_WITHIN_S, offset_bounds, read_range
from streams.ledger.entry import LedgerRecord

__all__ = ["LedgerReader"]

OFFSETS_PER_ENTRY = 2
"""An entry and the marker of its transaction; aborted transactions leave more."""

SLACK = 64
"""Offsets that are read in addition, for aborted transactions."""


class LedgerReader:
    """Reads one loop's ledger topic."""

    def __init__(self, clients: KafkaClients, topic: str) -> None:
        self._clients = clients
        self._topic = topic

    def last(self, partition: int) -> LedgerRecord | None:
        """Return a partition's newest committed entry, or None if it has none."""
        found = self._tail(partition, SLACK)
        back = SLACK
        low, high = self._ends(partition)
        while not found and high - back > low:
            back *= 8
            found = self._tail(partition, back)
        return found[-1] if found else None

    def between(self, partition: int, first: int, following: int) -> list[LedgerRecord] | None:
        """Return the entries with sequences in [first, following), or None if some of them are missing.

        Waits for the newest to become visible: a transaction's markers reach its partitions one by one.
        """
        if first >= following:
            return []
        deadline = time.monotonic() + VISIBLE_WITHIN_S
        back = (following - first) * OFFSETS_PER_ENTRY + SLACK
        while True:
            low, high = self._ends(partition)
            entries = self._tail(partition, back)
            if entries and entries[-1].sequence < following - 1:
                if time.monotonic() > deadline:
                    return None
                continue
            wanted = [entry for entry in entries if first <= entry.sequence < following]
            if len(wanted) == following - first:
                return wanted
            if high - back <= low:
                return None
            back *= 8

    def _tail(self, partition: int, back: int) -> list[LedgerRecord]:
        low, high = self._ends(partition)
        pieces = read_range(self._clients, self._topic, partition, max(low, high - back), high, until_end=True)
        return [LedgerRecord.decode(value) for messages in pieces for value in messages.values]

    def _ends(self, partition: int) -> tuple[int, int]:
        reader = self._clients.reader()
        try:
            return offset_bounds(self._clients, reader, self._topic, partition)
        finally:
            reader.close()
