"""What was found at one evidence time, and what the gate made of it: two models, published and kept in the lake.

An evaluation is about one label kind and one day's end in the loop's time zone. It says what was known then, never
what became known later. Must not compute anything.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.base.instant import Moment
from schemas.base.validators import is_identifier
from schemas.events.backfill import Episode, Verdict

__all__ = ["Condition", "Decision", "Evaluation", "Event", "Finding", "FindingKind", "GateState", "Level", "Place"]

DECISION_PATTERN = r"^rt-[0-9a-f]{32}$"

Text = Annotated[str, Field(max_length=1_000)]
Name = Annotated[str, Field(min_length=1, max_length=1_024), AfterValidator(is_identifier)]


class GateState(StrEnum):
    """Where the way from evidence to a retrain stands."""

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
    """What moves the gate."""

    EVALUATED = "evaluated"
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


class FindingKind(StrEnum):
    """What an evaluation may find."""

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
    """How far a finding matters, growing."""

    OK = "ok"
    CALIBRATING = "calibrating"
    WARN = "warn"
    ALARM = "alarm"

    @property
    def gravity(self) -> int:
        """Its place among the levels, from 0."""
        return list(Level).index(self)


class Place(StrEnum):
    """What a finding speaks about."""

    ERROR = "error"
    OUTPUT = "output"
    LABEL = "label"
    FEATURES = "features"
    METRIC = "metric"
    LABELS = "labels"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Finding(_Model):
    """One thing that was looked at and found remarkable, or not to be judged yet."""

    kind: FindingKind = Field(description="What was found.")
    place: Place = Field(description="What it speaks about.")
    subject: Name = Field(description="Name of the feature, metric or label kind.")
    level: Level = Field(description="alarm: it may speak for a retrain, or hold one back.")
    value: float | None = Field(default=None, description="The statistic that was judged.")
    limit: float | None = Field(default=None, description="What it was judged by.")
    text: Text = Field(description="The finding as one sentence.")


class Evaluation(_Model):
    """What was known about one label kind at the end of one day."""

    loop: Name = Field(description="Name of the loop.")
    kind: Name = Field(description="Label kind.")
    at: Moment = Field(description="Evidence time: the end of `day` in the loop's time zone.")
    day: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="The day that ended.")
    version: Name | None = Field(description="The model version that runs; null before the first prediction.")
    versions: list[Name] = Field(description="Every version that has predicted, in order of its first prediction.")
    judged_day: str | None = Field(description="The newest day that is old enough to be judged; null if none is.")
    mature_labels: int = Field(ge=0, description="Labels of the running version's days that are old enough.")
    rarer_class: int | None = Field(description="Those of the rarer class among them; null but for binary kinds.")
    findings: list[Finding] = Field(description="What is remarkable, worst first.")


class Condition(_Model):
    """One requirement of the gate, as it stood."""

    name: Text = Field(description="Name as in the config's `require`.")
    value: Text = Field(description="What there was.")
    needed: Text = Field(description="What is needed.")
    is_met: bool = Field(description="Whether that is enough.")


class Decision(_Model):
    """One entry of the append-only log of the gate."""

    number: int = Field(ge=0, description="Position in the log.")
    loop: Name = Field(description="Name of the loop.")
    kind: Name = Field(description="Label kind.")
    at: Moment = Field(description="Evidence time of what happened.")
    event: Event = Field(description="What happened.")
    state: GateState = Field(description="Where the gate stands since.")
    decision: str | None = Field(default=None, pattern=DECISION_PATTERN, description="Id of the retrain it belongs to.")
    reason: Text = Field(description="Why, as one sentence.")
    findings: list[Finding] = Field(default_factory=list, description="What spoke for a retrain.")
    conditions: list[Condition] = Field(default_factory=list, description="What was required.")
    version: Name | None = Field(default=None, description="Model version that is meant.")
    episode: Episode | None = Field(default=None, description="The backfill that is meant.")
    verdict: Verdict | None = Field(default=None, description="What was ruled about that backfill.")
    detail: dict[str, str | int | float | None] = Field(
        default_factory=dict, description="What belongs to the event: the data set's place and digest, who resolved it."
    )
    source: Literal["loop", "pipeline", "person"] = Field(default="loop", description="Who caused it.")
