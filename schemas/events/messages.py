"""Canonical messages between producers, the join and the lake, one model each.

They define what is valid. The hot path does not use them: it decodes whole batches as columns, by the same rules.

Unknown fields are ignored, so that newer and older versions understand each other while they are rolled; a change of
meaning raises `v`. Everything else is strict: types, finite numbers, bounded names.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic.config import JsonDict

from schemas.base.instant import Moment, RecordTime
from schemas.base.model import LenientModel
from schemas.base.status import Reason, RejectReason, Status
from schemas.base.validators import is_finite_json, is_identifier, is_no_bool
from schemas.config.prediction import Name

__all__ = ["Label", "LabelValue", "LedgerEntry", "Outcome", "Prediction", "Rejection", "SilentInputs"]

INT64_MAX = (1 << 63) - 1

Identifier = Annotated[
    str,
    Field(min_length=1, max_length=1_024, pattern=r"^[^\u0000]+$"),
    AfterValidator(is_identifier),
]
"""1 to 1024 bytes of UTF-8, no NUL. JSON Schema can only limit characters."""

Json = Annotated[JsonValue, AfterValidator(is_finite_json)]

LabelValue = float | str
"""A number (binary: 0 or 1; regression), or a class (multiclass)."""

Position = Annotated[int, Field(ge=0, le=INT64_MAX)]
Partition = Annotated[int, Field(ge=0, le=(1 << 31) - 1)]
Int64 = Annotated[int, Field(ge=-INT64_MAX - 1, le=INT64_MAX)]
Range = Annotated[tuple[Position, Position], AfterValidator(lambda positions: _forward(*positions))]
Version = Annotated[str, Field(min_length=1, max_length=200)]
Definition = Annotated[str, Field(min_length=1, max_length=200)]

_LABEL_RULES: JsonDict = {
    "allOf": [
        {
            "if": {"properties": {"op": {"const": "heartbeat"}}, "required": ["op"]},
            "then": {"properties": {"key": {"type": "null"}, "value": {"type": "null"}}},
            "else": {"properties": {"key": {"type": "string"}}, "required": ["key"]},
        },
        {
            "if": {"properties": {"op": {"enum": ["retract", "delete"]}}, "required": ["op"]},
            "then": {"properties": {"value": {"type": "null"}}},
        },
        {
            "if": {"properties": {"op": {"const": "upsert"}}},
            "then": {"properties": {"value": {"type": ["number", "string"]}}, "required": ["value"]},
        },
    ]
}

_REASONS: dict[Status, frozenset[Reason]] = {
    Status.PENDING: frozenset({Reason.WITHDRAWAL}),
    Status.JOINED: frozenset({Reason.FIRST, Reason.EARLY, Reason.LATE, Reason.CORRECTION, Reason.WITHDRAWAL}),
    Status.IMPLIED: frozenset({Reason.TIMEOUT, Reason.WITHDRAWAL}),
    Status.EXPIRED: frozenset({Reason.TIMEOUT, Reason.AGED_OUT, Reason.WITHDRAWAL}),
    Status.RETRACTED: frozenset({Reason.RETRACTION, Reason.WITHDRAWAL}),
}


def _forward(first: int, following: int) -> tuple[int, int]:
    if following < first:
        raise ValueError(f"ends at {following}, before it begins at {first}")
    return first, following


class _Message(LenientModel):
    v: Annotated[Literal[1], BeforeValidator(is_no_bool)] = Field(description="Version of the message format.")


class _Given(LenientModel):
    """A message that producers write."""

    v: Annotated[Literal[1], BeforeValidator(is_no_bool)] = Field(
        default=1, description="Version of the message format; 1 when left out."
    )


class Prediction(_Given):
    """One prediction of a model for a key. (key, id) is its identity: of several, the first one counts."""

    key: Identifier = Field(description="Key that labels are joined on. 1 to 1024 bytes of UTF-8, no NUL.")
    id: Identifier | None = Field(
        default=None, description="Id of the prediction among those of the key; the key itself when left out."
    )
    time: RecordTime = Field(description="When it was made.")
    arrived_at: RecordTime | None = Field(
        default=None, description="When it reached the first topic that Truthloop read."
    )
    version: Version = Field(description="Version of the model.")
    outputs: dict[Name, LabelValue | None] = Field(
        description="By label kind: a probability from 0 to 1 (binary), a class (multiclass) or a number."
    )
    slices: dict[Name, str | None] = Field(
        default_factory=dict, description="Group that it belongs to, by name of the slice."
    )
    features: dict[str, Json] = Field(
        default_factory=dict, description="Input of the model, in the units of the loop's contract."
    )
    weight: float = Field(default=1.0, ge=0.0, description="Weight of the prediction; no unit.")
    eligible: bool = Field(default=True, description="Whether a label can be expected at all.")


class Label(_Given):
    """Ground truth of a key, of one kind and definition; or its retraction; or a heartbeat.

    The label of record is the one with the greatest (time, position). A heartbeat states that all labels of its kind up
    to its time have been sent.
    """

    model_config = ConfigDict(json_schema_extra=_LABEL_RULES)

    key: Identifier | None = Field(default=None, description="Key that the label is true for; none in a heartbeat.")
    kind: Name = Field(description="Label kind: one of the loop's `labels`.")
    value: LabelValue | None = Field(
        default=None, description="0 or 1 (binary), a class or a number; only if op is upsert."
    )
    op: Literal["upsert", "retract", "delete", "heartbeat"] = Field(
        default="upsert",
        description="Whether it sets, retracts or only advances time. delete: a retraction if there is a label that is "
        "not retracted, else nothing.",
    )
    time: RecordTime = Field(description="When it became known.")
    happened_at: RecordTime | None = Field(default=None, description="When the event that it is about happened.")
    arrived_at: RecordTime | None = Field(
        default=None, description="When it reached the first topic that Truthloop read."
    )
    definition: Definition | None = Field(
        default=None, description="Definition of the value; the config's when left out."
    )
    source: str | None = Field(default=None, max_length=200, description="Name of the source.")
    origin: Literal["live", "backfill"] = Field(default="live", description="backfill: it restates the past.")
    batch_id: str | None = Field(default=None, max_length=200, description="Backfill that it belongs to.")

    @model_validator(mode="after")
    def _fields_fit_the_op(self) -> "Label":
        if self.op == "heartbeat":
            if self.key is not None or self.value is not None:
                raise ValueError("a heartbeat has neither key nor value")
            return self
        if self.key is None:
            raise ValueError(f"op: {self.op} needs a key")
        if (self.value is not None) != (self.op == "upsert"):
            raise ValueError("op: upsert needs a value" if self.op == "upsert" else "a retraction has no value")
        return self


class Outcome(_Message):
    """One revision of the outcome of one prediction and kind.

    A pending outcome has no revision, unless the label that it had was withdrawn. Of all revisions of (key, id, kind,
    definition) the greatest is current.
    """

    partition: Partition = Field(description="Partition of the key.")
    key: Identifier = Field(description="Key of the prediction.")
    id: Identifier = Field(description="Id of the prediction.")
    kind: Name = Field(description="Label kind.")
    definition: Definition = Field(description="Definition of the value.")
    status: Literal["pending", "joined", "implied", "expired", "retracted"] = Field(
        description="Status after this revision."
    )
    reason: Reason = Field(strict=False, description="Cause of this revision.")
    value: LabelValue | None = Field(default=None, description="Value, if joined or implied.")
    previous: LabelValue | None = Field(default=None, description="The value before this revision.")
    previous_status: Status = Field(strict=False, description="The status before this revision.")
    predicted_at: Moment = Field(description="When the prediction was made.")
    known_at: Moment = Field(
        description="When the revision could be known; for a timeout the deadline, predicted_at plus the horizon; "
        "where nothing is known any more (pending) predicted_at."
    )
    revision: Position = Field(description="Revision number: strictly growing, with gaps.")
    prediction_offset: Position = Field(description="Position of the prediction in its partition.")
    label_offset: Position | None = Field(default=None, description="Position of the label that decided it.")
    label_time: Moment | None = Field(default=None, description="Time of that label.")
    version: Version = Field(description="Version of the model.")
    eligible: bool = Field(description="Whether a label could be expected at all.")
    weight: float = Field(ge=0.0, description="Weight of the prediction; no unit.")
    output: LabelValue | None = Field(default=None, description="Output of the model for this kind.")
    slices: dict[Name, str | None] = Field(default_factory=dict, description="Slices of the prediction.")

    @model_validator(mode="after")
    def _status_fits(self) -> "Outcome":
        if self.reason not in _REASONS[Status(self.status)]:
            raise ValueError(f"status {self.status} cannot come by reason {self.reason}")
        if (self.value is not None) != (self.status in ("joined", "implied")):
            raise ValueError(f"status {self.status} and value {self.value!r} do not go together")
        return self


class Rejection(_Message):
    """A record without an outcome: its position and the reason, without its payload."""

    input: Literal["predictions", "labels"] = Field(description="Input of the record.")
    stage: Literal["mapping", "join"] = Field(description="mapping: it never became a message; join: it did.")
    reason: RejectReason = Field(strict=False, description="Reason code.")
    detail: str | None = Field(
        default=None, max_length=1_000, description="Fault in words, without the record's values."
    )
    partition: Partition | None = Field(
        default=None, description="Partition of its key; null if it was not assigned one."
    )
    offset: Position | None = Field(default=None, description="Offset in that partition.")
    source: str = Field(min_length=1, max_length=1_024, description="sha256 of the file in hex, or the topic.")
    source_row: Position = Field(
        description="1-based number of the record in the file (without a header), or offset in the topic."
    )
    kind: Name | None = Field(default=None, description="Label kind, if it is known.")
    digest: Int64 | None = Field(default=None, description="xxh3-64 of the record, as a signed integer.")

    @model_validator(mode="after")
    def _position_is_whole(self) -> "Rejection":
        if (self.partition is None) != (self.offset is None):
            raise ValueError("partition and offset are given together or not at all")
        if self.stage == "join" and self.offset is None:
            raise ValueError("stage: join needs partition and offset")
        return self


class SilentInputs(LenientModel):
    """Idle inputs of a partition: read to their end, and without a new record."""

    inputs: list[str] = Field(default_factory=list, description="`predictions`, or label kinds.")
    elapsed_ms: int = Field(default=0, ge=0, description="Longest time that one of them has been idle.")


class LedgerEntry(_Message):
    """Input ranges and checkpoint of one step of one partition: enough to redo the step.

    The steps of a partition are numbered without gaps, and each begins where the previous one ended.
    """

    sequence: Position = Field(description="Number of the partition's step.")
    partition: Partition = Field(description="The partition.")
    now: Moment = Field(description="Wall-clock time of the step.")
    predictions: Range = Field(
        description="Range of predictions that were read: first position, and position after the last."
    )
    labels: Range = Field(description="Range of labels.")
    commands: Range = Field(description="Range of commands.")
    unreadable: tuple[Position, Position] = Field(
        default=(0, 0), description="Numbers of messages in the ranges that are not valid predictions or labels."
    )
    close_at: Moment | None = Field(default=None, description="Time up to which all inputs are complete.")
    idle: SilentInputs = Field(
        default_factory=SilentInputs, description="Idle inputs, which did not hold the watermark back."
    )
    policy: str = Field(description="Rules of the join that were in force, as JSON text, durations in ms.")
    outcomes: Position = Field(description="Number of outcome revisions that the step produced.")
    rejects: Position = Field(description="Number of records that it rejected.")
    withdrawals: list[tuple[str, Moment, Position]] = Field(
        default_factory=list, description="Labels that it withdrew: kind, known_at and position of each."
    )
    point: dict[str, Json] = Field(
        description="Checkpoint: watermarks, cursors, floor, cumulative counters, fingerprint of the state. Its inner "
        "form is internal and may change."
    )
