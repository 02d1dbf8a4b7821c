"""How a worker comes to the state of a partition that it was given: its own store, the ledger, the lake.

Kafka's committed position says how far the partition has come. A store behind it takes the missing steps again
from the ledger; one that is lost, ahead or broken is made again from the lake and the ledger. The fingerprint
that was committed with the position proves the result. Nothing is decided anew. Must not take part in the group.
"""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from confluent_kafka import TopicPartition

from joins import Partition
from lake import Lake
from schemas.config.loop import LoopConfig
from schemas.errors import StateError
from streams.join_worker.task import PartitionTask, StoredCheckpoint
from streams.kafka.client import KafkaClients
from streams.kafka.messages import Messages
from streams.kafka.range import read_range, watermarks
from streams.kafka.topics import Topics
from streams.ledger.entry import LedgerRecord
from streams.ledger.rules import check_kinds, differences, read_rules, rules_text
from streams.ledger.table import LedgerRow, newest_rows
from streams.ledger.topic import LedgerReader
from streams.messages.canonical import CanonicalReader
from streams.messages.records import Projection
from streams.state_store.restore import restore_partition
from streams.state_store.store import RocksStore

__all__ = ["Committed", "TaskRestorer"]

log = logging.getLogger("truthloop.join")

REDONE_BETWEEN_FLUSHES = 200
"""Steps that are taken again before they are written: memory stays bounded on a long way back."""


@dataclass(frozen=True)
class Committed:
    """What the group has committed of one partition.

    Attributes:
        positions: in predictions, labels and commands.
        sequence: of the next step.
        fingerprint: of the state.
    """

    positions: tuple[int, int, int]
    sequence: int
    fingerprint: int

    def metadata(self) -> str:
        """Return what is committed beside the position in the predictions."""
        return msgspec.json.encode({"sequence": self.sequence, "fingerprint": self.fingerprint}).decode()

    @classmethod
    def of(cls, topics: Topics, places: list[TopicPartition]) -> "Committed | None":
        """Read it from a partition's committed offsets, or return None where there are none."""
        by_topic = {place.topic: place for place in places}
        found = [by_topic[name] for name in topics.inputs]
        if any(place.offset < 0 for place in found):
            return None
        try:
            facts = msgspec.json.decode((found[0].metadata or "").rstrip("\0"), type=dict[str, int])
            return cls((found[0].offset, found[1].offset, found[2].offset), facts["sequence"], facts["fingerprint"])
        except (msgspec.MsgspecError, KeyError):
            raise StateError(
                "its committed position does not tell where the state stands: something else has committed it",
                where=f"topic {topics.predictions}, partition {found[0].partition}, group {topics.group('join')}",
                hint="Nobody but the join may commit for this group. Delete the group's offsets, with all workers "
                "stopped: the positions are then taken from the ledger.",
            ) from None


class TaskRestorer:
    """Makes the partitions that this worker was given.

    Args:
        clients: of the cluster.
        config: the loop's.
        reader: of the loop's messages.
        state: folder of the partitions' stores.
        lake: folder of the lake.
    """

    def __init__(
        self, clients: KafkaClients, config: LoopConfig, reader: CanonicalReader, state: Path, lake: Path
    ) -> None:
        self._clients = clients
        self._topics = Topics.of(config)
        self._rules = rules_text(config)
        self._projection = Projection.of(config)
        self._kinds = list(config.labels)
        self._reader = reader
        self._state = state
        self._lake = lake
        self._ledger = LedgerReader(clients, self._topics.ledger)

    def take(self, number: int, committed: Committed | None) -> PartitionTask:
        """Return a partition as the group has committed it.

        Raises:
            ConfigError: the config has other kinds of labels than the rules in force.
            StateError: it cannot be made; says what is missing.
            BrokerError: records that are needed cannot be read.
            LakeError: the lake cannot be read.
        """
        last = self._ledger.last(number)
        if last is not None:
            check_kinds(last.policy, self._rules)
            if changes := differences(last.policy, self._rules):
                log.warning(
                    "partition %d: this config is not in force, `truthloop plan` tells more: %s",
                    number,
                    "; ".join(map(str, changes)),
                )
        if committed is None and last is not None:
            committed = _as_committed(last)
            log.warning("partition %d: no committed position; the ledger's step %d tells it", number, last.sequence)
        if committed is None:
            return self._begin(number)
        self._check_readable(number, committed)
        live = self._from_store(number, committed)
        if live is None:
            live = self._from_lake(number, committed)
        live.flush()
        return live

    def _check_readable(self, number: int, committed: Committed) -> None:
        """Refuse to go on where records have gone that were not read."""
        client = self._clients.reader()
        try:
            for topic, position in zip(self._topics.inputs, committed.positions, strict=True):
                low, high = watermarks(self._clients, client, topic, number)
                if not low <= position <= high:
                    raise StateError(
                        f"the join stands at offset {position}, and the topic has [{low}, {high})",
                        where=f"topic {topic}, partition {number}",
                        hint="Records were removed before they were read, or the topic was made anew. Other "
                        "partitions go on; bring the records back, or start the loop anew with another lake.",
                    )
        finally:
            client.close()

    def _begin(self, number: int) -> PartitionTask:
        """Return a partition that nobody has ever worked on, at the first records that are there."""
        folder = self._state / str(number)
        if folder.exists():
            self._put_aside(folder, "it belongs to an earlier life of the loop")
        if self._lake_point(number) is not None:
            raise StateError(
                "the lake holds outcomes of it, and neither its committed position nor the ledger topic is there",
                where=f"partition {number} of loop {self._topics.loop}",
                hint="The topics were made anew. Give the loop another lake (lake.uri), or bring the topics back.",
            )
        store = RocksStore(folder, self._kinds)
        partition = Partition(read_rules(self._rules).policy, store)
        live = PartitionTask(number, partition, store, StoredCheckpoint(0, 0, partition.checkpoint, self._rules))
        client = self._clients.reader()
        try:
            lows = [watermarks(self._clients, client, name, number)[0] for name in self._topics.inputs]
        finally:
            client.close()
        if any(lows):
            log.warning("partition %d: records before the offsets %s had expired before they were read", number, lows)
        live.checkpoint.predictions_next, live.checkpoint.labels_next, live.commands_next = lows
        return live

    def _from_store(self, number: int, committed: Committed) -> PartitionTask | None:
        """Bring this machine's own store to the committed position; None if that cannot be."""
        folder = self._state / str(number)
        if not folder.exists():
            return None
        store = RocksStore(folder, self._kinds)
        raw = store.checkpoint()
        stored = None if raw is None else StoredCheckpoint.decode(raw)
        if stored is None or stored.sequence > committed.sequence:
            store.close()
            self._put_aside(folder, "it is unfinished" if stored is None else "it is ahead of what was committed")
            return None
        entries = self._ledger.between(number, stored.sequence, committed.sequence)
        if entries is None:
            store.close()
            self._put_aside(folder, "the ledger topic no longer has the steps that it lacks")
            return None
        live = PartitionTask(
            number, Partition(read_rules(stored.rules).policy, store, stored.checkpoint), store, stored
        )
        if not self._redo(live, entries, committed):
            live.close()
            self._put_aside(folder, "it is not the state that was committed")
            return None
        return live

    def _from_lake(self, number: int, committed: Committed) -> PartitionTask:
        """Make the store again: from the lake as far as that has come, from the topics from there on."""
        log.info("partition %d: the state is made again", number)
        row = self._lake_point(number)
        first = 0 if row is None else row.sequence + 1
        entries = self._ledger.between(number, first, committed.sequence)
        if entries is None:
            raise StateError(
                f"the state cannot be made again: the lake has come to step {first}, {committed.sequence} are "
                "committed, and the ledger topic no longer has all between",
                where=f"partition {number} of loop {self._topics.loop}",
                hint="Topics must be kept longer than the lake may lag. Bring back the state folder, or a newer "
                "backup of the lake.",
            )
        store = RocksStore(self._state / str(number), self._kinds)
        try:
            live = self._filled(number, store, row, entries)
            is_same = self._redo(live, entries, committed)
        except BaseException:
            store.close()
            self._put_aside(self._state / str(number), "making it again failed")
            raise
        if not is_same:
            store.close()
            self._put_aside(self._state / str(number), "it is not the state that was committed")
            raise StateError(
                "the state that was made again is not the one that was committed",
                where=f"partition {number} of loop {self._topics.loop}",
                hint="Rows of the lake or records of the topics were changed or removed. Bring the lake back "
                "from a backup; the join of other partitions goes on.",
            )
        return live

    def _filled(
        self, number: int, store: RocksStore, row: LedgerRow | None, entries: list[LedgerRecord]
    ) -> PartitionTask:
        """Fill an empty store with what the lake has."""
        if row is None:
            rules = entries[0].policy if entries else self._rules
            partition = Partition(read_rules(rules).policy, store)
            return PartitionTask(number, partition, store, StoredCheckpoint(0, 0, partition.checkpoint, rules))
        policy = read_rules(row.policy).policy
        partition = restore_partition(self._lake, policy, self._projection, row, store)
        commands = 0 if row.commands is None else row.commands[1]
        stored = StoredCheckpoint(row.sequence + 1, commands, partition.checkpoint, row.policy)
        return PartitionTask(number, partition, store, stored)

    def _redo(self, live: PartitionTask, entries: list[LedgerRecord], committed: Committed) -> bool:
        """Take recorded steps again; True if the result is the state that was committed."""
        if entries:
            log.info("partition %d: %d steps are taken again", live.number, len(entries))
        predictions = self._window(self._topics.predictions, live.number, live.checkpoint.predictions_next, entries)
        labels = self._window(self._topics.labels, live.number, live.checkpoint.labels_next, entries)
        for count, entry in enumerate(entries, 1):
            live.redo(entry, predictions.until(entry.predictions[1]), labels.until(entry.labels[1]), self._reader)
            if count % REDONE_BETWEEN_FLUSHES == 0:
                live.flush()
        return (live.positions, live.sequence, live.checkpoint.fingerprint) == (
            committed.positions,
            committed.sequence,
            committed.fingerprint,
        )

    def _window(self, topic: str, number: int, first: int, entries: list[LedgerRecord]) -> "_Window":
        last = first
        if entries:
            last = entries[-1].predictions[1] if topic == self._topics.predictions else entries[-1].labels[1]
        return _Window(read_range(self._clients, topic, number, first, last))

    def _lake_point(self, number: int) -> LedgerRow | None:
        """Return how far the lake has come with a partition; None if it has nothing of it."""
        if not self._lake.exists():
            return None
        return newest_rows(Lake.open(self._lake)).get(number)

    def _put_aside(self, folder: Path, reason: str) -> None:
        """Move a store that is of no use out of the way; the newest is kept, as it may tell what went wrong."""
        aside = folder.with_name(f"{folder.name}.aside")
        log.warning("%s is put aside as %s: %s", folder, aside.name, reason)
        if aside.exists():
            shutil.rmtree(aside)
        folder.rename(aside)


def _as_committed(last: LedgerRecord) -> Committed:
    """Return what was committed with an entry: the group's own offsets expire when nobody works for a week."""
    positions = (last.predictions[1], last.labels[1], last.commands[1])
    return Committed(positions, last.sequence + 1, last.checkpoint.fingerprint)


class _Window:
    """Messages of one range, handed out step by step."""

    def __init__(self, pieces: Iterator[Messages]) -> None:
        self._pieces = pieces
        self._held = Messages()

    def until(self, following: int) -> Messages:
        """Return the messages before an offset that were not handed out yet."""
        while not self._held.offsets or self._held.offsets[-1] < following - 1:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held.extend(piece)
        return self._held.cut(following)
