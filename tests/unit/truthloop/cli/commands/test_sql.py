"""`truthloop sql`: its output, and the queries that it refuses."""

import csv
import io
import json
from pathlib import Path

import pytest
import typer
from lake_builder import CONFIG_TEXT, LakeBuilder
from typer.testing import CliRunner, Result

from truthloop.cli.commands.sql import ROWS_SHOWN_MAX, sql

app = typer.Typer()
app.command()(sql)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the config of a loop whose lake has two predictions and one label."""
    file = tmp_path / "truthloop.yaml"
    file.write_text(CONFIG_TEXT)
    builder = LakeBuilder(tmp_path / "the lake").predict("a", 0, 0).predict("ü, b", 0, 1)
    builder.outcome("a", "joined", 2, 1, value=1.0)
    return file


def run(config: Path, *arguments: str, stdin: str = "") -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["--config", str(config), *arguments], input=stdin)


QUERY = "SELECT key, status, known_at, value FROM scored ORDER BY key"


def test_a_query_prints_a_table(config: Path) -> None:
    """Null is a dot, and nothing is cut off."""
    result = run(config, QUERY)
    assert result.exit_code == 0
    assert "joined" in result.stdout
    assert "2026-03-01 10:00:00+00" in result.stdout
    assert "pending │ ·" in result.stdout
    wide = run(config, f"SELECT {', '.join(f'{n} AS a_rather_long_name_{n}' for n in range(20))}")
    assert "a_rather_long_name_19" in wide.stdout


def test_json_is_an_array_of_rows(config: Path) -> None:
    """Numbers stay numbers; NaN is null."""
    assert json.loads(run(config, QUERY, "--json").stdout) == [
        {"key": "a", "status": "joined", "known_at": "2026-03-01 10:00:00+00", "value": 1.0},
        {"key": "ü, b", "status": "pending", "known_at": None, "value": None},
    ]
    odd = "SELECT 'nan'::DOUBLE AS n, 10::HUGEINT AS h, [1, NULL] AS l, 1.50::DECIMAL(4, 2) AS d"
    assert json.loads(run(config, odd, "--json").stdout) == [{"n": None, "h": 10, "l": [1, None], "d": 1.5}]
    assert json.loads(run(config, "FROM scored WHERE false", "--json").stdout) == []


def test_csv_has_a_header_and_quotes_what_needs_it(config: Path) -> None:
    """Null is empty."""
    rows = list(csv.reader(io.StringIO(run(config, QUERY, "--csv").stdout)))
    assert rows[0] == ["key", "status", "known_at", "value"]
    assert rows[2] == ["ü, b", "pending", "", ""]


def test_the_query_may_come_from_stdin_or_a_file(config: Path, tmp_path: Path) -> None:
    """With a semicolon and a comment at the end."""
    (tmp_path / "q.sql").write_text("-- how many\nSELECT count(*) AS n FROM scored; -- done\n")
    assert json.loads(run(config, "--json", stdin="SELECT 1 AS n").stdout) == [{"n": 1}]
    assert json.loads(run(config, "--json", "--file", str(tmp_path / "q.sql")).stdout) == [{"n": 2}]


def test_without_a_query_it_lists_the_views(config: Path) -> None:
    """`scored`, the one to begin with, is the first."""
    views = json.loads(run(config, "--json").stdout)
    assert [view["view"] for view in views] == [
        *("scored", "outcomes_arrived", "revisions", "counts", "coverage", "metrics"),
        *("rejects", "ledger", "unmatched", "evidence", "decisions", "deliveries"),
        *("backfills", "diffs", "closed_until", "scored_at(t)"),
    ]
    assert "pending ones included" in run(config).stdout


@pytest.mark.parametrize("query", ["DESCRIBE scored", "SHOW TABLES", "SUMMARIZE SELECT 1 AS a", "VALUES (1)"])
def test_duckdbs_other_read_only_statements_are_allowed(config: Path, query: str) -> None:
    """DuckDB parses them as SELECT."""
    assert run(config, query).exit_code == 0


@pytest.mark.parametrize(
    "end", [";", " ;; ", "; -- done", "; -- done\n-- and done", " -- done", " /* done */", "; /* a; */ ; -- b;"]
)
def test_semicolons_and_comments_at_the_end_belong_to_no_query(config: Path, end: str) -> None:
    """Nor do those inside a text end it."""
    assert json.loads(run(config, f"/* é */ SELECT 'ü; -- x' AS n{end}", "--json").stdout) == [{"n": "ü; -- x"}]


def test_pivots_with_and_without_a_list_of_values(config: Path) -> None:
    """DuckDB makes several statements of the second."""
    for values in (" IN ('joined', 'pending')", ""):
        query = f"PIVOT scored ON status{values} USING count(*) GROUP BY kind; -- done"
        assert json.loads(run(config, query, "--json").stdout) == [{"kind": "fraud", "joined": 1, "pending": 1}]
    assert "pending" in run(config, "PIVOT scored ON status USING count(*) GROUP BY kind").stdout


@pytest.mark.parametrize("query", ["EXPLAIN FROM scored;", "explain analyze FROM scored -- done"])
def test_explain_prints_the_plan(config: Path, query: str) -> None:
    """As DuckDB draws it; as JSON and CSV in its columns."""
    shown = run(config, query)
    assert shown.exit_code == 0
    assert "Projection" in shown.stdout.title()
    assert "explain_value" not in shown.stdout
    assert list(json.loads(run(config, query, "--json").stdout)[0]) == ["explain_key", "explain_value"]
    assert run(config, query, "--csv").stdout.startswith("explain_key,explain_value\n")


def test_a_long_table_is_cut_with_a_note_on_how_to_get_all(config: Path) -> None:
    """JSON has every row."""
    query = f"FROM range({ROWS_SHOWN_MAX + 1})"
    shown = run(config, query)
    assert f"the first {ROWS_SHOWN_MAX} rows" in shown.stderr
    assert shown.stdout.count("│") == 2 * ROWS_SHOWN_MAX
    assert len(json.loads(run(config, query, "--json").stdout)) == ROWS_SHOWN_MAX + 1


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("FROM scoredd", 'Did you mean "scored"'),
        ("SELECT FROM WHERE", "Parser Error"),
        ("SELECT CAST(key AS INTEGER) FROM scored", "Conversion Error"),
        ("SELECT 1; SELECT 2", "only one SELECT"),
        (";", "only one SELECT"),
    ],
)
def test_an_invalid_query_gives_a_message_and_exit_code_2(config: Path, query: str, message: str) -> None:
    """Never a traceback; stdout stays empty."""
    for form in ((), ("--json",), ("--csv",)):
        result = run(config, query, *form)
        assert result.exit_code == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO '{}'",
        "WITH x AS (COPY (SELECT 1) TO '{}') FROM x",
        "SELECT * FROM (WITH x AS (COPY (SELECT 1) TO '{}') FROM x)",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{}'",
        "ATTACH '{}'",
        "EXPORT DATABASE '{}'",
        "SELECT 1; COPY (SELECT 1) TO '{}'",
        "SELECT 1) AS result; COPY (SELECT 1) TO '{}'; FROM (SELECT 2",
        "SET temp_directory = '{}'",
        "WITH x AS (COPY (SELECT 1) TO '{}') PIVOT scored ON key USING count(*)",
        "PIVOT (WITH x AS (COPY (SELECT 1) TO '{}') FROM scored) ON key USING count(*)",
        "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{}') FROM x",
        "EXPLAIN /* a */ ANALYZE -- b\nCOPY (SELECT 1) TO '{}'",
        "EXPLAIN SELECT 1; COPY (SELECT 1) TO '{}'",
    ],
)
def test_no_query_writes_a_file(config: Path, tmp_path: Path, query: str) -> None:
    """Neither into the lake nor elsewhere."""
    target = tmp_path / "the lake" / "written"
    assert run(config, query.format(target)).exit_code == 2
    assert not target.exists()


def test_contradictions_and_missing_files_are_usage_errors(config: Path, tmp_path: Path) -> None:
    """Exit code 2 with the reason."""
    for arguments, message in (
        (("--json", "--csv", "SELECT 1"), "cannot both"),
        (("SELECT 1", "--file", "x.sql"), "both given"),
        (("--file", str(tmp_path / "none.sql")), "none.sql"),
    ):
        result = run(config, *arguments)
        assert (result.exit_code, message in result.stderr) == (2, True)


def test_a_missing_lake_is_reported(tmp_path: Path) -> None:
    """Exit code 1: the config is valid, the lake does not exist."""
    (tmp_path / "truthloop.yaml").write_text(CONFIG_TEXT)
    result = run(tmp_path / "truthloop.yaml", "SELECT 1")
    assert result.exit_code == 1
    assert "no lake here" in result.stderr
