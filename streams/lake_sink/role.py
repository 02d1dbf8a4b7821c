"""The lake writer as a running worker: from the loop's topics into the Delta tables, each record exactly once.

The lake remembers how far it was written; the positions that the group commits are for onlookers. Whatever goes
wrong, be it a full disk, another writer or a rebalance, has one answer: forget what was read, ask the lake, read on
from there. Must not decide what a record means, or what belongs together (`streams.lake_sink.cut`).
"""

import logging
import time
from collections.abc import Callable
from threading import Event

from deltalake.exceptions import DeltaError

from lake import Lake
from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError, LakeConflict, LakeError, TruthloopError
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics, check_topics, partition_counts
from streams.lake_sink.commit import CommitNotices, LakeCommit, Part
from streams.lake_sink.progress import LakeProgress
from streams.lake_sink.reader import LakeReader
from streams.lake_sink.rows import LakeRows
from streams.ledger.lake_kind import refuse_replayed
from streams.runtime.backoff import Backoff
from streams.runtime.worker import Worker

__all__ = ["LakeRole"]

log = logging.getLogger("truthloop.lake")

INTERVAL_S = 3.0
"""Between two rounds of appends. A round makes up to five files, and a lake should not be more than 5 s behind."""

_WAIT_S = 0.2


class LakeRole:
    """One worker of the lake writer.

    Args:
        clients: of the cluster.
        config: the loop's.
        worker: who it is.
        interval_s: between two rounds of appends.
    """

    def __init__(
        self, clients: KafkaClients, config: LoopConfig, worker: Worker, *, interval_s: float = INTERVAL_S
    ) -> None:
        self._clients = clients
        self._config = config
        self._worker = worker
        self._interval_s = interval_s
        self._topics = Topics.of(config)
        self._rows = LakeRows(config)
        self._trouble = Backoff(worker.health)

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until told to stop.

        Raises:
            BrokerError: the topics are not what the loop needs, or another worker has this slot.
            LakeError: the folder is not this loop's live lake, or a newest commit is torn.
        """
        check_topics(partition_counts(self._clients, self._topics.all), self._topics)
        lake = self._open(should_stop)
        if lake is None:
            return
        standing = LakeProgress(self._clients, self._topics, lake)
        rounds = LakeCommit(lake, standing, self._worker.crash)
        notices = CommitNotices(self._clients.producer(), self._topics.commits)
        instance = f"{self._topics.loop}-lake-{self._worker.slot}"
        consumer = self._clients.member(self._topics.group("lake"), instance=instance)
        reader = LakeReader(consumer, self._topics.loop, self._worker.health)
        self._worker.health.ready("it waits for its partitions")
        written_s = time.monotonic()
        try:
            while not should_stop():
                if reader.is_lost and not self._trouble.must_wait:
                    self._place(reader, standing)
                moved = reader.read()
                if time.monotonic() - written_s >= self._interval_s or reader.is_full():
                    moved += self._write(reader, rounds, notices)
                    written_s = time.monotonic()
                reader.pace()
                self._trouble.tell(moved, reader.lag())
            self._write(reader, rounds, notices)
        finally:
            notices.close()
            reader.close()

    def _open(self, should_stop: Callable[[], bool]) -> Lake | None:
        """Open or make the lake as soon as the disk lets it; None if told to stop before."""
        while not should_stop():
            try:
                lake = Lake.create(self._worker.lake, self._config)
            except LakeError as error:
                if not isinstance(error.__cause__, (OSError, DeltaError)):
                    raise  # it is not the disk that refuses, and waiting would not help
                self._trouble.begin("open", error)
                while self._trouble.must_wait and not should_stop():
                    Event().wait(_WAIT_S)
            else:
                refuse_replayed(lake)
                self._trouble.end("open")
                return lake
        return None

    def _place(self, reader: LakeReader, standing: LakeProgress) -> None:
        """Read on where the lake stands."""
        try:
            found, faults = standing.find(reader.mine)
        except (BrokerError, LakeError) as error:
            self._trouble.begin("place", error)
            return
        reader.place(found, faults)
        self._trouble.end("place")
        self._worker.crash("placed")

    def _write(self, reader: LakeReader, rounds: LakeCommit, notices: CommitNotices) -> int:
        """Write what can be written; return how many rows."""
        parts = self._parts(reader)
        if not parts:
            if not reader.lag():  # what could not be written, another writer has written
                self._trouble.end("write")
            return 0
        self._worker.crash("cut")
        health = self._worker.health
        try:
            with health.seconds.labels("lake").time():
                notice = rounds.write(parts, self._worker.now_ms())
        except LakeConflict as error:
            log.warning("the lake is asked again: %s", error)
            reader.forget()
            return 0
        except (BrokerError, LakeError) as error:
            self._trouble.begin("write", error)
            reader.forget()
            return 0
        self._trouble.end("write")
        if notice.partitions:
            notices.send(notice)
            self._worker.crash("noticed")
        reader.commit(parts)
        rows = [(table, frame.height) for part in parts for table, frame in part.rows.items()]
        for table, height in rows:
            health.records.labels("lake", table).inc(height)
        return sum(height for _, height in rows)

    def _parts(self, reader: LakeReader) -> list[Part]:
        """Cut what can be written of each partition, and make rows of it; one that cannot be is stopped."""
        parts = []
        for number, pending in list(reader.pending.items()):
            try:
                if (cut := pending.cut()) is not None:
                    parts.append(Part(pending, cut, self._rows.of(cut)))
            except TruthloopError as error:
                reader.stop(number, error)
        return parts
