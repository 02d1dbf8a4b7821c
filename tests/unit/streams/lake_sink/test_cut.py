"""Cuts at whole steps, errors about records that the ledger counts and that are not there, and backpressure."""

import msgspec
import pytest

from joins import Checkpoint
from schemas.errors import LakeError
from streams.kafka.messages import PartitionMessages
from streams.lake_sink.backpressure import is_full, tables_to_pause
from streams.lake_sink.buffer import LakePosition, MemoryShare
from streams.lake_sink.cut import STEPPED, TABLES, Cut, PendingPartition
from streams.ledger.entry import LedgerRecord

NONE: frozenset[str] = frozenset()


def messages(*offsets: int, value: bytes = b"{}") -> PartitionMessages:
    """Return messages at these offsets."""
    return PartitionMessages(list(offsets), [value] * len(offsets), [0] * len(offsets))


def entry(sequence: int, predictions: tuple[int, int], *, consumed: int, outcomes: int = 0, rejects: int = 0) -> bytes:
    """Return a step's entry; `consumed` predictions were read up to its end."""
    checkpoint = Checkpoint.start(["click"])
    checkpoint.counters.predictions.consumed = consumed
    ranges = (predictions, (0, 0), (0, 0))
    return LedgerRecord(sequence, 0, 0, *ranges, "{}", outcomes, rejects, checkpoint).encode()


def pending(held: dict[str, int] | None = None, **starts: LakePosition) -> PendingPartition:
    """Return a partition at the beginning, or at the given positions."""
    every = dict.fromkeys(TABLES, LakePosition()) | starts
    return PendingPartition(0, every, dict.fromkeys(STEPPED, 0) | (held or {}), None)


def read_step(one: PendingPartition, offset: int, value: bytes) -> None:
    """Let a partition read a ledger entry."""
    one.read("ledger", PartitionMessages([offset], [value], [0]))


def rows(cut: Cut | None) -> dict[str, list[int]]:
    """Return the offsets of a cut by table."""
    return {} if cut is None else {table: some.offsets for table, some in cut.messages.items() if some.offsets}


def test_a_step_waits_for_all_records_that_it_counts() -> None:
    """The last message to come completes it, whatever it is."""
    one = pending()
    read_step(one, 0, entry(0, (0, 4), consumed=2, outcomes=2, rejects=1))
    assert one.cut() is None
    one.read("outcomes", messages(5, 6))
    one.read("rejects", messages(1, value=b'{"sequence": 0}'))
    one.read("predictions", messages(0, 2))
    assert one.cut() is None  # offset 3 was not read: it may hold a record
    one.buffers["predictions"].position = 4
    assert rows(one.cut()) == {"predictions": [0, 2], "outcomes": [5, 6], "rejects": [1], "ledger": [0]}
    assert one.cut() is None


def test_messages_beyond_the_step_wait() -> None:
    """Predictions that no step has read yet, and rows of the next step."""
    one = pending()
    read_step(one, 0, entry(0, (0, 2), consumed=2, outcomes=1))
    one.read("predictions", messages(0, 1, 2, 3))
    one.read("outcomes", messages(0, 2))
    cut = one.cut()
    assert rows(cut) == {"predictions": [0, 1], "outcomes": [0], "ledger": [0]}
    assert cut is not None
    assert (cut.following["predictions"], cut.following["outcomes"]) == (2, 1)


def test_rejects_of_ingest_do_not_wait_for_the_join() -> None:
    """They are cut up to the first reject of an incomplete step."""
    one = pending()
    ours, ingests = b'{"sequence": 0}', b'{"stage": "mapping"}'
    one.read("rejects", PartitionMessages([0, 1, 2, 3], [ingests, ours, ingests, b"junk"], [0] * 4))
    assert rows(one.cut()) == {"rejects": [0]}
    assert one.cut() is None
    read_step(one, 0, entry(0, (0, 0), consumed=0, rejects=1))
    assert rows(one.cut()) == {"rejects": [1, 2, 3], "ledger": [0]}


def test_a_table_that_is_ahead_gets_nothing_of_the_steps_that_it_has() -> None:
    """Its writer was killed between two tables."""
    one = pending({"outcomes": 1}, outcomes=LakePosition(7, 7), predictions=LakePosition(2, 2))
    read_step(one, 0, entry(0, (0, 2), consumed=2, outcomes=5))
    read_step(one, 2, entry(1, (2, 3), consumed=3, outcomes=1))
    one.read("predictions", messages(2))
    one.read("outcomes", messages(8))
    assert rows(one.cut()) == {"predictions": [2], "outcomes": [8], "ledger": [0, 2]}


def test_positions_pass_offsets_without_a_record_once_all_messages_are_cut() -> None:
    """Else a topic that retention has emptied would look as if records were lost."""
    one = pending()
    read_step(one, 0, entry(0, (0, 0), consumed=0, outcomes=1))
    one.read("outcomes", messages(3))
    one.buffers["outcomes"].position, one.buffers["ledger"].position = 9, 2
    cut = one.cut()
    assert cut is not None
    assert (cut.following["outcomes"], cut.following["ledger"]) == (9, 2)


def test_records_that_the_join_has_not_read_have_no_row() -> None:
    """The join started after them."""
    one = pending()
    one.read("predictions", messages(3, 4))
    read_step(one, 0, entry(0, (5, 7), consumed=2))
    one.read("predictions", messages(5, 6))
    assert rows(one.cut()) == {"predictions": [5, 6], "ledger": [0]}
    assert one.buffers["predictions"].size == 0


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (entry(1, (0, 0), consumed=0), "is step 1 of partition 0, and step 0 is the next"),
        (b"{", "offset 4 is no ledger entry"),
        (b'{"v": 2}', "offset 4 is no ledger entry"),
        (msgspec.json.encode(msgspec.json.decode(entry(0, (0, 0), consumed=0)) | {"partition": 3}), "of partition 3"),
    ],
)
def test_a_ledger_entry_that_is_not_the_next_step_is_an_error(value: bytes, what: str) -> None:
    """Steps are missing, or somebody else writes to the topic."""
    with pytest.raises(LakeError, match=what) as caught:
        read_step(pending(ledger=LakePosition(0, 0, (0, 4))), 4, value)
    assert caught.value.where == "topic of ledger, partition 0"


def test_fewer_records_than_the_join_has_read_are_an_error() -> None:
    """The lake would lack rows that the join's state is made of."""
    one = pending(predictions=LakePosition(0, 0, (0, 2)))
    read_step(one, 0, entry(0, (0, 4), consumed=4))
    one.read("predictions", messages(2, 3))
    with pytest.raises(LakeError, match=r"2 records more than there are; offsets \[0, 2\) were removed"):
        one.cut()


def test_rows_that_will_not_come_any_more_are_an_error() -> None:
    """The topic was read to an end that is after the commit of the step."""
    one = pending(outcomes=LakePosition(0, 0, (0, 6), end=8), ledger=LakePosition(0, 0, None, end=5))
    read_step(one, 4, entry(0, (0, 0), consumed=0, outcomes=2))
    one.read("outcomes", messages(6))
    assert one.cut() is None  # offset 7 may hold the other one
    one.buffers["outcomes"].position = 8
    with pytest.raises(LakeError, match="1 records more than there are"):
        one.cut()


def test_rejects_of_another_step_are_an_error() -> None:
    """Only the join writes rejects with the number of a step."""
    one = pending()
    read_step(one, 0, entry(0, (0, 0), consumed=0, rejects=1))
    one.read("rejects", messages(0, value=b'{"sequence": 5}'))
    with pytest.raises(LakeError, match="not those that the ledger counts"):
        one.cut()


ROOM = MemoryShare(records=4, size=100_000)
LITTLE = MemoryShare(records=1_000, size=5_000)


def test_inputs_are_paused_when_no_ledger_entry_has_come_for_them() -> None:
    """And resumed when half of their share is free again."""
    one = pending()
    one.read("predictions", messages(0, 1, 2, 3))
    assert tables_to_pause(one, ROOM, NONE) == NONE
    one.read("predictions", messages(4))
    assert tables_to_pause(one, ROOM, NONE) == {"predictions"}
    read_step(one, 0, entry(0, (0, 2), consumed=2))
    assert tables_to_pause(one, ROOM, frozenset({"predictions"})) == {"predictions"}
    one.read("predictions", PartitionMessages())
    assert rows(one.cut())["predictions"] == [0, 1]
    read_step(one, 1, entry(1, (2, 3), consumed=3))
    assert tables_to_pause(one, ROOM, frozenset({"predictions"})) == NONE


def test_topics_that_the_first_step_needs_are_never_paused() -> None:
    """Else nothing would ever be written again."""
    one = pending()
    one.read("predictions", messages(*range(10), value=b"x" * 500))
    read_step(one, 0, entry(0, (0, 20), consumed=20, outcomes=1))
    assert tables_to_pause(one, LITTLE, NONE) == set(TABLES) - {"predictions", "outcomes"}
    one.read("predictions", messages(*range(10, 20), value=b"x" * 500))
    assert tables_to_pause(one, LITTLE, NONE) == set(TABLES) - {"outcomes"}
    assert is_full(one, LITTLE)


def test_the_ledger_is_not_read_far_ahead() -> None:
    """Its entries are small, but the records that they count are not."""
    one = pending()
    read_step(one, 0, entry(0, (0, 3), consumed=3))
    assert tables_to_pause(one, ROOM, NONE) == NONE
    read_step(one, 1, entry(1, (3, 6), consumed=6))
    assert tables_to_pause(one, ROOM, NONE) == {"ledger"}
    one.read("predictions", messages(*range(8)))
    assert tables_to_pause(one, ROOM, NONE) == {"predictions", "ledger"}  # five are beyond the first step
