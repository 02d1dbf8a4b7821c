"""Config of drift detection and of retrains: triggers, requirements, data set and target."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.base.duration_field import DurationMs
from schemas.base.model import StrictModel
from schemas.base.validators import each_once, folder_or_bucket
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


class DriftConfig(StrictModel):
    """What is monitored for drift."""

    on: Annotated[list[DriftSubject], AfterValidator(each_once)] = Field(
        default=["error", "output", "label", "features"],
        description="error: of the model; output: its scores; label: the share of the classes; features: its input.",
    )


class RequireConfig(StrictModel):
    """Requirements that must be met before a retrain is requested, whatever the trigger."""

    coverage: Literal["ok", "any"] = Field(
        default="ok", description="ok: no alert of the label pipeline is open; any: labels may be missing."
    )
    mature_labels: int = Field(
        default=2_000, ge=1, description="Least number of labels of the running version's mature days."
    )
    rarer_class: int = Field(
        default=100, ge=0, description="Least number of labels of the rarer class among them (binary)."
    )
    cooldown: DurationMs = Field(
        default=7 * DAY_MS,
        ge=0,
        description="Least time after a deployment, or after a retrain that ended without one.",
    )
    budget: int = Field(default=4, ge=1, description="Greatest number of requests within 30 days.")


class MaturityConfig(StrictModel):
    """When a prediction is old enough to be trained on."""

    at_age: DurationMs | None = Field(
        default=None, gt=0, description="Old enough at this age; left out: when its outcome is final, at the horizon."
    )


class DatasetConfig(StrictModel):
    """Data set that a request refers to."""

    uri: Annotated[str, AfterValidator(folder_or_bucket)] = Field(
        default="./datasets",
        min_length=1,
        description="Folder that data sets are written to; a relative path starts at the config's own folder. Or "
        "s3://BUCKET/KEY.",
    )
    maturity: MaturityConfig = Field(default_factory=MaturityConfig, description="Which predictions are included.")
    holdout: DurationMs = Field(
        default=14 * DAY_MS,
        ge=0,
        description="The newest predictions, over this long, are written to a file of their own; rows whose label "
        "became known after its beginning are purged from the training file. Unless it is 0, a data set "
        "without holdout rows holds the request.",
    )


class RetrainConfig(StrictModel):
    """When a retrain is requested. Without this section none ever is; evidence is shown all the same."""

    when: Annotated[list[Trigger], AfterValidator(each_once)] = Field(
        default=["drift", "backfill", "metric_loss"],
        min_length=1,
        description="What triggers a retrain, subject to `require`.",
    )
    require: RequireConfig = Field(default_factory=RequireConfig, description="What must be met as well.")
    dataset: DatasetConfig = Field(default_factory=DatasetConfig, description="The data set for the pipeline.")
    target: TargetConfig = Field(description="Where retrains are requested, and how their end is noticed.")
