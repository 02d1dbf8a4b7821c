"""The table `scored`: which days it holds, when it gives them back, and who reads it."""

import json
import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from lake_builder import RECORDED_AT, LakeBuilder, hour, loop_config, ms

from lake import closed_days, due_days
from lake.closed_days import ClosedStep, close_days, days_due
from lake.session import connect
from schemas.errors import LakeConflict

NOW = datetime(2026, 3, 9, tzinfo=UTC)
FIRST = date(2026, 3, 1)
CLOSED = [date(2026, 3, day) for day in (1, 2, 3)]


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeBuilder:
    """Return a lake with two predictions on each of five days, three of which are closed, as is recorded days later."""
    builder = LakeBuilder(tmp_path / "lake")
    for number in range(10):
        at = 12 * number
        builder.predict(f"k{number}", at, number).outcome(
            f"k{number}", "joined", at + 1, number, predicted_at=hour(at), prediction_offset=number, value=1.0
        )
    monkeypatch.setattr("lake_builder.RECORDED_AT", RECORDED_AT + timedelta(days=3))
    return entry(builder, 1)


def entry(builder: LakeBuilder, sequence: int, floor: float = 72, ended: float = 0) -> LakeBuilder:
    """Append a step of the ledger: all days before the floor are closed by it, and those before `ended` have ended."""
    consumed = json.dumps({"predictions": {"consumed": 10}})
    passed = {"floor": hour(floor), "predictions_next": 10, "cursors": json.dumps({"fraud": [ms(max(floor, 90)), 9]})}
    return builder.entry(sequence, 108, counters=consumed, marks=json.dumps({"predictions": ms(ended)}), **passed)


def close(builder: LakeBuilder) -> list[ClosedStep]:
    """Bring the table up to date."""
    return list(close_days(builder.lake.path, NOW))


def held(builder: LakeBuilder) -> dict[date, int]:
    """Return the days of the table with their numbers of rows, as an engine reads them that knows only Delta."""
    rows = pl.scan_delta(builder.lake.path / "scored").group_by("day").len().collect()
    found = dict(sorted(rows.rows()))
    dataset = DeltaTable(str(builder.lake.path / "scored")).to_pyarrow_dataset()
    assert dataset.count_rows() == sum(found.values())
    return found


def closed_until(builder: LakeBuilder) -> date | None:
    """Return what the view says."""
    with connect(builder.lake.path) as connection:
        return connection.sql("FROM closed_until").fetchall()[0][0]


def test_days_before_the_floor_are_written_once(builder: LakeBuilder) -> None:
    """Together, because they are few rows; afterwards nothing is due."""
    assert closed_until(builder) is None
    assert close(builder) == [ClosedStep(FIRST, CLOSED[-1], 6)]
    assert held(builder) == dict.fromkeys(CLOSED, 2)
    assert closed_until(builder) == CLOSED[-1]
    assert close(builder) == []


@pytest.mark.parametrize("cursor", [ms(71), None])
def test_a_day_is_open_until_every_deadline_of_its_is_decided(tmp_path: Path, cursor: int | None) -> None:
    """Without a cursor nothing is known of them."""
    builder = LakeBuilder(tmp_path / "lake").predict("a", 0, 0)
    consumed = json.dumps({"predictions": {"consumed": 1}})
    cursors = json.dumps({"fraud": [cursor, 9]} if cursor else {})
    builder.entry(1, 108, counters=consumed, floor=hour(90), predictions_next=1, cursors=cursors)
    builder.entry(1, 108, partition=1, counters=consumed, floor=hour(9), predictions_next=1, cursors=cursors)
    assert close(builder) == []


def test_what_is_due_is_named_and_not_done(builder: LakeBuilder) -> None:
    """New days, files to take back, and a draft that is closed with the days before it; each with its rows."""
    assert days_due(builder.lake.path) == [ClosedStep(FIRST, CLOSED[-1], 6)]
    assert held(builder) == {}
    close(entry(builder, 2, ended=96))
    assert days_due(builder.lake.path) == []
    correct(builder, 0, 3, value=0.0)
    assert days_due(entry(builder, 3, ended=96).lake.path) == [
        ClosedStep(FIRST, CLOSED[-1], 0),
        ClosedStep(FIRST, CLOSED[-1], 6),
    ]
    close(builder)
    assert days_due(entry(builder, 4, floor=96, ended=96).lake.path) == [ClosedStep(FIRST, ENDED, 8)]


def test_small_files_grow_until_they_are_large(builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that comes later goes into the file of the days before, as long as there is room; no step is larger."""
    monkeypatch.setattr(due_days, "ROWS_PER_FILE", 4)
    assert [step.rows for step in close(builder)] == [4, 2]
    entry(builder, 2, floor=96)
    assert close(builder) == [ClosedStep(CLOSED[-1], date(2026, 3, 4), 4)]
    assert held(builder) == dict.fromkeys([*CLOSED, date(2026, 3, 4)], 2)


def test_what_comes_later_takes_its_day_back(builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the views, then the table; the next step writes the day as it is now, and other files stay."""
    monkeypatch.setattr(due_days, "ROWS_PER_FILE", 2)
    close(builder)
    builder.outcome("k2", "joined", 26, 20, predicted_at=hour(24), prediction_offset=2, value=0.0, sequence=2)
    entry(builder, 2)
    assert closed_until(builder) == FIRST
    assert close(builder) == [ClosedStep(CLOSED[1], CLOSED[1], 0), ClosedStep(CLOSED[1], CLOSED[1], 2)]
    rows = pl.read_delta(str(builder.lake.path / "scored")).filter(pl.col("key") == "k2")
    assert rows["value"].to_list() == [0.0]
    assert closed_until(builder) == CLOSED[-1]


def test_of_two_writers_of_the_same_step_one_is_refused(builder: LakeBuilder) -> None:
    """So no row is there twice, and what the first one wrote stays."""
    table = builder.lake.by_day("scored")
    with connect(builder.lake.path) as one, connect(builder.lake.path) as other:
        found = [due_days.ScoredFiles.of(session, table) for session in (one, other)]
        assert [*closed_days._Writer(table, NOW).steps(one, found[0])]
        with pytest.raises(LakeConflict, match="another writer"):
            next(closed_days._Writer(table, NOW).steps(other, found[1]))
    assert held(builder) == dict.fromkeys(CLOSED, 2)
    folder = builder.lake.path / "scored"
    assert {Path(path) for path in DeltaTable(str(folder)).file_uris()} == set(folder.glob("recorded_on=*/*.parquet"))


def test_the_views_read_closed_days_from_the_table_alone(builder: LakeBuilder) -> None:
    """Not what they were made of; a read as of a time is the other way round."""
    close(builder)
    for table in ("predictions", "outcomes"):
        actions = pl.DataFrame(DeltaTable(str(builder.lake.path / table)).get_add_actions(flatten=True))
        old = actions.filter(pl.col("max.predicted_at") < hour(60))
        assert old.height == 5
        for path in old["path"]:
            (builder.lake.path / table / path).write_bytes(b"")
    with connect(builder.lake.path) as connection:
        assert connection.sql("SELECT count(*), sum(value) FROM scored").fetchall() == [(10, 10.0)]
        with pytest.raises(Exception, match="too small"):
            connection.sql("SELECT sum(value) FROM scored_at('2026-03-09')").fetchall()


def test_reads_as_of_a_time_do_not_need_the_table(builder: LakeBuilder) -> None:
    """It knows the newest state only."""
    close(builder)
    for file in (builder.lake.path / "scored").glob("recorded_on=*/*.parquet"):
        file.write_bytes(b"")
    with connect(builder.lake.path) as connection:
        assert connection.sql("SELECT count(*) FROM scored_at('2026-03-09')").fetchall() == [(10,)]


def correct(builder: LakeBuilder, number: int, sequence: int, value: float) -> LakeBuilder:
    """Append a correction of an outcome, a step after."""
    at = 12 * number
    place = {"predicted_at": hour(at), "prediction_offset": number, "sequence": sequence}
    return builder.outcome(f"k{number}", "joined", at + 2, 20 + sequence, value=value, reason="correction", **place)


def drafts(builder: LakeBuilder) -> list[date]:
    """Return the days of drafts, as an engine reads them that knows only Delta."""
    rows = pl.scan_delta(builder.lake.path / "scored").filter(pl.col("follows").is_not_null())
    return rows.select(pl.col("day").unique().sort()).collect()["day"].to_list()


ENDED = date(2026, 3, 4)
"""The day that has ended when 96 hours have."""


def test_a_day_that_has_ended_is_a_draft_until_it_is_closed(builder: LakeBuilder) -> None:
    """It is in the table then, and not among the days that are closed."""
    close(entry(builder, 2, ended=96))
    assert held(builder) == dict.fromkeys([*CLOSED, ENDED], 2)
    assert drafts(builder) == [ENDED]
    assert closed_until(builder) == CLOSED[-1]
    assert close(builder) == []
    assert close(entry(builder, 3, floor=96, ended=96)) == [ClosedStep(FIRST, ENDED, 8)]
    assert drafts(builder) == []
    assert closed_until(builder) == ENDED


def test_of_a_draft_whose_first_days_are_closed_the_others_stay(builder: LakeBuilder) -> None:
    """In one commit: no day is missing, and none is there twice."""
    close(entry(builder, 2, floor=24, ended=96))
    entry(builder, 3, floor=72, ended=96)
    assert [step.rows for step in close(builder)] == [8]
    assert (drafts(builder), closed_until(builder)) == ([ENDED], CLOSED[-1])
    assert held(builder) == dict.fromkeys([*CLOSED, ENDED], 2)


def test_a_revision_is_put_on_top_of_a_draft(builder: LakeBuilder) -> None:
    """Nothing is read of what the draft was made of."""
    close(entry(builder, 2, ended=96))
    for table in ("predictions", "outcomes"):
        actions = pl.DataFrame(DeltaTable(str(builder.lake.path / table)).get_add_actions(flatten=True))
        for path in actions.filter(pl.col("max.predicted_at") < hour(95))["path"]:
            (builder.lake.path / table / path).write_bytes(b"")
    correct(builder, 7, 3, value=0.0)
    entry(builder, 3, ended=96)
    with connect(builder.lake.path) as connection:
        found = connection.sql(
            "SELECT key, value, reason, epoch(first_known_at - predicted_at) FROM scored WHERE day = '2026-03-04'"
        )
        assert sorted(found.fetchall()) == [("k6", 1.0, "first", 3600.0), ("k7", 0.0, "correction", 3600.0)]
        merged = connection.sql("SELECT key, outcome_from FROM truthloop_merged_in(getvariable('truthloop_drafts'))")
        assert sorted(merged.fetchall()) == [("k6", "draft"), ("k7", "revision")]


def blank_closed_days(builder: LakeBuilder) -> None:
    """Overwrite the rows of closed days; what the footers of their files say stays."""
    with connect(builder.lake.path) as connection:
        files = connection.sql("SELECT file FROM truthloop_closed").fetchall()
    for (path,) in files:
        file = builder.lake.path / "scored" / path
        content = file.read_bytes()
        footer = int.from_bytes(content[-8:-4], "little") + 8
        file.write_bytes(content[:4] + bytes(len(content) - footer - 4) + content[-footer:])


COUNTS = "SELECT strftime(\"day\", '%d'), status, predictions, eligible FROM counts ORDER BY ALL"
COVERAGE = "SELECT strftime(\"day\", '%d'), predictions, labelled, is_mature FROM coverage ORDER BY ALL"
METRICS = "SELECT strftime(\"day\", '%d'), tp, fn, round(log_loss, 9), brier, status FROM metrics ORDER BY ALL"


def test_sums_by_day_are_read_from_footers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But those of the draft on whose day the cursor is: of its rows some are mature, here all at 62 hours."""
    builder = LakeBuilder(tmp_path / "lake")
    for number in range(10):
        at = 12 * number
        place = {"predicted_at": hour(at), "prediction_offset": number}
        builder.predict(f"k{number}", at, number, output_fraud=0.75, eligible=number != 2)
        builder.outcome(f"k{number}", "joined", at + 1, number, value=1.0, eligible=number != 2, **place)
    monkeypatch.setattr("lake_builder.RECORDED_AT", RECORDED_AT + timedelta(days=3))
    step = {"predictions_next": 10, "counters": json.dumps({"predictions": {"consumed": 10}})}
    step |= {"floor": hour(50), "marks": json.dumps({"predictions": ms(96)})}
    builder.entry(1, 108, cursors=json.dumps({"fraud": [ms(50), 9]}), **step)
    monkeypatch.setattr(due_days, "ROWS_PER_FILE", 2)
    close(builder)
    assert (closed_until(builder), drafts(builder)) == (CLOSED[1], [CLOSED[2], ENDED])
    right = -math.log(0.75)
    with connect(builder.lake.path) as connection:
        computed = connection.sql(COUNTS).fetchall()
    blank_closed_days(builder)
    with connect(builder.lake.path) as connection:
        assert connection.sql(COUNTS).fetchall() == computed
        assert computed == [
            *(("01", "joined", 2, 2), ("02", "joined", 2, 1), ("03", "joined", 2, 2), ("04", "joined", 2, 2)),
            ("05", "joined", 2, 2),
        ]
        assert [row[1:] for row in connection.sql(COVERAGE).fetchall()] == [
            *((2, 2, True), (1, 1, True), (2, 2, False), (2, 2, False), (2, 2, False))
        ]
        with pytest.raises(duckdb.Error):
            connection.sql("SELECT sum(value) FROM scored").fetchall()
    for sequence, cursor, summed in ((2, 62, 3), (3, 70, 3), (4, 88, 4)):
        builder.entry(sequence, 108, cursors=json.dumps({"fraud": [ms(cursor), 9]}), **step)
        mature = 3 if cursor < 88 else 4
        with connect(builder.lake.path) as connection:
            assert connection.sql("SELECT count(*) FROM truthloop_summed").fetchall() == [(summed,)]
            assert connection.sql(METRICS).fetchall() == [
                (f"{day:02d}", 2 - (day == 2), 0, round(right, 9), 0.0625, "mature" if day <= mature else "provisional")
                for day in range(1, 6)
            ]


def test_a_revision_moves_the_sums_of_a_draft(builder: LakeBuilder) -> None:
    """From what the row was to what it is; its day has as many predictions as before."""
    close(entry(builder, 2, ended=96))
    correct(builder, 7, 3, value=0.0)
    place = {"predicted_at": hour(72), "prediction_offset": 6, "sequence": 3}
    builder.outcome("k6", "retracted", 75, 24, reason="retraction", **place)
    entry(builder, 3, ended=96)
    with connect(builder.lake.path) as connection:
        assert connection.sql("SELECT count(*) FROM truthloop_summed WHERE is_draft").fetchall() == [(1,)]
        of_day = "WHERE \"day\" = '2026-03-04'"
        counts = connection.sql(f"SELECT status, predictions FROM counts {of_day} ORDER BY ALL")  # noqa: S608 - ours
        assert counts.fetchall() == [("joined", 1), ("retracted", 1)]
        coverage = connection.sql(f"SELECT predictions, labelled, is_mature FROM coverage {of_day}")  # noqa: S608 - ours
        assert coverage.fetchall() == [(2, 1, True)]


def test_a_file_without_sums_is_named(builder: LakeBuilder) -> None:
    """Somebody has written it anew: its rows are there, and no count leaves them out in silence."""
    close(builder)
    (file,) = (builder.lake.path / "scored").glob("recorded_on=*/*.parquet")
    pl.read_parquet(file, hive_partitioning=False).write_parquet(file)
    with connect(builder.lake.path) as connection:
        assert connection.sql("SELECT count(*) FROM scored").fetchall() == [(10,)]
        with pytest.raises(duckdb.Error, match=f"has no sums: .*{file.name}"):
            connection.sql("FROM counts").fetchall()


def test_a_timeout_that_a_withdrawal_brings_back_takes_the_draft_back(tmp_path: Path) -> None:
    """A late label had come before the deadline was proven, so no timeout was written; then the label is withdrawn."""
    implied = {"definition": "chargeback-1", "horizon": "10h", "retain": "20h", "on_timeout": {"imply": 0}}
    builder = LakeBuilder(tmp_path / "lake", loop_config(labels={"fraud": implied}))
    builder.predict("k9", 72, 9).outcome(
        "k9", "joined", 84, 20, predicted_at=hour(72), prediction_offset=9, value=1.0, reason="late", label_offset=5
    )
    close(entry(builder, 1, ended=96))
    assert drafts(builder) == [ENDED]
    columns = "status, value, reason, epoch(first_known_at - predicted_at), age_ms, value_age_ms"
    with connect(builder.lake.path) as connection:
        late = ("joined", 1.0, "late", 12 * 3600.0, 12 * 3_600_000, 10 * 3_600_000)
        assert connection.sql(f"SELECT {columns} FROM scored").fetchall() == [late]  # noqa: S608 - ours
    builder.reject("labels", 5, "withdrawn", sequence=2).outcome(
        "k9", "implied", 82, 21, predicted_at=hour(72), prediction_offset=9, value=0.0, reason="withdrawal", sequence=2
    )
    entry(builder, 2, ended=96)
    with connect(builder.lake.path) as connection:
        brought_back = ("implied", 0.0, "withdrawal", None, 10 * 3_600_000, 10 * 3_600_000)
        assert connection.sql(f"SELECT {columns} FROM scored").fetchall() == [brought_back]  # noqa: S608 - ours
        assert connection.sql("FROM truthloop_drafts").fetchall() == []


def test_a_draft_is_written_again_when_enough_has_come_since(
    builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of its rows, or anything after three days; each revision once."""
    close(entry(builder, 2, ended=96))
    correct(builder, 6, 3, value=0.0)
    entry(builder, 3, ended=96)
    assert close(builder) == [ClosedStep(ENDED, ENDED, 2)]
    assert close(builder) == []
    monkeypatch.setattr(due_days, "REVISIONS_PER_ROW", 0.6)
    correct(builder, 7, 4, value=0.0)
    entry(builder, 4, ended=96)
    assert close(builder) == []
    monkeypatch.setattr("lake_builder.RECORDED_AT", RECORDED_AT + timedelta(days=6, minutes=1))
    entry(builder, 5, ended=96)
    assert close(builder) == [ClosedStep(ENDED, ENDED, 2)]
    rows = pl.read_delta(str(builder.lake.path / "scored")).filter(pl.col("day") == ENDED)
    assert rows["value"].to_list() == [0.0, 0.0]


def test_a_file_that_is_outdated_at_once_is_left_to_the_next_call(builder: LakeBuilder) -> None:
    """By a row of a step that is not complete: the call ends, and the views compute the day."""
    close(builder)
    correct(builder, 0, 9, value=0.0)
    for _ in range(2):
        assert close(builder) == [ClosedStep(FIRST, CLOSED[-1], 0), ClosedStep(FIRST, CLOSED[-1], 6)]
    with connect(builder.lake.path) as connection:
        assert connection.sql("SELECT value FROM scored WHERE key = 'k0'").fetchall() == [(0.0,)]
