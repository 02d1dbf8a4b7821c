"""Metrics by weight equal scikit-learn's with `sample_weight`, after corrections, from cells and live.

Tests monitor.metrics.weights, and monitor.metrics.live with weights. Covers schemas.config.metric.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from cell_cases import DAY_MS, EPOCH_MS, OWN, Prediction, Revision, config_of, outcomes_frame, predictions_frame
from effort import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sklearn import metrics as sklearn
from sklearn_metrics import SKLEARN

from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.scoring import LEAST_PROBABILITY
from monitor.metrics.live import LiveMetrics
from monitor.metrics.table import metrics
from schemas.base.metric_name import METRICS, weighted_name

PLAN = CellPlan.from_config(
    config_of(
        metrics={
            kind: [name for plain in METRICS[task] for name in (plain, {"metric": plain, "by": "weight"})]
            for kind, task in {"late": "binary", "status": "multiclass", "fare": "regression"}.items()
        }
    )
)
KINDS = {kind.task: kind.name for kind in PLAN.kinds}
OUTPUTS = {"binary": "output", "multiclass": "predicted_class", "regression": "fare"}
THRESHOLD = 0.3
WEIGHTS = st.one_of(st.sampled_from([0.0, 1.0, 2.5, 10.4]), st.floats(0.01, 1e4))
SCORES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.3, 1.0]))
DRAWN: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {
    "binary": (SCORES, st.booleans()),
    "multiclass": (st.sampled_from("abc"), st.sampled_from("abc")),
    "regression": (st.floats(-100, 100), st.integers(-400, 400).map(lambda n: n / 4)),
}


@dataclass(frozen=True)
class Row:
    """A prediction, its weight, its label, and the value that a correction gives the label."""

    output: Any
    weight: float
    truth: Any
    corrected: Any = None

    @property
    def last(self) -> Any:
        """The truth that remains."""
        return self.truth if self.corrected is None else self.corrected


def rows_of(task: str) -> st.SearchStrategy[list[Row]]:
    """Draw rows of a task."""
    output, truth = DRAWN[task]
    return st.lists(st.builds(Row, output, WEIGHTS, truth, st.one_of(st.none(), truth)), min_size=1, max_size=30)


def steps_of(task: str, rows: list[Row]) -> list[list[Revision]]:
    """Return the labels, then their corrections."""
    kind = KINDS[task]
    steps: list[list[Revision]] = [[], []]
    for number, row in enumerate(rows):
        prediction = Prediction(f"k{number}", weight=row.weight, **{OUTPUTS[task]: row.output})
        for step, truth in enumerate([row.truth, row.corrected]):
            if truth is not None:
                value, value_class = (None, truth) if task == "multiclass" else (float(truth), None)
                at_ms = EPOCH_MS + DAY_MS
                one = Revision(prediction, "joined", value, at_ms, step, kind, OWN[kind], value_class)
                steps[step].append(one)
    return steps


def folded(steps: list[list[Revision]]) -> pl.DataFrame:
    """Fold the labels, then their corrections."""
    revised = {one.chain for one in steps[1]}
    earlier = [one for one in steps[0] if one.chain in revised]
    before = fold(PLAN, predictions_frame([]), outcomes_frame(steps[0]), outcomes_frame([]))
    plan = PLAN.with_admitted(before)
    after = fold(plan, predictions_frame([]), outcomes_frame(steps[1]), outcomes_frame(earlier))
    return merge(before, after)


def expected_of(task: str, rows: list[Row]) -> dict[str, float]:
    """Return scikit-learn's values; rows without weight are left out, as their classes do not occur by weight."""
    kept = [row for row in rows if row.weight > 0]
    truths, weights = [row.last for row in kept], [row.weight for row in kept]
    outputs = [row.output for row in kept]
    answers = [score >= THRESHOLD for score in outputs] if task == "binary" else outputs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {name: of(truths, answers, sample_weight=weights) for name, of in SKLEARN[task].items()}
        if task == "binary":
            found["brier"] = sum(w * (s - t) ** 2 for w, s, t in zip(weights, outputs, truths, strict=True)) / sum(
                weights
            )
            found["log_loss"] = sklearn.log_loss(truths, outputs, sample_weight=weights, labels=[False, True])
            if len(set(truths)) > 1:
                found["roc_auc"] = sklearn.roc_auc_score(truths, outputs, sample_weight=weights)
    single = task == "regression" and len(set(truths)) == 1
    return {name: value for name, value in found.items() if not math.isnan(value) and not (single and name == "r2")}


@settings(max_examples=examples(160), deadline=None)
@given(drawn=st.sampled_from(sorted(KINDS)).flatmap(lambda task: st.tuples(st.just(task), rows_of(task))))
@example(drawn=("binary", [Row(0.5, 0.0, truth=False), Row(1e-131, 1.0, truth=True)]))
@example(drawn=("binary", [Row(0.9, 2.5, truth=True), Row(0.2, 0.5, truth=False, corrected=True)]))
def test_metrics_by_weight_equal_those_of_scikit_learn(drawn: tuple[str, list[Row]]) -> None:
    """The plain metrics beside them do not change; the effective number of rows is Kish's."""
    task, rows = drawn
    cells = folded(steps_of(task, rows))
    found = {
        row["name"]: row
        for row in metrics(cells, PLAN, "version", {}).iter_rows(named=True)
        if row["kind"] == KINDS[task]
    }
    weights = [row.weight for row in rows]
    names = [weighted_name(name) for name in METRICS[PLAN.kind(KINDS[task]).task]]
    assert {found[name]["n"] for name in names} == {len(rows)}
    if sum(weights) <= 0:
        assert {(found[name]["value"], found[name]["reason"]) for name in names} == {(None, "weights add up to 0")}
        return
    kish = sum(weights) ** 2 / sum(weight**2 for weight in weights)
    assert [found[name]["n_effective"] for name in names] == pytest.approx([kish] * len(names))
    for name, value in expected_of(task, rows).items():
        if name == "log_loss" and any(not LEAST_PROBABILITY <= row.output <= 1 - LEAST_PROBABILITY for row in rows):
            continue  # scikit-learn clips elsewhere
        assert found[weighted_name(name)]["value"] == pytest.approx(value, rel=1e-7, abs=1e-7), name


@settings(max_examples=examples(40), deadline=None)
@given(drawn=st.sampled_from(sorted(KINDS)).flatmap(lambda task: st.tuples(st.just(task), rows_of(task))))
def test_corrections_leave_nothing_behind_in_the_weights(drawn: tuple[str, list[Row]]) -> None:
    """Cells equal one fold of everything, to the bit, and every cell has an inverse."""
    task, rows = drawn
    steps = steps_of(task, rows)
    whole = fold(PLAN, predictions_frame([]), outcomes_frame([*steps[0], *steps[1]]), outcomes_frame([]))
    assert_frame_equal(folded(steps), whole, check_exact=True)


@pytest.mark.parametrize("task", sorted(KINDS))
def test_live_metrics_by_weight_are_those_of_cells(task: str) -> None:
    """Updated and reverted with the weight of each record."""
    values = {"binary": [0.1, 0.4, 0.8], "multiclass": ["a", "b", "c"], "regression": [1.0, 2.5, 4.0]}[task]
    truths: list[Any] = {"binary": [True, False, True]}.get(task, values[::-1])
    rows = [
        Row(values[n % 3], 0.5 + n % 4, truths[n % 2 + n % 3 // 2], truths[n % 3] if n % 5 == 0 else None)
        for n in range(24)
    ]
    steps, live = steps_of(task, rows), LiveMetrics(PLAN)
    live.apply(outcomes_frame(steps[0]), outcomes_frame([]))
    revised = {one.chain for one in steps[1]}
    live.apply(outcomes_frame(steps[1]), outcomes_frame([one for one in steps[0] if one.chain in revised]))
    table = metrics(folded(steps), PLAN, "version", {}).filter(pl.col("kind") == KINDS[task])
    found = {name: value for (_, kind, _, name), value in live.values().items() if kind == KINDS[task]}
    for name, value in table.select("name", "value").iter_rows():
        assert found[name] == pytest.approx(value, abs=1e-9), name
