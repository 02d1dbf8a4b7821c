"""A restore that fails can be tried again by the same process."""

from pathlib import Path

import pytest
from join_case import live_config
from join_task import task_in
from rocksdict import Options, Rdict

from schemas.errors import BrokerError, StateError
from streams.join_worker import recovery
from streams.join_worker.committed import CommittedPosition
from streams.join_worker.recovery import TaskRestorer
from streams.join_worker.task import PartitionTask, StoredCheckpoint
from streams.kafka.client import KafkaClients
from streams.messages.canonical import CanonicalReader
from streams.state_store.store import RocksStore

CONFIG = live_config("127.0.0.1:1")
KINDS = list(CONFIG.labels)


def away(*_: object) -> None:
    """Fail as a read does when no broker answers."""
    raise BrokerError("no broker answers", where="partition 0", hint="Is it up?")


@pytest.fixture
def restorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskRestorer:
    """Return a restorer whose broker goes away once the store is open; the ledger's newest entry was none."""
    found = TaskRestorer(KafkaClients(CONFIG.kafka, {}), CONFIG, CanonicalReader(CONFIG), tmp_path, tmp_path / "lake")
    monkeypatch.setattr(found._ledger, "last", lambda _: None)
    monkeypatch.setattr(found._ledger, "between", away)
    monkeypatch.setattr(found, "_check_topics", lambda *_: None)
    monkeypatch.setattr(recovery, "offset_bounds", away)
    return found


def store_at(folder: Path, sequence: int) -> None:
    """Leave a partition's store on disk, with this many steps."""
    task = task_in(folder, CONFIG, sequence)
    task.flush()
    task.close()


def fails_twice(restorer: TaskRestorer, committed: CommittedPosition | None) -> None:
    """Restore twice; the first error, with all that its traceback holds, lives on while the second try is made."""
    with pytest.raises(BrokerError, match="no broker answers") as first:
        restorer.restore(0, committed)
    with pytest.raises(BrokerError, match="no broker answers"):
        restorer.restore(0, committed)
    assert first.tb is not None


def test_a_store_that_is_behind_is_closed_if_the_ledger_cannot_be_read(restorer: TaskRestorer, tmp_path: Path) -> None:
    """The store is kept where it is, at the step it had."""
    store_at(tmp_path / "0", 3)
    fails_twice(restorer, CommittedPosition((0, 0, 0), 5, 0))
    store = RocksStore(tmp_path / "0", KINDS)
    raw = store.checkpoint()
    store.close()
    assert raw is not None
    assert StoredCheckpoint.decode(raw).sequence == 3
    assert not (tmp_path / "0.aside").exists()


def test_a_new_store_is_closed_if_the_topics_cannot_be_read(restorer: TaskRestorer) -> None:
    """As where a loop starts for the first time and the broker goes away."""
    fails_twice(restorer, None)


def test_a_store_of_another_format_is_moved_aside_and_filled_anew(restorer: TaskRestorer, tmp_path: Path) -> None:
    """An upgrade needs nobody's hand; here the broker is away, so the new store is empty."""
    store_at(tmp_path / "0", 3)
    raw = Rdict(str(tmp_path / "0"), Options(raw_mode=True))
    raw[b"\0format"] = b"1"
    raw.close()
    with pytest.raises(BrokerError, match="no broker answers"):
        restorer.restore(0, CommittedPosition((0, 0, 0), 5, 0))
    assert (tmp_path / "0.aside").exists()
    assert not (tmp_path / "0").exists()


def test_a_restored_store_is_closed_if_it_cannot_be_written(
    restorer: TaskRestorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk is full: the next try, with room, continues with it."""

    def full(_: PartitionTask) -> None:
        raise StateError("the disk is full", where=str(tmp_path))

    store_at(tmp_path / "0", 5)
    monkeypatch.setattr(restorer._ledger, "between", lambda *_: [])
    with monkeypatch.context() as patch:
        patch.setattr(PartitionTask, "flush", full)
        with pytest.raises(StateError, match="the disk is full") as first:
            restorer.restore(0, CommittedPosition((0, 0, 0), 5, 0))
    task = restorer.restore(0, CommittedPosition((0, 0, 0), 5, 0))
    assert task.sequence == 5
    task.close()
    assert first.tb is not None
