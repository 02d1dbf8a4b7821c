"""Loss of a version by day: from the same outcomes as metrics, at one age, of days that are old enough."""

import math
from datetime import date

import polars as pl
import pytest
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    OWN,
    Prediction,
    Revision,
    config_of,
    outcomes_frame,
    predictions_frame,
)

from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan, KindPlan
from monitor.drift.loss import LOSS_NAME, day_losses

PLAN = CellPlan.from_config(config_of())
DAY = date(2013, 3, 12)
LAST = date(2013, 3, 14)
SIX_HOURS_MS = 6 * HOUR_MS


def kind_of(name: str) -> KindPlan:
    """Return a kind of the plan."""
    return next(kind for kind in PLAN.kinds if kind.name == name)


def cells_of(*rows: Revision) -> pl.DataFrame:
    """Fold outcomes and their predictions."""
    predictions = predictions_frame({row.prediction.key: row.prediction for row in rows}.values())
    return fold(PLAN, predictions, outcomes_frame(rows), outcomes_frame([]))


def binary(key: str, output: float | None, value: float, age_ms: int = HOUR_MS, **other: object) -> Revision:
    """Return an outcome of the binary kind."""
    prediction = Prediction(key, output=output, **other)  # type: ignore[arg-type]
    return Revision(prediction, "joined", value, prediction.predicted_at_ms + age_ms, 1)


def test_the_loss_of_binary_kinds_is_log_loss_and_both_classes_are_counted() -> None:
    """Classes are those of the labels."""
    cells = cells_of(binary("a", 0.25, 1.0), binary("b", 0.5, 0.0), binary("c", 0.9, 0.0), binary("d", None, 1.0))
    [row] = day_losses(cells, kind_of("late"), "v1", LAST, None).rows(named=True)
    loss = -math.log(0.25) - math.log(0.5) - math.log(0.1)
    assert row == {"day": DAY, "n": 3, "loss": pytest.approx(loss), "positives": 1, "negatives": 2}


def test_the_loss_of_numbers_is_the_absolute_error() -> None:
    """With its fraction, and whatever its sign."""
    rows = [
        Revision(Prediction(key, fare=predicted), "joined", truth, EPOCH_MS, 1, "fare", OWN["fare"])
        for key, predicted, truth in [("a", 1.5, 1.25), ("b", 1.0, 4.0), ("c", 1.0, 1.0)]
    ]
    [row] = day_losses(cells_of(*rows), kind_of("fare"), "v1", LAST, None).rows(named=True)
    assert row == {"day": DAY, "n": 3, "loss": 3.25, "positives": 0, "negatives": 0}


def test_the_loss_of_classes_is_the_number_of_wrong_ones() -> None:
    """Also among classes beyond the first fifty."""
    names = [f"class {number:02}" for number in range(52)]
    rows = [
        Revision(
            Prediction(f"k{number}", predicted_class=predicted, predicted_at_ms=EPOCH_MS + number),
            *("joined", None, EPOCH_MS + HOUR_MS, 1, "status", OWN["status"], truth),
        )
        for number, (truth, predicted) in enumerate([(name, name) for name in names] + [(names[50], names[51])])
    ]
    [row] = day_losses(cells_of(*rows), kind_of("status"), "v1", LAST, None).rows(named=True)
    assert row == {"day": DAY, "n": 53, "loss": 1.0, "positives": 0, "negatives": 0}


@pytest.mark.parametrize("kind", ["late", "fare", "status"])
def test_only_labels_by_the_age_count_at_that_age(kind: str) -> None:
    """The age included; all of them without an age."""
    rows = [
        Revision(Prediction(f"k{age_ms}", output=0.5), *("joined", 1.0, EPOCH_MS + age_ms, 1, kind, OWN[kind], "late"))
        for age_ms in (HOUR_MS, SIX_HOURS_MS, SIX_HOURS_MS + 1)
    ]
    cells = cells_of(*rows)
    by_age = {
        age_ms: day_losses(cells, kind_of(kind), "v1", LAST, age_ms)["n"].to_list() for age_ms in (SIX_HOURS_MS, None)
    }
    assert by_age == {SIX_HOURS_MS: [2], None: [3]}


def test_other_versions_days_definitions_and_days_without_labels_have_no_row() -> None:
    """Days are in order, and none is too young."""
    cells = merge(
        cells_of(binary("late", 0.5, 1.0, predicted_at_ms=EPOCH_MS + 2 * DAY_MS)),
        cells_of(binary("early", 0.5, 1.0)),
        cells_of(binary("young", 0.5, 1.0, predicted_at_ms=EPOCH_MS + 3 * DAY_MS)),
        cells_of(binary("other", 0.5, 1.0, version="v2", predicted_at_ms=EPOCH_MS + DAY_MS)),
        cells_of(Revision(Prediction("d"), "joined", 1.0, EPOCH_MS, 1, "late", "late-30min")),
        cells_of(Revision(Prediction("e", predicted_at_ms=EPOCH_MS + DAY_MS), "expired", None, EPOCH_MS, 1)),
    )
    found = day_losses(cells, kind_of("late"), "v1", LAST, None)
    assert found.select("day", "n").rows() == [(DAY, 1), (LAST, 1)]


@pytest.mark.parametrize("kind", ["late", "fare", "status"])
def test_no_cells_have_no_losses(kind: str) -> None:
    """And the same columns."""
    found = day_losses(merge(), kind_of(kind), "v1", LAST, SIX_HOURS_MS)
    assert found.is_empty()
    assert found.schema == {
        "day": pl.Date(),
        "n": pl.Int64(),
        "loss": pl.Float64(),
        "positives": pl.Int64(),
        "negatives": pl.Int64(),
    }


def test_every_task_has_a_name_for_its_loss() -> None:
    """The name of its metric."""
    assert LOSS_NAME == {"binary": "log_loss", "multiclass": "accuracy", "regression": "mae"}
