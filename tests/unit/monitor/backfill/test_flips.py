"""Flips: their direction, and the effect of random flips on an accuracy."""

from fractions import Fraction
from math import comb

import numpy as np
import polars as pl
import pytest
from backfill_case import PLAN, Row, diff, frames
from scipy.stats import binomtest

from monitor.backfill.flips import flip_p_value, pair_labels
from monitor.backfill.restated_metrics import expected_drop
from schemas.events.backfill_diff import Asymmetry

LATE = next(kind for kind in PLAN.kinds if kind.name == "late")


@pytest.mark.parametrize(("forth", "back"), [(0, 1), (1, 1), (17, 13), (80, 20), (65, 35), (195, 105), (5_000, 5_200)])
def test_the_p_value_is_that_of_the_exact_binomial_test(forth: int, back: int) -> None:
    """Two-sided, of an even chance; the same from either side."""
    wanted = binomtest(forth, forth + back).pvalue
    assert flip_p_value(forth, back) == flip_p_value(back, forth) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("forth", "back"), [(3, 9), (20, 20), (1, 60)])
def test_the_p_value_is_the_sum_of_whole_numbers(forth: int, back: int) -> None:
    """Both tails, computed with fractions; even flips have 1."""
    n, least = forth + back, min(forth, back)
    tail = Fraction(2 * sum(comb(n, k) for k in range(least + 1)), 2**n)
    assert flip_p_value(forth, back) == pytest.approx(float(min(tail, Fraction(1))), rel=1e-12)


def test_no_flips_are_as_likely_as_can_be_and_a_million_one_way_are_not() -> None:
    """Neither extreme is NaN."""
    assert flip_p_value(0, 0) == 1.0
    assert flip_p_value(1_000_000, 0) == 0.0


def test_asymmetry_is_of_flips_only() -> None:
    """New, removed and identical labels are no flips."""
    rows = [*[Row(0.0, 1.0)] * 4, Row(1.0, 0.0), Row(None, 1.0), Row(0.0, None), Row(1.0, 1.0)]
    assert diff(rows).asymmetry == Asymmetry(start="0", end="1", to_end=4, to_start=1, p_value=0.375)
    assert diff([Row(1.0, 1.0), Row(None, 1.0)]).asymmetry is None


def test_of_many_classes_the_pair_with_most_flips_is_tested() -> None:
    """In either direction: a to b and back are 8, c to a alone only 7."""
    rows = [*[Row("b", "a", "a")] * 5, *[Row("a", "b", "a")] * 3, *[Row("c", "a", "a")] * 7]
    found = diff(rows, "status").asymmetry
    assert found is not None
    assert (found.start, found.end, found.to_end, found.to_start) == ("a", "b", 3, 5)
    assert found.p_value == pytest.approx(binomtest(3, 8).pvalue)


def test_of_numbers_it_is_tested_whether_they_rise() -> None:
    """By however much."""
    rows = [*[Row(1.0, 1.5, 0.0)] * 3, *[Row(2.0, -70.0, 0.0)] * 2, Row(3.0, 3.0, 0.0)]
    found = diff(rows, "fare").asymmetry
    assert found is not None
    assert (found.start, found.end, found.to_end, found.to_start) == ("lower", "higher", 3, 2)


def test_an_implied_label_counts_like_a_joined_one() -> None:
    """An expired, retracted, pending or missing status is no label."""
    case = frames([Row(0.0, 0.0)] * 5)
    statuses = pl.Series(["implied", "expired", "retracted", "pending", None], dtype=pl.String)
    found = pair_labels(LATE, case.pairs.with_columns(before_status=statuses)).rows
    assert found["had_label"].to_list() == [True, False, False, False, False]
    assert found["before_truth"].to_list() == [0.0, None, None, None, None]
    assert not found["is_flip"].any()


@pytest.mark.parametrize(("accuracy", "share", "drop"), [(0.9, 0.01, 0.008), (0.9, 0.003, 0.0024), (0.5, 0.2, 0.0)])
def test_random_flips_of_two_classes_lower_ninety_per_cent_by_four_fifths_of_their_share(
    accuracy: float, share: float, drop: float
) -> None:
    """(2 a - 1) f."""
    assert expected_drop(accuracy, share, 2) == pytest.approx(drop)


@pytest.mark.parametrize(("classes", "accuracy"), [(2, 0.9), (2, 0.3), (3, 0.7), (7, 0.4)])
def test_the_expected_drop_is_what_flips_at_random_do(classes: int, accuracy: float) -> None:
    """A share of 5 % of 400,000 labels, each to another class by chance: within five standard errors."""
    rng = np.random.default_rng(41)
    n, share = 400_000, 0.05
    truth = rng.integers(0, classes, n)
    predicted = np.where(rng.random(n) < accuracy, truth, (truth + rng.integers(1, classes, n)) % classes)
    flipped = np.where(rng.random(n) < share, (truth + rng.integers(1, classes, n)) % classes, truth)
    dropped = np.mean(predicted == truth) - np.mean(predicted == flipped)
    assert dropped == pytest.approx(expected_drop(accuracy, share, classes), abs=5 * np.sqrt(share / n))


def test_one_class_cannot_flip() -> None:
    """There is no other class."""
    with pytest.raises(ValueError, match="at least two classes"):
        expected_drop(0.9, 0.01, 1)
