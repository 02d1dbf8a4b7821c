"""A cell behind River's interface says what a fresh River metric and scikit-learn say of the records that are left."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from cell_cases import EPOCH_MS, OWN, Prediction, Revision, config_of, outcomes_frame
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from river import metrics as river
from sklearn import metrics as sklearn

from monitor.cells.fold import fold
from monitor.cells.plan import CellPlan, KindPlan
from monitor.metrics.live import MultiClassMCC
from monitor.metrics.river_cell import CellMetric
from schemas.base.metric_name import METRICS

PLAN = CellPlan.from_config(config_of())
KINDS = {kind.task: kind for kind in PLAN.kinds}
THRESHOLD = 0.3
CLASSES = ["landed", "late", "cancelled", "*other", "\\odd"]

Record = tuple[Any, Any]
"""Truth, and what was said."""

RECORDS: dict[str, st.SearchStrategy[Record]] = {
    "binary": st.tuples(st.booleans(), st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.3, 1.0]))),
    "multiclass": st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)),
    "regression": st.tuples(st.integers(-400, 400).map(lambda n: n / 4), st.floats(-100, 100)),
}
UNUSABLE: dict[str, list[Record]] = {
    "binary": [(1.0, math.nan), (0.0, 1.5), (2.0, 0.5), (None, 0.5), (1.0, None)],
    "multiclass": [(None, "late"), ("late", None)],
    "regression": [(math.nan, 1.0), (1.0, math.inf), (2.0**30, 0.0), (None, 1.0)],
}


def _side(said: float) -> bool:
    return said >= THRESHOLD


RIVER: dict[str, dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]] = {
    "binary": {
        "accuracy": (river.Accuracy, _side),
        "balanced_accuracy": (river.BalancedAccuracy, _side),
        "f1": (river.F1, _side),
        "mcc": (river.MCC, _side),
        "precision": (river.Precision, _side),
        "recall": (river.Recall, _side),
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


def _average(of: Any, average: str) -> Callable[[Any, Any], float]:
    return lambda truths, said: of(truths, said, average=average, zero_division=0)


SKLEARN: dict[str, dict[str, Callable[[Any, Any], float]]] = {
    "binary": {
        "accuracy": sklearn.accuracy_score,
        "balanced_accuracy": sklearn.balanced_accuracy_score,
        "f1": sklearn.f1_score,
        "mcc": sklearn.matthews_corrcoef,
        "precision": sklearn.precision_score,
        "recall": sklearn.recall_score,
    },
    "multiclass": {
        "accuracy": sklearn.accuracy_score,
        "balanced_accuracy": sklearn.balanced_accuracy_score,
        "macro_f1": _average(sklearn.f1_score, "macro"),
        "weighted_f1": _average(sklearn.f1_score, "weighted"),
        "macro_precision": _average(sklearn.precision_score, "macro"),
        "macro_recall": _average(sklearn.recall_score, "macro"),
        "mcc": sklearn.matthews_corrcoef,
        "cohen_kappa": sklearn.cohen_kappa_score,
    },
    "regression": {
        "mae": sklearn.mean_absolute_error,
        "mse": sklearn.mean_squared_error,
        "rmse": sklearn.root_mean_squared_error,
        "r2": sklearn.r2_score,
    },
}


@st.composite
def lives(draw: st.DrawFn) -> tuple[str, list[Record], list[CellMetric]]:
    """Draw a task, and shards after updates, reverts, corrections and merges in any order; with what is left."""
    task = draw(st.sampled_from(sorted(KINDS)))
    kind, name = KINDS[task], METRICS[KINDS[task].task][0]
    shards = [CellMetric(kind, name) for _ in range(2)]
    held: list[list[Record]] = [[], []]
    usable = RECORDS[task]
    for _ in range(draw(st.integers(1, 25))):
        place = draw(st.integers(0, 1))
        shard, mine = shards[place], held[place]
        step = draw(st.sampled_from(["update", "update", "update", "revert", "correct", "merge", "unusable"]))
        if step == "update" or (step in ("revert", "correct") and not mine):
            mine.append(draw(usable))
            shard.update(*mine[-1])
        elif step == "revert":
            shard.revert(*mine.pop(draw(st.integers(0, len(mine) - 1))))
        elif step == "correct":
            truth, said = mine.pop(draw(st.integers(0, len(mine) - 1)))
            mine.append((draw(usable)[0], said))
            shard.revert(truth, said)
            shard.update(*mine[-1])
        elif step == "merge":
            shards[1 - place].merge(shard)
            shards[place] = CellMetric(kind, name)
            held[1 - place] += mine
            held[place] = []
        else:
            shard.update(*draw(st.sampled_from(UNUSABLE[task])))
    return task, [*held[0], *held[1]], shards


def value_of(task: str, name: str, shards: list[CellMetric]) -> float:
    """Return one metric of all shards."""
    whole = CellMetric(KINDS[task], name)
    for shard in shards:
        whole.merge(shard)
    return whole.get()


@settings(max_examples=examples(160), deadline=None)
@given(life=lives())
def test_a_cell_is_a_fresh_river_metric_over_the_records_that_are_left(
    life: tuple[str, list[Record], list[CellMetric]],
) -> None:
    """However updates, reverts, corrections and merges interleave, and whatever could not be used between them."""
    task, left, shards = life
    for name, (make, said_of) in RIVER[task].items():
        fresh = make()
        for truth, said in left:
            fresh.update(truth, said_of(said))
        found = value_of(task, name, shards)
        if not left or (name == "r2" and len(left) < 2):
            assert math.isnan(found), name
        else:
            assert found == pytest.approx(fresh.get(), rel=1e-8, abs=1e-8), name


@settings(max_examples=examples(160), deadline=None)
@given(life=lives())
def test_a_cell_is_scikit_learn_over_the_records_that_are_left(
    life: tuple[str, list[Record], list[CellMetric]],
) -> None:
    """Where scikit-learn has a number at all; it warns of what is not defined."""
    task, left, shards = life
    if not left:
        return
    truths = [truth for truth, _ in left]
    answers = [said >= THRESHOLD if task == "binary" else said for _, said in left]
    for name, of in SKLEARN[task].items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = of(truths, answers)
        if not math.isnan(expected) and not (name == "r2" and len(set(truths)) == 1):
            assert value_of(task, name, shards) == pytest.approx(expected, rel=1e-8, abs=1e-8), name
    if task == "binary":
        area = value_of(task, "roc_auc", shards)
        if len(set(truths)) < 2:
            assert math.isnan(area)
        else:
            exact = sklearn.roc_auc_score(truths, [said for _, said in left])
            assert abs(area - exact) <= bound_of(shards) + 1e-12


def bound_of(shards: list[CellMetric]) -> float:
    """Return the greatest error of the area: pairs of both classes within one bin count as half right."""
    counts = {label: [0] * 64 for label in (0, 1)}
    for shard in shards:
        for (measure, place), amount in shard.amounts.items():
            if measure in ("score_0", "score_1"):
                counts[int(measure[-1])][place] += amount
    tied = sum(one * another for one, another in zip(counts[0], counts[1], strict=True))
    return tied / (2 * sum(counts[0]) * sum(counts[1]))


@settings(max_examples=examples(100), deadline=None)
@given(life=lives())
def test_a_cell_holds_what_a_fold_counts(life: tuple[str, list[Record], list[CellMetric]]) -> None:
    """Record by record or as columns: the same whole numbers, to the bit."""
    task, left, _ = life
    kind = KINDS[task]
    whole = CellMetric(kind, METRICS[kind.task][0])
    for truth, said in left:
        whole.update(truth, said)
    cells = fold(PLAN, outcomes_frame([]).clear(), outcomes_frame(_revisions(kind, left)), outcomes_frame([]))
    measures = {measure for measure, _ in whole.amounts}
    rows = cells.filter(pl.col("slice") == "", pl.col("measure").is_in(list(measures)))
    assert dict(whole.amounts) == {(row["measure"], row["bin"]): row["amount"] for row in rows.to_dicts()}


def _revisions(kind: KindPlan, left: list[Record]) -> list[Revision]:
    field = {"binary": "output", "multiclass": "said", "regression": "fare"}[kind.task]
    found = []
    for place, (truth, said) in enumerate(left):
        prediction = Prediction(f"k{place}", **{field: said})
        value, value_class = (None, truth) if kind.task == "multiclass" else (float(truth), None)
        found.append(Revision(prediction, "joined", value, EPOCH_MS, 1, kind.name, OWN[kind.name], value_class))
    return found
