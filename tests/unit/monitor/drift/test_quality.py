"""Quality checks of a day: what is flagged, from how many rows on, and how rarely by chance."""

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from monitor.cells.histogram import ABOVE, BELOW, COUNT_SCHEMA, MISSING, NOT_FINITE, UNSEEN, Histogram
from monitor.drift.quality import QUALITY_SCHEMA, judge_quality

TODAY = date(2013, 3, 1)
NUMBER = Histogram("x", "equal", low=0.0, high=1.0)
TEXT = Histogram("x", "category", categories=("a", "b", "c"))


def counts_of(days: Mapping[int, Mapping[int, int]], name: str = "x") -> pl.DataFrame:
    """Return counts from {days before today: {bin: rows}}."""
    rows = [
        (name, TODAY - timedelta(days=ago), bin_, amount) for ago, bins in days.items() for bin_, amount in bins.items()
    ]
    return pl.DataFrame(rows, schema=COUNT_SCHEMA, orient="row").filter(pl.col("amount") > 0)


def usual(bins: Mapping[int, int], days: int = 28) -> dict[int, Mapping[int, int]]:
    """Return the same counts for all days before today."""
    return {ago + 1: bins for ago in range(days)}


def found(
    counts: pl.DataFrame, *histograms: Histogram, is_over: bool = False
) -> dict[tuple[str, str], tuple[float | None, float | None, int, bool]]:
    """Return {(input, check): (share, usual, n, flagged)}."""
    rows = judge_quality(counts, histograms, TODAY, is_over=is_over)
    assert rows.schema == QUALITY_SCHEMA
    assert rows.rows() == rows.sort("input", "check").rows()
    return {(name, check): (share, common, n, flagged) for name, check, share, common, n, flagged in rows.rows()}


def flagged(counts: pl.DataFrame, *histograms: Histogram, is_over: bool = False) -> list[str]:
    """Return the checks that failed."""
    return [check for (_, check), row in found(counts, *histograms, is_over=is_over).items() if row[3]]


SPREAD = dict.fromkeys(range(128), 50)


@pytest.mark.parametrize(
    ("check", "bad_bin"),
    [("missing", MISSING), ("out_of_range", BELOW), ("out_of_range", ABOVE), ("not_finite", NOT_FINITE)],
)
def test_bad_numbers_are_flagged_from_fifty_rows_on(check: str, bad_bin: int) -> None:
    """A fifth of the values, after one in a hundred; with 49 rows nothing is flagged."""
    before = usual({**SPREAD, bad_bin: 64})
    for rows, expected in [(50, [check]), (49, [])]:
        today = {**dict.fromkeys(range(rows - 20), 1), bad_bin: 20}
        assert flagged(counts_of({**before, 0: today}), NUMBER) == expected
    share, common, n, _ = found(counts_of({**before, 0: {1: 40, bad_bin: 10}}), NUMBER)["x", check]
    assert (share, n) == (0.2, 50)
    assert common == pytest.approx(64 / 6_464)


def test_texts_outside_the_contract_are_unseen() -> None:
    """A renamed category."""
    before = usual({0: 500, 1: 500})
    assert flagged(counts_of({**before, 0: {0: 300, UNSEEN: 30}}), TEXT) == ["unseen"]


def test_both_sides_out_of_range_are_one_share() -> None:
    """Each alone is too small to be flagged."""
    assert flagged(counts_of({**usual(SPREAD), 0: {**SPREAD, BELOW: 70, ABOVE: 70}}), NUMBER) == ["out_of_range"]
    assert flagged(counts_of({**usual(SPREAD), 0: {**SPREAD, BELOW: 70}}), NUMBER) == []


def test_a_rise_of_less_than_two_points_is_not_flagged() -> None:
    """At a million rows it is beyond chance, and still too small to matter."""
    before = usual({0: 980_000, MISSING: 20_000})
    assert flagged(counts_of({**before, 0: {0: 961_000, MISSING: 39_000}}), TEXT) == []
    assert flagged(counts_of({**before, 0: {0: 959_000, MISSING: 41_000}}), TEXT) == ["missing"]


def test_random_variation_is_not_flagged() -> None:
    """Healthy days of every size, with a tenth missing."""
    rng = np.random.default_rng(1)
    for n in (50, 200, 1_000):
        for _ in range(20):
            days = {ago: {0: n - bad, MISSING: bad} for ago, bad in enumerate(rng.binomial(n, 0.1, 29).tolist())}
            assert flagged(counts_of(days), TEXT) == []


def test_every_weekend_is_usual_and_an_incident_of_two_days_is_not() -> None:
    """Eight days of 28 make a bad day, two do not."""
    today = {0: {0: 700, MISSING: 300}}
    for bad_days, expected in [(range(1, 9), []), (range(1, 3), ["missing"])]:
        before = {ago: {0: 700, MISSING: 300} if ago in bad_days else {0: 1_000} for ago in range(1, 29)}
        assert flagged(counts_of({**before, **today}), TEXT) == expected


def test_a_stuck_number_is_flagged_once_its_bin_has_more_rows_than_on_a_whole_day() -> None:
    """Every bin has 50 rows on a usual day."""
    for stuck_rows, expected in [(50, []), (60, ["stuck"])]:
        assert flagged(counts_of({**usual(SPREAD), 0: {7: stuck_rows}}), NUMBER) == expected
    share, common, _, _ = found(counts_of({**usual(SPREAD), 0: {7: 60}}), NUMBER)["x", "stuck"]
    assert share == 1.0
    assert common == pytest.approx(1 / 128)


def test_an_input_that_follows_the_hour_is_not_stuck_in_the_first_hour() -> None:
    """One bin has all rows, and no more than on any day."""
    assert flagged(counts_of({**usual(SPREAD), 0: {0: 50}}), NUMBER) == []


def test_an_input_that_has_one_value_a_day_is_not_stuck() -> None:
    """The day of the week, or of the month."""
    days = {ago: {ago % 7: 1_000} for ago in range(29)}
    assert flagged(counts_of(days), NUMBER, is_over=True) == []


def test_no_rows_are_stale_once_the_day_is_over_or_others_have_some() -> None:
    """Just after midnight no input has any."""
    before = pl.concat([counts_of(usual({0: 1_000})), counts_of(usual({0: 1_000}), "y")])
    other = Histogram("y", "category", categories=("a",))
    assert flagged(before, TEXT, other) == []
    assert flagged(before, TEXT, other, is_over=True) == ["stale", "stale"]
    with_other = pl.concat([before, counts_of({0: {0: 60}}, "y")])
    rows = found(with_other, TEXT, other)
    assert rows["x", "stale"] == (0.0, 1.0, 0, True)
    assert rows["y", "stale"] == (0.06, 1.0, 60, False)
    assert rows["x", "missing"][:3] == (None, 0.0, 0)


def test_a_loop_that_pauses_at_weekends_is_not_stale() -> None:
    """A day without rows is stale only if nine in ten days have some."""
    before = {ago: {0: 1_000} for ago in range(1, 29) if ago % 7 not in (0, 6)}
    assert flagged(counts_of(before), TEXT, is_over=True) == []


def test_a_whole_day_of_nulls_is_flagged() -> None:
    """All of them missing, none stuck, none stale."""
    assert flagged(counts_of({**usual(SPREAD), 0: {MISSING: 5_000}}), NUMBER) == ["missing"]


def test_without_days_before_shares_are_shown_and_nothing_is_flagged() -> None:
    """A version's first day, and one that had 49 rows the day before."""
    for before in ({}, {1: {0: 49}}, {29: {0: 10_000}}):
        rows = found(counts_of({**before, 0: {0: 50, MISSING: 50}}), TEXT, is_over=True)
        assert rows["x", "missing"] == (0.5, None, 100, False)
        assert not any(row[3] for row in rows.values())


def test_later_days_and_the_order_of_rows_do_not_matter() -> None:
    """Checking an old day again gives the same result."""
    counts = counts_of({**usual(SPREAD), 0: {**SPREAD, MISSING: 900}, -1: {MISSING: 10**6}})
    assert found(counts, NUMBER) == found(counts.filter(pl.col("day") <= TODAY).reverse(), NUMBER)


def test_empty_counts_and_no_histograms_are_no_error() -> None:
    """No counts, or no inputs."""
    assert flagged(COUNT_SCHEMA.to_frame(), NUMBER, is_over=True) == []
    assert judge_quality(COUNT_SCHEMA.to_frame(), [], TODAY, is_over=True).schema == QUALITY_SCHEMA


def test_every_input_has_the_checks_that_can_fail() -> None:
    """A boolean is never out of range."""
    histograms = (NUMBER, TEXT, Histogram("x", "flag"), Histogram("x", "logarithmic"))
    counts = counts_of({0: {0: 60}})
    checks = {one.scale: [check for _, check in found(counts, one)] for one in histograms}
    assert checks == {
        "equal": ["missing", "not_finite", "out_of_range", "stale", "stuck"],
        "category": ["missing", "stale", "stuck", "unseen"],
        "flag": ["missing", "stale", "stuck"],
        "logarithmic": ["missing", "not_finite", "stale", "stuck"],
    }
