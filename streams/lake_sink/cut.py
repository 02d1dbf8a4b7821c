"""What of the records that were read can go into the lake now: whole steps of the join, and nothing else.

A step can be written once everything that its ledger entry speaks of has been read: the predictions and labels of
its ranges, and as many outcomes and rejects as it counts. The tables of a lake whose writer was killed may stand at
different places; one that is ahead gets nothing for the steps that it holds. Must not talk to Kafka or to a lake.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from joins import Checkpoint
from schemas.errors import LakeError
from streams.kafka.messages import Messages
from streams.lake_sink.buffer import MessageBuffer, Start
from streams.ledger.entry import LedgerRecord

__all__ = ["INPUTS", "STEPPED", "TABLES", "Cut", "Pending"]

INPUTS = ("predictions", "labels")
TABLES = ("rejects", "labels", "predictions", "outcomes", "ledger")
"""In the order of writing: who sees the ledger's row sees all that it speaks of. Topics are named as the tables."""
STEPPED = ("rejects", "outcomes", "ledger")
"""Their rows carry the number of a step, so they also say how many steps they hold."""

_ONLY_THE_JOIN = "Only the join may write to the topics of outcomes and ledger: see what else does."


@dataclass(frozen=True)
class Cut:
    """What can be written of one partition.

    Attributes:
        partition: which.
        entries: of the ledger, whole steps; empty where there are only rejects that ingest wrote.
        messages: by table, of tables that are ahead only what they lack.
        following: by table, the positions after them.
        outcomes: of each entry, how many outcomes are among the messages.
    """

    partition: int
    entries: list[LedgerRecord]
    messages: dict[str, Messages]
    following: dict[str, int]
    outcomes: list[int]


class Pending:
    """What was read of one partition and waits to be written.

    Args:
        number: of the partition.
        starts: by table.
        held: how many steps each of `STEPPED` says it holds; one that has got no row for a while does not know.
        checkpoint: where the last of the ledger's steps left everything; None if there is none.

    Attributes:
        waiting: by table.
        held: as it was given, and moved by `wrote`.
        steps: how many steps were held or cut.
        entries: steps that wait.
        numbers: of the rejects that wait, the steps that wrote them; None where ingest did.
    """

    def __init__(
        self, number: int, starts: Mapping[str, Start], held: Mapping[str, int], checkpoint: Checkpoint | None
    ) -> None:
        self.number = number
        self.waiting = {table: MessageBuffer(starts[table]) for table in TABLES}
        self.held = dict(held)
        self.steps = held["ledger"]
        self._consumed = (0, 0) if checkpoint is None else _consumed(checkpoint)
        self.entries: list[LedgerRecord] = []
        self._offsets: list[int] = []
        self.numbers: list[int | None] = []

    def read(self, table: str, messages: Messages) -> None:
        """Take in messages that come behind those before.

        Raises:
            LakeError: the ledger does not go on where the lake stands.
        """
        if table == "ledger":
            for offset, value in zip(messages.offsets, messages.values, strict=True):
                self._read_entry(offset, value)
        elif table == "rejects":
            self.numbers += map(_number_of, messages.values)
        self.waiting[table].add(messages)

    def cut(self) -> Cut | None:
        """Take away and return what can be written; None if nothing can.

        Raises:
            LakeError: something that the ledger speaks of is not there and will not come.
        """
        entries: list[LedgerRecord] = []
        outcomes: list[int] = []
        numbers = [number for number in self.numbers if number is not None]
        counted: list[int] = []
        spare = len(self.waiting["outcomes"].messages)
        consumed = self._consumed
        for offset, entry in zip(self._offsets, self.entries, strict=True):
            if self._lacks(entry, offset, {"outcomes": spare, "rejects": len(numbers) - len(counted)}):
                break
            consumed = self._check_consumed(entry, consumed)
            entries.append(entry)
            outcomes.append(self.new(entry, "outcomes"))
            spare -= outcomes[-1]
            counted += [entry.sequence] * self.new(entry, "rejects")
        if numbers[: len(counted)] != counted:
            raise self._error("rejects", "what the join rejected is not what the ledger counts", _ONLY_THE_JOIN)
        messages, following = self._take(entries, sum(outcomes))
        if not entries and not len(messages["rejects"]):
            return None
        del self.entries[: len(entries)], self._offsets[: len(entries)]
        self.steps += len(entries)
        self._consumed = consumed
        return Cut(self.number, entries, messages, following, outcomes)

    def wrote(self, table: str, cut: Cut) -> None:
        """Note that a cut is in a table, with a claim on its positions."""
        waiting = self.waiting[table]
        waiting.standing = cut.following[table]
        waiting.is_new = False
        if table in STEPPED:
            self.held[table] = max(self.held[table], self.steps)

    def new(self, entry: LedgerRecord, table: str) -> int:
        """Return how many rows of a step `outcomes` or `rejects` does not have."""
        return int(getattr(entry, table)) if entry.sequence >= self.held[table] else 0

    def _read_entry(self, offset: int, value: bytes) -> None:
        try:
            entry = LedgerRecord.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._error(
                "ledger", f"offset {offset} is no entry: {error}", "Only the join may write it."
            ) from None
        expected = self.steps + len(self.entries)
        if entry.sequence != expected or entry.partition != self.number:
            missing = self.waiting["ledger"].start.missing
            lost = f"; offsets [{missing[0]}, {missing[1]}) have been removed" if missing else ""
            raise self._error(
                "ledger",
                f"offset {offset} is step {entry.sequence} of partition {entry.partition}, and step {expected} is the "
                f"next for the lake{lost}",
                "Retention has overtaken the lake, or the topic was made anew.",
            )
        if not self.entries:
            for name in INPUTS:  # what the join never read has no row
                self.waiting[name].begin_at(getattr(entry, name)[0])
        self.entries.append(entry)
        self._offsets.append(offset)

    def _lacks(self, entry: LedgerRecord, offset: int, spare: Mapping[str, int]) -> bool:
        """Tell whether something of a step is still to be read; `spare`: rows that no step before it needs.

        Raises:
            LakeError: it was removed before it was read.
        """
        if any(self.waiting[name].position < getattr(entry, name)[1] for name in INPUTS):
            return True
        for table, count in spare.items():
            missing = self.new(entry, table) - count
            if missing <= 0:
                continue
            waiting, ledger = self.waiting[table], self.waiting["ledger"]
            # the entry was committed before the topic's end was found, so its rows stood before that end
            if waiting.start.missing and waiting.position >= waiting.start.end and offset < ledger.start.end:
                raise self._lost(table, entry, missing)
            return True
        return False

    def _check_consumed(self, entry: LedgerRecord, before: tuple[int, int]) -> tuple[int, int]:
        """Make sure that the lake gets every record that the join has read.

        Raises:
            LakeError: there are not as many.
        """
        after = _consumed(entry.checkpoint)
        for name, had, has in zip(INPUTS, before, after, strict=True):
            first, following = getattr(entry, name)
            waiting = self.waiting[name]
            if following <= waiting.start.position:  # the table is ahead
                continue
            count = waiting.count_from(first) - waiting.count_from(following)
            if count != has - had:
                raise self._lost(name, entry, has - had - count)
        return after

    def _take(self, entries: list[LedgerRecord], outcomes: int) -> tuple[dict[str, Messages], dict[str, int]]:
        """Take the messages of whole steps, and with them the rejects of ingest that stand before the next ones."""
        steps = self.steps + len(entries)
        rejects = next(
            (at for at, number in enumerate(self.numbers) if number is not None and number >= steps),
            len(self.numbers),
        )
        del self.numbers[:rejects]
        counts = {"outcomes": outcomes, "rejects": rejects, "ledger": len(entries)}
        messages, following = {}, {}
        for table, waiting in self.waiting.items():
            if table in counts:
                following[table] = waiting.behind(counts[table])
            else:
                following[table] = max(waiting.standing, getattr(entries[-1], table)[1] if entries else 0)
            messages[table] = waiting.take(following[table])
        return messages, following

    def _lost(self, table: str, entry: LedgerRecord, count: int) -> LakeError:
        missing = self.waiting[table].start.missing
        lost = f"; offsets [{missing[0]}, {missing[1]}) were removed before the lake had them" if missing else ""
        return self._error(
            table,
            f"step {entry.sequence} speaks of {count} records more than there are{lost}",
            "Retention must be longer than the lake may lag. Other partitions go on; this one needs the records back, "
            "or the loop another lake (lake.uri).",
        )

    def _error(self, table: str, what: str, hint: str) -> LakeError:
        return LakeError(what, where=f"topic of {table}, partition {self.number}", hint=hint)


class _Numbered(msgspec.Struct):
    sequence: int | None = None


_decode_number = msgspec.json.Decoder(_Numbered).decode


def _number_of(reject: bytes) -> int | None:
    """Return the step that wrote a reject; None of one that ingest wrote."""
    try:
        return _decode_number(reject).sequence
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # whoever makes a row of it says what is wrong


def _consumed(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return how many predictions and labels a partition has read."""
    counters = checkpoint.counters
    labels = sum(counts.consumed for counts in counters.labels.values())
    return counters.predictions.consumed + counters.unreadable_predictions, labels + counters.unreadable_labels
