"""What the generators of the examples share: the company's topics, the command line, the truth beside the traffic.

The records are the company's own, made as if Truthloop did not exist; nothing here or in the generators imports it.
Must not know what a record means.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

__all__ = ["DAY_MS", "HOUR_MS", "MINUTE_MS", "SECOND_MS", "Company", "Record", "Traffic", "iso", "run"]

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Record:
    """One record on its way.

    Attributes:
        at_ms: when it reaches its topic, which is later than what it tells of.
        topic: without the prefix of `--prefix`.
        key: the company's own, not the one that labels are joined on.
        value: None in a tombstone.
        headers: by name.
    """

    at_ms: int
    topic: str
    key: str
    value: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Traffic:
    """All records of a company, and what is true in the end.

    Attributes:
        close_ms: by then every deadline has passed.
        records: in the order of their making.
        truth: (key, id, kind) -> status, value, and why.
        rejects: (input, reason) -> records that must end there.
    """

    close_ms: int
    records: list[Record] = field(default_factory=list)
    truth: dict[tuple[str, str, str], tuple[str, float | None, str]] = field(default_factory=dict)
    rejects: Counter[tuple[str, str]] = field(default_factory=Counter)

    def send(self, record: Record) -> None:
        """Add a record."""
        self.records.append(record)

    def in_order(self) -> list[Record]:
        """Return all records as they reach their topics."""
        return sorted(self.records, key=lambda record: record.at_ms)

    def truth_lines(self) -> Iterable[str]:
        """Give the truth as JSON lines."""
        yield json.dumps({"close_at": iso(self.close_ms)})
        for (key, id_, kind), (status, value, why) in sorted(self.truth.items()):
            outcome = {"key": key, "id": id_, "kind": kind, "status": status, "value": value, "why": why}
            yield json.dumps({"outcome": outcome})
        for (name, reason), count in sorted(self.rejects.items()):
            yield json.dumps({"reject": {"input": name, "reason": reason, "count": count}})


@dataclass(frozen=True)
class Company:
    """One example's company.

    Attributes:
        about: the generator's own description.
        topics: name -> partitions.
        make: traffic of a seed, a number of predictions and a start.
        count: predictions if nothing is said.
        days: between the start and the last deadline.
    """

    about: str
    topics: Mapping[str, int]
    make: Callable[[Random, int, int], Traffic]
    count: int
    days: int


def iso(time_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run(company: Company) -> None:
    """Make a company's traffic, send it, and say what comes next."""
    options = _options(company)
    start_ms = int(options.start.timestamp() * 1000)
    traffic = company.make(Random(options.seed), options.count, start_ms)
    if options.count and traffic.close_ms > datetime.now(UTC).timestamp() * 1000:
        sys.exit(f"--start: the traffic takes {company.days} days, and would end in the future, where nothing is known")
    if options.truth is not None:
        options.truth.write_text("\n".join(traffic.truth_lines()) + "\n", "utf-8")
    _make_topics(options.bootstrap_servers, {options.prefix + name: n for name, n in company.topics.items()})
    sent = _send(options.bootstrap_servers, options.prefix, traffic.in_order())
    print(", ".join(f"{options.prefix}{topic}: {sent[topic]:,} records" for topic in company.topics))
    if options.count:
        print(f"All deadlines have passed by then. To say so: truthloop close {iso(traffic.close_ms)}")


def _options(company: Company) -> argparse.Namespace:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    parser = argparse.ArgumentParser(description=company.about.partition("\n")[0])
    parser.add_argument("--bootstrap-servers", default="localhost:9092", help="localhost:9092")
    parser.add_argument("--seed", type=int, default=7, help="the same seed, count and start make the same records (7)")
    parser.add_argument(
        "--count", type=int, default=company.count, help=f"predictions, about; 0 only makes topics ({company.count})"
    )
    parser.add_argument(
        "--start",
        type=_moment,
        default=today - timedelta(days=company.days + 1),
        help=f"ISO 8601; its end must have passed ({company.days + 1} days ago)",
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="write what is true in the end, as JSON lines")
    parser.add_argument("--prefix", default="", help="before the names of all topics, to try twice on one cluster")
    return parser.parse_args()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _make_topics(servers: str, topics: Mapping[str, int]) -> None:
    """Make the company's topics where they are missing; they keep old records, because all of these are old."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    wanted = [
        NewTopic(name, num_partitions=count, replication_factor=-1, config={"retention.ms": "-1"})
        for name, count in topics.items()
    ]
    for future in admin.create_topics(wanted).values():
        try:
            future.result(TIMEOUT_S)
        except TimeoutError:
            sys.exit(f"{servers} does not answer")
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                sys.exit(f"{servers} does not make the topics: {error.args[0].str()}")


def _send(servers: str, prefix: str, records: Iterable[Record]) -> Counter[str]:
    """Send records with the times at which they come; return how many each topic got."""
    failed: list[Any] = []
    # the partitioner is librdkafka's own: how the company places its records is no matter, ingest places them anew
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 20, "log_level": 0})
    sent: Counter[str] = Counter()
    for record in records:
        while True:
            try:
                producer.produce(
                    prefix + record.topic,
                    key=record.key,
                    value=record.value,
                    timestamp=record.at_ms,
                    headers=list(record.headers.items()),
                    on_delivery=lambda error, _message: failed.append(error) if error else None,
                )
            except BufferError:
                producer.poll(0.1)
            else:
                break
        producer.poll(0)
        sent[record.topic] += 1
    if producer.flush(TIMEOUT_S) or failed:
        sys.exit(f"the cluster did not take all records: {failed[0] if failed else 'it does not answer'}")
    return sent
