"""Metrics from cells are River's and scikit-learn's for the rows that survive corrections and retractions."""

import math
import warnings
from typing import Any

import polars as pl
import pytest
from cell_cases import DAY_MS, EPOCH_MS, Prediction, Revision, config_of, outcomes_frame, predictions_frame
from effort import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from river import metrics as river
from sklearn import metrics as sklearn

from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.metrics.table import metrics
from schemas.base.metric_name import BINARY_METRICS

PLAN = CellPlan.from_config(config_of(metrics={"late": list(BINARY_METRICS)}))
THRESHOLD = 0.3
AT_THRESHOLD = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "BalancedAccuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "mcc": "MCC",
}
SKLEARN_AT_THRESHOLD = {
    "accuracy": sklearn.accuracy_score,
    "balanced_accuracy": sklearn.balanced_accuracy_score,
    "precision": sklearn.precision_score,
    "recall": sklearn.recall_score,
    "f1": sklearn.f1_score,
    "mcc": sklearn.matthews_corrcoef,
}


def fresh(name: str, **arguments: int) -> Any:
    """Return a River metric that has seen nothing."""
    return getattr(river, name)(**arguments)


SCORES = st.one_of(
    st.floats(0, 1),
    st.sampled_from([0.0, 1.0, THRESHOLD, math.nextafter(THRESHOLD, 0), 0.5, 1e-16, 1 - 1e-16]),
)
FATES = st.sampled_from(["stays", "stays", "stays", "corrected", "retracted", "retracted and labelled"])
ROWS = st.lists(st.tuples(SCORES, st.booleans(), FATES), min_size=1, max_size=60)

Row = tuple[float, bool, str]


def cells_of(rows: list[Row]) -> pl.DataFrame:
    """Fold rows in two steps: first all labels, then what happens to them."""
    predictions = [Prediction(f"k{place}", output=score) for place, (score, _, _) in enumerate(rows)]
    first, second = [], []
    for prediction, (_, label, fate) in zip(predictions, rows, strict=True):
        known_at_ms = EPOCH_MS + DAY_MS

        def revise(
            number: int, value: float | None, prediction: Prediction = prediction, at_ms: int = known_at_ms
        ) -> Revision:
            return Revision(prediction, "retracted" if value is None else "joined", value, at_ms, number)

        first.append(revise(1, float(label)))
        if fate == "corrected":
            second.append(revise(2, float(not label)))
        elif fate != "stays":
            second.append(revise(2, None))
        if fate == "retracted and labelled":
            second.append(revise(3, float(not label)))
    before = fold(PLAN, predictions_frame(predictions), outcomes_frame(first), outcomes_frame([]))
    touched = {one.chain for one in second}
    earlier = [one for one in first if one.chain in touched]
    after = fold(PLAN, predictions_frame([]), outcomes_frame(second), outcomes_frame(earlier))
    return merge(before, after)


def survivors(rows: list[Row]) -> list[tuple[float, bool]]:
    """Return score and final label of the rows that have one."""
    return [(score, label == (fate == "stays")) for score, label, fate in rows if fate != "retracted"]


def values_of(rows: list[Row]) -> dict[str, dict[str, float | None]]:
    """Return the metrics of all rows as {name: {value, bound}}."""
    found = metrics(cells_of(rows), PLAN, "version", {}).filter(pl.col("kind") == "late")
    assert set(found.get_column("n")) == {len(survivors(rows))}
    return {row["name"]: row for row in found.iter_rows(named=True)}


@settings(max_examples=examples(100), deadline=None)
@given(rows=ROWS)
@example(rows=[(0.9, True, "stays")])
@example(rows=[(0.1, False, "stays")])
@example(rows=[(0.1, True, "stays"), (0.9, False, "stays")])
@example(rows=[(0.9, True, "retracted")])
def test_metrics_are_those_of_fresh_river_metrics_on_the_survivors(rows: list[Row]) -> None:
    """Degenerate cases are River's too, as long as there is a row; without one the value is null."""
    found, left = values_of(rows), survivors(rows)
    if not left:
        assert {row["value"] for row in found.values()} == {None}
        return
    for name, river_name in AT_THRESHOLD.items():
        metric = fresh(river_name)
        for score, label in left:
            metric.update(label, score >= THRESHOLD)
        assert found[name]["value"] == pytest.approx(metric.get(), abs=1e-9), name
    log_loss = fresh("LogLoss")
    for score, label in left:
        log_loss.update(label, score)
    assert found["log_loss"]["value"] == pytest.approx(log_loss.get(), abs=1e-9)


@settings(max_examples=examples(100), deadline=None)
@given(rows=ROWS)
def test_metrics_are_those_of_scikit_learn_on_the_survivors(rows: list[Row]) -> None:
    """Where scikit-learn has one at all: it warns of what is not defined."""
    found, left = values_of(rows), survivors(rows)
    if not left:
        return
    scores, labels = [score for score, _ in left], [label for _, label in left]
    decisions = [score >= THRESHOLD for score in scores]
    for name, of in SKLEARN_AT_THRESHOLD.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = of(labels, decisions)
        assert found[name]["value"] == pytest.approx(expected, abs=1e-9), name
    brier = sum((score - label) ** 2 for score, label in left) / len(left)
    assert found["brier"]["value"] == pytest.approx(brier, abs=1e-9)
    if len(set(labels)) == 2:
        assert found["brier"]["value"] == pytest.approx(sklearn.brier_score_loss(labels, scores), abs=1e-9)


@settings(max_examples=examples(100), deadline=None)
@given(rows=ROWS)
def test_the_area_under_the_curve_is_within_its_certified_bound(rows: list[Row]) -> None:
    """The exact area lies inside; and with one class there is none, not a zero."""
    found, left = values_of(rows)["roc_auc"], survivors(rows)
    labels = [label for _, label in left]
    if len(set(labels)) < 2:
        assert (found["value"], found["bound"]) == (None, None)
        return
    exact = sklearn.roc_auc_score(labels, [score for score, _ in left])
    assert found["value"] is not None
    assert found["bound"] is not None
    assert abs(found["value"] - exact) <= found["bound"] + 1e-12


@settings(max_examples=examples(100), deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 200), st.booleans(), FATES), min_size=2, max_size=40))
def test_the_area_agrees_with_rivers_when_river_has_many_thresholds(
    rows: list[tuple[int, bool, str]],
) -> None:
    """With a threshold between any two scores River's area is exact as well."""
    spread = [(place / 200, label, fate) for place, label, fate in rows]
    found, left = values_of(spread)["roc_auc"], survivors(spread)
    if len({label for _, label in left}) < 2:
        return
    area = fresh("ROCAUC", n_thresholds=402)
    for score, label in left:
        area.update(label, score)
    assert found["value"] is not None
    assert found["bound"] is not None
    assert abs(found["value"] - area.get()) <= found["bound"] + 1e-9


def test_the_bound_is_tight_where_scores_are_spread() -> None:
    """A bound that is always true but says nothing would be no help."""
    rows = [(place / 1000, place % 7 < place / 200, "stays") for place in range(1000)]
    found = values_of(rows)["roc_auc"]
    assert found["bound"] is not None
    assert 0 < found["bound"] < 0.03
