"""Backfill alarm: no false alarms on usual traffic, reliable on backfills, and consistent over time."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from effort import some

from monitor.backfill.alarm import BackfillAlarm, FlaggedRun, judge_arrivals, judge_resent, stale_age
from monitor.cells.bins import age_edges_ms
from monitor.cells.count_arrivals import HourlyArrivals
from schemas.events.backfill import Cause

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EDGES_MS = np.asarray(age_edges_ms([DAY_MS, 60 * DAY_MS]), np.int64)
DAYS = 50
COLUMNS = ("edges_ms", "hour_ms", "hour_of_day", "first", "changed", "retimed")
OLD_MS = 25 * DAY_MS

Floats = npt.NDArray[np.float64]


def profile(median_h: float, spread: float) -> Floats:
    """Return the share of labels at each age, for log-normal delays."""
    draws = np.random.default_rng(0).lognormal(np.log(median_h * HOUR_MS), spread, 200_000)
    return np.bincount(np.searchsorted(EDGES_MS, draws), minlength=len(EDGES_MS)) / len(draws)


USUAL = 0.7 * profile(2, 1.0) + 0.3 * profile(24, 1.2)


def drawn(
    seed: int,
    days: int = DAYS,
    *,
    rate: float = 500,
    corrected: float = 5,
    share: Floats = USUAL,
    is_young: bool = False,
) -> HourlyArrivals:
    """Return days of even traffic; in a young loop, the first prediction was made in the first hour."""
    rng, hours = np.random.default_rng(seed), 24 * days
    hour_ms = HOUR_MS * np.arange(hours, dtype=np.int64)
    mean = np.tile(rate * share, (hours, 1))
    if is_young:
        mean *= hour_ms[:, np.newaxis] >= EDGES_MS
    changed = rng.poisson(corrected, hours)
    first, retimed = rng.poisson(mean), rng.poisson(corrected, hours)
    return HourlyArrivals(EDGES_MS, hour_ms, np.arange(hours, dtype=np.int64) % 24, first, changed, retimed)


def adding(
    arrivals: HourlyArrivals, hour: int, *, stale: int = 0, corrected: int = 0, retimed: int = 0, hours: int = 1
) -> HourlyArrivals:
    """Return the arrivals with more stale, corrected or retimed labels in some hours."""
    first, changed, again = arrivals.first.copy(), arrivals.changed.copy(), arrivals.retimed.copy()
    first[hour : hour + hours, int(np.searchsorted(EDGES_MS, OLD_MS))] += stale
    changed[hour : hour + hours] += corrected
    again[hour : hour + hours] += retimed
    return replace(arrivals, first=first, changed=changed, retimed=again)


def judged(arrivals: HourlyArrivals, hours: int | None = None) -> BackfillAlarm:
    """Judge all hours, or the first ones."""
    until_ms = HOUR_MS * (len(arrivals.hour_ms) if hours is None else hours)
    return judge_arrivals(arrivals, until_ms, until_ms)


@pytest.mark.parametrize("seed", some(*range(12), at_least=3))
@pytest.mark.parametrize(("rate", "corrected"), [(500, 5), (50, 0.2), (5_000, 50)])
def test_healthy_traffic_raises_no_alarm(seed: int, rate: float, corrected: float) -> None:
    """In every hour of seven weeks that is judged."""
    found = judged(drawn(seed, rate=rate, corrected=corrected))
    assert found.runs == ()
    assert not found.is_calibrating
    assert found.stale_after_ms is not None
    assert 8 * DAY_MS < found.stale_after_ms < OLD_MS


@pytest.mark.parametrize("seed", some(*range(10), at_least=2))
@pytest.mark.parametrize("rate", [50, 500, 5_000])
def test_three_hundred_labels_in_four_hours_are_found_and_nothing_else(seed: int, rate: float) -> None:
    """Stale or corrected: the run is those hours, or part of them."""
    arrivals = drawn(seed, rate=rate, corrected=rate / 100)
    for cause in (Cause.STALE, Cause.CORRECTED, Cause.RETIMED):
        found = judged(adding(arrivals, 1000, hours=4, **{cause.value: 75})).runs
        assert found
        assert {run.causes for run in found} == {(cause,)}
        assert found[0].since_ms >= 1000 * HOUR_MS
        assert found[-1].until_ms < 1004 * HOUR_MS


def test_a_run_has_its_hours_causes_and_counts() -> None:
    """Consecutive hours are one run, whatever they were flagged for; a quiet hour separates runs."""
    arrivals = adding(adding(drawn(1), 1000, stale=80), 1001, corrected=90)
    arrivals = adding(arrivals, 1003, corrected=90)
    both, single = judged(arrivals).runs
    assert (both.since_ms, both.until_ms) == (1000 * HOUR_MS, 1002 * HOUR_MS - 1)
    assert both.causes == (Cause.STALE, Cause.CORRECTED)
    assert both.stale_after_ms is not None
    edge = int(np.searchsorted(EDGES_MS, both.stale_after_ms))
    stale = arrivals.first[1000:1002, edge + 1 :].sum(axis=1) + arrivals.changed[1000:1002]
    assert both.hours == ((1000 * HOUR_MS, stale[0]), (1001 * HOUR_MS, stale[1]))
    assert both.amount == stale.sum() >= 170
    assert single == FlaggedRun(
        1003 * HOUR_MS, 1004 * HOUR_MS - 1, (Cause.CORRECTED,), ((1003 * HOUR_MS, int(arrivals.changed[1003])),)
    )


@pytest.mark.parametrize(("rate", "count", "is_flagged"), [(50, 19, False), (50, 20, True)])
def test_a_count_below_twenty_is_not_flagged_though_history_had_none(rate: float, count: int, is_flagged: bool) -> None:
    """Small counts matter little."""
    assert bool(judged(adding(drawn(2, rate=rate, corrected=0), 1000, corrected=count)).runs) is is_flagged


@pytest.mark.parametrize(("labels", "least"), [(1_000, 20), (2_000, 40), (2_900, 58), (100_000, 60)])
def test_a_count_has_to_reach_a_share_of_the_hours_labels(labels: int, least: int) -> None:
    """2 %, and at most sixty."""
    arrivals = drawn(3, corrected=0)
    for count, is_flagged in ((least - 1, False), (least + 1, True)):
        many = adding(arrivals, 1000, corrected=count)
        many.first[1000] = 0
        many.first[1000, 10] = labels - count
        assert bool(judged(many).runs) is is_flagged


def test_later_hours_change_no_run() -> None:
    """Each hour is judged by the time before its day: a prefix of the hours has a prefix of the runs."""
    arrivals = drawn(4)
    for hour in (800, 1040, 1050, 1150):
        arrivals = adding(arrivals, hour, stale=120, corrected=40, hours=3)
    whole = judged(arrivals).runs
    assert len(whole) == 4
    for hours in (802, 1048, 1055, 1170):
        known = judged(arrivals, hours).runs
        assert [run.since_ms for run in known] == [run.since_ms for run in whole][: len(known)]
        assert known == whole[: len(known)] or hours == 802
        cut = HourlyArrivals(*(getattr(arrivals, name)[:hours] for name in COLUMNS))
        assert judged(replace(cut, edges_ms=EDGES_MS)).runs == known


def test_an_hour_that_is_not_read_completely_is_not_judged() -> None:
    """A millisecond is missing."""
    arrivals = adding(drawn(5), 1000, stale=200)
    assert judge_arrivals(arrivals, 1001 * HOUR_MS - 1, 2000 * HOUR_MS).runs == ()
    assert len(judge_arrivals(arrivals, 1001 * HOUR_MS, 1000 * HOUR_MS).runs) == 1


def test_flagged_hours_are_not_part_of_history() -> None:
    """After huge backfills on ten days in a row a far smaller one is found all the same."""
    arrivals = drawn(6)
    for day in range(35, 45):
        arrivals = adding(arrivals, 24 * day + 3, stale=5_000, corrected=5_000, hours=2)
    found = judged(adding(arrivals, 24 * 45 + 3, stale=75, corrected=75, hours=4))
    assert len(found.runs) == 11
    assert found.stale_after_ms is not None
    assert found.stale_after_ms < OLD_MS


def test_a_state_of_more_than_a_week_becomes_usual() -> None:
    """A lasting hundred corrections an hour are a single episode; else all later hours would be flagged."""
    found = judged(adding(drawn(7, days=60), 24 * 30, corrected=100, hours=24 * 30)).runs
    assert found[0].since_ms == 30 * DAY_MS
    assert 7 * DAY_MS <= found[-1].until_ms + 1 - found[0].since_ms <= 8 * DAY_MS


@pytest.mark.parametrize("moved", [-1, 0, 1])
def test_a_daily_file_is_no_backfill_not_even_under_daylight_saving_time(moved: int) -> None:
    """A day's labels come in one hour, from day 40 on an hour sooner or later. Other hours are still judged."""
    even, days = drawn(8), np.arange(DAYS)
    at = 24 * days + np.where(days < 40, 6, 6 + moved)
    first, changed = np.zeros_like(even.first), np.zeros_like(even.changed)
    first[at] = even.first.reshape(DAYS, 24, -1).sum(axis=1)
    changed[at] = even.changed.reshape(DAYS, 24).sum(axis=1)
    files = replace(even, first=first, changed=changed)
    assert judged(files).runs == ()
    hour = 24 * 39 + 20
    assert [run.since_ms for run in judged(adding(files, hour, stale=75, hours=4)).runs] == [hour * HOUR_MS]


@pytest.mark.parametrize("seed", some(*range(6), at_least=2))
def test_a_young_loop_whose_labels_become_older_raises_no_alarm(seed: int) -> None:
    """Its oldest labels are as old as the loop: there are more of them every day, and none restates the past."""
    slow = 0.7 * profile(2, 1.0) + 0.3 * profile(20 * 24, 1.0)
    for rate in (500, 5_000):
        assert judged(drawn(seed, rate=rate, share=slow, is_young=True)).runs == ()


@pytest.mark.parametrize("hours", [0, 1, 167])
def test_without_a_week_of_history_it_is_calibrating(hours: int) -> None:
    """Not even a thousand corrections at once are judged."""
    arrivals = drawn(9, days=8)
    assert judged(arrivals, hours) == BackfillAlarm((), is_calibrating=True, stale_after_ms=None)
    if hours:
        assert judged(adding(arrivals, hours - 1, corrected=1_000), hours).runs == ()
    assert judged(adding(arrivals, 168, corrected=1_000), 169).runs != ()


def test_an_hour_that_goes_on_is_judged_by_the_labels_told_again_so_far() -> None:
    """However far predictions have come; not before a label of it has been read, and never by other counts."""
    arrivals = adding(drawn(5), 1000, stale=200, corrected=200, retimed=200)
    hour_ms = 1000 * HOUR_MS
    assert judge_arrivals(arrivals, hour_ms - DAY_MS, hour_ms).runs == ()
    [run] = judge_arrivals(arrivals, hour_ms - DAY_MS, hour_ms + 1).runs
    assert (run.causes, run.hours) == (
        (Cause.RETIMED,),
        ((hour_ms, int(arrivals.retimed[1000] + arrivals.changed[1000])),),
    )
    [whole] = judged(arrivals).runs
    assert (whole.since_ms, whole.causes) == (run.since_ms, (Cause.STALE, Cause.CORRECTED, Cause.RETIMED))


@pytest.mark.parametrize(("count", "is_flagged"), [(19, False), (20, True)])
def test_twenty_labels_told_again_are_enough_in_an_hour_of_any_volume(count: int, is_flagged: bool) -> None:
    """Of 5,000 labels an hour, 60 must be changed; history knows neither."""
    arrivals = drawn(6, rate=5_000, corrected=0)
    assert bool(judged(adding(arrivals, 1000, retimed=count)).runs) is is_flagged
    assert judged(adding(arrivals, 1000, corrected=count)).runs == ()


def test_a_loop_of_ten_days_has_a_stale_age_of_its_own_history() -> None:
    """Half of its days are history, whose labels may be as old as the other half."""
    young = adding(drawn(11, days=10, share=profile(6, 0.5), is_young=True), 230, stale=100)
    [run] = judged(young).runs
    assert run.since_ms == 230 * HOUR_MS
    assert run.stale_after_ms is not None
    assert DAY_MS / 2 < run.stale_after_ms < 2 * DAY_MS


def test_a_loop_without_labels_is_calibrating() -> None:
    """Without hours, or without labels."""
    none = drawn(9, days=0)
    assert judge_arrivals(none, DAY_MS, DAY_MS) == BackfillAlarm((), is_calibrating=True, stale_after_ms=None)
    quiet = drawn(9, rate=0, corrected=0)
    assert judged(quiet) == BackfillAlarm((), is_calibrating=True, stale_after_ms=None)


def test_labels_are_stale_above_the_age_by_which_nearly_all_have_arrived() -> None:
    """99.5 % of those that could be observed; an hour at least; None with few labels."""
    edges_ms = np.array([0, 60_000, HOUR_MS // 2, 2 * HOUR_MS, DAY_MS, 9 * DAY_MS])
    assert stale_age(np.array([0, 0, 900, 94, 1, 5]), edges_ms, 90 * DAY_MS) == DAY_MS
    assert stale_age(np.array([0, 0, 900, 95, 0, 5]), edges_ms, 90 * DAY_MS) == 2 * HOUR_MS
    assert stale_age(np.array([0, 0, 900, 94, 1, 5]), edges_ms, 2 * DAY_MS) == 2 * HOUR_MS
    assert stale_age(np.array([0, 1_000, 0, 0, 0, 0]), edges_ms, 90 * DAY_MS) == 2 * HOUR_MS
    assert stale_age(np.array([0, 0, 99, 0, 0, 0]), edges_ms, 90 * DAY_MS) is None


def test_predictions_that_are_sent_again_are_found_by_the_same_rule() -> None:
    """A few an hour are usual; hours without any may be missing, and hours outside the span are ignored."""
    counts = np.random.default_rng(10).poisson(1, 24 * 20)
    since_ms = 5 * DAY_MS + 1_800_000
    rows = [(since_ms + HOUR_MS * hour, int(count)) for hour, count in enumerate(counts) if count]
    again = [(since_ms + HOUR_MS * hour, 15) for hour in (400, 400, 401, 401)]
    outside = [(since_ms - HOUR_MS, 900), (since_ms + 20 * DAY_MS, 900)]
    frame = pl.DataFrame([*rows, *again, *outside], schema=["hour_ms", "count"], orient="row")
    found = judge_resent(frame, since_ms, since_ms + 20 * DAY_MS)
    [run] = found.runs
    assert (run.since_ms, run.until_ms) == (since_ms + 400 * HOUR_MS, since_ms + 402 * HOUR_MS - 1)
    assert run.causes == (Cause.RESENT,)
    assert run.amount == 60 + counts[400:402].sum()
    assert not found.is_calibrating
    assert judge_resent(frame, since_ms, since_ms + 2 * DAY_MS) == BackfillAlarm((), True, None)  # noqa: FBT003 - calibrating
