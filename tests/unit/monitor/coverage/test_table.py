"""Coverage of young, due and mature days, goals, and the expected curve."""

from datetime import date

import polars as pl
import pytest
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    Prediction,
    Revision,
    config_of,
    outcomes_frame,
    predictions_frame,
)

from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.coverage.table import coverage, expected_curve, judge_goals

PLAN = CellPlan.from_config(config_of())
DAY_END_MS = EPOCH_MS + 16 * HOUR_MS


def cells_of(ages_ms: list[int | None], *, status: str = "joined", **fields: object) -> pl.DataFrame:
    """Fold one prediction per age, labelled at that age; None stays pending."""
    predictions = [Prediction(f"k{number}", **fields) for number in range(len(ages_ms))]  # type: ignore[arg-type]
    outcomes = [
        Revision(one, status, 1.0, one.predicted_at_ms + age_ms, 1)
        for one, age_ms in zip(predictions, ages_ms, strict=True)
        if age_ms is not None
    ]
    return fold(PLAN, predictions_frame(predictions), outcomes_frame(outcomes), outcomes_frame([]))


def rows_of(cells: pl.DataFrame, observed_ms: int | None = None, matured_ms: int | None = None) -> pl.DataFrame:
    """Return the coverage of the binary kind in the slice of all."""
    found = coverage(cells, PLAN, {"late": observed_ms}, {"late": matured_ms})
    return found.filter(pl.col("kind") == "late", pl.col("slice") == "")


def test_coverage_counts_what_was_known_by_each_age_the_age_included() -> None:
    """Ages are those of the config and the horizon; a label one millisecond later does not count."""
    cells = cells_of([-5, HOUR_MS, HOUR_MS + 1, DAY_MS, 4 * DAY_MS, None])
    rows = rows_of(cells, observed_ms=DAY_END_MS + 3 * DAY_MS)
    assert rows.select("age_ms", "predictions", "labelled").rows() == [
        (HOUR_MS, 6, 2),
        (DAY_MS, 6, 4),
        (3 * DAY_MS, 6, 4),
    ]
    assert rows.get_column("coverage").to_list() == pytest.approx([2 / 6, 4 / 6, 4 / 6])
    assert rows.get_column("so_far").to_list() == pytest.approx([5 / 6] * 3)


@pytest.mark.parametrize(("observed_ms", "due"), [(DAY_END_MS + HOUR_MS - 1, False), (DAY_END_MS + HOUR_MS, True)])
def test_a_cohort_is_due_once_its_last_instant_has_reached_the_age(observed_ms: int, due: bool) -> None:
    """Until then the share is null, but there is a count so far."""
    [first, *_] = rows_of(cells_of([0, None]), observed_ms).iter_rows(named=True)
    assert (first["due"], first["coverage"], first["labelled"]) == (due, 0.5 if due else None, 1)


def test_a_day_of_25_hours_is_due_an_hour_later() -> None:
    """3 November 2013 in New York has 25 hours."""
    start_ms = 1_383_451_200_000
    cells = cells_of([0], predicted_at_ms=start_ms)
    for until_ms, due in [(start_ms + 24 * HOUR_MS, False), (start_ms + 25 * HOUR_MS, True)]:
        [row, *_] = rows_of(cells, until_ms + HOUR_MS).iter_rows(named=True)
        assert (row["day"], row["due"]) == (date(2013, 11, 3), due)


def test_without_a_watermark_nothing_is_due_or_mature() -> None:
    """The share is null."""
    rows = rows_of(cells_of([0]))
    assert set(rows.select("due", "is_mature", "coverage").rows()) == {(False, False, None)}
    assert coverage(cells_of([0]), PLAN, {}, {}).filter("due").is_empty()


@pytest.mark.parametrize(("matured_ms", "mature"), [(DAY_END_MS - 1, False), (DAY_END_MS, True)])
def test_a_day_is_mature_when_all_of_it_is(matured_ms: int, mature: bool) -> None:
    """The end of the day decides."""
    assert set(rows_of(cells_of([0]), matured_ms=matured_ms).get_column("is_mature")) == {mature}


def test_implied_labels_cover_at_the_horizon_and_expired_ones_never() -> None:
    """Both occur at the horizon; only an implied outcome has a value."""
    for status, labelled in [("implied", [0, 0, 1]), ("expired", [0, 0, 0])]:
        rows = rows_of(cells_of([3 * DAY_MS], status=status), DAY_END_MS + 3 * DAY_MS)
        assert rows.get_column("labelled").to_list() == labelled


def test_the_coverage_of_a_cohort_without_eligible_predictions_is_null() -> None:
    """It is not zero, also when due."""
    rows = rows_of(cells_of([0], eligible=False), DAY_END_MS + 9 * DAY_MS)
    assert set(rows.select("predictions", "coverage", "so_far").rows()) == {(0, None, None)}


def test_labels_of_another_definition_do_not_cover() -> None:
    """Only the config's definition counts."""
    other = Revision(Prediction("k0"), "joined", 1.0, EPOCH_MS, 1, "late", "late-30min")
    cells = merge(cells_of([None]), fold(PLAN, predictions_frame([]), outcomes_frame([other]), outcomes_frame([])))
    assert set(rows_of(cells, DAY_END_MS + 9 * DAY_MS).get_column("labelled")) == {0}


@pytest.mark.parametrize(
    ("ages_ms", "observed_ms", "verdict"),
    [
        ([0, None], DAY_END_MS + DAY_MS, "ok"),
        ([0, None, None], DAY_END_MS + DAY_MS, "missed"),
        ([DAY_MS + 1, DAY_MS + 1], DAY_END_MS + DAY_MS, "missed"),
        ([None, None], DAY_END_MS + DAY_MS - 1, "not_due"),
        ([0, 0], DAY_END_MS + DAY_MS - 1, "not_due"),
    ],
)
def test_a_goal_is_judged_once_its_age_is_due_and_not_before(
    ages_ms: list[int | None], observed_ms: int, verdict: str
) -> None:
    """A young cohort is neither ok nor missed."""
    found = judge_goals(rows_of(cells_of(ages_ms), observed_ms), PLAN)
    assert found.select("age_ms", "min", "verdict").rows() == [(DAY_MS, 0.5, verdict)]


def test_a_cohort_without_predictions_is_not_judged() -> None:
    """It has nothing to label."""
    assert judge_goals(rows_of(cells_of([0], eligible=False), DAY_END_MS + 9 * DAY_MS), PLAN).is_empty()


def curve_of(cells: pl.DataFrame, observed_ms: int) -> dict[int, tuple[int, float | None]]:
    """Return {age_ms: (predictions, expected)} of the binary kind."""
    found = expected_curve(cells, PLAN, {"late": observed_ms}).filter(pl.col("kind") == "late")
    return {age_ms: (count, expected) for _, _, age_ms, count, expected in found.iter_rows()}


def test_the_expected_curve_is_the_plain_share_where_every_day_is_due() -> None:
    """Nothing is censored, so the Kaplan-Meier estimate is a ratio."""
    cells = cells_of([0, HOUR_MS, 2 * DAY_MS, None])
    curve = curve_of(cells, DAY_END_MS + 1_000 * DAY_MS)
    assert curve[0] == pytest.approx((4, 0.25))
    assert curve[HOUR_MS] == pytest.approx((4, 0.5))
    assert curve[10 * DAY_MS] == pytest.approx((4, 0.75))


def test_young_days_contribute_to_young_ages_and_old_days_to_all() -> None:
    """By an hour 2 of 4 and 3 of 4 have a label; the step to a day comes from the old day alone: 1 of 2."""
    old = cells_of([HOUR_MS, HOUR_MS, DAY_MS, None])
    young = cells_of([HOUR_MS, HOUR_MS, HOUR_MS, None], predicted_at_ms=EPOCH_MS + 5 * DAY_MS)
    curve = curve_of(merge(old, young), DAY_END_MS + 5 * DAY_MS + HOUR_MS)
    assert curve[HOUR_MS] == pytest.approx((8, 5 / 8))
    assert curve[DAY_MS] == pytest.approx((4, 1 - (3 / 8) * (1 / 2)))
    assert curve[10 * DAY_MS] == (0, None)


def test_the_expected_curve_never_decreases() -> None:
    """The shares of the days that are due could: different days are due at different ages."""
    old = cells_of([None, None, HOUR_MS])
    young = cells_of([HOUR_MS, HOUR_MS, HOUR_MS], predicted_at_ms=EPOCH_MS + 5 * DAY_MS)
    curve = curve_of(merge(old, young), DAY_END_MS + 5 * DAY_MS + HOUR_MS)
    known = [expected for _, (_, expected) in sorted(curve.items()) if expected is not None]
    assert known == sorted(known)


def test_no_cells_make_no_rows() -> None:
    """An empty lake is no error."""
    rows = coverage(merge(), PLAN, {}, {})
    assert rows.is_empty()
    assert judge_goals(rows, PLAN).is_empty()
    assert expected_curve(merge(), PLAN, {}).is_empty()
