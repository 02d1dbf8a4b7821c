"""Positions of the lake in every topic partition: they alone decide where the lake writer reads on.

Each table keeps its own positions, in the same commits as its rows, under application ids that contain the topic's id:
so a recreated topic is not taken for the one before. Kafka's committed offsets are not used.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import xxhash
from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its public name

from lake import Claim, Lake
from schemas.errors import LakeError
from streams.kafka.client import REQUEST_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.topics import Topics
from streams.lake_sink.buffer import LakePosition
from streams.lake_sink.cut import INPUTS, STEPPED, TABLES, Cut, PendingPartition
from streams.ledger.row import LedgerRow
from streams.ledger.table import rows_of

__all__ = ["LakeProgress", "TopicMismatchError"]

_LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library has no types there
_EARLIEST: Any = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the same

_ID_BITS = 62
"""Bits of a topic's id that are stored as a number, as Delta stores a version; the number is never 0."""


class TopicMismatchError(LakeError):
    """A topic is not the one that the lake was filled from, or ends before the lake does."""


@dataclass(frozen=True)
class _TopicEnds:
    """Ends of topic partitions.

    Attributes:
        committed: by partition, the end of the ledger's committed records; it was read before the others.
        high: by (table, partition), the offset after the last record.
        low: by (table, partition), the offset of the first record that is still there.
    """

    committed: dict[int, int]
    high: dict[tuple[str, int], int]
    low: dict[tuple[str, int], int]


@dataclass(frozen=True)
class _TableState:
    """Progress of one table in one partition.

    Attributes:
        written: the table has all records before this offset.
        steps_held: number of steps that it has; 0 for tables without steps.
        is_new: it has never had a record of the topic.
    """

    written: int
    steps_held: int
    is_new: bool


class LakeProgress:
    """Reads the positions of one lake, and checks them against the topics."""

    def __init__(self, clients: KafkaClients, topics: Topics, lake: Lake) -> None:
        self._clients = clients
        self._admin = clients.admin()
        self._topics = {table: topics.name(table) for table in TABLES}
        self._lake = lake
        self._ids: dict[str, str] = {}

    def find(self, numbers: Iterable[int]) -> tuple[dict[int, PendingPartition], dict[int, TopicMismatchError]]:
        """Return partitions at their positions, with nothing read yet; and errors of those that must be stopped.

        Raises:
            BrokerError: the cluster does not answer, or a topic does not exist.
            LakeError: the lake cannot be read.
        """
        wanted = sorted(numbers)
        self._ids = self._topic_ids()
        ends = self._ends(wanted)
        found: dict[int, PendingPartition] = {}
        faults: dict[int, TopicMismatchError] = {}
        for number in wanted:
            try:
                found[number] = self._pending(number, ends)
            except TopicMismatchError as error:
                faults[number] = error
        return found, faults

    def is_current(self) -> bool:
        """Tell whether no topic was recreated since `find`; everything read before this call is of those topics.

        Raises:
            BrokerError: the cluster does not answer, or a topic does not exist.
        """
        return self._topic_ids() == self._ids

    def claims(self, table: str, pending: PendingPartition, cut: Cut) -> list[Claim]:
        """Return the claims of appending a cut to a table; none where the table has all of it."""
        number, buffer = cut.partition, pending.buffers[table]
        claims = [Claim(self._app(table, number), buffer.written, cut.following[table])]
        if table in STEPPED:
            held = pending.steps_held[table]
            claims.append(Claim(self._steps_app(number), held, max(held, pending.steps)))
        if all(claim.first == claim.following for claim in claims):
            return []
        if buffer.is_new:
            claims.append(Claim(self._id_app(table, number), 0, self._id_number(table)))
        return claims

    def _pending(self, number: int, ends: _TopicEnds) -> PendingPartition:
        # the ledger first: it is written last, so whatever another writer does meanwhile, no other table is behind it
        states = {table: self._state(table, number) for table in reversed(TABLES)}
        steps = states["ledger"].steps_held
        row = self._last_row(number, steps) if steps else None
        passed = {} if row is None else {name: getattr(row, name)[1] for name in INPUTS}
        starts = {
            table: self._start(table, number, state, passed.get(table, 0), ends) for table, state in states.items()
        }
        steps_held = {table: states[table].steps_held for table in STEPPED}
        return PendingPartition(number, starts, steps_held, None if row is None else row.checkpoint)

    def _state(self, table: str, number: int) -> _TableState:
        """Return the progress of a table in one partition, read from one version of the table.

        Raises:
            TopicMismatchError: the table was filled from another topic of that name.
        """
        while True:
            version = self._lake.version(table)
            known = self._lake.applied(table, self._id_app(table, number))
            state = _TableState(
                self._lake.applied(table, self._app(table, number)),
                self._lake.applied(table, self._steps_app(number)) if table in STEPPED else 0,
                is_new=known == 0,
            )
            if self._lake.version(table) == version:
                break
        if known not in (0, self._id_number(table)):
            raise self._mismatch(
                table,
                number,
                "was recreated: the lake holds records of an earlier topic of this name",
                "Their offsets would be mixed up. Give the loop another lake (lake.uri).",
            )
        return state

    def _start(self, table: str, number: int, state: _TableState, passed: int, ends: _TopicEnds) -> LakePosition:
        needed = max(state.written, passed)
        low, high = ends.low[table, number], ends.high[table, number]
        if needed > high:
            raise self._mismatch(
                table,
                number,
                f"the lake has its records up to offset {needed}, and it ends at {high}",
                "The cluster has lost records. Bring them back, or start a new loop with another lake (lake.uri).",
            )
        return LakePosition(
            written=state.written,
            needed=needed,
            missing=(needed, low) if needed < low else None,
            end=ends.committed[number] if table == "ledger" else high,
            is_new=state.is_new,
        )

    def _last_row(self, number: int, steps: int) -> LedgerRow:
        last = steps - 1
        rows = rows_of(self._lake, {number: last})
        if rows.height != 1:
            raise TopicMismatchError(
                f"holds {rows.height} rows of step {last} of partition {number}, and should hold one",
                where="table ledger",
                hint="Rows were changed or removed: bring the lake back from its backup.",
            )
        return LedgerRow.read(rows.row(0, named=True))

    def _topic_ids(self) -> dict[str, str]:
        try:
            asked = self._admin.describe_topics(
                TopicCollection(list(self._topics.values())), request_timeout=REQUEST_TIMEOUT_S
            )
            found = {topic: str(future.result().topic_id) for topic, future in asked.items()}
        except KafkaException as error:
            raise broker_error("the loop's topics cannot be described", error, self._clients) from None
        return {table: found[topic] for table, topic in self._topics.items()}

    def _ends(self, numbers: list[int]) -> _TopicEnds:
        """Read the ends of the topics; first that of the ledger's committed records (see `PendingPartition.cut`)."""
        partitions = [(table, number) for table in TABLES for number in numbers]
        ledger = [("ledger", number) for number in numbers]
        committed = self._offsets(ledger, _LATEST, IsolationLevel.READ_COMMITTED)
        high = self._offsets(partitions, _LATEST, IsolationLevel.READ_UNCOMMITTED)
        low = self._offsets(partitions, _EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        return _TopicEnds({number: offset for (_, number), offset in committed.items()}, high, low)

    def _offsets(
        self,
        partitions: list[tuple[str, int]],
        spec: Any,  # noqa: ANN401 - the same
        isolation: IsolationLevel,
    ) -> dict[tuple[str, int], int]:
        tables = {topic: table for table, topic in self._topics.items()}
        wanted = {TopicPartition(self._topics[table], number): spec for table, number in partitions}
        if not wanted:
            return {}
        try:
            asked = self._admin.list_offsets(wanted, isolation_level=isolation, request_timeout=REQUEST_TIMEOUT_S)
            return {(tables[one.topic], one.partition): future.result().offset for one, future in asked.items()}
        except KafkaException as error:
            raise broker_error("the ends of the loop's topics cannot be read", error, self._clients) from None

    def _app(self, table: str, number: int) -> str:
        """Return the application id of a table's offsets in one topic partition."""
        return f"{self._ids[table]}:{self._topics[table]}:{number}"

    def _steps_app(self, number: int) -> str:
        """Return the application id of the number of steps of one partition."""
        return f"{self._app('ledger', number)}:steps"

    def _id_app(self, table: str, number: int) -> str:
        """Return the application id of the id of the topic that filled a table."""
        return f"{self._topics[table]}:{number}:id"

    def _id_number(self, table: str) -> int:
        return (xxhash.xxh3_64_intdigest(self._ids[table].encode()) >> (64 - _ID_BITS)) | 1

    def _mismatch(self, table: str, number: int, what: str, hint: str) -> TopicMismatchError:
        return TopicMismatchError(what, where=f"topic {self._topics[table]}, partition {number}", hint=hint)
