"""How a cell behaves where River's tools use it as a metric."""

import math

import pytest
from cell_cases import config_of
from river import linear_model, metrics, preprocessing

from monitor.cells.plan import CellPlan
from monitor.metrics.river_cell import CellMetric

PLAN = CellPlan.from_config(config_of())
KINDS = {kind.task: kind for kind in PLAN.kinds}


def test_without_records_the_value_is_not_a_number_and_never_zero() -> None:
    """River says 0.0, which reads like an outage of the model; after a full revert nothing is left either."""
    metric = CellMetric(KINDS["binary"], "accuracy")
    assert math.isnan(metric.get())
    metric.update(1, 0.9)
    metric.revert(1, 0.9)
    assert math.isnan(metric.get())
    assert not metric.amounts


def test_weights_are_whole_numbers_of_equal_records() -> None:
    """A weight of 3 is three records; a half is no record."""
    heavy, light = CellMetric(KINDS["regression"], "mae"), CellMetric(KINDS["regression"], "mae")
    heavy.update(1.0, 2.5, w=3)
    for _ in range(3):
        light.update(1.0, 2.5)
    assert heavy.amounts == light.amounts
    with pytest.raises(ValueError, match=r"0\.5"):
        heavy.update(1.0, 2.5, w=0.5)


def test_adding_equal_metrics_merges_and_adding_others_makes_rivers_container() -> None:
    """River's own `+` never merges."""
    one, another = CellMetric(KINDS["binary"], "recall"), CellMetric(KINDS["binary"], "recall")
    one.update(1, 0.9)
    another.update(1, 0.1)
    merged = one + another
    assert isinstance(merged, CellMetric)
    assert merged.get() == 0.5
    assert (one.get(), another.get()) == (1.0, 0.0)
    both = one + metrics.MAE()
    assert isinstance(both, metrics.base.Metrics)
    assert len(both) == 2


def test_counts_of_other_kinds_are_not_merged() -> None:
    """Other bins would be added to these."""
    with pytest.raises(ValueError, match="fare"):
        CellMetric(KINDS["binary"], "recall").merge(CellMetric(KINDS["regression"], "mae"))


def test_a_metric_of_another_task_is_refused_with_what_there_is() -> None:
    """The message names the task's metrics."""
    with pytest.raises(ValueError, match=r"'mae'.*binary.*accuracy"):
        CellMetric(KINDS["binary"], "mae")


def test_rivers_tools_can_work_with_it() -> None:
    """They ask for models it works with, for labels or probabilities, compare, clone and print."""
    classifier = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    regressor = linear_model.LinearRegression()
    area, error = CellMetric(KINDS["binary"], "roc_auc"), CellMetric(KINDS["regression"], "mae")
    assert area.works_with(classifier)
    assert not area.works_with(regressor)
    assert error.works_with(regressor)
    assert not area.requires_labels
    assert CellMetric(KINDS["multiclass"], "macro_f1").requires_labels
    for place in range(20):
        row = {"x": place / 10}
        area.update(place > 9, classifier.predict_proba_one(row))
        classifier.learn_one(row, place > 9)
    assert 0 <= area.get() <= 1
    assert (area.bigger_is_better, error.bigger_is_better) == (True, False)
    assert math.isnan(area.clone().get())
    assert str(area).startswith("CellMetric: ")
