"""The log of a table as the Delta library writes it."""

from pathlib import Path

import pytest
from deltalake import DeltaTable
from lake_builder import LakeBuilder
from maintenance_case import fill, maintain

from lake.disk import log_file
from lake.maintenance.delta_log import read_actions
from lake.maintenance.storage import FolderStorage
from schemas.errors import LakeError


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table with 70 appends, a Delta checkpoint, a rewrite, another checkpoint, and a row-level delete."""
    path = fill(tmp_path_factory.mktemp("log") / "lake").lake.path
    maintain(path)
    DeltaTable(str(path / "predictions")).delete("key = 'k000'")
    return path / "predictions"


def test_actions_of_an_append(table: Path) -> None:
    """Rows of one application."""
    found = read_actions(FolderStorage(table), 1)
    assert (found.removed, found.apps, found.alters) == (frozenset(), {"builder"}, False)


def test_actions_of_a_rewrite(table: Path) -> None:
    """Its claim, and what is gone."""
    found = read_actions(FolderStorage(table), 71)
    assert (len(found.removed), found.apps, found.alters) == (70, {"maintain:predictions"}, False)


def test_actions_of_a_row_level_delete(table: Path) -> None:
    """It replaces the file."""
    found = read_actions(FolderStorage(table), 72)
    assert (len(found.removed), found.apps) == (1, frozenset())
    assert all((table / path).exists() for path in found.removed)


def test_actions_of_the_first_entry_change_the_table(table: Path) -> None:
    """Its columns and protocol."""
    assert read_actions(FolderStorage(table), 0).alters


@pytest.mark.parametrize("text", ["not JSON", '{"remove": 1}', "[]", "", '{"remove": {}}'])
def test_an_unreadable_entry_is_named(tmp_path: Path, text: str) -> None:
    """With its file and the way out."""
    table = LakeBuilder(tmp_path / "lake").lake.path / "predictions"
    log_file(table, 1).write_text(text)
    with pytest.raises(LakeError, match=r"00000000000000000001\.json"):
        read_actions(FolderStorage(table), 1)
