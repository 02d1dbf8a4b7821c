"""Metrics after a ruling about another definition: each row is of one definition of record, and says which.

A first version predicts for four days and a second one afterwards; days of both are restated in another definition.
"""

import json
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from restatement_case import (
    DAY_MS,
    HALF,
    HOUR_MS,
    KNOWN,
    OTHER,
    ROWS,
    START_MS,
    add_days,
    log_of,
    make_loop,
    restating_labels,
    rule,
    truth_of,
    views_agree,
)

from lake import Claim, Lake
from lake.session import connect
from monitor.cells import plan
from monitor.coverage.table import coverage
from monitor.metrics.table import mature_until_at_age, metrics
from retrain.episode_status import rulings_of
from schemas.events.backfill import Verdict
from truthloop.config.settings import Settings
from truthloop.evidence.cells import read_evidence
from truthloop.feedback.live_metrics import LiveMetricsReader
from truthloop.feedback.reconcile import Reconciler
from truthloop.page.gather import Gatherer
from truthloop.page.markup.page import render_page
from truthloop.page.panels.tables import table_of
from truthloop.page.panels.view import Selection
from truthloop.terminal.tables import metric_tables

OWN = "f1"
VERSIONS = {"v1": range(4), "v2": range(4, KNOWN + 1)}
RESTATED = range(2, 6)
FINAL = range(KNOWN - 1)
"""Days whose outcomes are all final."""
SHARE = 4
"""One of so many restated labels is another one than before."""

Found = dict[tuple[str, str], tuple[int, int, float | None]]
"""By version and definition: predictions, labelled, accuracy."""


@pytest.fixture(scope="module")
def restated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loop while the backfill waits for a ruling."""
    folder = tmp_path_factory.mktemp("restated")
    settings = make_loop(folder)
    add_days(settings, (0, 4))
    add_days(settings, (4, KNOWN), version="v2")
    labels = restating_labels(RESTATED, (KNOWN, 3), SHARE, definition=OTHER)
    add_days(settings, (KNOWN, KNOWN + 1), labels, version="v2")
    Reconciler(settings, lambda: START_MS).run()
    return folder


def ruled(restated: Path, into: Path, *verdicts: Verdict) -> Settings:
    """Return a copy of the loop after these rulings about the backfill."""
    for name in ("lake", *(path.name for path in restated.glob("*.jsonl"))):
        copy = shutil.copytree if name == "lake" else shutil.copy
        copy(restated / name, into / name)
    settings = make_loop(into)
    [episode] = {one.episode.id: one.episode for one in log_of(settings) if one.episode is not None}.values()
    for verdict in verdicts:
        rule(settings, episode, verdict)
        read_evidence(settings)
    return settings


def expected(folder: Path, days: Iterable[int], *, is_approved: bool) -> Found:
    """Count the files row by row."""
    rows = [json.loads(line) for path in folder.glob("predictions-*.jsonl") for line in path.read_text().splitlines()]
    hits: dict[tuple[str, str], list[bool | None]] = {}
    for row in rows:
        day, number = map(int, row["key"].split("-"))
        if day not in days:
            continue
        label = truth_of(number) if number < HALF or not 2 <= day <= 6 else None
        definition = OWN
        if is_approved and day in RESTATED and number < HALF:
            label, definition = truth_of(number) ^ (number % SHARE == 0), OTHER
        is_hit = None if label is None else (row["outputs"]["fraud"] >= 0.5) == (label == 1)
        hits.setdefault((row["version"], definition), []).append(is_hit)
    found: Found = {}
    for key, each in hits.items():
        known = [one for one in each if one is not None]
        found[key] = (len(each), len(known), sum(known) / len(known) if known else None)
    return found


def by_version(rows: pl.DataFrame) -> Found:
    """Return the accuracies that rows of metrics have."""
    mine = rows.filter(pl.col("name") == "accuracy")
    return {(row["version"], row["definition"]): _numbers(row) for row in mine.iter_rows(named=True)}


def _numbers(row: dict[str, float]) -> tuple[int, int, float | None]:
    return int(row["predictions"]), int(row["labelled"]), pytest.approx(row["value"])


def final_metrics(settings: Settings, by: list[str], at_age_ms: int | None = None) -> pl.DataFrame:
    """Return the metrics of the days that are final."""
    evidence = read_evidence(settings)
    reach = evidence.reach
    until = reach.matured_until_ms
    if at_age_ms is not None:
        until = mature_until_at_age(reach.observed_until_ms, at_age_ms)
    cells = evidence.cells.whole().filter(pl.col("day") < pl.date(2023, 11, 20 + len(FINAL)))
    return metrics(cells, evidence.plan, by, until, at_age_ms=at_age_ms)  # type: ignore[arg-type] # names of dimensions


@pytest.mark.parametrize(
    "verdicts", [(), (Verdict.REJECTED,), (Verdict.APPROVED,), (Verdict.APPROVED, Verdict.REJECTED)]
)
def test_each_row_is_of_one_definition_and_what_is_not_of_record_has_none(
    restated: Path, tmp_path: Path, verdicts: tuple[Verdict, ...]
) -> None:
    """By version and by day, in the table and in the view; each prediction is in one row, and all rows become final."""
    settings = ruled(restated, tmp_path, *verdicts)
    is_approved = verdicts[-1:] == (Verdict.APPROVED,)
    wanted = expected(tmp_path, FINAL, is_approved=is_approved)
    found = final_metrics(settings, ["version"])
    assert by_version(found) == wanted
    assert {definition for _, definition in wanted} == ({OWN, OTHER} if is_approved else {OWN})
    assert sum(predictions for predictions, _, _ in wanted.values()) == len(FINAL) * ROWS
    statuses = set(found.filter(pl.col("value").is_not_null()).select("definition", "status").iter_rows())
    assert statuses == {(OWN, "mature"), *([(OTHER, "revised")] if is_approved else [])}
    evidence = views_agree(settings)  # by day: the view `metrics` and the table have the same rows
    reach = evidence.reach
    of_day = coverage(evidence.cells.whole(), evidence.plan, reach.observed_until_ms, reach.matured_until_ms)
    assert of_day.filter(pl.col("day") == pl.date(2023, 11, 22))["labelled"].max() == HALF
    with connect(settings.lake) as views:
        query = "SELECT version, definition, sum(predictions), sum(labelled) FROM metrics WHERE day < ? GROUP BY ALL"
        rows = views.execute(query, [f"2023-11-{20 + len(FINAL)}"]).fetchall()
    assert {(version, definition): tuple(map(int, counts)) for version, definition, *counts in rows} == {
        key: (predictions, labelled) for key, (predictions, labelled, _) in wanted.items()
    }


def test_at_an_age_the_labels_of_that_age_count_under_their_own_definition(restated: Path, tmp_path: Path) -> None:
    """The backfill was not known then: the rows are those of before, but say that the labels changed afterwards."""
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = final_metrics(ruled(restated, tmp_path / "before"), ["version"], 6 * HOUR_MS)
    after = final_metrics(ruled(restated, tmp_path / "after", Verdict.APPROVED), ["version"], 6 * HOUR_MS)
    assert before.drop("status", "revised").equals(after.drop("status", "revised"))
    assert set(after["definition"]) == {OWN}
    assert by_version(before) == expected(tmp_path / "before", FINAL, is_approved=False)
    changed = len(RESTATED) * HALF // SHARE
    assert (set(before["status"]), before.filter(pl.col("name") == "accuracy")["revised"].sum()) == ({"mature"}, 0)
    assert (set(after["status"]), after.filter(pl.col("name") == "accuracy")["revised"].sum()) == ({"revised"}, changed)


def test_terminal_page_and_live_metrics_name_the_definition(restated: Path, tmp_path: Path) -> None:
    """A table each in the terminal, a line each on the page and in its CSV, a series each for Prometheus."""
    settings = ruled(restated, tmp_path, Verdict.APPROVED)
    titles = [table.title for table in metric_tables(final_metrics(settings, ["version"]), ["version"])]
    assert titles == [f"fraud ({OWN})", f"fraud ({OTHER})"]
    gatherer = Gatherer(settings, lambda: START_MS + (KNOWN + 1) * DAY_MS, wait_s=60.0)
    view = gatherer.view(Selection("fraud", metric="accuracy"))
    wanted = {(version, definition) for version, definition in expected(tmp_path, range(KNOWN + 1), is_approved=True)}
    assert {(one.version, one.definition) for one in view.metric.series} == wanted
    html = render_page(view)
    assert f"v1 ({OTHER})" in html
    assert f"v1 ({OWN})" not in html
    columns, rows = table_of(view, "metric")
    first, second = columns.index("version"), columns.index("definition")
    assert {(row[first], row[second]) for row in rows if row[columns.index("status")] != "running"} == wanted
    live = LiveMetricsReader(Lake.open(settings.lake), read_evidence(settings).plan)
    live.update(rulings_of(log_of(settings)))
    values = live.metrics.values()
    for (version, definition), (_, _, accuracy) in expected(tmp_path, range(KNOWN + 1), is_approved=True).items():
        assert values[version, "fraud", definition, "accuracy"] == pytest.approx(accuracy)


def test_a_lake_of_the_version_before_is_counted_anew(
    restated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells have the labels of an approved definition under the config's heading."""
    settings = ruled(restated, tmp_path, Verdict.APPROVED)
    with monkeypatch.context() as before:
        before.setattr(plan, "_FORMAT", 10)
        digest = plan.CellPlan.from_config(settings.config).digest
    lake = Lake.open(settings.lake)
    commits = lake.applied("cells", "cells")
    rows = lake.scan("cells").drop("recorded_on", "recorded_at").collect()
    mixed = rows.with_columns(definition=pl.lit(OWN), plan=pl.lit(digest))
    recorded_at = datetime.fromtimestamp(START_MS / 1_000, UTC)
    assert lake.replace("cells", mixed, [Claim("cells", commits, commits + 1)], recorded_at=recorded_at)
    assert by_version(final_metrics(settings, ["version"])) == expected(tmp_path, FINAL, is_approved=True)


def test_a_young_day_of_two_definitions_has_no_bounds_of_an_estimate(restated: Path, tmp_path: Path) -> None:
    """An estimate is of all labels of record, so it is of neither definition; a day of one definition has one."""
    found = []
    for name, numbers in (("one", []), ("two", [KNOWN + 1])):
        (tmp_path / name).mkdir()
        settings = ruled(restated, tmp_path / name, Verdict.APPROVED)
        labels = restating_labels(numbers, (KNOWN + 1, 19), SHARE, definition=OTHER)
        add_days(settings, (KNOWN + 1, KNOWN + 2), labels, version="v2")
        gatherer = Gatherer(settings, lambda: START_MS + (KNOWN + 2) * DAY_MS, wait_s=60.0)
        series = gatherer.view(Selection("fraud", metric="accuracy")).metric.series
        day = max(point.day for one in series for point in one.points)
        newest = [(one.definition, point) for one in series for point in one.points if point.day == day]
        assert {point.status for _, point in newest} == {"provisional"}
        found.append({definition: point.least is not None for definition, point in newest})
    assert found == [{OWN: True}, {OWN: False, OTHER: False}]
