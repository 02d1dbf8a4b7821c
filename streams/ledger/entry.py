"""One entry of the ledger topic: what one transaction read in one partition, and where it left everything.

With it a step can be taken again, exactly. Must not know of lakes or brokers.
"""

from typing import Literal

import msgspec

from joins import Batch, Checkpoint, Idle
from joins.record import LabelRecord, PredictionRecord

__all__ = ["IdleInputs", "LedgerRecord", "Range"]

Range = tuple[int, int]
"""First position that was read, and the position after the last."""


class IdleInputs(msgspec.Struct, frozen=True):
    """`joins.Idle` as it is written."""

    inputs: list[str] = []
    elapsed_ms: int = 0


class LedgerRecord(msgspec.Struct, frozen=True):
    """See `schemas.events.messages.LedgerEntry` for the published form.

    Attributes:
        sequence: number of the partition's step, from 0.
        partition: which.
        now: what the step took for the present, ms.
        predictions: positions read.
        labels: the same.
        commands: the same.
        close_at: all inputs are complete up to this time, ms.
        idle: inputs that were silent.
        unreadable: messages of the range that were no predictions, and no labels.
        policy: JSON of the rules that decided; see `streams.ledger.rules`.
        outcomes: rows that the step wrote.
        rejects: rows that the join wrote.
        checkpoint: where it left everything.
    """

    sequence: int
    partition: int
    now: int
    predictions: Range
    labels: Range
    commands: Range
    policy: str
    outcomes: int
    rejects: int
    checkpoint: Checkpoint = msgspec.field(name="point")
    close_at: int | None = None
    idle: IdleInputs = IdleInputs()
    unreadable: tuple[int, int] = (0, 0)
    v: Literal[1] = 1

    def batch(self, predictions: list[PredictionRecord], labels: list[LabelRecord]) -> Batch:
        """Return the step's batch, given its records again."""
        idle = Idle(frozenset(self.idle.inputs), self.idle.elapsed_ms)
        return Batch(
            predictions, labels, self.predictions[1], self.labels[1], self.now, self.close_at, idle, self.unreadable
        )

    def encode(self) -> bytes:
        """Return the entry as a message."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, message: bytes) -> "LedgerRecord":
        """Read an entry.

        Raises:
            msgspec.MsgspecError: it is none.
        """
        return msgspec.json.decode(message, type=cls)
