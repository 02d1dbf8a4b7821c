"""The log of a table as the Delta library writes it."""

from pathlib import Path

import pytest
from deltalake import DeltaTable
from lake_builder import LakeBuilder
from maintenance_case import fill, maintain

from lake.disk import log_file
from lake.log_path import commit_path
from lake.maintenance.delta_log import list_log, read_actions
from lake.storage.folder import FolderStorage
from schemas.errors import LakeError


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table with 70 appends, a Delta checkpoint, a rewrite, another checkpoint, and a row-level delete."""
    path = fill(tmp_path_factory.mktemp("log") / "lake").lake.path
    maintain(path)
    DeltaTable(str(path / "predictions")).delete("key = 'k000'")
    return path / "predictions"


def test_entries_and_checkpoints_are_told_apart(table: Path) -> None:
    """By version; everything else is neither."""
    (table / "_delta_log" / ".x.draft").write_bytes(b"12")
    log = list_log(FolderStorage(table))
    assert sorted(log.commits) == list(range(73))
    assert sorted(log.checkpoints) == [50, 71]
    assert {Path(file.path).name for file in log.others} == {"_last_checkpoint", ".x.draft"}
    assert log.size == sum(file.stat().st_size for file in (table / "_delta_log").iterdir())
    assert log.commits[7].path == commit_path(7) == log_file(table, 7).relative_to(table).as_posix()


def test_actions_of_an_append(table: Path) -> None:
    """Rows of one application."""
    found = read_actions(FolderStorage(table), 1)
    assert (len(found.added), found.removed, found.apps) == (1, frozenset(), {"builder"})
    assert (found.is_rewrite, found.alters) == (False, False)
    assert found.named == found.added
    assert found.time_ms == DeltaTable(str(table)).history()[-2]["timestamp"]


def test_actions_of_a_rewrite(table: Path) -> None:
    """No row is new."""
    found = read_actions(FolderStorage(table), 71)
    assert (len(found.added), len(found.removed), found.apps) == (1, 70, {"maintain:predictions"})
    assert found.is_rewrite


def test_actions_of_a_delete_name_the_file_of_the_change_feed(table: Path) -> None:
    """It lies beside the rows."""
    found = read_actions(FolderStorage(table), 72)
    assert (len(found.added), len(found.removed), len(found.changes)) == (1, 1, 1)
    assert not found.is_rewrite
    assert all((table / path).exists() for path in found.named)


def test_actions_of_the_first_entry_change_the_table(table: Path) -> None:
    """Its columns and protocol."""
    assert read_actions(FolderStorage(table), 0).alters


@pytest.mark.parametrize("text", ["not JSON", '{"add": 1}', "[]", "", '{"add": {}}'])
def test_an_unreadable_entry_is_named(tmp_path: Path, text: str) -> None:
    """With its file and the way out."""
    table = LakeBuilder(tmp_path / "lake").lake.path / "predictions"
    log_file(table, 1).write_text(text)
    with pytest.raises(LakeError, match=r"00000000000000000001\.json"):
        read_actions(FolderStorage(table), 1)
