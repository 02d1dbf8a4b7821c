"""The SQL of every panel: it runs on the lake's views, and returns the panel's numbers."""

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from gather_case import config_of, gatherer_of, make_lake, records, selections

from lake.session import connect
from truthloop.config.settings import Settings
from truthloop.page.gather import Gatherer
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import comparison_query, coverage_query, drift_query, maturity_query, metric_query
from truthloop.page.gather.versions import newest_pair
from truthloop.page.markup.page import render_page
from truthloop.page.panels.view import PageView, Selection

HOSTILE = "v'; DROP TABLE outcomes; --\"<script>"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return a loop of forty days."""
    return make_lake(tmp_path_factory.mktemp("shop"), config_of(), *records())


@pytest.fixture(scope="module")
def gatherer(settings: Settings) -> Gatherer:
    """Return its gatherer."""
    return gatherer_of(settings)


@pytest.fixture(scope="module")
def connection(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a DuckDB session over its lake."""
    with connect(settings.lake) as found:
        yield found


def queries(view: PageView) -> dict[str, str]:
    """Return the SQL of every panel."""
    panels = ("coverage", "maturity", "metric", "drift", "quality", "gate", "versions", "flow")
    return {name: getattr(view, name).sql for name in panels}


def all_queries(gatherer: Gatherer, settings: Settings) -> set[str]:
    """Return the SQL of the panels for every selection, one query of each shape."""
    found: set[str] = set()
    for selection in selections(gatherer):
        scope = Scope.of(settings.config, gatherer._current().snapshot, selection)
        found |= {coverage_query(scope), metric_query(scope), maturity_query(scope), drift_query(scope)}
        if (pair := newest_pair(scope)) is not None:
            found.add(comparison_query(scope, *pair))
    # names and values do not make another shape
    shapes = {re.sub(r"'(?:[^']|'')*'", "?", query): query for query in sorted(found - {""})}
    return set(shapes.values())


def test_every_query_of_every_panel_runs_on_the_lake(
    gatherer: Gatherer, settings: Settings, connection: duckdb.DuckDBPyConnection
) -> None:
    """For all kinds, versions, slices and metrics."""
    seen: dict[str, str] = {}
    for kind in gatherer.choices().kinds:
        seen |= {query: name for name, query in queries(gatherer.view(Selection(kind))).items() if query}
    queried = all_queries(gatherer, settings)
    assert len(queried) > 15
    assert set(seen.values()) | {"metric"} == {
        *("coverage", "maturity", "metric", "drift", "quality", "gate", "versions", "flow")
    }
    seen |= dict.fromkeys(queried, "")
    for query in seen:
        (statement,) = connection.extract_statements(query)
        assert statement.type == duckdb.StatementType.SELECT
        connection.sql(f"FROM (\n{query}\n) AS result").fetchall()


@pytest.mark.parametrize(
    ("kind", "metric", "slice_"),
    [
        *(("bought", name, "") for name in ("accuracy", "f1", "log_loss", "brier")),
        ("bought", "accuracy", "country=∅"),
        ("bought", "accuracy", "country=DE"),
        ("price", "mae", ""),
        ("price", "rmse", "country=FR"),
        ("route", "accuracy", ""),
    ],
)
def test_the_metric_query_returns_the_final_values_of_the_panel(
    gatherer: Gatherer, connection: duckdb.DuckDBPyConnection, kind: str, metric: str, slice_: str
) -> None:
    """For several kinds, metrics and slices."""
    panel = gatherer.view(Selection(kind, "", slice_, metric)).metric
    found = connection.sql(panel.sql).fetchall()
    rows = {(str(day), version, definition): rest for day, version, definition, *rest in found}
    final = [(one, point) for one in panel.series for point in one.points if point.status == "mature"]
    assert len(final) > 40
    for series, point in final:
        value, n, *_ = rows[point.day, series.version, series.definition]
        assert value == pytest.approx(point.value, abs=1e-6)
        assert n == point.n


def test_the_coverage_query_returns_the_shares_of_the_panel(
    gatherer: Gatherer, connection: duckdb.DuckDBPyConnection
) -> None:
    """By age, and null if not due."""
    panel = gatherer.view(Selection("bought", metric="accuracy")).coverage
    rows = {(str(row[0]), *row[1:3]): row[5] for row in connection.sql(panel.sql).fetchall()}
    cells = {
        (one.day, one.version, age): cell.share
        for one in panel.cohorts
        for age, cell in zip(panel.ages_ms, one.cells, strict=True)
    }
    assert cells == rows
    assert None in cells.values()


def test_hostile_names_are_quoted(tmp_path: Path) -> None:
    """A version, a country and a source with SQL and HTML in their names have no effect, and all queries run."""
    predictions, labels = records(("v1", HOSTILE), (HOSTILE, "∅", "*other", None), 4)
    labels = [one | {"source": HOSTILE} for one in labels]
    settings = make_lake(tmp_path, config_of(), predictions, labels)
    gatherer = gatherer_of(settings)
    assert HOSTILE in gatherer.choices().versions
    version = Selection("bought", HOSTILE, "", "accuracy", 400)
    country = Selection("bought", "", next(one for one in gatherer.choices().slices if "DROP" in one), "accuracy")
    seen = all_queries(gatherer, settings)
    for selection in (version, country):
        found = gatherer.view(selection)
        assert "<script>" not in render_page(found)
        assert found.coverage.cohorts
        seen |= {query for query in queries(found).values() if query}
    with connect(settings.lake) as connection:
        for query in seen:
            connection.sql(f"FROM (\n{query}\n) AS result").fetchall()
        assert connection.sql("SELECT count(*) FROM revisions").fetchall() != [(0,)]


def test_versions_are_compared_by_labels_of_one_definition(gatherer: Gatherer, settings: Settings) -> None:
    """A key whose label of record is of another definition for the other version is not shared."""
    scope = Scope.of(settings.config, gatherer._current().snapshot, Selection("bought"))
    rows = [
        ("a", "v1", "b-1", 0.9, 1.0),
        ("a", "v2", "b-2", 0.9, 0.0),
        ("b", "v1", "b-2", 0.5, 1.0),
        ("b", "v2", "b-2", 0.5, 1.0),
    ]
    with duckdb.connect() as plain:
        plain.execute(
            'CREATE TABLE scored (key VARCHAR, version VARCHAR, definition VARCHAR, "output" DOUBLE, value DOUBLE, '
            "predicted_at TIMESTAMP DEFAULT '2026-02-08', \"day\" DATE DEFAULT '2026-02-08', "
            "kind VARCHAR DEFAULT 'bought', status VARCHAR DEFAULT 'joined', eligible BOOLEAN DEFAULT true, "
            "prediction_offset BIGINT DEFAULT 1)"
        )
        plain.executemany('INSERT INTO scored (key, version, definition, "output", value) VALUES (?, ?, ?, ?, ?)', rows)
        shared = plain.sql(comparison_query(scope, "v1", "v2")).fetchall()
    assert len(shared) == 1
