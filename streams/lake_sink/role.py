"""The lake worker: writes the loop's topics into the Delta tables, each record exactly once.

The lake's tables keep their own positions; the offsets that the group commits only show the lag. Every failure, be it a
full disk, another writer or a rebalance, is handled alike: drop what was read, load the lake's positions, and read on
from there.
"""

import logging
import time
from collections.abc import Callable

from lake import Lake
from lake.failure import store_errors_told
from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError, LakeConflict, LakeError, TruthloopError
from streams.kafka.client import KafkaClients
from streams.kafka.consume import IDLE_S
from streams.kafka.topics import Topics, check_topics, partition_counts
from streams.lake_sink.commit import NoticeSender, PartitionRows, RoundWriter
from streams.lake_sink.maintenance import BackgroundMaintenance
from streams.lake_sink.progress import LakeProgress
from streams.lake_sink.reader import READ_S, LakeReader
from streams.lake_sink.rows import LakeRows
from streams.ledger.lake_kind import refuse_replayed
from streams.runtime.backoff import Backoff
from streams.runtime.lake_opening import opened
from streams.runtime.worker import Worker

__all__ = ["LakeRole"]

log = logging.getLogger("truthloop.lake")


class LakeRole:
    """One worker of the lake writer."""

    def __init__(self, clients: KafkaClients, config: LoopConfig, worker: Worker) -> None:
        self._clients = clients
        self._config = config
        self._worker = worker
        self._interval_s = config.lake.freshness / 1000
        self._topics = Topics.of(config)
        self._rows = LakeRows(config)
        self._backoff = Backoff(worker.health)

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until `should_stop` is true.

        Raises:
            BrokerError: a topic is missing or unfit, or another worker has this slot.
            LakeError: the folder is not this loop's live lake, or the newest commit of a table is torn.
        """
        if not self._worker.wait_for_cluster(should_stop):
            return
        check_topics(partition_counts(self._clients, self._topics.all), self._topics)
        lake = opened(self._create, self._backoff, should_stop)
        if lake is None:
            return
        progress = LakeProgress(self._clients, self._topics, lake)
        writer = RoundWriter(lake, progress, self._worker.crash)
        notices = NoticeSender(self._clients.producer(), self._topics.commits)
        instance = self._topics.instance("lake", self._worker.slot)
        consumer = self._clients.member(self._topics.group("lake"), instance=instance)
        reader = LakeReader(consumer, self._topics, instance, self._worker.health)
        self._worker.health.set_readiness("it waits for its partitions")
        written_s = time.monotonic()
        try:
            with BackgroundMaintenance(self._worker, self._config, lambda: 0 in reader.mine):
                while not should_stop():
                    if reader.is_reset and not self._backoff.must_wait:
                        self._assign(reader, progress)
                    due_s = written_s + self._interval_s
                    moved = reader.read(min(max(due_s - time.monotonic(), READ_S), IDLE_S))
                    if time.monotonic() >= due_s or reader.is_full():
                        moved += self._write(reader, writer, notices)
                        written_s = time.monotonic()
                    reader.apply_backpressure()
                    self._backoff.report_progress(moved, reader.lag())
                self._write(reader, writer, notices)
        finally:
            notices.close()
            reader.close()

    def _create(self) -> Lake:
        lake = Lake.create(self._worker.lake, self._config)
        refuse_replayed(lake)
        return lake

    def _assign(self, reader: LakeReader, progress: LakeProgress) -> None:
        """Read on from the lake's positions."""
        try:
            with store_errors_told():
                found, faults = progress.find(reader.mine)
        except (BrokerError, LakeError) as error:
            self._backoff.failed("assign", error)
            return
        reader.assign(found, faults)
        self._backoff.succeeded("assign")
        self._worker.crash("assigned")

    def _write(self, reader: LakeReader, writer: RoundWriter, notices: NoticeSender) -> int:
        """Write what can be written, and return the number of rows."""
        parts = self._parts(reader)
        if not parts:
            if not reader.lag():  # another writer has written the rows of a failed round
                self._backoff.succeeded("write")
            return 0
        self._worker.crash("cut")
        health = self._worker.health
        try:
            with health.seconds.labels("lake").time(), store_errors_told():
                notice = writer.write(parts, self._worker.now_ms())
        except LakeConflict as error:
            log.warning("reloading positions from the lake: %s", error)
            reader.reset()
            return 0
        except (BrokerError, LakeError) as error:
            self._backoff.failed("write", error)
            reader.reset()
            return 0
        self._backoff.succeeded("write")
        if notice.partitions:
            notices.send(notice)
            self._worker.crash("noticed")
        reader.commit(parts)
        rows = [(table, frame.height) for part in parts for table, frame in part.rows.items()]
        for table, height in rows:
            health.records.labels("lake", table).inc(height)
        return sum(height for _, height in rows)

    def _parts(self, reader: LakeReader) -> list[PartitionRows]:
        """Cut what can be written of each partition, as rows; stop partitions where that fails."""
        parts = []
        for number, pending in list(reader.pending.items()):
            try:
                if (cut := pending.cut()) is not None:
                    parts.append(PartitionRows(pending, cut, self._rows.of(cut)))
            except TruthloopError as error:
                reader.stop(number, error)
        return parts
