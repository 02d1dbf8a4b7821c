"""One entry of the ledger topic: the offsets that one step of one partition read, and the checkpoint that it left.

A step can be redone exactly from its entry and the records in its offset ranges. Pure: no broker, no lake.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from joins import Batch, Checkpoint, Idle, Withdrawal
from joins.record import LabelRecord, PredictionRecord

__all__ = ["IdleInputs", "LedgerRecord", "OffsetRange"]

OffsetRange = tuple[int, int]
"""First offset that was read, and the offset after the last."""


class IdleInputs(msgspec.Struct, frozen=True):
    """Serialised form of `joins.Idle`."""

    inputs: list[str] = []
    elapsed_ms: int = 0


class LedgerRecord(msgspec.Struct, frozen=True):
    """A ledger entry as the join writes and reads it; `schemas.events.messages.LedgerEntry` is the published form.

    Attributes:
        sequence: number of the partition's step, from 0.
        now: processing time of the step, ms UTC.
        policy: JSON of the rules in force; see `streams.ledger.rules`.
        outcomes: number of outcome revisions that the step made.
        rejects: number of records that ended in the step without an outcome.
        checkpoint: state of the partition after the step.
        close_at: time up to which a close command declared all inputs complete, ms UTC.
        idle: inputs that were silent.
        unreadable: messages in the ranges that could not be read: of the predictions, of the labels.
        withdrawals: labels that a command withdrew.
    """

    sequence: int
    partition: int
    now: int
    predictions: OffsetRange
    labels: OffsetRange
    commands: OffsetRange
    policy: str
    outcomes: int
    rejects: int
    checkpoint: Checkpoint = msgspec.field(name="point")
    close_at: int | None = None
    idle: IdleInputs = IdleInputs()
    unreadable: tuple[int, int] = (0, 0)
    withdrawals: list[Withdrawal] = []
    v: Literal[1] = 1

    def batch(self, predictions: list[PredictionRecord], labels: list[LabelRecord]) -> Batch:
        """Return the step's batch, to be redone with the records of its ranges."""
        idle = Idle(frozenset(self.idle.inputs), self.idle.elapsed_ms)
        ends = (self.predictions[1], self.labels[1])
        return Batch(
            predictions, labels, *ends, self.now, self.close_at, idle, self.unreadable, withdrawals=self.withdrawals
        )

    def encode(self) -> bytes:
        """Return the entry as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, message: bytes) -> "LedgerRecord":
        """Read an entry from JSON.

        Raises:
            msgspec.MsgspecError: the message is no ledger entry.
        """
        return _decode(message)


_decode: Callable[[bytes], LedgerRecord] = msgspec.json.Decoder(LedgerRecord).decode
"""Made at import, by one thread: two threads that were the first to decode, at once, have ended a worker (SIGSEGV)."""
