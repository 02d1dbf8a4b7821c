"""Folders of state are for their owner and its group alone."""

import os
import stat
from pathlib import Path

import pytest

from streams.runtime.folder import make_state_folder


@pytest.mark.parametrize(("before", "after"), [(0o777, 0o750), (0o755, 0o750), (0o700, 0o700), (0o2775, 0o2750)])
def test_a_folder_from_before_is_closed_to_others(tmp_path: Path, before: int, after: int) -> None:
    """Nothing is opened that was closed, and special bits stay."""
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(before)
    make_state_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == after


def test_a_new_folder_is_closed_to_others_whatever_the_umask(tmp_path: Path) -> None:
    """Also one inside folders that are not there yet."""
    umask = os.umask(0)
    try:
        make_state_folder(tmp_path / "a" / "state")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a" / "state").stat().st_mode) == 0o750


def test_a_folder_of_somebody_else_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mounted volume belongs to the system."""

    def refuse(_folder: Path, _mode: int) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refuse)
    tmp_path.joinpath("state").mkdir(mode=0o755)
    make_state_folder(tmp_path / "state")
    assert (tmp_path / "state").is_dir()
