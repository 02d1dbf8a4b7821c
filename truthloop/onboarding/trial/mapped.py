"""What a config makes of sampled records: canonical frames, rejects with their positions, what no source takes.

What is rejected and what is left out is decided by the very code that ingest and the join run. Must not judge it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from streams.columns.schema import Role
from streams.columns.times import LAST_MS
from streams.ingest.mapper import TopicMapper
from streams.kafka.messages import SourceMessages, metadata_paths
from streams.kafka.sample import TopicSample
from streams.mapping.mapper import MessageMapper
from streams.mapping.tools import MappingTools
from streams.messages.canonical import CanonicalReader
from streams.readers.format import json_text_in
from streams.readers.json_lines import no_cycle_search

__all__ = ["MappedSource", "MappedTopic", "Refused", "map_own_topic", "map_topic"]

SLICE: Final = 5_000
"""Records that are mapped at once: decoded they take many times their text."""


@dataclass(frozen=True)
class Refused:
    """A record that became no message.

    Attributes:
        reason: why, as in `rejects`.
        detail: what is wrong, without its values.
        partition: where it stands.
        offset: in it.
    """

    reason: str
    detail: str
    partition: int
    offset: int


@dataclass(frozen=True)
class MappedSource:
    """Records of a topic as one source maps them.

    Attributes:
        role: what they become.
        source: the map; None where the records are the loop's own messages.
        frame: canonical columns, and `place` (among the sample's messages), `came_ms` (Kafka's time; null where there
            is none) and `known_ms` (when a label is known, the time of a prediction).
    """

    role: Role
    source: SourceMap | None
    frame: pl.DataFrame


@dataclass(frozen=True)
class MappedTopic:
    """A sampled topic under a config.

    Attributes:
        sample: what was read.
        sources: one a source that covers the topic.
        refused: records that became no message, one each.
        filtered: records that no source takes, tombstones included.
    """

    sample: TopicSample
    sources: list[MappedSource]
    refused: list[Refused] = field(default_factory=list)
    filtered: int = 0

    @property
    def topic(self) -> str:
        """Its name."""
        return self.sample.topic

    @property
    def taken(self) -> int:
        """Records that a source takes, well or not."""
        return len(self.sample.messages) - self.filtered


def map_topic(sample: TopicSample, config: LoopConfig, tools: MappingTools, now_ms: int) -> MappedTopic:
    """Map a sample as ingest would.

    Args:
        sample: of a topic that sources of the config cover.
        config: the loop's.
        tools: what its mapping needs.
        now_ms: the present.
    """
    mapper = TopicMapper(sample.topic, config, tools)
    refused: dict[tuple[int, int], Refused] = {}
    filtered = 0
    for part in _parts(sample.messages):
        made = mapper.map(part, now_ms)
        filtered += made.filtered
        for reject in made.rejects:
            one = Refused(reject.reason, reject.detail or "", reject.source_partition or 0, reject.source_row)
            refused.setdefault((one.partition, one.offset), one)
    sources = [
        MappedSource(source.as_, source, _frame(sample, source, config, tools))
        for source in config.ingest
        if source.topic == sample.topic
    ]
    return MappedTopic(sample, sources, list(refused.values()), filtered)


def map_own_topic(sample: TopicSample, role: Role, config: LoopConfig) -> MappedTopic:
    """Read a sample of a canonical topic as the join would."""
    messages = sample.messages
    reader = CanonicalReader(config)
    places = range(len(messages))
    if role == "predictions":
        frame = reader.prediction_frame(places, messages.values, messages.timestamps)
        unreadable = reader.prediction_records(places, messages.values, messages.timestamps).unreadable
    else:
        frame = reader.label_frame(places, messages.values, messages.timestamps)
        unreadable = reader.label_records(places, messages.values, messages.timestamps).unreadable
    refused = [
        Refused(one.reason, one.detail, messages.partitions[one.offset], messages.offsets[one.offset])
        for one in unreadable
    ]
    whole = _with_times(frame, role, messages, config)
    return MappedTopic(sample, [MappedSource(role, None, whole)], refused)


def _parts(messages: SourceMessages) -> Iterable[SourceMessages]:
    return (messages.part(first, first + SLICE) for first in range(0, len(messages), SLICE))


def _frame(sample: TopicSample, source: SourceMap, config: LoopConfig, tools: MappingTools) -> pl.DataFrame:
    mapper = MessageMapper(source.as_, source, config, tools)
    paths = sorted(metadata_paths(source))
    frames = []
    for number, part in enumerate(_parts(sample.messages)):
        texts = [b"" if value is None else json_text_in(value) for value in part.values]
        with no_cycle_search():
            records = mapper.map(texts, part.beside(paths)).records
        frames.append(records.with_columns(pl.col("row") + number * SLICE))
    if not frames:
        frames.append(mapper.map([]).records)
    return _with_times(pl.concat(frames), source.as_, sample.messages, config)


def _with_times(frame: pl.DataFrame, role: Role, messages: SourceMessages, config: LoopConfig) -> pl.DataFrame:
    came = pl.Series(_times(messages.timestamps), dtype=pl.Int64).gather(frame["row"])
    arrived = pl.coalesce("arrived_at_ms", "came_ms")
    known = (
        pl.col("time_ms") if role == "predictions" or config.clock == "event" else pl.max_horizontal("time_ms", arrived)
    )
    return frame.rename({"row": "place"}).with_columns(came.alias("came_ms")).with_columns(known.alias("known_ms"))


def _times(timestamps: Sequence[int]) -> list[int | None]:
    return [ms if 0 < ms <= LAST_MS else None for ms in timestamps]
