"""Sends a loop's history from files to its topics, before the first live record.

After an interruption it is simply sent again: the join recognises the records that it has already as duplicates.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import polars as pl
from confluent_kafka import KafkaError, Message

from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics
from streams.ledger.row import RunFile
from streams.mapping.record_file import RecordFile
from streams.messages.wire import encode_records
from streams.replay.sorted_input import SortedInput

if TYPE_CHECKING:
    from streams.columns.schema import Role

__all__ = ["RecordSender", "send_history"]

FLUSH_TIMEOUT_S = 120.0


class RecordSender:
    """Sends canonical records to a loop's topics; `progress` is called with the number of records sent so far."""

    def __init__(self, clients: KafkaClients, topics: Topics, progress: Callable[[int], None]) -> None:
        self._servers = clients.bootstrap_servers
        self._producer = clients.producer()
        self._topics: dict[Role, str] = {"predictions": topics.predictions, "labels": topics.labels}
        self._progress = progress
        self._refused: list[str] = []
        self.sent = 0

    def send(self, role: "Role", frame: pl.DataFrame) -> None:
        """Send records in the columns of `records_schema`, in their order."""
        for partition, part in _by_partition(frame):
            keys = [None if key is None else key.encode() for key in part["key"]]
            values = encode_records(role, part)
            pending = [{"key": key, "value": value} for key, value in zip(keys, values, strict=True)]
            while pending:
                self._producer.produce_batch(self._topics[role], pending, partition, on_delivery=self._delivered)
                pending = [message for message in pending if message.pop("_error", None) is not None]
                self._producer.poll(0.1 if pending else 0)
        self.sent += frame.height
        self._progress(self.sent)

    def finish(self) -> None:
        """Wait until the cluster has acknowledged every record.

        Raises:
            BrokerError: some records were refused, or not acknowledged in time.
        """
        unanswered = self._producer.flush(FLUSH_TIMEOUT_S)
        if unanswered or self._refused:
            reason = self._refused[0] if self._refused else "no answer"
            raise BrokerError(
                f"{unanswered + len(self._refused):,} records were not delivered: {reason}",
                where=f"kafka {self._servers}",
                hint="Run the same command again: records that were delivered will count as duplicates.",
            )

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._refused.append(error.str())


def send_history(
    clients: KafkaClients, config: LoopConfig, files: Sequence[RecordFile], progress: Callable[[int], None]
) -> list[RunFile]:
    """Send files to the canonical topics, each input in order of time; return the counts of their records.

    Arrival times are removed: a label of the history is known at its own time, and not when the file arrived.
    `progress` is called with the number of records sent so far.

    Raises:
        InputError: a file is unusable.
        BrokerError: some records were not delivered.
    """
    sender = RecordSender(clients, Topics.of(config), progress)
    counts: list[RunFile] = []
    roles: tuple[Role, ...] = ("predictions", "labels")
    for role in roles:
        with SortedInput(role, [file for file in files if file.role == role], config, 0) as log:
            for frame in log.slices():
                sender.send(role, frame.with_columns(pl.lit(None, pl.Int64).alias("arrived_at_ms")))
        counts += log.counts
    sender.finish()
    return counts


def _by_partition(frame: pl.DataFrame) -> list[tuple[int, pl.DataFrame]]:
    """Return heartbeats by the partition of each copy, and other records under -1: the partitioner uses their key."""
    if "partition" not in frame.columns or frame["partition"].null_count() == frame.height:
        return [(-1, frame)]
    parts = [(-1, frame.filter(pl.col("partition").is_null()))]
    heartbeats = frame.filter(pl.col("partition").is_not_null())
    parts += [(int(number), part) for (number,), part in heartbeats.group_by("partition", maintain_order=True)]
    return parts
