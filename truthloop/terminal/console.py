"""How the command line speaks: results on stdout, everything else on stderr, errors as three plain parts."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import typer

from schemas.errors import TruthloopError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Stream", "note", "notes", "print_json", "reporting_errors", "results", "warn"]


class Stream:
    """One of the two output streams. Rich is loaded when something is first printed: it takes longer than --help.

    Args:
        stderr: whether this is stderr; stdout otherwise.
    """

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    @cached_property
    def console(self) -> "Console":
        """The Rich console of the stream."""
        from rich.console import Console  # noqa: PLC0415 - that is the point

        return Console(stderr=self._stderr, highlight=False, soft_wrap=True, emoji=False)

    def print(self, *what: object, markup: bool = True) -> None:
        """Print text or anything else that Rich can show; `markup` says whether text holds Rich's markup."""
        self.console.print(*what, markup=markup)


results = Stream(stderr=False)
"""For what was asked: tables, JSON."""

notes = Stream(stderr=True)
"""For everything else: progress, remarks, warnings, errors."""


def note(text: str) -> None:
    """Say something beside the result. `text` may carry Rich markup of our own."""
    notes.print(text)


def warn(text: str) -> None:
    """Say what deserves a second look."""
    from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

    notes.print(f"[yellow]warning:[/] {escape(text)}")


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn our own errors into a message on stderr and the error's exit code."""
    try:
        yield
    except TruthloopError as error:
        from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

        place = f"{escape(error.where)}: " if error.where else ""
        notes.print(f"[bold red]error:[/] {place}{escape(error.what)}")
        if error.hint:
            notes.print(f"  {escape(error.hint)}")
        raise typer.Exit(error.exit_code) from None
