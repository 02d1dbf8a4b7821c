"""Output to a terminal: text of the data cannot control it."""

import io

import pytest
import typer
from rich.console import Console

from schemas.base.figures import plain_text
from schemas.errors import ConfigError, LakeError
from truthloop.terminal.console import Stream, reporting_errors


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


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (ConfigError("no such key", where="a.yaml", hint="Write it."), 2, "error: a.yaml: no such key\n  Write it.\n"),
        (OSError("object-store error: 404 NoSuchBucket (path: s3://b/x)"), LakeError.exit_code, "The bucket is gone"),
    ],
)
def test_errors_end_a_command_with_their_code(
    error: Exception, code: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a lake's store refuses while a frame is read, too."""
    with pytest.raises(typer.Exit) as caught, reporting_errors():
        raise error
    assert caught.value.exit_code == code
    assert shown in capsys.readouterr().err


def test_an_error_of_ours_is_no_message() -> None:
    """A fault of Truthloop's keeps its traceback."""
    with pytest.raises(OSError, match=r"^x$"), reporting_errors():
        raise OSError("x")
