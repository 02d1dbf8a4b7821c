"""Consistency across the sections of a config: the path and the hint of each problem (`schemas.base.problem`)."""

from collections.abc import Iterator

import pytest

from schemas.base.problem import Problem, dotted
from schemas.config.consistency import (
    age_problems,
    cohort_problems,
    coverage_problems,
    delay_problems,
    kind_problems,
    metric_problems,
    own_topics,
    source_problems,
)
from schemas.config.label import CohortConfig, CoverageGoal, LabelConfig
from schemas.config.mapping import SourceMap
from schemas.config.prediction import OutputConfig, PredictionConfig
from schemas.config.topic_names import TopicNames

OUTPUTS = {"fraud": OutputConfig(task="binary")}
LABELS = {"fraud": LabelConfig.model_validate({"definition": "d", "horizon": "7d", "retain": "9d"})}
SLICES = ["country"]
PREDICTIONS = PredictionConfig(outputs=OUTPUTS, slices=SLICES)


def labels(**changes: object) -> dict[str, LabelConfig]:
    """Return the config of the label kind with changes."""
    return {"fraud": LabelConfig.model_validate({"definition": "d", "horizon": "7d", "retain": "9d", **changes})}


def sources(**changes: object) -> list[SourceMap]:
    """Return a source of labels with changes."""
    usual: dict[str, object] = {"topic": "t", "as": "labels", "kind": "fraud"}
    mapped = {"key": "k", "time": {"path": "t", "unit": "ms"}, "value": "v"}
    return [SourceMap.model_validate({**usual, "map": mapped, **changes})]


@pytest.mark.parametrize(
    ("problems", "path", "message"),
    [
        (kind_problems(OUTPUTS, {"freud": LABELS["fraud"]}), "predictions.outputs.fraud", "did you mean 'freud'?"),
        (kind_problems({"freud": OUTPUTS["fraud"]}, LABELS), "labels.fraud", "did you mean 'freud'?"),
        (kind_problems(OUTPUTS, labels(on_timeout={"imply": 2})), "labels.fraud.on_timeout.imply", "must be 0 or 1"),
        (cohort_problems(CohortConfig(by=["version", "county"]), SLICES), "cohorts.by[1]", "did you mean 'country'?"),
        (
            coverage_problems([CoverageGoal(label="spam", age="1d", min=0.5)], LABELS),
            "coverage[0].label",
            "is not a label",
        ),
        (metric_problems({"spam": ["mae"]}, OUTPUTS, LABELS), "metrics.spam", "is not a label kind"),
        (metric_problems({"fraud": ["mae"]}, OUTPUTS, LABELS), "metrics.fraud[0]", "is not for task: binary"),
        (delay_problems(labels(delay_by="county"), SLICES), "labels.fraud.delay_by", "did you mean 'country'?"),
        (age_problems([86_400_000, 8 * 86_400_000, "final"], LABELS), "evaluate_at[1]", "beyond the shortest horizon"),
        (
            source_problems(sources(topic="l.labels"), own_topics("l", TopicNames()), PREDICTIONS, LABELS),
            "ingest[0].topic",
            "own topics",
        ),
        (
            source_problems(sources(kind="freud"), own_topics("l", TopicNames()), PREDICTIONS, LABELS),
            "ingest[0].kind",
            "did you mean 'fraud'?",
        ),
    ],
)
def test_a_problem_has_the_path_of_its_field_and_says_what_would_fit(
    problems: Iterator[Problem], path: str, message: str
) -> None:
    """Each kind of inconsistency is found, and no other one."""
    [problem] = [one for one in problems if dotted(one.path) == path]
    assert message in problem.message


def test_sections_that_agree_have_no_problems() -> None:
    """Every check at once."""
    assert not [
        *kind_problems(OUTPUTS, LABELS),
        *cohort_problems(CohortConfig(by=["version", "country"]), SLICES),
        *coverage_problems([CoverageGoal(label="fraud", age="1d", min=0.5)], LABELS),
        *metric_problems({"fraud": ["roc_auc"]}, OUTPUTS, LABELS),
        *delay_problems(labels(delay_by="country"), SLICES),
        *age_problems([86_400_000, "final"], LABELS),
        *source_problems(sources(), own_topics("l", TopicNames()), PREDICTIONS, LABELS),
    ]
