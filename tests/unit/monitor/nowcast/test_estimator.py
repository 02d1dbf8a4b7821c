"""Estimates of young days: identities, intervals that hold, and what is remembered between two views."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from monitor.cells.bins import SCORE_BINS
from monitor.cells.cohort import day_starts_ms
from monitor.cells.pane import PANES_MAX, Known, Panes
from monitor.cells.plan import CellPlan
from monitor.nowcast.estimator import Estimate, Estimator, Memory, days_needed
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


def start_ms(place: int) -> int:
    """Return the first instant of a day."""
    return day_starts_ms([FIRST + timedelta(days=place)], "UTC")[0]


def panes_of(rows: Rows, now_ms: int, days: int = DAYS, stratum: int | None = None) -> Panes:
    """Return the panes of the first days as they are counted at a time."""
    made_ms = np.array([start_ms(place) for place in range(DAYS)])[rows.day] + rows.since_ms
    mine = (made_ms < now_ms) & (rows.day < days) & ((rows.stratum == stratum) if stratum is not None else True)
    known = mine & (rows.delay_ms < HORIZON_MS) & (made_ms + rows.delay_ms <= now_ms)
    closed = mine & (rows.delay_ms >= HORIZON_MS) & (made_ms + HORIZON_MS <= now_ms)
    pane = rows.since_ms // HOUR_MS
    age = np.searchsorted(EDGES_MS, rows.delay_ms)

    def counted(chosen: npt.NDArray[np.bool_], *more: tuple[Ints, int]) -> Ints:
        counts = np.zeros((days, PANES_MAX, *(size for _, size in more)), dtype=np.int64)
        np.add.at(counts, (rows.day[chosen], pane[chosen], *(part[chosen] for part, _ in more)), 1)
        return counts

    starts = np.array([start_ms(place) for place in range(days)])[:, None] + HOUR_MS * np.arange(PANES_MAX)
    return Panes(
        kind=KINDS["late"],
        days=tuple(FIRST + timedelta(days=place) for place in range(days)),
        start_ms=starts,
        end_ms=starts + HOUR_MS,
        predictions=counted(mine),
        labels=counted(known, (age, len(EDGES_MS))),
        scored=counted(mine, (rows.score_bin, SCORE_BINS)),
        closed=counted(closed, (rows.score_bin, SCORE_BINS)),
        known=Known(
            *(part[known] for part in (rows.day, pane, rows.score_bin, rows.label, age)),
            np.ones(int(known.sum()), dtype=np.int64),
        ),
    )


def estimated(rows: Rows, place: int, hours: float, memory: Memory | None = None) -> Estimate:
    """Return the estimate of a day when it is so many hours old, from what is known then."""
    now_ms = start_ms(place) + round(hours * HOUR_MS)
    panes = panes_of(rows, now_ms, place + 1)
    return Estimator([panes], memory or Memory()).estimate(panes.days[place], now_ms, now_ms - HORIZON_MS)


def final_accuracy(rows: Rows, place: int, until_hours: float = 24) -> float:
    """Return what the accuracy of a day's predictions up to some hour became in the end."""
    known = (rows.day == place) & (rows.delay_ms < HORIZON_MS) & (rows.since_ms < until_hours * HOUR_MS)
    said = rows.score_bin[known] >= KINDS["late"].positive_from
    return float((said == (rows.label[known] == 1)).mean())


def test_a_final_day_has_its_final_metric_and_no_width() -> None:
    """At maturity the estimate is the realised metric to the last bit, and calls itself mature."""
    found = estimated(rows_of(), DAYS - 1, 24 + 37)
    assert found.found.waiting == 0
    assert found.found.values["accuracy"] == final_accuracy(rows_of(), DAYS - 1)
    assert found.arrived["accuracy"] == found.found.values["accuracy"]
    interval = found.intervals["accuracy"]
    assert interval is not None
    assert interval.low == interval.high == found.found.values["accuracy"]
    assert found.status["accuracy"] == "mature"


def test_before_any_label_a_day_is_estimated_from_its_scores() -> None:
    """Half an hour old, nothing has arrived: there is a value, and it says that it is an estimate."""
    found = estimated(rows_of(), DAYS - 1, 0.5)
    assert found.found.labelled == 0
    assert found.found.values["accuracy"] == pytest.approx(final_accuracy(rows_of(), DAYS - 1), abs=0.15)
    assert found.arrived["accuracy"] is None
    assert found.status["accuracy"] == "estimated"


def test_a_running_day_is_told_better_than_by_the_labels_that_are_in() -> None:
    """Positives take longer, so the labels that are in are too good; the estimate is not, and its interval holds."""
    rows = rows_of()
    arrived, nowcasts, inside = [], [], []
    memory = Memory()
    for place in range(55, DAYS):
        found = estimated(rows, place, 12, memory)
        final = final_accuracy(rows, place, 12)
        value, said, interval = found.found.values["accuracy"], found.arrived["accuracy"], found.intervals["accuracy"]
        assert value is not None
        assert said is not None
        assert interval is not None
        assert not interval.is_hard
        arrived.append(said - final)
        nowcasts.append(value - final)
        inside.append(interval.low <= final <= interval.high)
    assert np.mean(inside) >= 0.85
    assert np.sqrt(np.mean(np.square(nowcasts))) < 0.8 * np.sqrt(np.mean(np.square(arrived)))
    assert abs(np.mean(nowcasts)) < 0.5 * abs(np.mean(arrived))


def test_an_interval_never_reaches_beyond_what_is_possible() -> None:
    """Hard bounds cut it."""
    found = estimated(rows_of(), DAYS - 1, 20)
    interval, bounds = found.intervals["accuracy"], found.found.bounds["accuracy"]
    assert interval is not None
    assert bounds is not None
    assert bounds[0] <= interval.low <= interval.high <= bounds[1]
    assert found.status["accuracy"] == "provisional"


def test_with_few_earlier_days_only_the_hard_bounds_are_told() -> None:
    """Ten days cannot tell an interval."""
    found = estimated(rows_of(), 12, 12)
    interval = found.intervals["accuracy"]
    assert found.past < 20
    assert interval is not None
    assert interval.is_hard
    assert (interval.low, interval.high) == found.found.bounds["accuracy"]


def test_the_first_day_of_a_version_says_that_it_does_not_know() -> None:
    """Without a mature day there is no prior and no law: no value, and no data."""
    found = estimated(rows_of(), 0, 12)
    assert found.found.values["accuracy"] is None
    assert found.status["accuracy"] == "no_data"
    assert found.check is None
    assert found.arrived["accuracy"] is not None


@pytest.mark.parametrize(("speed", "is_alarmed"), [(1.0, False), (3.0, True)])
def test_labels_that_come_much_faster_raise_the_alarm_and_widen_the_interval(speed: float, is_alarmed: bool) -> None:
    """A law that no longer holds gives no interval but what is possible at all."""
    found = estimated(rows_of(speed), DAYS - 1, 18)
    interval = found.intervals["accuracy"]
    assert found.check is not None
    assert interval is not None
    assert found.check.alarmed is is_alarmed
    assert interval.is_hard is is_alarmed
    assert found.status["accuracy"] == "provisional"


def test_what_was_learned_at_a_time_holds_nothing_that_came_later() -> None:
    """Errors of earlier days are the same, whether or not the days after them have happened."""
    rows = rows_of()
    place = 45
    early = Estimator([panes_of(rows, start_ms(60), 60)], Memory())
    late = Estimator([panes_of(rows, start_ms(DAYS), DAYS)], Memory())
    assert early._past(place, 12) == late._past(place, 12)
    yesterday = replace(rows, label=np.where(rows.day == place - 1, 1 - rows.label, rows.label))
    assert Estimator([panes_of(yesterday, start_ms(60), 60)], Memory())._past(place, 12) == early._past(place, 12)
    mature = replace(rows, label=np.where(rows.day == place - 2, 1 - rows.label, rows.label))
    assert Estimator([panes_of(mature, start_ms(60), 60)], Memory())._past(place, 12) != early._past(place, 12)


def test_earlier_estimates_are_remembered_until_their_counts_change() -> None:
    """A second view takes them as they are; a corrected day is estimated anew, and so is who learned of it."""
    rows = rows_of()
    now_ms = start_ms(DAYS)
    memory = Memory()
    first = Estimator([panes_of(rows, now_ms)], memory)
    before = {place: first._past(place, 12) for place in (40, 60)}
    again = Estimator([panes_of(rows, now_ms)], memory)
    assert all(again._past(place, 12) is past for place, past in before.items())
    label = rows.label.copy()
    label[rows.day == 50] = 1 - label[rows.day == 50]
    anew = Estimator([panes_of(replace(rows, label=label), now_ms)], memory)
    assert anew._past(40, 12) is before[40]
    assert anew._past(60, 12) != before[60]


def test_memory_forgets_days_that_panes_do_not_reach_back_to() -> None:
    """It does not grow for ever."""
    memory = Memory()
    Estimator([panes_of(rows_of(), start_ms(DAYS))], memory)._past(40, 12)
    assert len(memory._known) == 1
    memory.forget_before(FIRST + timedelta(days=41))
    assert not memory._known


def test_strata_of_their_own_speed_add_up_to_the_whole_day() -> None:
    """With a law for each stratum all labels are counted once, and the final value is the same."""
    rows, place = rows_of(), DAYS - 1
    for hours, tolerance in ((24 + 37, 0.0), (14, 0.15)):
        now_ms = start_ms(place) + hours * HOUR_MS
        strata = [panes_of(rows, now_ms, DAYS, stratum) for stratum in (0, 1)]
        found = Estimator(strata, Memory()).estimate(strata[0].days[place], now_ms, now_ms - HORIZON_MS)
        whole = estimated(rows, place, hours)
        assert found.found.labelled == whole.found.labelled
        assert found.found.waiting == whole.found.waiting
        value, of_whole = found.found.values["accuracy"], whole.found.values["accuracy"]
        assert value == pytest.approx(of_whole, abs=tolerance)


def test_what_cannot_be_estimated_is_refused() -> None:
    """No panes, days that differ, another task, a day that is not there."""
    panes = panes_of(rows_of(), start_ms(3), 3)
    with pytest.raises(ValueError, match="same days"):
        Estimator([], Memory())
    with pytest.raises(ValueError, match="same days"):
        Estimator([panes, panes_of(rows_of(), start_ms(3), 2)], Memory())
    with pytest.raises(ValueError, match="no panes of"):
        Estimator([panes], Memory()).estimate(FIRST - timedelta(days=1), start_ms(3), None)
    other = Panes(KINDS["fare"], *(getattr(panes, name) for name in list(panes.__dataclass_fields__)[1:]))
    with pytest.raises(ValueError, match="no binary kind"):
        Estimator([other], Memory())


def test_panes_reach_back_far_enough_for_intervals_and_what_they_learned() -> None:
    """Sixty cohorts, each with four weeks before it, and the horizon in between."""
    assert days_needed(HORIZON_MS) >= 60 + 28 + 2 * 2
    assert days_needed(120 * 24 * HOUR_MS) >= 60 + 28 + 2 * 120
