"""What the join's benchmark feeds to every engine: the same predictions and labels, byte by byte, from a formula.

Four of five predictions get exactly one label, so what must come out is known. Records are in the form that Truthloop's
ingest writes, which is plain JSON to everybody else. Must not know brokers or engines.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from xxhash import xxh3_64_intdigest

from streams.messages.wire import encode_records

__all__ = [
    "CONFIG",
    "HORIZON_MS",
    "LABELLED",
    "OF",
    "PARTITIONS",
    "WINDOW_MS",
    "Chunk",
    "Tally",
    "Traffic",
    "pair_part",
]

PARTITIONS = 4
LABELLED, OF = 4, 5
"""How many of how many predictions get their label: 0.8 million labels for a million predictions."""

PER_SECOND = 10_000
"""Predictions in a second of event time."""

DELAY_MS = (500, 5_000)
"""Least delay of a label behind its prediction (hot), or behind a whole topic (cold), and the mean of what is added."""

HORIZON_MS = 6 * 3_600_000
WINDOW_MS = 24 * 3_600_000
"""How far apart prediction and label may lie: `retain` of Truthloop, the window of the others."""

CHUNK = 25_000
COUNTRIES = ("DE", "FR", "US", "BR", "IN")
_SPREAD = 0x9E3779B97F4A7C15
"""Odd, so that multiplying by it modulo 2**64 makes ids without order and never the same one twice."""

CONFIG = """\
version: 1
loop: {loop}
kafka: {{bootstrap_servers: "{servers}"}}
lake: {{uri: {folder}/lake}}
state: {{dir: {folder}/state}}
partitions: {partitions}
predictions:
  outputs: {{click: {{task: binary}}}}
  slices: [country]
labels:
  click: {{definition: click-1, horizon: 6h, retain: 1d}}
"""


class Chunk(NamedTuple):
    """Some records of one topic, in order."""

    role: str
    keys: list[str]
    times: list[int]
    values: list[bytes]


@dataclass
class Tally:
    """What went in, and so what has to come out: counts, and sums of hashes, in which order does not matter."""

    records: int = 0
    record_bytes: int = 0
    record_sum: int = 0
    pairs: int = 0
    pair_sum: int = 0

    def add(self, chunk: Chunk) -> None:
        """Count a chunk of records."""
        self.records += len(chunk.values)
        self.record_bytes += sum(map(len, chunk.values))
        self.record_sum = (self.record_sum + sum(map(xxh3_64_intdigest, chunk.values))) % (1 << 64)
        if chunk.role == "labels":
            self.pairs += len(chunk.keys)
            labels = zip(chunk.keys, chunk.times, strict=True)
            parts = sum(pair_part(key, _label_value(key), time_ms) for key, time_ms in labels)
            self.pair_sum = (self.pair_sum + parts) % (1 << 64)


HOT_FIRST = 4
"""The load before a hot one has a quarter of it: what is measured meets neither a cold broker nor new stores."""


@dataclass(frozen=True)
class Traffic:
    """Predictions numbered from `first`, and labels of those numbered from `labels_from`.

    Attributes:
        count: how many predictions.
        first: number of the first prediction.
        labels_from: number of the first prediction that gets its label here; None: there are no labels here.
        first_ms: event time of prediction 0.
        per_second: predictions in a second of event time.
        delay_ms: least delay of a label, and the mean of what is added.
        until_ms: labels after it are left out.
    """

    count: int
    first: int
    labels_from: int | None
    first_ms: int
    per_second: float = PER_SECOND
    delay_ms: tuple[int, int] = DELAY_MS
    until_ms: int | None = None
    tally: Tally = field(default_factory=Tally, compare=False)

    @classmethod
    def hot(cls, count: int, first_ms: int) -> "list[Traffic]":
        """Return two loads whose labels come seconds after their predictions: a short one first."""
        few = count // HOT_FIRST
        return [cls(few, 0, 0, first_ms), cls(count, few, few, first_ms)]

    @classmethod
    def cold(cls, count: int, first_ms: int) -> "list[Traffic]":
        """Return two loads: predictions alone, then as many others with the labels of the first."""
        return [cls(count, 0, None, first_ms), cls(count, count, 0, first_ms)]

    def chunks(self) -> Iterator[Chunk]:
        """Yield all records, both topics in order of event time; `tally` then tells what they were."""
        numbers, times = self._labels()
        done = 0
        for start in range(self.first, self.first + self.count, CHUNK):
            some = np.arange(start, min(start + CHUNK, self.first + self.count))
            yield self._told(_predictions(some, self._times(some)))
            end = int(np.searchsorted(times, self._times(some)[-1], "right"))
            for at in range(done, end, CHUNK):
                yield self._told(_label_chunk(numbers[at : min(at + CHUNK, end)], times[at : min(at + CHUNK, end)]))
            done = end
        for at in range(done, len(numbers), CHUNK):
            yield self._told(_label_chunk(numbers[at : at + CHUNK], times[at : at + CHUNK]))

    def _told(self, chunk: Chunk) -> Chunk:
        self.tally.add(chunk)
        return chunk

    def _times(self, numbers: Any) -> Any:  # noqa: ANN401 - arrays
        return self.first_ms + (numbers * (1000 / self.per_second)).astype(np.int64)

    def _labels(self) -> tuple[Any, Any]:
        """Return the numbers of the labelled predictions and the times of their labels, in order of time."""
        if self.labels_from is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        numbers = np.arange(self.labels_from, self.labels_from + self.count)
        numbers = numbers[numbers % OF < LABELLED]
        behind = self._times(np.int64(self.first)) - self._times(np.int64(self.labels_from))
        least, mean = self.delay_ms
        added = np.random.default_rng(self.first).exponential(mean, numbers.size).astype(np.int64)
        times = self._times(numbers) + behind + least + added
        order = np.argsort(times, kind="stable")
        numbers, times = numbers[order], times[order]
        if self.until_ms is None:
            return numbers, times
        end = int(np.searchsorted(times, self.until_ms, "right"))
        return numbers[:end], times[:end]


def pair_part(key: str, value: float, label_time_ms: int) -> int:
    """Return what one joined pair adds to the sum that tells whether all came out as they must."""
    return xxh3_64_intdigest(f"{key} {value:.1f} {label_time_ms}".encode())


def _keys(numbers: Any) -> list[str]:  # noqa: ANN401 - an array
    return [f"{number * _SPREAD % (1 << 64):016x}" for number in numbers.tolist()]


def _label_value(key: str) -> float:
    return float(int(key[-6], 16) & 1)


def _predictions(numbers: Any, times: Any) -> Chunk:  # noqa: ANN401 - arrays
    keys = _keys(numbers)
    rng = np.random.default_rng(int(numbers[0]))
    frame = pl.DataFrame(
        {
            "key": keys,
            "id": keys,
            "time_ms": times,
            "arrived_at_ms": times,
            "version": "v1",
            "eligible": True,
            "weight": 1.0,
            "output_click": rng.random(len(keys)).round(4),
            "slice_country": rng.choice(COUNTRIES, len(keys)),
            "extras": pl.Series([None] * len(keys), dtype=pl.String),
            "digest": rng.integers(-(1 << 63), (1 << 63) - 1, len(keys)),
            "flags": pl.Series([[]] * len(keys), dtype=pl.List(pl.String)),
        }
    )
    return Chunk("predictions", keys, times.tolist(), encode_records("predictions", frame))


def _label_chunk(numbers: Any, times: Any) -> Chunk:  # noqa: ANN401 - arrays
    keys = _keys(numbers)
    nothing = {
        name: pl.Series([None] * len(keys), dtype=pl.String) for name in ("value_class", "label_source", "batch_id")
    }
    frame = pl.DataFrame(
        {
            "key": keys,
            "kind": "click",
            "definition": "click-1",
            "value": [_label_value(key) for key in keys],
            "op": "upsert",
            "time_ms": times,
            "arrived_at_ms": times,
            "happened_at_ms": pl.Series([None] * len(keys), dtype=pl.Int64),
            "origin": "live",
            "flags": pl.Series([[]] * len(keys), dtype=pl.List(pl.String)),
            **nothing,
        }
    )
    return Chunk("labels", keys, times.tolist(), encode_records("labels", frame))
