"""The alert on lost labels: quiet on young cohorts and healthy ones, and how soon it finds what is lost."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from effort import some
from scipy.special import ndtr

from monitor.cells.bins import age_edges_ms
from monitor.coverage.alert import AlertPanes, CoverageAlert, _judge_once, check_goal, judge_panes

HOUR_MS = 3_600_000
EDGES_MS = np.array([edge for edge in age_edges_ms([72 * HOUR_MS]) if edge <= 240 * HOUR_MS], np.int64)
HISTORY = 28 * 24
MEDIAN_LOG_H, SPREAD = 1.574, 1.514
"""Of the delay in hours: with a log-sd of 0.35 between panes, 84.9 % arrive in 24 hours and 95.9 % in 72."""


def drawn(hours: int, seed: int, *, count: float = 500, season: float = 0.0, nights: float = 0.0) -> AlertPanes:
    """Return hourly panes whose delays have a speed of their own, with a daily season in speed and in number."""
    rng, hour = np.random.default_rng(seed), np.arange(hours)
    wave = np.sin(2 * np.pi * hour / 24)
    predictions = rng.poisson(count * (1 + nights * wave)).astype(np.int64)
    centre = MEDIAN_LOG_H + 0.35 * rng.normal(size=hours) + season * wave
    age_h = np.maximum(EDGES_MS / HOUR_MS, 1e-9)
    known = ndtr((np.log(age_h) - centre[:, np.newaxis]) / SPREAD)
    steps = np.diff(known, axis=1, prepend=0, append=1)
    arrived = rng.multinomial(predictions, steps)[:, :-1]
    return AlertPanes(predictions, np.cumsum(arrived, axis=1), (hour + 1) * HOUR_MS, EDGES_MS)


def losing(panes: AlertPanes, lost: float, hour: int, seed: int) -> AlertPanes:
    """Return the panes with that share of all labels lost that arrive after the hour."""
    steps = np.diff(panes.labelled, axis=1, prepend=0)
    arrives_ms = panes.pane_end_ms[:, np.newaxis] + (panes.edges_ms + np.append(0, panes.edges_ms[:-1])) // 2
    kept = np.where(arrives_ms >= hour * HOUR_MS, 1 - lost, 1.0)
    return replace(panes, labelled=np.cumsum(np.random.default_rng(seed).binomial(steps, kept), axis=1))


def between(panes: AlertPanes, first: int, last: int) -> AlertPanes:
    """Return the panes of these hours."""
    rows = slice(first, last)
    return AlertPanes(panes.predictions[rows], panes.labelled[rows], panes.pane_end_ms[rows], panes.edges_ms)


def hourly(panes: AlertPanes, first: int, last: int, every: int = 1) -> Iterator[tuple[int, CoverageAlert]]:
    """Judge four weeks of panes at each of these hours, an empty one never ahead of its time."""
    for hour in range(first, last, every):
        yield hour, judge_panes(between(panes, hour - HISTORY, hour), hour * HOUR_MS)


def hours_to_find(lost: float, seed: int, within: int) -> int | None:
    """Return after how many hours of loss the pipeline is called degraded, None if it is not within those."""
    panes = losing(drawn(HISTORY + within + 1, seed), lost, HISTORY, seed)
    states = hourly(panes, HISTORY + 1, HISTORY + within + 1)
    return next((hour - HISTORY for hour, found in states if found.state == "degraded"), None)


@pytest.mark.parametrize(
    ("season", "nights", "count"), [(0.0, 0.0, 500), *some((0.5, 0.9, 500), (0.0, 0.9, 5), (0.5, 0.0, 50_000))]
)
def test_at_most_three_of_two_hundred_healthy_cohorts_are_alarmed(season: float, nights: float, count: float) -> None:
    """Five days of hourly cohorts, and the evaluations too; also with daily seasons, and with few or many rows."""
    panes = drawn(HISTORY + 120, 1, season=season, nights=nights, count=count)
    found = [one for _, one in hourly(panes, HISTORY, HISTORY + 120, every=4)]
    assert sum(one.state != "ok" for one in found) <= 0.015 * len(found)
    assert len({end for one in found for end in one.broken_end_ms}) <= 0.015 * (120 + 72)


@pytest.mark.parametrize("seed", range(4))
def test_thirty_per_cent_of_labels_lost_are_found_within_12_hours(seed: int) -> None:
    """From some hour on, three of ten labels that should arrive do not."""
    found = hours_to_find(0.3, seed, 12)
    assert found is not None
    assert found >= 2, "one evaluation is not enough"


def test_ten_per_cent_of_labels_lost_are_found_within_two_days_mostly() -> None:
    """Slower, and not always; the exact figure depends on how much panes differ."""
    assert sum(hours_to_find(0.1, seed, 48) is not None for seed in some(0, 1, 2, 3, 4, 5, 6, 7, at_least=2)) >= 1


def test_one_evaluation_alone_degrades_nothing() -> None:
    """The one before, a pane earlier, has to say the same."""
    panes = losing(drawn(HISTORY + 12, 0), 0.3, HISTORY, 0)
    hour, _ = next(one for one in hourly(panes, HISTORY + 1, HISTORY + 13) if one[1].state == "degraded")
    before = between(panes, hour - 1 - HISTORY, hour - 1)
    assert _judge_once(before, (hour - 1) * HOUR_MS).state == "degraded"
    assert judge_panes(before, (hour - 1) * HOUR_MS).state == "ok"


def test_a_cohort_that_lost_all_its_labels_is_broken_within_a_day() -> None:
    """One pane alone; the pipeline as such is well."""
    panes = drawn(HISTORY + 24, 3)
    panes.labelled[HISTORY] = 0
    early, late = (
        judge_panes(between(panes, hour - HISTORY, hour), hour * HOUR_MS) for hour in (HISTORY + 1, HISTORY + 24)
    )
    assert early.broken_end_ms == ()
    assert late.state == "broken"
    assert late.broken_end_ms == (int(panes.pane_end_ms[HISTORY]),)


@pytest.mark.parametrize(("share_then", "broken"), [(1.0, True), (0.5, False), (0.0, True)])
def test_a_pane_no_worse_than_history_knows_is_not_broken(share_then: float, broken: bool) -> None:
    """Half is missing; an earlier pane was well, or the same, or so bad that it was a fault and sets nothing."""
    panes, last = drawn(HISTORY + 28, 3), HISTORY + 28
    usual = panes.labelled.mean(axis=0)
    for hour, share in ((HISTORY, 0.5), (HISTORY - 300, share_then)):
        panes.labelled[hour] = np.minimum(usual * share, panes.predictions[hour]).astype(np.int64)
    found = judge_panes(between(panes, last - HISTORY, last), last * HOUR_MS)
    assert found.broken_end_ms == ((int(panes.pane_end_ms[HISTORY]),) if broken else ())


def test_what_lies_beyond_a_panes_age_is_never_looked_at() -> None:
    """A young pane has no label at old ages yet: putting some there changes nothing."""
    panes, now_ms = drawn(HISTORY, 4), HISTORY * HOUR_MS
    ahead = panes.pane_end_ms[:, np.newaxis] + panes.edges_ms > now_ms
    unseen = replace(panes, labelled=np.where(ahead, 0, panes.labelled))
    assert judge_panes(unseen, now_ms) == judge_panes(panes, now_ms)
    assert judge_panes(unseen, now_ms).state == "ok"


def test_a_past_outage_in_history_does_not_hide_the_next_one() -> None:
    """Twelve hours lost everything a week ago; it is left out of what is expected."""
    panes = losing(drawn(HISTORY + 15, 5), 0.3, HISTORY, 5)
    panes.labelled[HISTORY - 180 : HISTORY - 168] = 0
    assert any(found.state == "degraded" for _, found in hourly(panes, HISTORY + 6, HISTORY + 15))


@pytest.mark.parametrize(("count", "state"), [(31, "not_enough_history"), (60, "ok")])
def test_few_panes_are_not_enough_history_and_say_so(count: int, state: str) -> None:
    """Not alarmed and not well: a state with a name."""
    found = judge_panes(drawn(count, 6), count * HOUR_MS)
    assert found.state == state
    assert (found.z is None) == (state == "not_enough_history")


def test_a_source_that_never_brought_a_label_has_no_history() -> None:
    """Nothing can be expected from it, and nothing is called well."""
    panes = drawn(200, 6)
    silent = replace(panes, labelled=np.zeros_like(panes.labelled))
    assert judge_panes(silent, 200 * HOUR_MS) == CoverageAlert("not_enough_history", None, None, 0, 0, (), None)
    empty = AlertPanes(np.zeros(0, np.int64), np.zeros((0, 1), np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64))
    assert judge_panes(empty, 0).state == "not_enough_history"


def test_a_day_without_predictions_is_no_day_of_good_coverage() -> None:
    """The state says that there was nothing to judge; single empty panes change nothing."""
    panes = drawn(HISTORY, 7)
    still = np.arange(HISTORY) >= HISTORY - 30
    none = AlertPanes(
        np.where(still, 0, panes.predictions),
        np.where(still[:, np.newaxis], 0, panes.labelled),
        panes.pane_end_ms,
        panes.edges_ms,
    )
    assert judge_panes(none, HISTORY * HOUR_MS).state == "no_predictions"
    nights = np.arange(HISTORY) % 24 < 6
    sleeping = AlertPanes(
        np.where(nights, 0, panes.predictions),
        np.where(nights[:, np.newaxis], 0, panes.labelled),
        panes.pane_end_ms,
        panes.edges_ms,
    )
    assert judge_panes(sleeping, HISTORY * HOUR_MS).state == "ok"


def test_labels_of_months_are_judged_at_months() -> None:
    """The same panes a hundred times slower: the youngest that is judged has an age at which labels come."""
    panes = drawn(HISTORY, 8)
    slow = AlertPanes(panes.predictions, panes.labelled, panes.pane_end_ms, panes.edges_ms * 50)
    found = judge_panes(slow, HISTORY * HOUR_MS)
    assert found.state == "ok"
    assert found.judged_until_ms is not None
    assert found.judged_until_ms <= (HISTORY - 24) * HOUR_MS


def test_a_goal_above_what_history_has_by_its_age_is_unattainable() -> None:
    """95 % by 72 hours is met, 97 % is not; a single young pane says nothing of it."""
    panes, age_ms, now_ms = drawn(HISTORY, 9), 72 * HOUR_MS, HISTORY * HOUR_MS
    high, low = (check_goal(panes, age_ms, least, now_ms) for least in (0.97, 0.9))
    assert (high.state, low.state) == ("unattainable", "attainable")
    assert high.expected == pytest.approx(0.959, abs=0.005)
    assert high.panes == HISTORY - 72
    assert high.reached is not None
    assert low.reached is not None
    assert high.reached < 0.5 < low.reached
    young = check_goal(panes, age_ms, 0.97, 90 * HOUR_MS)
    assert (young.state, young.expected, young.panes) == ("not_enough_history", None, 18)
    with pytest.raises(ValueError, match="one of the edges"):
        check_goal(panes, age_ms + 1, 0.9, now_ms)


def test_panes_that_cannot_be_are_refused() -> None:
    """Other shapes, times that do not grow, more labels than predictions."""
    good = drawn(3, 1)
    for wrong in (
        {"pane_end_ms": good.pane_end_ms[:2]},
        {"pane_end_ms": good.pane_end_ms[::-1]},
        {"edges_ms": good.edges_ms[::-1]},
        {"labelled": good.labelled + 10_000},
        {"labelled": good.labelled - 10_000},
    ):
        with pytest.raises(ValueError, match="must"):
            replace(good, **wrong)
