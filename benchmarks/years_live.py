"""A live loop without a broker: the join's tasks with their durable store, and the lake writer, in one process.

Everything is the roles' own code but the consumer and the producer: `LiveJoin` does what `streams.join_worker.role`
does between them, `LiveLake` what `streams.lake_sink.role` does. Each can be opened again at any round by another
process: the join from its store, the lake from its own positions.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
from years_traffic import DAY_MS, World, day_start_ms

from joins import Idle, Partition
from lake import Lake
from streams.join_worker.task import Incoming, PartitionTask, StoredCheckpoint, join_rejects
from streams.kafka.messages import PartitionMessages
from streams.kafka.topics import Topics
from streams.lake_sink.commit import PartitionRows, RoundWriter
from streams.lake_sink.cut import TABLES
from streams.lake_sink.progress import LakeProgress
from streams.lake_sink.rows import LakeRows
from streams.ledger.rules import read_rules, rules_text
from streams.mapping.mapper import Mapper
from streams.mapping.record_file import open_record_file
from streams.messages.canonical import CanonicalReader
from streams.messages.outcome import OutcomeWire
from streams.messages.records import Projection, partition_of
from streams.messages.wire import encode_records
from streams.state_store.store import RocksStore

__all__ = ["LiveJoin", "LiveLake", "Round", "round_end_ms"]

INPUTS = ("predictions", "labels")

Round = dict[str, dict[int, list[bytes]]]
"""Messages of one round, by topic and partition."""


def round_end_ms(world: World, day: int, number: int) -> int:
    """Return when a round ends; the last one of a day ends with the day."""
    return day_start_ms(day) + DAY_MS * (number + 1) // world.rounds(day)


class LiveJoin:
    """The join of all partitions, each with its store in `folder`.

    Args:
        files: where a day's records are written, to be mapped like files of anybody.
    """

    def __init__(self, world: World, folder: Path, files: Path) -> None:
        self._world, self._files = world, files
        self._config = world.config()
        self._topics = Topics.of(self._config)
        self._reader = CanonicalReader(self._config)
        self._wire = OutcomeWire(Projection.of(self._config))
        self._tasks = [self._open(folder / str(number), number) for number in range(self._config.partitions)]

    def rounds(self, day: int, first: int = 0, following: int | None = None) -> Iterator[tuple[int, Round]]:
        """Yield when each of a day's rounds ends, and what the topics get in it."""
        frames = dict(zip(INPUTS, map(self._canonical, INPUTS, self._world.write(day, self._files)), strict=True))
        for number in range(first, self._world.rounds(day) if following is None else following):
            start_ms = day_start_ms(day) if number == 0 else round_end_ms(self._world, day, number - 1)
            end_ms = round_end_ms(self._world, day, number)
            within = pl.col("time_ms").is_between(start_ms, end_ms, closed="left")
            yield end_ms, self._round({name: frame.filter(within) for name, frame in frames.items()}, end_ms)

    def close(self) -> None:
        """Write the state to the stores, and close them."""
        for task in self._tasks:
            task.flush()
            task.close()

    def _open(self, folder: Path, number: int) -> PartitionTask:
        store = RocksStore(folder, list(self._config.labels))
        raw = store.checkpoint()
        if raw is not None:
            stored = StoredCheckpoint.decode(raw)
            partition = Partition(read_rules(stored.rules).policy, store, stored.checkpoint)
        else:
            rules = rules_text(self._config)
            partition = Partition(read_rules(rules).policy, store)
            stored = StoredCheckpoint(0, 0, partition.checkpoint, rules)
        return PartitionTask(number, partition, store, stored)

    def _canonical(self, name: str, file: Path) -> pl.DataFrame:
        chunks = Mapper(open_record_file(file, name, []), self._config).chunks()
        frame = pl.concat([chunk.records for chunk in chunks])
        file.unlink()
        arrived = pl.col("time_ms").alias("arrived_at_ms")
        return frame.with_columns(arrived, partition_of(frame["key"], self._config.partitions)).sort("time_ms")

    def _round(self, frames: dict[str, pl.DataFrame], now_ms: int) -> Round:
        found: Round = {table: {task.number: [] for task in self._tasks} for table in TABLES}
        for task in self._tasks:
            for name, frame in frames.items():
                mine = frame.filter(pl.col("partition") == task.number).drop("partition")
                found[name][task.number] = encode_records(name, mine) if mine.height else []
            incoming = _incoming(task, found["predictions"][task.number], found["labels"][task.number])
            is_caught_up = incoming == Incoming() and task.partition.is_caught_up
            while not is_caught_up:
                self._step(task, incoming, now_ms, found)
                incoming, is_caught_up = Incoming(), task.partition.is_caught_up
            if task.is_flush_due(now_ms):
                task.flush()
        return found

    def _step(self, task: PartitionTask, incoming: Incoming, now_ms: int, found: Round) -> None:
        """Take one step, and add what it sends to the topics."""
        step = task.step(incoming, self._reader, now_ms, Idle())
        number, sequence = task.number, step.record.sequence
        found["outcomes"][number] += self._wire.encode(number, sequence, step.effects.outcomes)
        found["rejects"][number] += join_rejects(step, self._topics, now_ms)
        found["ledger"][number].append(step.record.encode())


class LiveLake:
    """The lake writer of all partitions.

    Args:
        note_append: called after each append, with the table's name.
    """

    def __init__(self, world: World, path: Path, note_append: Callable[[str], None] = lambda _table: None) -> None:
        config = world.config()
        lake = Lake.create(path, config)
        self._rows = LakeRows(config)
        progress = _Positions(Topics.of(config), lake)
        self._pending, faults = progress.find(range(config.partitions))
        assert not faults, faults
        self._writer = RoundWriter(lake, progress, lambda step: note_append(step.removesuffix(" appended")))

    def cut(self, messages: Round) -> list[PartitionRows]:
        """Read messages, and return what can be written of each partition, as rows."""
        parts = []
        for number, pending in self._pending.items():
            for table in TABLES:
                values = messages[table].get(number, [])
                pending.read(table, _messages(pending.buffers[table].position, values))
            if (cut := pending.cut()) is not None:
                parts.append(PartitionRows(pending, cut, self._rows.of(cut)))
        return parts

    def write(self, parts: Sequence[PartitionRows], now_ms: int) -> None:
        """Append the rows: at most one commit for each table."""
        if parts:
            self._writer.write(parts, now_ms)


class _Positions(LakeProgress):
    """The lake's positions, in topics that end where the lake does."""

    def __init__(self, topics: Topics, lake: Lake) -> None:
        super().__init__(_NoClients(), topics, lake)

    def _topic_ids(self) -> dict[str, str]:
        return {table: f"id-of-{table}" for table in TABLES}

    def _offsets(self, partitions: list[tuple[str, int]], *_: object) -> dict[tuple[str, int], int]:
        return {(table, number): self._lake.applied(table, self._app(table, number)) for table, number in partitions}


class _NoClients:
    """In place of Kafka's clients, which nothing asks."""

    def admin(self) -> None:
        """Return no client."""


def _messages(first: int, values: list[bytes]) -> PartitionMessages:
    return PartitionMessages(list(range(first, first + len(values))), list(values), [0] * len(values))


def _incoming(task: PartitionTask, predictions: list[bytes], labels: list[bytes]) -> Incoming:
    """Return messages as polled; where there are none, the offset does not change."""
    incoming, checkpoint = Incoming(), task.checkpoint
    if predictions:
        incoming.predictions = _messages(checkpoint.predictions_next, predictions)
        incoming.predictions_next = checkpoint.predictions_next + len(predictions)
    if labels:
        incoming.labels = _messages(checkpoint.labels_next, labels)
        incoming.labels_next = checkpoint.labels_next + len(labels)
    return incoming
