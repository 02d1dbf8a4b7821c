"""Cuts the messages that were read of a partition at whole steps of the join, so that the lake gets only whole steps.

A step can be written once everything in its ledger entry has been read: the predictions and labels of its offset
ranges, and as many outcomes and rejects as it counts. After a crash between two tables their positions differ; a table
that is ahead gets nothing of the steps that it has. Pure: no Kafka client, no lake.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from joins import Checkpoint
from schemas.errors import LakeError
from streams.kafka.messages import PartitionMessages
from streams.lake_sink.buffer import LakePosition, MessageBuffer
from streams.ledger.entry import LedgerRecord

__all__ = ["INPUTS", "STEPPED", "TABLES", "Cut", "PendingPartition"]

INPUTS = ("predictions", "labels")
TABLES = ("rejects", "labels", "predictions", "outcomes", "ledger")
"""In the order of writing: all rows that a ledger row counts are visible before it is. Topics have the same names."""
STEPPED = ("rejects", "outcomes", "ledger")
"""Tables whose rows carry the number of a step; their positions in the lake include the number of steps they have."""

_ONLY_THE_JOIN = "Only the join may write to the topics of outcomes and ledger: see what else does."


@dataclass(frozen=True)
class Cut:
    """What can be written of one partition.

    Attributes:
        partition: its number.
        entries: ledger entries of whole steps; empty where there are only rejects of ingest.
        messages: by table; of a table that is ahead, only those that it does not have.
        following: by table, the offset after them.
        outcomes: number of outcomes among the messages, for each entry.
    """

    partition: int
    entries: list[LedgerRecord]
    messages: dict[str, PartitionMessages]
    following: dict[str, int]
    outcomes: list[int]


class PendingPartition:
    """Messages of one partition that were read and are not written yet.

    Args:
        starts: position of each table.
        steps_held: number of steps that each table of `STEPPED` has; too small for one that got no row for a while.
        checkpoint: of the last step in the lake's ledger; None if there is none.

    Attributes:
        buffers: waiting messages by table.
        steps_held: as given, and advanced by `mark_written`.
        steps: number of steps that the lake's ledger has or that were cut.
        entries: ledger entries that wait.
        reject_steps: of each waiting reject, the step that wrote it; None if ingest did.
    """

    def __init__(
        self,
        number: int,
        starts: Mapping[str, LakePosition],
        steps_held: Mapping[str, int],
        checkpoint: Checkpoint | None,
    ) -> None:
        self.number = number
        self.buffers = {table: MessageBuffer(starts[table]) for table in TABLES}
        self.steps_held = dict(steps_held)
        self.steps = steps_held["ledger"]
        self._consumed = (0, 0) if checkpoint is None else _consumed(checkpoint)
        self.entries: list[LedgerRecord] = []
        self._offsets: list[int] = []
        self.reject_steps: list[int | None] = []

    def read(self, table: str, messages: PartitionMessages) -> None:
        """Add messages with later offsets.

        Raises:
            LakeError: a ledger entry is not the next step for the lake.
        """
        if table == "ledger":
            for offset, value in zip(messages.offsets, messages.values, strict=True):
                self._read_entry(offset, value)
        elif table == "rejects":
            self.reject_steps += map(_step_of, messages.values)
        self.buffers[table].add(messages)

    def cut(self) -> Cut | None:
        """Remove and return what can be written; None if nothing can.

        Raises:
            LakeError: records that the ledger counts are lost, or other rejects were written.
        """
        entries: list[LedgerRecord] = []
        outcomes: list[int] = []
        found = [step for step in self.reject_steps if step is not None]
        counted: list[int] = []
        spare = len(self.buffers["outcomes"].messages)
        consumed = self._consumed
        for offset, entry in zip(self._offsets, self.entries, strict=True):
            if self._is_incomplete(entry, offset, {"outcomes": spare, "rejects": len(found) - len(counted)}):
                break
            consumed = self._check_consumed(entry, consumed)
            entries.append(entry)
            outcomes.append(self.unwritten_rows(entry, "outcomes"))
            spare -= outcomes[-1]
            counted += [entry.sequence] * self.unwritten_rows(entry, "rejects")
        if found[: len(counted)] != counted:
            raise self._error("rejects", "the join's rejects are not those that the ledger counts", _ONLY_THE_JOIN)
        messages, following = self._take(entries, sum(outcomes))
        if not entries and not len(messages["rejects"]):
            return None
        del self.entries[: len(entries)], self._offsets[: len(entries)]
        self.steps += len(entries)
        self._consumed = consumed
        return Cut(self.number, entries, messages, following, outcomes)

    def mark_written(self, table: str, cut: Cut) -> None:
        """Note that a table has the rows of a cut, appended with a claim on its offsets."""
        buffer = self.buffers[table]
        buffer.written = cut.following[table]
        buffer.is_new = False
        if table in STEPPED:
            self.steps_held[table] = max(self.steps_held[table], self.steps)

    def unwritten_rows(self, entry: LedgerRecord, table: str) -> int:
        """Return the number of a step's rows that a table (`outcomes` or `rejects`) does not have yet."""
        return int(getattr(entry, table)) if entry.sequence >= self.steps_held[table] else 0

    def _read_entry(self, offset: int, value: bytes) -> None:
        try:
            entry = LedgerRecord.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            what = f"offset {offset} is no ledger entry: {error}"
            raise self._error("ledger", what, "Only the join may write it.") from None
        expected = self.steps + len(self.entries)
        if entry.sequence != expected or entry.partition != self.number:
            missing = self.buffers["ledger"].start.missing
            lost = f"; offsets [{missing[0]}, {missing[1]}) have been removed" if missing else ""
            raise self._error(
                "ledger",
                f"offset {offset} is step {entry.sequence} of partition {entry.partition}, and step {expected} is the "
                f"next for the lake{lost}",
                "Retention has overtaken the lake, or the topic was recreated.",
            )
        if not self.entries:
            for name in INPUTS:  # records that the join has not read get no row
                self.buffers[name].skip_before(getattr(entry, name)[0])
        self.entries.append(entry)
        self._offsets.append(offset)

    def _is_incomplete(self, entry: LedgerRecord, offset: int, spare: Mapping[str, int]) -> bool:
        """Tell whether messages of a step are still to be read; `spare` has the rows that no earlier step counts.

        Raises:
            LakeError: they were removed before they were read.
        """
        if any(self.buffers[name].position < getattr(entry, name)[1] for name in INPUTS):
            return True
        for table, count in spare.items():
            missing = self.unwritten_rows(entry, table) - count
            if missing <= 0:
                continue
            buffer, ledger = self.buffers[table], self.buffers["ledger"]
            # the entry was committed before the end of the other topic was read, so its rows are before that end
            if buffer.start.missing and buffer.position >= buffer.start.end and offset < ledger.start.end:
                raise self._lost(table, entry, missing)
            return True
        return False

    def _check_consumed(self, entry: LedgerRecord, before: tuple[int, int]) -> tuple[int, int]:
        """Check that a step's ranges have as many records as the join has read; return the join's counts after it.

        Raises:
            LakeError: there are not as many.
        """
        after = _consumed(entry.checkpoint)
        for name, had, has in zip(INPUTS, before, after, strict=True):
            first, following = getattr(entry, name)
            buffer = self.buffers[name]
            if following <= buffer.start.needed:  # the table is ahead
                continue
            count = buffer.count_from(first) - buffer.count_from(following)
            if count != has - had:
                raise self._lost(name, entry, has - had - count)
        return after

    def _take(self, entries: list[LedgerRecord], outcomes: int) -> tuple[dict[str, PartitionMessages], dict[str, int]]:
        """Remove the messages of whole steps, and the rejects of ingest up to the first reject of the next step."""
        steps = self.steps + len(entries)
        rejects = next(
            (at for at, step in enumerate(self.reject_steps) if step is not None and step >= steps),
            len(self.reject_steps),
        )
        del self.reject_steps[:rejects]
        counts = {"outcomes": outcomes, "rejects": rejects, "ledger": len(entries)}
        messages, following = {}, {}
        for table, buffer in self.buffers.items():
            if table in counts:
                following[table] = buffer.position_after(counts[table])
            else:
                following[table] = max(buffer.written, getattr(entries[-1], table)[1] if entries else 0)
            messages[table] = buffer.take_before(following[table])
        return messages, following

    def _lost(self, table: str, entry: LedgerRecord, count: int) -> LakeError:
        missing = self.buffers[table].start.missing
        lost = f"; offsets [{missing[0]}, {missing[1]}) were removed before the lake had them" if missing else ""
        return self._error(
            table,
            f"step {entry.sequence} counts {count} records more than there are{lost}",
            "Retention must be longer than the lake may lag. Other partitions go on; this one needs the records back, "
            "or the loop another lake (lake.uri).",
        )

    def _error(self, table: str, what: str, hint: str) -> LakeError:
        return LakeError(what, where=f"topic of {table}, partition {self.number}", hint=hint)


class _RejectStep(msgspec.Struct):
    sequence: int | None = None


_decode_sequence = msgspec.json.Decoder(_RejectStep).decode


def _step_of(reject: bytes) -> int | None:
    """Return the step that wrote a reject; None if ingest did."""
    try:
        return _decode_sequence(reject).sequence
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # the error is raised where the message becomes a row


def _consumed(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return how many predictions and labels the join of a partition has read."""
    counters = checkpoint.counters
    labels = sum(counts.consumed for counts in counters.labels.values())
    return counters.predictions.consumed + counters.unreadable_predictions, labels + counters.unreadable_labels
