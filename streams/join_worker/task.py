"""The task of one partition: applies polled messages to the join's state, one step at a time.

Knows no Kafka client: `streams.join_worker.role` polls the messages, and sends and commits the result.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import msgspec

from joins import Batch, Checkpoint, Effects, Idle, Partition, Withdrawal
from joins.watermark import PREDICTIONS
from streams.kafka.messages import PartitionMessages
from streams.kafka.topics import Topics
from streams.ledger.entry import IdleInputs, LedgerRecord
from streams.ledger.rules import read_rules, refused_change
from streams.messages.canonical import CanonicalReader, Unreadable
from streams.messages.command import WITHDRAWN_AT_ONCE, ChangeRules, Command, Withdraw, decode_command
from streams.state_store.store import RocksStore

__all__ = ["Incoming", "PartitionTask", "StepResult", "StoredCheckpoint", "join_rejects", "tasks_to_flush"]

log = logging.getLogger("truthloop.join")

FLUSH_KEYS = 150_000
"""Keys touched before a flush; until then memory holds them, and after a crash they are redone from the ledger."""

FLUSH_AFTER_MS = 2_500
"""Bounds the number of steps to redo after a crash, and the time that a flush keeps records waiting."""

FLUSHED_KEYS = 20_000
"""In one turn; beyond that other partitions wait for the next one. A key takes some 7 us, and new records wait."""


class StoredCheckpoint(msgspec.Struct, frozen=True):
    """Checkpoint of a task, as its store keeps it.

    Attributes:
        sequence: number of the next step.
        commands_next: next offset of the commands.
        checkpoint: of the join.
        rules: JSON of the rules in force; see `streams.ledger.rules`.
    """

    sequence: int
    commands_next: int
    checkpoint: Checkpoint = msgspec.field(name="point")
    rules: str

    def encode(self) -> bytes:
        """Return the checkpoint as MessagePack."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> "StoredCheckpoint":
        """Read a checkpoint from MessagePack.

        Raises:
            msgspec.MsgspecError: the value is no checkpoint.
        """
        return _decode(value)


_decode: Callable[[bytes], StoredCheckpoint] = msgspec.msgpack.Decoder(StoredCheckpoint).decode
"""Made at import, for the same reason as in `streams.ledger.entry`."""


@dataclass
class Incoming:
    """Polled messages of one partition, and the next offsets after them; None where an offset did not change."""

    predictions: PartitionMessages = field(default_factory=PartitionMessages)
    labels: PartitionMessages = field(default_factory=PartitionMessages)
    commands: PartitionMessages = field(default_factory=PartitionMessages)
    predictions_next: int | None = None
    labels_next: int | None = None
    commands_next: int | None = None


@dataclass(frozen=True)
class StepResult:
    """Result of one step of one partition, before it is committed.

    Attributes:
        effects: outcomes and rejects of the join.
        unreadable: messages that could not be read: of the predictions, of the labels.
        record: entry for the ledger.
        seen: inputs that had records.
    """

    effects: Effects
    unreadable: tuple[list[Unreadable], list[Unreadable]]
    record: LedgerRecord
    seen: set[str]


class PartitionTask:
    """The join of one partition, with its store.

    Args:
        stored: the checkpoint that `partition` and `store` are at.

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
        self._waiting: list[tuple[int, Command]] = []
        self._commands_read = stored.commands_next
        self._unflushed_since_ms: int | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """Checkpoint of the join."""
        return self.partition.checkpoint

    @property
    def positions(self) -> tuple[int, int, int]:
        """Next offset of the predictions, the labels and the commands."""
        return self.checkpoint.predictions_next, self.checkpoint.labels_next, self.commands_next

    @property
    def has_waiting_command(self) -> bool:
        """Whether a command waits: for the inputs to reach its offsets, or for a step that withdraws fewer labels."""
        return bool(self._waiting)

    def step(self, incoming: Incoming, reader: CanonicalReader, now_ms: int, idle: Idle) -> StepResult:
        """Take one step: this changes the state in memory, and nothing in the store before the next flush."""
        checkpoint = self.checkpoint
        first = (checkpoint.predictions_next, checkpoint.labels_next, self.commands_next)
        following = (
            first[0] if incoming.predictions_next is None else incoming.predictions_next,
            first[1] if incoming.labels_next is None else incoming.labels_next,
        )
        commanded = self._apply_commands(incoming, following, now_ms)
        predictions = reader.prediction_records(*incoming.predictions.columns)
        labels = reader.label_records(*incoming.labels.columns)
        unreadable = (len(predictions.unreadable), len(labels.unreadable))
        close_at_ms, withdrawals = commanded
        records = (predictions.records, labels.records)
        batch = Batch(*records, *following, now_ms, close_at_ms, idle, unreadable, withdrawals=withdrawals)
        effects = self.partition.step(batch)
        record = LedgerRecord(
            sequence=self.sequence,
            partition=self.number,
            now=now_ms,
            predictions=(first[0], following[0]),
            labels=(first[1], following[1]),
            commands=(first[2], self.commands_next),
            policy=self.rules,
            outcomes=len(effects.outcomes),
            rejects=len(effects.rejects) + sum(unreadable),
            checkpoint=checkpoint,
            close_at=close_at_ms,
            idle=IdleInputs(sorted(idle.inputs), idle.elapsed_ms),
            unreadable=unreadable,
            withdrawals=withdrawals,
        )
        self.sequence += 1
        seen = {label[2] for label in labels.records}
        if predictions.records:
            seen.add(PREDICTIONS)
        return StepResult(effects, (predictions.unreadable, labels.unreadable), record, seen)

    def redo(
        self, record: LedgerRecord, predictions: PartitionMessages, labels: PartitionMessages, reader: CanonicalReader
    ) -> None:
        """Redo a step of the ledger, under the rules of its time; its outcomes were sent already."""
        self._change_rules(record.policy)
        batch = record.batch(
            reader.prediction_records(*predictions.columns).records, reader.label_records(*labels.columns).records
        )
        self.partition.step(batch)
        self.sequence = record.sequence + 1
        self.commands_next = self._commands_read = record.commands[1]

    def unflushed_ms(self, now_ms: int) -> int:
        """Return the time since the last flush, counted from when this was first asked after it."""
        if self._unflushed_since_ms is None:
            self._unflushed_since_ms = now_ms
        return abs(now_ms - self._unflushed_since_ms)

    def is_flush_due(self, now_ms: int) -> bool:
        """Tell whether enough keys were touched, or enough time has passed, since the last flush."""
        return self.unflushed_ms(now_ms) >= FLUSH_AFTER_MS or self.store.touched >= FLUSH_KEYS

    def flush(self) -> None:
        """Write the state and its checkpoint to the store; call it only while all steps are committed."""
        self.store.flush(StoredCheckpoint(self.sequence, self.commands_next, self.checkpoint, self.rules).encode())
        self._unflushed_since_ms = None

    def close(self) -> None:
        """Close the store; steps that were not flushed will be redone from the ledger."""
        self.store.close()

    def _change_rules(self, rules: str) -> None:
        if rules != self.rules:
            self.partition.change_rules(read_rules(rules).policy)
            self.rules = rules

    def _apply_commands(
        self, incoming: Incoming, following: tuple[int, int], now_ms: int
    ) -> tuple[int | None, list[Withdrawal]]:
        """Apply the commands that are due, in their order.

        Returns:
            The time up to which the inputs are closed, and the labels to withdraw.
        """
        for offset, value in zip(incoming.commands.offsets, incoming.commands.values, strict=True):
            command = decode_command(value)
            if command is not None:
                self._waiting.append((offset, command))
        if incoming.commands_next is not None:
            self._commands_read = incoming.commands_next
        close_at_ms: int | None = None
        withdrawals: list[Withdrawal] = []
        while self._waiting:
            _, command = self._waiting[0]
            if isinstance(command, Withdraw):
                if withdrawals and len(withdrawals) + len(command.labels) > WITHDRAWN_AT_ONCE:
                    break
                withdrawals += command.labels
                log.info(
                    "partition %d: %d labels of %s are withdrawn", self.number, len(command.labels), command.episode
                )
            elif isinstance(command, ChangeRules):
                if refusal := refused_change(self.rules, command.rules):
                    log.error("partition %d: the rules are not changed: %s", self.number, refusal)
                else:
                    self._change_rules(command.rules)
            elif command.predictions_next > following[0] or command.labels_next > following[1]:
                break
            elif command.time <= now_ms:
                close_at_ms = command.time if close_at_ms is None else max(command.time, close_at_ms)
            del self._waiting[0]
        self.commands_next = self._waiting[0][0] if self._waiting else self._commands_read
        return close_at_ms, withdrawals


def tasks_to_flush(stepped: Iterable[tuple[PartitionTask, int]]) -> list[PartitionTask]:
    """Return the tasks to flush in this turn: of those that are due, the ones that have waited longest.

    Args:
        stepped: tasks whose steps are committed, each with the time of its step.
    """
    due = [(task, now_ms) for task, now_ms in stepped if task.is_flush_due(now_ms)]
    due.sort(key=lambda one: one[0].unflushed_ms(one[1]), reverse=True)
    keys = [*accumulate(task.store.touched for task, _ in due)]
    return [task for (task, _), sum_ in zip(due, keys, strict=True) if task is due[0][0] or sum_ <= FLUSHED_KEYS]


def join_rejects(step: StepResult, topics: Topics, seen_at_ms: int) -> Iterator[bytes]:
    """Yield one message for each record that ended in a step without an outcome."""
    record = step.record
    common: dict[str, object] = {"v": 1, "stage": "join", "seen_at": seen_at_ms, "sequence": record.sequence}
    common |= {"partition": record.partition, "source_partition": record.partition}
    sources = {"predictions": topics.predictions, "labels": topics.labels}
    for row in step.effects.rejects:
        own: dict[str, object] = {"input": row.input, "reason": row.reason.value, "kind": row.kind}
        yield _encode_reject(common | own, sources[row.input], row.offset)
    for name, unreadable in zip(sources, step.unreadable, strict=True):
        for one in unreadable:
            own = {"input": name, "stage": "mapping", "reason": one.reason, "detail": one.detail, "digest": one.digest}
            yield _encode_reject(common | own, sources[name], one.offset)


def _encode_reject(fields: dict[str, object], source: str, offset: int) -> bytes:
    return msgspec.json.encode(
        {name: value for name, value in fields.items() if value is not None}
        | {"source": source, "offset": offset, "source_row": offset}
    )
