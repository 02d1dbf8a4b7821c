"""Restores the state of a partition at its committed position, from the local store, the ledger and the lake.

A local store that is behind redoes the missing steps of the ledger. One that is lost, ahead or broken is filled from
the lake, and redoes the steps that the lake does not have. The fingerprint that was committed with the position proves
that the result is the same state; outcomes that were decided are read, never decided again.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joins import Partition
from lake import Lake
from lake.failure import store_errors_told
from lake.storage.location import storage_at
from schemas.base.location import Location
from schemas.config.loop import LoopConfig
from schemas.errors import StateError
from streams.join_worker.committed import CommittedPosition
from streams.join_worker.task import PartitionTask, StoredCheckpoint
from streams.kafka.client import KafkaClients
from streams.kafka.messages import PartitionMessages
from streams.kafka.range import offset_bounds, read_range
from streams.kafka.topics import Topics
from streams.ledger.entry import LedgerRecord
from streams.ledger.row import LedgerRow
from streams.ledger.rules import check_kinds, differences, read_rules, rules_text
from streams.ledger.table import newest_rows
from streams.ledger.topic import LedgerReader
from streams.messages.canonical import CanonicalReader
from streams.messages.records import Projection
from streams.state_store.restore import restore_partition
from streams.state_store.store import RocksStore

__all__ = ["TaskRestorer"]

log = logging.getLogger("truthloop.join")

REDONE_BETWEEN_FLUSHES = 200
"""Redone steps between two flushes: bounds the memory of a long recovery."""


@contextmanager
def _closed_on_error(store: RocksStore) -> Iterator[RocksStore]:
    """Close a store if the block fails: one that an exception's traceback keeps open can never be opened again."""
    try:
        yield store
    except BaseException:
        store.close()
        raise


class TaskRestorer:
    """Restores partitions of one loop.

    Args:
        state: folder of the local stores.
        lake: folder of the lake.
    """

    def __init__(
        self, clients: KafkaClients, config: LoopConfig, reader: CanonicalReader, state: Path, lake: Location
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

    @store_errors_told()
    def restore(self, number: int, committed: CommittedPosition | None) -> PartitionTask:
        """Return a partition at its committed position; without one, as the ledger or a new loop has it.

        Raises:
            ConfigError: the config has other kinds of labels than the rules in force.
            StateError: it cannot be restored; says what is missing.
            BrokerError: records that are needed cannot be read.
            LakeError: the lake cannot be read.
        """
        last = self._ledger.last(number)
        if last is not None:
            check_kinds(last.policy, self._rules)
            if changes := differences(last.policy, self._rules):
                log.warning(
                    "partition %d: this config is not in force, see `truthloop plan`: %s",
                    number,
                    "; ".join(map(str, changes)),
                )
        if committed is None and last is not None:
            committed = CommittedPosition.after(last)
            log.warning("partition %d: no committed offsets; using those of ledger step %d", number, last.sequence)
        if committed is None:
            return self._new(number)
        self._check_topics(number, committed)
        task = self._from_store(number, committed)
        if task is None:
            task = self._from_lake(number, committed)
        try:
            task.flush()
        except BaseException:
            task.close()
            raise
        return task

    def _check_topics(self, number: int, committed: CommittedPosition) -> None:
        """Refuse a position where unread records were removed, or that is past the end of a topic."""
        client = self._clients.reader()
        try:
            for topic, position in zip(self._topics.inputs, committed.positions, strict=True):
                low, high = offset_bounds(self._clients, client, topic, number)
                if not low <= position <= high:
                    raise StateError(
                        f"the join has committed offset {position}, and the partition has [{low}, {high})",
                        where=f"topic {topic}, partition {number}",
                        hint="Records were removed before they were read, or the topic was recreated. Other "
                        "partitions go on; bring the records back, or start a new loop with another lake.",
                    )
        finally:
            client.close()

    def _new(self, number: int) -> PartitionTask:
        """Return a partition without any history, at the first records that are there."""
        folder = self._state / str(number)
        if folder.exists():
            self._move_aside(folder, "it is of an earlier loop of this name")
        if self._lake_row(number) is not None:
            raise StateError(
                "the lake holds outcomes of it, but its committed offsets and its ledger are missing",
                where=f"partition {number} of loop {self._topics.loop}",
                hint="The topics were recreated. Give the loop another lake (lake.uri), or bring the topics back.",
            )
        with _closed_on_error(RocksStore(folder, self._kinds)) as store:
            partition = Partition(read_rules(self._rules).policy, store)
            task = PartitionTask(number, partition, store, StoredCheckpoint(0, 0, partition.checkpoint, self._rules))
            client = self._clients.reader()
            try:
                lows = [offset_bounds(self._clients, client, name, number)[0] for name in self._topics.inputs]
            finally:
                client.close()
        if any(lows):
            log.warning("partition %d: retention has removed unread records before the offsets %s", number, lows)
        task.checkpoint.predictions_next, task.checkpoint.labels_next, task.commands_next = lows
        return task

    def _from_store(self, number: int, committed: CommittedPosition) -> PartitionTask | None:
        """Bring the local store to the committed position; None if that is impossible."""
        folder = self._state / str(number)
        if not folder.exists():
            return None
        try:
            opened = RocksStore(folder, self._kinds)
        except StateError as error:
            if not error.must_rebuild:
                raise
            self._move_aside(folder, error.what)
            return None
        with _closed_on_error(opened) as store:
            task, reason = self._redone(number, store, committed)
        if task is None:
            store.close()
            self._move_aside(folder, reason)
        return task

    def _redone(self, number: int, store: RocksStore, committed: CommittedPosition) -> tuple[PartitionTask | None, str]:
        """Bring a store to the committed position; None with the reason if that is impossible."""
        raw = store.checkpoint()
        stored = None if raw is None else StoredCheckpoint.decode(raw)
        if stored is None:
            return None, "it has no checkpoint"
        if stored.sequence > committed.sequence:
            return None, "it is ahead of the committed position"
        entries = self._ledger.between(number, stored.sequence, committed.sequence)
        if entries is None:
            return None, "the ledger topic no longer has the steps that it lacks"
        partition = Partition(read_rules(stored.rules).policy, store, stored.checkpoint)
        task = PartitionTask(number, partition, store, stored)
        if not self._redo(task, entries, committed):
            return None, "it is not the committed state"
        return task, ""

    def _from_lake(self, number: int, committed: CommittedPosition) -> PartitionTask:
        """Fill a new store from the lake, then redo the steps that the lake does not have yet."""
        log.info("partition %d: the state is restored from the lake", number)
        row = self._lake_row(number)
        first = 0 if row is None else row.sequence + 1
        entries = self._ledger.between(number, first, committed.sequence)
        if entries is None:
            raise StateError(
                f"the state cannot be restored: the lake has {first} steps, {committed.sequence} are committed, and "
                "the ledger topic no longer has all steps between",
                where=f"partition {number} of loop {self._topics.loop}",
                hint="Topics must be kept longer than the lake may lag. Bring back the state folder, or a newer "
                "backup of the lake.",
            )
        store = RocksStore(self._state / str(number), self._kinds)
        try:
            task = self._filled(number, store, row, entries)
            is_same = self._redo(task, entries, committed)
        except BaseException:
            store.close()
            self._move_aside(self._state / str(number), "restoring it failed")
            raise
        if not is_same:
            store.close()
            self._move_aside(self._state / str(number), "it is not the committed state")
            raise StateError(
                "the restored state is not the committed one",
                where=f"partition {number} of loop {self._topics.loop}",
                hint="Rows of the lake or records of the topics were changed or removed. Bring the lake back "
                "from a backup; other partitions go on.",
            )
        return task

    def _filled(
        self, number: int, store: RocksStore, row: LedgerRow | None, entries: list[LedgerRecord]
    ) -> PartitionTask:
        """Fill an empty store from the lake, up to the step of its newest ledger row."""
        if row is None:
            rules = entries[0].policy if entries else self._rules
            partition = Partition(read_rules(rules).policy, store)
            return PartitionTask(number, partition, store, StoredCheckpoint(0, 0, partition.checkpoint, rules))
        policy = read_rules(row.policy).policy
        partition = restore_partition(self._lake, policy, self._projection, row, store)
        commands = 0 if row.commands is None else row.commands[1]
        stored = StoredCheckpoint(row.sequence + 1, commands, partition.checkpoint, row.policy)
        return PartitionTask(number, partition, store, stored)

    def _redo(self, task: PartitionTask, entries: list[LedgerRecord], committed: CommittedPosition) -> bool:
        """Redo steps of the ledger; True if the result is the committed state."""
        if entries:
            log.info("partition %d: %d steps are redone from the ledger", task.number, len(entries))
        predictions = self._range(self._topics.predictions, task.number, task.checkpoint.predictions_next, entries)
        labels = self._range(self._topics.labels, task.number, task.checkpoint.labels_next, entries)
        for count, entry in enumerate(entries, 1):
            task.redo(entry, predictions.until(entry.predictions[1]), labels.until(entry.labels[1]), self._reader)
            if count % REDONE_BETWEEN_FLUSHES == 0:
                task.flush()
        return CommittedPosition(task.positions, task.sequence, task.checkpoint.fingerprint) == committed

    def _range(self, topic: str, number: int, first: int, entries: list[LedgerRecord]) -> "_RangeMessages":
        last = first
        if entries:
            last = entries[-1].predictions[1] if topic == self._topics.predictions else entries[-1].labels[1]
        return _RangeMessages(read_range(self._clients, topic, number, first, last))

    def _lake_row(self, number: int) -> LedgerRow | None:
        """Return the newest row of a partition in the lake's ledger; None if there is none."""
        if not storage_at(self._lake).exists():
            return None
        return newest_rows(Lake.open(self._lake)).get(number)

    def _move_aside(self, folder: Path, reason: str) -> None:
        """Move an unusable store out of the way; the last one is kept, to find out what went wrong."""
        aside = folder.with_name(f"{folder.name}.aside")
        log.warning("%s is moved aside to %s: %s", folder, aside.name, reason)
        if aside.exists():
            shutil.rmtree(aside)
        folder.rename(aside)


class _RangeMessages:
    """Messages of one offset range, handed out step by step."""

    def __init__(self, pieces: Iterator[PartitionMessages]) -> None:
        self._pieces = pieces
        self._waiting = PartitionMessages()

    def until(self, following: int) -> PartitionMessages:
        """Return the messages before an offset that were not returned yet."""
        while not self._waiting.offsets or self._waiting.offsets[-1] < following - 1:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._waiting.extend(piece)
        return self._waiting.cut(following)
