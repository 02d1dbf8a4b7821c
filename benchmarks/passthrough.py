"""The bare transactional pass-through: what confluent-kafka itself costs, without decoding, state or join.

Run by `join.py`, with bootstrap servers and the loop's name. Reads predictions and labels, writes every record as it is
to the loop's outcomes, and commits the positions in the same transaction. Ends with its stdin.
"""

import sys
import threading

from confluent_kafka import Consumer, Producer, TopicPartition

BATCH_MESSAGES = 20_000
BATCH_S = 0.1
CONSUMER = {
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "fetch.max.bytes": 64_000_000,
    "fetch.wait.max.ms": 50,
    "isolation.level": "read_committed",
    "max.partition.fetch.bytes": 8_000_000,
    "partition.assignment.strategy": "range",
    "queued.max.messages.kbytes": 262_144,
    "queued.min.messages": 500_000,
}
PRODUCER = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "partitioner": "murmur2_random",
    "queue.buffering.max.kbytes": 262_144,
    "queue.buffering.max.messages": 500_000,
}


def main() -> None:
    """Pass records on until stdin ends."""
    servers, loop = sys.argv[1:]
    consumer = Consumer({"bootstrap.servers": servers, "group.id": f"{loop}-join", **CONSUMER})
    producer = Producer({"bootstrap.servers": servers, "transactional.id": f"{loop}-join", **PRODUCER})
    producer.init_transactions(60)
    consumer.subscribe([f"{loop}.predictions", f"{loop}.labels"])
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        turn(consumer, producer, f"{loop}.outcomes")
    consumer.close()


def turn(consumer: Consumer, producer: Producer, target: str) -> None:
    """Read once and pass it on in one transaction."""
    messages = consumer.consume(BATCH_MESSAGES, timeout=BATCH_S)
    if not messages:
        return
    metadata = consumer.consumer_group_metadata()
    places = {(message.topic(), message.partition()) for message in messages}
    waiting = []
    for message in messages:
        assert message.error() is None, message.error().str()
        waiting.append({"key": message.key(), "value": message.value()})
    producer.begin_transaction()
    while waiting:
        producer.produce_batch(target, waiting)
        waiting = [record for record in waiting if record.pop("_error", None) is not None]
        producer.poll(0.05 if waiting else 0)
    positions = consumer.position([TopicPartition(*place) for place in places])
    producer.send_offsets_to_transaction(positions, metadata)
    producer.commit_transaction()


if __name__ == "__main__":
    main()
