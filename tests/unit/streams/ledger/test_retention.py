"""Rejects of the mapping leave on their own, by `retention.rejects`; those of the join stay."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from lake_builder import LakeBuilder, loop_config
from maintenance_case import DAY, KEEP_READABLE_MS, Killed, changes, kill_at_call, moment
from polars.testing import assert_frame_equal

from lake import Claim, Lake
from lake.maintenance.history import files_of_history, old_rejects
from lake.maintenance.maintainer import Maintainer
from lake.maintenance.plan import ActiveFile
from streams.ledger.retention import drop_old_rows, old_rows

KEPT_DAYS = 10
CONFIG = loop_config(retention={"rejects": f"{KEPT_DAYS}d"})
OF_MAPPING = {"stage": "mapping", "reason": "bad_time", "input": "labels"}
OF_JOIN = {"stage": "join", "reason": "duplicate", "input": "predictions", "partition": 0}
DAYS = 4
PER_DAY = 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a lake that has recorded rejects of both stages on four days, in one file each, and some alone."""
    builder = LakeBuilder(tmp_path / "lake", CONFIG)
    for day in range(DAYS):
        numbers = range(day * PER_DAY, (day + 1) * PER_DAY)
        rows = [OF_JOIN | {"offset": number, "sequence": number} for number in numbers]
        rows += [OF_MAPPING | {"source": "f" * 64, "source_row": number} for number in numbers]
        _record(builder, rows, day)
        _record(builder, rows[:1], day)
        _record(builder, rows[-1:], day)
    return builder.lake.path


def _record(builder: LakeBuilder, rows: list[dict[str, object]], day: int) -> None:
    position = builder.lake.applied("rejects", "test")
    at = datetime(DAY.year, DAY.month, DAY.day, 5, tzinfo=UTC) + timedelta(days=day)
    claim = Claim("test", position, position + len(rows))
    builder.lake.append("rejects", builder.frame("rejects", rows), [claim], recorded_at=at)


def rejects(path: Path) -> pl.DataFrame:
    """Return all rejects, in one order."""
    return Lake.open(path).scan("rejects").collect().sort("recorded_on", "stage", "offset", "source_row")


def at(day: int) -> int:
    """Return noon of the day on which those of a day are as old as it takes, ms UTC."""
    return moment(DAY + timedelta(days=day + KEPT_DAYS + 1))


def drop(path: Path, day: int) -> int:
    """Let leave what is due then; return how many rows have left."""
    maintainer = Maintainer(path, KEEP_READABLE_MS)
    steps = drop_old_rows(maintainer, Lake.open(path), CONFIG, lambda: at(day))
    return sum(step.group.rows for step in steps)


def test_what_the_mapping_has_rejected_leaves_and_the_joins_stays(path: Path) -> None:
    """Day by day; what is left is what it was, and readers of the change feed see deletions alone."""
    before = rejects(path)
    version = Lake.open(path).version("rejects")
    due = old_rows(Maintainer(path, KEEP_READABLE_MS), Lake.open(path), CONFIG, at(1))
    assert [(step.table, step.group.day - DAY, step.group.rows) for step in due] == [
        ("rejects", timedelta(days=day), PER_DAY + 1) for day in (0, 1)
    ]
    assert drop(path, 1) == 2 * (PER_DAY + 1)
    leaves = (pl.col("stage") == "mapping") & (pl.col("recorded_on") <= DAY + timedelta(days=1))
    assert_frame_equal(rejects(path), before.filter(~leaves))
    feed = pl.DataFrame(DeltaTable(str(path / "rejects")).load_cdf(starting_version=version + 1))
    assert feed["_change_type"].to_list() == ["delete"] * 2 * (PER_DAY + 1)
    assert feed["stage"].unique().to_list() == ["mapping"]
    assert drop(path, 1) == 0
    assert drop(path, DAYS) == 2 * (PER_DAY + 1)
    assert_frame_equal(rejects(path), before.filter(stage="join"))


def test_nothing_leaves_before_it_is_as_old_or_where_the_config_does_not_say_so(path: Path) -> None:
    """To the day."""
    version = Lake.open(path).version("rejects")
    assert drop(path, -1) == 0
    maintainer = Maintainer(path, KEEP_READABLE_MS)
    assert list(drop_old_rows(maintainer, Lake.open(path), loop_config(), lambda: at(DAYS))) == []
    assert Lake.open(path).version("rejects") == version


@pytest.mark.parametrize("is_after", [True, False])
def test_wherever_it_is_killed_it_is_taken_up_again(path: Path, is_after: bool) -> None:
    """No row of the join is lost or doubled, and in the end all others have left."""
    before = rejects(path).filter(stage="join")
    for number in range(1, 100):
        with pytest.MonkeyPatch.context() as patch:
            kill_at_call(patch, number, is_after=is_after)
            try:
                drop(path, DAYS)
            except Killed:
                assert_frame_equal(rejects(path).filter(stage="join"), before)
                continue
        break
    assert number > 3
    assert_frame_equal(rejects(path), before)
    assert changes(Lake.open(path), "rejects") == 2 * DAYS * (PER_DAY + 1) + DAYS * (PER_DAY + 1)


def test_files_whose_rows_are_not_told_apart_by_the_log_stay() -> None:
    """Another tool has written them without statistics."""
    files = [ActiveFile(f"{number}", DAY, 100, 5, 0, None, without) for number, without in enumerate((None, 0, 2, 5))]
    ((found),) = old_rejects(files, DAY + timedelta(days=1))
    assert (found.mixed, found.alone) != (None, None)
    assert [file.path for file in found.leaving.files] == ["2", "3"]
    assert found.leaving.rows == 7
    assert old_rejects(files, DAY) == []
    assert old_rejects(files[:2], date.max) == []


def test_days_that_share_a_file_leave_when_the_last_of_them_does() -> None:
    """Rejects of the mapping by the day; records when all of the file are old, and not before what shares its days."""
    month = date(2026, 1, 1)
    shared = ActiveFile("shared", month, 100, 5, 0, ms(month + timedelta(days=30)), 5, month + timedelta(days=30))
    assert old_rejects([shared], month + timedelta(days=30)) == []
    assert len(old_rejects([shared], month + timedelta(days=31))) == 1
    young = ActiveFile("young", month + timedelta(days=40), 100, 5, 0, ms(month + timedelta(days=40)))
    tables = {"predictions": [shared, young], "labels": [young], "outcomes": [young], "rejects": [shared]}
    found = files_of_history(tables, ms(month + timedelta(days=31)))
    assert {table: [group.files for group in groups] for table, groups in found.items() if groups} == {
        "predictions": [(shared,)],
        "rejects": [(shared,)],
    }
    assert not any(files_of_history(tables, ms(month + timedelta(days=30))).values())
    near = replace(young, day=month + timedelta(days=31))
    assert not any(files_of_history({**tables, "labels": [near]}, ms(month + timedelta(days=31))).values())


def ms(day: date) -> int:
    """Return the first instant of a day, ms UTC."""
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
