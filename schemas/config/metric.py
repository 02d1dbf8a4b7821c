"""The metrics that a config lists for a label kind."""

from typing import Literal

from pydantic import Field

from schemas.base.metric_name import Metric, weighted_name
from schemas.base.model import StrictModel
from schemas.base.validators import each_once

__all__ = ["MetricChoice", "WeightedMetric", "metrics_once", "name_of_choice"]


class WeightedMetric(StrictModel):
    """A metric in which each prediction counts by its weight, as by scikit-learn's `sample_weight`."""

    metric: Metric = Field(description="The metric's name.")
    by: Literal["weight"] = Field(description="What each prediction counts by.")


MetricChoice = Metric | WeightedMetric
"""A metric in which each prediction counts once, or by its weight."""


def name_of_choice(choice: MetricChoice) -> str:
    """Return the name that the metric is shown under.

    >>> name_of_choice("f1"), name_of_choice(WeightedMetric(metric="f1", by="weight"))
    ('f1', 'f1 (by weight)')
    """
    return weighted_name(choice.metric) if isinstance(choice, WeightedMetric) else choice


def metrics_once(choices: list[MetricChoice]) -> list[MetricChoice]:
    """Refuse repeated metrics."""
    each_once([name_of_choice(choice) for choice in choices])
    return choices
