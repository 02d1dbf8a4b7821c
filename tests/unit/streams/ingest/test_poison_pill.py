"""The poison pill guard of an ingest worker, across restarts of its process."""

from pathlib import Path

import pytest

from schemas.errors import StateError
from streams.ingest.poison_pill import STARTS_MAX, PoisonPillGuard, RecordPosition

RANGE = ("t", 0, 10, 20)


def crash(path: Path, times: int, *ranges: tuple[str, int, int, int]) -> None:
    """Begin the same batch in so many processes, none of which commits it."""
    for _ in range(times):
        PoisonPillGuard(path).begin(ranges)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of the guard's file."""
    return tmp_path / "ingest-0.json"


def test_a_committed_batch_leaves_nothing(path: Path) -> None:
    """Neither a file nor isolation."""
    crash(path, STARTS_MAX - 1, RANGE)
    guard = PoisonPillGuard(path)
    guard.begin([RANGE])
    assert path.exists()
    guard.committed([("t", 0, 20)])
    assert not path.exists()
    assert not PoisonPillGuard(path).is_isolating


def test_isolation_begins_after_three_starts_at_the_same_positions(path: Path) -> None:
    """Neither earlier, nor for starts at other positions."""
    crash(path, STARTS_MAX - 1, RANGE)
    assert not PoisonPillGuard(path).is_isolating
    crash(path, 1, RANGE)
    assert PoisonPillGuard(path).is_isolating
    crash(path, 1, ("t", 0, 20, 30))
    assert not PoisonPillGuard(path).is_isolating


def test_a_transaction_that_is_begun_again_in_one_process_counts_once(path: Path) -> None:
    """An undone transaction is no crash."""
    guard = PoisonPillGuard(path)
    for _ in range(STARTS_MAX + 1):
        guard.begin([RANGE])
    assert not PoisonPillGuard(path).is_isolating


def test_the_record_that_is_mapped_when_the_process_dies_is_a_poison_pill(path: Path) -> None:
    """In all later processes, until its batch is committed; no other record is."""
    crash(path, STARTS_MAX, RANGE)
    guard = PoisonPillGuard(path)
    guard.begin([RANGE])
    for offset in (10, 11, 12):
        guard.begin_record(RecordPosition("t", 0, offset))
    crash(path, 1, RANGE)
    later = PoisonPillGuard(path)
    assert later.is_isolating
    assert [offset for offset in range(10, 20) if later.is_poison_pill(RecordPosition("t", 0, offset))] == [12]
    later.begin([RANGE])
    later.committed([("t", 0, 20)])
    assert not path.exists()
    assert not later.is_isolating


def test_a_record_that_was_mapped_is_no_poison_pill(path: Path) -> None:
    """A crash after the mapping has another cause."""
    crash(path, STARTS_MAX, RANGE)
    guard = PoisonPillGuard(path)
    guard.begin([RANGE])
    guard.begin_record(RecordPosition("t", 0, 12))
    guard.end_record()
    assert not any(PoisonPillGuard(path).is_poison_pill(RecordPosition("t", 0, offset)) for offset in range(10, 20))


def test_isolation_lasts_until_the_whole_range_is_committed(path: Path) -> None:
    """Small batches commit it in several transactions, also over several processes."""
    crash(path, STARTS_MAX, RANGE)
    guard = PoisonPillGuard(path)
    guard.begin([("t", 0, 10, 15)])
    guard.committed([("t", 0, 15)])
    assert guard.is_isolating
    assert path.exists()
    later = PoisonPillGuard(path)
    assert later.is_isolating
    later.begin([("t", 0, 15, 25)])
    later.committed([("t", 0, 25)])
    assert not later.is_isolating
    assert not path.exists()


def test_the_longest_batch_is_remembered(path: Path) -> None:
    """Batches with the same first offset differ in length; the poison pill may be at the end of the longest."""
    crash(path, 1, ("t", 0, 10, 40))
    crash(path, STARTS_MAX - 1, RANGE)
    guard = PoisonPillGuard(path)
    guard.begin([("t", 0, 10, 20)])
    guard.committed([("t", 0, 20)])
    assert guard.is_isolating


def test_partitions_are_counted_apart(path: Path) -> None:
    """One that makes progress is not isolated because of another that does not."""
    crash(path, STARTS_MAX - 1, RANGE, ("t", 1, 5, 6))
    crash(path, 1, RANGE)
    guard = PoisonPillGuard(path)
    assert guard.is_isolating
    guard.keep_only([("t", 1)])
    assert not guard.is_isolating


def test_partitions_of_other_workers_are_dropped(path: Path) -> None:
    """Neither isolation nor a poison pill is left of them."""
    crash(path, STARTS_MAX, RANGE)
    guard = PoisonPillGuard(path)
    guard.begin([RANGE])
    guard.begin_record(RecordPosition("t", 0, 12))
    later = PoisonPillGuard(path)
    later.keep_only([("t", 1), ("u", 0)])
    assert not later.is_isolating
    assert not later.is_poison_pill(RecordPosition("t", 0, 12))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"ranges": 5}', b"\xff"])
def test_a_torn_file_counts_as_none(path: Path, content: bytes) -> None:
    """A machine that dies may leave any content."""
    path.write_bytes(content)
    assert not PoisonPillGuard(path).is_isolating


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """No batch is begun without its entry in the file."""
    with pytest.raises(StateError, match="cannot be written"):
        PoisonPillGuard(tmp_path / "missing" / "x.json").begin([RANGE])
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        PoisonPillGuard(tmp_path / "folder.json")


def test_a_process_that_is_restarted_while_it_waits_was_not_killed_by_its_records(path: Path) -> None:
    """However often; what earlier processes died of still counts, and the record in hand is none that killed."""
    for _ in range(STARTS_MAX + 1):
        guard = PoisonPillGuard(path)
        guard.begin([RANGE])
        guard.survived()
    assert not path.exists()
    crash(path, STARTS_MAX, RANGE)
    guard, record = PoisonPillGuard(path), RecordPosition("t", 0, 10)
    guard.begin([RANGE])
    guard.begin_record(record)
    guard.survived()
    following = PoisonPillGuard(path)
    assert following.is_isolating
    assert not following.is_poison_pill(record)
