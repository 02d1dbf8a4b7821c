"""The request for a retrain as a pipeline gets it, and what the pipeline answers later.

The request is a CloudEvent 1.0 in structured mode: in binary mode its attributes would be headers, which no
signature covers. Must not sign, send or read anything.

Unknown fields: a receiver ignores them in a request, which a newer Truthloop may have sent. In a callback
they are refused, so that whoever writes one hears of a misspelt field at once.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from schemas.base.instant import parse_moment_ms
from schemas.config.loop import LOOP_PATTERN, Name
from schemas.events.evidence import DECISION_PATTERN, Finding

__all__ = [
    "CONTENT_TYPE",
    "EVENT_TYPE",
    "REQUEST_BYTES_MAX",
    "RequestedDataset",
    "RetrainCallback",
    "RetrainData",
    "RetrainFinding",
    "RetrainRequest",
]

CONTENT_TYPE = "application/cloudevents+json"
EVENT_TYPE: Final = "truthloop.retrain.requested.v1"
SHA256_PATTERN = r"^[0-9a-f]{64}$"

REQUEST_BYTES_MAX = 20_000
"""Receivers of CloudEvents have to take 64 KiB; what stands between may take less."""

FINDINGS_MAX = 20
SUBJECT_MAX = 200
TEXT_MAX = 300
METRICS_MAX = 64
INT64_MAX = (1 << 63) - 1

_WITHOUT_NUL = r"^[^\u0000]*$"


def _format_instant(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


Instant = Annotated[
    int,
    BeforeValidator(parse_moment_ms),
    PlainSerializer(_format_instant, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""Held as milliseconds, written as RFC 3339 text in UTC."""

Decision = Annotated[str, Field(pattern=DECISION_PATTERN, description="Id of the decision.")]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Version = Annotated[str, Field(min_length=1, max_length=200, pattern=_WITHOUT_NUL)]
Uri = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"^[^\s\u0000-\u001f]+$")]
Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]
Count = Annotated[int, Field(ge=0, le=INT64_MAX)]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class RetrainFinding(_Sent):
    """One finding that led to the decision, in short; the whole of it is in the lake."""

    kind: Word = Field(description="What was found, such as error_drift or metric_loss.")
    place: Word = Field(description="What it speaks about, such as error, output, label, features or metric.")
    subject: str = Field(
        min_length=1, max_length=SUBJECT_MAX, pattern=_WITHOUT_NUL, description="Name of the feature, metric or kind."
    )
    value: float | None = Field(default=None, description="The statistic that was judged.")
    limit: float | None = Field(default=None, description="What it was judged by.")
    text: str = Field(max_length=TEXT_MAX, pattern=_WITHOUT_NUL, description="The same as one sentence.")

    @classmethod
    def of(cls, finding: Finding) -> "RetrainFinding":
        """Return a finding in short: names and sentences that are too long are cut, with an ellipsis."""
        return cls(
            kind=finding.kind.value,
            place=finding.place.value,
            subject=_cut(finding.subject, SUBJECT_MAX),
            value=finding.value,
            limit=finding.limit,
            text=_cut(finding.text, TEXT_MAX),
        )


class RequestedDataset(_Sent):
    """The data set to train on. It is complete before the request is sent."""

    uri: Uri = Field(description="Where it is.")
    manifest_uri: Uri = Field(description="Where its manifest is: files, sizes, digests, and how it was cut.")
    manifest_sha256: Sha256 = Field(description="SHA-256 of the manifest, in hex. Check it before training.")
    rows: Count = Field(description="How many rows it has.")
    as_of: Instant = Field(description="No label that became known later is in it.")


class RetrainData(_Sent):
    """What is asked for, and why."""

    loop: str = Field(pattern=LOOP_PATTERN, description="Name of the loop.")
    decision: Decision
    kind: Name = Field(description="Label kind whose evidence led to it.")
    trigger: list[RetrainFinding] = Field(
        min_length=1, max_length=FINDINGS_MAX, description="What was found, the gravest first."
    )
    evidence_at: Instant = Field(description="How far evidence had come when it was decided.")
    dataset: RequestedDataset = Field(description="What to learn from.")
    current_version: Version = Field(description="Version of the model to replace.")
    callback_url: Uri | None = Field(default=None, description="Where to tell how it goes; none: nobody listens.")
    dry_run: bool = Field(default=False, description="Whether this only tries the way: nothing is to be trained.")


class RetrainRequest(_Sent):
    """The body of the webhook. Its `id` is the decision's: a receiver acts on each id once."""

    specversion: Literal["1.0"] = Field(default="1.0", description="Of CloudEvents.")
    id: Decision
    source: Annotated[str, Field(pattern=rf"^truthloop/{LOOP_PATTERN[1:]}")] = Field(
        description="`truthloop/` and the loop's name."
    )
    type: Literal["truthloop.retrain.requested.v1"] = Field(default=EVENT_TYPE, description="What has happened.")
    time: Instant = Field(description="When it was decided.")
    subject: str = Field(pattern=LOOP_PATTERN, description="Name of the loop.")
    data: RetrainData = Field(description="The request itself.")

    @classmethod
    def of(cls, data: RetrainData, decided_at_ms: int) -> "RetrainRequest":
        """Return the event around `data`.

        Args:
            data: what is asked for.
            decided_at_ms: when it was decided.

        Raises:
            pydantic.ValidationError: it has more than `REQUEST_BYTES_MAX` bytes.
        """
        source = f"truthloop/{data.loop}"
        return cls(id=data.decision, source=source, time=decided_at_ms, subject=data.loop, data=data)

    def body(self) -> bytes:
        """Return the bytes to sign and send; the same request always gives the same bytes."""
        return self.model_dump_json().encode()

    @model_validator(mode="after")
    def _agrees_with_its_data(self) -> "RetrainRequest":
        if self.id != self.data.decision:
            raise ValueError("id and data.decision must be the same")
        if self.subject != self.data.loop or self.source != f"truthloop/{self.data.loop}":
            raise ValueError("source and subject must name data.loop")
        if (size := len(self.body())) > REQUEST_BYTES_MAX:
            raise ValueError(f"has {size} bytes, and a request has at most {REQUEST_BYTES_MAX}")
        return self


class RetrainCallback(BaseModel):
    """How the pipeline gets on with a decision; signed as the request is, with an id of its own.

    What was judged is what ships: the first `succeeded` that names a `model_sha256` fixes it for the decision, and a
    callback that names another one is refused. `deployed` may be sent once the model predicts; it names both.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    decision: Decision
    status: Literal["accepted", "running", "succeeded", "failed", "deployed"] = Field(
        description="How far it has come; deployed: the model that succeeded predicts now."
    )
    version: Version | None = Field(default=None, description="Version of the new model.")
    model_sha256: Sha256 | None = Field(default=None, description="SHA-256 of the model's file, in hex.")
    metrics: dict[Annotated[str, Field(min_length=1, max_length=100, pattern=_WITHOUT_NUL)], float] | None = Field(
        default=None, max_length=METRICS_MAX, description="What the pipeline measured, by name."
    )
    message: str | None = Field(
        default=None, max_length=1_000, pattern=_WITHOUT_NUL, description="Anything that a person should know."
    )

    @model_validator(mode="after")
    def _deployed_says_what(self) -> "RetrainCallback":
        if self.status == "deployed" and (self.version is None or self.model_sha256 is None):
            raise ValueError("deployed needs version and model_sha256: what was judged is what ships")
        return self
