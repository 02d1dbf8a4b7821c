"""Live River metrics: the same values as those of cells, updated and reverted revision by revision."""

import math
from random import Random
from typing import Any

import polars as pl
import pytest
from cell_cases import EPOCH_MS, HOUR_MS, OWN, Prediction, Revision, config_of, outcomes_frame, predictions_frame
from sklearn.metrics import roc_auc_score

from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.metrics.live import LiveMetrics, MultiClassMCC
from monitor.metrics.rank_auc import RankAUC
from monitor.metrics.table import metrics
from schemas.base.metric_name import BINARY_METRICS

PLAN = CellPlan.from_config(config_of(metrics={"late": list(BINARY_METRICS)}))


def history(seed: int, count: int = 60) -> list[list[Revision]]:
    """Return three steps of revisions of every kind: labels, corrections, retractions, and unusable values."""
    rng = Random(seed)
    steps: list[list[Revision]] = [[], [], []]
    for number in range(count):
        prediction = Prediction(
            f"k{number}",
            version=rng.choice(["v1", "v2"]),
            output=rng.choice([rng.random(), rng.random(), 0.3, math.nan, 1.5, None]),
            fare=rng.choice([round(rng.gauss(50, 20), 2), math.inf, None]) if rng.random() < 0.2 else rng.gauss(50, 9),
            predicted_class=rng.choice(["landed", "late", "cancelled", None]),
        )
        for kind in OWN:
            step = 0
            for revision in range(rng.choice([1, 1, 2, 3])):
                status = rng.choice(["joined", "joined", "joined", "retracted", "expired"])
                value, value_class = None, None
                if status == "joined":
                    value = {"late": float(rng.random() < 0.4), "fare": rng.gauss(50, 20)}.get(kind)
                    value_class = rng.choice(["landed", "late"]) if kind == "status" else None
                known_at_ms = EPOCH_MS + (step + 1) * HOUR_MS
                one = Revision(prediction, status, value, known_at_ms, revision, kind, OWN[kind], value_class)
                steps[step].append(one)
                step = min(step + rng.randint(0, 1), 2)
    return steps


def _key(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return row["version"], row["kind"], row["definition"], row["name"]


def earlier_of(steps: list[list[Revision]], index: int) -> list[Revision]:
    """Return all revisions of earlier steps of the chains in a step."""
    chains = {one.chain for one in steps[index]}
    return [one for step in steps[:index] for one in step if one.chain in chains]


@pytest.mark.parametrize("seed", range(4))
def test_live_metrics_are_those_of_cells_after_every_step(seed: int) -> None:
    """Corrections and retractions revert what they replace; unusable values are skipped."""
    steps = history(seed)
    live, cells = LiveMetrics(PLAN), merge()
    for index, step in enumerate(steps):
        outcomes, earlier = outcomes_frame(step), outcomes_frame(earlier_of(steps, index))
        live.apply(outcomes, earlier)
        cells = merge(cells, fold(PLAN.with_admitted(cells), predictions_frame([]), outcomes, earlier))
        found = metrics(cells, PLAN, "version", {})
        expected = {_key(row): row["value"] for row in found.iter_rows(named=True)}
        values = live.values()
        assert set(values) == set(expected)
        for key, value in values.items():
            assert value == (None if expected[key] is None else pytest.approx(expected[key], abs=1e-7)), key


def test_without_labels_there_is_no_value_and_after_a_retraction_of_all_none_again() -> None:
    """It is None, not River's 0.0, and no rounding error of updates and reverts remains."""
    live = LiveMetrics(PLAN)
    first = [Revision(Prediction("a", fare=0.1), "joined", 0.3, EPOCH_MS, 1, "fare", OWN["fare"])]
    live.apply(outcomes_frame(first), outcomes_frame([]))
    assert live.values()["v1", "fare", OWN["fare"], "mae"] == pytest.approx(0.2)
    assert live.values()["v1", "fare", OWN["fare"], "r2"] is None
    gone = [Revision(Prediction("a", fare=0.1), "retracted", None, EPOCH_MS, 2, "fare", OWN["fare"])]
    live.apply(outcomes_frame(gone), outcomes_frame(first))
    assert set(live.values().values()) == {None}


def test_another_definition_and_ineligible_predictions_are_ignored() -> None:
    """Live metrics cover eligible predictions and what is of record."""
    live = LiveMetrics(PLAN)
    rows = [
        Revision(Prediction("a"), "joined", 1.0, EPOCH_MS, 1, "late", "late-30min"),
        Revision(Prediction("b", eligible=False), "joined", 1.0, EPOCH_MS, 1),
    ]
    live.apply(outcomes_frame(rows), outcomes_frame([]))
    assert live.values() == {}


def test_the_coefficient_of_one_class_is_zero_and_of_a_perfect_matrix_one() -> None:
    """As in scikit-learn."""
    metric = MultiClassMCC()
    metric.update("a", "a")
    assert metric.get() == 0.0
    for truth in "bc":
        metric.update(truth, truth)
    assert metric.get() == pytest.approx(1.0)


def test_no_outcomes_change_nothing() -> None:
    """An empty batch is no error."""
    live = LiveMetrics(PLAN)
    live.apply(outcomes_frame([]), pl.DataFrame(schema=outcomes_frame([]).schema))
    assert live.values() == {}


def test_classes_that_are_not_counted_separately_spoil_no_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two different ones are no hit; what needs their counts is None, as in the table."""
    monkeypatch.setattr("monitor.cells.class_name.CLASSES_MAX", 2)
    rows = [("a", "a"), ("b", "b"), ("c", "c"), ("d", "e")]
    step = [
        Revision(
            Prediction(f"k{number}", predicted_class=predicted, predicted_at_ms=EPOCH_MS + number),
            *("joined", None, EPOCH_MS + HOUR_MS, 1, "status", OWN["status"], truth),
        )
        for number, (truth, predicted) in enumerate(rows)
    ]
    live = LiveMetrics(PLAN)
    live.apply(outcomes_frame(step), outcomes_frame([]))
    found = metrics(fold(PLAN, predictions_frame([]), outcomes_frame(step), outcomes_frame([])), PLAN, "version", {})
    expected = dict(found.filter(pl.col("kind") == "status").select("name", "value").iter_rows())
    values = {name: value for (_, kind, _, name), value in live.values().items() if kind == "status"}
    assert values == expected
    assert {name for name, value in values.items() if value is not None} == {"accuracy"}
    assert values["accuracy"] == pytest.approx(0.75)


def test_the_area_of_many_scores_is_near_the_exact_one_and_loses_what_is_reverted() -> None:
    """Scores as close as click rates; more distinct ones than are counted one by one."""
    rng = Random(5)
    rows = [(score := rng.gauss(0.011, 0.0004), rng.random() < 100 * (score - 0.009)) for _ in range(6_000)]
    metric = RankAUC()
    for score, label in [*rows, *((0.5, True),) * 50]:
        metric.update(label, score)
    for _ in range(50):
        metric.revert(y_true=True, y_pred=0.5)
    exact = roc_auc_score([label for _, label in rows], [score for score, _ in rows])
    assert metric.get() == pytest.approx(exact, abs=0.002)
    for score, label in rows:
        metric.revert(label, score)
    assert metric.get() == 0.0
