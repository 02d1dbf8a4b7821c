"""Hooks: a user's functions that map whole records, from topics and from files of every format.

Covers `streams.readers.hook_rows`.
"""

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ingest_case import labels_of, loop_with, predictions_of, reasons_of, source_messages
from mapping_case import write_records

from schemas.config.loop import LoopConfig
from schemas.errors import ConfigError
from streams.ingest.mapper import MappedMessages, TopicMapper
from streams.mapping.mapper import MappedChunk, Mapper, MessageMapper
from streams.mapping.record_file import open_record_file
from streams.mapping.tools import mapping_tools
from streams.readers.hook import load_hook

Record = dict[str, Any]
Write = Callable[[str], str]

GOOD = {"v": 1, "key": "k", "time": 1_000_000_000_005, "version": "v", "outputs": {"fraud": 0.5}}


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Write]:
    """Return a function that writes a module into the config's folder and returns its name; cleaned up afterwards."""
    before, names = list(sys.path), []

    def write(text: str) -> str:
        name = f"hook_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)
        return name

    yield write
    sys.path[:] = before
    for name in names:
        sys.modules.pop(name, None)


def hooked(name: str, **parts: Any) -> LoopConfig:
    """Return a loop whose topic and files a hook maps to predictions."""
    source = {"topic": "t", "files": "*", "as": "predictions", "map": {"python": name}} | parts
    return loop_with(source)


def mapped(folder: Path, config: LoopConfig, values: list[object], **metadata: Any) -> MappedMessages:
    """Map messages of topic `t`."""
    mapper = TopicMapper("t", config, mapping_tools(config, {}, folder))
    return mapper.map(source_messages(values, **metadata), 5)


def from_file(folder: Path, config: LoopConfig, path: Path) -> MappedChunk:
    """Map a whole file that fits into one chunk."""
    tools = mapping_tools(config, {}, folder)
    (chunk,) = Mapper(open_record_file(path, None, config.ingest, tools), config).chunks()
    return chunk


TO_CANONICAL = """
def to_canonical(record, meta):
    what = record["what"]
    if what == "none":
        return None
    if what == "empty":
        return []
    if what == "raise":
        raise KeyError("secret words")
    if what == "exit":
        raise SystemExit(3)
    if what == "text":
        return "no message"
    if what == "odd":
        return {"key": "k", "time": object()}
    score = record["score"] / 100
    one = {"v": 1, "key": str(record["id"]), "time": 10**12, "version": "v", "outputs": {"fraud": score}}
    return [one, {**one, "id": "second"}] if what == "two" else one
"""


def test_a_hook_maps_leaves_out_and_fails(tmp_path: Path, module: Write) -> None:
    """It may return one message, several or none; an exception is a reject with the name of its class only."""
    name = f"{module(TO_CANONICAL)}:to_canonical"
    kinds = ["one", "two", "none", "empty", "raise", "exit", "text", "odd", "one"]
    made = mapped(tmp_path, hooked(name), [{"what": kind, "id": at, "score": 50} for at, kind in enumerate(kinds)])
    found = [(one["key"], one["id"], one["outputs"]["fraud"]) for one in predictions_of(made)]
    assert found == [("0", "0", 0.5), ("1", "1", 0.5), ("1", "second", 0.5), ("8", "8", 0.5)]
    assert made.filtered == 2
    assert sorted((reject.source_row, reject.reason, reject.detail) for reject in made.rejects) == [
        (104, "hook_failed", "KeyError"),
        (105, "hook_failed", "SystemExit"),
        (106, "not_an_object", "returned: the line is JSON, but no object"),
        (107, "hook_failed", "TypeError"),
    ]
    assert not any(b"secret" in reject.encode() for reject in made.rejects)


def test_a_hook_gets_the_record_metadata(tmp_path: Path, module: Write) -> None:
    """Key, timestamp, topic, partition, offset and headers; a key that is not UTF-8 is None."""
    text = "def f(record, meta):\n    return {'v': 1, 'key': 'k', 'time': 10**12, 'version': 'v', 'outputs': {}, "
    name = module(text + "'features': {'meta': {k: v for k, v in meta.items() if k != 'row'}}}\n")
    headers = [("a", b"1"), ("a", b"2"), ("b", None)]
    made = mapped(tmp_path, hooked(f"{name}:f"), [{}, {}], keys=[b"key", b"\xff"], headers=[headers, None])
    first, second = [one["extras"] for one in predictions_of(made)]
    assert first == (
        '{"meta":{"headers":{"a":"2","b":null},"key":"key","offset":100,"partition":0,"timestamp":1000000000077,"topic":"t"}}'
    )
    assert '"headers":{},"key":null,"offset":101' in second


@pytest.mark.parametrize("tombstone", ["skip", "hook"])
def test_a_hook_gets_tombstones_only_where_it_asks_for_them(tmp_path: Path, module: Write, tombstone: str) -> None:
    """As None, in the order of the messages; a function that expects none never gets one."""
    name = module(
        "def f(record, meta):\n    if record is None:\n        return {'v': 1, 'key': meta['key'], 'kind': 'fraud', "
        "'op': 'delete', 'time': meta['timestamp']}\n    return {'v': 1, 'key': record['id'], 'kind': 'fraud', "
        "'value': 1, 'time': 10**12}\n"
    )
    source = {"topic": "t", "as": "labels", "tombstone": tombstone, "where": {"type": "x"}}
    config = loop_with(source | {"map": {"python": f"{name}:f"}})
    made = mapped(tmp_path, config, [None, {"type": "x", "id": "b"}, {"type": "y"}], keys=[b"a", b"b", b"c"])
    found = [(one["key"], one["op"]) for one in labels_of(made)]
    assert found == [("a", "delete"), ("b", "upsert")][tombstone == "skip" :]
    assert made.filtered == 1 + (tombstone == "skip")


def test_where_is_applied_before_the_hook(tmp_path: Path, module: Write) -> None:
    """A hook sees only the records that fulfil the conditions."""
    name = module("def f(record, meta):\n    return {**record['data']}\n")
    config = hooked(f"{name}:f", where={"type": ["score", "re-score"]})
    records = [{"type": "score", "data": GOOD}, {"type": "other"}, {"type": "score"}]
    made = mapped(tmp_path, config, records)
    assert ([one["key"] for one in predictions_of(made)], made.filtered) == (["k"], 1)
    assert reasons_of(made) == [(102, "hook_failed")]


def test_a_hook_that_modifies_its_record_does_not_affect_other_sources(tmp_path: Path, module: Write) -> None:
    """Several sources of one topic get the same records."""
    name = module("def f(record, meta):\n    record['id'] = 'changed'\n    return None\n")
    hook = {"topic": "t", "as": "labels", "map": {"python": f"{name}:f"}}
    plain = {"topic": "t", "as": "predictions", "map": {"key": "id", "time": {"path": "t", "unit": "ms"}}}
    for sources in ((hook, plain), (plain, hook)):
        made = mapped(tmp_path, loop_with(*sources), [{"id": "mine", "t": 1_000_000_000_001}])
        assert [one["key"] for one in predictions_of(made)] == ["mine"]


def test_hooks_may_return_labels(tmp_path: Path, module: Write) -> None:
    """A returned message is checked like any canonical message."""
    name = module(
        "def f(record, meta):\n    return {'v': 1, 'key': 'k', 'kind': record['kind'], 'value': 1, 'time': 10**12}\n"
    )
    config = loop_with({"topic": "t", "as": "labels", "source": "crm", "map": {"python": f"{name}:f"}})
    made = mapped(tmp_path, config, [{"kind": "fraud"}, {"kind": "frod"}])
    assert [(one["kind"], one["source"]) for one in labels_of(made)] == [("fraud", "crm")]
    assert reasons_of(made) == [(101, "unknown_kind")]


RECORDS: list[Record] = [
    {"what": "one", "id": 1, "score": 50.0},
    {"what": "none", "id": 2, "score": 50.0},
    {"what": "raise", "id": 3, "score": 50.0},
    {"what": "two", "id": 4, "score": 25.0},
]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_files_go_through_the_same_hook(tmp_path: Path, module: Write, suffix: str) -> None:
    """Files give the same messages and rejects as a topic, with rows in place of offsets."""
    config = hooked(f"{module(TO_CANONICAL)}:to_canonical")
    chunk = from_file(tmp_path, config, write_records(tmp_path / f"a.{suffix}", RECORDS))
    assert chunk.records.select("row", "key", "id", "output_fraud").rows() == [
        (1, "1", "1", 0.5),
        (4, "4", "4", 0.25),
        (4, "4", "second", 0.25),
    ]
    assert chunk.rejects.select("row", "reason", "detail").rows() == [(3, "hook_failed", "KeyError")]
    assert (chunk.rows_read, chunk.filtered) == (4, 1)
    made = mapped(tmp_path, config, list(RECORDS))
    assert [one["digest"] for one in predictions_of(made)] == chunk.records["digest"].to_list()


def test_a_csv_file_gives_its_cells_as_text(tmp_path: Path, module: Write) -> None:
    """A hook gets every column by name, and None for an empty cell; ragged rows are rejects and count as rows."""
    name = module(
        "def f(record, meta):\n    assert record['tx.note'] is None\n"
        "    return {'v': 1, 'key': record['id'], 'time': int(record['t']), 'version': str(meta['row'])}\n"
    )
    (tmp_path / "a.csv").write_text("id,t,tx.note\na,1000000000005,\nragged\nb,1000000000006,\nc,1000000000006,note\n")
    chunk = from_file(tmp_path, hooked(f"{name}:f"), tmp_path / "a.csv")
    assert chunk.records.select("row", "key", "time_ms", "version").rows() == [
        (1, "a", 10**12 + 5, "1"),
        (3, "b", 10**12 + 6, "3"),
    ]
    assert chunk.rejects.select("row", "reason").rows() == [(2, "not_an_object"), (4, "hook_failed")]


def test_a_parquet_file_gives_nested_values_and_times(tmp_path: Path, module: Write) -> None:
    """A hook gets structs and lists as dicts and lists, and times as ISO text."""
    name = module(
        "def f(record, meta):\n    return {'v': 1, 'key': record['tx']['id'], 'time': record['at'], "
        "'version': record['tags'][0]}\n"
    )
    frame = pl.DataFrame(
        {
            "tx": [{"id": "a"}],
            "at": pl.Series([1_000_000_001_000]).cast(pl.Datetime("ms", "UTC")),
            "tags": [["v1", "v2"]],
        }
    )
    frame.write_parquet(tmp_path / "a.parquet")
    chunk = from_file(tmp_path, hooked(f"{name}:f"), tmp_path / "a.parquet")
    assert chunk.records.select("key", "time_ms", "version").rows() == [("a", 1_000_000_001_000, "v1")]


@pytest.mark.parametrize(
    ("text", "function", "message"),
    [
        (None, "f", "there is no module 'hook_"),
        ("import no_such_module_at_all", "f", "there is no module 'no_such_module_at_all'"),
        ("1 / 0", "f", "importing it raised ZeroDivisionError"),
        ("def (", "f", "importing it raised SyntaxError"),
        ("def mapp(record, meta): ...", "map_", "the module has no function 'map_'; did you mean 'mapp'?"),
        ("f = 5", "f", "the module has no function 'f'"),
    ],
)
def test_a_hook_that_cannot_be_imported_is_reported_at_the_start(
    tmp_path: Path, module: Write, text: str | None, function: str, message: str
) -> None:
    """The error names module, function, and the folders that were searched."""
    name = f"hook_{uuid.uuid4().hex}" if text is None else module(text)
    with pytest.raises(ConfigError) as caught:
        mapping_tools(hooked(f"{name}:{function}"), {}, tmp_path)
    assert message in str(caught.value)
    assert f"{name}:{function}" in str(caught.value)
    assert f"{tmp_path} (the config's folder)" in str(caught.value)


def test_the_configs_folder_is_searched_last(tmp_path: Path, module: Write) -> None:
    """A module in the config's folder cannot shadow an installed one."""
    (tmp_path / "json.py").write_text("def dumps(record, meta): return 'ours'\n")
    assert load_hook("json:dumps", tmp_path) is json.dumps
    assert load_hook(f"{module('def f(record, meta): return None')}:f", tmp_path)({}, {}) is None


def test_a_source_with_a_hook_needs_its_tools(tmp_path: Path, module: Write) -> None:
    """Without its tools a source is refused and not mapped in another way."""
    config = hooked(f"{module(TO_CANONICAL)}:to_canonical")
    with pytest.raises(ConfigError, match="cannot be mapped without"):
        MessageMapper("predictions", config.ingest[0], config)
    path = write_records(tmp_path / "a.jsonl", RECORDS)
    with pytest.raises(ConfigError, match="cannot be mapped without"):
        Mapper(open_record_file(path, None, config.ingest), config)
