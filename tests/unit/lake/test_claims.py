"""Commits with the ranges of several applications, and several writers of one table."""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from lake_builder import RECORDED_AT, LakeBuilder, loop_config

from lake import Claim, Lake
from lake.disk import log_file
from schemas.errors import LakeConflict, LakeError

ROW = {"partition": 0, "offset": 0, "source": "f", "source_row": 1, "input": "labels", "reason": "stale"}


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return an empty lake."""
    return LakeBuilder(tmp_path / "lake")


def rejects(builder: LakeBuilder, *offsets: int) -> pl.DataFrame:
    """Return a frame of rejects with these offsets."""
    return builder.frame("rejects", [ROW | {"stage": "join", "offset": offset} for offset in offsets])


def append(builder: LakeBuilder, offset: int, *claims: Claim, lake: Lake | None = None) -> bool:
    """Append one reject."""
    return (lake or builder.lake).append("rejects", rejects(builder, offset), claims, recorded_at=RECORDED_AT)


def offsets(lake: Lake) -> list[int]:
    """Return the offsets in rejects."""
    return sorted(lake.scan("rejects").select("offset").collect()["offset"].to_list())


def positions(lake: Lake, *apps: str) -> list[int]:
    """Return the positions of applications in rejects."""
    return [lake.applied("rejects", app) for app in apps]


def meddle(builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch, between: Callable[[], object]) -> None:
    """Do something as another writer between the next check and its commit."""
    writer = builder.lake._writers["rejects"]
    commit = writer._commit

    def commit_late(*arguments: object) -> None:
        monkeypatch.setattr(writer, "_commit", commit)
        between()
        commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "_commit", commit_late)


def test_rows_of_several_applications_are_one_commit(builder: LakeBuilder) -> None:
    """All positions move together."""
    assert append(builder, 0, Claim("p0", 0, 5), Claim("p1", 0, 2))
    assert append(builder, 1, Claim("p1", 2, 3), Claim("p2", 0, 1))
    assert builder.lake.version("rejects") == 2
    assert positions(Lake.open(builder.lake.path), "p0", "p1", "p2") == [5, 3, 1]


def test_ranges_that_are_all_written_are_not_written_again(builder: LakeBuilder) -> None:
    """In whatever portions they were written."""
    append(builder, 0, Claim("p0", 0, 5))
    append(builder, 1, Claim("p1", 0, 2), Claim("p2", 0, 1))
    assert not append(builder, 9, Claim("p1", 0, 2), Claim("p0", 0, 5))
    assert not append(builder, 9, Claim("p0", 0, 3), Claim("p2", 0, 1))
    assert offsets(builder.lake) == [0, 1]


@pytest.mark.parametrize(
    ("claims", "named"),
    [
        ([("p0", 5, 6), ("p1", 0, 2)], r"'p1' has written up to 2, and these rows are \[0, 2\)$"),
        ([("p0", 4, 6), ("p1", 2, 3)], r"'p0' has written up to 5, and these rows are \[4, 6\)$"),
        ([("p0", 6, 7), ("p2", 0, 1)], r"'p0' has written up to 5, and these rows are \[6, 7\)$"),
        ([("p0", 0, 5), ("p1", 1, 3), ("p2", 0, 1)], r"'p0' .* \[0, 5\); 'p1' .* \[1, 3\)$"),
        ([("p0", 4, 4), ("p1", 2, 3)], r"'p0' has written up to 5, and these rows are \[4, 4\)$"),
    ],
)
def test_a_mixture_is_refused_and_names_the_claims_that_differ(
    builder: LakeBuilder, claims: list[tuple[str, int, int]], named: str
) -> None:
    """Part of the rows may be written already: neither writing nor skipping all would be right."""
    append(builder, 0, Claim("p0", 0, 5), Claim("p1", 0, 2))
    with pytest.raises(LakeConflict) as caught:
        append(builder, 9, *(Claim(*claim) for claim in claims))
    assert re.search(named, caught.value.what)
    assert positions(builder.lake, "p0", "p1", "p2") == [5, 2, 0]
    assert offsets(builder.lake) == [0]


def test_an_empty_range_only_checks_the_position(builder: LakeBuilder) -> None:
    """It is committed with another one, conflicts with a writer that has moved on, and a redo is silent."""
    append(builder, 0, Claim("p0", 0, 5))
    assert append(builder, 1, Claim("p0", 5, 5), Claim("p1", 0, 1))
    assert not append(builder, 1, Claim("p0", 5, 5), Claim("p1", 0, 1))
    append(builder, 2, Claim("p0", 5, 6))
    with pytest.raises(LakeConflict, match=r"'p0' has written up to 6, and these rows are \[5, 5\)"):
        append(builder, 9, Claim("p0", 5, 5), Claim("p1", 1, 2))
    assert offsets(builder.lake) == [0, 1, 2]


@pytest.mark.parametrize("claims", [[], [Claim("p0", 0, 1), Claim("p0", 1, 2)]])
def test_each_application_has_one_claim(builder: LakeBuilder, claims: list[Claim]) -> None:
    """Rows without a claim could be written twice."""
    with pytest.raises(ValueError, match="one claim for each application"):
        append(builder, 0, *claims)


def test_a_writer_of_other_applications_does_not_conflict(
    builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both commits succeed, and both positions move."""
    rival = Lake.open(builder.lake.path)
    meddle(builder, monkeypatch, lambda: append(builder, 1, Claim("p2", 0, 1), Claim("p3", 0, 1), lake=rival))
    assert append(builder, 0, Claim("p0", 0, 1), Claim("p1", 0, 1))
    assert offsets(builder.lake) == [0, 1]
    assert positions(builder.lake, "p0", "p1", "p2", "p3") == [1, 1, 1, 1]


def test_a_writer_of_one_of_the_applications_conflicts(builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    """One range of several is written: the commit is refused, and the next check finds a mixture."""
    rival = Lake.open(builder.lake.path)
    meddle(builder, monkeypatch, lambda: append(builder, 1, Claim("p1", 0, 1), lake=rival))
    with pytest.raises(LakeConflict, match=r"'p1' has written up to 1"):
        append(builder, 0, Claim("p0", 0, 1), Claim("p1", 0, 1))
    assert offsets(builder.lake) == [1]
    assert positions(builder.lake, "p0", "p1") == [0, 1]


def test_another_writer_of_the_same_ranges_wins(builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second commit is refused, and the next check finds all ranges written."""
    rival, claims = Lake.open(builder.lake.path), [Claim("p0", 0, 1), Claim("p1", 0, 1)]
    meddle(builder, monkeypatch, lambda: append(builder, 0, *claims, lake=rival))
    assert not append(builder, 0, *claims)
    assert offsets(builder.lake) == [0]


def test_columns_that_are_added_between_check_and_commit_are_no_obstacle(
    builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delta refuses the commit; the rows get the new columns and are written once."""
    config = loop_config(predictions={"outputs": {"fraud": {"task": "binary"}}, "slices": ["country"]})
    builder.predict("a", 0, 0)
    writer = builder.lake._writers["predictions"]
    commit = writer._commit

    def commit_late(*arguments: object) -> None:
        monkeypatch.setattr(writer, "_commit", commit)
        Lake.create(builder.lake.path, config)
        commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "_commit", commit_late)
    builder.predict("b", 0, 1)
    rows = Lake.open(builder.lake.path).scan("predictions").select("key", "slice_country").sort("key").collect()
    assert rows.rows() == [("a", None), ("b", None)]


def test_a_compaction_between_check_and_commit_is_no_obstacle(
    builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions survive it, and no row is lost or doubled."""
    for number in range(4):
        append(builder, number, Claim("p0", number, number + 1), Claim("p1", number, number + 1))
    table = DeltaTable(str(builder.lake.path / "rejects"))
    meddle(builder, monkeypatch, table.optimize.compact)
    assert append(builder, 4, Claim("p0", 4, 5), Claim("p1", 4, 5))
    assert not append(builder, 4, Claim("p0", 4, 5), Claim("p1", 4, 5))
    assert not append(builder, 3, Claim("p0", 3, 4), Claim("p1", 3, 4))
    assert offsets(Lake.open(builder.lake.path)) == [0, 1, 2, 3, 4]
    assert len(DeltaTable(str(builder.lake.path / "rejects")).file_uris()) == 2


def test_a_replacement_leaves_nothing_of_another_writer_behind(
    builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delta's own retry would keep rows that were appended in between."""
    append(builder, 0, Claim("p0", 0, 1))
    rival = Lake.open(builder.lake.path)
    meddle(builder, monkeypatch, lambda: append(builder, 1, Claim("p1", 0, 1), lake=rival))
    assert builder.lake.replace("rejects", rejects(builder, 9), [Claim("p0", 1, 2)], recorded_at=RECORDED_AT)
    assert offsets(builder.lake) == [9]


def test_after_a_power_cut_all_commits_from_the_torn_one_on_are_moved_away(builder: LakeBuilder) -> None:
    """The newest commits of two writers: neither append had returned, and both write their rows again."""
    append(builder, 0, Claim("p0", 0, 1), Claim("p1", 0, 1))
    before = set((builder.lake.path / "rejects").glob("*/*.parquet"))
    append(builder, 1, Claim("p0", 1, 2))
    (file,) = set((builder.lake.path / "rejects").glob("*/*.parquet")) - before
    file.write_bytes(b"")
    append(builder, 2, Claim("p1", 1, 2))
    with pytest.raises(LakeError, match="is torn") as caught:
        Lake.open(builder.lake.path)
    assert caught.value.where == str(file)
    for version in (2, 3):
        log = log_file(builder.lake.path / "rejects", version)
        assert str(log) in caught.value.hint
        log.rename(builder.lake.path.parent / log.name)
    mended = Lake.open(builder.lake.path)
    assert positions(mended, "p0", "p1") == [1, 1]
    assert append(builder, 1, Claim("p0", 1, 2), lake=mended)
    assert append(builder, 2, Claim("p1", 1, 2), lake=mended)
    assert offsets(mended) == [0, 1, 2]


def test_an_append_makes_earlier_commits_of_others_durable(
    builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or power loss could tear a commit before one whose append has returned."""
    synced: list[str] = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink().name))
    append(builder, 0, Claim("p0", 0, 1))
    append(builder, 1, Claim("p1", 0, 1), lake=Lake.open(builder.lake.path))
    append(builder, 2, Claim("p1", 1, 2), lake=Lake.open(builder.lake.path))
    synced.clear()
    append(builder, 3, Claim("p0", 1, 2))
    logs = [name for name in synced if name.endswith(".json")]
    assert logs == [log_file(builder.lake.path, version).name for version in (2, 3, 4)]
    assert len([name for name in synced if name.endswith(".parquet")]) == 3


def test_a_scan_within_bounds_has_just_those_rows_and_opens_no_other_files(builder: LakeBuilder) -> None:
    """Rows are filtered; Delta's statistics tell which files cannot have any."""
    for number in range(4):
        frame = rejects(builder, 10 * number, 10 * number + 5)
        builder.lake.append("rejects", frame, [Claim("p0", number, number + 1)], recorded_at=RECORDED_AT)
    found = builder.lake.scan("rejects", {"offset": (5, 20), "partition": (0, 3)})
    assert sorted(found.collect()["offset"].to_list()) == [5, 10, 15, 20]
    for file in DeltaTable(str(builder.lake.path / "rejects")).file_uris()[:1]:  # the newest file holds 30 and 35
        Path(file).unlink()
    assert builder.lake.scan("rejects", {"offset": (0, 29)}).collect().height == 6
    assert builder.lake.scan("rejects", {"offset": (100, 200)}).collect().is_empty()
    assert builder.lake.scan("labels", {"offset": (0, 5)}).collect().is_empty()
