"""Comparison of two versions on shared labels: the formula, the verdicts, and their error rates."""

from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from effort import some
from scipy import stats

from monitor.versions.compare import Comparison, ComparisonVerdict, compare

FIRST_DAY = date(2013, 3, 1)


def losses_of(days: npt.ArrayLike, loss_a: npt.ArrayLike, loss_b: npt.ArrayLike) -> pl.DataFrame:
    """Return the frame, with days as numbers from the first one."""
    number = np.asarray(days, np.int64)
    return pl.DataFrame(
        {
            "day": [FIRST_DAY + timedelta(days=int(day)) for day in number],
            "loss_a": np.broadcast_to(np.asarray(loss_a, np.float64), number.shape),
            "loss_b": np.broadcast_to(np.asarray(loss_b, np.float64), number.shape),
        },
        schema={"day": pl.Date, "loss_a": pl.Float64, "loss_b": pl.Float64},
    )


def drawn(rng: np.random.Generator, days: int, effect: float) -> pl.DataFrame:
    """Return losses about 0.5; B differs by the effect, by a day's random effect (sd 0.02), and by row."""
    day = np.repeat(np.arange(days), rng.integers(20, 60, days))
    loss_a = rng.gamma(4, 0.125, len(day))
    noise = rng.normal(0, 0.02, days)[day] + rng.normal(0, 0.1, len(day))
    return losses_of(day, loss_a, loss_a + effect + noise)


def test_the_interval_is_that_of_the_formula() -> None:
    """Computed day by day in plain loops."""
    frame = drawn(np.random.default_rng(3), 12, -0.01)
    rows = [(day, b - a) for day, a, b in frame.iter_rows()]
    mean = sum(delta for _, delta in rows) / len(rows)
    sums = [sum(delta - mean for day, delta in rows if day == one) for one in sorted({day for day, _ in rows})]
    error = (12 / 11 * sum(value**2 for value in sums)) ** 0.5 / len(rows)
    half = stats.t.ppf(0.975, 11) * error
    found = compare(frame)
    assert (found.n, found.days) == (len(rows), 12)
    assert found.difference == pytest.approx(mean)
    assert found.standard_error == pytest.approx(error)
    assert found.interval == pytest.approx((mean - half, mean + half))


def test_with_days_of_one_row_it_is_the_one_sample_t_test() -> None:
    """SciPy's interval is the oracle."""
    delta = np.random.default_rng(4).normal(0.1, 1, 20)
    expected = stats.ttest_1samp(delta, 0).confidence_interval(0.95)
    assert compare(losses_of(np.arange(20), 0.0, delta)).interval == pytest.approx((expected.low, expected.high))


def test_the_order_of_rows_does_not_matter() -> None:
    """Partitions and batches come in any order."""
    frame = drawn(np.random.default_rng(5), 9, 0.0)
    assert compare(frame) == compare(frame.sample(fraction=1, shuffle=True, seed=1)) == compare(frame.reverse())


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [
        (-0.10, "better"),
        (0.004, "not_worse"),
        (-0.02, "not_worse"),
        (0.05, "undecided"),
        (0.10, "worse"),
    ],
)
def test_each_verdict_follows_from_where_the_interval_lies(mean: float, verdict: ComparisonVerdict) -> None:
    """A loses 2.0 on average, so that B may lose 0.04 more; the interval is about 0.03 or 0.06 to either side."""
    spread = 0.1 if verdict == "undecided" else 0.042
    delta = mean + spread * np.resize([1.0, -1.0], 10)
    assert compare(losses_of(np.arange(10), 2.0, 2.0 + delta)).verdict == verdict


def test_surely_a_little_worse_is_still_within_the_margin() -> None:
    """A deployment needs non-inferiority; the interval shows the rest."""
    found = compare(losses_of(np.arange(10), 1.0, 1.01))
    assert found.verdict == "not_worse"
    assert found.interval is not None
    assert found.interval[0] > 0


def test_seven_days_are_not_enough_and_eight_are() -> None:
    """There is a difference in both cases, and an interval only with eight."""
    seven, eight = (compare(losses_of(np.arange(days), 1.0, 0.5)) for days in (7, 8))
    assert (seven.verdict, seven.interval, seven.difference) == ("not_enough", None, -0.5)
    assert (eight.verdict, eight.interval) == ("better", (-0.5, -0.5))


def test_one_day_has_no_standard_error_and_no_rows_have_no_difference() -> None:
    """Unknown figures are None, never zero."""
    assert compare(losses_of([0, 0], 1.0, 2.0)) == Comparison(2, 1, 1.0, 1.0, None, None, "not_enough")
    assert compare(losses_of([], [], [])) == Comparison(0, 0, None, None, None, None, "not_enough")


def test_two_versions_without_any_loss_are_not_worse_than_each_other() -> None:
    """Their margin is zero."""
    assert compare(losses_of(np.arange(8), 0.0, 0.0)).verdict == "not_worse"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_losses_that_are_no_numbers_are_refused(value: float | None) -> None:
    """A single one would make the mean NaN or infinite."""
    frame = pl.DataFrame(
        {"day": [FIRST_DAY], "loss_a": [1.0], "loss_b": [value]}, schema_overrides={"loss_b": pl.Float64}
    )
    with pytest.raises(ValueError, match="finite losses"):
        compare(frame)


@pytest.mark.parametrize("seed", some(0, 1, 2, 3))
def test_equal_versions_are_called_different_in_about_five_per_cent(seed: int) -> None:
    """300 pairs over 14 days with random day effects; a test with independent rows is wrong far more often."""
    rng = np.random.default_rng(seed)
    wrong = naive = 0
    for _ in range(300):
        frame = drawn(rng, 14, 0.0)
        interval = compare(frame).interval
        assert interval is not None
        wrong += not interval[0] <= 0 <= interval[1]
        delta = (frame.get_column("loss_b") - frame.get_column("loss_a")).to_numpy()
        naive += bool(stats.ttest_1samp(delta, 0).pvalue < 0.05)
    assert 0.02 * 300 <= wrong <= 0.085 * 300
    assert naive > 0.15 * 300


def test_a_version_at_the_margin_is_seldom_called_not_worse() -> None:
    """At a true loss of 2 % of A's the wrong side is one tail: 2.5 %."""
    rng = np.random.default_rng(7)
    verdicts = [compare(drawn(rng, 14, 0.01)).verdict for _ in range(200)]
    assert sum(verdict in ("better", "not_worse") for verdict in verdicts) <= 0.05 * 200
