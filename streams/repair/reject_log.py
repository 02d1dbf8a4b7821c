"""The rejects of a loop's topic, and which of them have been repaired: each repair leaves a mark in the same topic."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import msgspec

from streams.kafka.client import KafkaClients
from streams.kafka.range import offset_bounds, read_range, read_records
from streams.kafka.topics import Topics
from streams.messages.reject import RejectMessage

__all__ = ["KeptReject", "RejectChoice", "RejectLog", "RejectedRecord"]


class RejectedRecord(NamedTuple):
    """The identity of a rejected record: its place, what it was read as, and its digest, for topics are recreated."""

    source: str
    partition: int
    offset: int
    input: str
    digest: int

    @classmethod
    def of(cls, reject: RejectMessage) -> "RejectedRecord":
        """Return the record that a reject is about."""
        return cls(reject.source, reject.source_partition, reject.source_row, reject.input, reject.digest or 0)


@dataclass(frozen=True, slots=True)
class RejectChoice:
    """Which rejects are asked for; None: all."""

    reason: str | None = None
    source: str | None = None

    def has(self, reject: RejectMessage) -> bool:
        """Tell whether a reject is among them."""
        return self.reason in (None, reject.reason) and self.source in (None, reject.source)


@dataclass(frozen=True, slots=True)
class KeptReject:
    """One reject as the log keeps it.

    Attributes:
        reject: without the record's bytes.
        partition: of the topic of rejects.
        offset: in that partition; the record's bytes are there, if they are kept.
        has_original: whether they are.
    """

    reject: RejectMessage
    partition: int
    offset: int
    has_original: bool


class RejectLog:
    """Reads the topic of rejects, and reads on from where it was.

    Attributes:
        rejects: in the order in which each partition has them.
        repaired_at_ms: when a record was taken again.
    """

    def __init__(self, clients: KafkaClients, topics: Topics) -> None:
        self._clients = clients
        self._topic = topics.rejects
        self._partitions = topics.partitions
        self._positions: dict[int, int] = {}
        self.rejects: list[KeptReject] = []
        self.repaired_at_ms: dict[RejectedRecord, int] = {}

    def read(self) -> None:
        """Read all that is in the topic by now and was not read yet.

        Raises:
            BrokerError: the cluster does not answer, or denies it.
        """
        for number, (first, following) in self._unread().items():
            for piece in read_range(self._clients, self._topic, number, first, following):
                for offset, value in zip(piece.offsets, piece.values, strict=True):
                    self._take(number, offset, value)
            self._positions[number] = following

    def unrepaired(self, choice: RejectChoice) -> list[KeptReject]:
        """Return the rejects of the mapping that were not taken again, each record once: by its latest reject."""
        latest = {RejectedRecord.of(one.reject): one for one in self.chosen(choice) if one.reject.stage == "mapping"}
        return [one for record, one in latest.items() if record not in self.repaired_at_ms]

    def chosen(self, choice: RejectChoice) -> Iterator[KeptReject]:
        """Yield the rejects that are asked for, repaired ones included."""
        return (one for one in self.rejects if choice.has(one.reject))

    def repaired_ms(self, one: KeptReject) -> int | None:
        """Return when the record of a reject was taken again; None if it was not. Those of the join never are."""
        return self.repaired_at_ms.get(RejectedRecord.of(one.reject)) if one.reject.stage == "mapping" else None

    def originals(self, rejects: Iterable[KeptReject]) -> dict[tuple[int, int], bytes]:
        """Return the records' bytes that rejects kept, by partition and offset of the reject.

        Raises:
            BrokerError: the cluster does not answer, or denies it.
        """
        found: dict[tuple[int, int], bytes] = {}
        kept = sorted((one.partition, one.offset) for one in rejects if one.has_original)
        for number, some in groupby(kept, key=itemgetter(0)):
            records = read_records(self._clients, self._topic, number, [offset for _, offset in some])
            for offset, message in records.items():
                original = RejectMessage.decode(message.value() or b"").original
                if original is not None:
                    found[number, offset] = original
        return found

    def _unread(self) -> dict[int, tuple[int, int]]:
        """Return the offsets to read, by partition."""
        reader = self._clients.reader()
        try:
            bounds = {
                number: offset_bounds(self._clients, reader, self._topic, number) for number in range(self._partitions)
            }
        finally:
            reader.close()
        return {number: (max(low, self._positions.get(number, low)), high) for number, (low, high) in bounds.items()}

    def _take(self, partition: int, offset: int, value: bytes) -> None:
        try:
            reject = RejectMessage.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        if reject.stage == "repair":
            self.repaired_at_ms[RejectedRecord.of(reject)] = reject.seen_at
            return
        bare = msgspec.structs.replace(reject, original=None)
        self.rejects.append(KeptReject(bare, partition, offset, has_original=reject.original is not None))
