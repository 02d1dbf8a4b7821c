"""What the config says about drift, and about asking for a retrain: when, and subject to what.

Must not hold a secret, or know how a request is made.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.base.duration import DurationMs
from schemas.base.validators import each_once, local_folder
from schemas.config.targets import WEBHOOK_SECRET_VARIABLE, TargetConfig

__all__ = [
    "WEBHOOK_SECRET_VARIABLE",
    "DatasetConfig",
    "DriftConfig",
    "DriftSubject",
    "MaturityConfig",
    "RequireConfig",
    "RetrainConfig",
    "TargetConfig",
    "Trigger",
]

DriftSubject = Literal["error", "output", "label", "features"]
Trigger = Literal["drift", "backfill", "metric_loss"]

DAY_MS = 86_400_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DriftConfig(_Strict):
    """What is watched for drift."""

    on: Annotated[list[DriftSubject], AfterValidator(each_once)] = Field(
        default=["error", "output", "label", "features"],
        description="error: of the model; output: its scores; label: the share of the classes; features: its input.",
    )


class RequireConfig(_Strict):
    """What must be so before a retrain is asked for, whatever speaks for it."""

    coverage: Literal["ok", "any"] = Field(
        default="ok", description="ok: no alert of the label pipeline is open; any: labels may be missing."
    )
    mature_labels: int = Field(default=2_000, ge=1, description="Labels of mature days, of the running version.")
    rarer_class: int = Field(default=100, ge=0, description="Labels of the rarer class among them (binary).")
    cooldown: DurationMs = Field(
        default=7 * DAY_MS, ge=0, description="At least this long after a deployment or a retrain that ended otherwise."
    )
    budget: int = Field(default=4, ge=1, description="At most this many requests within 30 days.")


class MaturityConfig(_Strict):
    """When a prediction is old enough to be learned from."""

    at_age: DurationMs | None = Field(
        default=None, gt=0, description="Old enough at this age; left out: when its outcome is final, at the horizon."
    )


class DatasetConfig(_Strict):
    """The data set that goes with a request."""

    uri: Annotated[str, AfterValidator(local_folder)] = Field(
        default="./datasets",
        min_length=1,
        description="Folder that data sets are written to; a relative path starts at the config's own folder.",
    )
    maturity: MaturityConfig = Field(default_factory=MaturityConfig, description="Which predictions go in.")
    holdout: DurationMs = Field(
        default=14 * DAY_MS,
        ge=0,
        description="The newest predictions, of this long, go into a file of their own; what was known only later than "
        "its beginning is purged from the rest.",
    )


class RetrainConfig(_Strict):
    """When a retrain is asked for. Without this section nobody ever is; evidence is shown all the same."""

    when: Annotated[list[Trigger], AfterValidator(each_once)] = Field(
        default=["drift", "backfill", "metric_loss"],
        min_length=1,
        description="What speaks for a retrain, subject to `require`.",
    )
    require: RequireConfig = Field(default_factory=RequireConfig, description="What must be so, too.")
    dataset: DatasetConfig = Field(default_factory=DatasetConfig, description="What the pipeline is given.")
    target: TargetConfig = Field(description="Whom to ask, and how one knows that it is done.")
