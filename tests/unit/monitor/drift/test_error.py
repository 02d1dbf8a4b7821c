"""Error drift: lasting changes are found; patterns, days that differ and the order of labels are not drift."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from effort import some
from river.drift import ADWIN

from monitor.drift.detection import Detection
from monitor.drift.error import ERROR_LOOKBACK, ErrorDrift
from schemas.events.memory import ErrorChange

START = date(2013, 1, 1)
START_US = round(datetime(2013, 1, 1, tzinfo=UTC).timestamp() * 1e6)
DAY_US = 86_400_000_000
Floats = npt.NDArray[np.float64]
Error = Callable[[Floats, int], Floats]


def even(hours: Floats, day: int) -> Floats:
    """Return the same error at all times; the day does not matter."""
    return np.full(len(hours), 0.10 + 0 * day)


def diurnal(hours: Floats, day: int) -> Floats:
    """Return 0.05 to 0.15 within each day."""
    return even(hours, day) + 0.05 * np.sin(2 * np.pi * hours / 24)


def weekly(hours: Floats, day: int) -> Floats:
    """Return the error of a day, nearly twice as great at weekends."""
    return diurnal(hours, day) * (1.5 if day % 7 >= 5 else 0.8)


def frame(times_us: npt.NDArray[np.int64], errors: Floats) -> pl.DataFrame:
    """Return rows in the schema of `add_day`."""
    rows = pl.DataFrame({"predicted_at": times_us, "error": errors})
    return rows.with_columns(pl.col("predicted_at").cast(pl.Datetime("us", "UTC")))


def day_rows(rng: np.random.Generator, day: int, n: int, error: Error) -> pl.DataFrame:
    """Draw the errors of one day."""
    hours = np.sort(rng.random(n)) * 24
    times_us = START_US + day * DAY_US + (hours / 24 * DAY_US).astype(np.int64)
    return frame(times_us, (rng.random(n) < error(hours, day)).astype(np.float64))


def run(seed: int, error: Error, days: int, n: int = 2_000) -> list[Detection]:
    """Return what a new detector finds in so many days."""
    return watch(seed, error, days, n)[0]


def watch(seed: int, error: Error, days: int, n: int = 2_000) -> tuple[list[Detection], ErrorDrift]:
    """Return what a new detector finds, and the detector."""
    rng = np.random.default_rng(seed)
    drift = ErrorDrift("UTC")
    given = (drift.add_day(day_of(day), day_rows(rng, day, n, error)) for day in range(days))
    return [one for one in given if one is not None], drift


def day_of(number: int) -> date:
    """Return the day so many days after the first."""
    return START + timedelta(days=number)


def after(day: int, error: Error, change: Callable[[Floats], Floats]) -> Error:
    """Return an error that changes on a day."""
    return lambda hours, today: change(error(hours, today)) if today >= day else error(hours, today)


def differing(seed: int, by: float, error: Error) -> Error:
    """Return an error of which each day differs by a normal deviation."""
    effects = np.random.default_rng(seed).normal(0, by, 200)
    return lambda hours, day: np.clip(error(hours, day) + effects[day], 0, 1)


@pytest.mark.parametrize("error", [even, diurnal, weekly])
@pytest.mark.parametrize("seed", some(0, 1, 2, 3))
def test_daily_and_weekly_patterns_are_no_drift_and_an_increase_by_half_is(seed: int, error: Error) -> None:
    """Nothing in 26 healthy days; then found with the second day of the change, or the third."""
    [found] = run(seed, after(40, error, lambda errors: errors * 1.5), 47)
    assert found.since == day_of(40)
    assert day_of(41) <= found.day <= day_of(42)
    assert found.direction == "worse"
    assert found.relative_change == pytest.approx(0.5, abs=0.15)
    assert found.change == found.error_after - found.error_before
    assert found.n in (4_000, 6_000)


def test_a_better_error_is_reported_as_better_once() -> None:
    """From then on it is what is expected."""
    [found] = run(5, after(30, diurnal, lambda errors: errors * 0.5), 60)
    assert (found.direction, found.since) == ("better", day_of(30))
    assert found.day <= day_of(32)
    assert found.change == pytest.approx(-0.05, abs=0.01)


def test_the_first_two_weeks_are_only_learned_from() -> None:
    """A week that has been seen once would be found as drift; what the test can tell is not known either."""
    found, drift = watch(6, after(10, even, lambda errors: errors * 3), 13)
    assert (found, drift.resolution()) == ([], None)


def test_one_bad_day_is_not_reported() -> None:
    """The days after it are as before."""
    assert run(7, lambda hours, day: even(hours, day) * (2 if day == 30 else 1), 45) == []


def test_a_change_soon_after_a_bad_day_is_still_found() -> None:
    """The bad day is one day that differs; the change lasts."""
    found = run(8, lambda hours, day: even(hours, day) * (2 if day == 30 else 1.6 if day >= 32 else 1), 48)
    assert [(one.direction, one.since >= day_of(30)) for one in found] == [("worse", True)]


def test_a_bad_day_before_better_days_is_not_reported_as_worse() -> None:
    """The days after it change as much in the other direction."""
    found = run(19, lambda hours, day: even(hours, day) * (2 if day == 30 else 0.5 if day > 30 else 1), 48)
    assert [one.direction for one in found] == ["better"]


@pytest.mark.parametrize("error", [even, weekly])
@pytest.mark.parametrize("seed", some(*range(8), at_least=3))
def test_days_that_differ_by_themselves_are_no_drift(seed: int, error: Error) -> None:
    """Hundred days with a standard deviation of 0.06 around 0.2, however many rows say so."""
    assert run(seed, differing(seed, 0.06, lambda hours, day: 2 * error(hours, day)), 100, 1_000) == []


@pytest.mark.parametrize("seed", some(*range(8), at_least=2))
def test_a_change_beyond_what_days_differ_is_found(seed: int) -> None:
    """From 0.2 to 0.3 while days differ by 0.03: within two weeks. How much they do is learned."""
    error = after(60, lambda hours, day: 2 * even(hours, day), lambda errors: errors + 0.1)
    assert [one.direction for one in run(seed, differing(seed, 0.03, error), 74, 1_000)] == ["worse"]
    learned = watch(seed, differing(seed, 0.03, error), 60, 1_000)[1].resolution()
    assert learned is not None
    assert learned.days_differ == pytest.approx(0.03, abs=0.01)
    assert learned.smallest == pytest.approx(0.064, abs=0.02)
    assert learned.lost == pytest.approx(2.6, abs=0.7)


def test_days_that_differ_by_their_rows_alone_lose_nothing() -> None:
    """The smallest change is that of a test of rows."""
    _, drift = watch(3, even, 70, 1_000)
    learned = drift.resolution()
    assert learned is not None
    assert learned.days_differ < 0.01
    assert learned.lost < 1.3


def test_a_gradual_change_is_found() -> None:
    """From 0.2 to 0.35 within thirty days, at a thousand a day."""
    found = run(4, lambda hours, day: 2 * even(hours, day) + 0.005 * min(max(day - 50, 0), 30), 91, 1_000)
    assert found[0].direction == "worse"
    assert found[0].day <= day_of(75)


def test_a_change_too_small_to_matter_is_not_reported() -> None:
    """With many rows half a percent is certain, but no more important."""
    error = after(30, lambda hours, _: np.full(len(hours), 0.02), lambda errors: errors + 0.006)
    found, drift = watch(9, error, 40, 20_000)
    learned = drift.resolution()
    assert found == []
    assert learned is not None
    assert learned.smallest < 0.01


def arriving(seed: int, days: int) -> tuple[Floats, Floats, Floats]:
    """Return hours of predictions, errors (0.226 on average) and delays in hours: correct ones are confirmed late."""
    rng = np.random.default_rng(seed)
    hours = []
    for day in range(days):
        drawn = rng.random(20_000) * 24
        kept = drawn[rng.random(20_000) < (1 + 0.9 * np.sin(2 * np.pi * (drawn - 9) / 24)) / 1.9]
        hours.append(24 * day + np.sort(kept[: int(2_000 * np.exp(rng.normal(0, 0.35)))]))
    times = np.concatenate(hours)
    errors = (rng.random(len(times)) < 0.226).astype(np.float64)
    wrong, right = rng.lognormal(np.log(2), 0.7, len(times)), rng.lognormal(np.log(14), 0.6, len(times))
    return times, errors, np.where(errors == 1, wrong, right)


def found_in_order(times: Floats, errors: Floats, days: int) -> tuple[int, int]:
    """Return the number of drifts reported, and of those that ADWIN finds in the raw errors."""
    order = np.argsort(times, kind="stable")
    times, errors = times[order], errors[order]
    drift, reported = ErrorDrift("UTC"), 0
    for day in range(days):
        today = (times >= 24 * day) & (times < 24 * day + 24)
        rows = frame(START_US + (times[today] / 24 * DAY_US).astype(np.int64), errors[today])
        reported += drift.add_day(day_of(day), rows) is not None
    adwin, raw = ADWIN(delta=1e-4), 0
    for error in errors[times < 24 * days].tolist():
        adwin.update(error)
        raw += adwin.drift_detected
    return reported, raw


@pytest.mark.parametrize("seed", some(0, 1, 2, 3))
def test_in_event_time_order_a_steady_error_never_drifts_and_in_arrival_order_it_does(seed: int) -> None:
    """Thirty days, labels whose delay depends on the outcome, and busier and calmer days."""
    times, errors, delays = arriving(seed, 44)
    assert found_in_order(times, errors, 44) == (0, 0)
    assert found_in_order(times + delays, errors, 44)[1] >= 30


def test_few_rows_wait_until_there_are_500_beside_the_most_deviating_day() -> None:
    """At three hundred a day: the third day."""
    [found] = run(11, after(40, even, lambda errors: errors * 5), 50, 300)
    assert (found.since, found.day) == (day_of(40), day_of(42))


def test_hours_are_those_of_the_loops_time_zone() -> None:
    """Slots follow daylight saving time of Paris, which begins on 31 March 2013; those of UTC do not."""
    rows = frame(np.array([START_US + 88 * DAY_US, START_US + 89 * DAY_US + DAY_US // 16]), np.zeros(2))
    zones = ("UTC", "Europe/Paris")
    slots = {zone: np.flatnonzero(ErrorDrift(zone)._read(day_of(88), rows).rows).tolist() for zone in zones}
    assert slots == {"UTC": [4 * 8 + 8, 5 * 8 + 8], "Europe/Paris": [40, 49]}


def test_giving_the_days_again_finds_the_same() -> None:
    """All state follows from the days."""
    error = after(30, weekly, lambda errors: errors * 1.5)
    assert run(12, error, 40) == run(12, error, 40) != []


def test_empty_days_are_days() -> None:
    """A version may pause or be new."""
    drift, rng, found = ErrorDrift("UTC"), np.random.default_rng(13), []
    for day in range(70):
        n = 0 if day < 5 or 30 <= day < 50 else 1_000
        found.append(drift.add_day(day_of(day), day_rows(rng, day, n, even)))
    assert found == [None] * 70


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_errors_are_no_drift_until_they_change(value: float) -> None:
    """Always right, then always wrong, or the other way round; the relative change of zero is infinite."""
    [found] = run(14, lambda hours, day: np.full(len(hours), value if day < 20 else 1 - value), 26)
    assert found.change == pytest.approx(1 - 2 * value, abs=0.02)
    assert (found.relative_change == float("inf")) == (value == 0.0)


def test_losses_between_0_and_1_are_errors_too() -> None:
    """Errors need not be 0 or 1."""
    drift, rng, found = ErrorDrift("UTC"), np.random.default_rng(15), []
    for day in range(24):
        rows = day_rows(rng, day, 2_000, even).with_columns(error=rng.beta(2, 8 if day < 20 else 4, 2_000))
        found.append(drift.add_day(day_of(day), rows))
    [one] = [one for one in found if one is not None]
    assert (one.since, one.error_before) == (day_of(20), pytest.approx(0.2, abs=0.01))


@pytest.mark.parametrize("bad", [None, float("nan"), 1.5, -0.1])
def test_a_value_that_is_no_error_is_refused_and_the_day_can_be_given_again(bad: float | None) -> None:
    """Nothing of the day was read."""
    drift = ErrorDrift("UTC")
    rows = day_rows(np.random.default_rng(16), 0, 10, even)
    wrong = rows.with_columns(error=pl.Series([bad, *[0.0] * 9], dtype=pl.Float64))
    with pytest.raises(ValueError, match="1 errors of 2013-01-01"):
        drift.add_day(START, wrong)
    assert drift.add_day(START, rows) is None


def test_days_must_be_in_order_and_their_rows_need_not() -> None:
    """Each day is one observation."""
    drift, other = ErrorDrift("UTC"), ErrorDrift("UTC")
    rng = np.random.default_rng(17)
    for number in range(30):
        rows = day_rows(rng, number, 1_000, after(25, even, lambda errors: errors * 2))
        assert drift.add_day(day_of(number), rows) == other.add_day(day_of(number), rows.reverse())
    with pytest.raises(ValueError, match="comes after"):
        drift.add_day(day_of(29), rows)


def test_a_detection_cannot_be_changed() -> None:
    """It is evidence."""
    [found] = run(18, after(20, even, lambda errors: errors * 2), 24)
    assert replace(found) == found
    with pytest.raises(AttributeError):
        found.change = 0.0  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize("cut", some(64, 88, 115, 140, *range(25, 150, 7), at_least=4))
def test_a_resumed_detector_goes_on_to_the_bit(cut: int) -> None:
    """From the days of twelve weeks and the changes that were found, as the log has them; some days have no labels."""
    change = after(60, weekly, lambda errors: np.clip(errors * 2.5, 0, 1))
    error = after(110, change, lambda errors: errors * 0.4)
    rng = np.random.default_rng(31)
    rows = [day_rows(rng, day, 0 if day % 11 == 10 else 900, error) for day in range(160)]
    drift = ErrorDrift("UTC")
    found = [drift.add_day(day_of(day), rows[day]) for day in range(cut)]
    known = [ErrorChange.model_validate_json(one.remembered().model_dump_json()) for one in drift.found]
    read = range(max(cut - ERROR_LOOKBACK.days, 0), cut)
    other = ErrorDrift.resumed("UTC", ((day_of(day), rows[day]) for day in read), [*map(Detection.of, known)])
    assert other.found == drift.found
    for day in range(cut, 160):
        assert other.resolution() == drift.resolution()
        found.append(drift.add_day(day_of(day), rows[day]))
        assert other.add_day(day_of(day), rows[day]) == found[-1]
    assert [one.direction for one in found if one is not None] == ["worse", "better"]
