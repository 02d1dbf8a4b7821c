"""Config of the labels: what is expected of each kind, and the cohorts and ages that they are counted by."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from schemas.base.duration import format_duration
from schemas.base.duration_field import DurationMs
from schemas.base.metric_name import Task
from schemas.base.model import StrictModel
from schemas.base.problem import Problem, ProblemsError
from schemas.base.validators import each_once, growing
from schemas.config.mapping import Scalar
from schemas.config.prediction import Name

__all__ = ["CohortConfig", "CoverageGoal", "EvaluationAges", "ImplyConfig", "LabelConfig"]


class ImplyConfig(StrictModel):
    """Value that a prediction without a label gets at the deadline: no click means 0."""

    imply: Scalar = Field(description="0 or 1 (binary), a class (multiclass) or a number (regression).")


class LabelConfig(StrictModel):
    """What is expected of one label kind."""

    definition: str = Field(min_length=1, max_length=200, description="What the value means, as a name with a version.")
    expected_delay: DurationMs | None = Field(default=None, description="When most labels have arrived.")
    horizon: DurationMs = Field(gt=0, description="Age at which a prediction without a label is final.")
    retain: DurationMs = Field(gt=0, description="Age until which it can still be joined or corrected.")
    early: DurationMs = Field(
        default=3_600_000, ge=0, description="A label without a prediction counts as unmatched after this."
    )
    delay_by: Name | None = Field(
        default=None,
        description="A slice whose values have different label delays, such as short and long flights.",
    )
    on_timeout: Literal["expire"] | ImplyConfig = Field(
        default="expire",
        description="At the horizon, without a label: `expire` closes it, `{imply: VALUE}` gives it a value.",
    )

    def implied_value(self, task: Task) -> float | str | None:
        """Return the value at the deadline of a prediction without a label, by the kind's task; None if it expires.

        >>> LabelConfig(definition="c1", horizon="1h", retain="1d", on_timeout={"imply": 0}).implied_value("binary")
        0.0
        """
        if not isinstance(self.on_timeout, ImplyConfig):
            return None
        value = self.on_timeout.imply
        return str(value) if task == "multiclass" else float(value)

    @model_validator(mode="after")
    def _ages_are_ordered(self) -> "LabelConfig":
        problems = []
        horizon = format_duration(self.horizon)
        if self.retain < self.horizon:
            message = f"{format_duration(self.retain)} is shorter than horizon {horizon}"
            problems.append(Problem(("retain",), message))
        if self.expected_delay is not None and self.expected_delay > self.horizon:
            message = f"{format_duration(self.expected_delay)} is longer than horizon {horizon}"
            problems.append(Problem(("expected_delay",), message))
        if problems:
            raise ProblemsError(problems)
        return self


class CohortConfig(StrictModel):
    """How predictions are grouped, and the ages at which coverage is shown."""

    by: Annotated[list[str], AfterValidator(each_once)] = Field(
        default_factory=lambda: ["version"],
        description="version, and names of slices. Of a slice with over 100 values the most frequent are counted.",
    )
    ages: Annotated[list[DurationMs], AfterValidator(growing)] = Field(
        default_factory=list, description="Label ages of the coverage table, growing."
    )


class CoverageGoal(StrictModel):
    """Least share of a cohort's eligible predictions that has its label by an age."""

    label: str = Field(description="A label kind.")
    age: DurationMs = Field(gt=0, description="Age of the predictions at which it is judged.")
    min: float = Field(ge=0.0, le=1.0, description="Least share, from 0 to 1.")


def _check_ages(ages: list[int | Literal["final"]]) -> list[int | Literal["final"]]:
    if "final" in ages[:-1]:
        raise ValueError("`final` comes last, and once")
    growing([age for age in ages if age != "final"])
    if any(age == 0 for age in ages):
        raise ValueError("must be greater than 0: at age 0 there is no label to judge by")
    return ages


EvaluationAges = Annotated[list[DurationMs | Literal["final"]], AfterValidator(_check_ages)]
"""Ages at which metrics and drift are judged, growing."""
