"""Topics as users have them: the same events in many shapes, on a real broker.

A world is a list of scored transactions of which some turn out to be fraud. A shape writes an event as one producer
would write its prediction or label: names, nesting, envelopes, units, keys. Record timestamps are as in a live topic.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
from confluent_kafka import Producer, murmur2
from confluent_kafka.admin import AdminClient, NewTopic
from kafka_fixture import as_client

from streams.kafka.messages import SourceMessages
from streams.kafka.sample import TopicFacts, TopicSample

HOUR_MS = 3_600_000
COUNTRIES = ("DE", "FR", "IT", "ES")
DEVICES = ("iOS", "Android", "web")

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Event:
    """One scored transaction and its label."""

    number: int
    made_ms: int
    known_ms: int
    score: float
    country: str
    device: str
    amount: float
    customer: int
    is_fraud: bool

    @property
    def tx(self) -> str:
        """Id of the transaction."""
        return f"tx-{self.number * 7919 % 1_000_003:06d}"

    @property
    def email(self) -> str:
        """Address of the customer."""
        return f"customer{self.customer}@example.com"


@dataclass(frozen=True)
class Record:
    """A Kafka record."""

    key: bytes | None
    value: bytes | None
    at_ms: int
    headers: Headers | None = None


def world(now_ms: int, count: int = 2_000, seed: int = 1, span_ms: int = 48 * HOUR_MS) -> list[Event]:
    """Return events of the two days before now; label delays have a mean of an hour and a maximum of six."""
    draw = random.Random(seed)
    events = []
    for number in range(count):
        made = now_ms - span_ms + span_ms * number // count + draw.randrange(1_000)
        score = round(draw.betavariate(1, 4), 4)
        delay = min(int(draw.expovariate(1 / HOUR_MS)) + 60_000, 6 * HOUR_MS)
        events.append(
            Event(
                number,
                made,
                made + delay,
                score,
                draw.choice(COUNTRIES),
                draw.choice(DEVICES),
                round(draw.lognormvariate(3, 1), 2),
                draw.randrange(count // 3),
                draw.random() < score,
            )
        )
    return events


def iso(ms: int, offset_h: float | None = 0) -> str:
    """Format a time with its offset from UTC; None gives UTC without an offset."""
    zone = UTC if offset_h is None else timezone(timedelta(hours=offset_h))
    text = datetime.fromtimestamp(ms / 1000, zone).isoformat(timespec="milliseconds")
    return text[:-6] if offset_h is None else text


def encode(value: Any) -> bytes:
    """Encode as JSON."""
    return msgspec.json.encode(value)


Shape = Callable[[Event], Record]


def flat_prediction(event: Event) -> Record:
    """Write flat JSON, epoch in ms."""
    value = {
        "transaction_id": event.tx,
        "scored_at": event.made_ms,
        "model_version": "v7" if event.number % 3 else "v8",
        "fraud_score": event.score,
        "country": event.country,
        "device": event.device,
        "amount": event.amount,
        "customer_id": event.customer,
        "email": event.email,
    }
    return Record(event.tx.encode(), encode(value), event.made_ms + 40)


def flat_label(event: Event) -> Record:
    """Write flat JSON, epoch in ms, a boolean."""
    value = {"transaction_id": event.tx, "is_fraud": event.is_fraud, "resolved_at": event.known_ms}
    return Record(event.tx.encode(), encode(value), event.known_ms + 900)


def nested_prediction(event: Event) -> Record:
    """Write nested JSON: percent scores, ISO times, an object of features, keyed by the customer."""
    value = {
        "eventType": "ScoreComputed",
        "tx": {"id": event.tx, "country": event.country, "amount": {"value": event.amount, "currency": "EUR"}},
        "model": {"name": "fraud", "version": "2026-11-01"},
        "scores": {"fraud": round(event.score * 100, 2)},
        "ts": iso(event.made_ms),
        "f": {"device_os": event.device, "amount": event.amount, "n_24h": event.number % 9, "email": event.email},
    }
    return Record(str(event.customer).encode(), encode(value), event.made_ms + 250)


def nested_label(event: Event) -> Record:
    """Write two values as texts, epoch in seconds."""
    value = {
        "tx": {"id": event.tx},
        "outcome": {"status": "fraud" if event.is_fraud else "legit"},
        "known_at": event.known_ms // 1000,
    }
    return Record(str(event.customer).encode(), encode(value), event.known_ms + 1_200)


def _row(event: Event) -> dict[str, Any]:
    return {"transaction_id": event.tx, "chargeback": int(event.is_fraud), "amount": event.amount}


def debezium_label(event: Event, *, has_schema: bool = True) -> Record:
    """Write a change of a row; every fiftieth row is deleted."""
    op = "d" if event.number % 50 == 7 else "u" if event.number % 5 == 0 else "c"
    payload = {
        "before": None if op == "c" else _row(event),
        "after": None if op == "d" else _row(event),
        "source": {"connector": "postgresql", "table": "chargebacks", "ts_ms": event.known_ms, "lsn": event.number},
        "op": op,
        "ts_ms": event.known_ms + 300,
    }
    schema = {"type": "struct", "fields": [{"type": "string", "field": "transaction_id"}]}
    value = {"schema": schema, "payload": payload} if has_schema else payload
    return Record(encode({"transaction_id": event.tx}), encode(value), event.known_ms + 700)


def bare_debezium_label(event: Event) -> Record:
    """Write the payload alone, without its envelope."""
    return debezium_label(event, has_schema=False)


def cloud_event_prediction(event: Event) -> Record:
    """Write CloudEvents in structured mode."""
    value = {
        "specversion": "1.0",
        "type": "com.example.scored",
        "source": "/risk",
        "id": f"evt-{event.number}",
        "time": iso(event.made_ms, 1),
        "datacontenttype": "application/json",
        "data": {
            "orderId": event.tx,
            "modelVersion": "v3",
            "probability": event.score,
            "country": event.country,
            "amount": event.amount,
        },
    }
    return Record(event.tx.encode(), encode(value), event.made_ms + 60)


def cloud_event_label(event: Event) -> Record:
    """Write the label in the same shape."""
    value = {
        "specversion": "1.0",
        "type": "com.example.disputed",
        "source": "/disputes",
        "id": f"lab-{event.number}",
        "time": iso(event.known_ms, 1),
        "data": {"orderId": event.tx, "verdict": "yes" if event.is_fraud else "no"},
    }
    return Record(event.tx.encode(), encode(value), event.known_ms + 60)


def key_only_prediction(event: Event) -> Record:
    """Write the join key as the Kafka key only; version in a header, epoch in µs, numbers as texts nowhere."""
    value = {"time_us": event.made_ms * 1000, "p": event.score, "region": event.country, "amount": event.amount}
    return Record(event.tx.encode(), encode(value), event.made_ms + 5, [("model_version", b"v1")])


def key_only_label(event: Event) -> Record:
    """Write the label in the same shape."""
    value = {"clicked": event.is_fraud, "time_us": event.known_ms * 1000}
    return Record(event.tx.encode(), encode(value), event.known_ms + 5)


def naive_prediction(offset_h: float) -> Shape:
    """Write local times without their offset, for a place so many hours ahead of UTC."""

    def shape(event: Event) -> Record:
        value = msgspec.json.decode(flat_prediction(event).value or b"")
        value["scored_at"] = iso(event.made_ms + int(offset_h * HOUR_MS), None)
        return Record(event.tx.encode(), encode(value), event.made_ms + 40)

    return shape


def canonical_prediction(event: Event) -> Record:
    """Write a canonical message."""
    value = {
        "v": 1,
        "key": event.tx,
        "time": event.made_ms,
        "version": "v1",
        "outputs": {"fraud": event.score},
        "slices": {"country": event.country},
        "features": {"amount": event.amount, "device": event.device},
    }
    return Record(event.tx.encode(), encode(value), event.made_ms + 20)


def canonical_label(event: Event) -> Record:
    """Write a canonical message."""
    value = {"v": 1, "key": event.tx, "kind": "fraud", "value": int(event.is_fraud), "time": event.known_ms}
    return Record(event.tx.encode(), encode(value), event.known_ms + 20)


def avro_record(event: Event) -> Record:
    """Write bytes that look like those of a schema registry's Avro serializer."""
    return Record(event.tx.encode(), b"\0\0\0\0\x07\x02\x0c" + event.tx.encode() + b"\xff\x01", event.made_ms)


def corrupted(shape: Shape, every: int = 20) -> Shape:
    """Break every twentieth record: half of them are no JSON, the others lack every field."""

    def broken(event: Event) -> Record:
        record = shape(event)
        if event.number % every:
            return record
        value = b'{"oops": ' if event.number % (2 * every) else b'{"note": "maintenance"}'
        return Record(record.key, value, record.at_ms)

    return broken


def changed(shape: Shape, **fields: Callable[[Event], Any]) -> Shape:
    """Replace the values of some top-level fields; None removes a field."""

    def other(event: Event) -> Record:
        record = shape(event)
        value = msgspec.json.decode(record.value or b"{}")
        for name, make in fields.items():
            made = make(event)
            if made is None:
                value.pop(name, None)
            else:
                value[name] = made
        return Record(record.key, encode(value), record.at_ms, record.headers)

    return other


def known(events: Iterable[Event], now_ms: int) -> Iterator[Event]:
    """Return the events whose label is known by now, in the order of their labels."""
    return iter(sorted((event for event in events if event.known_ms <= now_ms), key=lambda event: event.known_ms))


def create(servers: str, topic: str, partitions: int, **config: str) -> None:
    """Create a topic, and wait until the broker tells of it; `_` in names of settings stands for a dot."""
    admin = AdminClient(as_client(servers))
    settings = {name.replace("_", "."): value for name, value in config.items()}
    made = admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1, config=settings)])
    made[topic].result(30)
    while topic not in admin.list_topics(timeout=30).topics:
        pass


def write(servers: str, topic: str, records: Iterable[Record], partitioner: str = "murmur2_random") -> None:
    """Produce records and wait until the broker has acknowledged them."""
    producer = Producer(as_client(servers, partitioner=partitioner, linger_ms="20"))
    for record in records:
        producer.produce(topic, record.value, record.key, timestamp=record.at_ms, headers=record.headers or [])
        producer.poll(0)
    assert producer.flush(60) == 0


def sampled(topic: str, records: Iterable[Record], partitions: int = 6, **settings: str) -> TopicSample:
    """Return the sample that reading a whole topic of these records would give, without a broker."""
    rows = []
    following = [0] * partitions
    for number, record in enumerate(records):
        partition = number % partitions if record.key is None else murmur2(record.key, partitions)
        rows.append((partition, following[partition], record))
        following[partition] += 1
    rows.sort(key=lambda row: row[:2])
    messages = SourceMessages(
        topic,
        [record.value for *_, record in rows],
        [partition for partition, *_ in rows],
        [offset for _, offset, _ in rows],
        [record.at_ms for *_, record in rows],
        [record.key for *_, record in rows],
        [record.headers for *_, record in rows],  # type: ignore[misc] # values are always there
    )
    facts = TopicFacts(topic, partitions, 3, {name.replace("_", "."): value for name, value in settings.items()})
    ranges = {partition: (0, count) for partition, count in enumerate(following)}
    return TopicSample(facts, ranges, messages, covered=len(rows))
