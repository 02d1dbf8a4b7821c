"""What an evaluation leaves to the next one of the same version: it is in the gate's log, so no old day is read again.

It follows from what was known at the evaluation. What became known later changes it only if a ruling restates the past.
"""

from datetime import date
from typing import Literal

from pydantic import Field

from schemas.base.model import StrictModel
from schemas.events.backfill import Name

__all__ = ["ErrorChange", "OpenErrorChange", "ShiftWindow", "VersionMemory"]


class ErrorChange(StrictModel):
    """A lasting change of the error that was found: errors before it are scaled by it from then on."""

    day: date = Field(description="The day with which it was found.")
    since: date = Field(description="The first day of the window after the change.")
    error_before: float = Field(description="Mean of the days before `since`.")
    error_after: float = Field(description="Mean of the window.")
    n: int = Field(ge=0, description="Labels of the window.")


class OpenErrorChange(StrictModel):
    """A change that the error has not recovered from."""

    found: ErrorChange = Field(description="The change.")
    wrong: float = Field(ge=0, description="Errors of the four weeks before it.")
    labels: int = Field(ge=0, description="Labels of these weeks.")


class ShiftWindow(StrictModel):
    """One or several days of one input, compared with the days before them."""

    input: str = Field(description="Name of the feature, or `output` or `label`.")
    since: date = Field(description="First day of the window.")
    day: date = Field(description="Its last day.")
    psi: float | None = Field(description="Excess of the population stability index; null without a reference.")
    threshold: float = Field(description="Limit of `psi`.")
    w1: float | None = Field(description="Distance in standard deviations; null where there is none.")
    w1_threshold: float | None = Field(description="Limit of `w1`.")
    flagged: bool = Field(description="Whether it is beyond a limit, and not by chance.")
    level: Literal["calibrating", "ok", "warn", "critical", "alarm"] = Field(description="Verdict.")


class VersionMemory(StrictModel):
    """What was found of one version up to a day."""

    version: Name = Field(description="Model version.")
    basis: str = Field(description="What the figures count: definition, age and threshold. Others begin anew.")
    day: date = Field(description="The newest evaluated day.")
    judged: date | None = Field(description="The newest day whose labels count here; null: none does after a ruling.")
    labels: int = Field(ge=0, description="Labels of all judged days.")
    positives: int = Field(ge=0, description="Those of the positive class; 0 unless binary.")
    negatives: int = Field(ge=0, description="Those of the negative class; 0 unless binary.")
    is_worse: bool = Field(description="Whether the loss is in the state `worse`.")
    changes: list[ErrorChange] = Field(description="Changes of the error that still matter, in order.")
    open_change: OpenErrorChange | None = Field(description="The change that is reported.")
    kept_on: date | None = Field(description="The first day on which the version kept its contract.")
    windows: list[ShiftWindow] = Field(description="Windows of its inputs, in order. In the log: the new ones.")
