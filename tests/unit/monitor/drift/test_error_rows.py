"""Errors of a day as rows: the right number in every hour, in an order that depends on the counts alone."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from cell_cases import DAY_MS, EPOCH_MS, HOUR_MS, Prediction, Revision, outcomes_frame, predictions_frame
from effort import examples
from evaluation_case import plain_config
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.cells.fold import fold
from monitor.cells.pane import read_panes
from monitor.cells.plan import CellPlan
from monitor.drift.error_rows import ERROR_SCHEMA, error_rows

CONFIG = plain_config(predictions={"outputs": {"late": {"task": "binary", "threshold": 0.3}}, "slices": ["country"]})
PLAN = CellPlan.from_config(CONFIG)
DAY = date(2013, 3, 12)
MIDNIGHT_MS = EPOCH_MS - 8 * HOUR_MS


def rows_of(outcomes: list[tuple[int, float, float, int]], age_ms: int | None = None, index: int = 0) -> pl.DataFrame:
    """Return the errors of (hour of day, score, truth, age in ms); the config's threshold is 0.3."""
    revisions = [
        Revision(prediction, "joined", truth, prediction.predicted_at_ms + own_age_ms, 1)
        for number, (hour, score, truth, own_age_ms) in enumerate(outcomes)
        for prediction in [Prediction(f"k{number}", MIDNIGHT_MS + hour * HOUR_MS + number, output=score)]
    ]
    cells = fold(
        PLAN, predictions_frame(one.prediction for one in revisions), outcomes_frame(revisions), outcomes_frame([])
    )
    return error_rows(read_panes(cells, PLAN, "late", "v1", "", (DAY, DAY + timedelta(days=1))), index, age_ms)


def test_a_prediction_is_wrong_if_its_side_of_the_threshold_is_not_the_label() -> None:
    """Scores at the threshold are positive."""
    found = rows_of([(9, 0.3, 1.0, 0), (10, 0.3, 0.0, 0), (11, 0.2999, 0.0, 0), (12, 0.2999, 1.0, 0)])
    assert found["error"].to_list() == [0.0, 1.0, 0.0, 1.0]
    hours = [datetime(2013, 3, 12, hour, tzinfo=UTC) for hour in (13, 14, 15, 16)]
    assert found["predicted_at"].to_list() == hours
    assert found.schema == ERROR_SCHEMA


def test_only_labels_by_the_age_count() -> None:
    """The age included; without one, all."""
    outcomes = [(9, 0.9, 0.0, 6 * HOUR_MS), (9, 0.9, 0.0, 6 * HOUR_MS + 1), (9, 0.9, 1.0, HOUR_MS)]
    assert rows_of(outcomes, 6 * HOUR_MS)["error"].sum() == 1
    assert (rows_of(outcomes, 6 * HOUR_MS).height, rows_of(outcomes).height) == (2, 3)


def test_a_day_without_labels_has_no_rows() -> None:
    """Nor has any day of an empty lake."""
    assert rows_of([(9, 0.9, 1.0, 0)], index=1).is_empty()
    assert rows_of([]).schema == ERROR_SCHEMA


def test_the_hour_that_occurs_twice_is_two_hours() -> None:
    """3 November 2013: predictions of the second one are not mixed with those of the first."""
    start_ms = round(datetime(2013, 11, 3, 4, tzinfo=UTC).timestamp() * 1000)
    made = [Prediction(f"k{number}", start_ms + number * HOUR_MS, output=0.9) for number in range(25)]
    revisions = [Revision(one, "joined", float(n % 2), one.predicted_at_ms, 1) for n, one in enumerate(made)]
    cells = fold(PLAN, predictions_frame(made), outcomes_frame(revisions), outcomes_frame([]))
    day = date(2013, 11, 3)
    found = error_rows(read_panes(cells, PLAN, "late", "v1", "", (day, day)), 0, None)
    assert found["predicted_at"].dt.epoch("ms").to_list() == [one.predicted_at_ms for one in made]
    assert found["error"].to_list() == [1.0 - n % 2 for n in range(25)]


@settings(max_examples=examples(160), deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 23), st.sampled_from([0.1, 0.9]), st.sampled_from([0.0, 1.0]), st.integers(0, DAY_MS)),
        min_size=1,
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_labels_changes_nothing_and_no_row_is_lost(
    outcomes: list[tuple[int, float, float, int]], rng: object
) -> None:
    """Every hour has as many rows and errors as outcomes, sorted and spread over the hour."""
    found = rows_of(outcomes)
    by_hour = found.group_by(hour=(pl.col("predicted_at").dt.epoch("ms") - MIDNIGHT_MS) // HOUR_MS)
    counted = {hour: (n, wrong) for hour, n, wrong in by_hour.agg(pl.len(), pl.col("error").sum()).iter_rows()}
    expected = {
        hour: (len(own), sum((score > 0.5) != (truth > 0.5) for _, score, truth, _ in own))
        for hour in {one[0] for one in outcomes}
        for own in [[one for one in outcomes if one[0] == hour]]
    }
    assert counted == expected
    assert found["predicted_at"].is_sorted()
    assert found["predicted_at"].n_unique() == found.height
    rng.shuffle(outcomes)  # type: ignore[attr-defined]
    assert rows_of(outcomes).equals(found)


@pytest.mark.parametrize(("rows", "wrong"), [(10, 5), (7, 2), (3, 3), (5, 0), (100, 1)])
def test_errors_are_spread_among_the_rows_of_an_hour(rows: int, wrong: int) -> None:
    """Any range of rows has its share of them, to within one: the detector sees no artificial run of errors."""
    found = rows_of([(9, 0.9, 0.0 if number < wrong else 1.0, 0) for number in range(rows)])["error"].to_list()
    for first in range(rows):
        for last in range(first, rows + 1):
            assert abs(sum(found[first:last]) - wrong * (last - first) / rows) <= 1
