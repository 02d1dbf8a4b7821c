"""The life of one outcome: which event may follow which status, and what the new revision's reason is.

Law 1: everything that decides a status lives here. Law 2: this module knows neither keys nor time marks.

A chain is one (prediction, kind, definition). It starts pending, without a row. Labels and retractions
move it at any time; timeouts move it only from pending, so a late label is never undone by a sweep and a
retraction is never followed by an implied value.
"""

from enum import StrEnum

from schemas.base.status import Reason, Status

__all__ = ["TRANSITIONS", "ChainEvent", "IllegalEventError", "follow", "reason_of_label"]


class ChainEvent(StrEnum):
    """What can happen to a chain."""

    LABEL = "label"
    RETRACTION = "retraction"
    EXPIRE = "expire"
    IMPLY = "imply"
    AGE_OUT = "age_out"


_LABELLED = {ChainEvent.LABEL: Status.JOINED, ChainEvent.RETRACTION: Status.RETRACTED}

TRANSITIONS: dict[Status, dict[ChainEvent, Status]] = {
    Status.PENDING: {
        **_LABELLED,
        ChainEvent.EXPIRE: Status.EXPIRED,
        ChainEvent.IMPLY: Status.IMPLIED,
        ChainEvent.AGE_OUT: Status.EXPIRED,
    },
    Status.JOINED: _LABELLED,
    Status.IMPLIED: _LABELLED,
    Status.EXPIRED: _LABELLED,
    Status.RETRACTED: _LABELLED,
}


# Looking up a member on its enum class costs more than comparing it (0.16 us on CPython 3.11).
_JOINED = Status.JOINED
_CORRECTION, _LATE, _EARLY, _FIRST = Reason.CORRECTION, Reason.LATE, Reason.EARLY, Reason.FIRST


class IllegalEventError(Exception):
    """An event came that the chain's status does not allow: a defect of ours, never of the data."""

    def __init__(self, status: Status, event: ChainEvent) -> None:
        self.status = status
        self.event = event
        super().__init__(f"a chain that is {status} cannot {event}")


def follow(status: Status, event: ChainEvent) -> Status:
    """Return the status after `event`.

    Raises:
        IllegalEventError: the table has no such transition.
    """
    try:
        return TRANSITIONS[status][event]
    except KeyError:
        raise IllegalEventError(status, event) from None


def reason_of_label(before: Status, predicted_at_ms: int, known_at_ms: int, horizon_ms: int) -> Reason:
    """Return why a label made a new revision: correction before late before early before first.

    Lateness is judged by when the label could be known, whether or not the sweep had come by.
    """
    if before is _JOINED:
        return _CORRECTION
    if known_at_ms > predicted_at_ms + horizon_ms:
        return _LATE
    if known_at_ms < predicted_at_ms:
        return _EARLY
    return _FIRST
