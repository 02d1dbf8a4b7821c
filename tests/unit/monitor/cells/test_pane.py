"""Panes: the hours of a cohort day, now and as of an earlier time."""

from datetime import UTC, date, datetime

import numpy as np
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

from monitor.cells.bins import AGES_MAX, age_edges_ms
from monitor.cells.fold import fold
from monitor.cells.pane import Panes, read_panes
from monitor.cells.plan import CellPlan

PLAN = CellPlan.from_config(config_of())
DAY = date(2013, 3, 12)
HOUR = 8
"""EPOCH_MS is 08:00 in New York."""


def panes_of(
    predictions: list[Prediction], revisions: list[Revision], *, slice_: str = "", kind: str = "late", day: date = DAY
) -> Panes:
    """Fold, and read one day."""
    cells = fold(PLAN, predictions_frame(predictions), outcomes_frame(revisions), outcomes_frame([]))
    return read_panes(cells, PLAN, kind, "v1", slice_, (day, day))


def joined(prediction: Prediction, age_ms: int, value: float = 1.0) -> Revision:
    """Return a label known at an age."""
    return Revision(prediction, "joined", value, prediction.predicted_at_ms + age_ms, 1)


def test_predictions_and_labels_are_counted_by_hour_score_bin_and_class() -> None:
    """A prediction without a score has no score bin."""
    rows = [Prediction("a", output=0.9), Prediction("b", EPOCH_MS + HOUR_MS, output=0.1), Prediction("c", output=None)]
    panes = panes_of(rows, [joined(rows[0], HOUR_MS), joined(rows[1], HOUR_MS, 0.0), joined(rows[2], 0)])
    now = panes.now()
    assert panes.predictions[0, HOUR : HOUR + 2].tolist() == [2, 1]
    assert panes.predictions.sum() == 3
    assert now.scored.sum(axis=-1)[0, HOUR : HOUR + 2].tolist() == [1, 1]
    assert now.labels[0, HOUR : HOUR + 2].tolist() == [2, 1]
    assert now.labelled.sum(axis=2)[0, HOUR : HOUR + 2].tolist() == [[0, 1], [1, 0]]
    assert now.closed.sum() == 0


@pytest.mark.parametrize(
    ("day", "hours", "last_pane"),
    [(date(2013, 3, 10), 23, 22), (date(2013, 3, 12), 24, 23), (date(2013, 11, 3), 25, 24)],
)
def test_a_day_has_as_many_panes_as_hours_when_clocks_change(day: date, hours: int, last_pane: int) -> None:
    """One o'clock occurs twice in November: these are two panes."""
    midnight_ms = int(datetime(day.year, day.month, day.day, 5 if day.month < 11 else 4, tzinfo=UTC).timestamp() * 1000)
    if day.month == 3 and day.day > 10:
        midnight_ms -= HOUR_MS
    rows = [Prediction(f"k{hour}", midnight_ms + hour * HOUR_MS) for hour in range(hours)]
    panes = panes_of(rows, [], day=day)
    assert panes.predictions[0, :hours].tolist() == [1] * hours
    assert panes.predictions.sum() == hours
    assert panes.start_ms[0, 0] == midnight_ms
    assert panes.end_ms[0, last_pane] == midnight_ms + hours * HOUR_MS


def test_a_label_appears_once_the_whole_pane_has_passed_its_age_bin() -> None:
    """Predicted at 08:00, known at 09:00: the whole pane has reached the age at 10:00, and not a millisecond before."""
    row = Prediction("a")
    panes = panes_of([row], [joined(row, HOUR_MS)])
    end_ms = int(panes.end_ms[0, HOUR])
    assert end_ms == EPOCH_MS + HOUR_MS
    before, after = panes.as_of(end_ms + HOUR_MS - 1), panes.as_of(end_ms + HOUR_MS)
    assert (before.labels.sum(), before.labelled.sum(), before.predictions.sum()) == (0, 0, 1)
    assert (after.labels.sum(), after.labelled.sum()) == (1, 1)
    assert panes.kind.age_edges_ms[after.age[0, HOUR]] == HOUR_MS


def test_a_pane_that_has_not_ended_is_empty() -> None:
    """Some of its predictions may not have been made."""
    row = Prediction("a")
    panes = panes_of([row], [joined(row, 0)])
    running = panes.as_of(EPOCH_MS + HOUR_MS - 1)
    assert (running.predictions.sum(), running.scored.sum(), running.labels.sum()) == (0, 0, 0)
    assert running.age[0, HOUR] == -1
    assert panes.as_of(EPOCH_MS + HOUR_MS).labels.sum() == 1


def test_as_of_is_exact_for_the_age_that_every_prediction_had_reached() -> None:
    """At any time it counts exactly the labels first known by its age, and all of them were known."""
    rng = np.random.default_rng(5)
    rows = [Prediction(f"k{n}", EPOCH_MS + int(rng.integers(0, 6 * HOUR_MS)), output=rng.random()) for n in range(200)]
    ages = {row.key: int(rng.lognormal(np.log(2 * HOUR_MS), 1.5)) for row in rows}
    panes = panes_of(rows, [joined(row, ages[row.key], float(rng.random() < 0.5)) for row in rows])
    for now_ms in range(EPOCH_MS, EPOCH_MS + 30 * HOUR_MS, 97 * 60_000):
        view = panes.as_of(now_ms)
        expected = 0
        for row in rows:
            pane = HOUR + (row.predicted_at_ms - EPOCH_MS) // HOUR_MS
            reached = view.age[0, pane]
            if reached >= 0 and ages[row.key] <= panes.kind.age_edges_ms[reached]:
                expected += 1
                assert row.predicted_at_ms + ages[row.key] <= now_ms
        assert view.labels.sum() == view.labelled.sum() == expected
    assert panes.as_of(EPOCH_MS + 900 * DAY_MS).labels.sum() == 200


def test_a_closed_outcome_is_pending_until_its_horizon() -> None:
    """As of an earlier time, an expired outcome could still get a label."""
    row = Prediction("a")
    panes = panes_of([row], [Revision(row, "expired", None, EPOCH_MS + 3 * DAY_MS, 1)])
    horizon_ms = int(panes.end_ms[0, HOUR]) + 3 * DAY_MS
    before, after = panes.as_of(horizon_ms - 1), panes.as_of(horizon_ms)
    assert (before.scored.sum(), before.labelled.sum(), before.closed.sum()) == (1, 0, 0)
    assert (after.scored.sum(), after.labelled.sum(), after.closed.sum()) == (1, 0, 1)


def test_panes_of_all_are_the_sum_of_those_by_delay() -> None:
    """Every prediction has exactly one value of the slice, which may be the missing one."""
    rows = [Prediction("a", country="DE"), Prediction("b", country="FR"), Prediction("c", country=None)]
    labels = [joined(row, HOUR_MS) for row in rows]
    assert panes_of(rows, labels).now().labelled.sum() == 3
    assert panes_of(rows, labels, slice_="country=FR").now().labelled.sum() == 1
    assert panes_of(rows, labels, slice_="country=∅").predictions.sum() == 1


def test_a_kind_of_many_days_has_one_pane_a_day_and_other_tasks_have_no_scores() -> None:
    """The horizon is twenty days."""
    row = Prediction("a")
    label = Revision(row, "joined", None, EPOCH_MS + DAY_MS, 1, "status", OWN["status"], "landed")
    panes = panes_of([row], [label], kind="status")
    assert panes.predictions.tolist() == [[1]]
    assert panes.now().labels.tolist() == [[1]]
    assert panes.scored.sum() == panes.now().labelled.sum() == 0
    assert panes.end_ms[0, 0] - panes.start_ms[0, 0] == DAY_MS


def test_days_without_cells_are_zeros_and_an_unknown_kind_is_refused() -> None:
    """An empty range is no error; an unknown name is."""
    panes = read_panes(fold(PLAN, *([outcomes_frame([])] * 3)), PLAN, "late", "v1", "", (DAY, date(2013, 3, 14)))
    assert panes.predictions.shape == (3, 25)
    assert panes.now().labelled.shape == (3, 25, 64, 2)
    assert panes.now().labels.sum() == 0
    with pytest.raises(ValueError, match=r"'gone'.*late"):
        read_panes(outcomes_frame([]), PLAN, "gone", "v1", "", (DAY, DAY))


def test_more_ages_than_a_bin_has_room_for_are_refused() -> None:
    """A larger age index would overflow into the next pane's bins."""
    with pytest.raises(ValueError, match="4096"):
        age_edges_ms(range(1_000, 1_000 + AGES_MAX))
