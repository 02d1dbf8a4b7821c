"""The two ends of a measurement of latency, each a process of its own: `write` and `read`. Run by `join.py`.

The writer keeps to a timetable that was fixed beforehand (open loop): every record carries the moment at which it is
due, whether or not the one before it was late, so a stall anywhere counts for all that had to wait. The reader notes
when each outcome comes to a reader of committed records; its age is that moment less the label's due time.
"""

import json
import sys
import threading
import time
from bisect import bisect_right

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from join_traffic import LABELLED, OF, PARTITIONS, Traffic

LEAD_MS = 10_000
ENCODED_PER_MS = 20
"""From the start to the first record: all are encoded before it, on a slow machine too."""

DELAY_MS = (200, 1_000)
FLUSH_S = 60
TICK_S = 0.001
LINGER_MS = 5
"""The library's default. With less, hundreds of tiny requests a second load the broker more than the join does."""

ASKED_EVERY = 50
"""Of so many records one tells when the broker has acknowledged it."""


class _Label(msgspec.Struct):
    time: int


class _Answer(msgspec.Struct):
    """An outcome of any engine: its label's time is a field of its own, or inside its label."""

    label_time: int | None = None
    label: _Label | None = None


def write(servers: str, loop: str, per_second: str, seconds: str) -> None:
    """Write predictions and labels, together so many in a second; tell the first due time, then how it went."""
    rate = float(per_second) * OF / (OF + LABELLED)
    count = int(rate * float(seconds))
    first_ms = int(time.time() * 1000) + LEAD_MS + count // ENCODED_PER_MS
    until_ms = first_ms + int(float(seconds) * 1000)
    load = Traffic(count, 0, 0, first_ms, per_second=rate, delay_ms=DELAY_MS, until_ms=until_ms)
    records = [
        (time_ms, f"{loop}.{chunk.role}", key, value)
        for chunk in load.chunks()
        for time_ms, key, value in zip(chunk.times, chunk.keys, chunk.values, strict=True)
    ]
    records.sort(key=lambda record: record[0])
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "compression.type": "lz4",
            "enable.idempotence": True,
            "linger.ms": LINGER_MS,
            "partitioner": "murmur2_random",
        }
    )
    producer.list_topics(timeout=30)
    assert time.time() * 1000 < first_ms, "the machine is too slow or too busy to encode the records beforehand"
    print(json.dumps({"first_ms": first_ms}), flush=True)
    slips, acks = _send(producer, records)
    late = {"slip_max_ms": max(slips)} | {f"ack_p{q}_ms": float(np.quantile(acks, q / 100)) for q in (50, 99)}
    late = {name: round(number, 1) for name, number in late.items()}
    print(json.dumps({"records": len(records), "labels": load.tally.pairs, **late}), flush=True)


def _send(producer: Producer, records: list[tuple[int, str, str, bytes]]) -> tuple[list[float], list[float]]:
    """Send each record when it is due; return how late the first of each go was, and how late acknowledged, in ms."""
    times = [record[0] for record in records]
    slips: list[float] = []
    acks: list[float] = []

    def acknowledged(error: KafkaError | None, message: Message) -> None:
        assert error is None, error.str()
        acks.append(time.time() * 1000 - message.timestamp()[1])

    at = 0
    while at < len(times):
        now_ms = time.time() * 1000
        due = bisect_right(times, now_ms, at)
        if due > at:
            slips.append(now_ms - times[at])
        for number in range(at, due):
            time_ms, topic, key, value = records[number]
            asked = acknowledged if number % ASKED_EVERY == 0 else None
            producer.produce(topic, value, key, timestamp=time_ms, on_delivery=asked)
        at = due
        producer.poll(0)
        time.sleep(TICK_S)
    assert producer.flush(FLUSH_S) == 0, "the broker is too slow or too busy to take the records"
    return slips, acks


def read(servers: str, loop: str) -> None:
    """Read outcomes until stdin tells from when on they count; tell the quantiles of their ages."""
    reader = Consumer(
        {
            "bootstrap.servers": servers,
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
            "group.id": "latency",
            "isolation.level": "read_committed",
        }
    )
    reader.assign([TopicPartition(f"{loop}.outcomes", number, 0) for number in range(PARTITIONS)])
    told: list[str] = []
    threading.Thread(target=lambda: told.append(sys.stdin.readline()), daemon=True).start()
    came: list[tuple[float, bytes]] = []
    while not told:
        first = reader.poll(0.05)
        if first is None:
            continue
        messages = [first, *reader.consume(5_000, timeout=0)]
        now_ms = time.time() * 1000
        came += [(now_ms, message.value()) for message in messages if message.error() is None]
    from_ms = int(told[0])
    decode = msgspec.json.Decoder(_Answer).decode
    due = [_label_time_ms(decode(value)) for _, value in came]
    ages = np.array([now_ms - due_ms for (now_ms, _), due_ms in zip(came, due, strict=True) if due_ms >= from_ms])
    quantiles = {f"p{q}_ms": round(float(np.quantile(ages, q / 100)), 1) for q in (50, 90, 99)}
    worst = round(float(ages.max()), 1)
    print(json.dumps({"outcomes": len(due), "measured": len(ages), **quantiles, "max_ms": worst}), flush=True)
    reader.close()


def _label_time_ms(answer: _Answer) -> int:
    time_ms = answer.label.time if answer.label is not None else answer.label_time
    assert time_ms is not None
    return time_ms


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
