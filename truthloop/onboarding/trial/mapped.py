"""Sampled records under a config: canonical frames, rejects with their offsets, and what no source selects.

The mapping, the reject reasons and the filters are those of ingest and the join themselves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from streams.columns.schema import Role
from streams.columns.times import arrival_ms
from streams.ingest.mapper import TopicMapper
from streams.kafka.messages import SourceMessages, metadata_paths
from streams.kafka.sample import TopicSample
from streams.mapping.mapper import MessageMapper
from streams.mapping.tools import MappingTools
from streams.messages.canonical import CanonicalReader
from streams.readers.json_lines import no_cycle_search
from truthloop.onboarding.trial.spellings import SpellingCount, Spellings

__all__ = ["MappedSource", "MappedTopic", "SampleReject", "map_canonical_topic", "map_topic"]

CHUNK: Final = 5_000
"""Records that are mapped at once: decoded they take many times the memory of their text."""


@dataclass(frozen=True)
class SampleReject:
    """A sampled record that could not become a canonical message.

    Attributes:
        reason: a `RejectReason`.
        detail: what is wrong, without values of the record.
    """

    reason: str
    detail: str
    partition: int
    offset: int


@dataclass(frozen=True)
class MappedSource:
    """Sampled records as one source of the config maps them.

    Attributes:
        source: the source; None for records of a canonical topic.
        frame: canonical columns, with `index` (position in the sample's messages), `kafka_ms` (Kafka's timestamp; null
            if there is none) and `known_ms` (when the label was known; for predictions their time) instead of `row`.
        spellings: of values that are compared with scalars of the config.
        fractions: by field that is text, how many values are JSON numbers with a fraction.
    """

    role: Role
    source: SourceMap | None
    frame: pl.DataFrame
    spellings: list[Spellings] = field(default_factory=list)
    fractions: Mapping[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name of the source for people."""
        if self.source is None:
            return "canonical"
        return self.source.source or self.source.title


@dataclass(frozen=True)
class MappedTopic:
    """A sampled topic under a config.

    Attributes:
        sources: one entry for each source of the config that reads the topic.
        rejects: one entry for each record that could not be mapped.
        filtered: number of records that no source selects, skipped tombstones included.
    """

    sample: TopicSample
    sources: list[MappedSource]
    rejects: list[SampleReject] = field(default_factory=list)
    filtered: int = 0

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self.sample.topic

    @property
    def deletions(self) -> int:
        """Number of records without a value."""
        return self.sample.messages.values.count(None)

    @property
    def selected(self) -> int:
        """Number of records that some source selects, rejects included."""
        return len(self.sample.messages) - self.filtered


def map_topic(sample: TopicSample, config: LoopConfig, tools: MappingTools, now_ms: int) -> MappedTopic:
    """Map a sample of a source topic as ingest would; `now_ms` is the present."""
    mapper = TopicMapper(sample.topic, config, tools)
    rejects: dict[tuple[int, int], SampleReject] = {}
    filtered = 0
    for chunk in _chunks(sample.messages):
        mapped = mapper.map(chunk, now_ms)
        filtered += mapped.filtered
        for reject in mapped.rejects:
            partition = reject.source_partition or 0
            one = SampleReject(reject.reason, reject.detail or "", partition, reject.source_row)
            rejects.setdefault((partition, one.offset), one)
    sources = [_mapped(sample, source, config, tools) for source in config.ingest if source.topic == sample.topic]
    return MappedTopic(sample, sources, list(rejects.values()), filtered)


def map_canonical_topic(sample: TopicSample, role: Role, config: LoopConfig) -> MappedTopic:
    """Read a sample of a canonical topic as the join would."""
    messages = sample.messages
    reader = CanonicalReader(config)
    indexes = range(len(messages))
    if role == "predictions":
        frame = reader.prediction_frame(indexes, messages.values, messages.timestamps)
        unreadable = reader.prediction_records(indexes, messages.values, messages.timestamps).unreadable
    else:
        frame = reader.label_frame(indexes, messages.values, messages.timestamps)
        unreadable = reader.label_records(indexes, messages.values, messages.timestamps).unreadable
    rejects = [
        SampleReject(one.reason, one.detail, messages.partitions[one.offset], messages.offsets[one.offset])
        for one in unreadable
    ]
    return MappedTopic(sample, [MappedSource(role, None, _with_times(frame, role, messages, config))], rejects)


def _chunks(messages: SourceMessages) -> Iterable[SourceMessages]:
    return (messages.part(first, first + CHUNK) for first in range(0, len(messages), CHUNK))


def _mapped(sample: TopicSample, source: SourceMap, config: LoopConfig, tools: MappingTools) -> MappedSource:
    mapper, count = MessageMapper(source.as_, source, config, tools), SpellingCount(source, config)
    paths = sorted(metadata_paths(source))
    frames = []
    for number, chunk in enumerate(_chunks(sample.messages)):
        found, _ = tools.format_of(sample.topic).texts(chunk.values, headers=chunk.headers)
        texts = [None if value is None else text for value, text in zip(chunk.values, found, strict=True)]
        metadata = chunk.metadata(paths, source.key_format, tools.format)
        with no_cycle_search():
            records = mapper.map(texts, metadata).records
            count.add([text or b"" for text in texts], metadata)
        frames.append(records.with_columns(pl.col("row") + number * CHUNK))
    if not frames:
        frames.append(mapper.map([]).records)
    frame = _with_times(pl.concat(frames), source.as_, sample.messages, config)
    return MappedSource(source.as_, source, frame, count.found(), count.fractions)


def _with_times(frame: pl.DataFrame, role: Role, messages: SourceMessages, config: LoopConfig) -> pl.DataFrame:
    timestamps = arrival_ms(messages.timestamps)
    known = pl.col("time_ms")
    if role == "labels" and config.clock != "event":
        known = pl.max_horizontal("time_ms", pl.coalesce("arrived_at_ms", "kafka_ms"))
    frame = frame.rename({"row": "index"}).with_columns(timestamps.gather(frame["row"]).alias("kafka_ms"))
    return frame.with_columns(known.alias("known_ms"))
