"""`truthloop sql`: one read-only query on the lake's views, printed as a table, JSON or CSV."""

import csv
import json
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

_WRITING = frozenset(
    {"alter", "attach", "call", "copy", "create", "delete", "detach", "drop", "export", "import", "insert"}
    | {"install", "load", "merge", "pragma", "truncate", "update"}
)
"""Words that no PIVOT without a list of values may contain: DuckDB first runs its parts as statements of their own."""

_PLAN = ["explain_key", "explain_value"]
"""Columns of the result of EXPLAIN."""


def sql(
    query: Annotated[
        str | None,
        typer.Argument(
            help="One SELECT, PIVOT or EXPLAIN; default: read from stdin, and if that is empty, list the views."
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the query from a file.")] = None,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print an array of rows.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """Query the lake's views with SQL: one SELECT, PIVOT or EXPLAIN.

    `truthloop sql "SELECT status, count(*) FROM scored GROUP BY ALL"`.
    """
    with reporting_errors():
        import duckdb  # noqa: PLC0415 - keeps --help fast

        from lake.failure import store_error  # noqa: PLC0415 - keeps --help fast
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
                raise store_error(error) or InputError(
                    str(error).strip(), hint="`truthloop sql` lists the views."
                ) from None


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
    """Return the query's relation. Only what reads is allowed: COPY and ATTACH could write into the lake."""
    import duckdb  # noqa: PLC0415 - keeps --help fast

    kind, inner = _only_statement(connection, text)
    explain = ""
    if kind == duckdb.StatementType.EXPLAIN:
        explain, rest = _explained(inner)
        kind, inner = _only_statement(connection, rest)
    is_pivot = kind == duckdb.StatementType.MULTI and not _WRITING & {word.lower() for _, word in _words(inner)}
    if kind != duckdb.StatementType.SELECT and not is_pivot:
        raise _not_allowed()
    # as a subquery: since DuckDB 2 a SELECT can write too, WITH x AS (COPY ...), but only at the top
    relation = connection.sql(f"{explain}FROM (\n{inner}\n) AS result")
    if relation is None:
        raise InputError("the query returns nothing")
    return relation


def _only_statement(connection: "duckdb.DuckDBPyConnection", text: str) -> "tuple[duckdb.StatementType, str]":
    """Return the type of the only statement, and its text without the semicolons and comments at its end."""
    statements = connection.extract_statements(text)
    if len(statements) != 1:
        raise _not_allowed()
    words = _words(statements[0].query)
    while words and words[-1][1] in ("", ";"):
        words.pop()
    start, last = words[-1]
    return statements[0].type, statements[0].query.encode()[: start + len(last.encode())].decode()


def _words(query: str) -> list[tuple[int, str]]:
    """Return the words, texts and signs of a query with the byte that each starts at; comments are empty."""
    import duckdb  # noqa: PLC0415 - keeps --help fast

    tokens, text = duckdb.tokenize(query), query.encode()
    ends = [start for start, _ in tokens[1:]] + [len(text)]
    return [
        (start, "" if kind == duckdb.token_type.comment else text[start:end].decode().strip())
        for (start, kind), end in zip(tokens, ends, strict=True)
    ]


def _explained(query: str) -> tuple[str, str]:
    """Return EXPLAIN, or EXPLAIN ANALYZE, and the query behind it."""
    words = [(start, word) for start, word in _words(query) if word]
    count = 2 if words[1:] and words[1][1].lower() == "analyze" else 1
    if len(words) <= count:
        raise _not_allowed()
    return "EXPLAIN ANALYZE " if count > 1 else "EXPLAIN ", query.encode()[words[count][0] :].decode()


def _not_allowed() -> InputError:
    return InputError(
        "only one SELECT, PIVOT or EXPLAIN is allowed, and nothing that writes",
        hint='`--csv > FILE` saves a result; `truthloop.open("LAKE")` in Python has all of DuckDB.',
    )


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
    if relation.columns == _PLAN:
        Console(width=WIDTH_MAX, highlight=False).print(*(Text(plan or "") for _, plan in rows))
        return
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
