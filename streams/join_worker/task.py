"""One partition of a running join: its state, its store, and one step of it as messages.

Must not talk to Kafka: it is given messages and gives messages.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from joins import Batch, Checkpoint, Effects, Idle, Partition
from joins.watermark import PREDICTIONS
from streams.kafka.messages import Messages
from streams.kafka.topics import Topics
from streams.ledger.entry import IdleInputs, LedgerRecord
from streams.ledger.rules import read_rules, refused_change
from streams.messages.canonical import CanonicalReader, Unreadable
from streams.messages.command import ChangeRules, Close, decode_command
from streams.state_store.store import RocksStore

__all__ = ["Incoming", "PartitionTask", "StepMessages", "StoredCheckpoint", "join_rejects"]

log = logging.getLogger("truthloop.join")

FLUSH_KEYS = 150_000
"""Keys touched before they are written; in between memory holds them and the ledger could make them again."""

FLUSH_AFTER_MS = 5_000
"""Bounds how many transactions have to be taken again after a crash."""


class StoredCheckpoint(msgspec.Struct, frozen=True):
    """What a store keeps beside the states: where it stands.

    Attributes:
        sequence: of the next step.
        commands_next: position in the commands.
        checkpoint: the partition's checkpoint.
        rules: JSON of the rules in force; see `streams.ledger.rules`.
    """

    sequence: int
    commands_next: int
    checkpoint: Checkpoint = msgspec.field(name="point")
    rules: str

    def encode(self) -> bytes:
        """Return it as bytes."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> "StoredCheckpoint":
        """Read it.

        Raises:
            msgspec.MsgspecError: it is none.
        """
        return msgspec.msgpack.decode(value, type=cls)


@dataclass
class Incoming:
    """What one turn read of one partition: messages, and the positions behind them (None: as before)."""

    predictions: Messages = field(default_factory=Messages)
    labels: Messages = field(default_factory=Messages)
    commands: Messages = field(default_factory=Messages)
    predictions_next: int | None = None
    labels_next: int | None = None
    commands_next: int | None = None


@dataclass(frozen=True)
class StepMessages:
    """One step of one partition, before it is committed.

    Attributes:
        effects: what the join decided.
        unreadable: messages that were no predictions, and no labels.
        record: the ledger's entry.
        seen: inputs that records came of.
    """

    effects: Effects
    unreadable: tuple[list[Unreadable], list[Unreadable]]
    record: LedgerRecord
    seen: set[str]


class PartitionTask:
    """A partition that this worker has.

    Args:
        number: of the partition.
        partition: the join's state.
        store: where that lives.
        stored: where both stand.

    Attributes:
        rules: JSON of the rules in force; see `streams.ledger.rules`.
    """

    def __init__(self, number: int, partition: Partition, store: RocksStore, stored: StoredCheckpoint) -> None:
        self.number = number
        self.partition = partition
        self.store = store
        self.sequence = stored.sequence
        self.commands_next = stored.commands_next
        self.rules = stored.rules
        self._waiting: list[tuple[int, Close | ChangeRules]] = []
        self._commands_read = stored.commands_next
        self._flushed_at_ms: int | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """Where the join stands."""
        return self.partition.checkpoint

    @property
    def positions(self) -> tuple[int, int, int]:
        """Where to read on: in predictions, labels and commands."""
        return self.checkpoint.predictions_next, self.checkpoint.labels_next, self.commands_next

    @property
    def holds_command(self) -> bool:
        """Whether a command waits for the inputs to come to its positions."""
        return bool(self._waiting)

    def step(self, incoming: Incoming, reader: CanonicalReader, now_ms: int, idle: Idle) -> StepMessages:
        """Take one step and return what it has to say; the state has then moved, the store not yet.

        Args:
            incoming: what was read.
            reader: of the loop's messages.
            now_ms: the wall clock.
            idle: silent inputs.
        """
        checkpoint = self.checkpoint
        first = (checkpoint.predictions_next, checkpoint.labels_next, self.commands_next)
        following = (
            first[0] if incoming.predictions_next is None else incoming.predictions_next,
            first[1] if incoming.labels_next is None else incoming.labels_next,
        )
        close_at_ms = self._take_commands(incoming, following, now_ms)
        predictions = reader.prediction_records(*incoming.predictions.columns)
        labels = reader.label_records(*incoming.labels.columns)
        unreadable = (len(predictions.unreadable), len(labels.unreadable))
        batch = Batch(predictions.records, labels.records, *following, now_ms, close_at_ms, idle, unreadable)
        effects = self._apply(batch)
        record = LedgerRecord(
            sequence=self.sequence,
            partition=self.number,
            now=now_ms,
            predictions=(first[0], following[0]),
            labels=(first[1], following[1]),
            commands=(first[2], self.commands_next),
            policy=self.rules,
            outcomes=len(effects.revisions),
            rejects=len(effects.rejects) + sum(unreadable),
            checkpoint=checkpoint,
            close_at=close_at_ms,
            idle=IdleInputs(sorted(idle.inputs), idle.elapsed_ms),
            unreadable=unreadable,
        )
        self.sequence += 1
        seen = {label[2] for label in labels.records}
        if predictions.records:
            seen.add(PREDICTIONS)
        return StepMessages(effects, (predictions.unreadable, labels.unreadable), record, seen)

    def redo(self, record: LedgerRecord, predictions: Messages, labels: Messages, reader: CanonicalReader) -> None:
        """Take a recorded step again, under the rules of its time; what it has to say was said."""
        self._change_rules(record.policy)
        batch = record.batch(
            reader.prediction_records(*predictions.columns).records, reader.label_records(*labels.columns).records
        )
        self._apply(batch)
        self.sequence = record.sequence + 1
        self.commands_next = self._commands_read = record.commands[1]

    def flush_if_due(self, now_ms: int) -> None:
        """Write the state where enough has gathered, or enough time has passed. Only after Kafka's commit."""
        if self._flushed_at_ms is None:
            self._flushed_at_ms = now_ms
        if self.store.touched >= FLUSH_KEYS or abs(now_ms - self._flushed_at_ms) >= FLUSH_AFTER_MS:
            self.flush()
            self._flushed_at_ms = now_ms

    def flush(self) -> None:
        """Write the state and where it stands."""
        self.store.flush(StoredCheckpoint(self.sequence, self.commands_next, self.checkpoint, self.rules).encode())

    def close(self) -> None:
        """Let the store go; what was not flushed will be made again from the ledger."""
        self.store.close()

    def _apply(self, batch: Batch) -> Effects:
        keys = {record[1] for record in batch.predictions}
        keys.update(record[1] for record in batch.labels)
        self.store.prefetch(keys)
        return self.partition.step(batch)

    def _change_rules(self, rules: str) -> None:
        if rules != self.rules:
            self.partition.change_rules(read_rules(rules).policy)
            self.rules = rules

    def _take_commands(self, incoming: Incoming, following: tuple[int, int], now_ms: int) -> int | None:
        """Pass the commands that hold by now, in their order; return up to when inputs are closed."""
        for offset, value in zip(incoming.commands.offsets, incoming.commands.values, strict=True):
            command = decode_command(value)
            if command is not None:
                self._waiting.append((offset, command))
        if incoming.commands_next is not None:
            self._commands_read = incoming.commands_next
        close_at_ms: int | None = None
        while self._waiting:
            offset, command = self._waiting[0]
            if isinstance(command, ChangeRules):
                if refusal := refused_change(self.rules, command.rules):
                    log.error("partition %d: other rules are not taken: %s", self.number, refusal)
                else:
                    self._change_rules(command.rules)
            elif command.predictions_next > following[0] or command.labels_next > following[1]:
                self.commands_next = offset
                return close_at_ms
            elif command.time <= now_ms:
                close_at_ms = command.time if close_at_ms is None else max(command.time, close_at_ms)
            del self._waiting[0]
        self.commands_next = self._commands_read
        return close_at_ms


def join_rejects(turn: "StepMessages", topics: Topics, seen_at_ms: int) -> Iterator[bytes]:
    """Give one message for each record that ended in a step of the join without an outcome.

    Args:
        turn: the step.
        topics: of the loop.
        seen_at_ms: when.
    """
    record = turn.record
    place: dict[str, object] = {"v": 1, "stage": "join", "seen_at": seen_at_ms, "sequence": record.sequence}
    place |= {"partition": record.partition, "source_partition": record.partition}
    sources = {"predictions": topics.predictions, "labels": topics.labels}
    for row in turn.effects.rejects:
        own: dict[str, object] = {"input": row.input, "reason": row.reason.value, "kind": row.kind}
        yield _joined(place | own, sources[row.input], row.offset)
    for name, unreadable in zip(sources, turn.unreadable, strict=True):
        for one in unreadable:
            said: dict[str, object] = {"input": name, "stage": "mapping", "reason": one.reason, "detail": one.detail}
            said["digest"] = one.digest
            yield _joined(place | said, sources[name], one.offset)


def _joined(fields: dict[str, object], source: str, offset: int) -> bytes:
    return msgspec.json.encode(
        {name: value for name, value in fields.items() if value is not None}
        | {"source": source, "offset": offset, "source_row": offset}
    )
