"""Request for a retrain as a pipeline receives it, and the pipeline's callback.

The request is a CloudEvent 1.0 in structured mode: in binary mode its attributes would be headers, which the signature
does not cover. Unknown fields of a request are ignored, because a newer Truthloop may have sent it; those of a callback
are refused, so that a misspelt field is noticed at once.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from schemas.base.instant import parse_moment_ms
from schemas.base.model import LenientModel, StrictModel
from schemas.config.loop import LOOP_PATTERN
from schemas.config.prediction import Name
from schemas.events.dataset_rows import BackfillRows, Count, Reason
from schemas.events.evidence import DECISION_PATTERN, Finding

__all__ = [
    "APPROVED_MAX",
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
"""Receivers of CloudEvents have to accept 64 KiB; proxies in between may accept less."""

APPROVED_MAX = 10
FINDINGS_MAX = 20
SUBJECT_MAX = 200
TEXT_MAX = 300
METRICS_MAX = 64

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
"""Milliseconds in memory, RFC 3339 text in UTC when serialized."""

Decision = Annotated[str, Field(pattern=DECISION_PATTERN, description="Id of the decision.")]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Version = Annotated[str, Field(min_length=1, max_length=200, pattern=_WITHOUT_NUL)]
Uri = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"^[^\s\u0000-\u001f]+$")]
Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]


class RetrainFinding(LenientModel):
    """Summary of a finding that triggered the decision; the whole finding is in the lake."""

    kind: Word = Field(description="Kind of the finding, such as error_drift or metric_loss.")
    place: Word = Field(description="What it is about, such as error, output, label, features or metric.")
    subject: str = Field(
        min_length=1, max_length=SUBJECT_MAX, pattern=_WITHOUT_NUL, description="Name of the feature, metric or kind."
    )
    value: float | None = Field(default=None, description="The statistic that was judged.")
    limit: float | None = Field(default=None, description="Limit of the statistic.")
    text: str = Field(max_length=TEXT_MAX, pattern=_WITHOUT_NUL, description="The finding as one sentence.")

    @classmethod
    def of(cls, finding: Finding) -> "RetrainFinding":
        """Return the summary of a finding; long names and sentences are cut, with an ellipsis."""
        return cls(
            kind=finding.kind.value,
            place=finding.place.value,
            subject=_cut(finding.subject, SUBJECT_MAX),
            value=finding.value,
            limit=finding.limit,
            text=_cut(finding.text, TEXT_MAX),
        )


class RequestedDataset(LenientModel):
    """Data set to train on. It is complete before the request is sent."""

    uri: Uri = Field(description="URI of its folder.")
    manifest_uri: Uri = Field(description="URI of its manifest: files, sizes, digests, and the selection of rows.")
    manifest_sha256: Sha256 = Field(description="SHA-256 of the manifest, in hex. Check it before training.")
    rows: Count = Field(description="Number of its training rows.")
    holdout_rows: Count | None = Field(
        default=None, description="Number of its holdout rows; null: a version that did not count them wrote it."
    )
    left_out: dict[Reason, Count] = Field(
        default_factory=dict, description="Number of old enough predictions that are in neither part, by reason."
    )
    approved: list[BackfillRows] = Field(
        default_factory=list,
        max_length=APPROVED_MAX,
        description="Backfills that were approved since the retrain before: how many of the predictions that they "
        "labelled are in it, and how many are left out, by reason. Those with the most left out come first; the "
        "manifest has all.",
    )
    as_of: Instant = Field(description="It has no label that became known later.")


class RetrainData(LenientModel):
    """What is requested, and why."""

    loop: str = Field(pattern=LOOP_PATTERN, description="Name of the loop.")
    decision: Decision
    kind: Name = Field(description="Label kind whose evidence triggered it.")
    trigger: list[RetrainFinding] = Field(
        min_length=1, max_length=FINDINGS_MAX, description="Findings that triggered it, the gravest first."
    )
    evidence_at: Instant = Field(description="Evidence time of the decision.")
    dataset: RequestedDataset = Field(description="Data set to train on.")
    current_version: Version = Field(description="Version of the model to replace.")
    callback_url: Uri | None = Field(default=None, description="URL for callbacks; null: none are expected.")
    dry_run: bool = Field(
        default=False, description="Whether this is a test of the connection: nothing is to be trained."
    )


class RetrainRequest(LenientModel):
    """Body of the webhook. Its `id` is the decision's: a receiver acts on each id once."""

    specversion: Literal["1.0"] = Field(default="1.0", description="Version of CloudEvents.")
    id: Decision
    source: Annotated[str, Field(pattern=rf"^truthloop/{LOOP_PATTERN[1:]}")] = Field(
        description="`truthloop/` and the loop's name."
    )
    type: Literal["truthloop.retrain.requested.v1"] = Field(default=EVENT_TYPE, description="Type of the event.")
    time: Instant = Field(description="Time of the decision.")
    subject: str = Field(pattern=LOOP_PATTERN, description="Name of the loop.")
    data: RetrainData = Field(description="The request itself.")

    @classmethod
    def of(cls, data: RetrainData, decided_at_ms: int) -> "RetrainRequest":
        """Wrap `data` in a CloudEvent.

        Raises:
            pydantic.ValidationError: it has more than `REQUEST_BYTES_MAX` bytes.
        """
        source = f"truthloop/{data.loop}"
        return cls(id=data.decision, source=source, time=decided_at_ms, subject=data.loop, data=data)

    def body(self) -> bytes:
        """Return the bytes to sign and send; equal requests give equal bytes."""
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


class RetrainCallback(StrictModel):
    """Progress of a pipeline with a decision; signed like the request, with an id of its own.

    What was judged is what ships: the first `succeeded` with a `model_sha256` fixes it for the decision, and a callback
    with another one is refused. `deployed` may be sent once the model predicts; it names version and digest.
    """

    decision: Decision
    status: Literal["accepted", "running", "succeeded", "failed", "deployed"] = Field(
        description="State of the run; deployed: the model that succeeded predicts now."
    )
    version: Version | None = Field(default=None, description="Version of the new model.")
    model_sha256: Sha256 | None = Field(default=None, description="SHA-256 of the model's file, in hex.")
    metrics: dict[Annotated[str, Field(min_length=1, max_length=100, pattern=_WITHOUT_NUL)], float] | None = Field(
        default=None, max_length=METRICS_MAX, description="Metrics that the pipeline measured, by name."
    )
    message: str | None = Field(default=None, max_length=1_000, pattern=_WITHOUT_NUL, description="Message for people.")

    @model_validator(mode="after")
    def _deployed_says_what(self) -> "RetrainCallback":
        if self.status == "deployed" and (self.version is None or self.model_sha256 is None):
            raise ValueError("deployed needs version and model_sha256: what was judged is what ships")
        return self
