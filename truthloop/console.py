"""How the command line speaks: results on stdout, everything else on stderr, errors as three plain parts."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from schemas.errors import TruthloopError

__all__ = ["note", "notes", "print_json", "reporting_errors", "results", "warn"]

results = Console(highlight=False, soft_wrap=True)
"""For what was asked: tables, JSON."""

notes = Console(stderr=True, highlight=False, soft_wrap=True)
"""For everything else: progress, remarks, warnings, errors."""


def note(text: str) -> None:
    """Say something beside the result. `text` may carry Rich markup of our own."""
    notes.print(text)


def warn(text: str) -> None:
    """Say what deserves a second look."""
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
        place = f"{escape(error.where)}: " if error.where else ""
        notes.print(f"[bold red]error:[/] {place}{escape(error.what)}")
        if error.hint:
            notes.print(f"  {escape(error.hint)}")
        raise typer.Exit(error.exit_code) from None
