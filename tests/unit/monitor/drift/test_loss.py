"""When a week of loss is worse than the weeks before it: by enough, for certain, and not for one odd week."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from effort import some

from monitor.drift.loss import LossCheck, judge_loss

FIRST = date(2013, 1, 7)
ROWS = 1_000
LAST = FIRST + timedelta(days=35)
"""Four weeks, and the week that is judged and was already judged the day before: 36 days in all."""


def losses_of(means: Sequence[float], rows: int | Sequence[int] = ROWS, first: date = FIRST) -> pl.DataFrame:
    """Return days with these mean losses."""
    counts = [rows] * len(means) if isinstance(rows, int) else rows
    days = [first + timedelta(days=place) for place in range(len(means))]
    sums = [mean * n for mean, n in zip(means, counts, strict=True)]
    return pl.DataFrame({"day": days, "n": counts, "loss": sums}, schema_overrides={"loss": pl.Float64})


def story(increase: float, days: int = 8, before: int = 28) -> pl.DataFrame:
    """Return weeks at 0.5 with days that hardly differ, then days that lose more by a share."""
    wobble = [0.500_001, 0.499_999]
    means = [wobble[place % 2] for place in range(before)]
    return losses_of(means + [wobble[place % 2] * (1 + increase) for place in range(days)])


def test_an_increase_is_told_with_its_figures() -> None:
    """Means over rows, the lower end above zero, and the labels of the week."""
    found = judge_loss(story(0.1), LAST)
    assert found.state == "worse"
    assert found.before == pytest.approx((27 * 0.5 + 0.55) / 28, rel=1e-4)
    assert found.after == pytest.approx(0.55, rel=1e-4)
    assert found.increase == pytest.approx(found.after / found.before - 1)
    assert found.low is not None
    assert 0 < found.low < found.after - found.before
    assert found.n == 7 * ROWS


@pytest.mark.parametrize(
    ("jump", "increase", "was_worse", "state"),
    [
        (0.0206, 0.019850, False, "ok"),
        (0.0210, 0.020234, False, "worse"),
        (0.0210, 0.020234, True, "worse"),
        (0.0105, 0.010121, True, "worse"),
        (0.0105, 0.010121, False, "ok"),
        (0.0102, 0.009832, True, "ok"),
        (-0.1, -0.096774, True, "ok"),
    ],
)
def test_what_is_told_begins_at_two_in_a_hundred_and_ends_below_one(
    jump: float, increase: float, was_worse: bool, state: str
) -> None:
    """Between them it stays what it was. One of the eight days after the jump is in the reference already."""
    found = judge_loss(story(jump), LAST, was_worse=was_worse)
    assert found.increase == pytest.approx(increase, abs=2e-6)
    assert found.state == state


def test_one_odd_day_is_not_told_though_its_week_is_worse_on_the_mean() -> None:
    """Days are what is independent: a week with one bad day says little."""
    means = [0.5, 0.51] * 14 + [0.5] * 7 + [0.9]
    found = judge_loss(losses_of(means), LAST)
    assert found.increase is not None
    assert found.increase > 0.05
    assert found.low is not None
    assert found.low < 0
    assert found.state == "ok"


def test_a_week_that_was_not_worse_the_day_before_is_waited_for() -> None:
    """Two days in a row have to say so."""
    rng = np.random.default_rng(3)
    means = list(0.5 + rng.normal(0, 0.002, 28)) + [0.5] * 3 + [0.56] * 12
    days = [FIRST + timedelta(days=place) for place in range(30, 43)]
    losses = losses_of(means)
    alone = [_significant_alone(losses, day) for day in days]
    told = [judge_loss(losses, day).state == "worse" for day in days]
    assert told == [now and before for before, now in zip([False, *alone], alone, strict=False)]
    assert True in told
    assert told.index(True) == alone.index(True) + 1


def _significant_alone(losses: pl.DataFrame, day: date) -> bool:
    found = judge_loss(losses, day, was_worse=True)
    return found.low is not None and found.increase is not None and found.low > 0 and found.increase >= 0.02


@pytest.mark.parametrize(
    ("window", "past", "known"), [(7, 14, True), (6, 14, False), (7, 13, False), (7, 28, True), (0, 28, False)]
)
def test_too_few_days_say_nothing(window: int, past: int, known: bool) -> None:
    """A whole week, and two of the four weeks before it: otherwise nobody can say, and that is no success."""
    reference = losses_of([0.5, 0.6] * 14).tail(past)
    week = losses_of([0.8] * 7, first=FIRST + timedelta(days=28)).tail(window)
    found = judge_loss(pl.concat([reference, week]), FIRST + timedelta(days=34))
    assert (found.increase is not None) is known
    assert (found.state == "not_enough") is not known
    assert found.n == window * ROWS


def test_days_without_labels_are_too_few_and_end_what_was_told() -> None:
    """What cannot be compared is not called worse for ever."""
    losses = losses_of([0.5, 0.6] * 14 + [0.9] * 6)
    assert judge_loss(losses, FIRST + timedelta(days=34), was_worse=True).state == "not_enough"
    assert judge_loss(losses.clear(), FIRST) == LossCheck("not_enough", n=0)


def test_a_model_that_lost_nothing_before_has_no_share_to_grow_by() -> None:
    """Nothing is divided by zero; days all alike have no error of their mean, and are no reason to fail either."""
    found = judge_loss(losses_of([0.0] * 28 + [0.1] * 8), FIRST + timedelta(days=34))
    assert (found.state, found.before, found.increase) == ("not_enough", 0.0, None)
    alike = judge_loss(losses_of([0.5] * 28 + [0.75] * 8), FIRST + timedelta(days=34), was_worse=True)
    assert (alike.state, alike.increase, alike.low) == ("worse", pytest.approx(0.5), pytest.approx(0.25))


def test_later_days_change_nothing() -> None:
    """A verdict is a function of the days up to it."""
    losses = story(0.1)
    later = pl.concat([losses, losses_of([9.0] * 20, first=LAST + timedelta(days=1))])
    assert judge_loss(later, LAST) == judge_loss(losses, LAST)


def test_days_weigh_by_their_rows() -> None:
    """A day of ten rows does not make a week."""
    rows = [ROWS] * 28 + [ROWS] * 7 + [10]
    found = judge_loss(losses_of([0.5, 0.51] * 14 + [0.505] * 7 + [5.0], rows), LAST)
    assert found.after == pytest.approx((6 * 505 + 50) / 6_010)


def alarms(seed: int, months: int, increase: float = 0.0, from_day: int = 10_000) -> list[int]:
    """Return the days on which it begins to be told, of days that differ by themselves."""
    rng = np.random.default_rng(seed)
    days = 35 + 30 * months
    effects = rng.normal(0, 0.03, days) + np.where(np.arange(days) >= from_day, 0.5 * increase, 0.0)
    rows = rng.integers(300, 3_000, days)
    means = 0.5 + effects + rng.normal(0, 0.6, days) / np.sqrt(rows)
    losses = losses_of(means.tolist(), rows.tolist())
    told, was_worse = [], False
    for place in range(35, days):
        # the same days, without the frames of years: a verdict looks at five weeks
        window = losses.slice(place - 40 if place >= 40 else 0, 41)
        is_worse = judge_loss(window, FIRST + timedelta(days=place), was_worse=was_worse).state == "worse"
        if is_worse and not was_worse:
            told.append(place)
        was_worse = is_worse
    return told


@pytest.mark.parametrize("seed", some(1, 2, 3, 4, 5, 6, 7, 8))
def test_days_that_differ_by_themselves_are_rarely_told_as_worse(seed: int) -> None:
    """Days that vary by 6 % of their loss: fewer than one false start in two and a half months."""
    assert len(alarms(seed, 20)) < 8


@pytest.mark.parametrize("seed", some(8, 9, 10, 11))
def test_a_lasting_increase_of_a_fifth_is_told_within_ten_days(seed: int) -> None:
    """Before the week is over, and once."""
    told = [day for day in alarms(seed, 2, increase=0.2, from_day=60) if day >= 60]
    assert len(told) == 1
    assert told[0] <= 70
