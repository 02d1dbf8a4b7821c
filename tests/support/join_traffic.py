"""Records for the topics of a live loop: seeded, in all the forms that producers and ingest give them."""

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl
from confluent_kafka import murmur2

from schemas.config.loop import LoopConfig
from streams.mapping.mapper import MessageMapper
from streams.messages.wire import encode_records

__all__ = ["INGESTED_MS", "JUNK", "MINUTE_MS", "NOW_MS", "START_MS", "Traffic"]

START_MS = 1_760_000_000_000
MINUTE_MS = 60_000
NOW_MS = START_MS + 10_000 * MINUTE_MS
INGESTED_MS = NOW_MS - MINUTE_MS
"""When what ingest writes has arrived, as it says."""

JUNK = (b"", b"{", b'{"key": ""}', b"[]")

Placed = list[tuple[int, bytes]]
"""Partitions and values of messages."""


class Traffic:
    """Makes records of one loop.

    Args:
        config: the loop's.
        seed: of everything.

    Attributes:
        origins: of what ingest writes, the record that it was made from.
    """

    def __init__(self, config: LoopConfig, seed: int) -> None:
        self._config = config
        self._random = random.Random(seed)
        self._minute = 0
        self.origins: dict[bytes, bytes] = {}

    def some(self, count: int) -> tuple[Placed, Placed]:
        """Return predictions and labels: duplicates, corrections, heartbeats, and some junk."""
        predictions, labels = [], []
        for _ in range(count):
            self._minute += self._random.randrange(1, 6)
            predictions += self._predictions()
            labels += self._labels()
        heartbeat = {"kind": "click", "op": "heartbeat", "time": START_MS + (self._minute - 5) * MINUTE_MS}
        beats = [(number, msgspec.json.encode(heartbeat)) for number in range(self._config.partitions)]
        return self._mixed("predictions", predictions), self._mixed("labels", labels) + beats

    def _predictions(self) -> list[dict[str, Any]]:
        draw = self._random.random
        one = {
            "key": f"k{self._minute}",
            "time": START_MS + self._minute * MINUTE_MS,
            "version": self._random.choice(["v1", "v2"]),
            "outputs": {"click": draw(), "sale": draw() * 100},
            "slices": {"country": self._random.choice(["DE", "FR", None])},
            "features": {"amount": self._random.choice([1, 2.5, -1, None, "x"]), "other": '"quoted" \\ ü'},
            "eligible": draw() < 0.9,
        }
        shadow = one | {"id": f"shadow {self._minute}"}
        return [one] + [one] * (draw() < 0.1) + [shadow] * (draw() < 0.1)

    def _labels(self) -> list[dict[str, Any]]:
        draw = self._random.random
        minute = max(0, self._minute - self._random.randrange(90))
        one = {
            "key": f"k{minute}" if draw() < 0.9 else "nobody",
            "kind": self._random.choice(["click", "sale"]),
            "value": self._random.choice([0, 1]),
            "time": START_MS + self._minute * MINUTE_MS,
        }
        if draw() < 0.05:
            one = one | {"op": "retract"}
            del one["value"]
        return [one] + [one] * (draw() < 0.05)

    def _mixed(self, name: str, records: Sequence[dict[str, Any]]) -> Placed:
        """Return records as messages, some as ingest writes them, some as others do, some that are none."""
        role: Any = name
        texts = [msgspec.json.encode(record) for record in records]
        mapped = MessageMapper(role, None, self._config).map(texts).records
        arrived = pl.lit(INGESTED_MS, dtype=pl.Int64).alias("arrived_at_ms")
        ours = dict(zip(mapped["row"].to_list(), encode_records(role, mapped.with_columns(arrived)), strict=True))
        self.origins |= {value: texts[at] for at, value in ours.items()}
        messages = []
        for at, record in enumerate(records):
            value = ours.get(at, texts[at]) if self._random.random() < 0.7 else texts[at]
            messages.append((murmur2(record["key"].encode(), self._config.partitions), value))
        messages.insert(
            len(messages) // 2, (self._random.randrange(self._config.partitions), self._random.choice(JUNK))
        )
        return messages
