"""The committed position of a partition: input offsets, number of the next step, and fingerprint of the state."""

from dataclasses import dataclass

import msgspec
from confluent_kafka import TopicPartition

from schemas.errors import StateError
from streams.kafka.topics import Topics
from streams.ledger.entry import LedgerRecord

__all__ = ["CommittedPosition"]


@dataclass(frozen=True)
class CommittedPosition:
    """Committed position of one partition.

    Attributes:
        positions: next offset of the predictions, the labels and the commands.
        sequence: number of the next step.
        fingerprint: of the state before that step.
    """

    positions: tuple[int, int, int]
    sequence: int
    fingerprint: int

    @classmethod
    def after(cls, entry: LedgerRecord) -> "CommittedPosition":
        """Return the position that is committed with a step's ledger entry."""
        positions = (entry.predictions[1], entry.labels[1], entry.commands[1])
        return cls(positions, entry.sequence + 1, entry.checkpoint.fingerprint)

    @classmethod
    def of(cls, topics: Topics, offsets: list[TopicPartition]) -> "CommittedPosition | None":
        """Read a position from a partition's committed offsets; None where there are none.

        Raises:
            StateError: the offsets were not committed by the join.
        """
        by_topic = {one.topic: one for one in offsets}
        found = [by_topic[name] for name in topics.inputs]
        if any(one.offset < 0 for one in found):
            return None
        try:
            facts = msgspec.json.decode((found[0].metadata or "").rstrip("\0"), type=dict[str, int])
            return cls((found[0].offset, found[1].offset, found[2].offset), facts["sequence"], facts["fingerprint"])
        except (msgspec.MsgspecError, KeyError):
            raise StateError(
                "its committed offset has no step and fingerprint in its metadata: something else has committed it",
                where=f"topic {topics.predictions}, partition {found[0].partition}, group {topics.group('join')}",
                hint="Nobody but the join may commit for this group. Delete the group's offsets, with all workers "
                "stopped: the positions are then taken from the ledger.",
            ) from None

    def metadata(self) -> str:
        """Return the metadata of the offset in the predictions."""
        return msgspec.json.encode({"sequence": self.sequence, "fingerprint": self.fingerprint}).decode()
