"""Forecast of rates and sizes: records per day, the join's state, the lake. Rounded numbers for planning."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import polars as pl

from schemas.config.loop import LoopConfig
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic

__all__ = ["ENTRY_BYTES", "Forecast", "TopicFlow", "flow_of", "forecast_of"]

DAY_MS: Final = 86_400_000

ENTRY_BYTES: Final = (300, 1_100)
"""Size of a record in the join's state on disk, measured: with a key only, and with many slices and long ids."""

SPAN_MIN_MS: Final = 60_000
"""Minimum time span of the records to estimate a rate from."""

TRIMMED: Final = 0.005
"""Share of the times that is ignored at both ends: a few wrong times would stretch the span."""

OUTCOME_BYTES: Final = 30
"""Compressed size of an outcome's row without the columns repeated from its prediction: status, times, positions."""


@dataclass(frozen=True)
class TopicFlow:
    """Rate and size of a topic's records.

    Attributes:
        per_day: records per day that sources select; None if the sample spans too little time.
        bytes_each: mean size of a record in the topic.
        span_ms: time span of the records' own times.
    """

    per_day: float | None
    bytes_each: float
    span_ms: int

    @property
    def bytes_per_ms(self) -> float:
        """Bytes per ms; 0 if the rate is unknown."""
        return (self.per_day or 0) * self.bytes_each / DAY_MS


@dataclass(frozen=True)
class Forecast:
    """Rates and sizes of a loop; None where a rate is unknown.

    Attributes:
        entries: records in the join's state when `retain` is full.
        state_bytes: lower and upper estimate.
        lake_bytes_per_day: extrapolated from the sampled records as compressed columns.
    """

    predictions_per_day: float | None
    labels_per_day: float | None
    entries: float | None
    state_bytes: tuple[float, float] | None
    lake_bytes_per_day: float | None


def flow_of(topic: MappedTopic) -> TopicFlow:
    """Return the flow of a topic."""
    messages = topic.sample.messages
    sizes = [len(value or b"") + len(key or b"") for value, key in zip(messages.values, messages.keys, strict=True)]
    mean = sum(sizes) / len(sizes) if sizes else 0.0
    times = pl.concat([pl.Series([], dtype=pl.Int64), *(source.frame["time_ms"] for source in topic.sources)])
    if times.is_empty():
        return TopicFlow(None, mean, 0)
    first, last = (times.quantile(share) or 0.0 for share in (TRIMMED, 1 - TRIMMED))
    span = round(last - first)
    selected = topic.sample.records * topic.selected / max(len(messages), 1)
    return TopicFlow(selected / span * DAY_MS if span >= SPAN_MIN_MS else None, mean, span)


def forecast_of(topics: Sequence[MappedTopic], flows: dict[str, TopicFlow], config: LoopConfig) -> Forecast:
    """Return the forecast for a loop, if the flows of its topics stay as they are."""
    rates: dict[str, float | None] = {"predictions": 0.0, "labels": 0.0}
    lake: float | None = 0.0
    for topic in topics:
        per_day = flows[topic.topic].per_day
        mapped = sum(source.frame.height for source in topic.sources)
        for source in topic.sources:
            if source.frame.height:
                rate = None if per_day is None else per_day * source.frame.height / max(mapped, 1)
                rates[source.role] = _sum(rates[source.role], rate)
                lake = _sum(lake, None if rate is None else rate * _row_bytes(source, config))
    days = config.greatest_retain_ms / DAY_MS
    per_day = _sum(rates["predictions"], rates["labels"])
    entries = None if per_day is None else per_day * days
    sizes = None if entries is None else (entries * ENTRY_BYTES[0], entries * ENTRY_BYTES[1])
    return Forecast(rates["predictions"], rates["labels"], entries, sizes, lake)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _row_bytes(source: MappedSource, config: LoopConfig) -> float:
    """Return the bytes in the lake per record: its own row, and for predictions an outcome for each kind."""
    size = _bytes_per_row(source.frame.drop("index", "kafka_ms", "known_ms"))
    if source.role == "predictions":
        repeated = ["key", "id", "time_ms", "version", "weight"]
        repeated += [name for name in source.frame.columns if name.startswith(("output_", "slice_"))]
        size += len(config.labels) * (_bytes_per_row(source.frame.select(repeated)) + OUTCOME_BYTES)
    return size


def _bytes_per_row(frame: pl.DataFrame) -> float:
    """Return the mean bytes of a row in Parquet, without the file's own overhead."""
    return (_parquet_bytes(frame) - _parquet_bytes(frame.head(0))) / frame.height


def _parquet_bytes(frame: pl.DataFrame) -> int:
    buffer = BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.tell()
