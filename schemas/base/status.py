"""Closed vocabularies of the join: statuses of outcomes, reasons of revisions, reasons of rejections.

`docs/semantics.md` explains them.
"""

from enum import StrEnum

__all__ = ["NEVER_KEPT", "Reason", "RejectReason", "Status"]


class Status(StrEnum):
    """Status of the outcome of one prediction and kind."""

    PENDING = "pending"
    JOINED = "joined"
    IMPLIED = "implied"
    EXPIRED = "expired"
    RETRACTED = "retracted"


class Reason(StrEnum):
    """Cause of a revision of an outcome."""

    FIRST = "first"
    EARLY = "early"
    LATE = "late"
    CORRECTION = "correction"
    RETRACTION = "retraction"
    WITHDRAWAL = "withdrawal"
    TIMEOUT = "timeout"
    AGED_OUT = "aged_out"


class RejectReason(StrEnum):
    """Why a record was not added to the join's state, or left it without an outcome."""

    # by the mapping: the record never became a message
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_JSON_KEY = "duplicate_json_key"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    UNSUPPORTED_VERSION = "unsupported_version"
    BAD_KEY = "bad_key"
    BAD_ID = "bad_id"
    BAD_TIME = "bad_time"
    NAIVE_TIME = "naive_time"
    NONEXISTENT_TIME = "nonexistent_time"
    BAD_VERSION = "bad_version"
    BAD_VALUE = "bad_value"
    BAD_OP = "bad_op"
    UNKNOWN_KIND = "unknown_kind"
    AVRO_OR_PROTOBUF = "avro_or_protobuf"
    UNKNOWN_SCHEMA = "unknown_schema"
    UNDECODABLE = "undecodable"
    HOOK_FAILED = "hook_failed"
    CRASHED_THE_PROCESS = "crashed_the_process"
    # by the join
    FUTURE = "future"
    TOO_OLD = "too_old"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    STALE = "stale"
    NOTHING_TO_RETRACT = "nothing_to_retract"
    TOO_LATE = "too_late"
    UNKNOWN_PREDICTION = "unknown_prediction"
    WAITING_LIMIT = "waiting_limit"
    WITHDRAWN = "withdrawn"
    NOT_WITHDRAWN = "not_withdrawn"


NEVER_KEPT = frozenset(
    {
        RejectReason.FUTURE,
        RejectReason.TOO_OLD,
        RejectReason.DUPLICATE,
        RejectReason.CONFLICT,
        RejectReason.NOTHING_TO_RETRACT,
    }
)
"""Reasons of the join for records that it did not accept: its state never held them."""
