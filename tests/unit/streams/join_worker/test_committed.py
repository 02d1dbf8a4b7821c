"""The committed position of a partition: what is committed is read back."""

import pytest
from confluent_kafka import TopicPartition

from joins import Checkpoint
from schemas.errors import StateError
from streams.join_worker.committed import CommittedPosition
from streams.kafka.topics import Topics
from streams.ledger.entry import LedgerRecord

TOPICS = Topics("cards", 4)
ENTRY = LedgerRecord(4, 1, 0, (0, 7), (0, 8), (0, 9), "{}", 0, 0, Checkpoint.start(["click"]))


def offsets(metadata: str, *positions: int) -> list[TopicPartition]:
    """Return committed offsets of partition 1, with metadata at the first."""
    return [
        TopicPartition(topic, 1, position, metadata=metadata if at == 0 else "")
        for at, (topic, position) in enumerate(zip(TOPICS.inputs, positions, strict=True))
    ]


def test_the_position_after_a_step_is_read_back_from_the_offsets() -> None:
    """With the number of the next step and the fingerprint."""
    position = CommittedPosition.after(ENTRY)
    assert (position.positions, position.sequence) == ((7, 8, 9), 5)
    assert CommittedPosition.of(TOPICS, offsets(position.metadata(), *position.positions)) == position


def test_a_partition_without_offsets_has_no_position() -> None:
    """Neither has one without the offset of an input."""
    assert CommittedPosition.of(TOPICS, offsets("", -1001, -1001, -1001)) is None
    assert CommittedPosition.of(TOPICS, offsets(CommittedPosition.after(ENTRY).metadata(), 7, -1001, 9)) is None


@pytest.mark.parametrize("metadata", ["", "text", '{"sequence": 5}'])
def test_offsets_of_another_tool_are_an_error(metadata: str) -> None:
    """The state that belongs to them is unknown."""
    with pytest.raises(StateError, match="something else has committed it"):
        CommittedPosition.of(TOPICS, offsets(metadata, 7, 8, 9))
