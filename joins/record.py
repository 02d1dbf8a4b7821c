"""What the join reads: canonical records of its inputs, already decoded, and the batch they come in.

Records carry only what joining needs; features and the rest travel in frames next to them. `schemas` and the edges have
decoded and validated everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from schemas.base.status import Status

__all__ = ["Batch", "DecidedOutcome", "Idle", "LabelRecord", "LabelValue", "Op", "PredictionRecord", "Withdrawal"]

LabelValue = float | str | None
"""A number (binary: 0.0 or 1.0), a class, or None where a label was retracted."""


class Op(StrEnum):
    """What a label record does. A deletion is a retraction if there is a label that is not retracted, else nothing."""

    UPSERT = "upsert"
    RETRACT = "retract"
    DELETE = "delete"
    HEARTBEAT = "heartbeat"


class PredictionRecord(NamedTuple):
    """One prediction; edges that have columns may zip them into plain tuples of this order instead.

    Attributes:
        offset: position in the partition's predictions; strictly growing.
        key: what labels are joined on.
        id: which prediction of the key this is; (key, id) is its identity.
        time_ms: when it was made, UTC.
        digest: of the typed contract fields; its upper 16 bits stand for the contract itself.
        eligible: whether a label can be expected at all.
        projection: what outcomes repeat of it (version, weight, outputs, slices); opaque to the join.
    """

    offset: int
    key: str
    id: str
    time_ms: int
    digest: int
    eligible: bool
    projection: Any


class LabelRecord(NamedTuple):
    """One label, retraction or heartbeat; or a plain tuple of this order.

    Attributes:
        offset: position in the partition's labels; strictly growing.
        key: the key it is true for; empty for a heartbeat.
        kind: label kind, one of the policy's.
        definition: what the value means.
        op: upsert, retract, delete or heartbeat.
        value: None unless op is upsert.
        time_ms: when the label became true; the label of record is the one with the greatest.
        known_at_ms: when this system could know it: max(time, arrival), or the time under `clock: event`.
    """

    offset: int
    key: str
    kind: str
    definition: str
    op: Op
    value: LabelValue
    time_ms: int
    known_at_ms: int


class Withdrawal(NamedTuple):
    """A label that is withdrawn after it was read: from then on it is as if it had never come.

    Attributes:
        kind: of the label.
        known_at_ms: of the label; with the offset, its place in the index of labels.
        offset: its position in the partition's labels, below those still to be read.
    """

    kind: str
    known_at_ms: int
    offset: int


class DecidedOutcome(NamedTuple):
    """The part of a revision that restores an outcome; the fields mean what those of `joins.OutcomeRow` mean."""

    key: str
    id: str
    kind: str
    definition: str
    status: Status
    value: LabelValue
    known_at_ms: int
    prediction_offset: int
    label_offset: int | None
    label_time_ms: int | None


@dataclass(frozen=True, slots=True)
class Idle:
    """Inputs of this partition that are caught up and silent.

    Attributes:
        inputs: 'predictions' or label kinds. They are left out of the minimum that makes stream time.
        elapsed_ms: how long none of them has had a record; counts only when all are idle.
    """

    inputs: frozenset[str] = frozenset()
    elapsed_ms: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input of one partition: everything a redo needs to take the same step again.

    Attributes:
        predictions: in offset order, all below `predictions_next`.
        labels: in offset order, all below `labels_next`.
        predictions_next: the offset after the range read, records or not.
        labels_next: the offset after the range of labels read.
        now_ms: the wall clock at the edge; times far ahead of it are rejected.
        close_at_ms: all inputs are complete up to this time (the `close` command).
        idle: which inputs are silent; never in file replay.
        unreadable: how many messages of the range were no predictions, and no labels; only counted.
        withdrawals: labels to withdraw after the batch's records were applied and before time is.
    """

    predictions: Sequence[PredictionRecord]
    labels: Sequence[LabelRecord]
    predictions_next: int
    labels_next: int
    now_ms: int
    close_at_ms: int | None = None
    idle: Idle = field(default_factory=Idle)
    unreadable: tuple[int, int] = (0, 0)
    withdrawals: Sequence[Withdrawal] = ()
