"""Predictions and labels in Truthloop's own form, written by a service that does not know Truthloop.

    pip install confluent-kafka
    python producer.py --bootstrap-servers localhost:9092

Copy what you need: `CLIENT`, `Sender`, and the two messages. The rest plays a spam filter and its users.
"""

import argparse
import json
import sys
import time
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

CLIENT = {
    # A prediction and its labels must lie in partitions of the same number, so all who write them must place a key
    # alike. Truthloop and Java clients use murmur2; librdkafka (Python, Go, .NET, kcat) uses CRC32 unless told.
    "partitioner": "murmur2_random",
    "enable.idempotence": True,  # retries neither double nor reorder; implies acks=all
    "compression.type": "lz4",
    "linger.ms": 5,
}

MINUTE_MS = 60_000


class Sender:
    """Sends messages to one loop's topics and remembers those that did not arrive.

    Args:
        bootstrap_servers: of the cluster.
        loop: name of the loop; its topics are LOOP.predictions and LOOP.labels.
    """

    def __init__(self, bootstrap_servers: str, loop: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, **CLIENT})
        self._loop = loop
        self.failed = 0

    def send(self, topic: str, message: dict[str, Any]) -> None:
        """Send a message under its join key, which is what labels are joined on."""
        while True:
            try:
                self._producer.produce(
                    f"{self._loop}.{topic}",
                    key=message["key"],
                    value=json.dumps(message, separators=(",", ":")),
                    on_delivery=self._delivered,
                )
            except BufferError:  # more waits than memory may take: let some of it leave first
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def close(self) -> int:
        """Wait until all is sent; return how many messages were lost."""
        return self._producer.flush(30) + self.failed

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.failed += 1
            sys.stderr.write(f"not delivered: {error}\n")


def prediction(mail: str, score: float, at_ms: int) -> dict[str, Any]:
    """Return what the model said; schemas/json/prediction.schema.json has all fields."""
    return {
        "v": 1,
        "key": mail,  # what the label will be known by
        "time": at_ms,  # when it was made: ms since 1970, or ISO 8601 with an offset
        "version": "7",  # of the model
        "outputs": {"spam": score},  # a probability from 0 to 1
        "slices": {"folder": "inbox" if score < 0.5 else "junk"},
        "features": {"links": len(mail) % 5},
    }


def label(mail: str, at_ms: int, *, is_spam: bool | None) -> dict[str, Any]:
    """Return what is true, or that nothing is known after all (None); see schemas/json/label.schema.json."""
    message: dict[str, Any] = {"v": 1, "key": mail, "kind": "spam", "time": at_ms, "source": "user"}
    if is_spam is None:
        return message | {"op": "retract"}
    return message | {"value": int(is_spam)}


def main() -> None:
    """Play an hour of mail: of ten, seven get a verdict, one changes it, and one takes it back."""
    parser = argparse.ArgumentParser(description="Sends canonical predictions and labels.")
    parser.add_argument("--bootstrap-servers", default="localhost:9092")
    parser.add_argument("--loop", default="spam-filter")
    parser.add_argument("--count", type=int, default=100, help="predictions (100)")
    options = parser.parse_args()
    sender = Sender(options.bootstrap_servers, options.loop)
    # A service sends each message when it happens. Here an hour that has passed is told in one go.
    start_ms = int(time.time() * 1000) - 60 * MINUTE_MS
    for number in range(options.count):
        mail, at_ms = f"mail-{number}", start_ms + number * 10 * MINUTE_MS // options.count
        sender.send("predictions", prediction(mail, (number * 37 % 100) / 100, at_ms))
        if number % 10 < 7:
            sender.send("labels", label(mail, at_ms + 5 * MINUTE_MS, is_spam=number % 3 == 0))
        if number % 10 == 1:
            sender.send("labels", label(mail, at_ms + 20 * MINUTE_MS, is_spam=True))
        if number % 10 == 2:
            sender.send("labels", label(mail, at_ms + 30 * MINUTE_MS, is_spam=None))
    if lost := sender.close():
        sys.exit(f"{lost} messages were not delivered")
    print(f"{options.count} predictions and their labels are in {options.loop}.predictions and {options.loop}.labels.")


if __name__ == "__main__":
    main()
