"""What is printed: nothing of the data may steer the terminal."""

import pytest

from truthloop.text.format import plain_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2013-02-09|UA15", "2013-02-09|UA15"),
        ("Zürich ∅ 東京", "Zürich ∅ 東京"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202egnp", "\\u202egnp"),
    ],
)
def test_control_characters_of_the_data_are_shown_escaped(text: str, shown: str) -> None:
    """Escape sequences, line breaks and writing direction are texts like any other."""
    assert plain_text(text) == shown
