"""Reads the progress of a loop from Kafka and the lake; of one of files, from the lake alone. No role needs to run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaException, TopicPartition

from lake import Lake
from lake.storage.location import storage_at
from schemas.base.location import Location
from schemas.config.loop import LoopConfig
from streams.kafka.client import REQUEST_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.range import once_led
from streams.kafka.topics import Topics, partition_counts
from streams.ledger.entry import LedgerRecord
from streams.ledger.lake_kind import complete_rows
from streams.ledger.row import LedgerRow
from streams.ledger.table import newest_rows
from streams.ledger.topic import LedgerReader

__all__ = ["LoopStatus", "group_lag", "read_lake_status", "read_loop_status"]


@dataclass(frozen=True)
class LoopStatus:
    """Progress of a loop's roles.

    Attributes:
        ingest: lag of ingest by source topic, in offsets; empty if the loop has no sources.
        join: lag of the join by input topic, in offsets.
        entries: newest entry of the ledger topic by partition, in a loop of files the newest row of the lake's ledger;
            a partition without entries is missing.
        lake: newest step in the lake by partition.
    """

    ingest: dict[str, int]
    join: dict[str, int]
    entries: Mapping[int, LedgerRecord | LedgerRow]
    lake: dict[int, int]

    @property
    def lake_behind(self) -> int:
        """Number of steps that the join has committed and the lake does not have yet."""
        return sum(entry.sequence - self.lake.get(number, -1) for number, entry in self.entries.items())


def read_loop_status(clients: KafkaClients, config: LoopConfig, lake: Location) -> LoopStatus:
    """Read the progress of all roles.

    Raises:
        BrokerError: the cluster does not answer, or a topic is missing.
        LakeError: the lake cannot be read.
    """
    topics = Topics.of(config)
    sources = list(dict.fromkeys(source.topic for source in config.ingest if source.topic))
    ledger = LedgerReader(clients, topics.ledger)
    entries = {number: last for number in range(topics.partitions) if (last := ledger.last(number)) is not None}
    newest = newest_rows(Lake.open(lake)) if storage_at(lake).exists() else {}
    return LoopStatus(
        ingest=group_lag(clients, topics.group("ingest"), sources),
        join=group_lag(clients, topics.group("join"), topics.inputs),
        entries=entries,
        lake={number: row.sequence for number, row in newest.items()},
    )


def read_lake_status(lake: Location) -> LoopStatus:
    """Read the progress of a loop of files.

    Raises:
        LakeError: there is no lake, or it cannot be read.
    """
    newest = complete_rows(Lake.open(lake))
    return LoopStatus({}, {}, newest, {number: row.sequence for number, row in newest.items()})


def group_lag(clients: KafkaClients, group: str, names: Iterable[str]) -> dict[str, int]:
    """Return the number of offsets that a group has not committed, by topic; topics that do not exist are left out.

    Raises:
        BrokerError: the cluster does not answer.
    """
    counts = partition_counts(clients, names)
    reader = clients.observer(group)
    try:
        partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
        lag = dict.fromkeys(counts, 0)
        for partition in reader.committed(partitions, timeout=REQUEST_TIMEOUT_S) if partitions else ():
            low, high = once_led(partial(reader.get_watermark_offsets, partition, timeout=REQUEST_TIMEOUT_S))
            lag[partition.topic] += high - (partition.offset if partition.offset >= 0 else low)
    except KafkaException as error:
        raise broker_error(f"the lag of group {group} cannot be read", error, clients) from None
    finally:
        reader.close()
    return lag
