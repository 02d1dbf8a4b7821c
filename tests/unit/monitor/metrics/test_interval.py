"""Intervals of a share: against SciPy, against the definition, and looked at again and again."""

import math

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln
from scipy.stats import binomtest

from monitor.metrics.calibration import robbins, wilson


@given(n=st.integers(1, 100_000), part=st.floats(0, 1), level=st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@settings(max_examples=examples(400), deadline=None)
def test_wilson_is_scipys(n: int, part: float, level: float) -> None:
    """SciPy's binomial test is the oracle."""
    successes = round(part * n)
    expected = binomtest(successes, n).proportion_ci(level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(n=st.integers(1, 10**9), part=st.floats(0, 1), level=st.sampled_from([0.5, 0.95, 0.9999]))
@settings(max_examples=examples(400), deadline=None)
def test_robbins_ends_where_the_mixture_has_the_likelihoods_odds(n: int, part: float, level: float) -> None:
    """Each end that is no border solves the defining equation, and the observed share is inside."""
    successes = round(part * n)
    low, high = robbins(successes, n, level)
    assert 0 <= low <= successes / n <= high <= 1
    least = betaln(1 + successes, 1 + n - successes) + math.log(1 - level)
    if successes > 0:
        log_likelihood = successes * math.log(low) + (n - successes) * math.log1p(-low)
        assert log_likelihood == pytest.approx(least, rel=1e-9, abs=1e-6)


@given(n=st.integers(1, 10**6), part=st.floats(0, 1))
@settings(max_examples=examples(200), deadline=None)
def test_counting_failures_mirrors_both_intervals(n: int, part: float) -> None:
    """What is a success is a matter of words."""
    successes = round(part * n)
    for interval in (wilson, robbins):
        low, high = interval(successes, n)
        assert interval(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_without_trials_everything_is_possible() -> None:
    """No data says nothing; it is no zero."""
    assert wilson(0, 0) == robbins(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n", "level"), [(-1, 3, 0.95), (4, 3, 0.95), (0, -1, 0.95), (1, 3, 1.0)])
def test_counts_that_cannot_be_are_refused(successes: int, n: int, level: float) -> None:
    """A wrong count is a defect of the caller."""
    for interval in (wilson, robbins):
        with pytest.raises(ValueError, match="must be"):
            interval(successes, n, level)


def test_robbins_is_about_twice_as_wide_as_wilson() -> None:
    """The price of looking at any time, at ten thousand labels and a tenth of errors."""
    widths = [high - low for low, high in (wilson(1_000, 10_000), robbins(1_000, 10_000))]
    assert 1.7 < widths[1] / widths[0] < 2.3


def test_peeking_breaks_wilson_and_leaves_robbins_whole() -> None:
    """100 growing counts, each looked at 60 times: 95 % holds for one look, or for all of them."""
    rng, truth, series = np.random.default_rng(16), 0.1, 100
    looks = np.unique(np.geomspace(20, 60_000, 60).astype(int))
    steps = np.diff(looks, prepend=0)
    excluded = {wilson: 0, robbins: 0}
    for _ in range(series):
        counts = np.cumsum(rng.binomial(steps, truth))
        for interval in excluded:
            bounds = [interval(int(count), int(n)) for count, n in zip(counts, looks, strict=True)]
            excluded[interval] += any(not low <= truth <= high for low, high in bounds)
    assert excluded[wilson] > 0.3 * series
    assert excluded[robbins] <= 0.05 * series
