"""The newest rows of each partition, and whether a lake has changed, are known without reading what is old."""

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable
from lake_builder import LEDGER, LakeBuilder, hour

from lake.append import Claim
from lake.heads import HEADS, head_app
from lake.store import Lake
from streams.ledger.table import rows_of

COMMITS = 100


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return a lake whose partition 1 has been idle since its only step, and partition 0 has taken many."""
    builder = LakeBuilder(tmp_path / "lake")
    append(builder, (1, 500))
    for sequence in range(COMMITS):
        append(builder, (0, sequence))
    return builder


def append(builder: LakeBuilder, *steps: tuple[int, int], at: float | None = None) -> None:
    """Append ledger rows of (partition, sequence) in one commit, recorded at an hour of its own."""
    written = builder.lake.applied("ledger", "test")
    rows = [
        {**LEDGER, "partition": partition, "sequence": sequence, "now": hour(sequence)} for partition, sequence in steps
    ]
    claim = Claim("test", written, written + 1)
    moment = hour(written if at is None else at)
    assert builder.lake.append("ledger", builder.frame("ledger", rows), [claim], recorded_at=moment)


def heads(lake: Lake) -> list[tuple[int, int]] | None:
    """Return partition and sequence of the newest rows."""
    found = lake.heads()
    return None if found is None else found.select("partition", "sequence").rows()


def keep_only(lake: Lake, commits: set[int]) -> None:
    """Remove the ledger's data files but those of some commits, so that reading another one fails."""
    paths = DeltaTable(str(lake.path / "ledger")).file_uris()
    by_time = sorted(paths, key=lambda path: Path(path).stat().st_mtime_ns)
    for number, path in enumerate(by_time):
        if number not in commits:
            Path(path).unlink()


def test_only_the_files_of_the_heads_are_read(builder: LakeBuilder) -> None:
    """One is as old as the lake."""
    lake = Lake.open(builder.lake.path)
    keep_only(lake, {0, COMMITS})
    assert heads(lake) == [(0, COMMITS - 1), (1, 500)]


def test_the_newest_of_several_rows_of_one_moment_is_the_head(builder: LakeBuilder) -> None:
    """Also where the clock has stepped back."""
    append(builder, (0, COMMITS), (0, COMMITS + 1), at=3)
    append(builder, (0, COMMITS + 2), at=3)
    assert heads(builder.lake) == [(0, COMMITS + 2), (1, 500)]


def test_a_lake_that_has_not_changed_is_not_read_again(builder: LakeBuilder) -> None:
    """What was made of it is remembered until the next commit, whoever makes it."""
    lake, calls = Lake.open(builder.lake.path), []

    def read() -> int:
        calls.append(lake.version("ledger"))
        return len(calls)

    assert [lake.remember("ledger", "a", read) for _ in range(3)] == [1, 1, 1]
    assert lake.remember("ledger", "b", read) == 2
    append(builder, (1, 501))
    assert [lake.remember("ledger", "a", read) for _ in range(3)] == [3, 3, 3]
    assert calls == [COMMITS + 1, COMMITS + 1, COMMITS + 2]


def test_a_lake_from_a_backup_is_read_anew(builder: LakeBuilder, tmp_path: Path) -> None:
    """Positions, versions and heads are those of the files that are there, also if it has grown to the same version."""
    lake = Lake.open(builder.lake.path)
    shutil.copytree(lake.path, tmp_path / "backup")
    append(builder, (0, COMMITS))
    assert (lake.applied("ledger", "test"), heads(lake)) == (COMMITS + 2, [(0, COMMITS), (1, 500)])
    shutil.rmtree(lake.path)
    shutil.copytree(tmp_path / "backup", lake.path)
    assert (lake.applied("ledger", "test"), heads(lake)) == (COMMITS + 1, [(0, COMMITS - 1), (1, 500)])
    other = LakeBuilder(lake.path)
    append(other, (1, 501))
    assert (lake.applied("ledger", "test"), heads(lake)) == (COMMITS + 2, [(0, COMMITS - 1), (1, 501)])


def test_a_ledger_without_its_head_rows_is_read_whole(builder: LakeBuilder) -> None:
    """Somebody has deleted rows: what is left has a newest row, too."""
    table = DeltaTable(str(builder.lake.path / "ledger"))
    table.delete(f"sequence = {COMMITS - 1}")
    assert heads(builder.lake) is None


def test_a_ledger_of_an_earlier_version_gets_its_heads_once(builder: LakeBuilder) -> None:
    """When a writer opens it; until then it is read whole."""
    table = DeltaTable(str(builder.lake.path / "ledger"))
    names = [HEADS, head_app(0), head_app(1)]
    written = [table.transaction_version(name) for name in names]
    forget(builder.lake.path / "ledger")
    assert heads(Lake.open(builder.lake.path)) is None
    lake = Lake.create(builder.lake.path, builder.config)
    assert [lake.applied("ledger", name) for name in names] == written
    assert heads(lake) == [(0, COMMITS - 1), (1, 500)]
    version = lake.version("ledger")
    assert Lake.create(builder.lake.path, builder.config).version("ledger") == version


def forget(table: Path) -> None:
    """Take the heads from a table's log, so that it is as an earlier version wrote it."""
    for path in (table / "_delta_log").glob("*.checkpoint.parquet"):
        path.unlink()
    (table / "_delta_log" / "_last_checkpoint").unlink(missing_ok=True)
    for log in (table / "_delta_log").glob("*.json"):
        lines = log.read_text("utf-8").splitlines()
        kept = [line for line in lines if '"appId":"head' not in line]
        log.write_text("\n".join(kept) + "\n", "utf-8")


def test_rows_of_steps_are_looked_for_from_the_newest_file_on(builder: LakeBuilder) -> None:
    """What a fold begins after is not long ago, so old files are not opened."""
    lake = Lake.open(builder.lake.path)
    keep_only(lake, set(range(COMMITS - 35, COMMITS + 1)))
    found = rows_of(lake, {0: COMMITS - 2})
    assert found.select("partition", "sequence").rows() == [(0, COMMITS - 2)]
    assert rows_of(builder.lake, {}).is_empty()


def test_steps_that_the_ledger_lacks_have_no_row(builder: LakeBuilder) -> None:
    """The other rows are found."""
    found = rows_of(builder.lake, {0: 3, 1: 499})
    assert found.select("partition", "sequence").rows() == [(0, 3)]
