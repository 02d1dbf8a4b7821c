"""A topic and a file with the same records give the same messages: the same rows, digests and rejects.

The messages that ingest writes are decoded by their types alone and give the same frames again. Left out on purpose:
blank lines (a file may have them, a message may not), newlines inside a record, and arrivals, which files do not have.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_case import PII_KEY, TIME, loop_with

from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from streams.ingest.mapper import TopicMapper
from streams.kafka.messages import SourceMessages
from streams.mapping.mapper import MappedChunk, Mapper, MessageMapper
from streams.mapping.record_file import open_record_file
from streams.mapping.tools import mapping_tools
from streams.messages.wire import LabelWire, PredictionWire

Record = dict[str, Any]

FEATURES = {
    "card": {"type": "string", "pii": "hash"},
    "mail": {"type": "string", "pii": "drop"},
    "amount": {"type": "float", "min": 0},
    "count": {"type": "int"},
}
BOTH: Record = {"topic": "t", "files": "*"}
SOURCES: list[Record] = [
    {"as": "predictions"},
    {"as": "labels"},
    {"as": "predictions", "where": {"kind": ["a", 1, True]}, "map": {"key": "key", "time": TIME, "features": "*"}},
    {
        "as": "predictions",
        "each": "items",
        "where": {"kind": "a", "items.kind": "a"},
        "map": {
            "key": {"path": ["items.key", "key"], "otherwise": ["t", "key"]},
            "time": TIME | {"otherwise": "items.t"},
            "version": {"path": "items.kind", "otherwise": "kind"},
            "outputs.fraud": {"path": "value", "scale": 0.5},
            "slices.country": "items.key",
            "features": "items.*",
            "features.card": {"path": "items.value", "otherwise": "value"},
        },
    },
    {
        "as": "labels",
        "kind": "fraud",
        "map": {
            "key": {"path": "items", "otherwise": "key"},
            "time": TIME,
            "value": "value",
            "retract": {"path": "kind", "in": ["a"]},
            "heartbeat": {"path": "key", "in": ["b"]},
        },
    },
    {"as": "predictions", "map": {"python": "ingest_hook:to_prediction"}, "where": {"kind": "a"}},
    {
        "as": "predictions",
        "where": {"value": True},
        "map": {
            "key": {"path": "key", "type": "int"},
            "id": {"path": ["key", "t"], "type": "int"},
            "time": TIME,
            "eligible": {"path": "kind", "in": [True]},
            "outputs.fraud": {"path": "value", "otherwise": "items", "values": {True: 1, "0.50": 0.5, 2: 0}},
        },
    },
    {
        "as": "labels",
        "kind": "fraud",
        "each": "items",
        "where": {"items.value": [True, False]},
        "map": {
            "key": "key",
            "time": TIME,
            "value": {"path": "items.value", "values": {True: 1, False: 0}},
            "retract": {"path": "items.kind", "in": [True]},
            "heartbeat": {"path": "items.t", "in": [3]},
        },
    },
]

moments = st.integers(10**12, 10**12 + 9) | st.sampled_from([10**9, "1000000000000", " 20010909T014640Z"])
names = st.sampled_from(["key", "t", "kind", "value", "items", "time", "id", "outputs", "features", "v", "version"])
texts = st.sampled_from(["a", "b", "1", "", "é", "\x00", "True", "f", "Y", "0.0", "0.50", "3.0"])
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | texts
nested = st.dictionaries(names, scalars, max_size=3)
values = scalars | st.lists(nested | scalars, max_size=3) | nested
good = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["a", "b", 7]),
        "t": moments,
        "time": moments,
    },
    optional={
        "kind": st.sampled_from(["a", "b", "fraud"]),
        "value": st.sampled_from([0, 1, 0.5, True, False, "T", "no", "0.50"]),
        "items": st.lists(nested, max_size=3),
        "version": st.just("v"),
        "outputs": st.just({"fraud": 0.25}),
        "features": nested,
    },
)
lines = (
    st.dictionaries(names, values, max_size=6).map(json.dumps)
    | good.map(json.dumps)
    | st.sampled_from(["{", "[]", "1", '{"a":1,"a":2}', '{"key":1e999}', "nothing"])
).map(str.encode)


def config_of(source: Record) -> LoopConfig:
    """Return a loop with one source, for a topic and for files."""
    return loop_with(BOTH | source, features=FEATURES)


def from_file(content: list[bytes], config: LoopConfig) -> MappedChunk:
    """Map the records as lines of a file."""
    tools = mapping_tools(config, PII_KEY, Path(__file__).parents[1] / "support")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        path.write_bytes(b"\n".join(content) + b"\n")
        (chunk,) = Mapper(open_record_file(path, None, config.ingest, tools), config).chunks()
    return chunk


@given(st.lists(lines, min_size=1, max_size=8), st.sampled_from(SOURCES))
@settings(max_examples=examples(400), deadline=None)
def test_messages_map_like_lines(content: list[bytes], source: Record) -> None:
    """Row for row, and reject for reject; lines are counted from 1, messages from 0."""
    config = config_of(source)
    tools = mapping_tools(config, PII_KEY, Path(__file__).parents[1] / "support")
    mapper = MessageMapper(config.ingest[0].as_, config.ingest[0], config, tools)
    live, replayed = mapper.map(content), from_file(content, config)
    back = pl.col("row") - 1
    assert live.records.equals(replayed.records.with_columns(back))
    assert live.rejects.equals(replayed.rejects.with_columns(back))
    assert (live.rows_read, live.filtered) == (replayed.rows_read, replayed.filtered)


@given(st.lists(lines, min_size=1, max_size=8), st.sampled_from(SOURCES))
@settings(max_examples=examples(200), deadline=None)
def test_messages_of_ingest_decode_to_the_same_frames(content: list[bytes], source: Record) -> None:
    """They need no second mapping, and have every column that the file gives."""
    config = config_of(source)
    role = config.ingest[0].as_
    tools = mapping_tools(config, PII_KEY, Path(__file__).parents[1] / "support")
    count = len(content)
    messages = SourceMessages(
        "t", [*content], [0] * count, [*range(count)], [-1] * count, [None] * count, [None] * count
    )
    made = TopicMapper("t", config, tools).map(messages, 5)
    replayed = from_file(content, config)
    wire = PredictionWire(config) if role == "predictions" else LabelWire(config)
    sent = made.predictions if role == "predictions" else made.labels
    frame, undecoded = wire.frame([value for _, value in sent])
    assert undecoded == []
    expected = replayed.records if role == "predictions" else replayed.records.filter(pl.col("op") != "heartbeat")
    assert frame.drop("row").equals(expected.drop("row"))
    assert [None if key is None else key.decode() for key, _ in sent] == expected["key"].to_list()
    assert len(made.heartbeats) == replayed.records.height - expected.height
    found = [(reject.source_row + 1, reject.reason) for reject in made.rejects]
    assert found == replayed.rejects.select("row", "reason").rows()


def test_every_source_of_this_test_is_valid() -> None:
    """The models accept them, so the properties above test something."""
    assert len([SourceMap.model_validate(source | {"topic": "t"}) for source in SOURCES]) == len(SOURCES)


@given(st.lists(lines, min_size=2, max_size=8), st.sampled_from(SOURCES))
@settings(max_examples=examples(200), deadline=None)
def test_a_record_of_a_source_does_not_depend_on_its_neighbours(content: list[bytes], source: Record) -> None:
    """Each message alone becomes the rows and rejects that it becomes among others, whatever types they mix."""
    config = config_of(source)
    tools = mapping_tools(config, PII_KEY, Path(__file__).parents[1] / "support")
    mapper = MessageMapper(config.ingest[0].as_, config.ingest[0], config, tools)
    among = mapper.map(content)
    filtered = 0
    for row, line in enumerate(content):
        alone = mapper.map([line])
        filtered += alone.filtered
        for one, found in ((alone.records, among.records), (alone.rejects, among.rejects)):
            columns = [name for name in one.columns if name not in ("row", "extras")]
            assert one.select(columns).rows() == found.filter(pl.col("row") == row).select(columns).rows()
    assert filtered == among.filtered
