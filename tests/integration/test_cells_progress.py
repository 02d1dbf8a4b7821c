"""Up to where the cells count: exact while lakes grow partition by partition, whoever refreshes them and when.

Covers `truthloop.evidence.lake_cells`, `truthloop.evidence.cell_runs` and `truthloop.evidence.recount`.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Event, get_ident

import polars as pl
import pytest
from live_lake import RECORDED_AT, LiveLake, assert_same, recounted_evidence, settings_of
from replay_case import CLOSE_MS, CONFIG, START_MS, run, write_files

from lake import Claim, Lake, connect
from monitor.cells.packing import CELL_SCHEMA
from monitor.cells.plan import CellPlan
from monitor.cells.summary import SUMMARY_DAY
from monitor.coverage.table import coverage
from schemas.errors import LakeError
from streams.ledger.row import ledger_frame
from streams.ledger.table import newest_rows
from streams.replay import sorted_input
from truthloop.evidence import cell_runs, recount
from truthloop.evidence import cells as evidence
from truthloop.evidence.cells import Evidence, read_evidence
from truthloop.evidence.lake_cells import LakeCells, scored_labels

HOUR_MS = 3_600_000


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveLake:
    """Return an empty live lake, to be filled in many steps."""
    monkeypatch.setattr(sorted_input, "ROWS_PER_SLICE", 12)
    files = write_files(tmp_path, count=80)
    run(tmp_path / "replayed", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    return LiveLake(tmp_path / "replayed", tmp_path / "live", CONFIG)


def counted(lake: Lake) -> dict[int, int]:
    """Return up to which step of each partition the cells count."""
    return {number: lake.applied("cells", f"cells:{number}") for number in range(CONFIG.partitions)}


@pytest.mark.parametrize(("records_max", "runs_max", "run_rows_max"), [(250_000, 32, 50_000), (3, 2, 1), (11, 5, 400)])
def test_cells_that_follow_a_live_lake_are_those_of_one_fold(
    live: LiveLake, monkeypatch: pytest.MonkeyPatch, records_max: int, runs_max: int, run_rows_max: int
) -> None:
    """However far each partition has come when they are refreshed: chains go on over steps and refreshes.

    And however many records are counted at a time, and whenever files are added up.
    """
    for module in (evidence, recount):
        monkeypatch.setattr(module, "RECORDS_MAX", records_max)
    monkeypatch.setattr(cell_runs, "RUNS_MAX", runs_max)
    monkeypatch.setattr(cell_runs, "RUN_ROWS_MAX", run_rows_max)
    settings = settings_of(live.lake.path)
    followed: Evidence | None = None
    for portion in range(1, 100):
        steps = {number: min(live.left(number), (portion + number) % 4) for number in live.partitions}
        live.advance(steps)
        followed = read_evidence(settings, followed if portion % 3 else None)
        if portion % 5 == 0:
            assert_same(followed, one_fold(live))
        if not any(live.left(number) for number in live.partitions):
            break
    assert_same(read_evidence(settings), one_fold(live))
    assert_same(read_evidence(settings), recounted_evidence(live.lake.path))
    rows = {number: row.sequence + 1 for number, row in newest_rows(live.lake).items()}
    assert len(set(rows.values())) > 1
    assert {number: live.lake.applied("cells", f"cells:{number}") for number in rows} == rows


def one_fold(live: LiveLake) -> Evidence:
    """Return the evidence of a lake that is counted for the first time, all of it at once."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (evidence, recount):
            patch.setattr(module, "RECORDS_MAX", 1_000_000)
        return recounted_evidence(live.lake.path)


def test_a_refresh_with_nothing_new_writes_nothing(live: LiveLake) -> None:
    """Looking is not changing."""
    live.advance({0: 5, 2: 3})
    read_evidence(settings_of(live.lake.path))
    version = live.lake.version("cells")
    read_evidence(settings_of(live.lake.path))
    assert live.lake.version("cells") == version


def test_steps_that_bring_no_cells_are_not_looked_at_again(live: LiveLake) -> None:
    """The positions move without rows."""
    live.advance({number: live.left(number) for number in live.partitions})
    settings = settings_of(live.lake.path)
    cells = read_evidence(settings).cells.whole()
    row = newest_rows(live.lake)[1]
    later = replace(row, sequence=row.sequence + 1, predictions=(row.predictions[1],) * 2)
    claims = [Claim("ledger:1", row.sequence + 1, row.sequence + 2)]
    live.lake.append("ledger", ledger_frame([later]), claims, recorded_at=RECORDED_AT)
    assert read_evidence(settings).cells.whole().equals(cells)
    assert counted(live.lake)[1] == row.sequence + 2


def test_cells_are_made_anew_when_the_ledger_was_divided_otherwise(live: LiveLake) -> None:
    """After a repair the last steps came again in another portion: nobody can tell what was counted of it."""
    settings = settings_of(live.lake.path)
    live.advance({0: 4, 1: 2})
    read_evidence(settings)
    live.advance({0: 3})
    ledger = live.lake.scan("ledger").drop("recorded_on", "recorded_at").collect()
    before, after = (ledger.filter(pl.col("partition") == 0, pl.col("sequence") == at) for at in (3, 6))
    whole = after.with_columns(before["predictions_first"], before["labels_first"])
    rows = pl.concat([ledger.filter(pl.col("partition") == 1), whole])
    live.lake.replace("ledger", rows, [Claim("repair", 0, 1)], recorded_at=RECORDED_AT)
    assert_same(read_evidence(settings), recounted_evidence(live.lake.path))
    live.finish()
    assert_same(read_evidence(settings), recounted_evidence(live.lake.path))


def test_cells_that_are_ahead_of_the_ledger_wait_for_it(live: LiveLake) -> None:
    """After a repair of the ledger alone; only counting otherwise is refused until it has caught up."""
    settings = settings_of(live.lake.path)
    live.advance({0: 4})
    live.advance({0: 3})
    rows = live.lake.scan("ledger").drop("recorded_on", "recorded_at").collect()
    read_evidence(settings)
    live.lake.replace("ledger", rows.filter(pl.col("sequence") < 4), [Claim("repair", 0, 1)], recorded_at=RECORDED_AT)
    version = live.lake.version("cells")
    read_evidence(settings)
    assert live.lake.version("cells") == version
    other = settings.config.model_copy(update={"timezone": "Asia/Tokyo"})
    with pytest.raises(LakeError, match="counts more steps of partition 0 than the ledger has"):
        read_evidence(replace(settings, config=other))
    live.lake.replace("ledger", rows, [Claim("repair", 1, 2)], recorded_at=RECORDED_AT)
    assert_same(read_evidence(settings), recounted_evidence(live.lake.path))


def test_the_page_waits_for_the_gates_recount_and_takes_it(live: LiveLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads of one process see that cells count otherwise: one counts, in parts that it tells of."""
    settings = settings_of(live.lake.path)
    live.finish()
    read_evidence(settings)
    other = replace(settings, config=settings.config.model_copy(update={"timezone": "Asia/Tokyo"}))
    monkeypatch.setattr(recount, "RECORDS_MAX", 40)
    folded, has_begun, is_read, counts = recount.fold, Event(), Event(), list[int]()

    def counted_fold(*arguments: object) -> pl.DataFrame:
        counts.append(get_ident())
        has_begun.set()
        assert is_read.wait(60)
        return folded(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(recount, "fold", counted_fold)
    read = evidence.read_cells

    def read_by_both(*arguments: object) -> LakeCells:
        found = read(*arguments)  # type: ignore[arg-type]
        if counts and get_ident() != counts[0]:
            is_read.set()
        return found

    monkeypatch.setattr(evidence, "read_cells", read_by_both)
    parts = list[int]()
    with ThreadPoolExecutor(2) as pool:
        gate = pool.submit(read_evidence, other, None, lambda: parts.append(len(counts)))
        assert has_begun.wait(60)
        page = pool.submit(read_evidence, other)
        assert_same(gate.result(), page.result())
    assert len(set(counts)) == 1
    assert len(counts) > 3
    assert set(range(1, len(counts) + 1)) <= set(parts)


@pytest.mark.parametrize("further", [{}, {0: 2}, {1: 2, 2: 1}])
def test_two_refreshes_at_once_count_nothing_twice(
    live: LiveLake, monkeypatch: pytest.MonkeyPatch, further: dict[int, int]
) -> None:
    """Another process refreshes while this one counts: the same steps, or more, or other ones."""
    settings = settings_of(live.lake.path)
    live.advance({0: 3})
    read_evidence(settings)
    live.advance({0: 2} if 1 in further else {0: 1, 1: 1})
    fold, calls = evidence.fold, []

    def late(*arguments: pl.DataFrame) -> pl.DataFrame:
        monkeypatch.setattr(evidence, "fold", fold)
        live.advance(further)
        read_evidence(settings)
        calls.append(counted(live.lake))
        return fold(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(evidence, "fold", late)
    beaten = read_evidence(settings)  # how far the inputs are read is said as of its begin
    assert beaten.cells.whole().equals(recounted_evidence(live.lake.path).cells.whole())
    assert len(calls) == 1
    assert_same(read_evidence(settings), recounted_evidence(live.lake.path))
    live.finish()
    assert_same(read_evidence(settings), recounted_evidence(live.lake.path))


def test_a_refresh_under_another_config_at_the_same_time_loses_nothing(
    live: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One counts for another time zone while this one adds its cells: whoever comes second starts again."""
    settings = settings_of(live.lake.path)
    other = replace(settings, config=settings.config.model_copy(update={"timezone": "Asia/Tokyo"}))
    live.advance({0: 3, 1: 3})
    read_evidence(settings)
    live.advance({0: 1})
    fold = evidence.fold

    def late(*arguments: pl.DataFrame) -> pl.DataFrame:
        monkeypatch.setattr(evidence, "fold", fold)
        read_evidence(other)
        return fold(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(evidence, "fold", late)
    assert_same(read_evidence(settings), recounted_evidence(live.lake.path))
    assert live.lake.scan("cells").select(pl.col("plan").n_unique()).collect().item() == 1


def test_another_config_counts_everything_again_and_goes_on_from_there(live: LiveLake) -> None:
    """With nothing new in some partitions and something in others."""
    settings = settings_of(live.lake.path)
    other = replace(settings, config=settings.config.model_copy(update={"timezone": "Asia/Tokyo"}))
    live.advance({0: 9, 1: 6})
    first = read_evidence(settings)
    moved = read_evidence(other)
    assert moved.cells.whole()["day"].to_list() != first.cells.whole()["day"].to_list()
    assert_same(read_evidence(settings), first)
    live.advance({1: 2, 2: 4})
    read_evidence(other)
    live.advance({0: 1})
    assert_same(read_evidence(settings), recounted_evidence(live.lake.path))


def test_the_table_does_not_grow_with_the_number_of_refreshes(live: LiveLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has few files, each with rows of few days, and in the end hardly more rows than there are cells."""
    monkeypatch.setattr(cell_runs, "RUNS_MAX", 3)
    settings = settings_of(live.lake.path)
    found: Evidence | None = None
    while any(live.left(number) for number in live.partitions):
        live.advance({number: 1 for number in live.partitions if live.left(number)})
        found = read_evidence(settings, found)
        files = found.cells.state.files
        merged = sorted((one.first, one.last) for one in files if one.is_merged)
        assert len(files) - len(merged) <= 3
        assert all(before[1] < after[0] for before, after in pairwise(merged))
    assert found is not None
    assert_same(found, recounted_evidence(live.lake.path))
    assert sum(one.rows for one in found.cells.state.files) < 2 * found.cells.whole().height


def test_only_days_that_have_changed_are_written_again(live: LiveLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a day stays while labels of other days come, however often files are added up."""
    monkeypatch.setattr(cell_runs, "RUNS_MAX", 0)
    settings = settings_of(live.lake.path)
    live.advance({number: live.left(number) // 2 for number in live.partitions})
    before = read_evidence(settings)
    live.advance({0: 1})
    after = read_evidence(settings, before)
    steps = pl.col("partition").eq(0) & pl.col("sequence").eq(counted(live.lake)[0] - 1)
    touched = live.lake.scan("outcomes").filter(steps).collect()["predicted_at"].dt.date().to_list()
    touched += live.lake.scan("outcomes").filter(steps).collect()["known_at"].dt.date().to_list()
    made = live.lake.scan("predictions").filter(pl.col("partition") == 0).sort("offset").collect()["predicted_at"]
    touched += [made.dt.date()[-1], SUMMARY_DAY]
    old = {one.path: one for one in before.cells.state.files}
    replaced = [one for path, one in old.items() if path not in {new.path for new in after.cells.state.files}]
    assert len(old) > len(replaced)
    assert all(any(one.first <= day <= one.last for day in touched) for one in replaced)


def test_a_merge_that_another_process_has_made_is_not_made_again(
    live: LiveLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both want to replace the same files: one does, and nothing is there twice."""
    settings = settings_of(live.lake.path)
    for portion in range(4):
        live.advance({portion % 2: 1})
        read_evidence(settings)
    known = read_evidence(settings).cells
    table = live.lake.by_day("cells")
    monkeypatch.setattr(cell_runs, "RUNS_MAX", 0)
    assert cell_runs.merge_runs(table, known.state, known.admitted(CellPlan.from_config(CONFIG)), RECORDED_AT)
    assert not cell_runs.merge_runs(table, known.state, CellPlan.from_config(CONFIG), RECORDED_AT)
    assert_same(read_evidence(settings), recounted_evidence(live.lake.path))


def test_labels_by_score_are_read_of_days_and_not_of_the_summary_beside_them() -> None:
    """A fold moves them into rank bins: those of the summary follow from the days, and would move twice."""
    key = {"version": "v1", "slice": "", "kind": "click", "definition": "c1", "measure": "score_1", "bin": 7}
    days = [SUMMARY_DAY, SUMMARY_DAY + timedelta(days=1), SUMMARY_DAY + timedelta(days=1)]
    rows = [key | {"day": day, "amount": 2} for day in days] + [key | {"day": days[1], "version": "v2", "amount": 1}]
    cells = pl.DataFrame(rows).select(pl.col(name).cast(dtype) for name, dtype in CELL_SCHEMA.items())
    found = scored_labels(cells.lazy(), [("click", "v1")])
    assert found.select("version", "day", "bin", "amount").rows() == [("v1", days[1], 7, 4)]


def test_a_recount_that_is_cut_off_changes_nothing(live: LiveLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is visible before all of it is counted, and no file of it stays."""
    monkeypatch.setattr(recount, "RECORDS_MAX", 3)
    settings = settings_of(live.lake.path)
    other = replace(settings, config=settings.config.model_copy(update={"timezone": "Asia/Tokyo"}))
    for _ in range(6):
        live.advance({0: 1, 1: 1})
    before = read_evidence(settings)
    files = sorted((live.lake.path / "cells").rglob("*.parquet"))
    fold, calls = recount.fold, []

    def failing(*arguments: pl.DataFrame) -> pl.DataFrame:
        calls.append(len(sorted((live.lake.path / "cells").rglob("*.parquet"))))
        if len(calls) > 3:
            raise MemoryError
        return fold(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(recount, "fold", failing)
    with pytest.raises(MemoryError):
        read_evidence(other)
    assert calls[-1] > len(files)
    assert sorted((live.lake.path / "cells").rglob("*.parquet")) == files
    assert_same(read_evidence(settings), before)
    monkeypatch.setattr(recount, "fold", fold)
    assert read_evidence(other).cells.whole()["day"].to_list() != before.cells.whole()["day"].to_list()


def test_days_long_past_come_to_share_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the loop goes on, and where it is counted anew; days with many rows keep files of their own."""
    monkeypatch.setattr(cell_runs, "RUNS_MAX", 0)
    monkeypatch.setattr(cell_runs, "SHARED_FILES_MIN", 3)
    lake = tmp_path / "lake"
    days = [0, 1, 2, 5, 35, 40, 41, 110, 111, 112]
    for number, day in enumerate(days):
        time = START_MS + day * 24 * HOUR_MS
        paths = []
        keys = [f"k{number}.{place}" for place in range(40 if day == 5 else 1)]
        records = {
            "predictions": {"version": "v1", "time": time, "outputs": {"click": 0.7, "sale": 1.0}},
            "labels": {"kind": "click", "value": 1, "time": time + 60_000},
        }
        for name, record in records.items():
            paths.append(tmp_path / f"{name}-{number}.jsonl")
            paths[-1].write_text("".join(json.dumps(record | {"key": key}) + "\n" for key in keys), "utf-8")
        run(lake, paths[:1], paths[1:], close_at_ms=time + 25 * HOUR_MS)
        found = read_evidence(settings_of(lake))
        if number == 0:
            rows = max(one.rows for one in found.cells.state.files)
            monkeypatch.setattr(cell_runs, "SHARED_ROWS_MAX", 4 * rows)
    assert_same(found, recounted_evidence(lake))
    settings = settings_of(lake)
    moved = read_evidence(replace(settings, config=settings.config.model_copy(update={"timezone": "Asia/Tokyo"})))
    first = datetime.fromtimestamp(START_MS / 1000, UTC).date()
    for cells in (found.cells, moved.cells):
        spans = sorted((one.first, one.last) for one in cells.state.files if one.is_merged)
        assert all(before[1] < after[0] for before, after in pairwise(spans))
        old = [span for span in spans if SUMMARY_DAY < span[0] < first + timedelta(days=80)]
        assert len(old) < 7
        assert spans[-1][0] == spans[-1][1] >= first + timedelta(days=112)


def test_days_that_are_replayed_at_once_share_files_from_the_first_merge_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days long past, and none with days of a file that stands between them."""
    monkeypatch.setattr(cell_runs, "RUNS_MAX", 0)
    lake, found = tmp_path / "lake", None
    for night, days in enumerate([[40], [0, 1, 2, 60, 61, 110, 111]]):
        predictions, labels = [], []
        for day in days:
            time = START_MS + day * 24 * HOUR_MS
            said = {"key": f"k{day}", "version": "v1", "time": time, "outputs": {"click": 0.7, "sale": 1.0}}
            predictions.append(said)
            labels.append({"key": f"k{day}", "kind": "click", "value": 1, "time": time + 60_000})
        paths = [tmp_path / f"predictions-{night}.jsonl", tmp_path / f"labels-{night}.jsonl"]
        for path, rows in zip(paths, (predictions, labels), strict=True):
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        run(lake, paths[:1], paths[1:], close_at_ms=None)
        found = read_evidence(settings_of(lake), found)
    assert found is not None
    assert_same(found, recounted_evidence(lake))
    first = datetime.fromtimestamp(START_MS / 1000, UTC).date()
    spans = sorted((one.first, one.last) for one in found.cells.state.files if one.is_merged and one.first >= first)
    numbers = [((one - first).days, (last - first).days) for one, last in spans]
    assert numbers == [(0, 2), (40, 40), (60, 61), (110, 110), (111, 111)]


def test_an_id_that_is_used_again_is_another_prediction(tmp_path: Path) -> None:
    """Its outcome does not take the place of the first one's: the cells say what the views say."""
    lake = tmp_path / "lake"
    for night in range(2):
        time = START_MS + night * 30 * HOUR_MS
        said = {"key": "a", "version": "v1", "time": time, "outputs": {"click": 0.7, "sale": 1.0}}
        came = {"key": "a", "kind": "click", "value": night, "time": time + 60_000}
        paths = []
        for name, record in (("predictions", said), ("labels", came)):
            paths.append(tmp_path / f"{name}-{night}.jsonl")
            paths[-1].write_text(json.dumps(record) + "\n", "utf-8")
        run(lake, paths[:1], paths[1:], close_at_ms=time + 25 * HOUR_MS)
        found = read_evidence(settings_of(lake))
    rows = coverage(found.cells.whole(), found.plan, found.reach.observed_until_ms, found.reach.matured_until_ms)
    wanted = ["day", "kind", "age_ms", "predictions", "labelled"]
    with connect(lake) as views:
        seen = views.sql("FROM coverage").pl().select(wanted).sort(wanted)
    assert seen.filter(pl.col("kind") == "click")["labelled"].to_list() == [1, 1]
    assert rows.filter(pl.col("slice") == "").select(wanted).sort(wanted).rows() == seen.rows()
