"""A join made by hand: it fills a loop's topics as the real one does, and knows what must be in the lake then.

The decisions are those of `joins.Partition`. What must be in the tables is computed from the records themselves, by
the mapping and by `streams.messages.lake_rows`, not by what reads the topics.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import polars as pl
from confluent_kafka import Message, Producer, TopicPartition
from join_traffic import INGESTED_MS, NOW_MS, Traffic

from joins import Batch, Effects, MemoryStore, Partition, policy_from
from lake import Lake
from schemas.config.connection import KafkaConfig
from schemas.config.loop import LoopConfig
from streams.columns.schema import known_at_ms
from streams.join_worker.task import StepResult, join_rejects
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics, create_topics
from streams.ledger.entry import LedgerRecord
from streams.ledger.rules import rules_text
from streams.mapping.mapper import MessageMapper
from streams.messages.canonical import CanonicalReader, Unreadable
from streams.messages.lake_rows import label_rows, outcome_rows, prediction_rows
from streams.messages.outcome import OutcomeWire
from streams.messages.records import Projection
from streams.messages.reject import RejectMessage

__all__ = ["JoinCase", "live_config", "table_of"]

_REACH = {"partition": pl.Int32, "last": pl.Int64, "predictions_next": pl.Int64, "labels_next": pl.Int64}
_CONFIG: dict[str, Any] = {
    "version": 1,
    "disorder": "5m",
    "predictions": {
        "outputs": {"click": {"task": "binary"}, "sale": {"task": "regression"}},
        "slices": ["country"],
        "features": {"amount": {"type": "float", "min": 0}},
    },
    "labels": {
        "click": {"definition": "c1", "horizon": "1h", "retain": "6h", "on_timeout": {"imply": 0}},
        "sale": {"definition": "s1", "horizon": "4h", "retain": "8h"},
    },
}


def live_config(servers: str, *, partitions: int = 3, **changes: Any) -> LoopConfig:
    """Return the config of a loop with a name of its own."""
    own = {"loop": f"t-{uuid.uuid4().hex[:12]}", "partitions": partitions, "kafka": {"bootstrap_servers": servers}}
    return LoopConfig.model_validate(_CONFIG | own | changes)


@dataclass
class _Input:
    """What was sent to one partition of an input: (offset, value, timestamp), and how far the join has read."""

    sent: list[tuple[int, bytes, int]] = field(default_factory=list)
    position: int = 0

    @property
    def end(self) -> int:
        return self.sent[-1][0] + 1 if self.sent else 0


class JoinCase:
    """One loop's topics, and what was put into them.

    Args:
        config: of the loop, with a cluster.
        seed: of the records.
    """

    def __init__(self, config: LoopConfig, seed: int = 1) -> None:
        assert isinstance(config.kafka, KafkaConfig)
        self.config = config
        self.topics = Topics.of(config)
        self.clients = KafkaClients(config.kafka, {}, "test")
        create_topics(self.clients, self.topics)
        self._traffic = Traffic(config, seed)
        self._producer = self.clients.producer()
        self._join = self._transactional("join")
        self._ingest = self._transactional("ingest")
        self._projection = Projection.of(config)
        self._wire = OutcomeWire(self._projection)
        self._reader = CanonicalReader(config)
        policy = policy_from(config)
        self._policy = rules_text(config)
        numbers = range(config.partitions)
        self._partitions = [Partition(policy, MemoryStore(list(policy.kinds))) for _ in numbers]
        self._inputs: dict[str, list[_Input]] = {
            name: [_Input() for _ in numbers] for name in ("predictions", "labels")
        }
        self._sequences = [0 for _ in numbers]
        self._outcomes: list[pl.DataFrame] = []
        self.rejects: list[dict[str, Any]] = []
        self.entries: list[LedgerRecord] = []

    def send(self, count: int = 40) -> None:
        """Send predictions and labels for so many keys."""
        for name, messages in zip(self._inputs, self._traffic.some(count), strict=True):
            self._produce(name, messages)

    def step(self, numbers: Iterable[int] | None = None, *, share: float = 1.0) -> None:
        """Take one step in each of these partitions, all in one transaction; `share` of what is there is read."""
        self._join.begin_transaction()
        for number in range(self.config.partitions) if numbers is None else numbers:
            self._step(number, share)
        self._join.flush()
        self._join.commit_transaction()

    def abort(self) -> None:
        """Write all that a step writes, and abort it."""
        self._join.begin_transaction()
        for topic in (self.topics.outcomes, self.topics.rejects, self.topics.ledger):
            for number in range(self.config.partitions):
                self._join.produce(topic, b'{"v":1,"sequence":0}', partition=number)
        self._join.flush()
        self._join.abort_transaction()

    def reject_in_ingest(self, number: int, source_row: int) -> None:
        """Write a reject as ingest does, in a transaction of its own."""
        message = RejectMessage(
            v=1,
            input="labels",
            stage="mapping",
            reason="bad_time",
            seen_at=NOW_MS,
            source="foreign.topic",
            source_partition=11,
            source_row=source_row,
            detail="time: missing",
            digest=source_row * 7,
            original=b"secret",
        )
        self._ingest.begin_transaction()
        self._ingest.produce(self.topics.rejects, message.encode(), partition=number)
        self._ingest.flush()
        self._ingest.commit_transaction()
        own = {"input": "labels", "stage": "mapping", "reason": "bad_time", "detail": "time: missing"}
        place = {"source": "foreign.topic", "source_partition": 11, "source_row": source_row}
        self.rejects.append(own | place | {"digest": source_row * 7})

    def end(self, table: str, number: int) -> int:
        """Return the position behind the last record of a topic partition."""
        reader = self.clients.reader()
        place = TopicPartition(f"{self.config.loop}.{table}", number)
        end = reader.get_watermark_offsets(place, timeout=10)[1]
        reader.close()
        return int(end)

    def expected(self) -> dict[str, pl.DataFrame]:
        """Return what must be in the tables (without ledger), in no special order."""
        return {
            "predictions": prediction_rows(self._canonical("predictions")),
            "labels": label_rows(self._canonical("labels")),
            "outcomes": pl.concat(self._outcomes),
            "rejects": pl.DataFrame(self.rejects, infer_schema_length=None),
        }

    def differences(self, lake: Lake) -> list[str]:
        """Return how the lake differs from what must be in it, table by table."""
        problems = [
            f"{table}: {problem}" for table, rows in self.expected().items() for problem in _compare(lake, table, rows)
        ]
        return problems + self._ledger_problems(lake)

    def is_written(self, lake: Lake) -> bool:
        """Tell whether the lake's ledger has come to the last step of every partition."""
        last = {entry.partition: entry.sequence for entry in self.entries}
        rows = lake.scan("ledger").group_by("partition").agg(pl.col("sequence").max()).collect()
        return dict(rows.iter_rows()) == last

    def is_honest(self, lake: Lake) -> bool:
        """Tell whether the lake has all that its ledger speaks of, also while somebody writes."""
        rows = lake.scan("ledger").group_by("partition").agg(pl.col("sequence").max().alias("last")).collect()
        reached = pl.DataFrame(list(self._reach(dict(rows.iter_rows()))), schema=_REACH, orient="row")
        for table, wanted in self.expected().items():
            column = {"predictions": "predictions_next", "labels": "labels_next"}.get(table, "last")
            place = "sequence" if column == "last" else "offset"
            if wanted.is_empty() or place not in wanted.columns:
                continue
            names = ["partition", "key", "revision"] if table == "outcomes" else ["partition", "offset"]
            spoken = wanted.drop_nulls("partition").cast({"partition": pl.Int32}).join(reached, on="partition")
            bound = pl.col(place) < pl.col(column) + (place == "sequence")
            if not spoken.filter(bound).join(table_of(lake, table), on=names, how="anti").is_empty():
                return False
        return True

    def _reach(self, last: dict[int, int]) -> Iterable[tuple[int, int, int, int]]:
        for entry in self.entries:
            if last.get(entry.partition) == entry.sequence:
                yield entry.partition, entry.sequence, entry.predictions[1], entry.labels[1]

    def _ledger_problems(self, lake: Lake) -> list[str]:
        rows = lake.scan("ledger").sort("partition", "sequence").collect()
        problems = []
        for number in range(self.config.partitions):
            mine = rows.filter(pl.col("partition") == number)
            entries = {entry.sequence: entry for entry in self.entries if entry.partition == number}
            before: LedgerRecord | None = None
            for row in mine.iter_rows(named=True):
                last = entries.get(row["sequence"])
                first = entries.get(before.sequence + 1 if before else 0)
                if last is None or first is None:
                    problems.append(f"ledger: partition {number} has a row of step {row['sequence']}")
                    continue
                wanted = (*first.predictions[:1], last.predictions[1], *first.labels[:1], last.labels[1])
                wanted += (*first.commands[:1], last.commands[1])
                names = ("predictions", "labels", "commands")
                found = tuple(row[f"{name}_{end}"] for name in names for end in ("first", "next"))
                checkpoint = msgspec.json.encode(last.checkpoint).decode()
                if found != wanted or row["point"] != checkpoint or row["fingerprint"] != last.checkpoint.fingerprint:
                    problems.append(f"ledger: partition {number}, step {last.sequence}: {found} and not {wanted}")
                before = last
            if (before.sequence if before else None) != max(entries, default=None):
                problems.append(f"ledger: partition {number} ends at {before and before.sequence}")
        return problems

    def _step(self, number: int, share: float) -> None:
        partition = self._partitions[number]
        read = {name: self._read(name, number, share) for name in self._inputs}
        (predictions, predictions_next), (labels, labels_next) = read["predictions"], read["labels"]
        first = (partition.checkpoint.predictions_next, partition.checkpoint.labels_next)
        taken = self._reader.prediction_records(*predictions), self._reader.label_records(*labels)
        unreadable = (len(taken[0].unreadable), len(taken[1].unreadable))
        batch = Batch(taken[0].records, taken[1].records, predictions_next, labels_next, NOW_MS, unreadable=unreadable)
        effects = partition.step(batch)
        sequence = self._sequences[number]
        record = LedgerRecord(
            sequence=sequence,
            partition=number,
            now=NOW_MS,
            predictions=(first[0], predictions_next),
            labels=(first[1], labels_next),
            commands=(sequence // 2, (sequence + 1) // 2),
            policy=self._policy,
            outcomes=len(effects.outcomes),
            rejects=len(effects.rejects) + sum(unreadable),
            checkpoint=msgspec.json.decode(msgspec.json.encode(partition.checkpoint), type=type(partition.checkpoint)),
            unreadable=unreadable,
        )
        self._sequences[number] += 1
        self._send_step(record, effects, (taken[0].unreadable, taken[1].unreadable))

    def _send_step(
        self, record: LedgerRecord, effects: Effects, unreadable: tuple[list[Unreadable], list[Unreadable]]
    ) -> None:
        number, sequence = record.partition, record.sequence
        values = self._wire.encode(number, sequence, effects.outcomes)
        for key, value in zip(self._wire.keys(effects.outcomes), values, strict=True):
            self._join.produce(self.topics.outcomes, value, key, partition=number)
        for value in join_rejects(StepResult(effects, unreadable, record, set()), self.topics, NOW_MS):
            self._join.produce(self.topics.rejects, value, partition=number)
        self._join.produce(self.topics.ledger, record.encode(), partition=number)
        self.entries.append(record)
        step = pl.lit(sequence, dtype=pl.Int64).alias("sequence")
        self._outcomes.append(outcome_rows([(number, effects)], self._projection).with_columns(step))
        for row in effects.rejects:
            own = {"stage": "join", "reason": row.reason.value, "kind": row.kind}
            self._note_reject(record, row.input, row.offset, own)
        for name, ones in zip(self._inputs, unreadable, strict=True):
            for one in ones:
                own = {"stage": "mapping", "reason": one.reason, "detail": one.detail, "digest": one.digest}
                self._note_reject(record, name, one.offset, own)

    def _note_reject(self, record: LedgerRecord, name: str, offset: int, own: dict[str, Any]) -> None:
        place = {"input": name, "partition": record.partition, "offset": offset, "sequence": record.sequence}
        source = {"source": f"{self.config.loop}.{name}", "source_partition": record.partition, "source_row": offset}
        self.rejects.append(place | source | own)

    def _read(self, name: str, number: int, share: float) -> tuple[tuple[list[int], list[bytes], list[int]], int]:
        """Return what the join reads next of an input, and the position after it."""
        source = self._inputs[name][number]
        new = [message for message in source.sent if message[0] >= source.position]
        taken = new[: round(len(new) * share)]
        source.position = taken[-1][0] + 1 if taken else source.position
        offsets, values, times = ([message[at] for message in taken] for at in range(3))
        return (offsets, values, times), source.position

    def _canonical(self, name: str) -> pl.DataFrame:
        """Return what the join has read of an input as canonical records, each with its place."""
        role: Any = name
        frames = []
        for number, source in enumerate(self._inputs[name]):
            read = [message for message in source.sent if message[0] < source.position]
            texts = [self._traffic.origins.get(value, value) or b"-" for _, value, _ in read]
            records = MessageMapper(role, None, self.config).map(texts).records
            offsets = pl.Series([offset for offset, _, _ in read], dtype=pl.Int64).gather(records["row"])
            arrived = pl.Series(
                [at if value not in self._traffic.origins else INGESTED_MS for _, value, at in read], dtype=pl.Int64
            ).gather(records["row"])
            order = known_at_ms(self.config) if name == "labels" else pl.col("time_ms")
            columns = {"row": offsets, "offset": offsets, "arrived_at_ms": records["arrived_at_ms"].fill_null(arrived)}
            frame = records.with_columns(**columns).with_columns(
                order.alias("order_ms"),
                pl.lit(f"{self.config.loop}.{name}").alias("source"),
                pl.lit(number, dtype=pl.Int32).alias("partition"),
            )
            frames.append(frame)
        return pl.concat(frames)

    def _produce(self, name: str, messages: Iterable[tuple[int, bytes]]) -> None:
        def note(_error: object, message: Message) -> None:
            source = self._inputs[name][message.partition() or 0]
            source.sent.append((message.offset() or 0, message.value() or b"", message.timestamp()[1]))

        for number, value in messages:
            self._producer.produce(f"{self.config.loop}.{name}", value, partition=number, on_delivery=note)
        assert self._producer.flush(30) == 0

    def _transactional(self, name: str) -> Producer:
        producer = self.clients.transactional_producer(f"{self.config.loop}-{name}")
        producer.init_transactions(60)
        return producer


def table_of(lake: Lake, name: str) -> pl.DataFrame:
    """Return a table without what says when it was recorded."""
    return lake.scan(name).drop("recorded_at", "recorded_on").collect()


def _compare(lake: Lake, table: str, rows: pl.DataFrame) -> list[str]:
    """Return what is missing in a table, what is too much, and what is there twice."""
    found = table_of(lake, table)
    wanted = rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in found.schema.items()
    )
    names = list(found.columns)
    problems = []
    for what, one, other in (("missing", wanted, found), ("too much", found, wanted)):
        rest = one.join(other, on=names, how="anti", nulls_equal=True)
        if rest.height:
            problems.append(f"{rest.height} rows are {what}, such as {rest.row(0, named=True)}")
    if not problems and found.height != wanted.height:
        problems.append(f"{found.height} rows and not {wanted.height}")
    return problems
