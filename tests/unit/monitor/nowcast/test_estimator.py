"""Estimates of young days: identities, interval coverage, and the cache of earlier estimates.

Through the estimator these tests cover `monitor.nowcast.day_cohort`.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from monitor.cells.bins import SCORE_BINS
from monitor.cells.cohort import day_starts_ms
from monitor.cells.pane import PANES_MAX, KnownLabels, Panes
from monitor.cells.plan import CellPlan
from monitor.nowcast.estimator import Estimate, EstimateCache, Estimator, days_needed
from schemas.config.loop import LoopConfig

HOUR_MS = 3_600_000
HORIZON_MS = 36 * HOUR_MS
FIRST = date(2026, 1, 1)
DAYS = 75
ROWS = 200

PLAN = CellPlan.from_config(
    LoopConfig.model_validate(
        {
            "version": 1,
            "loop": "flights",
            "predictions": {"outputs": {"late": {"task": "binary"}, "fare": {"task": "regression"}}},
            "labels": {
                "late": {"definition": "late-1", "horizon": "36h", "retain": "7d"},
                "fare": {"definition": "fare-1", "horizon": "36h", "retain": "7d"},
            },
        }
    )
)
KINDS = {kind.name: kind for kind in PLAN.kinds}
EDGES_MS = np.asarray(KINDS["late"].age_edges_ms)
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Simulated predictions of all days; `delay_ms` is beyond the horizon where no label comes."""

    day: Ints
    since_ms: Ints
    score_bin: Ints
    label: Ints
    delay_ms: Ints
    stratum: Ints


@cache
def rows_of(speed: float = 1.0, seed: int = 3) -> Rows:
    """Draw days whose share of positives differs, and whose positives take long; the last day has another speed."""
    rng = np.random.default_rng(seed)
    count = DAYS * ROWS
    day = np.repeat(np.arange(DAYS), ROWS)
    logits = rng.normal(-0.5, 1.2, count)
    label = (rng.random(count) < 1 / (1 + np.exp(-(logits + rng.normal(0, 0.4, DAYS)[day])))).astype(np.int64)
    hours = np.exp(rng.normal(0, 0.3, count)) * np.where(label == 1, 7.0, 3.0)
    stratum = rng.integers(0, 2, count)
    hours *= np.where(day == DAYS - 1, 1 / speed, 1.0) * np.where(stratum == 1, 1.5, 0.8)
    hours = np.where(rng.random(count) < 0.03, 1_000.0, hours)
    edges = KINDS["late"].score_edges
    return Rows(
        day=day,
        since_ms=rng.integers(0, 24 * HOUR_MS, count),
        score_bin=np.searchsorted(edges, 1 / (1 + np.exp(-logits)), side="right"),
        label=label,
        delay_ms=(hours * HOUR_MS).astype(np.int64),
        stratum=stratum,
    )


def start_ms(index: int) -> int:
    """Return the first instant of a day."""
    return day_starts_ms([FIRST + timedelta(days=index)], "UTC")[0]


def panes_of(rows: Rows, now_ms: int, days: int = DAYS, stratum: int | None = None) -> Panes:
    """Return the panes of the first days as of a time."""
    made_ms = np.array([start_ms(index) for index in range(DAYS)])[rows.day] + rows.since_ms
    mine = (made_ms < now_ms) & (rows.day < days) & ((rows.stratum == stratum) if stratum is not None else True)
    known = mine & (rows.delay_ms < HORIZON_MS) & (made_ms + rows.delay_ms <= now_ms)
    closed = mine & (rows.delay_ms >= HORIZON_MS) & (made_ms + HORIZON_MS <= now_ms)
    pane = rows.since_ms // HOUR_MS
    age = np.searchsorted(EDGES_MS, rows.delay_ms)

    def counted(chosen: npt.NDArray[np.bool_], *more: tuple[Ints, int]) -> Ints:
        counts = np.zeros((days, PANES_MAX, *(size for _, size in more)), dtype=np.int64)
        np.add.at(counts, (rows.day[chosen], pane[chosen], *(part[chosen] for part, _ in more)), 1)
        return counts

    starts = np.array([start_ms(index) for index in range(days)])[:, None] + HOUR_MS * np.arange(PANES_MAX)
    return Panes(
        kind=KINDS["late"],
        days=tuple(FIRST + timedelta(days=index) for index in range(days)),
        start_ms=starts,
        end_ms=starts + HOUR_MS,
        predictions=counted(mine),
        labels=counted(known, (age, len(EDGES_MS))),
        scored=counted(mine, (rows.score_bin, SCORE_BINS)),
        closed=counted(closed, (rows.score_bin, SCORE_BINS)),
        known=KnownLabels(
            *(part[known] for part in (rows.day, pane, rows.score_bin, rows.label, age)),
            np.ones(int(known.sum()), dtype=np.int64),
        ),
        errors={},
    )


def estimated(rows: Rows, index: int, hours: float, cache: EstimateCache | None = None) -> Estimate:
    """Return the estimate of a day at an age of so many hours, from what is known then."""
    now_ms = start_ms(index) + round(hours * HOUR_MS)
    panes = panes_of(rows, now_ms, index + 1)
    return Estimator([panes], cache or EstimateCache()).estimate(panes.days[index], now_ms, now_ms - HORIZON_MS)


def final_accuracy(rows: Rows, index: int, until_hours: float = 24) -> float:
    """Return the final accuracy of a day's predictions up to some hour."""
    known = (rows.day == index) & (rows.delay_ms < HORIZON_MS) & (rows.since_ms < until_hours * HOUR_MS)
    predicted = rows.score_bin[known] >= KINDS["late"].positive_from
    return float((predicted == (rows.label[known] == 1)).mean())


def test_a_final_day_has_its_final_metric_and_no_width() -> None:
    """At maturity the estimate is the realised metric to the last bit, with status mature."""
    found = estimated(rows_of(), DAYS - 1, 24 + 37)
    assert found.nowcast.waiting == 0
    assert found.nowcast.values["accuracy"] == final_accuracy(rows_of(), DAYS - 1)
    assert found.arrived["accuracy"] == found.nowcast.values["accuracy"]
    interval = found.intervals["accuracy"]
    assert interval is not None
    assert interval.low == interval.high == found.nowcast.values["accuracy"]
    assert found.status["accuracy"] == "mature"


def test_before_any_label_a_day_is_estimated_from_its_scores() -> None:
    """At half an hour no label has arrived: there is a value, with status estimated."""
    found = estimated(rows_of(), DAYS - 1, 0.5)
    assert found.nowcast.labelled == 0
    assert found.nowcast.values["accuracy"] == pytest.approx(final_accuracy(rows_of(), DAYS - 1), abs=0.15)
    assert found.arrived["accuracy"] is None
    assert found.status["accuracy"] == "estimated"


def test_a_running_day_is_estimated_better_than_by_its_arrived_labels() -> None:
    """Positives take longer, so the arrived labels are biased; the estimate is not, and its interval covers."""
    rows = rows_of()
    arrived, nowcasts, inside = [], [], []
    cache = EstimateCache()
    for index in range(55, DAYS):
        found = estimated(rows, index, 12, cache)
        final = final_accuracy(rows, index, 12)
        value, interval = found.nowcast.values["accuracy"], found.intervals["accuracy"]
        of_arrived = found.arrived["accuracy"]
        assert value is not None
        assert of_arrived is not None
        assert interval is not None
        assert not interval.is_hard
        arrived.append(of_arrived - final)
        nowcasts.append(value - final)
        inside.append(interval.low <= final <= interval.high)
    assert np.mean(inside) >= 0.85
    assert np.sqrt(np.mean(np.square(nowcasts))) < 0.8 * np.sqrt(np.mean(np.square(arrived)))
    assert abs(np.mean(nowcasts)) < 0.5 * abs(np.mean(arrived))


def test_an_interval_never_reaches_beyond_what_is_possible() -> None:
    """Hard bounds cut it."""
    found = estimated(rows_of(), DAYS - 1, 20)
    interval, bounds = found.intervals["accuracy"], found.nowcast.bounds["accuracy"]
    assert interval is not None
    assert bounds is not None
    assert bounds[0] <= interval.low <= interval.high <= bounds[1]
    assert found.status["accuracy"] == "provisional"


def test_with_few_earlier_days_the_interval_is_the_hard_bounds() -> None:
    """Ten days are not enough for a 95 % interval."""
    found = estimated(rows_of(), 12, 12)
    interval = found.intervals["accuracy"]
    assert found.past < 20
    assert interval is not None
    assert interval.is_hard
    assert (interval.low, interval.high) == found.nowcast.bounds["accuracy"]


def test_the_first_day_of_a_version_has_no_estimate() -> None:
    """Without a mature day there is no prior and no law: the value is null, the status no_data."""
    found = estimated(rows_of(), 0, 12)
    assert found.nowcast.values["accuracy"] is None
    assert found.status["accuracy"] == "no_data"
    assert found.check is None
    assert found.arrived["accuracy"] is not None


@pytest.mark.parametrize(("speed", "is_alarmed"), [(1.0, False), (3.0, True)])
def test_labels_that_arrive_much_faster_raise_the_alarm_and_widen_the_interval(speed: float, is_alarmed: bool) -> None:
    """While the law does not hold, the interval is the hard bounds."""
    found = estimated(rows_of(speed), DAYS - 1, 18)
    interval = found.intervals["accuracy"]
    assert found.check is not None
    assert interval is not None
    assert found.check.alarmed is is_alarmed
    assert interval.is_hard is is_alarmed
    assert found.status["accuracy"] == "provisional"


def test_earlier_estimates_use_nothing_that_came_later() -> None:
    """Errors of earlier days are the same with and without the days after them."""
    rows = rows_of()
    index = 45
    early = Estimator([panes_of(rows, start_ms(60), 60)], EstimateCache())
    late = Estimator([panes_of(rows, start_ms(DAYS), DAYS)], EstimateCache())
    assert early._past(index, 12) == late._past(index, 12)
    yesterday = replace(rows, label=np.where(rows.day == index - 1, 1 - rows.label, rows.label))
    same = Estimator([panes_of(yesterday, start_ms(60), 60)], EstimateCache())
    assert same._past(index, 12) == early._past(index, 12)
    mature = replace(rows, label=np.where(rows.day == index - 2, 1 - rows.label, rows.label))
    other = Estimator([panes_of(mature, start_ms(60), 60)], EstimateCache())
    assert other._past(index, 12) != early._past(index, 12)


def test_earlier_estimates_are_cached_until_their_counts_change() -> None:
    """A second estimator reuses them; a corrected day is estimated again, and so is a day that learned from it."""
    rows = rows_of()
    now_ms = start_ms(DAYS)
    cache = EstimateCache()
    first = Estimator([panes_of(rows, now_ms)], cache)
    before = {index: first._past(index, 12) for index in (40, 60)}
    again = Estimator([panes_of(rows, now_ms)], cache)
    assert all(again._past(index, 12) is past for index, past in before.items())
    label = rows.label.copy()
    label[rows.day == 50] = 1 - label[rows.day == 50]
    corrected = Estimator([panes_of(replace(rows, label=label), now_ms)], cache)
    assert corrected._past(40, 12) is before[40]
    assert corrected._past(60, 12) != before[60]


def test_the_cache_evicts_days_before_the_first_of_the_panes() -> None:
    """It does not grow for ever."""
    cache = EstimateCache()
    Estimator([panes_of(rows_of(), start_ms(DAYS))], cache)._past(40, 12)
    assert len(cache._entries) == 1
    cache.evict_before(FIRST + timedelta(days=41))
    assert not cache._entries


def test_strata_with_different_delays_add_up_to_the_whole_day() -> None:
    """With a law for each stratum all labels are counted once, and the final value is the same."""
    rows, index = rows_of(), DAYS - 1
    for hours, tolerance in ((24 + 37, 0.0), (14, 0.15)):
        now_ms = start_ms(index) + hours * HOUR_MS
        strata = [panes_of(rows, now_ms, DAYS, stratum) for stratum in (0, 1)]
        found = Estimator(strata, EstimateCache()).estimate(strata[0].days[index], now_ms, now_ms - HORIZON_MS)
        whole = estimated(rows, index, hours)
        assert found.nowcast.labelled == whole.nowcast.labelled
        assert found.nowcast.waiting == whole.nowcast.waiting
        value, of_whole = found.nowcast.values["accuracy"], whole.nowcast.values["accuracy"]
        assert value == pytest.approx(of_whole, abs=tolerance)


def test_bad_panes_and_unknown_days_are_refused() -> None:
    """No panes, days that differ, another task, a day without panes."""
    panes = panes_of(rows_of(), start_ms(3), 3)
    with pytest.raises(ValueError, match="same days"):
        Estimator([], EstimateCache())
    with pytest.raises(ValueError, match="same days"):
        Estimator([panes, panes_of(rows_of(), start_ms(3), 2)], EstimateCache())
    with pytest.raises(ValueError, match="no panes of"):
        Estimator([panes], EstimateCache()).estimate(FIRST - timedelta(days=1), start_ms(3), None)
    other = Panes(KINDS["fare"], *(getattr(panes, name) for name in list(panes.__dataclass_fields__)[1:]))
    with pytest.raises(ValueError, match="not a binary kind"):
        Estimator([other], EstimateCache())


def test_panes_reach_back_far_enough_for_earlier_days_and_what_they_learned_from() -> None:
    """Sixty cohorts, each with four weeks before it, and the horizon in between."""
    assert days_needed(HORIZON_MS) >= 60 + 28 + 2 * 2
    assert days_needed(120 * 24 * HOUR_MS) >= 60 + 28 + 2 * 120
