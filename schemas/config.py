"""The loop's config: one `truthloop.yaml` per deployed model, strict in every field.

Reading the file (YAML, line numbers, environment) is `truthloop.settings`' work; this module only
says what a valid config is. Durations are whole milliseconds here.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas.duration import DurationMs, format_duration
from schemas.mapping import Scalar, SourceMap, known_zone
from schemas.problem import Path, Problem, ProblemsError, did_you_mean

__all__ = [
    "BINARY_METRICS",
    "COMMON_METRICS",
    "CohortConfig",
    "CoverageGoal",
    "FeatureConfig",
    "ImplyConfig",
    "LabelConfig",
    "LakeConfig",
    "LoopConfig",
    "OutputConfig",
    "PredictionConfig",
    "RARE_METRICS",
]

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
LOOP_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
BINARY_METRICS = (
    "accuracy",
    "balanced_accuracy",
    "brier",
    "f1",
    "log_loss",
    "mcc",
    "precision",
    "recall",
    "roc_auc",
)
COMMON_METRICS = ("accuracy", "f1", "roc_auc", "log_loss", "brier")
"""Shown for a binary kind when the config names none, where both classes are common."""

RARE_METRICS = ("roc_auc", "log_loss", "precision", "recall", "brier")
"""The same where one class is rare: always saying "no" would score well in accuracy."""

MAX_PARTITIONS = 1_024

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Names of kinds, slices and features: they become column names, so they are plain identifiers."""

Metric = Literal[
    "accuracy", "balanced_accuracy", "brier", "f1", "log_loss", "mcc", "precision", "recall", "roc_auc"
]


def _is_no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be 1, the version of this form of config")  # noqa: TRY004 - pydantic understands ValueError only
    return value


def _without_repeats(names: list[str]) -> list[str]:
    """Names become columns, and SQL does not tell `Country` from `country`."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.lower(), name)) is not name:
            twice = (
                f"{name!r} is there twice" if other == name else f"{name!r} and {other!r} differ only in case"
            )
            raise ValueError(f"{twice}; names must differ in more than case")
    return names


def _keys_without_repeats(named: dict[str, object]) -> dict[str, object]:
    _without_repeats(list(named))
    return named


def _each_once(items: list[object]) -> list[object]:
    for item in items:
        if items.count(item) > 1:
            raise ValueError(f"{item!r} is there twice")
    return items


def _growing(ages_ms: list[int]) -> list[int]:
    for before, after in zip(ages_ms, ages_ms[1:], strict=False):
        if after <= before:
            raise ValueError(
                f"ages must grow, and {format_duration(after)} comes after {format_duration(before)}"
            )
    return ages_ms


def _local_folder(uri: str) -> str:
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", uri):
        raise ValueError(
            f"the lake can only be a local folder by now, and {scheme[0]} is not one; write a path, such as ./lake"
        )
    if "\0" in uri:
        raise ValueError("a path cannot hold a NUL character")
    return uri


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False
    )


class LakeConfig(_Strict):
    """Where the lake is."""

    uri: Annotated[str, AfterValidator(_local_folder)] = Field(
        default="./lake",
        min_length=1,
        description="Folder of the Delta tables; a relative path starts at the config's own folder.",
    )


class OutputConfig(_Strict):
    """What the model says about one label kind."""

    task: Literal["binary", "multiclass", "regression"] = Field(
        description="binary: a probability from 0 to 1; multiclass: a class; regression: a number."
    )
    threshold: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Scores at or above it count as positive (binary; default 0.5).",
    )

    @model_validator(mode="after")
    def _only_binary_has_a_threshold(self) -> "OutputConfig":
        if self.threshold is not None and self.task != "binary":
            raise ProblemsError(
                [Problem(("threshold",), f"is for task: binary only, and this is task: {self.task}")]
            )
        return self


class FeatureConfig(_Strict):
    """One feature of the contract. A value outside it is kept, flagged and counted, never rejected."""

    type: Literal["float", "int", "string", "bool"] = Field(description="Type of its values.")
    min: float | None = Field(default=None, description="Least value that is expected (numbers).")
    max: float | None = Field(default=None, description="Greatest value that is expected (numbers).")
    categories: Annotated[list[str], AfterValidator(_each_once)] | None = Field(
        default=None, min_length=1, description="All values that are expected (string)."
    )
    unit: str | None = Field(default=None, description="Unit, for people: EUR, km.")

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
        if self.min is not None and self.max is not None and self.min > self.max:
            problems.append(Problem(("min",), f"{self.min:g} is greater than max {self.max:g}"))
        if problems:
            raise ProblemsError(problems)
        return self


class PredictionConfig(_Strict):
    """The contract of the predictions: outputs per label kind, slices, features."""

    outputs: Annotated[dict[Name, OutputConfig], AfterValidator(_keys_without_repeats)] = Field(
        min_length=1, description="What the model says, by label kind."
    )
    slices: Annotated[list[Name], AfterValidator(_without_repeats)] = Field(
        default_factory=list, description="Groups to look at one by one, such as country."
    )
    features: Annotated[dict[Name, FeatureConfig], AfterValidator(_keys_without_repeats)] = Field(
        default_factory=dict, description="The features that the model was given."
    )
    unknown_features: Literal["keep", "drop"] = Field(
        default="keep", description="What to do with features that are not in `features`."
    )

    @model_validator(mode="after")
    def _version_is_no_slice(self) -> "PredictionConfig":
        if "version" in {name.lower() for name in self.slices}:
            raise ProblemsError([Problem(("slices",), "'version' is always there and cannot be a slice too")])
        return self


class ImplyConfig(_Strict):
    """At the deadline a prediction without a label gets this value: no click means 0."""

    imply: Scalar = Field(description="0 or 1 (binary), a class (multiclass) or a number (regression).")


class LabelConfig(_Strict):
    """What is expected of one label kind."""

    definition: str = Field(
        min_length=1, max_length=200, description="What the value means, as a name with a version."
    )
    expected_delay: DurationMs | None = Field(
        default=None, description="When most labels are in; for the time line."
    )
    horizon: DurationMs = Field(gt=0, description="Age at which a prediction without a label is final.")
    retain: DurationMs = Field(gt=0, description="Age until which it can still be joined or corrected.")
    early: DurationMs = Field(
        default=3_600_000, ge=0, description="A label without a prediction counts as unmatched after this."
    )
    on_timeout: Literal["expire"] | ImplyConfig = Field(
        default="expire",
        description="At the horizon: `expire` closes a prediction without a label, `{imply: VALUE}` gives it one.",
    )

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


class CohortConfig(_Strict):
    """How predictions are grouped, and at which ages coverage is looked at."""

    by: Annotated[list[str], AfterValidator(_each_once)] = Field(
        default_factory=lambda: ["version"], description="version, and names of slices."
    )
    ages: Annotated[list[DurationMs], AfterValidator(_growing)] = Field(
        default_factory=list, description="Label ages of the coverage table, growing."
    )


class CoverageGoal(_Strict):
    """At least this share of a cohort's eligible predictions has its label by this age."""

    label: str = Field(description="A label kind.")
    age: DurationMs = Field(gt=0, description="Age of the predictions at which it is judged.")
    min: float = Field(ge=0.0, le=1.0, description="Least share, from 0 to 1.")


class LoopConfig(_Strict):
    """One deployed model's feedback loop."""

    version: Annotated[Literal[1], BeforeValidator(_is_no_bool)] = Field(
        description="Version of this form of config."
    )
    loop: str = Field(pattern=LOOP_PATTERN, description="Name of the loop.")
    timezone: Annotated[str, AfterValidator(known_zone)] = Field(
        default="UTC", description="IANA time zone of cohort days; everything is stored in UTC."
    )
    clock: Literal["arrival", "event"] = Field(
        default="arrival",
        description="arrival: a label is known once it has arrived here; event: at its own time (files, demos).",
    )
    lake: LakeConfig = Field(default_factory=LakeConfig, description="Where results are kept.")
    partitions: int = Field(
        default=8,
        ge=1,
        le=MAX_PARTITIONS,
        description="Keys are spread over these; fixed for the loop's life.",
    )
    disorder: DurationMs = Field(
        default=600_000, ge=0, description="How far records of one input may be out of order in time."
    )
    predictions: PredictionConfig = Field(description="What a prediction holds.")
    labels: Annotated[dict[Name, LabelConfig], AfterValidator(_keys_without_repeats)] = Field(
        min_length=1, description="What is expected of the labels, by kind."
    )
    ingest: list[SourceMap] = Field(
        default_factory=list, description="How files become predictions and labels."
    )
    cohorts: CohortConfig = Field(default_factory=CohortConfig, description="How predictions are grouped.")
    coverage: list[CoverageGoal] = Field(
        default_factory=list, description="How much of the truth must be there by which age."
    )
    metrics: dict[str, Annotated[list[Metric], AfterValidator(_each_once)]] = Field(
        default_factory=dict, description="By label kind; chosen by task and prevalence where left out."
    )

    @model_validator(mode="after")
    def _names_agree(self) -> "LoopConfig":
        if problems := [*_kind_problems(self), *_cohort_problems(self), *_source_problems(self)]:
            raise ProblemsError(problems)
        return self


def _kind_problems(config: LoopConfig) -> Iterator[Problem]:
    """Find kinds that only one of outputs and labels has, and what does not fit a kind's task."""
    outputs, labels = config.predictions.outputs, config.labels
    for kind in sorted(set(outputs) - set(labels)):
        message = f"labels has no kind {kind!r}, and every output needs one{did_you_mean(kind, labels)}"
        yield Problem(("predictions", "outputs", kind), message)
    for kind in sorted(set(labels) - set(outputs)):
        message = (
            f"predictions.outputs has no {kind!r}, and every kind needs one{did_you_mean(kind, outputs)}"
        )
        yield Problem(("labels", kind), message)
    for kind in sorted(set(labels) & set(outputs)):
        task, timeout = outputs[kind].task, labels[kind].on_timeout
        if isinstance(timeout, ImplyConfig) and (message := _imply_problem(task, timeout.imply)):
            yield Problem(("labels", kind, "on_timeout", "imply"), message)


def _imply_problem(task: str, value: Scalar) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if task == "binary":
        return "" if value in (0, 1) else f"must be 0 or 1 for task: binary, not {value!r}"
    if task == "regression":
        return "" if number else f"must be a number for task: regression, not {value!r}"
    return "" if isinstance(value, str) else f"must be a class as text for task: multiclass, not {value!r}"


def _cohort_problems(config: LoopConfig) -> Iterator[Problem]:
    """Find names in cohorts, coverage and metrics that the loop does not have."""
    slices = config.predictions.slices
    for at, name in enumerate(config.cohorts.by):
        if name != "version" and name not in slices:
            hint = did_you_mean(name, ["version", *slices])
            message = f"{name!r} is neither 'version' nor one of predictions.slices{hint}"
            yield Problem(("cohorts", "by", at), message)
    named: list[tuple[Path, str]] = [
        (("coverage", at, "label"), goal.label) for at, goal in enumerate(config.coverage)
    ]
    named += [(("metrics", kind), kind) for kind in config.metrics]
    for path, kind in named:
        if kind not in config.labels:
            yield Problem(path, f"{kind!r} is not a label kind{did_you_mean(kind, config.labels)}")
    for kind, output in config.predictions.outputs.items():
        if config.metrics.get(kind) and output.task != "binary":
            yield Problem(
                ("metrics", kind), f"metrics are for task: binary by now, and this is {output.task}"
            )


def _source_problems(config: LoopConfig) -> Iterator[Problem]:
    """Find kinds, slices and outputs that a source names and the loop does not have."""
    groups = {"outputs": set(config.predictions.outputs), "slices": set(config.predictions.slices)}
    for at, source in enumerate(config.ingest):
        if source.kind is not None and source.kind not in config.labels:
            hint = did_you_mean(source.kind, config.labels)
            yield Problem(("ingest", at, "kind"), f"{source.kind!r} is not a label kind{hint}")
        for target in source.map:
            group, _, name = target.partition(".")
            path = ("ingest", at, "map", target)
            if group in groups and name not in groups[group]:
                hint = did_you_mean(name, groups[group])
                yield Problem(path, f"{name!r} is not one of predictions.{group}{hint}")
            elif group == "features" and name and not re.fullmatch(NAME_PATTERN, name):
                yield Problem(path, f"{name!r} must be a plain name: letters, digits and _")
