"""The canonical messages: what flows between producers, the join and the lake, one model for each.

They say what is valid; `python -m schemas.publish` makes JSON Schemas of them. The hot path does not use
them: it decodes whole batches as columns and keeps to the same rules. Must not read or write anything.

Unknown fields: in every message they are ignored, so that a newer sender and an older reader (or the other
way round, while versions are rolled) understand each other; a change of meaning raises `v`. Within one
message nothing else is lenient: types are strict, numbers finite, names bounded.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic.config import JsonDict

from schemas.base.instant import Moment
from schemas.base.status import Reason, RejectReason, Status
from schemas.base.validators import is_finite_json, is_identifier, is_no_bool
from schemas.config.loop import Name

__all__ = ["Label", "LabelValue", "LedgerEntry", "Outcome", "Prediction", "Rejection", "SilentInputs"]

INT64_MAX = (1 << 63) - 1

Identifier = Annotated[
    str,
    Field(min_length=1, max_length=1_024, pattern=r"^[^\u0000]+$"),
    AfterValidator(is_identifier),
]
"""1 to 1024 bytes of UTF-8 (JSON Schema can only count characters), no NUL."""

Json = Annotated[JsonValue, AfterValidator(is_finite_json)]

LabelValue = float | str
"""A number (binary: 0 or 1; regression), or a class (multiclass)."""

Position = Annotated[int, Field(ge=0, le=INT64_MAX)]
Partition = Annotated[int, Field(ge=0, le=(1 << 31) - 1)]
Signed = Annotated[int, Field(ge=-INT64_MAX - 1, le=INT64_MAX)]
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
            "if": {"properties": {"op": {"const": "retract"}}, "required": ["op"]},
            "then": {"properties": {"value": {"type": "null"}}},
        },
        {
            "if": {"properties": {"op": {"const": "upsert"}}},
            "then": {"properties": {"value": {"type": ["number", "string"]}}, "required": ["value"]},
        },
    ]
}

_REASONS: dict[Status, frozenset[Reason]] = {
    Status.JOINED: frozenset({Reason.FIRST, Reason.EARLY, Reason.LATE, Reason.CORRECTION}),
    Status.IMPLIED: frozenset({Reason.TIMEOUT}),
    Status.EXPIRED: frozenset({Reason.TIMEOUT, Reason.AGED_OUT}),
    Status.RETRACTED: frozenset({Reason.RETRACTION}),
}


def _forward(first: int, following: int) -> tuple[int, int]:
    if following < first:
        raise ValueError(f"ends at {following}, before it begins at {first}")
    return first, following


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)

    v: Annotated[Literal[1], BeforeValidator(is_no_bool)] = Field(description="Version of the message's form.")


class Prediction(_Message):
    """What a model said about one key, once. (key, id) is its identity: the first one stands."""

    key: Identifier = Field(description="What labels are joined on. 1 to 1024 bytes of UTF-8, no NUL.")
    id: Identifier | None = Field(
        default=None, description="Which prediction of the key this is; the key itself when left out."
    )
    time: Moment = Field(description="When it was made.")
    arrived_at: Moment | None = Field(default=None, description="When it reached the first topic that Truthloop read.")
    version: Version = Field(description="Version of the model.")
    outputs: dict[Name, LabelValue | None] = Field(
        description="By label kind: a probability from 0 to 1 (binary), a class (multiclass) or a number."
    )
    slices: dict[Name, str | None] = Field(default_factory=dict, description="By name: the group it belongs to.")
    features: dict[str, Json] = Field(
        default_factory=dict, description="What the model was given, in the units of the loop's contract."
    )
    weight: float = Field(default=1.0, ge=0.0, description="How much it counts; no unit.")
    eligible: bool = Field(default=True, description="Whether a label can be expected at all.")


class Label(_Message):
    """The ground truth of a key, of one kind and one definition; or its retraction; or a heartbeat.

    The label of record is the one with the greatest (time, position). A heartbeat says that all labels of
    its kind up to its time have been sent.
    """

    model_config = ConfigDict(json_schema_extra=_LABEL_RULES)

    key: Identifier | None = Field(default=None, description="What it is true for; none in a heartbeat.")
    kind: Name = Field(description="Label kind: one of the loop's `labels`.")
    value: LabelValue | None = Field(
        default=None, description="0 or 1 (binary), a class or a number; only where op is upsert."
    )
    op: Literal["upsert", "retract", "heartbeat"] = Field(default="upsert", description="What it does.")
    time: Moment = Field(description="When it became known.")
    happened_at: Moment | None = Field(default=None, description="When what it tells of happened.")
    arrived_at: Moment | None = Field(default=None, description="When it reached the first topic that Truthloop read.")
    definition: Definition | None = Field(default=None, description="What the value means; the config's when left out.")
    source: str | None = Field(default=None, max_length=200, description="Where it comes from.")
    origin: Literal["live", "backfill"] = Field(default="live", description="backfill: a past told anew.")
    batch_id: str | None = Field(default=None, max_length=200, description="Which backfill it belongs to.")

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
    """One revision of what is known about one kind of one prediction.

    Pending has no row. Of all revisions of (key, id, kind, definition) the greatest stands.
    """

    partition: Partition = Field(description="Partition of the key.")
    key: Identifier = Field(description="Of the prediction.")
    id: Identifier = Field(description="Of the prediction.")
    kind: Name = Field(description="Label kind.")
    definition: Definition = Field(description="What the value means.")
    status: Literal["joined", "implied", "expired", "retracted"] = Field(description="What is known now.")
    reason: Reason = Field(strict=False, description="Why there is this revision.")
    value: LabelValue | None = Field(default=None, description="The truth, where joined or implied.")
    previous: LabelValue | None = Field(default=None, description="The value before this revision.")
    previous_status: Status = Field(strict=False, description="The status before this revision.")
    predicted_at: Moment = Field(description="When the prediction was made.")
    known_at: Moment = Field(
        description="When this could be known; of a timeout the deadline, predicted_at plus the horizon."
    )
    revision: Position = Field(description="Strictly growing, not dense.")
    prediction_offset: Position = Field(description="Position of the prediction in its partition.")
    label_offset: Position | None = Field(default=None, description="Position of the deciding label.")
    label_time: Moment | None = Field(default=None, description="That label's own time.")
    version: Version = Field(description="Version of the model.")
    eligible: bool = Field(description="Whether a label could be expected at all.")
    weight: float = Field(ge=0.0, description="How much the prediction counts; no unit.")
    output: LabelValue | None = Field(default=None, description="What the model said of this kind.")
    slices: dict[Name, str | None] = Field(default_factory=dict, description="The prediction's groups.")

    @model_validator(mode="after")
    def _status_fits(self) -> "Outcome":
        if self.reason not in _REASONS[Status(self.status)]:
            raise ValueError(f"status {self.status} cannot come by reason {self.reason}")
        if (self.value is not None) != (self.status in ("joined", "implied")):
            raise ValueError(f"status {self.status} and value {self.value!r} do not go together")
        return self


class Rejection(_Message):
    """A record that made no outcome: where it stands and why, without its payload."""

    input: Literal["predictions", "labels"] = Field(description="Which input it came by.")
    stage: Literal["mapping", "join"] = Field(description="mapping: never became a message; join: did.")
    reason: RejectReason = Field(strict=False, description="Why.")
    detail: str | None = Field(default=None, max_length=1_000, description="What is wrong, without its values.")
    partition: Partition | None = Field(default=None, description="Where it got that far.")
    offset: Position | None = Field(default=None, description="Position in that partition.")
    source: str = Field(min_length=1, max_length=1_024, description="sha256 of the file in hex, or the topic.")
    source_row: Position = Field(description="1-based record of the file (its header not counted), or offset.")
    kind: Name | None = Field(default=None, description="Label kind, where it is known.")
    digest: Signed | None = Field(default=None, description="xxh3-64 of the record, as a signed integer.")

    @model_validator(mode="after")
    def _position_is_whole(self) -> "Rejection":
        if (self.partition is None) != (self.offset is None):
            raise ValueError("partition and offset are there together or not at all")
        if self.stage == "join" and self.offset is None:
            raise ValueError("stage: join needs partition and offset")
        return self


class SilentInputs(BaseModel):
    """Inputs of a partition that were read to their end and silent."""

    model_config = _Message.model_config

    inputs: list[str] = Field(default_factory=list, description="`predictions`, or label kinds.")
    elapsed_ms: int = Field(default=0, ge=0, description="How long the longest-silent one has been silent.")


class LedgerEntry(_Message):
    """What one step read in one partition, and where it left everything: enough to take the step again.

    The steps of a partition are dense, and each begins where the one before it ended.
    """

    sequence: Position = Field(description="Number of the partition's step.")
    partition: Partition = Field(description="Which partition.")
    now: Moment = Field(description="What the step took for the present.")
    predictions: Range = Field(description="Positions of the predictions that were read: first, and after the last.")
    labels: Range = Field(description="The same of the labels.")
    commands: Range = Field(description="The same of the commands.")
    unreadable: tuple[Position, Position] = Field(
        default=(0, 0), description="How many messages of the ranges were no predictions, and no labels."
    )
    close_at: Moment | None = Field(default=None, description="All inputs are complete up to this time.")
    idle: SilentInputs = Field(default_factory=SilentInputs, description="Inputs that did not hold time back.")
    policy: str = Field(description="The rules of the join as they were, as JSON text, durations in ms.")
    outcomes: Position = Field(description="How many revisions of outcomes the step made.")
    rejects: Position = Field(description="How many records ended in it without an outcome.")
    point: dict[str, Json] = Field(
        description="Where it left everything: marks, cursors, floor, counters (cumulative), fingerprint of the state. "
        "Its inner form is Truthloop's own and may change."
    )
