"""The panels as JSON and CSV, unrounded, and the command that queries the lake for the same.

NaN and infinity become null in JSON. CSV is written so that a spreadsheet takes no cell for a formula.
"""

import csv
import io
import json
import shlex
from dataclasses import asdict
from typing import Any

from schemas.base.figures import finite
from truthloop.page.panels.tables import PANELS, CellValue, table_of
from truthloop.page.panels.view import PageView

__all__ = ["panel_csv", "panel_json", "sql_command"]

_FORMULA = ("=", "+", "-", "@")


def panel_json(view: PageView, panel: str) -> str:
    """Return a panel as one JSON document.

    Raises:
        KeyError: there is no such panel.
    """
    if panel not in PANELS:
        raise KeyError(panel)
    document: dict[str, Any] = {
        "loop": view.loop.name,
        "timezone": view.loop.timezone,
        "made_at_ms": view.freshness.made_at_ms,
        "evidence_until_ms": view.freshness.evidence_until_ms,
        "selection": asdict(view.selection),
        "panel": panel,
        "data": asdict(getattr(view, panel)),
    }
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def panel_csv(view: PageView, panel: str) -> str:
    """Return a panel as CSV with a header and CR LF line ends (RFC 4180).

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
    """Return the shell command that runs a query on the lake; the query is quoted as one argument."""
    return f"truthloop sql {shlex.quote(sql)}"


def _cell(value: CellValue) -> str | int | float | None:
    """Return a cell: text that a spreadsheet would evaluate gets an apostrophe; numbers stay numbers."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, str) and value.lstrip().startswith(_FORMULA):
        return f"'{value}"
    return value


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return finite(value) if isinstance(value, float) else value
