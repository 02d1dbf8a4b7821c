"""What the config says about drift, and about asking for a retrain: when, subject to what, of whom.

Secrets have no place here: `secret_env` names a variable, which may also name a file (`..._FILE`).
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.duration import DurationMs
from schemas.rule import each_once, local_folder

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
WEBHOOK_SECRET_VARIABLE = "TRUTHLOOP_WEBHOOK_SECRET"  # noqa: S105 - the name of the variable, not the secret
_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")


def _host_and_port(text: str) -> str:
    if not _HOST_AND_PORT.fullmatch(text):
        raise ValueError(f"{text!r} is not HOST:PORT")
    return text


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


class TargetConfig(_Strict):
    """Who is asked."""

    kind: Literal["webhook"] = Field(default="webhook", description="A signed HTTP request (Standard Webhooks).")
    url: str = Field(min_length=1, max_length=2_000, description="https://..., or http:// on this machine's loopback.")
    secret_env: str = Field(
        default=WEBHOOK_SECRET_VARIABLE,
        pattern=r"^[A-Z_][A-Z0-9_]{0,99}$",
        description="Variable with the signing secret (whsec_...); with _FILE behind, variable that names its file.",
    )
    allow: list[Annotated[str, AfterValidator(_host_and_port)]] = Field(
        default_factory=list,
        description="HOST:PORT inside your own network that may be asked; nothing there is reached otherwise.",
    )
    callback_url: str | None = Field(
        default=None,
        min_length=1,
        max_length=2_000,
        description="Where the pipeline reaches this loop's /v1/callback; left out, it is told nothing of one.",
    )
    completion: Literal["first_predictions", "callback"] = Field(
        default="first_predictions",
        description="first_predictions: done when another version predicts; callback: when the pipeline says so.",
    )
    overdue: DurationMs = Field(
        default=3 * DAY_MS, gt=0, description="Not done this long after the request, the loop says that nobody answers."
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
