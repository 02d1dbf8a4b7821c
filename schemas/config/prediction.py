"""Config of the predictions: outputs per label kind, slices, and the contract of the features."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from schemas.base.metric_name import Task
from schemas.base.model import StrictModel
from schemas.base.problem import Problem, ProblemsError
from schemas.base.validators import each_once, keys_without_repeats, without_repeats

__all__ = ["NAME_PATTERN", "FeatureConfig", "Name", "OutputConfig", "PredictionConfig"]

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Name of a kind, slice or feature: it becomes a column name, so it is a plain identifier."""


class OutputConfig(StrictModel):
    """The model's output for one label kind."""

    task: Task = Field(description="binary: a probability from 0 to 1; multiclass: a class; regression: a number.")
    threshold: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Scores at or above it count as positive (binary; default 0.5).",
    )

    @model_validator(mode="after")
    def _only_binary_has_a_threshold(self) -> "OutputConfig":
        if self.threshold is not None and self.task != "binary":
            raise ProblemsError([Problem(("threshold",), f"is for task: binary only, and this is task: {self.task}")])
        return self


class FeatureConfig(StrictModel):
    """Contract of one feature. A value that breaks it is kept, flagged and counted, never rejected."""

    type: Literal["float", "int", "string", "bool"] = Field(description="Type of its values.")
    min: float | None = Field(default=None, description="Least expected value (numbers).")
    max: float | None = Field(default=None, description="Greatest expected value (numbers).")
    categories: Annotated[list[str], AfterValidator(each_once)] | None = Field(
        default=None, min_length=1, description="All expected values (string)."
    )
    unit: str | None = Field(default=None, description="Unit, for people: EUR, km.")
    pii: Literal["hash", "drop", "keep"] | None = Field(
        default=None,
        description="Personal data. hash: only its HMAC-SHA256 is stored anywhere (with the key TRUTHLOOP_PII_KEY); "
        "drop: it is removed; keep: it is stored as it is. With any of them, rejects never hold a record's bytes.",
    )

    @model_validator(mode="after")
    def _limits_fit_the_type(self) -> "FeatureConfig":
        problems = []
        if self.type not in ("float", "int"):
            problems = [
                Problem((name,), f"is for numbers, not for type: {self.type}")
                for name in ("min", "max")
                if getattr(self, name) is not None
            ]
        if self.categories is not None and self.type != "string":
            problems.append(Problem(("categories",), f"is for type: string, not for type: {self.type}"))
        if self.pii == "hash" and self.type != "string":
            problems.append(Problem(("pii",), f"hash is for type: string, not for type: {self.type}; drop is for all"))
        if self.pii in ("hash", "drop"):
            named = [name for name in ("min", "max", "categories") if getattr(self, name) is not None]
            problems += [
                Problem((name,), f"is for values that are kept, and this has pii: {self.pii}") for name in named
            ]
        if self.min is not None and self.max is not None and self.min > self.max:
            problems.append(Problem(("min",), f"{self.min:g} is greater than max {self.max:g}"))
        if problems:
            raise ProblemsError(problems)
        return self


class PredictionConfig(StrictModel):
    """Contract of the predictions: outputs per label kind, slices, features."""

    outputs: Annotated[dict[Name, OutputConfig], AfterValidator(keys_without_repeats)] = Field(
        min_length=1, description="Outputs of the model, by label kind."
    )
    slices: Annotated[list[Name], AfterValidator(without_repeats)] = Field(
        default_factory=list, description="Groups that are evaluated separately, such as country."
    )
    features: Annotated[dict[Name, FeatureConfig], AfterValidator(keys_without_repeats)] = Field(
        default_factory=dict, description="Input features of the model."
    )
    unknown_features: Literal["keep", "drop"] = Field(
        default="keep", description="What to do with features that are not in `features`."
    )

    @model_validator(mode="after")
    def _version_is_no_slice(self) -> "PredictionConfig":
        if "version" in {name.lower() for name in self.slices}:
            raise ProblemsError([Problem(("slices",), "'version' is always there and cannot be a slice too")])
        return self
