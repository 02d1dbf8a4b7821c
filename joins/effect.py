"""The effects of a step: revisions of outcomes, and rejects."""

from typing import Any, NamedTuple

import msgspec

from joins.record import LabelValue
from schemas.base.status import Reason, RejectReason, Status

__all__ = ["Effects", "OutcomeRow", "RejectRow"]


class OutcomeRow(NamedTuple):
    """One revision of one outcome; the fields mean what `schemas.events.messages.Outcome` says."""

    key: str
    id: str
    kind: str
    definition: str
    status: Status
    reason: Reason
    value: LabelValue
    previous: LabelValue
    previous_status: Status
    predicted_at_ms: int
    known_at_ms: int
    revision: int
    prediction_offset: int
    label_offset: int | None
    label_time_ms: int | None
    eligible: bool
    projection: Any


class RejectRow(msgspec.Struct, frozen=True, gc=False):
    """A record that made no outcome: its position and the reason, without its payload."""

    input: str
    offset: int
    reason: RejectReason
    kind: str | None = None


class Effects(msgspec.Struct):
    """All that one step produced. Its order does not tell in which form the store had the keys.

    Attributes:
        outcomes: revisions, by number, then by the prediction's offset, then by kind and definition.
        rejects: records that ended without an outcome, by input and offset.
    """

    outcomes: list[OutcomeRow]
    rejects: list[RejectRow]
