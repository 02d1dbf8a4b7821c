"""Output of the commands: results on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import typer

from schemas.errors import TruthloopError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Stream", "note", "notes", "print_json", "reporting_errors", "results", "warn"]


class Stream:
    """stdout or stderr. Rich is loaded with the first print: that takes longer than all of --help."""

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    @cached_property
    def console(self) -> "Console":
        """The Rich console of the stream."""
        from rich.console import Console  # noqa: PLC0415 - keeps --help fast

        return Console(stderr=self._stderr, highlight=False, soft_wrap=True, emoji=False)

    def print(self, *what: object, markup: bool = True) -> None:
        """Print text or another Rich renderable.

        Args:
            what: texts or renderables.
            markup: whether texts contain Rich markup; False for text of the data.
        """
        self.console.print(*what, markup=markup)

    def print_lines(self, lines: Iterable[str], style: str = "") -> None:
        """Print lines as they are: no markup, no emoji codes, no wrapping; an ASCII terminal gets escapes."""
        for line in lines:
            text = line.encode("ascii", "backslashreplace").decode() if self.console.options.ascii_only else line
            self.console.print(
                text, style=style, markup=False, emoji=False, no_wrap=True, overflow="ignore", crop=False
            )


results = Stream(stderr=False)
"""stdout: the result of a command, as text, tables or JSON."""

notes = Stream(stderr=True)
"""stderr: progress, notes, warnings, errors."""


def note(text: str) -> None:
    """Print a note on stderr; `text` may contain Rich markup."""
    notes.print(text)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

    notes.print(f"[yellow]warning:[/] {escape(text)}")


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _error_of(raised: Exception) -> TruthloopError | None:
    if isinstance(raised, TruthloopError):
        return raised
    failure = sys.modules.get("lake.failure")  # whatever reads a lake has loaded it
    found: TruthloopError | None = None if failure is None else failure.store_error(raised)
    return found


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn a TruthloopError, or what a lake's store has refused, into a message on stderr and an exit code."""
    try:
        yield
    except Exception as raised:
        error = _error_of(raised)
        if error is None:
            raise
        from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

        where = f"{escape(error.where)}: " if error.where else ""
        notes.print(f"[bold red]error:[/] {where}{escape(error.what)}")
        if error.hint:
            notes.print(f"  {escape(error.hint)}")
        raise typer.Exit(error.exit_code) from None
