"""Helpers of ingest's tests: a loop with sources, messages of a topic, and the result of mapping them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.config.loop import LoopConfig
from streams.ingest.mapper import MappedMessages, TopicMapper
from streams.kafka.messages import SourceMessages
from streams.mapping.tools import mapping_tools

__all__ = [
    "PII_KEY",
    "SCORES",
    "STAMP",
    "TIME",
    "labels_of",
    "loop_with",
    "map_values",
    "predictions_of",
    "reasons_of",
    "source_messages",
]

Record = dict[str, Any]

STAMP = 1_000_000_000_077
"""Kafka's timestamp of the messages, ms."""
TIME = {"path": "t", "unit": "ms"}
SCORES: dict[str, Any] = {
    "topic": "scores",
    "as": "predictions",
    "map": {"key": "id", "time": TIME, "outputs.fraud": "s"},
}
"""A source of predictions: {id, t, s}."""
PII_KEY = {"TRUTHLOOP_PII_KEY": "a secret of this test"}


def loop_with(*sources: Record, **parts: Any) -> LoopConfig:
    """Return a loop with these sources; keyword arguments replace other parts."""
    features = parts.pop("features", {})
    default: Record = {
        "version": 1,
        "loop": "cards",
        "partitions": 4,
        "predictions": {"outputs": {"fraud": {"task": "binary"}}, "slices": ["country"], "features": features},
        "labels": {"fraud": {"definition": "d", "horizon": "7d", "retain": "9d"}},
        "ingest": list(sources),
    }
    return LoopConfig.model_validate(default | parts)


def source_messages(
    values: Sequence[object],
    keys: Sequence[bytes | None] | None = None,
    headers: Sequence[Any] | None = None,
    timestamp: int = STAMP,
) -> SourceMessages:
    """Return messages of topic `t`, alternately of two partitions; values that are not bytes are written as JSON."""
    count = len(values)
    texts = [one if one is None or isinstance(one, bytes) else json.dumps(one).encode() for one in values]
    return SourceMessages(
        "t",
        texts,
        [number % 2 for number in range(count)],
        list(range(100, 100 + count)),
        [timestamp] * count,
        list(keys or [None] * count),
        list(headers or [None] * count),
    )


def map_values(
    config: LoopConfig, values: Sequence[object], environ: Mapping[str, str] = PII_KEY, **metadata: Any
) -> MappedMessages:
    """Map messages of topic `t`."""
    tools = mapping_tools(config, environ, Path(__file__).parent)
    return TopicMapper("t", config, tools).map(source_messages(values, **metadata), seen_at_ms=5)


def predictions_of(made: MappedMessages) -> list[Record]:
    """Return the predictions as objects."""
    return [json.loads(value) for _, value in made.predictions]


def labels_of(made: MappedMessages) -> list[Record]:
    """Return the labels as objects, without heartbeats."""
    return [json.loads(value) for _, value in made.labels]


def reasons_of(made: MappedMessages) -> list[tuple[int, str]]:
    """Return offset and reason of each reject, in the order of the offsets."""
    return sorted((reject.source_row, reject.reason) for reject in made.rejects)
