"""Maps rejected records again, and sends those that can be read now, each once.

A record is read again from its source topic, with its key, headers and time; where it is not there any more, the bytes
that its reject kept are taken. Messages and marks are one transaction. All redrives of a loop have one transactional
id, so a new producer ends any other redrive; marks are read after it was made, and again after each further one. So a
record that two of them find is sent by one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, NamedTuple

import msgspec
from confluent_kafka import Message

from schemas.base.status import RejectReason
from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from schemas.errors import BrokerError
from streams.columns.digest import record_digest
from streams.columns.schema import Role
from streams.ingest.mapper import MappedMessages, TopicMapper
from streams.ingest.preflight import canonical_bytes_max
from streams.ingest.sending import send_records, send_rejects
from streams.kafka.client import KafkaClients
from streams.kafka.fencing import FencedError
from streams.kafka.messages import SourceMessages, metadata_paths
from streams.kafka.range import read_records
from streams.kafka.topics import Topics, partition_counts
from streams.kafka.transaction import Transactions, TransactionUndoneError
from streams.mapping.tools import MappingTools
from streams.messages.reject import RejectMessage
from streams.repair.reject_log import KeptReject, RejectChoice, RejectedRecord, RejectLog

__all__ = ["Redrive", "RedriveCounts"]

ROLE: Final = "repair"
RECORDS_PER_STEP: Final = 500
"""Of one transaction."""

_UNREAD: Final = frozenset(
    {
        RejectReason.NOT_JSON,
        RejectReason.NOT_AN_OBJECT,
        RejectReason.DUPLICATE_JSON_KEY,
        RejectReason.TOO_DEEP,
        RejectReason.AVRO_OR_PROTOBUF,
        RejectReason.UNKNOWN_SCHEMA,
        RejectReason.UNDECODABLE,
        RejectReason.CRASHED_THE_PROCESS,
    }
)
"""Reasons for which no source of the topic has seen the record; others are those of one source."""

NO_SOURCE: Final = "no source of the config reads the topic"
NOT_THERE: Final = "the record is not in its topic any more, and no bytes were kept"
NO_METADATA: Final = "the record is not in its topic any more, and the mapping needs its key, time or headers"
DANGEROUS: Final = f"the record has killed the process; --reason {RejectReason.CRASHED_THE_PROCESS} tries it"
NOT_SELECTED: Final = "no source selects it now"


@dataclass
class RedriveCounts:
    """What a redrive has done.

    Attributes:
        repaired: records that were taken again.
        refused: records that the mapping rejects again, by source and reason.
        left: records that could not be tried, or that no source selects, by source and why.
    """

    repaired: int = 0
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)


class _Readers(NamedTuple):
    """The sources of a topic that are to see a record.

    Attributes:
        role: None: all of them.
    """

    topic: str
    role: Role | None

    @classmethod
    def of(cls, reject: RejectMessage) -> "_Readers":
        return cls(reject.source, None if reject.reason in _UNREAD else reject.input)

    def among(self, sources: Iterable[SourceMap]) -> list[SourceMap]:
        return [one for one in sources if one.topic == self.topic and self.role in (None, one.as_)]


@dataclass(frozen=True)
class _Batch:
    """Rejected records that the same sources are to see, with what they are made of."""

    readers: _Readers
    rejects: list[KeptReject]
    messages: SourceMessages


class Redrive:
    """One run over the rejects of a loop.

    Args:
        now_ms: of the run: when the records arrive.
        transactions: with the transactional id of the loop's redrives.
    """

    def __init__(
        self, clients: KafkaClients, config: LoopConfig, tools: MappingTools, now_ms: int, transactions: Transactions
    ) -> None:
        self._clients = clients
        self._config = config
        self._tools = tools
        self._now_ms = now_ms
        self._topics = Topics.of(config)
        self._log = RejectLog(clients, self._topics)
        self._transactions = transactions
        self._counts = RedriveCounts()
        self._mappers: dict[_Readers, TopicMapper] = {}
        self._producers_at_reading = 0

    @staticmethod
    def transactional_id(topics: Topics) -> str:
        """Return the transactional id of all redrives of a loop: a new one ends the one before."""
        return topics.transactional_id(ROLE, "0")

    def run(self, choice: RejectChoice, *, dry_run: bool = False) -> RedriveCounts:
        """Take the chosen records again.

        Args:
            dry_run: map them, and send nothing.

        Raises:
            BrokerError: the cluster does not answer or refuses, or another redrive runs. What was sent is marked, so
                that the next run goes on after it.
            RegistryAway: a schema cannot be read now.
        """
        try:
            if not dry_run:
                self._transactions.open()
            self._read_log()
            for batch in self._batches(self._chosen(choice)):
                clean, mapped = self._map(batch)
                if clean and not dry_run:
                    self._commit(clean, mapped)
                self._counts.repaired += len(clean)
        except TransactionUndoneError as error:
            raise BrokerError(
                f"{error}, and its records were not taken again",
                where=f"kafka {self._clients.bootstrap_servers}",
                hint="Run it again: records that were taken again before are marked, and are not sent twice.",
            ) from None
        except FencedError:
            raise BrokerError(
                "another redrive of this loop has begun, and goes on with what is left",
                where=f"kafka {self._clients.bootstrap_servers}",
                hint="One at a time is enough. What was sent is marked, and is not sent twice.",
            ) from None
        finally:
            self._transactions.abandon()
        return self._counts

    def _read_log(self) -> None:
        self._producers_at_reading = self._transactions.producers
        self._log.read()

    def _chosen(self, choice: RejectChoice) -> list[KeptReject]:
        """Return the rejects to try: those that have killed a process only where they are asked for."""
        found, crashed = self._log.unrepaired(choice), RejectReason.CRASHED_THE_PROCESS
        if choice.reason == crashed:
            return found
        self._counts.left.update((one.reject.source, DANGEROUS) for one in found if one.reject.reason == crashed)
        return [one for one in found if one.reject.reason != crashed]

    def _batches(self, rejects: Iterable[KeptReject]) -> Iterator[_Batch]:
        """Yield the records that can be read again, in the order of their places; count the others."""
        groups: dict[_Readers, list[KeptReject]] = {}
        for one in sorted(rejects, key=lambda one: RejectedRecord.of(one.reject)):
            groups.setdefault(_Readers.of(one.reject), []).append(one)
        counts = partition_counts(self._clients, {readers.topic for readers in groups})
        for readers, some in groups.items():
            if not readers.among(self._config.ingest):
                self._counts.left[readers.topic, NO_SOURCE] += len(some)
                continue
            for first in range(0, len(some), RECORDS_PER_STEP):
                found = self._records(readers, some[first : first + RECORDS_PER_STEP], counts.get(readers.topic, 0))
                if found.rejects:
                    yield found

    def _records(self, readers: _Readers, rejects: Sequence[KeptReject], partitions: int) -> _Batch:
        source = readers.topic
        needs_metadata = any(metadata_paths(one) for one in readers.among(self._config.ingest))
        messages, originals = self._messages(source, rejects, partitions), self._log.originals(rejects)
        kept, found = list[KeptReject](), SourceMessages(source)
        for one in rejects:
            number, offset = one.reject.source_partition, one.reject.source_row
            message, original = messages.get((number, offset)), originals.get((one.partition, one.offset))
            if message is not None and record_digest(message.value() or b"") == one.reject.digest:
                found.extend(SourceMessages.of(source, [message]))
            elif original is None:
                self._counts.left[source, NOT_THERE] += 1
                continue
            elif needs_metadata:
                self._counts.left[source, NO_METADATA] += 1
                continue
            else:
                found.extend(SourceMessages(source, [original], [number], [offset], [-1], [None], [None]))
            kept.append(one)
        return _Batch(readers, kept, found)

    def _messages(self, source: str, rejects: Sequence[KeptReject], partitions: int) -> dict[tuple[int, int], Message]:
        """Return the records that are still in their topic, by partition and offset."""
        found: dict[tuple[int, int], Message] = {}
        for number, some in groupby(rejects, key=lambda one: one.reject.source_partition):
            offsets = [one.reject.source_row for one in some]
            if number < partitions:
                records = read_records(self._clients, source, number, offsets)
                found |= {(number, offset): message for offset, message in records.items()}
        return found

    def _map(self, batch: _Batch) -> tuple[list[KeptReject], MappedMessages]:
        """Return the records that can be taken again, with their messages; count the others."""
        topic, mapper = batch.readers.topic, self._mapper(batch.readers)
        mapped = mapper.map(batch.messages, self._now_ms)
        refused = {(one.source_partition, one.source_row): one.reason for one in mapped.rejects}
        places = list(zip(batch.messages.partitions, batch.messages.offsets, strict=True))
        self._counts.refused.update((topic, refused[place]) for place in places if place in refused)
        readable = [index for index, place in enumerate(places) if place not in refused]
        if refused:
            mapped = mapper.map(batch.messages.at(readable), self._now_ms)
        if mapped.filtered:
            taken = [at for at in readable if not mapper.map(batch.messages.part(at, at + 1), self._now_ms).filtered]
            self._counts.left[topic, NOT_SELECTED] += len(readable) - len(taken)
            readable = taken
        return [batch.rejects[index] for index in readable], mapped

    def _mapper(self, readers: _Readers) -> TopicMapper:
        if readers not in self._mappers:
            config = self._config.model_copy(update={"ingest": readers.among(self._config.ingest)})
            limit = canonical_bytes_max(config)
            self._mappers[readers] = TopicMapper(readers.topic, config, self._tools, limit, self._now_ms)
        return self._mappers[readers]

    def _commit(self, rejects: Sequence[KeptReject], mapped: MappedMessages) -> None:
        """Send messages and marks, unless another redrive has taken some of the records meanwhile."""
        self._transactions.begin()
        if self._transactions.producers != self._producers_at_reading:
            self._read_log()
        if any(RejectedRecord.of(one.reject) in self._log.repaired_at_ms for one in rejects):
            raise TransactionUndoneError("another redrive has taken some of its records meanwhile")
        send_records(self._transactions, self._topics, mapped)
        marks = (
            (one.partition, msgspec.structs.replace(one.reject, stage="repair", seen_at=self._now_ms, detail=None))
            for one in rejects
        )
        send_rejects(self._transactions, self._topics, marks)
        self._transactions.commit_messages()
