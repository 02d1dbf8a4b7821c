"""Durations: the accepted forms, the refused ones with their messages, and round trips."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from schemas.base.duration import DURATION_MAX_MS, format_duration, parse_duration_ms
from schemas.base.duration_field import DurationMs


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0s", 0),
        ("250ms", 250),
        ("90s", 90_000),
        ("15m", 900_000),
        ("36h", 129_600_000),
        ("7d", 604_800_000),
        ("1h30m", 5_400_000),
        ("1d2h3m4s5ms", 93_784_005),
        ("1.5h", 5_400_000),
        ("0.1d", 8_640_000),
        ("P7D", 604_800_000),
        ("P1W", 604_800_000),
        ("PT36H", 129_600_000),
        ("P1DT1H1M1S", 90_061_000),
        ("36525d", DURATION_MAX_MS),
    ],
)
def test_accepted_forms_become_whole_milliseconds(text: str, ms: int) -> None:
    """Short and ISO forms of the same duration are equal."""
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "d",
        "7",
        "7 d",
        " 7d",
        "7d ",
        "7D",
        "-7d",
        "+7d",
        "1h1d",
        "1d1d",
        "1e3s",
        "٣d",
        "P",
        "PT",
        "P1DT",
        "P1Y",
        "1w",
        "P1.5D",
        "7d\n",
        True,
        None,
    ],
)
def test_other_text_is_refused_with_the_accepted_forms(text: object) -> None:
    """The message shows how to write a duration."""
    with pytest.raises(ValueError, match="is not a duration; write 90s, 15m, 36h, 7d, 1h30m or P7D"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (7, "7 has no unit; write 7s, 7m, 7h or 7d"),
        (0.5, "0.5 has no unit"),
        ("36525d1ms", "more than a hundred years"),
        ("999999999999999d", "more than a hundred years"),
        ("0.5ms", "not a whole number of milliseconds"),
    ],
)
def test_near_misses_are_refused_with_their_own_reason(text: object, message: str) -> None:
    """A number without a unit, too long, and too fine."""
    with pytest.raises(ValueError, match=message):
        parse_duration_ms(text)


@given(st.integers(0, DURATION_MAX_MS))
def test_formatted_durations_are_parsed_back(ms: int) -> None:
    """format_duration and parse_duration_ms are inverse, and the published pattern agrees."""
    text = format_duration(ms)
    assert parse_duration_ms(text) == ms
    assert re.search(TypeAdapter(DurationMs).json_schema()["pattern"], text)


def fault_of(text: str) -> str | None:
    """Return why a duration is refused, shortened, or None."""
    try:
        parse_duration_ms(text)
    except ValueError as error:
        return str(error).partition(" is ")[2]
    return None


@given(st.text(alphabet="0123456789.dhmsPTWDHMS ", max_size=12))
def test_the_published_pattern_accepts_what_the_parser_accepts(text: str) -> None:
    """An editor that validates by the schema agrees with the program."""
    fits = re.search(TypeAdapter(DurationMs).json_schema()["pattern"], text) is not None
    assert fits == (fault_of(text) in (None, "more than a hundred years", "not a whole number of milliseconds"))


def test_a_model_dumped_as_json_can_be_read_again() -> None:
    """Milliseconds in Python, text in JSON."""

    class Model(BaseModel):
        age: DurationMs

    model = Model.model_validate({"age": "1d12h"})
    assert model.model_dump() == {"age": 129_600_000}
    assert model.model_dump_json() == '{"age":"1d12h"}'
    assert Model.model_validate_json(model.model_dump_json()) == model
