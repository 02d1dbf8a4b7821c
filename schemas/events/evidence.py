"""Evaluations of the evidence, and decisions of the gate: both published, and stored in the lake.

An evaluation is of one label kind at the end of one day in the loop's time zone. It reports what was known then, never
what became known later. Where labels come within hours, an interruption of them is logged between two evaluations.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from schemas.base.instant import Moment
from schemas.base.model import StrictModel
from schemas.events.backfill import Episode, Name, Verdict
from schemas.events.memory import VersionMemory

__all__ = [
    "Condition",
    "Decision",
    "Evaluation",
    "Event",
    "Finding",
    "FindingKind",
    "GateState",
    "LabelFault",
    "Level",
    "Place",
]

DECISION_PATTERN = r"^rt-[0-9a-f]{32}$"

Text = Annotated[str, Field(max_length=1_000)]


class GateState(StrEnum):
    """State of the gate between evidence and a retrain."""

    UNKNOWN = "unknown"
    IDLE = "idle"
    WATCHING = "watching"
    HELD = "held"
    WAITING = "waiting"
    PREPARING = "preparing"
    REQUESTED = "requested"
    RUNNING = "running"
    COOLING = "cooling"


class Event(StrEnum):
    """Event in the gate's log."""

    EVALUATED = "evaluated"
    INTERRUPTED = "interrupted"
    PREPARED = "prepared"
    DELIVERED = "delivered"
    UNDELIVERABLE = "undeliverable"
    ACCEPTED = "accepted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEPLOYED = "deployed"
    OVERDUE = "overdue"
    RESOLVED = "resolved"
    BACKFILLED = "backfilled"
    APPROVED = "approved"
    REJECTED = "rejected"
    RESTATED = "restated"
    JUDGED = "judged"
    REFUSED = "refused"
    RETIRED = "retired"


class FindingKind(StrEnum):
    """Kind of a finding."""

    ERROR_DRIFT = "error_drift"
    SHIFT = "shift"
    METRIC_LOSS = "metric_loss"
    COVERAGE = "coverage"
    SILENCE = "silence"
    QUALITY = "quality"
    DELAY_LAW = "delay_law"
    BACKFILL = "backfill"
    CONTRACT = "contract"
    ROLLBACK = "rollback"


class Level(StrEnum):
    """Severity of a finding, in growing order."""

    OK = "ok"
    CALIBRATING = "calibrating"
    WARN = "warn"
    ALARM = "alarm"

    @property
    def gravity(self) -> int:
        """Rank among the levels, from 0."""
        return list(Level).index(self)


class Place(StrEnum):
    """What a finding is about."""

    ERROR = "error"
    OUTPUT = "output"
    LABEL = "label"
    FEATURES = "features"
    METRIC = "metric"
    LABELS = "labels"


class Finding(StrictModel):
    """One check whose result is remarkable, or cannot be judged yet."""

    kind: FindingKind = Field(description="What was found.")
    place: Place = Field(description="What it is about.")
    subject: Name = Field(description="Name of the feature, metric or label kind.")
    level: Level = Field(description="alarm: it may trigger a retrain, or hold one.")
    value: float | None = Field(default=None, description="The statistic that was judged.")
    limit: float | None = Field(default=None, description="Limit of the statistic.")
    text: Text = Field(description="The finding as one sentence.")


class LabelFault(StrictModel):
    """Labels that are missing: it stays open until they come again, or until a person retires its subject."""

    check: Literal["silence", "loss"] = Field(description="silence: no label at all. loss: fewer than usual.")
    scope: Literal["source", "slice", "kind"] = Field(description="Whose labels are missing.")
    subject: Name = Field(description="Name of the source or of the label kind, or the slice as NAME=VALUE.")
    since: Moment = Field(description="When labels began to be missing. What is usual is learned from before it.")
    until: Moment | None = Field(default=None, description="When they came again; null while they are missing.")
    share: float | None = Field(default=None, ge=0, le=1, description="Share of its usual labels that is missing.")


class Evaluation(StrictModel):
    """What was known about one label kind at the end of one day."""

    loop: Name = Field(description="Name of the loop.")
    kind: Name = Field(description="Label kind.")
    at: Moment = Field(description="Evidence time: the end of `day` in the loop's time zone.")
    day: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="The day that ended.")
    version: Name | None = Field(description="The running model version; null before the first prediction.")
    versions: list[Name] = Field(description="Every version that has predicted, in order of its first prediction.")
    judged_day: str | None = Field(description="The newest day that is old enough to be judged; null if none is.")
    mature_labels: int = Field(ge=0, description="Number of labels of the running version's mature days.")
    rarer_class: int | None = Field(description="Number of labels of the rarer class among them; null unless binary.")
    findings: list[Finding] = Field(description="Findings, the worst first.")
    sources: list[Name] = Field(default_factory=list, description="Label sources that are known from this day on.")
    faults: list[LabelFault] = Field(default_factory=list, description="Labels that are missing, or were lately.")
    memory: VersionMemory | None = Field(default=None, description="What the next evaluation goes on from. Never sent.")


class Condition(StrictModel):
    """One requirement of the gate, at the time of the evaluation."""

    name: Text = Field(description="Name as in the config's `require`; or `training_rows`, `holdout_rows`.")
    value: Text = Field(description="Actual value.")
    needed: Text = Field(description="Required value.")
    is_met: bool = Field(description="Whether the requirement is met.")


class Decision(StrictModel):
    """One entry of the append-only log of the gate."""

    number: int = Field(ge=0, description="Position in the log.")
    loop: Name = Field(description="Name of the loop.")
    kind: Name = Field(description="Label kind.")
    at: Moment = Field(description="Evidence time of what happened.")
    event: Event = Field(description="What happened.")
    state: GateState = Field(description="State of the gate after the entry.")
    decision: str | None = Field(default=None, pattern=DECISION_PATTERN, description="Id of the retrain it belongs to.")
    reason: Text = Field(description="Why, as one sentence.")
    findings: list[Finding] = Field(
        default_factory=list, description="Triggers for a retrain; of `interrupted`, what is missing."
    )
    conditions: list[Condition] = Field(default_factory=list, description="Requirements, met or not.")
    sources: list[Name] = Field(default_factory=list, description="Label sources that are known from this entry on.")
    faults: list[LabelFault] = Field(default_factory=list, description="Labels that are missing, or were lately.")
    memory: VersionMemory | None = Field(default=None, description="What the next evaluation goes on from. Never sent.")
    version: Name | None = Field(default=None, description="Model version that the entry is about.")
    episode: Episode | None = Field(default=None, description="Backfill that the entry is about.")
    verdict: Verdict | None = Field(default=None, description="Verdict on that backfill.")
    detail: dict[str, str | int | float | None] = Field(
        default_factory=dict,
        description="Data of the event, such as URI and digest of the data set, or who resolved the retrain.",
    )
    source: Literal["loop", "pipeline", "person"] = Field(default="loop", description="Who caused the event.")
