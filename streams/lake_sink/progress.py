"""Where the lake stands with every topic partition: the only thing that says where its writer reads on.

Positions are kept by the lake's tables themselves, under names that carry the topic's id, so that a topic that was
made anew is not taken for the one before. Must not read records, and asks nothing of Kafka's committed offsets.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import xxhash
from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its public name

from lake import Claim, Lake
from schemas.errors import LakeError
from streams.kafka.client import REACH_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.topics import Topics
from streams.lake_sink.buffer import Start
from streams.lake_sink.cut import INPUTS, STEPPED, TABLES, Cut, Pending
from streams.ledger.row import LedgerRow

__all__ = ["LakeProgress", "UnfitTopicError"]

_LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library has no types there
_EARLIEST: Any = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the same

_ID_BITS = 62
"""A topic's id as a number that Delta takes for a version; never 0."""


class UnfitTopicError(LakeError):
    """A topic is not the one that the lake was filled from, or ends before the lake does."""


@dataclass(frozen=True)
class _Ends:
    """Where topic partitions begin and end, by (table, partition).

    Attributes:
        committed: how far the ledger was committed, by partition; found before the others.
        high: positions behind the last records.
        low: positions of the first records that are still there.
    """

    committed: dict[int, int]
    high: dict[tuple[str, int], int]
    low: dict[tuple[str, int], int]


@dataclass(frozen=True)
class _State:
    """What a table says about one partition.

    Attributes:
        standing: the first position that it does not have.
        held: how many steps it has, if it has steps.
        is_new: whether it has never had anything of the topic.
    """

    standing: int
    held: int
    is_new: bool


class LakeProgress:
    """Asks one lake, and its topics.

    Args:
        clients: of the cluster.
        topics: the loop's.
        lake: the loop's.
    """

    def __init__(self, clients: KafkaClients, topics: Topics, lake: Lake) -> None:
        self._clients = clients
        self._admin = clients.admin()
        self._topics = {table: f"{topics.loop}.{table}" for table in TABLES}
        self._lake = lake
        self._ids: dict[str, str] = {}

    def find(self, numbers: Iterable[int]) -> tuple[dict[int, Pending], dict[int, UnfitTopicError]]:
        """Return the partitions as they stand, with nothing read yet; and those that cannot be gone on with.

        Raises:
            BrokerError: the cluster does not answer, or a topic does not exist.
            LakeError: the lake cannot be read.
        """
        wanted = sorted(numbers)
        self._ids = self._topic_ids()
        ends = self._ends(wanted)
        found: dict[int, Pending] = {}
        faults: dict[int, UnfitTopicError] = {}
        for number in wanted:
            try:
                found[number] = self._pending(number, ends)
            except UnfitTopicError as error:
                faults[number] = error
        return found, faults

    def is_current(self) -> bool:
        """Tell whether the topics are still those that were found; what was read before this was read from them.

        Raises:
            BrokerError: the cluster does not answer, or a topic does not exist.
        """
        return self._topic_ids() == self._ids

    def claims(self, table: str, pending: Pending, cut: Cut) -> list[Claim]:
        """Return what an append of a cut claims; nothing where the table has it all."""
        number, waiting = cut.partition, pending.waiting[table]
        claims = [Claim(self._app(table, number), waiting.standing, cut.following[table])]
        if table in STEPPED:
            claims.append(Claim(self._steps_app(number), pending.held[table], max(pending.held[table], pending.steps)))
        if all(claim.first == claim.following for claim in claims):
            return []
        if waiting.is_new:
            claims.append(Claim(self._id_app(table, number), 0, self._id_number(table)))
        return claims

    def _pending(self, number: int, ends: _Ends) -> Pending:
        # the ledger first: it is written last, so whatever another writer does meanwhile, no table is behind it
        states = {table: self._state(table, number) for table in reversed(TABLES)}
        steps = states["ledger"].held
        row = self._last_row(number, steps) if steps else None
        passed = {} if row is None else {name: getattr(row, name)[1] for name in INPUTS}
        starts = {
            table: self._start(table, number, state, passed.get(table, 0), ends) for table, state in states.items()
        }
        return Pending(
            number, starts, {table: states[table].held for table in STEPPED}, None if row is None else row.checkpoint
        )

    def _state(self, table: str, number: int) -> "_State":
        """Return what a table says about one partition, all of it at one moment.

        Raises:
            UnfitTopicError: it was filled from another topic of that name.
        """
        while True:
            version = self._lake.version(table)
            known = self._lake.applied(table, self._id_app(table, number))
            state = _State(
                self._lake.applied(table, self._app(table, number)),
                self._lake.applied(table, self._steps_app(number)) if table in STEPPED else 0,
                is_new=known == 0,
            )
            if self._lake.version(table) == version:
                break
        if known not in (0, self._id_number(table)):
            raise self._unfit(
                table,
                number,
                "was made anew: the lake holds records of an earlier topic of this name",
                "Their positions would be taken for each other. Give the loop another lake (lake.uri).",
            )
        return state

    def _start(self, table: str, number: int, state: "_State", passed: int, ends: _Ends) -> Start:
        position = max(state.standing, passed)
        low, high = ends.low[table, number], ends.high[table, number]
        if position > high:
            raise self._unfit(
                table,
                number,
                f"the lake has its records up to offset {position}, and it ends at {high}",
                "The cluster has lost records. Bring them back, or start the loop anew with another lake (lake.uri).",
            )
        return Start(
            standing=state.standing,
            position=position,
            missing=(position, low) if position < low else None,
            end=ends.committed[number] if table == "ledger" else high,
            is_new=state.is_new,
        )

    def _last_row(self, number: int, steps: int) -> LedgerRow:
        last = steps - 1
        rows = self._lake.scan("ledger", {"partition": (number, number), "sequence": (last, last)}).collect()
        if rows.height != 1:
            raise UnfitTopicError(
                f"holds {rows.height} rows of step {last} of partition {number}, and should hold one",
                where="table ledger",
                hint="Rows were changed or removed: bring the lake back from its backup.",
            )
        return LedgerRow.read(rows.row(0, named=True))

    def _topic_ids(self) -> dict[str, str]:
        try:
            asked = self._admin.describe_topics(
                TopicCollection(list(self._topics.values())), request_timeout=REACH_TIMEOUT_S
            )
            found = {topic: str(future.result().topic_id) for topic, future in asked.items()}
        except KafkaException as error:
            raise broker_error("the loop's topics cannot be described", error, self._clients) from None
        return {table: found[topic] for table, topic in self._topics.items()}

    def _ends(self, numbers: list[int]) -> _Ends:
        """Ask where partitions begin and end; first how far the ledger is committed (see `Pending`)."""
        places = [(table, number) for table in TABLES for number in numbers]
        ledger = [("ledger", number) for number in numbers]
        committed = self._offsets(ledger, _LATEST, IsolationLevel.READ_COMMITTED)
        high = self._offsets(places, _LATEST, IsolationLevel.READ_UNCOMMITTED)
        low = self._offsets(places, _EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        return _Ends({number: offset for (_, number), offset in committed.items()}, high, low)

    def _offsets(
        self,
        places: list[tuple[str, int]],
        spec: Any,  # noqa: ANN401 - the same
        isolation: IsolationLevel,
    ) -> dict[tuple[str, int], int]:
        tables = {topic: table for table, topic in self._topics.items()}
        wanted = {TopicPartition(self._topics[table], number): spec for table, number in places}
        if not wanted:
            return {}
        try:
            asked = self._admin.list_offsets(wanted, isolation_level=isolation, request_timeout=REACH_TIMEOUT_S)
            return {(tables[place.topic], place.partition): future.result().offset for place, future in asked.items()}
        except KafkaException as error:
            raise broker_error("the ends of the loop's topics cannot be read", error, self._clients) from None

    def _app(self, table: str, number: int) -> str:
        """Name the positions of one topic partition."""
        return f"{self._ids[table]}:{self._topics[table]}:{number}"

    def _steps_app(self, number: int) -> str:
        """Name the steps of one partition: how many of them a table holds."""
        return f"{self._app('ledger', number)}:steps"

    def _id_app(self, table: str, number: int) -> str:
        """Name what tells which topic of that name filled the table."""
        return f"{self._topics[table]}:{number}:id"

    def _id_number(self, table: str) -> int:
        return (xxhash.xxh3_64_intdigest(self._ids[table].encode()) >> (64 - _ID_BITS)) | 1

    def _unfit(self, table: str, number: int, what: str, hint: str) -> UnfitTopicError:
        return UnfitTopicError(what, where=f"topic {self._topics[table]}, partition {number}", hint=hint)
