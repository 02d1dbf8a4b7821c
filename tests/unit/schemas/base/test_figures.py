"""Figures for people: never a number that says more, or something else, than the value."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.base.figures import NOTHING, count, moment, number, share, signed, size

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


@pytest.mark.parametrize("write", [number, signed, share])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_a_dash(write: object, value: float | None) -> None:
    """Never `nan`, and never 0.0."""
    assert callable(write)
    assert write(value) == NOTHING


@given(FINITE)
def test_only_one_is_shown_as_one(value: float) -> None:
    """0.99996 is not perfect."""
    assert (float(number(value).replace(",", "")) == 1.0) == (abs(value - 1.0) < 5e-8)


@given(FINITE)
def test_a_number_is_near_its_value(value: float) -> None:
    """To three digits at least."""
    assert math.isclose(float(number(value).replace(",", "")), value, rel_tol=6e-3, abs_tol=1e-300)


@given(st.floats(0, 1))
def test_only_none_and_all_are_whole(value: float) -> None:
    """0 % says that nothing is there, 100 % that nothing is missing."""
    assert (share(value) == "0 %") == (value == 0)
    assert (share(value) == "100 %") == (value == 1)


def test_one_value_reads_alike() -> None:
    """The cases that were written in four ways."""
    assert (number(0.99996), share(0.99996), signed(-0.99996)) == ("0.99996", ">99.9 %", "−0.99996")  # noqa: RUF001
    assert (count(1_234_567), size(9_100_000_000), size(0)) == ("1,234,567", "9.1 GB", "0 B")


def test_a_time_beyond_the_calendar_is_shown_as_it_is() -> None:
    """Data may say anything."""
    assert moment(10**20) == f"{10**20} ms"
