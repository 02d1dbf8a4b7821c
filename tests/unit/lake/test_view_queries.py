"""Every view, table and table macro of `views.sql` under what people put above it, in a process that can be killed.

DuckDB 2.0.0 never returned from `SELECT * FROM scored_at(...) LIMIT 5` where a table had some 60,000 rows or more.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from lake_builder import LABEL, OUTCOME, PREDICTION, RECORDED_AT, LakeBuilder, hour, loop_config, ms

from lake.append import Claim
from lake.session import connect
from lake.table import schemas_of
from lake.view import render_views

ROWS = 100_000
TIMEOUT_S = 300
"""All queries take about half a minute."""

_DEFINITION = re.compile(
    r"^CREATE OR REPLACE TEMP (?:(?:VIEW|TABLE) (\w+)(?: AS|\()|MACRO (\w+)\(([\w, ]*)\) AS TABLE)", re.MULTILINE
)
_ARGUMENTS = {
    "t": "TIMESTAMPTZ '2030-01-01'",
    "since_ms": "0",
    "until_ms": str(ms(1_000_000)),
    "name": "'outcomes'",
    "files": "getvariable('{macro}')",
    "draft_files": "getvariable('truthloop_drafts')",
    "source": "'rows_to_sum'",
    **{f"{table}_files": f"getvariable('truthloop_{table}s')" for table in ("prediction", "reject", "outcome")},
}
"""Of the macros, by the name of a parameter; times are far in the future."""
_CATALOG = """
    SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal
    UNION ALL SELECT table_name FROM duckdb_tables() WHERE temporary
    UNION ALL SELECT function_name FROM duckdb_functions() WHERE function_type = 'table_macro' AND NOT internal
"""
_ASK = """
import json
import sys
from pathlib import Path
from lake.session import connect
with connect(Path(sys.argv[1])) as connection:
    connection.execute("SET enable_progress_bar = false")
    rows = "FROM truthloop_rows_to_sum_in(getvariable('truthloop_open_outcomes'))"
    connection.execute(f"CREATE TEMP VIEW rows_to_sum AS {rows}")
    for relation, queries in json.load(sys.stdin).items():
        counts = [len(connection.sql(query).to_arrow_table()) for query in queries]
        print(json.dumps([relation, counts]), flush=True)
"""


def relations() -> dict[str, str]:
    """Return the name of all that `views.sql` defines -> how it is written in FROM; macros with an argument."""
    config = loop_config()
    text = render_views(Path("lake"), config, schemas_of(config))
    return {
        view or macro: view or f"{macro}({_arguments(macro, parameters)})"
        for view, macro, parameters in _DEFINITION.findall(text)
    }


def _arguments(macro: str, parameters: str) -> str:
    names = filter(None, parameters.split(", "))
    return ", ".join(_ARGUMENTS[name].format(macro=macro.replace("_rows", "")) for name in names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake of many predictions; two of three have a label, and every seventh label waits for a ruling."""
    builder = LakeBuilder(tmp_path_factory.mktemp("queries") / "lake")
    number = pl.col("number")
    made = pl.lit(hour(0)) + pl.duration(milliseconds=number * 100)
    known = made + pl.duration(hours=1)
    key, every, labelled = pl.format("k{}", number), pl.lit(value=True), number % 3 > 0
    value, origin = (number % 2).cast(pl.Float64), pl.when(number % 7 == 0).then(pl.lit("backfill"))

    def add(table: str, row: Mapping[str, object], where: pl.Expr, **columns: pl.Expr) -> None:
        numbers = pl.select(number=pl.int_range(ROWS, dtype=pl.Int64)).filter(where)
        schema = builder.frame(table, []).schema
        rows = numbers.join(builder.frame(table, [{"partition": 0, **row}]), how="cross").with_columns(
            key=key, **{name: column.cast(schema[name]) for name, column in columns.items()}
        )
        claim = Claim("many", 0, ROWS)
        builder.lake.append(table, rows.select(schema.names()), [claim], recorded_at=RECORDED_AT)

    positions = {"offset": number, "source_row": number}
    add("predictions", PREDICTION, every, **positions, id=key, predicted_at=made, output_fraud=number % 10 / 10)
    times = {"label_time": known, "known_at": known}
    add("labels", LABEL, labelled, **positions, **times, value=value, origin=origin.otherwise(pl.lit("live")))
    joined = {**OUTCOME, "status": "joined", "reason": "first"}
    offsets = {"prediction_offset": number, "label_offset": number, "revision": number}
    add("outcomes", joined, labelled, **offsets, id=key, predicted_at=made, known_at=known, value=value)
    builder.reject("predictions", 5, "duplicate").label("late", 1, ROWS)
    marks = {"predictions": ms(100), "fraud": ms(100)}
    builder.entry(0, 100, marks=json.dumps(marks), cursors=json.dumps({"fraud": [ms(2), ROWS]}))
    episode = {"id": "e", "definition": "chargeback-1", "since": ms(0), "until": ms(50), "causes": ["declared"]}
    ruling = {"number": 0, "kind": "fraud", "evidence_at": hour(60), "event": "backfilled", "state": "watching"}
    document = json.dumps({"verdict": "quarantined", "episode": episode})
    builder.add("decisions", {**ruling, "reason": "A test.", "document": document})
    return builder.lake.path


def test_nothing_that_the_file_defines_is_left_out(folder: Path) -> None:
    """What DuckDB knows after it has loaded the file is what the tests below go through."""
    with connect(folder) as connection:
        assert {name for (name,) in connection.sql(_CATALOG).fetchall()} == set(relations())


def queries(relation: str) -> list[str]:
    """Return what people put above a relation."""
    return [
        f"FROM {relation}",
        f"FROM {relation} LIMIT 5",
        f"FROM {relation} ORDER BY ALL",
        f"FROM {relation} ORDER BY ALL DESC LIMIT 5",
        f"FROM {relation} USING SAMPLE 5",
        f"FROM {relation} AS one POSITIONAL JOIN {relation} AS other",
        f"FROM {relation} AS one INNER JOIN {relation} AS other ON one = other LIMIT 5",
    ]


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, list[int]]:
    """Return by relation the number of rows of each answer; from the first that does not come on, none."""
    asked = {relation: queries(relation) for relation in relations().values()}
    command = [sys.executable, "-c", _ASK, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            out, _ = process.communicate(json.dumps(asked), timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    return dict(json.loads(line) for line in out.splitlines())


@pytest.mark.parametrize("relation", relations().values(), ids=relations())
def test_an_answer_comes(answers: dict[str, list[int]], relation: str) -> None:
    """With as many rows as the relation has; a sum of numbers may differ in its last digit when it is made again."""
    assert relation in answers, f"no answer from {relation}, or from one before it"
    count, *others, joined = answers[relation]
    few = min(count, 5)
    assert others == [few, count, few, few, count]
    assert joined <= few
