"""The durable store beyond what it shares with the one in memory: crashes, faults, and the work that it saves.

Its database, `streams.state_store.database`, is tested through it.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fingerprint import full_fingerprint
from history import decisions_of
from rocks_folder import rocks_folder
from rocksdict import Options, Rdict

from joins import (
    Batch,
    Checkpoint,
    KeptLabel,
    KindPolicy,
    LabelRecord,
    MemoryStore,
    Op,
    Partition,
    Policy,
    PredictionRecord,
    rebuild,
)
from joins.keyed_state import KeyedState
from joins.state import STATE_FORMAT, Chain, KeyState, LabelState, PredictionState, chain_name
from schemas.base.status import Status
from schemas.errors import StateError
from streams.state_store import store as rocks_store
from streams.state_store.store import RocksStore

KINDS = ["click"]
POLICY = Policy({"click": KindPolicy("d1", horizon_ms=100, retain_ms=200)})
NOW_MS = 10_000


def state(offset: int = 0) -> KeyState:
    """Return a state with one prediction."""
    return KeyState({"id": PredictionState(1_000, offset, 1, eligible=True, projection=["v1"], chains={})}, {})


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return the folder of a store."""
    made = rocks_folder()
    yield made / "loop" / "0"
    shutil.rmtree(made)


@pytest.fixture
def store(folder: Path) -> Iterator[RocksStore]:
    """Return an empty store; the fixture closes it."""
    made = RocksStore(folder, KINDS)
    yield made
    made.close()


class Watch:
    """Records the calls of a method and passes them on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.calls: list[tuple[Any, ...]] = []
        method = getattr(owner, name)

        def watched(*args: Any) -> Any:
            self.calls.append(args)
            return method(*args)

        monkeypatch.setattr(owner, name, watched)


CHILD = """
import sys
from pathlib import Path
from joins.state import KeyState
from streams.state_store.store import RocksStore
store = RocksStore(Path(sys.argv[1]), ["click"])
for number in range(100):
    store.put(f"flushed {number}", KeyState({}, {}))
store.by_prediction.add((1, 1, "flushed 1", "id"))
store.flush(b"the checkpoint")
store.by_prediction.take(2, 1)
store.put("not flushed", KeyState({}, {}))
store.delete("flushed 1")
print("ready", flush=True)
sys.stdin.read()
"""


def test_kill_9_leaves_exactly_the_last_flush_and_its_checkpoint(folder: Path) -> None:
    """No later key or entry is there; while the process lives, no other can open the store."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with pytest.raises(StateError, match="used by another process") as caught:
            RocksStore(folder, KINDS)
        child.send_signal(signal.SIGKILL)
    assert not caught.value.must_rebuild
    store = RocksStore(folder, KINDS)
    assert store.checkpoint() == b"the checkpoint"
    assert (len(store), store.get("not flushed")) == (100, None)
    assert store.get("flushed 1") == KeyState({}, {})
    assert store.by_prediction.between(None, 10, 10) == [(1, 1, "flushed 1", "id")]
    store.close()


def test_a_store_that_is_open_in_this_process_is_not_opened_twice(store: RocksStore, folder: Path) -> None:
    """The error names the folder; after closing it, even twice, it opens."""
    with pytest.raises(StateError, match="open already in this process") as caught:
        RocksStore(folder, KINDS)
    assert caught.value.where == str(folder)
    store.close()
    store.close()
    RocksStore(folder, KINDS).close()


def test_another_state_format_is_refused_and_may_be_rebuilt(store: RocksStore, folder: Path) -> None:
    """Neither an unknown format nor a foreign database is touched."""
    store.close()
    raw = Rdict(str(folder), Options(raw_mode=True))
    raw[b"\0format"] = b"7"
    raw.close()
    with pytest.raises(StateError, match="holds a state of format 7, and this version reads 3") as caught:
        RocksStore(folder, KINDS)
    assert caught.value.must_rebuild
    assert "Move the folder away" in str(caught.value)
    foreign = folder.parent / "foreign"
    raw = Rdict(str(foreign), Options(raw_mode=True))
    raw[b"key"] = b"value"
    raw.close()
    with pytest.raises(StateError, match="format none"):
        RocksStore(foreign, KINDS)


def test_the_stored_form_is_pinned_to_its_format() -> None:
    """A change of a struct of the state needs a new STATE_FORMAT, and its form pinned here."""
    name = "click\0d"
    chain = Chain(Status.JOINED, 1.0, 3, 2, 7)
    label = LabelState(2, 7, "class", 3, 1, joined=True, out_of_reach=False, superseded_by=9)
    key = KeyState(
        {"id": PredictionState(1, 2, 3, eligible=True, projection=["v1", None], chains={name: chain})}, {name: [label]}
    )
    form = (
        b"\x92\x81\xa2id\x96\x01\x02\x03\xc3\x92\xa2v1\xc0\x81\xa7click\x00d\x95\xa6joined\xcb?\xf0\0\0\0\0\0\0\x03\x02\x07"
        b"\x81\xa7click\x00d\x91\x98\x02\x07\xa5class\x03\x01\xc3\xc2\x09"
    )
    assert (STATE_FORMAT, msgspec.msgpack.encode(key)) == (3, form)
    assert msgspec.msgpack.decode(form, type=KeyState) == key


def filled(folder: Path, keys: int) -> None:
    """Write a store with this many keys and close it."""
    store = RocksStore(folder, KINDS)
    for number in range(keys):
        store.put(f"key {number}", state(number))
        store.by_prediction.add((number, number, f"key {number}", "id"))
    store.flush(b"checkpoint")
    store.close()


def test_damage_is_found_when_opening(folder: Path) -> None:
    """A store without its manifest cannot be used any more."""
    filled(folder, 10)
    for manifest in folder.glob("MANIFEST-*"):
        manifest.write_bytes(b"\0" * 100)
    with pytest.raises(StateError, match="is damaged") as caught:
        RocksStore(folder, KINDS)
    assert caught.value.must_rebuild


@pytest.mark.parametrize("reading", ["get", "items", "between", "take"])
def test_damage_is_found_when_reading_and_never_taken_for_an_end(folder: Path, reading: str) -> None:
    """RocksDB's iterators end silently at a damaged block: the deadlines after it would never pass."""
    filled(folder, 1_000)
    for file in folder.glob("*.sst"):
        data = bytearray(file.read_bytes())
        data[len(data) // 4] ^= 0xFF
        file.write_bytes(data)
    read = {
        "get": lambda store: store.prefetch(f"key {number}" for number in range(1_000)),
        "items": lambda store: list(store.items()),
        "between": lambda store: store.by_prediction.between(None, 5_000, 5_000),
        "take": lambda store: store.by_prediction.take(5_000, 5_000),
    }
    with pytest.raises(StateError, match="is damaged") as caught:  # noqa: PT012 - opening may find it, too
        store = RocksStore(folder, KINDS)
        try:
            read[reading](store)
        finally:
            store.close()
    assert caught.value.must_rebuild


class FullDisk:
    """RocksDB on a full disk."""

    def write(self, _: object) -> None:
        """Fail with RocksDB's text."""
        raise Exception("IO error: No space left on device: While appending to file: x.log")  # noqa: TRY002


def test_a_full_disk_stops_the_flush_and_loses_nothing(
    store: RocksStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The changes stay in memory, so that the flush can be retried."""
    store.put("a", state())
    store.by_prediction.add((5, 0, "a", "id"))
    with monkeypatch.context() as context:
        context.setattr(store._database, "_entries", FullDisk())
        with pytest.raises(StateError, match="the disk is full") as caught:
            store.flush(b"one")
    assert not caught.value.must_rebuild
    assert (store.checkpoint(), store.touched, len(store)) == (None, 1, 1)
    store.flush(b"two")
    store.close()
    again = RocksStore(folder, KINDS)
    assert (again.checkpoint(), again.get("a"), len(again.by_prediction)) == (b"two", state(), 1)
    again.close()


def test_a_folder_that_cannot_be_created_is_an_error_with_its_path(tmp_path: Path) -> None:
    """Whatever the system's reason, the error names the folder."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError) as caught:
        RocksStore(tmp_path / "file" / "0", KINDS)
    assert caught.value.where == str(tmp_path / "file" / "0")


def test_a_spilled_store_has_no_checkpoint_and_opens_empty_without_a_flush(store: RocksStore, folder: Path) -> None:
    """Half of a restore is no state; a flush completes it."""
    store.flush(b"before")
    store.put("a", state())
    store.by_prediction.add((5, 0, "a", "id"))
    store.spill()
    assert (store.checkpoint(), store.touched, store.get("a")) == (None, 0, state())
    store.close()
    again = RocksStore(folder, KINDS)
    assert (again.checkpoint(), len(again), again.get("a"), list(again.items())) == (None, 0, None, [])
    assert again.by_prediction.between(None, 10, 10) == []
    again.put("b", state())
    again.spill()
    again.flush(b"after")
    again.close()
    last = RocksStore(folder, KINDS)
    assert (last.checkpoint(), [key for key, _ in last.items()]) == (b"after", ["b"])
    last.close()


def test_a_state_that_was_only_read_is_not_written_again(folder: Path) -> None:
    """A sweep reads many states without changing them; a change in place is noticed however deep it is."""
    filled(folder, 100)
    store = RocksStore(folder, KINDS)
    before = store._database._entries.latest_sequence_number()
    for number in range(100):
        found = store.get(f"key {number}")
        assert found is not None
        if number == 7:
            found.predictions["id"].chains["click\0d1"] = Chain(Status.EXPIRED, None, 5)
    store.flush(b"checkpoint")
    metadata = 2  # the checkpoint and the counts
    assert store._database._entries.latest_sequence_number() - before == metadata + 1
    store.close()


def test_a_key_that_was_put_and_deleted_between_two_flushes_is_not_written(store: RocksStore) -> None:
    """Write-behind saves writes of short-lived keys."""
    store.flush(b"one")
    before = store._database._entries.latest_sequence_number()
    store.put("a", state())
    store.by_prediction.add((5, 0, "a", "id"))
    store.delete("a")
    assert store.by_prediction.take(6, 10) == [(5, 0, "a", "id")]
    store.flush(b"two")
    assert store._database._entries.latest_sequence_number() - before == 2


@pytest.fixture
def clean_keys(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return a small limit of the keys that stay in memory after a flush."""
    monkeypatch.setattr(rocks_store, "CLEAN_KEYS", 100)
    return 100


def test_the_keys_changed_last_are_still_in_memory_after_a_flush(
    store: RocksStore, clean_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the last flush, and of earlier ones as many as there is room for."""
    half = clean_keys // 2
    for first in range(0, 3 * half, half):
        for number in range(first, first + half):
            store.put(str(number), state(number))
        store.flush(b"checkpoint")
    reads = Watch(monkeypatch, store._database, "states")
    for number in range(half, 3 * half):
        assert store.get(str(number)) == state(number)
    assert reads.calls == []
    assert store.get(str(half - 1)) == state(half - 1)
    assert len(reads.calls) == 1


def test_one_flush_of_very_much_does_not_stay_in_memory(
    store: RocksStore, clean_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit holds for any flush; the newest keys stay."""
    for number in range(2 * clean_keys + 1):
        store.put(str(number), state())
    store.flush(b"checkpoint")
    reads = Watch(monkeypatch, store._database, "states")
    store.prefetch(map(str, range(2 * clean_keys + 1)))
    [([*keys],)] = reads.calls
    assert keys == [str(number).encode() for number in range(clean_keys + 1)]


def test_states_of_due_entries_are_read_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep reads the keys of its entries before it looks at the first one."""
    filled(folder, 500)
    store = RocksStore(folder, KINDS)
    reads = Watch(monkeypatch, store._database, "states")
    keyed = KeyedState(POLICY, store)
    keyed.time_out_all(store.by_prediction.between(None, 10_000, 10_000), "click", 1)
    assert len(keyed.effects.outcomes) == 500
    assert len(reads.calls) == 1
    store.close()


def test_nothing_is_read_where_no_entry_can_be_due(store: RocksStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step asks for due entries; a remembered gap answers, until an entry falls into it."""
    for number in range(10):
        store.by_prediction.add((100 * number, number, "a", "id"))
    store.flush(b"checkpoint")
    walks = Watch(monkeypatch, store._database, "walk_entry_keys")
    index = store.by_prediction
    assert [entry[0] for entry in index.take(150, 10)] == [0, 100]
    assert [entry[0] for entry in index.between((150, 1 << 62), 450, 10)] == [200, 300, 400]
    assert len(walks.calls) == 2
    for until in range(450, 501, 10):
        assert index.take(until - 300, 10) == []
        assert index.between((until - 10, (1 << 62) - 1), until, 10) == []
    assert len(walks.calls) == 2
    index.add((470, 99, "a", "id"))
    store.flush(b"checkpoint")
    assert index.between((460, 0), 500, 10) == [(470, 99, "a", "id")]
    assert len(walks.calls) == 3


def prediction(number: int) -> PredictionRecord:
    """Return one of many predictions."""
    return PredictionRecord(
        number, f"key {number}", f"key {number}", 1_000 + number, 1, eligible=True, projection=["v1"]
    )


def label(number: int) -> LabelRecord:
    """Return a label of every other prediction, each corrected once."""
    key, time_ms = number // 2 * 2, 1_001 + number
    return LabelRecord(number, f"key {key}", "click", "d1", Op.UPSERT, float(number % 2), time_ms, time_ms)


def test_a_rebuild_of_more_than_fits_in_memory_spills(
    store: RocksStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few states and rows are held at any time; the result has the right fingerprint and survives."""
    count, page = 400, 20
    memory = Partition(POLICY, MemoryStore(KINDS))
    predictions, labels = [prediction(n) for n in range(count)], [label(n) for n in range(count)]
    effects = [memory.step(Batch(predictions, labels, count, count, now_ms=NOW_MS))]
    while not memory.is_caught_up:
        effects.append(memory.step(Batch([], [], count, count, now_ms=NOW_MS)))
    assert 0 < len(memory.store) < count
    assert not [row for step in effects for row in step.rejects if row.reason == "stale"]
    kept = [KeptLabel(record, is_stale=False) for record in labels]
    decisions = decisions_of(effects)
    held: list[int] = []
    spill = store.spill

    def watched() -> None:
        held.append(store.touched)
        spill()

    monkeypatch.setattr(import_module("joins.rebuild"), "PAGE", page)
    monkeypatch.setattr(store, "spill", watched)

    def in_pages(records: list[Any], key_of: Callable[[Any], str]) -> Iterator[Any]:
        for first in range(0, len(records), page):
            store.spill()
            store.prefetch(key_of(record) for record in records[first : first + page])
            yield from records[first : first + page]

    partition = rebuild(
        POLICY,
        store,
        memory.checkpoint,
        in_pages(predictions, lambda record: record.key),
        in_pages(kept, lambda label: label.record.key),
        in_pages(decisions, lambda decision: decision.key),
    )
    assert max(held) <= page
    assert len(held) >= 3 * count // page
    assert store.checkpoint() is None
    store.flush(msgspec.msgpack.encode(partition.checkpoint))
    store.close()
    again = RocksStore(folder, KINDS)
    assert full_fingerprint(state for _, state in again.items()) == memory.checkpoint.fingerprint
    assert dict(again.items()) == dict(memory.store.items())
    rows = again.rows_of([chain_name("click", "d1")])
    assert rows is not None  # what was restored key by key is taken as rows from then on
    assert rows.is_flat(again.locate([key for key, _ in again.items()])).any()
    assert dict(again.items()) == dict(memory.store.items())
    assert msgspec.msgpack.decode(again.checkpoint() or b"", type=Checkpoint) == memory.checkpoint
    again.close()
