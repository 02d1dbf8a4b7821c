"""Names and sentences from the data, as the page shows them: harmless, and of bounded length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truthloop.text.format import NAME_MAX, name, prose


@given(st.text(max_size=5_000))
def test_a_name_is_printable_and_short(text: str) -> None:
    """Whatever the data hold."""
    shown = name(text)
    assert len(shown) <= NAME_MAX
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("UA", "UA"),
        ("süß-湖", "süß-湖"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("left\u202eright", "left\\u202eright"),
        ("k" * 64, "k" * 64),
        ("a" * 60 + "b" * 10, "a" * 51 + "…" + "a" * 2 + "b" * 10),
        (7, "7"),
    ],
)
def test_a_name_as_it_is_shown(text: object, shown: str) -> None:
    """Control and direction characters are escaped; a long one is cut in the middle."""
    assert name(text) == shown


def test_prose_keeps_its_lines_and_ends() -> None:
    """A query has lines; a text without an end has to have one."""
    assert prose("SELECT 1\nFROM t\x07") == "SELECT 1\nFROM t\\x07"
    assert prose("x" * 2_000) == "x" * 2_000
    assert prose("x" * 2_001) == "x" * 2_000 + "…"
