"""Loss check: a week is worse if its loss is higher by enough, significantly, and not for one odd week."""

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
    days = [first + timedelta(days=number) for number in range(len(means))]
    sums = [mean * n for mean, n in zip(means, counts, strict=True)]
    return pl.DataFrame({"day": days, "n": counts, "loss": sums}, schema_overrides={"loss": pl.Float64})


def story(increase: float, days: int = 8, before: int = 28) -> pl.DataFrame:
    """Return weeks at 0.5 with days that hardly differ, then days that lose more by a share."""
    wobble = [0.500_001, 0.499_999]
    means = [wobble[number % 2] for number in range(before)]
    return losses_of(means + [wobble[number % 2] * (1 + increase) for number in range(days)])


def test_an_increase_is_reported_with_its_figures() -> None:
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
def test_worse_begins_at_two_per_cent_and_ends_below_one(
    jump: float, increase: float, was_worse: bool, state: str
) -> None:
    """Between them the state stays. One of the eight days after the jump is in the reference already."""
    found = judge_loss(story(jump), LAST, was_worse=was_worse)
    assert found.increase == pytest.approx(increase, abs=2e-6)
    assert found.state == state


def test_one_odd_day_is_not_worse_though_its_week_is_on_average() -> None:
    """Days are the observations: a week with one bad day is not significant."""
    means = [0.5, 0.51] * 14 + [0.5] * 7 + [0.9]
    found = judge_loss(losses_of(means), LAST)
    assert found.increase is not None
    assert found.increase > 0.05
    assert found.low is not None
    assert found.low < 0
    assert found.state == "ok"


def test_a_week_must_be_worse_on_two_days_in_a_row() -> None:
    """The state begins on the second one."""
    rng = np.random.default_rng(3)
    means = list(0.5 + rng.normal(0, 0.002, 28)) + [0.5] * 3 + [0.56] * 12
    days = [FIRST + timedelta(days=number) for number in range(30, 43)]
    losses = losses_of(means)
    alone = [_significant_alone(losses, day) for day in days]
    worse = [judge_loss(losses, day).state == "worse" for day in days]
    assert worse == [now and before for before, now in zip([False, *alone], alone, strict=False)]
    assert any(worse)
    assert worse.index(True) == alone.index(True) + 1


def _significant_alone(losses: pl.DataFrame, day: date) -> bool:
    found = judge_loss(losses, day, was_worse=True)
    return found.low is not None and found.increase is not None and found.low > 0 and found.increase >= 0.02


@pytest.mark.parametrize(
    ("window", "past", "known"), [(7, 14, True), (6, 14, False), (7, 13, False), (7, 28, True), (0, 28, False)]
)
def test_too_few_days_are_not_enough(window: int, past: int, known: bool) -> None:
    """A whole week and two of the four weeks before it are needed; otherwise the state is not `ok` either."""
    reference = losses_of([0.5, 0.6] * 14).tail(past)
    week = losses_of([0.8] * 7, first=FIRST + timedelta(days=28)).tail(window)
    found = judge_loss(pl.concat([reference, week]), FIRST + timedelta(days=34))
    assert (found.increase is not None) is known
    assert (found.state == "not_enough") is not known
    assert found.n == window * ROWS


def test_days_without_labels_are_not_enough_and_end_worse() -> None:
    """A state that cannot be checked does not last for ever."""
    losses = losses_of([0.5, 0.6] * 14 + [0.9] * 6)
    assert judge_loss(losses, FIRST + timedelta(days=34), was_worse=True).state == "not_enough"
    assert judge_loss(losses.clear(), FIRST) == LossCheck("not_enough", n=0)


def test_a_loss_of_zero_before_has_no_relative_increase() -> None:
    """Nothing is divided by zero; nor do equal days fail, whose mean has no standard error."""
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
    """Return the days on which the state becomes worse, where days vary at random."""
    rng = np.random.default_rng(seed)
    days = 35 + 30 * months
    effects = rng.normal(0, 0.03, days) + np.where(np.arange(days) >= from_day, 0.5 * increase, 0.0)
    rows = rng.integers(300, 3_000, days)
    means = 0.5 + effects + rng.normal(0, 0.6, days) / np.sqrt(rows)
    losses = losses_of(means.tolist(), rows.tolist())
    found, was_worse = [], False
    for day in range(35, days):
        # a short frame gives the same verdict sooner: five weeks are read
        window = losses.slice(day - 40 if day >= 40 else 0, 41)
        is_worse = judge_loss(window, FIRST + timedelta(days=day), was_worse=was_worse).state == "worse"
        if is_worse and not was_worse:
            found.append(day)
        was_worse = is_worse
    return found


@pytest.mark.parametrize("seed", some(1, 2, 3, 4, 5, 6, 7, 8))
def test_days_that_vary_at_random_are_rarely_worse(seed: int) -> None:
    """Days that vary by 6 % of their loss: fewer than one false alarm in two and a half months."""
    assert len(alarms(seed, 20)) < 8


@pytest.mark.parametrize("seed", some(8, 9, 10, 11))
def test_a_lasting_increase_by_a_fifth_is_found_within_ten_days(seed: int) -> None:
    """Before the week is over, and once."""
    found = [day for day in alarms(seed, 2, increase=0.2, from_day=60) if day >= 60]
    assert len(found) == 1
    assert found[0] <= 70
