"""Stores for a state that is thrown away: they spill to files of their own, and leave none behind."""

import tempfile
from pathlib import Path

import pytest

from joins.state import KeyState
from streams.state_store.temporary import temporary_stores


def test_temporary_stores_keep_what_they_spill_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each its own keys; also when what uses them fails."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyError), temporary_stores(2, ["click"]) as (first, second):  # noqa: PT012 - the block is what fails
        first.put("a", KeyState({}, {}))
        first.spill()
        assert (first.touched, len(first), len(second)) == (0, 1, 0)
        assert first.get("a") == KeyState({}, {})
        assert second.get("a") is None
        assert list(tmp_path.iterdir()) != []
        second.delete("a")
    assert list(tmp_path.iterdir()) == []
