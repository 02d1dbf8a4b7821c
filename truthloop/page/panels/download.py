"""The panels as JSON and CSV, and the command that gets the same from the lake.

JSON has what the view has, with null for what is no number. CSV is made so that a spreadsheet takes no cell for
a formula. Must not round.
"""

import csv
import io
import json
import shlex
from dataclasses import asdict
from typing import Any

from truthloop.page.panels.tables import PANELS, Value, table_of
from truthloop.page.panels.view import View
from truthloop.text.format import finite

__all__ = ["panel_csv", "panel_json", "sql_command"]

_FORMULA = ("=", "+", "-", "@")


def panel_json(view: View, panel: str) -> str:
    """Return a panel as one JSON document.

    Raises:
        KeyError: there is no such panel.
    """
    found: dict[str, Any] = {
        "loop": view.loop.name,
        "timezone": view.loop.timezone,
        "made_at_ms": view.freshness.made_at_ms,
        "evidence_until_ms": view.freshness.evidence_until_ms,
        "selection": asdict(view.selection),
        "panel": panel,
    }
    found["data"] = asdict({name: getattr(view, name) for name in PANELS}[panel])
    return json.dumps(_plain(found), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def panel_csv(view: View, panel: str) -> str:
    """Return a panel as CSV with a header, rows ended by CR LF (RFC 4180).

    Raises:
        KeyError: there is no such panel.
    """
    columns, rows = table_of(view, panel)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def sql_command(sql: str) -> str:
    """Return what to type in a shell to run a query on the lake; the shell sees one word, whatever is in it."""
    return f"truthloop sql {shlex.quote(sql)}"


def _cell(value: Value) -> str | int | float | None:
    """Return a cell: text that a spreadsheet would calculate gets an apostrophe; numbers stay numbers."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, str) and value.lstrip().startswith(_FORMULA):
        return f"'{value}"
    return value


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value with null in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return finite(value) if isinstance(value, float) else value
