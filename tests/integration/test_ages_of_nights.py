"""What was known at an age, by cells and by SQL, from files that were read in one run or night by night.

It goes through `truthloop.evidence.proof` and `truthloop.evidence.outcomes`.
"""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from live_lake import RECORDED_AT, assert_same, recounted_evidence, settings_of
from replay_case import CONFIG, START_MS, run

from lake import Claim, Lake, connect
from monitor.coverage.table import coverage
from monitor.metrics.table import mature_until_at_age, metrics
from schemas.config.loop import LoopConfig
from truthloop.evidence.cells import Evidence, read_evidence

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
CLOSE_MS = START_MS + 60 * HOUR_MS
AGED = LoopConfig.model_validate(
    CONFIG.model_dump(mode="json", by_alias=True)
    | {"evaluate_at": ["1h", "final"], "cohorts": {"ages": ["1h", "2h"]}, "metrics": {"click": ["accuracy"]}}
)


def _written(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(params=["one run", "two nights", "labels before predictions"])
def lake(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a lake of 20 predictions, 8 of them with a label half an hour after the deadline, which implies 0."""
    made = [{"key": f"k{number}", "time": START_MS, "version": "v1", "outputs": {"click": 0.1}} for number in range(20)]
    labels = [
        {"key": f"k{number}", "kind": "click", "value": 1, "time": START_MS + 90 * MINUTE_MS} for number in range(8)
    ]
    predictions, late = _written(tmp_path / "p.jsonl", made), _written(tmp_path / "l.jsonl", labels)
    path = tmp_path / "lake"
    if request.param == "one run":
        run(path, [predictions], [late], close_at_ms=CLOSE_MS, config=AGED)
    elif request.param == "two nights":
        run(path, [predictions], [], close_at_ms=START_MS + 80 * MINUTE_MS, config=AGED)
        assert _evidence(path).cells.whole().filter(pl.col("measure") == "labels")["amount"].sum() > 0
        run(path, [], [late], close_at_ms=CLOSE_MS, config=AGED)
    else:
        run(path, [], [late], config=AGED)
        run(path, [predictions], [], config=AGED)
        _evidence(path)  # counts the late labels before their deadlines are proven
        run(path, [], [_written(tmp_path / "end.jsonl", [_heartbeat()])], close_at_ms=CLOSE_MS, config=AGED)
    return path


def _heartbeat() -> dict[str, object]:
    return {"kind": "click", "op": "heartbeat", "time": START_MS + 50 * HOUR_MS}


def _evidence(path: Path) -> Evidence:
    return read_evidence(replace(settings_of(path), config=AGED))


def test_late_labels_count_as_the_implied_value_until_they_came(lake: Path) -> None:
    """At the deadline all 20 are 0; now 8 of them are 1."""
    found = _evidence(lake)
    observed = found.reach.observed_until_ms
    until = mature_until_at_age(observed, HOUR_MS)
    at_age = metrics(found.cells.whole(), found.plan, "day", until, at_age_ms=HOUR_MS)
    final = metrics(found.cells.whole(), found.plan, "day", found.reach.matured_until_ms)
    columns = ("value", "n", "labelled", "status", "revised")
    rows = [table.filter(pl.col("kind") == "click").select(columns).row(0) for table in (at_age, final)]
    assert rows == [(1.0, 20, 20, "revised", 8), (0.6, 20, 20, "revised", 8)]
    ones = {
        measure: found.cells.whole().filter(pl.col("measure") == measure, pl.col("slice") == "")["amount"].sum()
        for measure in (f"score_0@{HOUR_MS}", f"score_1@{HOUR_MS}", "score_0", "score_1")
    }
    assert list(ones.values()) == [20, 0, 12, 8]
    of_click = coverage(found.cells.whole(), found.plan, observed, found.reach.matured_until_ms).filter(
        pl.col("kind") == "click", pl.col("slice") == "", pl.col("age_ms") == HOUR_MS
    )
    assert of_click.select("labelled", "coverage").rows() == [(20, 1.0)]
    assert found.cells.whole().equals(_recounted(lake))


def _recounted(path: Path) -> pl.DataFrame:
    """Return the cells of a fold of the whole lake, after those of another plan."""
    lake = Lake.open(path)
    commits = lake.applied("cells", "cells")
    rows = lake.scan("cells").drop("recorded_on", "recorded_at").collect().with_columns(plan=pl.lit("before"))
    claims = [Claim("cells", commits, commits + 1)]
    lake.replace("cells", rows.with_columns(amount=pl.lit(7, dtype=pl.Int64)), claims, recorded_at=RECORDED_AT)
    return _evidence(path).cells.whole()


def test_sql_says_the_same(lake: Path) -> None:
    """Coverage counts from the deadline on, and an earlier time shows what was known then."""
    with connect(lake) as connection:

        def ask(query: str) -> list[tuple[object, ...]]:
            return connection.sql(query).fetchall()

        of_click = "FROM coverage WHERE kind = 'click' AND age_ms = 3600000"
        assert ask(f"SELECT labelled, coverage {of_click}") == [(20, 1.0)]
        then = f"scored_at(make_timestamptz({1000 * (START_MS + 75 * MINUTE_MS)}))"
        query = f"SELECT status, value, value_age_ms, count(*) FROM {then} WHERE kind = 'click' GROUP BY ALL"  # noqa: S608 - fixed
        assert ask(query) == [("implied", 0.0, HOUR_MS, 20)]
        now = "SELECT status, value, value_age_ms, count(*) FROM scored WHERE kind = 'click' GROUP BY ALL ORDER BY ALL"
        assert ask(now) == [("implied", 0.0, HOUR_MS, 12), ("joined", 1.0, HOUR_MS, 8)]


def test_cells_that_followed_are_those_of_one_fold(tmp_path: Path) -> None:
    """A deadline that is proven long after its late label was counted adds the implied value then."""
    made = [{"key": f"k{number}", "time": START_MS, "version": "v1", "outputs": {"click": 0.1}} for number in range(3)]
    label = {"key": "k0", "kind": "click", "value": 1, "time": START_MS + 90 * MINUTE_MS}
    path = tmp_path / "lake"
    run(path, [_written(tmp_path / "p.jsonl", made)], [_written(tmp_path / "l.jsonl", [label])])
    before = read_evidence(settings_of(path)).cells.whole().filter(pl.col("measure") == "revised")
    run(path, [], [_written(tmp_path / "h.jsonl", [_heartbeat()])], close_at_ms=CLOSE_MS)
    after = read_evidence(settings_of(path))
    revised = after.cells.whole().filter(pl.col("measure") == "revised", pl.col("slice") == "")
    assert (before.height, revised["amount"].sum()) == (0, 1)
    assert_same(after, recounted_evidence(path))
