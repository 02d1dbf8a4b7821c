"""One round of appends to the lake: at most one commit for each table, the ledger's last, then a notice.

Rows and positions are one commit, so after a crash in the middle of a round the tables' positions differ, but no row is
lost or duplicated.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
from confluent_kafka import KafkaException, Producer

from lake import Lake
from schemas.errors import LakeConflict
from streams.lake_sink.cut import TABLES, Cut, PendingPartition
from streams.lake_sink.progress import LakeProgress

__all__ = ["CommitNotice", "NoticeSender", "PartitionRows", "RoundWriter"]

log = logging.getLogger("truthloop.lake")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOTICE_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class PartitionRows:
    """Rows that one partition adds to a round.

    Attributes:
        pending: where the cut was taken from.
        cut: whole steps.
        rows: of the cut, by table.
    """

    pending: PendingPartition
    cut: Cut
    rows: dict[str, pl.DataFrame]


class CommitNotice(msgspec.Struct, frozen=True):
    """A message of `<loop>.commits`: a hint that the lake has grown; the lake itself is the source of truth.

    Attributes:
        tables: version of the newest commit, of each table that got rows.
        partitions: by partition, the last step that is in the lake.
        recorded_at: of the rows, ms UTC.
        v: version of this form.
    """

    tables: dict[str, int]
    partitions: dict[str, int]
    recorded_at: int
    v: int = 1


class RoundWriter:
    """Writes rounds of appends.

    Args:
        crash: called with the name of each step; tests end the process there.
    """

    def __init__(self, lake: Lake, progress: LakeProgress, crash: Callable[[str], None]) -> None:
        self._lake = lake
        self._progress = progress
        self._crash = crash

    def write(self, parts: Sequence[PartitionRows], now_ms: int) -> CommitNotice:
        """Append the rows of all partitions and return the notice to send.

        Raises:
            LakeConflict: another writer has written some of the rows, or a topic was recreated. Appended rows stay.
            LakeError: the lake cannot be written. Appended rows stay.
            BrokerError: the ids of the topics cannot be read.
        """
        if not self._progress.is_current():
            raise LakeConflict("a topic was recreated while it was read")
        recorded_at = _EPOCH + timedelta(milliseconds=now_ms)
        versions = {}
        for table in TABLES:
            frames = [part.rows[table] for part in parts if table in part.rows]
            if not frames:
                continue
            claims = {part.cut.partition: self._progress.claims(table, part.pending, part.cut) for part in parts}
            every = [claim for some in claims.values() for claim in some]
            if not self._lake.append(table, pl.concat(frames), every, recorded_at=recorded_at):
                raise LakeConflict("another writer has written these rows", where=f"table {table}")
            for part in parts:
                if claims[part.cut.partition]:
                    part.pending.mark_written(table, part.cut)
            versions[table] = self._lake.version(table)
            self._crash(f"{table} appended")
        steps = {str(part.cut.partition): part.cut.entries[-1].sequence for part in parts if part.cut.entries}
        return CommitNotice(versions, steps, now_ms)


class NoticeSender:
    """Sends commit notices without waiting for them; the next notice makes up for a lost one.

    Args:
        producer: without transactions.
    """

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    def send(self, notice: CommitNotice) -> None:
        """Queue a notice to be sent."""
        try:
            self._producer.produce(self._topic, msgspec.json.encode(notice))
            self._producer.poll(0)
        except (BufferError, KafkaException) as error:
            log.info("a notice was not sent: %s", error)

    def close(self) -> None:
        """Wait up to `NOTICE_TIMEOUT_S` for queued notices."""
        self._producer.flush(NOTICE_TIMEOUT_S)
