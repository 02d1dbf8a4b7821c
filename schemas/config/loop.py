"""The loop's config: one `truthloop.yaml` per deployed model, strict in every field.

`truthloop.config.settings` reads the file (YAML, line numbers, environment). Durations are whole milliseconds here.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.base.duration_field import DurationMs
from schemas.base.model import StrictModel
from schemas.base.problem import ProblemsError
from schemas.base.time_zone import known_zone
from schemas.base.validators import folder_or_bucket, is_no_bool, keys_without_repeats
from schemas.config.connection import HttpConfig, KafkaConfig, StateConfig
from schemas.config.consistency import (
    age_problems,
    cohort_problems,
    coverage_problems,
    delay_problems,
    kind_problems,
    metric_problems,
    own_topics,
    registry_problems,
    schema_problems,
    source_problems,
)
from schemas.config.label import CohortConfig, CoverageGoal, EvaluationAges, LabelConfig
from schemas.config.mapping import SourceMap
from schemas.config.metric import MetricChoice, metrics_once
from schemas.config.prediction import Name, PredictionConfig
from schemas.config.privacy import privacy_problems
from schemas.config.registry import SchemaRegistryConfig
from schemas.config.retention import RetentionConfig, retention_problems
from schemas.config.retrain import DriftConfig, RetrainConfig
from schemas.config.topic_names import TopicNames

__all__ = ["LOOP_PATTERN", "MAX_PARTITIONS", "LakeConfig", "LoopConfig"]

LOOP_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
MAX_PARTITIONS = 1_024


class LakeConfig(StrictModel):
    """Location of the lake, and how it is kept."""

    uri: Annotated[str, AfterValidator(folder_or_bucket)] = Field(
        default="./lake",
        min_length=1,
        description="Folder of the Delta tables; a relative path starts at the config's own folder. Or s3://BUCKET/KEY.",
    )
    freshness: DurationMs = Field(
        default=10_000,
        ge=200,
        description="How long rows wait for their commit at most; sooner if there are many. Without new rows there is "
        "no commit.",
    )
    keep_readable: DurationMs = Field(
        default=172_800_000,
        ge=3_600_000,
        description="For how long a reader may use what was current when it began: files that were replaced, and the "
        "log entries before, are deleted when they are older.",
    )


class LoopConfig(StrictModel):
    """Feedback loop of one deployed model."""

    version: Annotated[Literal[1], BeforeValidator(is_no_bool)] = Field(description="Version of this form of config.")
    loop: str = Field(pattern=LOOP_PATTERN, description="Name of the loop.")
    timezone: Annotated[str, AfterValidator(known_zone)] = Field(
        default="UTC", description="IANA time zone of cohort days; everything is stored in UTC."
    )
    clock: Literal["arrival", "event"] = Field(
        default="arrival",
        description="arrival: a label is known once it has arrived; event: at its own time (files, demos).",
    )
    kafka: KafkaConfig | None = Field(default=None, description="Kafka cluster; left out if only files are read.")
    schema_registry: SchemaRegistryConfig | None = Field(
        default=None, description="Registry with the schemas of Avro and Protobuf; left out if all values are JSON."
    )
    topics: TopicNames = Field(
        default_factory=TopicNames, description="How the loop's own topics and groups are named; fixed for its life."
    )
    lake: LakeConfig = Field(default_factory=LakeConfig, description="Where results are stored.")
    retention: RetentionConfig = Field(default_factory=RetentionConfig, description="How long records stay in it.")
    state: StateConfig = Field(default_factory=StateConfig, description="Where the join stores its state.")
    http: HttpConfig = Field(default_factory=HttpConfig, description="HTTP server of the page and of the processes.")
    partitions: int = Field(
        default=8,
        ge=1,
        le=MAX_PARTITIONS,
        description="Number of partitions that keys are spread over; fixed for the loop's life.",
    )
    disorder: DurationMs = Field(
        default=600_000, ge=0, description="How far records of one input may be out of order in time."
    )
    idle_after: DurationMs = Field(
        default=60_000,
        gt=0,
        description="An input that is read to its end and has had no record for this long no longer holds the "
        "watermark back.",
    )
    predictions: PredictionConfig = Field(description="Contract of the predictions.")
    labels: Annotated[dict[Name, LabelConfig], AfterValidator(keys_without_repeats)] = Field(
        min_length=1, description="What is expected of the labels, by kind."
    )
    ingest: list[SourceMap] = Field(default_factory=list, description="How records become predictions and labels.")
    cohorts: CohortConfig = Field(default_factory=CohortConfig, description="How predictions are grouped.")
    evaluate_at: EvaluationAges = Field(
        default=["final"],
        min_length=1,
        description="Ages at which metrics and drift are judged, growing; comparable long before `final`. The first "
        "one decides.",
    )
    coverage: list[CoverageGoal] = Field(
        default_factory=list, description="Goals for the share of labels that is known by an age."
    )
    metrics: dict[str, Annotated[list[MetricChoice], AfterValidator(metrics_once)]] = Field(
        default_factory=dict,
        description="By label kind; chosen by task and prevalence where left out. `{metric: accuracy, by: weight}` "
        "counts each prediction by its weight.",
    )

    drift: DriftConfig = Field(default_factory=DriftConfig, description="Drift detection.")
    retrain: RetrainConfig | None = Field(
        default=None, description="When a retrain is requested, and from which target."
    )

    @property
    def greatest_retain_ms(self) -> int:
        """The age of predictions until which labels of any kind are joined."""
        return max(label.retain for label in self.labels.values())

    @model_validator(mode="after")
    def _sections_agree(self) -> "LoopConfig":
        outputs, slices = self.predictions.outputs, self.predictions.slices
        problems = [
            *kind_problems(outputs, self.labels),
            *cohort_problems(self.cohorts, slices),
            *coverage_problems(self.coverage, self.labels),
            *metric_problems(self.metrics, outputs, self.labels),
            *delay_problems(self.labels, slices),
            *age_problems(self.evaluate_at, self.labels),
            *registry_problems(self.ingest, self.schema_registry),
            *schema_problems(self.ingest),
            *source_problems(self.ingest, own_topics(self.loop, self.topics), self.predictions, self.labels),
            *privacy_problems(self.ingest, self.predictions),
            *retention_problems(self.retention, self.labels),
        ]
        if problems:
            raise ProblemsError(problems)
        return self
