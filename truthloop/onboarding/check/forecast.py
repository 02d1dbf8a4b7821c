"""How much will come, and what it will take: rates, the join's state, the lake. Rounded figures for planning.

Must not judge: a size is a number here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import polars as pl

from schemas.config.loop import LoopConfig
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic

__all__ = ["DAY_MS", "Forecast", "TopicFlow", "flow_of", "forecast_of"]

DAY_MS: Final = 86_400_000

ENTRY_BYTES: Final = (300, 1_100)
"""Of one record in the join's state on disk, measured: keys alone, and keys with many slices and long ids."""

SPAN_MIN_MS: Final = 60_000
"""In less than a minute of records no rate can be seen."""

ENDS: Final = 0.005
"""So much at either end of the times is left out: single times that are wrong would stretch the span."""

OUTCOME_BYTES: Final = 30
"""What an outcome's row has beside what it repeats of its prediction, compressed: status, times, positions."""


@dataclass(frozen=True)
class TopicFlow:
    """What comes through a topic.

    Attributes:
        per_day: records a day that sources take; None where the records span too little time.
        bytes_each: mean size of a record as it is in the topic.
        span_ms: of the records' own times.
    """

    per_day: float | None
    bytes_each: float
    span_ms: int

    @property
    def bytes_per_ms(self) -> float:
        """Of the topic; 0 where the rate is unknown."""
        return (self.per_day or 0) * self.bytes_each / DAY_MS


@dataclass(frozen=True)
class Forecast:
    """What a loop will take; None where a rate is unknown.

    Attributes:
        predictions_per_day: of all sources.
        labels_per_day: the same.
        entries: records in the join's state once `retain` is full.
        state_bytes: at least, and at most.
        lake_bytes_per_day: by the sampled records, as compressed columns.
    """

    predictions_per_day: float | None
    labels_per_day: float | None
    entries: float | None
    state_bytes: tuple[float, float] | None
    lake_bytes_per_day: float | None


def flow_of(topic: MappedTopic) -> TopicFlow:
    """Return what comes through a topic."""
    messages = topic.sample.messages
    sizes = [len(value or b"") + len(key or b"") for value, key in zip(messages.values, messages.keys, strict=True)]
    mean = sum(sizes) / len(sizes) if sizes else 0.0
    times = (
        pl.concat([source.frame["time_ms"] for source in topic.sources])
        if topic.sources
        else pl.Series([], dtype=pl.Int64)
    )
    if times.is_empty():
        return TopicFlow(None, mean, 0)
    first, last = (times.quantile(share) or 0.0 for share in (ENDS, 1 - ENDS))
    span = round(last - first)
    taken = topic.sample.records * topic.taken / max(len(messages), 1)
    return TopicFlow(taken / span * DAY_MS if span >= SPAN_MIN_MS else None, mean, span)


def forecast_of(topics: Sequence[MappedTopic], flows: dict[str, TopicFlow], config: LoopConfig) -> Forecast:
    """Return what a loop will take, if what comes stays as it is."""
    rates: dict[str, float | None] = {"predictions": 0.0, "labels": 0.0}
    lake: float | None = 0.0
    for topic in topics:
        per_day = flows[topic.topic].per_day
        mapped = sum(source.frame.height for source in topic.sources)
        for source in topic.sources:
            if not source.frame.height:
                continue
            mine = None if per_day is None else per_day * source.frame.height / max(mapped, 1)
            rates[source.role] = _sum(rates[source.role], mine)
            lake = _sum(lake, None if mine is None else mine * _row_bytes(source, config))
    predictions, labels = rates["predictions"], rates["labels"]
    days = max(label.retain for label in config.labels.values()) / DAY_MS
    both = _sum(predictions, labels)
    entries = None if both is None else both * days
    sizes = None if entries is None else (entries * ENTRY_BYTES[0], entries * ENTRY_BYTES[1])
    return Forecast(predictions, labels, entries, sizes, lake)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _row_bytes(source: MappedSource, config: LoopConfig) -> float:
    """Return what a record takes in the lake: its own row, and an outcome for each kind of a prediction."""
    size = _size(source.frame.drop("place", "came_ms", "known_ms"))
    if source.role == "predictions":
        repeated = ["key", "id", "time_ms", "version", "weight"]
        repeated += [name for name in source.frame.columns if name.startswith(("output_", "slice_"))]
        size += len(config.labels) * (_size(source.frame.select(repeated)) + OUTCOME_BYTES)
    return size


def _size(frame: pl.DataFrame) -> float:
    """Return the bytes of a row, as the lake writes columns; what a file has beside its rows is left out."""
    return (_written(frame) - _written(frame.head(0))) / frame.height


def _written(frame: pl.DataFrame) -> int:
    buffer = BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.tell()
