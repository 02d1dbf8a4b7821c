"""Files that are exchanged: one commit, only of files that are there, with positions, and silent where nothing changes.

Covers `lake.by_day`, `lake.staged_file` and the exchange of `lake.append`.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from lake_builder import RECORDED_AT, LakeBuilder

from lake.append import COMMITS_PER_CHECKPOINT, Claim
from lake.by_day import DayTable, DayTableState
from lake.disk import check_newest_commits
from lake.maintenance.maintainer import Maintainer
from lake.store import Lake
from schemas.errors import LakeConflict

DAYS = [date(2026, 3, day) for day in range(1, 5)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return an empty lake."""
    return LakeBuilder(tmp_path / "lake").lake


def rows_of(days: list[date], amount: int = 1) -> pl.DataFrame:
    """Return one row a day."""
    texts = dict.fromkeys(("version", "slice", "kind", "definition", "measure", "plan"), "")
    return pl.DataFrame({"day": days, "bin": 0, "amount": amount, **texts}).cast({"bin": pl.Int64, "amount": pl.Int64})


def append(lake: Lake, number: int, days: list[date]) -> None:
    """Append a row for each day."""
    assert lake.append("cells", rows_of(days), [Claim("cells", number, number + 1)], recorded_at=RECORDED_AT)


def days_of(state: DayTableState, *bounds: date) -> list[date]:
    """Return the days of the rows within bounds."""
    return sorted(state.scan(*bounds).collect()["day"])


def exchanged(table: DayTable, first: int, days: list[date], *, is_change: bool = False) -> bool:
    """Replace all files by one with these days."""
    staged = table.stage(rows_of(days, amount=2), RECORDED_AT)
    claims = [Claim("merge", first, first + 1)]
    return table.exchange([staged], table.state().files, claims, is_change=is_change, recorded_at=RECORDED_AT)


def test_a_file_is_known_by_its_days_and_rows(lake: Lake) -> None:
    """Those of an append and of a staged file; what is not of the days is not opened."""
    append(lake, 0, DAYS[:2])
    table = lake.by_day("cells")
    staged = table.stage(rows_of(DAYS[3:]), RECORDED_AT)
    assert len(table.state().files) == 1
    table.exchange([staged], [], [Claim("merge", 0, 1)], is_change=True, recorded_at=RECORDED_AT)
    state = table.state(["cells", "merge", "none"])
    assert state.applied == {"cells": 1, "merge": 1, "none": 0}
    known = sorted((one.first, one.last, one.rows, one.is_merged) for one in state.files)
    assert known == [(DAYS[0], DAYS[1], 2, False), (DAYS[3], DAYS[3], 1, True)]
    assert days_of(state) == [*DAYS[:2], DAYS[3]]
    assert days_of(state, DAYS[1], DAYS[2]) == [DAYS[1]]
    merged = next(one for one in state.files if one.is_merged)
    (lake.path / "cells" / merged.path).unlink()
    assert days_of(state, DAYS[0], DAYS[1]) == DAYS[:2]


def test_an_exchange_is_one_commit(lake: Lake) -> None:
    """Old files out, new ones in, and the position; a reader of before still reads what was."""
    append(lake, 0, DAYS[:2])
    append(lake, 1, DAYS[2:])
    table, version = lake.by_day("cells"), lake.version("cells")
    before = table.state()
    assert exchanged(table, 0, DAYS)
    assert lake.version("cells") == version + 1
    after = table.state(["merge"])
    assert [one.is_merged for one in after.files] == [True]
    assert after.applied == {"merge": 1}
    assert days_of(before) == days_of(after) == DAYS
    opened = Lake.open(lake.path)
    assert opened.scan("cells").collect()["recorded_at"].unique().to_list() == [RECORDED_AT]
    assert not exchanged(opened.by_day("cells"), 0, DAYS)


def test_a_file_that_is_gone_is_not_exchanged_again(lake: Lake) -> None:
    """Another process was first, under a position of its own: neither its rows nor these are there twice."""
    append(lake, 0, DAYS)
    table = lake.by_day("cells")
    before = table.state().files
    assert exchanged(Lake.open(lake.path).by_day("cells"), 0, DAYS)
    staged = table.stage(rows_of(DAYS), RECORDED_AT)
    with pytest.raises(LakeConflict, match="not part of the table any more"):
        table.exchange([staged], before, [Claim("other", 0, 1)], is_change=False, recorded_at=RECORDED_AT)
    table.discard([staged])
    assert days_of(table.state()) == DAYS


def test_a_position_that_has_moved_is_a_conflict(lake: Lake) -> None:
    """Nothing is exchanged."""
    append(lake, 0, DAYS)
    with pytest.raises(LakeConflict, match="'merge' has written up to 0"):
        exchanged(lake.by_day("cells"), 3, DAYS)
    assert [one.is_merged for one in lake.by_day("cells").state().files] == [False]


def test_the_change_feed_is_told_of_changes_only(lake: Lake) -> None:
    """A file whose rows have only been added up is no news; others are."""
    append(lake, 0, DAYS)
    table = lake.by_day("cells")
    assert exchanged(table, 0, DAYS)
    handle = DeltaTable(str(lake.path / "cells"))
    assert pl.DataFrame(handle.load_cdf(starting_version=2).read_all()).is_empty()
    assert exchanged(table, 1, DAYS[:1], is_change=True)
    handle = DeltaTable(str(lake.path / "cells"))
    told = pl.DataFrame(handle.load_cdf(starting_version=3).read_all())
    assert sorted(told.select("_change_type", "day").iter_rows()) == [
        *(("delete", day) for day in DAYS),
        ("insert", DAYS[0]),
    ]


def test_many_exchanges_are_checked_and_opened_like_appends(lake: Lake) -> None:
    """Past a checkpoint of Delta's, and by the check of the newest commits."""
    append(lake, 0, DAYS)
    table = lake.by_day("cells")
    for number in range(COMMITS_PER_CHECKPOINT + 5):
        assert exchanged(table, number, DAYS)
    check_newest_commits(lake.path / "cells")
    state = Lake.open(lake.path).by_day("cells").state(["merge", "cells"])
    assert (len(state.files), state.applied) == (1, {"merge": COMMITS_PER_CHECKPOINT + 5, "cells": 1})
    assert days_of(state) == DAYS


def test_a_staged_file_lies_in_the_folder_of_its_day(lake: Lake) -> None:
    """In UTC, like rows that are appended; discarded it is gone."""
    late = datetime(2026, 3, 2, 23, 30, tzinfo=UTC).astimezone()
    table = lake.by_day("cells")
    staged = table.stage(rows_of(DAYS), late)
    assert (lake.path / "cells" / staged.path).parent.name == "recorded_on=2026-03-02"
    assert table.scan_staged([staged]).collect()["recorded_on"].unique().to_list() == [date(2026, 3, 2)]
    table.discard([staged])
    assert not (lake.path / "cells" / staged.path).exists()
    table.discard([staged])


def test_maintenance_leaves_the_files_of_days_alone(lake: Lake) -> None:
    """Its files would hold the rows of all days that were recorded on one."""
    for number in range(5):
        append(lake, number, DAYS)
    tomorrow_ms = round((RECORDED_AT + timedelta(days=2)).timestamp() * 1_000)
    assert Maintainer(lake.path, 0).due(tomorrow_ms) == []
    assert len(lake.by_day("cells").state().files) == 5
