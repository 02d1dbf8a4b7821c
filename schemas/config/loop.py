"""The loop's config: one `truthloop.yaml` per deployed model, strict in every field.

Reading the file (YAML, line numbers, environment) is `truthloop.config.settings`' work; this module only
says what a valid config is. Durations are whole milliseconds here.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas.base.duration import DurationMs, format_duration
from schemas.base.metric_name import Metric, Task
from schemas.base.problem import Problem, ProblemsError
from schemas.base.validators import each_once, growing, is_no_bool, keys_without_repeats, local_folder, without_repeats
from schemas.config.connection import HttpConfig, KafkaConfig, StateConfig
from schemas.config.consistency import consistency_problems
from schemas.config.mapping import Scalar, SourceMap, known_zone
from schemas.config.retrain import DriftConfig, RetrainConfig

__all__ = [
    "LOOP_PATTERN",
    "NAME_PATTERN",
    "CohortConfig",
    "CoverageGoal",
    "FeatureConfig",
    "ImplyConfig",
    "LabelConfig",
    "LakeConfig",
    "LoopConfig",
    "Name",
    "OutputConfig",
    "PredictionConfig",
]

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
LOOP_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
MAX_PARTITIONS = 1_024

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Names of kinds, slices and features: they become column names, so they are plain identifiers."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False)


class LakeConfig(_Strict):
    """Where the lake is."""

    uri: Annotated[str, AfterValidator(local_folder)] = Field(
        default="./lake",
        min_length=1,
        description="Folder of the Delta tables; a relative path starts at the config's own folder.",
    )


class OutputConfig(_Strict):
    """What the model says about one label kind."""

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


class FeatureConfig(_Strict):
    """One feature of the contract. A value outside it is kept, flagged and counted, never rejected."""

    type: Literal["float", "int", "string", "bool"] = Field(description="Type of its values.")
    min: float | None = Field(default=None, description="Least value that is expected (numbers).")
    max: float | None = Field(default=None, description="Greatest value that is expected (numbers).")
    categories: Annotated[list[str], AfterValidator(each_once)] | None = Field(
        default=None, min_length=1, description="All values that are expected (string)."
    )
    unit: str | None = Field(default=None, description="Unit, for people: EUR, km.")
    pii: Literal["hash", "drop", "keep"] | None = Field(
        default=None,
        description="Personal data. hash: only an HMAC-SHA256 of it is written anywhere (its key: TRUTHLOOP_PII_KEY); "
        "drop: nothing of it; keep: it stays as it is. With any of them, rejects never hold a record's bytes.",
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


class PredictionConfig(_Strict):
    """The contract of the predictions: outputs per label kind, slices, features."""

    outputs: Annotated[dict[Name, OutputConfig], AfterValidator(keys_without_repeats)] = Field(
        min_length=1, description="What the model says, by label kind."
    )
    slices: Annotated[list[Name], AfterValidator(without_repeats)] = Field(
        default_factory=list, description="Groups to look at one by one, such as country."
    )
    features: Annotated[dict[Name, FeatureConfig], AfterValidator(keys_without_repeats)] = Field(
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

    definition: str = Field(min_length=1, max_length=200, description="What the value means, as a name with a version.")
    expected_delay: DurationMs | None = Field(default=None, description="When most labels are in; for the time line.")
    horizon: DurationMs = Field(gt=0, description="Age at which a prediction without a label is final.")
    retain: DurationMs = Field(gt=0, description="Age until which it can still be joined or corrected.")
    early: DurationMs = Field(
        default=3_600_000, ge=0, description="A label without a prediction counts as unmatched after this."
    )
    delay_by: Name | None = Field(
        default=None,
        description="A slice whose values have label delays of their own, such as short and long flights.",
    )
    on_timeout: Literal["expire"] | ImplyConfig = Field(
        default="expire",
        description="At the horizon, without a label: `expire` closes it, `{imply: VALUE}` gives it a value.",
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

    by: Annotated[list[str], AfterValidator(each_once)] = Field(
        default_factory=lambda: ["version"], description="version, and names of slices."
    )
    ages: Annotated[list[DurationMs], AfterValidator(growing)] = Field(
        default_factory=list, description="Label ages of the coverage table, growing."
    )


class CoverageGoal(_Strict):
    """At least this share of a cohort's eligible predictions has its label by this age."""

    label: str = Field(description="A label kind.")
    age: DurationMs = Field(gt=0, description="Age of the predictions at which it is judged.")
    min: float = Field(ge=0.0, le=1.0, description="Least share, from 0 to 1.")


def _evaluation_ages(ages: list[int | Literal["final"]]) -> list[int | Literal["final"]]:
    if "final" in ages[:-1]:
        raise ValueError("`final` comes last, and once")
    growing([age for age in ages if age != "final"])
    if any(age == 0 for age in ages):
        raise ValueError("must be greater than 0: at age 0 there is no label to judge by")
    return ages


class LoopConfig(_Strict):
    """One deployed model's feedback loop."""

    version: Annotated[Literal[1], BeforeValidator(is_no_bool)] = Field(description="Version of this form of config.")
    loop: str = Field(pattern=LOOP_PATTERN, description="Name of the loop.")
    timezone: Annotated[str, AfterValidator(known_zone)] = Field(
        default="UTC", description="IANA time zone of cohort days; everything is stored in UTC."
    )
    clock: Literal["arrival", "event"] = Field(
        default="arrival",
        description="arrival: a label is known once it has arrived; event: at its own time (files, demos).",
    )
    kafka: KafkaConfig | None = Field(default=None, description="The cluster; left out where only files are read.")
    lake: LakeConfig = Field(default_factory=LakeConfig, description="Where results are kept.")
    state: StateConfig = Field(default_factory=StateConfig, description="Where the join keeps its state.")
    http: HttpConfig = Field(default_factory=HttpConfig, description="Where the processes answer.")
    partitions: int = Field(
        default=8,
        ge=1,
        le=MAX_PARTITIONS,
        description="Keys are spread over these; fixed for the loop's life.",
    )
    disorder: DurationMs = Field(
        default=600_000, ge=0, description="How far records of one input may be out of order in time."
    )
    idle_after: DurationMs = Field(
        default=60_000,
        gt=0,
        description="An input that is read to its end and silent for this long holds time back no more.",
    )
    predictions: PredictionConfig = Field(description="What a prediction holds.")
    labels: Annotated[dict[Name, LabelConfig], AfterValidator(keys_without_repeats)] = Field(
        min_length=1, description="What is expected of the labels, by kind."
    )
    ingest: list[SourceMap] = Field(default_factory=list, description="How records become predictions and labels.")
    cohorts: CohortConfig = Field(default_factory=CohortConfig, description="How predictions are grouped.")
    evaluate_at: Annotated[list[DurationMs | Literal["final"]], AfterValidator(_evaluation_ages)] = Field(
        default=["final"],
        min_length=1,
        description="Ages at which metrics and drift are judged, growing; comparable long before `final`. The first "
        "one decides.",
    )
    coverage: list[CoverageGoal] = Field(
        default_factory=list, description="How much of the truth must be there by which age."
    )
    metrics: dict[str, Annotated[list[Metric], AfterValidator(each_once)]] = Field(
        default_factory=dict, description="By label kind; chosen by task and prevalence where left out."
    )

    drift: DriftConfig = Field(default_factory=DriftConfig, description="What is watched, and may speak for a retrain.")
    retrain: RetrainConfig | None = Field(default=None, description="When a retrain is asked for, and of whom.")

    @model_validator(mode="after")
    def _names_agree(self) -> "LoopConfig":
        if problems := consistency_problems(self):
            raise ProblemsError(problems)
        return self
