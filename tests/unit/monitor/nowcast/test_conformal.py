"""Conformal intervals: the order statistic, fallback to hard bounds, and coverage."""

import numpy as np
import pytest

from monitor.nowcast.conformal import PAST_LEAST, PAST_MOST, age_bucket, conformal_interval, half_width

HOUR_MS = 3_600_000


def test_the_half_width_is_the_order_statistic_of_split_conformal_prediction() -> None:
    """The 58th of 60, the greatest of 20."""
    assert half_width(np.arange(1.0, 61.0)[::-1]) == 58.0
    assert half_width(np.arange(1.0, 21.0)) == 20.0


def test_only_the_last_sixty_errors_count() -> None:
    """Errors of a year ago say nothing about the model now."""
    assert half_width(np.concatenate([np.full(500, 9.0), np.full(PAST_MOST, 1.0)])) == 1.0


def test_errors_that_could_not_be_computed_are_left_out() -> None:
    """A day without a final value has no error."""
    past = np.concatenate([np.full(40, np.nan), np.full(PAST_LEAST, 1.0)])
    assert half_width(past) == 1.0
    assert half_width(past[:-1]) is None


@pytest.mark.parametrize("count", [0, 1, PAST_LEAST - 1])
def test_a_short_past_gives_hard_bounds(count: int) -> None:
    """And None where there are none."""
    past = np.zeros(count)
    interval = conformal_interval(0.5, past, (0.1, 0.8))
    assert interval is not None
    assert (interval.low, interval.high, interval.half_width, interval.is_hard) == (0.1, 0.8, None, True)
    assert conformal_interval(0.5, past, None) is None


def test_a_level_beyond_the_greatest_error_has_no_width() -> None:
    """99 % of 50 errors lies beyond the greatest of them."""
    assert half_width(np.ones(50), level=0.99) is None


def test_an_alarm_or_a_null_value_gives_hard_bounds() -> None:
    """Past errors were made under another law."""
    past = np.full(60, 0.01)
    for interval in (
        conformal_interval(0.5, past, (0.1, 0.8), alarmed=True),
        conformal_interval(None, past, (0.1, 0.8)),
    ):
        assert interval is not None
        assert (interval.low, interval.high, interval.is_hard) == (0.1, 0.8, True)


def test_hard_bounds_cut_the_interval_and_not_the_half_width() -> None:
    """Nothing beyond them can happen."""
    interval = conformal_interval(0.75, np.full(60, 0.2), (0.7, 0.8))
    assert interval is not None
    assert (interval.low, interval.high, interval.half_width, interval.is_hard) == (0.7, 0.8, 0.2, False)


def test_an_estimate_outside_the_hard_bounds_does_not_invert_the_interval() -> None:
    """It collapses to the nearest bound."""
    interval = conformal_interval(0.95, np.full(60, 0.01), (0.7, 0.8))
    assert interval is not None
    assert (interval.low, interval.high) == (0.8, 0.8)


def test_the_interval_has_its_nominal_coverage() -> None:
    """2,000 cohorts, each judged by the 60 before it, errors with heavy tails and a bias."""
    rng = np.random.default_rng(5)
    errors = 0.01 + 0.02 * rng.standard_t(3, 2_060)
    inside = []
    for cohort in range(60, len(errors)):
        interval = conformal_interval(0.5 + errors[cohort], np.abs(errors[:cohort]), None)
        assert interval is not None
        inside.append(interval.low <= 0.5 <= interval.high)
    assert 0.94 < np.mean(inside) < 0.97


def test_age_buckets_grow_with_age() -> None:
    """One hour each for two days, 15 % from there on; an instant before the day is in the first one."""
    hours = [-5, 0, 0.99, 1, 12.5, 47.9, 48, 55.1, 55.3, 64, 2_880]
    assert [age_bucket(round(hour * HOUR_MS)) for hour in hours] == [0, 0, 0, 1, 12, 47, 48, 48, 49, 50, 77]
