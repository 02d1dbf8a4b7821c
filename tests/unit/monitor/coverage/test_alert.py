"""The alert on lost labels: no false alarms on young and healthy cohorts, and the time to detect a loss."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from effort import some
from scipy.special import ndtr

from monitor.cells.bins import age_edges_ms
from monitor.coverage.alert import CoverageAlert, CoveragePanes, _judge_once, judge_panes

HOUR_MS = 3_600_000
EDGES_MS = np.array([edge for edge in age_edges_ms([72 * HOUR_MS]) if edge <= 240 * HOUR_MS], np.int64)
HISTORY = 28 * 24
MEDIAN_LOG_H, SPREAD = 1.574, 1.514
"""Log-normal delay in hours: with a log-sd of 0.35 between panes, 84.9 % arrive in 24 hours and 95.9 % in 72."""


def drawn(hours: int, seed: int, *, count: float = 500, season: float = 0.0, nights: float = 0.0) -> CoveragePanes:
    """Return hourly panes with delays that vary between panes, and a daily season in delay and in number."""
    rng, hour = np.random.default_rng(seed), np.arange(hours)
    wave = np.sin(2 * np.pi * hour / 24)
    predictions = rng.poisson(count * (1 + nights * wave)).astype(np.int64)
    centre = MEDIAN_LOG_H + 0.35 * rng.normal(size=hours) + season * wave
    age_h = np.maximum(EDGES_MS / HOUR_MS, 1e-9)
    known = ndtr((np.log(age_h) - centre[:, np.newaxis]) / SPREAD)
    steps = np.diff(known, axis=1, prepend=0, append=1)
    arrived = rng.multinomial(predictions, steps)[:, :-1]
    return CoveragePanes(predictions, np.cumsum(arrived, axis=1), (hour + 1) * HOUR_MS, EDGES_MS)


def losing(panes: CoveragePanes, lost: float, hour: int, seed: int) -> CoveragePanes:
    """Return the panes with this share lost of all labels that would arrive after the hour."""
    steps = np.diff(panes.labelled, axis=1, prepend=0)
    arrives_ms = panes.pane_end_ms[:, np.newaxis] + (panes.edges_ms + np.append(0, panes.edges_ms[:-1])) // 2
    kept = np.where(arrives_ms >= hour * HOUR_MS, 1 - lost, 1.0)
    return replace(panes, labelled=np.cumsum(np.random.default_rng(seed).binomial(steps, kept), axis=1))


def between(panes: CoveragePanes, first: int, last: int) -> CoveragePanes:
    """Return the panes of these hours."""
    rows = slice(first, last)
    return CoveragePanes(panes.predictions[rows], panes.labelled[rows], panes.pane_end_ms[rows], panes.edges_ms)


def hourly(panes: CoveragePanes, first: int, last: int, every: int = 1) -> Iterator[tuple[int, CoverageAlert]]:
    """Judge the last four weeks of panes at each of these hours."""
    for hour in range(first, last, every):
        yield hour, judge_panes(between(panes, hour - HISTORY, hour), hour * HOUR_MS)


def hours_to_find(lost: float, seed: int, within: int) -> int | None:
    """Return after how many hours of loss the pipeline is degraded; None if not within these."""
    panes = losing(drawn(HISTORY + within + 1, seed), lost, HISTORY, seed)
    states = hourly(panes, HISTORY + 1, HISTORY + within + 1)
    return next((hour - HISTORY for hour, found in states if found.state == "degraded"), None)


@pytest.mark.parametrize(
    ("season", "nights", "count"), [(0.0, 0.0, 500), *some((0.5, 0.9, 500), (0.0, 0.9, 5), (0.5, 0.0, 50_000))]
)
def test_at_most_three_of_two_hundred_healthy_cohorts_raise_an_alert(
    season: float, nights: float, count: float
) -> None:
    """The same for evaluations, over five days of hourly cohorts, with and without seasons, with few and many rows."""
    panes = drawn(HISTORY + 120, 1, season=season, nights=nights, count=count)
    found = [one for _, one in hourly(panes, HISTORY, HISTORY + 120, every=4)]
    assert sum(one.state != "ok" for one in found) <= 0.015 * len(found)
    assert len({end for one in found for end in one.broken_end_ms}) <= 0.015 * (120 + 72)


@pytest.mark.parametrize("seed", range(4))
def test_thirty_per_cent_of_labels_lost_are_found_within_12_hours(seed: int) -> None:
    """From an hour on, three of ten labels do not arrive."""
    found = hours_to_find(0.3, seed, 12)
    assert found is not None
    assert found >= 2, "one evaluation is not enough"


def test_ten_per_cent_of_labels_lost_are_found_within_two_days_mostly() -> None:
    """A small loss is found later, and not in every series."""
    assert sum(hours_to_find(0.1, seed, 48) is not None for seed in some(0, 1, 2, 3, 4, 5, 6, 7, at_least=2)) >= 1


def test_a_single_evaluation_does_not_make_the_state_degraded() -> None:
    """The evaluation one pane earlier has to agree."""
    panes = losing(drawn(HISTORY + 12, 0), 0.3, HISTORY, 0)
    hour, _ = next(one for one in hourly(panes, HISTORY + 1, HISTORY + 13) if one[1].state == "degraded")
    before = between(panes, hour - 1 - HISTORY, hour - 1)
    assert _judge_once(before, (hour - 1) * HOUR_MS).state == "degraded"
    assert judge_panes(before, (hour - 1) * HOUR_MS).state == "ok"


def test_a_cohort_that_lost_all_its_labels_is_broken_within_a_day() -> None:
    """The pipeline as a whole is not degraded."""
    panes = drawn(HISTORY + 24, 3)
    panes.labelled[HISTORY] = 0
    early, late = (
        judge_panes(between(panes, hour - HISTORY, hour), hour * HOUR_MS) for hour in (HISTORY + 1, HISTORY + 24)
    )
    assert early.broken_end_ms == ()
    assert late.state == "broken"
    assert late.broken_end_ms == (int(panes.pane_end_ms[HISTORY]),)


@pytest.mark.parametrize(("share_then", "broken"), [(1.0, True), (0.5, False), (0.0, True)])
def test_a_pane_no_worse_than_the_worst_of_history_is_not_broken(share_then: float, broken: bool) -> None:
    """Half is missing; an earlier pane was healthy, equally bad, or so bad that it is a past fault and ignored."""
    panes, last = drawn(HISTORY + 28, 3), HISTORY + 28
    usual = panes.labelled.mean(axis=0)
    for hour, share in ((HISTORY, 0.5), (HISTORY - 300, share_then)):
        panes.labelled[hour] = np.minimum(usual * share, panes.predictions[hour]).astype(np.int64)
    found = judge_panes(between(panes, last - HISTORY, last), last * HOUR_MS)
    assert found.broken_end_ms == ((int(panes.pane_end_ms[HISTORY]),) if broken else ())


def test_labels_beyond_a_panes_age_are_ignored() -> None:
    """A young pane has no label at old ages yet: adding some changes nothing."""
    panes, now_ms = drawn(HISTORY, 4), HISTORY * HOUR_MS
    ahead = panes.pane_end_ms[:, np.newaxis] + panes.edges_ms > now_ms
    unseen = replace(panes, labelled=np.where(ahead, 0, panes.labelled))
    assert judge_panes(unseen, now_ms) == judge_panes(panes, now_ms)
    assert judge_panes(unseen, now_ms).state == "ok"


def test_a_past_outage_in_history_does_not_hide_the_next_one() -> None:
    """Twelve hours lost everything a week ago; they are left out of the fit."""
    panes = losing(drawn(HISTORY + 15, 5), 0.3, HISTORY, 5)
    panes.labelled[HISTORY - 180 : HISTORY - 168] = 0
    assert any(found.state == "degraded" for _, found in hourly(panes, HISTORY + 6, HISTORY + 15))


@pytest.mark.parametrize(("count", "state"), [(31, "not_enough_history"), (60, "ok")])
def test_few_panes_are_not_enough_history(count: int, state: str) -> None:
    """This is a state of its own, not `ok`."""
    found = judge_panes(drawn(count, 6), count * HOUR_MS)
    assert found.state == state
    assert (found.z is None) == (state == "not_enough_history")


def test_a_source_that_never_brought_a_label_has_no_history() -> None:
    """No share can be expected, and the state is not `ok`."""
    panes = drawn(200, 6)
    silent = replace(panes, labelled=np.zeros_like(panes.labelled))
    assert judge_panes(silent, 200 * HOUR_MS) == CoverageAlert("not_enough_history", None, None, 0, 0, (), None)
    empty = CoveragePanes(
        np.zeros(0, np.int64), np.zeros((0, 1), np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64)
    )
    assert judge_panes(empty, 0).state == "not_enough_history"


def test_a_day_without_predictions_is_not_ok() -> None:
    """It has a state of its own; single empty panes change nothing."""
    panes = drawn(HISTORY, 7)
    is_empty = np.arange(HISTORY) >= HISTORY - 30
    none = CoveragePanes(
        np.where(is_empty, 0, panes.predictions),
        np.where(is_empty[:, np.newaxis], 0, panes.labelled),
        panes.pane_end_ms,
        panes.edges_ms,
    )
    assert judge_panes(none, HISTORY * HOUR_MS).state == "no_predictions"
    nights = np.arange(HISTORY) % 24 < 6
    quiet_nights = CoveragePanes(
        np.where(nights, 0, panes.predictions),
        np.where(nights[:, np.newaxis], 0, panes.labelled),
        panes.pane_end_ms,
        panes.edges_ms,
    )
    assert judge_panes(quiet_nights, HISTORY * HOUR_MS).state == "ok"


def test_slow_labels_are_judged_at_ages_at_which_they_come() -> None:
    """The same panes fifty times slower: the youngest judged pane has an age at which labels come."""
    panes = drawn(HISTORY, 8)
    slow = CoveragePanes(panes.predictions, panes.labelled, panes.pane_end_ms, panes.edges_ms * 50)
    found = judge_panes(slow, HISTORY * HOUR_MS)
    assert found.state == "ok"
    assert found.judged_until_ms is not None
    assert found.judged_until_ms <= (HISTORY - 24) * HOUR_MS


def test_invalid_panes_are_refused() -> None:
    """Wrong shapes, times that do not increase, more labels than predictions, negative counts."""
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
