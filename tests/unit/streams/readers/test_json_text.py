"""Decoded values as JSON texts: numbers and bytes that JSON has no form for."""

import json
import math

import pytest

from streams.readers.format import UndecodableError
from streams.readers.json_text import json_text


def test_a_number_that_is_not_finite_stays_visible() -> None:
    """Null would mean that it is missing; null beside it stays null, and bytes stay base64."""
    found = json.loads(json_text({"a": [math.inf, None], "b": {"c": math.nan}, "d": b"\x07"}, has_floats=True))
    assert found["a"] == [math.inf, None]
    assert math.isnan(found["b"]["c"])
    assert found["d"] == "Bw=="


def test_null_alone_is_null() -> None:
    """Missing values are the usual reason of a null in the text."""
    assert json_text({"a": None, "b": 0.5}, has_floats=True) == b'{"a":null,"b":0.5}'


@pytest.mark.parametrize("value", [object(), "\ud800", {1.5: object()}])
def test_a_value_without_a_form(value: object) -> None:
    """It is said by its type."""
    with pytest.raises(UndecodableError, match="has no JSON form"):
        json_text({"a": value}, has_floats=False)
