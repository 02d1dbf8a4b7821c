"""Stores that are kept from one run to the next: of the step that is asked for, or empty."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from joins.state import KeyState
from schemas.errors import StateError
from streams.state_store import store as store_module
from streams.state_store.kept import kept_stores
from streams.state_store.store import RocksStore

ONE, TWO = b"after step one", b"after step two"
STATE = KeyState({}, {})


def keep(folder: Path, mark: bytes, keys: Sequence[str] = ("a",)) -> None:
    """Keep a state of two partitions; the first has these keys."""
    with kept_stores(folder, 2, ["click"], None) as kept:
        for key in keys:
            kept.stores[0].put(key, STATE)
        kept.keep(mark)


def found(folder: Path, mark: bytes | None) -> tuple[bool, int]:
    """Return whether the state after a step is there, and how many keys the first partition has."""
    with kept_stores(folder, 2, ["click"], mark) as kept:
        return kept.is_kept, len(kept.stores[0])


def test_a_state_is_found_at_its_step_as_often_as_it_is_asked_for(tmp_path: Path) -> None:
    """What was not kept is lost, and what was kept before stays."""
    assert found(tmp_path / "state", ONE) == (False, 0)
    keep(tmp_path / "state", ONE)
    for _ in range(2):
        assert found(tmp_path / "state", ONE) == (True, 1)
        with kept_stores(tmp_path / "state", 2, ["click"], ONE) as kept:
            assert kept.stores[0].get("a") == STATE
            kept.stores[0].put("b", STATE)
    with kept_stores(tmp_path / "state", 2, ["click"], ONE) as kept:
        kept.stores[0].put("b", STATE)
        kept.keep(TWO)
    assert found(tmp_path / "state", TWO) == (True, 2)


@pytest.mark.parametrize("mark", [TWO, None], ids=["of another step", "before the first step"])
def test_a_state_of_another_step_is_thrown_away(tmp_path: Path, mark: bytes | None) -> None:
    """It is not there the next time either."""
    keep(tmp_path / "state", ONE)
    assert found(tmp_path / "state", mark) == (False, 0)
    assert found(tmp_path / "state", ONE) == (False, 0)


def test_a_state_that_was_kept_in_part_is_thrown_away(tmp_path: Path) -> None:
    """The process was killed between two stores, or amid a step whose changes did not fit into memory."""
    keep(tmp_path / "state", ONE)
    with kept_stores(tmp_path / "state", 2, ["click"], ONE) as kept:
        kept.stores[1].flush(TWO)
    assert found(tmp_path / "state", ONE) == (False, 0)
    keep(tmp_path / "state", ONE)
    with kept_stores(tmp_path / "state", 2, ["click"], ONE) as kept:
        kept.stores[0].put("b", STATE)
        kept.stores[0].spill()
    assert found(tmp_path / "state", ONE) == (False, 0)


def test_a_state_of_another_form_or_one_that_is_damaged_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands there of the rest of it."""
    keep(tmp_path / "state", ONE)
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "STATE_FORMAT", store_module.STATE_FORMAT + 1)
        assert found(tmp_path / "state", ONE) == (False, 0)
        keep(tmp_path / "state", ONE)
        assert found(tmp_path / "state", ONE) == (True, 1)
    assert found(tmp_path / "state", ONE) == (False, 0)
    keep(tmp_path / "state", ONE)
    for name in (tmp_path / "state" / "1").glob("CURRENT"):
        name.write_bytes(b"nothing of this kind\n")
    assert found(tmp_path / "state", ONE) == (False, 0)


def test_a_state_that_another_process_works_on_is_refused_and_stays(tmp_path: Path) -> None:
    """Two replays of one loop never share it."""
    keep(tmp_path / "state", ONE)
    open_ = RocksStore(tmp_path / "state" / "1", ["click"])
    with pytest.raises(StateError, match=r"is (used by another|open already)"):
        found(tmp_path / "state", TWO)
    open_.close()
    assert found(tmp_path / "state", ONE) == (True, 1)
