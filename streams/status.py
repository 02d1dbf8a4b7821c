"""How far every role has come, told by Kafka and the lake alone: no role needs to run for it.

Must not judge: a lag is a number here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition

from lake import Lake
from schemas.config.loop import LoopConfig
from streams.kafka.client import REACH_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.topics import Topics, partition_counts
from streams.ledger.entry import LedgerRecord
from streams.ledger.table import newest_rows
from streams.ledger.topic import LedgerReader

__all__ = ["LoopStatus", "group_lag", "read_loop_status"]


@dataclass(frozen=True)
class LoopStatus:
    """Where a loop stands.

    Attributes:
        ingest: per source topic, offsets that ingest has not committed; empty where there are no sources.
        join: per input topic, offsets that the join has not committed.
        entries: per partition, the ledger topic's newest entry; partitions without one are missing.
        lake: per partition, the newest step that the lake has.
    """

    ingest: dict[str, int]
    join: dict[str, int]
    entries: dict[int, LedgerRecord]
    lake: dict[int, int]

    @property
    def lake_behind(self) -> int:
        """Steps that the join has committed and the lake has not."""
        return sum(entry.sequence - self.lake.get(number, -1) for number, entry in self.entries.items())


def read_loop_status(clients: KafkaClients, config: LoopConfig, lake: Path) -> LoopStatus:
    """Look everything up.

    Raises:
        BrokerError: the cluster does not answer, or a topic is missing.
        LakeError: the lake cannot be read.
    """
    topics = Topics.of(config)
    sources = list(dict.fromkeys(source.topic for source in config.ingest if source.topic))
    ledger = LedgerReader(clients, topics.ledger)
    entries = {number: last for number in range(topics.partitions) if (last := ledger.last(number)) is not None}
    newest = newest_rows(Lake.open(lake)) if lake.exists() else {}
    return LoopStatus(
        ingest=group_lag(clients, topics.group("ingest"), sources),
        join=group_lag(clients, topics.group("join"), topics.inputs),
        entries=entries,
        lake={number: row.sequence for number, row in newest.items()},
    )


def group_lag(clients: KafkaClients, group: str, names: Iterable[str]) -> dict[str, int]:
    """Return for each topic that exists how many offsets a group has not committed.

    Raises:
        BrokerError: the cluster does not answer.
    """
    counts = partition_counts(clients, names)
    reader = clients.onlooker(group)
    try:
        places = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
        lag = dict.fromkeys(counts, 0)
        for place in reader.committed(places, timeout=REACH_TIMEOUT_S) if places else ():
            low, high = reader.get_watermark_offsets(place, timeout=REACH_TIMEOUT_S)
            lag[place.topic] += high - (place.offset if place.offset >= 0 else low)
    except KafkaException as error:
        raise broker_error(f"what group {group} has read cannot be told", error, clients) from None
    finally:
        reader.close()
    return lag
