"""`truthloop sql`: one read-only query on the lake's views, printed as a table, JSON or CSV."""

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.base.figures import plain_text
from schemas.errors import InputError
from truthloop.terminal.console import note, reporting_errors

if TYPE_CHECKING:
    import duckdb

__all__ = ["sql"]

ROWS_SHOWN_MAX = 200
"""Rows of a table on the screen; --csv and --json print all."""

WIDTH_MAX = 10_000
ROWS_AT_ONCE = 10_000

_END = re.compile(r"\s*;\s*(?:--[^\n]*\s*)*\Z")
"""The semicolon at the end of a query, and comments after it."""


def sql(
    query: Annotated[
        str | None,
        typer.Argument(help="One SELECT; default: read from stdin, and if that is empty, list the views."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the query from a file.")] = None,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print an array of rows.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """Query the lake's views with SQL: one SELECT.

    `truthloop sql "SELECT status, count(*) FROM scored GROUP BY ALL"`.
    """
    with reporting_errors():
        import duckdb  # noqa: PLC0415 - keeps --help fast

        from lake.session import connect  # noqa: PLC0415 - keeps --help fast
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast

        if as_json and as_csv:
            raise InputError("--json and --csv cannot both be given", hint="Give one of them.")
        text = _read_query(query, file)
        with connect(load_settings(config).lake) as connection:
            try:
                relation = _relation(connection, text) if text else _views(connection)
                if as_json:
                    _print_rows_as_json(relation)
                elif as_csv:
                    _print_csv(relation)
                else:
                    _print_table(relation)
            except duckdb.Error as error:
                raise InputError(str(error).strip(), hint="`truthloop sql` lists the views.") from None


def _read_query(query: str | None, file: Path | None) -> str:
    """Return the query of the argument, the file or stdin; '' if there is none."""
    if query is not None and file is not None:
        raise InputError("a query and --file were both given", hint="Give one of them.")
    if file is not None:
        try:
            return file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read: {error}", where=str(file)) from None
    if query is not None:
        return query.strip()
    return "" if sys.stdin.isatty() else sys.stdin.read().strip()


def _relation(connection: "duckdb.DuckDBPyConnection", text: str) -> "duckdb.DuckDBPyRelation":
    """Return the query's relation. Only a SELECT is allowed: COPY and ATTACH could write into the lake."""
    import duckdb  # noqa: PLC0415 - keeps --help fast

    statements = connection.extract_statements(text)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InputError(
            "only one SELECT is allowed, and nothing that writes",
            hint='`--csv > FILE` saves a result; `truthloop.open("LAKE")` in Python has all of DuckDB.',
        )
    # as a subquery: since DuckDB 2 a SELECT can write too, WITH x AS (COPY ...), but only at the top
    inner = _END.sub("", statements[0].query)
    relation = connection.sql(f"FROM (\n{inner}\n) AS result")
    if relation is None:
        raise InputError("the query returns nothing")
    return relation


def _views(connection: "duckdb.DuckDBPyConnection") -> "duckdb.DuckDBPyRelation":
    return connection.sql(
        """
        SELECT "view", about FROM (
          SELECT 0 AS rank, view_oid AS ordinal, view_name AS "view", comment AS about
          FROM duckdb_views() WHERE comment IS NOT NULL
          UNION ALL
          SELECT 1, 0, function_name || '(t)', comment
          FROM duckdb_functions() WHERE function_type = 'table_macro' AND comment IS NOT NULL
        ) ORDER BY rank, ordinal
        """
    )


def _texts(relation: "duckdb.DuckDBPyRelation") -> Iterator[tuple[str | None, ...]]:
    """Yield each row as DuckDB writes its values; null stays None."""
    for batch in relation.project("COLUMNS(*)::VARCHAR").to_arrow_reader(ROWS_AT_ONCE):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _print_table(relation: "duckdb.DuckDBPyRelation") -> None:
    from rich.console import Console  # noqa: PLC0415 - keeps --help fast
    from rich.table import Table  # noqa: PLC0415 - keeps --help fast
    from rich.text import Text  # noqa: PLC0415 - keeps --help fast

    rows = list(_texts(relation.limit(ROWS_SHOWN_MAX + 1)))
    table = Table()
    for name in relation.columns:
        table.add_column(Text(plain_text(name)), no_wrap=True)
    for row in rows[:ROWS_SHOWN_MAX]:
        table.add_row(*(Text("·", style="dim") if value is None else Text(plain_text(value)) for value in row))
    # at its full width: cut values are useless, and `| less -S` scrolls
    Console(width=WIDTH_MAX, highlight=False).print(table, crop=False)
    if len(rows) > ROWS_SHOWN_MAX:
        note(f"the first {ROWS_SHOWN_MAX} rows; --csv and --json print all")


def _print_csv(relation: "duckdb.DuckDBPyRelation") -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(relation.columns)
    writer.writerows(_texts(relation))


def _print_rows_as_json(relation: "duckdb.DuckDBPyRelation") -> None:
    documents = relation.query("result", "SELECT to_json(result) AS document FROM result")
    if documents is None:
        raise InputError("the query returns nothing")
    separator = "[\n  "
    for (text,) in _texts(documents):
        # DuckDB writes NaN and Infinity, which JSON does not have
        row = json.loads(text or "null", parse_constant=lambda _: None)
        sys.stdout.write(separator + json.dumps(row, ensure_ascii=False, allow_nan=False))
        separator = ",\n  "
    sys.stdout.write("[]\n" if separator.startswith("[") else "\n]\n")
