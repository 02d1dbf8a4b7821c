"""Metrics from cells equal River's and scikit-learn's for the rows that remain after corrections and retractions.

Tests monitor.metrics.binary, monitor.metrics.multiclass and monitor.metrics.regression through `metrics`, on cells that
monitor.cells.scoring, monitor.cells.exact_sum and monitor.cells.measure counted.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from cell_cases import DAY_MS, EPOCH_MS, OWN, Prediction, Revision, config_of, outcomes_frame, predictions_frame
from effort import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from river import metrics as river
from sklearn import metrics as sklearn
from sklearn_metrics import SKLEARN

from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.metrics.live import MultiClassMCC
from monitor.metrics.table import metrics
from schemas.base.metric_name import BINARY_METRICS, METRICS

PLAN = CellPlan.from_config(config_of(metrics={"late": list(BINARY_METRICS)}))
KINDS = {kind.task: kind.name for kind in PLAN.kinds}
OUTPUTS = {"binary": "output", "multiclass": "predicted_class", "regression": "fare"}
THRESHOLD = 0.3
CLASSES = ["landed", "late", "cancelled", "*other", "\\odd"]
TASKS = sorted(KINDS)


@dataclass(frozen=True)
class Row:
    """A prediction with its label, what happens to the label, and the value of a second label where there is one."""

    output: Any
    truth: Any
    fate: str = "stays"
    second: Any = None


SCORES = st.one_of(
    st.floats(0, 1),
    st.sampled_from([0.0, 1.0, THRESHOLD, math.nextafter(THRESHOLD, 0), 0.5, 1e-16, 1 - 1e-16]),
)
TRUTHS: dict[str, st.SearchStrategy[Any]] = {
    "binary": st.booleans(),
    "multiclass": st.sampled_from(CLASSES),
    "regression": st.integers(-400, 400).map(lambda n: n / 4),
}
PREDICTED = {"binary": SCORES, "multiclass": st.sampled_from(CLASSES), "regression": st.floats(-100, 100)}
UNUSABLE = {
    "binary": [(math.nan, 1.0), (1.5, 0.0), (0.5, 2.0), (0.5, None), (None, 1.0)],
    "multiclass": [("late", None), (None, "late")],
    "regression": [(1.0, math.nan), (math.inf, 1.0), (1.0, None), (None, 1.0)],
}
FATES = st.sampled_from(["stays", "stays", "stays", "corrected", "retracted", "retracted and labelled"])
TWICE = ("corrected", "retracted and labelled")


def rows_of(task: str, size: int = 60) -> st.SearchStrategy[list[Row]]:
    """Draw rows of a task; some of them no metric can use."""
    usable = st.builds(Row, PREDICTED[task], TRUTHS[task], FATES, TRUTHS[task])
    unusable = st.sampled_from(UNUSABLE[task]).map(lambda pair: Row(*pair, "unusable"))
    return st.lists(st.one_of(usable, usable, usable, unusable), min_size=1, max_size=size)


def cells_of(task: str, rows: list[Row]) -> pl.DataFrame:
    """Fold rows in two steps: first all labels, then what happens to them."""
    first, second, predictions = [], [], []
    for number, row in enumerate(rows):
        prediction = Prediction(f"k{number}", **{OUTPUTS[task]: row.output})

        def revise(revision: int, status: str, truth: Any = None, prediction: Prediction = prediction) -> Revision:
            value, value_class = (None, truth) if task == "multiclass" else (truth, None)
            value = None if value is None else float(value)
            at_ms, kind = EPOCH_MS + DAY_MS, KINDS[task]
            return Revision(prediction, status, value, at_ms, revision, kind, OWN[kind], value_class)

        predictions.append(prediction)
        first.append(revise(1, "joined", row.truth))
        if row.fate.startswith("retracted"):
            second.append(revise(2, "retracted"))
        if row.fate in TWICE:
            second.append(revise(3, "joined", row.second))
    before = fold(PLAN, predictions_frame(predictions), outcomes_frame(first), outcomes_frame([]))
    revised = {one.chain for one in second}
    earlier = [one for one in first if one.chain in revised]
    after = fold(PLAN.with_admitted(before), predictions_frame([]), outcomes_frame(second), outcomes_frame(earlier))
    return merge(before, after)


def remaining(rows: list[Row]) -> list[tuple[Any, Any]]:
    """Return output and final truth of the rows that metrics use."""
    kept = [row for row in rows if row.fate not in ("retracted", "unusable")]
    return [(row.output, row.second if row.fate in TWICE else row.truth) for row in kept]


def values_of(task: str, rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Return the metrics of all rows as {name: {value, bound}}."""
    found = metrics(cells_of(task, rows), PLAN, "version", {}).filter(pl.col("kind") == KINDS[task])
    assert set(found.get_column("n")) == {len(remaining(rows))}
    assert set(found.get_column("name")) == set(METRICS[PLAN.kind(KINDS[task]).task])
    return {row["name"]: row for row in found.iter_rows(named=True)}


def decision(score: float) -> bool:
    """Return the class that is predicted at the threshold."""
    return score >= THRESHOLD


RIVER: dict[str, dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]] = {
    "binary": {
        "accuracy": (river.Accuracy, decision),
        "balanced_accuracy": (river.BalancedAccuracy, decision),
        "f1": (river.F1, decision),
        "mcc": (river.MCC, decision),
        "precision": (river.Precision, decision),
        "recall": (river.Recall, decision),
        "log_loss": (river.LogLoss, float),
        "brier": (river.MSE, float),
    },
    "multiclass": {
        "accuracy": (river.Accuracy, str),
        "balanced_accuracy": (river.BalancedAccuracy, str),
        "macro_f1": (river.MacroF1, str),
        "weighted_f1": (river.WeightedF1, str),
        "macro_precision": (river.MacroPrecision, str),
        "macro_recall": (river.MacroRecall, str),
        "mcc": (MultiClassMCC, str),
        "cohen_kappa": (river.CohenKappa, str),
    },
    "regression": {
        "mae": (river.MAE, float),
        "mse": (river.MSE, float),
        "rmse": (river.RMSE, float),
        "r2": (river.R2, float),
    },
}
"""Each metric of a task (except `roc_auc`): River's class, and what it is given for an output."""


def test_every_metric_is_compared_with_river() -> None:
    """The area under the curve has tests of its own."""
    assert {task: set(METRICS[task]) - {"roc_auc"} for task in METRICS} == {task: set(RIVER[task]) for task in RIVER}


@settings(max_examples=examples(160), deadline=None)
@given(drawn=st.sampled_from(TASKS).flatmap(lambda task: st.tuples(st.just(task), rows_of(task))))
@example(drawn=("binary", [Row(0.9, truth=True)]))
@example(drawn=("binary", [Row(0.1, truth=False)]))
@example(drawn=("binary", [Row(0.1, truth=True), Row(0.9, truth=False)]))
@example(drawn=("binary", [Row(0.9, truth=True, fate="retracted")]))
def test_metrics_equal_fresh_river_metrics_on_the_remaining_rows(drawn: tuple[str, list[Row]]) -> None:
    """Also in degenerate cases, as long as there is a row; without one the value is null."""
    task, rows = drawn
    found, left = values_of(task, rows), remaining(rows)
    for name, (make, convert) in RIVER[task].items():
        if not left or (name == "r2" and len(left) < 2):
            assert found[name]["value"] is None, name
            continue
        metric = make()
        for output, truth in left:
            metric.update(truth, convert(output))
        assert found[name]["value"] == pytest.approx(metric.get(), rel=1e-8, abs=1e-8), name


@settings(max_examples=examples(160), deadline=None)
@given(drawn=st.sampled_from(TASKS).flatmap(lambda task: st.tuples(st.just(task), rows_of(task))))
def test_metrics_equal_those_of_scikit_learn_on_the_remaining_rows(drawn: tuple[str, list[Row]]) -> None:
    """Where scikit-learn has a value; it warns of undefined ones."""
    task, rows = drawn
    found, left = values_of(task, rows), remaining(rows)
    if not left:
        return
    truths = [truth for _, truth in left]
    answers = [decision(output) if task == "binary" else output for output, _ in left]
    for name, of in SKLEARN[task].items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = of(truths, answers)
        if not math.isnan(expected) and not (name == "r2" and len(set(truths)) == 1):
            assert found[name]["value"] == pytest.approx(expected, rel=1e-8, abs=1e-8), name
    if task == "binary" and len(set(truths)) == 2:
        brier = sklearn.brier_score_loss(truths, [score for score, _ in left])
        assert found["brier"]["value"] == pytest.approx(brier, abs=1e-9)


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=examples(100), deadline=None)
@given(
    pairs=st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=20),
    gone=st.lists(st.tuples(FINITE, FINITE), max_size=5),
)
@example(pairs=[(1e-10, 0.0), (2e-10, 0.0)], gone=[(1e300, -1e300)])
@example(pairs=[(1e9 + n, 1e9) for n in range(3)], gone=[])
@example(pairs=[(1.7e308, -1.7e308)] * 2, gone=[])
@example(pairs=[(5e-324, 0.0), (1.0, 1.0)], gone=[])
def test_regression_metrics_are_exact_for_numbers_of_any_magnitude(
    pairs: list[tuple[float, float]], gone: list[tuple[float, float]]
) -> None:
    """They equal those of rational arithmetic; labels that were retracted leave nothing behind, however large."""
    rows = [Row(output, truth) for truth, output in pairs]
    found = values_of("regression", [*rows, *(Row(output, truth, "retracted") for truth, output in gone)])
    truths = [Fraction(truth) for truth, _ in pairs]
    errors = [abs(error_of(truth, output)) for truth, output in pairs]
    squares = sum(error * error for error in errors)
    mean = sum(truths) / len(truths)
    spread = sum((truth - mean) ** 2 for truth in truths)
    expected = {"mae": sum(errors) / len(errors), "mse": squares / len(errors)}
    if len(pairs) > 1:
        expected["r2"] = 1 - squares / spread if spread else Fraction(0)
    for name in ("mae", "mse", "r2"):
        value = found[name]["value"]
        if value is None:
            assert name not in expected or abs(expected[name]) > Fraction(1.7e308)
        else:
            assert is_near(value, expected[name]), name
    root = found["rmse"]["value"]
    if root is not None:
        assert is_near(root, root_of(expected["mse"]))


def is_near(value: float, expected: Fraction) -> bool:
    """Return whether a value differs from the exact one by no more than some roundings of a float."""
    return abs(Fraction(value) - expected) <= abs(expected) / 10**14 + Fraction(5e-324)


def root_of(square: Fraction) -> Fraction:
    """Return a square root to 40 digits."""
    with localcontext(prec=40, Emax=10_000, Emin=-10_000):
        return Fraction((Decimal(square.numerator) / Decimal(square.denominator)).sqrt())


def error_of(truth: float, output: float) -> Fraction:
    """Return the difference as a float has it, or as twice the halves' where it is too large for a float."""
    error = truth - output
    return Fraction(error) if math.isfinite(error) else 2 * Fraction(truth / 2 - output / 2)


@settings(max_examples=examples(100), deadline=None)
@given(rows=rows_of("binary"))
def test_the_exact_area_under_the_curve_is_within_the_bound(rows: list[Row]) -> None:
    """With a single class the area is null, not zero."""
    found, left = values_of("binary", rows)["roc_auc"], remaining(rows)
    labels = [label for _, label in left]
    if len(set(labels)) < 2:
        assert (found["value"], found["bound"]) == (None, None)
        return
    exact = sklearn.roc_auc_score(labels, [score for score, _ in left])
    assert abs(found["value"] - exact) <= found["bound"] + 1e-12


@settings(max_examples=examples(100), deadline=None)
@given(drawn=st.lists(st.tuples(st.integers(0, 200), st.booleans(), FATES, st.booleans()), min_size=2, max_size=40))
def test_the_area_agrees_with_rivers_when_river_has_many_thresholds(drawn: list[tuple[int, bool, str, bool]]) -> None:
    """With a threshold between any two scores River's area is exact as well."""
    rows = [Row(number / 200, label, fate, second) for number, label, fate, second in drawn]
    found, left = values_of("binary", rows)["roc_auc"], remaining(rows)
    if len({label for _, label in left}) < 2:
        return
    area: Any = river.ROCAUC(n_thresholds=402)  # type: ignore[no-untyped-call] # River leaves it untyped
    for score, label in left:
        area.update(label, score)
    assert abs(found["value"] - area.get()) <= found["bound"] + 1e-9


def test_the_area_is_exact_while_distinct_scores_are_few() -> None:
    """Each has a bin of its own, however close they are."""
    rows = [Row(0.01 + number * 1e-4, number >= 12) for number in range(25)]
    found = values_of("binary", rows)["roc_auc"]
    assert (found["value"], found["bound"]) == (1.0, 0.0)
