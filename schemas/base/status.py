"""The closed vocabularies of the join: statuses, reasons, and where a record that made no outcome ended.

The words are those of `docs/semantics.md`. This module must not import any other of ours.
"""

from enum import StrEnum

__all__ = ["Reason", "RejectReason", "Status"]


class Status(StrEnum):
    """What is known about one kind of one prediction."""

    PENDING = "pending"
    JOINED = "joined"
    IMPLIED = "implied"
    EXPIRED = "expired"
    RETRACTED = "retracted"


class Reason(StrEnum):
    """Why an outcome got its newest revision."""

    FIRST = "first"
    EARLY = "early"
    LATE = "late"
    CORRECTION = "correction"
    RETRACTION = "retraction"
    TIMEOUT = "timeout"
    AGED_OUT = "aged_out"


class RejectReason(StrEnum):
    """Why a record became no part of the join's state, or left it without an outcome."""

    # in the mapping: the record never becomes a message
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_JSON_KEY = "duplicate_json_key"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
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
    HOOK_FAILED = "hook_failed"
    CRASHED_THE_PROCESS = "crashed_the_process"
    # in the join
    FUTURE = "future"
    TOO_OLD = "too_old"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    STALE = "stale"
    TOO_LATE = "too_late"
    UNKNOWN_PREDICTION = "unknown_prediction"
    WAITING_LIMIT = "waiting_limit"
