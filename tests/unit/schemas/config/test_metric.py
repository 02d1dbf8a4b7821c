"""The metrics that a config lists: plain ones and ones by weight."""

import pytest
from cell_cases import config_of

from monitor.cells.plan import CellPlan
from schemas.base.metric_name import is_by_weight, plain_name

BY_WEIGHT = {"metric": "f1", "by": "weight"}


def test_a_metric_may_stand_beside_itself_by_weight_and_no_metric_twice() -> None:
    """The weight makes it another metric; its kind then counts weights, and no other."""
    plan = CellPlan.from_config(config_of(metrics={"late": ["f1", BY_WEIGHT]}))
    assert plan.kind("late").metrics == ("f1", "f1 (by weight)")
    assert [kind.name for kind in plan.kinds if kind.is_weighted] == ["late"]
    with pytest.raises(ValueError, match="is listed twice"):
        config_of(metrics={"late": [BY_WEIGHT, BY_WEIGHT]})


def test_a_metric_by_weight_must_fit_the_task() -> None:
    """As a plain one."""
    with pytest.raises(ValueError, match="is not for task: regression"):
        config_of(metrics={"fare": [BY_WEIGHT]})


def test_the_metric_that_averages_over_classes_by_their_frequency_is_not_by_weight() -> None:
    """`weighted_f1` keeps its meaning."""
    assert not is_by_weight("weighted_f1")
    assert plain_name("weighted_f1") == "weighted_f1"
    assert plain_name("weighted_f1 (by weight)") == "weighted_f1"
