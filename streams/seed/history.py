"""A past from files, sent to the loop's topics before the first live record: so that the first day is not the first.

Sent again after an interruption, what was there already is a duplicate to the join and changes nothing. Must not
decide what a record means.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import polars as pl
from confluent_kafka import KafkaError, Message

from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics
from streams.ledger.table import RunFile
from streams.mapping.record_file import RecordFile
from streams.messages.wire import encode
from streams.replay.sorted_input import SortedInput

if TYPE_CHECKING:
    from streams.columns.schema import Role

__all__ = ["PastSender", "send_history"]

FLUSH_TIMEOUT_S = 120.0


class PastSender:
    """Sends canonical records to a loop's topics.

    Args:
        clients: of the cluster.
        topics: the loop's.
        progress: told how many records have been sent.
    """

    def __init__(self, clients: KafkaClients, topics: Topics, progress: Callable[[int], None]) -> None:
        self._servers = clients.bootstrap_servers
        self._producer = clients.producer()
        self._topics: dict[Role, str] = {"predictions": topics.predictions, "labels": topics.labels}
        self._progress = progress
        self._refused: list[str] = []
        self.sent = 0

    def send(self, role: "Role", frame: pl.DataFrame) -> None:
        """Send records in the columns of `records_schema`, in their order."""
        for partition, piece in _placed(frame):
            keys = [None if key is None else key.encode() for key in piece["key"]]
            lines = encode(role, piece)
            waiting = [{"key": key, "value": line} for key, line in zip(keys, lines, strict=True)]
            while waiting:
                self._producer.produce_batch(self._topics[role], waiting, partition, on_delivery=self._delivered)
                waiting = [message for message in waiting if message.pop("_error", None) is not None]
                self._producer.poll(0.1 if waiting else 0)
        self.sent += frame.height
        self._progress(self.sent)

    def finish(self) -> None:
        """Wait until the cluster has taken everything.

        Raises:
            BrokerError: it has not.
        """
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        if left or self._refused:
            reason = self._refused[0] if self._refused else "no answer"
            raise BrokerError(
                f"{left + len(self._refused):,} records of the past were not taken: {reason}",
                where=f"kafka {self._servers}",
                hint="Run the same command again: what is there already will count as duplicate.",
            )

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._refused.append(error.str())


def send_history(
    clients: KafkaClients, config: LoopConfig, files: Sequence[RecordFile], progress: Callable[[int], None]
) -> list[RunFile]:
    """Send files to the canonical topics, each input in the order of time; return what became of their records.

    A label of the past is known at its own time: when it arrived here says nothing.

    Args:
        clients: of the cluster.
        config: the loop's.
        files: predictions and labels.
        progress: told how many records have been sent.

    Raises:
        InputError: a file cannot be used.
        BrokerError: the cluster does not take the records.
    """
    sender = PastSender(clients, Topics.of(config), progress)
    counts: list[RunFile] = []
    roles: tuple[Role, ...] = ("predictions", "labels")
    for role in roles:
        log = SortedInput(role, [file for file in files if file.role == role], config, 0)
        for frame in log.slices():
            sender.send(role, frame.with_columns(pl.lit(None, pl.Int64).alias("arrived_at_ms")))
        counts += log.counts
    sender.finish()
    return counts


def _placed(frame: pl.DataFrame) -> list[tuple[int, pl.DataFrame]]:
    """Return heartbeats by the partition that each copy is for, and all others for wherever their key belongs."""
    if "partition" not in frame.columns or frame["partition"].null_count() == frame.height:
        return [(-1, frame)]
    parts = [(-1, frame.filter(pl.col("partition").is_null()))]
    copies = frame.filter(pl.col("partition").is_not_null())
    parts += [(int(number), part) for (number,), part in copies.group_by("partition", maintain_order=True)]
    return parts
