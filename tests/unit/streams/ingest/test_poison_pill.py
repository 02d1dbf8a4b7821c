"""What a worker of ingest has in hand, over several of its lives."""

from pathlib import Path

import pytest

from schemas.errors import StateError
from streams.ingest.poison_pill import STARTS_MAX, PoisonPillGuard, RecordPosition

RANGE = ("t", 0, 10, 20)


def crash(path: Path, times: int, *ranges: tuple[str, int, int, int]) -> None:
    """Begin at the same positions in so many lives, none of which comes to its commit."""
    for _ in range(times):
        PoisonPillGuard(path).begin(ranges)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the account is kept."""
    return tmp_path / "ingest-0.json"


def test_a_committed_batch_leaves_nothing(path: Path) -> None:
    """Neither a file nor care."""
    crash(path, STARTS_MAX - 1, RANGE)
    attempts = PoisonPillGuard(path)
    attempts.begin([RANGE])
    assert path.exists()
    attempts.committed([("t", 0, 20)])
    assert not path.exists()
    assert not PoisonPillGuard(path).is_careful


def test_care_begins_after_three_starts_at_the_same_positions(path: Path) -> None:
    """Neither earlier, nor for starts at other positions."""
    crash(path, STARTS_MAX - 1, RANGE)
    assert not PoisonPillGuard(path).is_careful
    crash(path, 1, RANGE)
    assert PoisonPillGuard(path).is_careful
    crash(path, 1, ("t", 0, 20, 30))
    assert not PoisonPillGuard(path).is_careful


def test_a_transaction_that_is_begun_again_in_one_life_counts_once(path: Path) -> None:
    """An undone transaction is no death."""
    attempts = PoisonPillGuard(path)
    for _ in range(STARTS_MAX + 1):
        attempts.begin([RANGE])
    assert not PoisonPillGuard(path).is_careful


def test_the_record_in_hand_at_a_death_is_put_aside(path: Path) -> None:
    """In all later lives, until its batch is committed; no other record is."""
    crash(path, STARTS_MAX, RANGE)
    attempts = PoisonPillGuard(path)
    attempts.begin([RANGE])
    for offset in (10, 11, 12):
        attempts.take(RecordPosition("t", 0, offset))
    crash(path, 1, RANGE)
    later = PoisonPillGuard(path)
    assert later.is_careful
    assert [offset for offset in range(10, 20) if later.is_quarantined(RecordPosition("t", 0, offset))] == [12]
    later.begin([RANGE])
    later.committed([("t", 0, 20)])
    assert not path.exists()
    assert not later.is_careful


def test_a_record_that_was_put_down_is_not_put_aside(path: Path) -> None:
    """What kills the process after the mapping is not its fault."""
    crash(path, STARTS_MAX, RANGE)
    attempts = PoisonPillGuard(path)
    attempts.begin([RANGE])
    attempts.take(RecordPosition("t", 0, 12))
    attempts.put_down()
    assert not any(PoisonPillGuard(path).is_quarantined(RecordPosition("t", 0, offset)) for offset in range(10, 20))


def test_care_lasts_until_the_whole_range_is_committed(path: Path) -> None:
    """Small batches pass it in several transactions, also over several lives."""
    crash(path, STARTS_MAX, RANGE)
    attempts = PoisonPillGuard(path)
    attempts.begin([("t", 0, 10, 15)])
    attempts.committed([("t", 0, 15)])
    assert attempts.is_careful
    assert path.exists()
    later = PoisonPillGuard(path)
    assert later.is_careful
    later.begin([("t", 0, 15, 25)])
    later.committed([("t", 0, 25)])
    assert not later.is_careful
    assert not path.exists()


def test_the_longest_batch_is_remembered(path: Path) -> None:
    """Batches that begin alike differ in length; what kills may be at the end of the longest."""
    crash(path, 1, ("t", 0, 10, 40))
    crash(path, STARTS_MAX - 1, RANGE)
    attempts = PoisonPillGuard(path)
    attempts.begin([("t", 0, 10, 20)])
    attempts.committed([("t", 0, 20)])
    assert attempts.is_careful


def test_partitions_are_counted_apart(path: Path) -> None:
    """One that gets on is not taken with care for another that does not."""
    crash(path, STARTS_MAX - 1, RANGE, ("t", 1, 5, 6))
    crash(path, 1, RANGE)
    attempts = PoisonPillGuard(path)
    assert attempts.is_careful
    attempts.keep_only([("t", 1)])
    assert not attempts.is_careful


def test_partitions_of_other_workers_are_forgotten(path: Path) -> None:
    """Their records are nobody's care here."""
    crash(path, STARTS_MAX, RANGE)
    attempts = PoisonPillGuard(path)
    attempts.begin([RANGE])
    attempts.take(RecordPosition("t", 0, 12))
    later = PoisonPillGuard(path)
    later.keep_only([("t", 1), ("u", 0)])
    assert not later.is_careful
    assert not later.is_quarantined(RecordPosition("t", 0, 12))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"ranges": 5}', b"\xff"])
def test_a_torn_file_counts_as_none(path: Path, content: bytes) -> None:
    """A machine that dies may leave anything."""
    path.write_bytes(content)
    assert not PoisonPillGuard(path).is_careful


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Without the account nothing is begun."""
    with pytest.raises(StateError, match="cannot be written"):
        PoisonPillGuard(tmp_path / "missing" / "x.json").begin([RANGE])
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        PoisonPillGuard(tmp_path / "folder.json")
