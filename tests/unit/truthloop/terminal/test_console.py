"""Output to a terminal: text of the data cannot control it."""

import io

import pytest
from rich.console import Console

from schemas.base.figures import plain_text
from truthloop.terminal.console import Stream


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
    """Escape sequences, line breaks and changes of the writing direction."""
    assert plain_text(text) == shown


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "é [b]x[/]"), ("ascii", "\\xe9 [b]x[/]")])
def test_lines_are_printed_as_they_are(encoding: str, shown: str) -> None:
    """Without markup, not wrapped; a terminal that has only ASCII gets escapes."""
    output = io.BytesIO()
    stream = Stream(stderr=False)
    stream.console = Console(file=io.TextIOWrapper(output, encoding, write_through=True), width=5)
    stream.print_lines(["é [b]x[/]" + 30 * " " + ":smile:"])
    assert output.getvalue().decode() == shown + 30 * " " + ":smile:\n"
