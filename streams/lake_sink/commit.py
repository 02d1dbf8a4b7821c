"""One round of appends to the lake: at most one commit for each table, the ledger's last, then a notice.

Law: rows and positions are one commit, so a round that ends halfway leaves tables at different places, and nothing
doubled or lost. Must not read from Kafka.
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
from streams.lake_sink.cut import TABLES, Cut, Pending
from streams.lake_sink.progress import LakeProgress

__all__ = ["CommitNotice", "CommitNotices", "LakeCommit", "Part"]

log = logging.getLogger("truthloop.lake")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOTICE_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Part:
    """What one partition adds to a round.

    Attributes:
        pending: it was cut from.
        cut: whole steps.
        rows: of the cut, by table.
    """

    pending: Pending
    cut: Cut
    rows: dict[str, pl.DataFrame]


class CommitNotice(msgspec.Struct, frozen=True):
    """A message of `<loop>.commits`: a hint that the lake has more; the lake itself is the truth.

    Attributes:
        tables: number of each table's newest commit, of those that got rows.
        partitions: by partition, the last step that is in the lake.
        recorded_at: of the rows, ms.
        v: version of the form.
    """

    tables: dict[str, int]
    partitions: dict[str, int]
    recorded_at: int
    v: int = 1


class LakeCommit:
    """Writes rounds.

    Args:
        lake: written to.
        standing: says what appends claim.
        crash: called with the name of each step.
    """

    def __init__(self, lake: Lake, standing: LakeProgress, crash: Callable[[str], None]) -> None:
        self._lake = lake
        self._standing = standing
        self._crash = crash

    def write(self, parts: Sequence[Part], now_ms: int) -> CommitNotice:
        """Append what the parts have and return what can be told of it.

        Raises:
            LakeConflict: another writer has written some of it, or a topic was made anew. What was appended stands.
            LakeError: the lake cannot be written. What was appended stands.
            BrokerError: the cluster does not say which topics these are.
        """
        if not self._standing.is_current():
            raise LakeConflict("a topic was made anew while it was read")
        recorded_at = _EPOCH + timedelta(milliseconds=now_ms)
        versions = {}
        for table in TABLES:
            frames = [part.rows[table] for part in parts if table in part.rows]
            if not frames:
                continue
            claims = {part.cut.partition: self._standing.claims(table, part.pending, part.cut) for part in parts}
            every = [claim for some in claims.values() for claim in some]
            if not self._lake.append(table, pl.concat(frames), every, recorded_at=recorded_at):
                raise LakeConflict("another writer has written these rows", where=f"table {table}")
            for part in parts:
                if claims[part.cut.partition]:
                    part.pending.wrote(table, part.cut)
            versions[table] = self._lake.version(table)
            self._crash(f"{table} appended")
        steps = {str(part.cut.partition): part.cut.entries[-1].sequence for part in parts if part.cut.entries}
        return CommitNotice(versions, steps, now_ms)


class CommitNotices:
    """Sends notices; one that gets lost is made good by the next.

    Args:
        producer: without transactions.
        topic: of the notices.
    """

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    def send(self, notice: CommitNotice) -> None:
        """Send a notice, some time."""
        try:
            self._producer.produce(self._topic, msgspec.json.encode(notice))
            self._producer.poll(0)
        except (BufferError, KafkaException) as error:
            log.info("a notice was not sent: %s", error)

    def close(self) -> None:
        """Wait for what is on its way, not for long."""
        self._producer.flush(NOTICE_TIMEOUT_S)
