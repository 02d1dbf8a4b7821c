"""Entries of the ledger topic, found from its end: they are dense there, so the newest are quickly reached.

Must not judge what the entries say.
"""

import time
from collections.abc import Iterator

from streams.kafka.client import KafkaClients
from streams.kafka.range import PATIENCE_S, read_range, watermarks
from streams.ledger.entry import LedgerRecord

__all__ = ["LedgerReader"]

OFFSETS_PER_ENTRY = 2
"""An entry and the mark of its transaction; aborted ones leave more."""

SLACK = 64


class LedgerReader:
    """Reads one loop's ledger topic.

    Args:
        clients: of the cluster.
        topic: the ledger's name.
    """

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
        """Return the entries with sequences in [first, following), or None if they are not all there.

        The newest may take a moment to become visible: the marks of a transaction arrive one by one.
        """
        if first >= following:
            return []
        deadline = time.monotonic() + PATIENCE_S
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
        return list(self._read(partition, max(low, high - back), high))

    def _read(self, partition: int, first: int, following: int) -> Iterator[LedgerRecord]:
        for messages in read_range(self._clients, self._topic, partition, first, following, as_it_is=True):
            for value in messages.values:
                yield LedgerRecord.decode(value)

    def _ends(self, partition: int) -> tuple[int, int]:
        reader = self._clients.reader()
        try:
            return watermarks(self._clients, reader, self._topic, partition)
        finally:
            reader.close()
