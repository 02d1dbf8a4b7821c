"""The columnar mapping accepts the same records as the published models, and gives the same values.

Left out on purpose: where the mapping is more lenient than the models so that no data is lost. These are whole numbers
as identities, other forms of ISO 8601 or floats as times, and fields that are flagged instead of rejected (outputs,
slices, features, weight, eligible, arrival, origin, source, batch).
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from effort import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mapping_case import loop
from pydantic import ValidationError

from schemas.base.instant import MOMENT_MAX_MS, RECORD_TIME_MIN_MS
from schemas.config.loop import LoopConfig
from schemas.events.messages import Label, Prediction
from streams.columns.schema import Role
from streams.mapping.mapper import MappedChunk, Mapper
from streams.mapping.record_file import open_record_file

CONFIG = loop()
LEFT_OUT = object()

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
long_texts = st.sampled_from(["x" * 200, "x" * 201, "x" * 1_024, "x" * 1_025, "é" * 512, "é" * 513])
others = st.sampled_from([None, True, False, [], ["k"], {}, {"k": 1}])
identities = texts | long_texts | others | st.just("\x00") | st.just("a\x00")
moments = (
    st.integers(-(2**63), 2**63 - 1)
    | st.integers(-2, 2)
    | st.integers(RECORD_TIME_MIN_MS - 2, RECORD_TIME_MIN_MS + 2)
    | st.integers(RECORD_TIME_MIN_MS, MOMENT_MAX_MS).map(str)
    | st.integers(MOMENT_MAX_MS - 2, MOMENT_MAX_MS + 2)
    | st.datetimes(timezones=st.timezones() | st.none()).map(lambda time: time.isoformat(timespec="seconds")[:25])
    | st.from_regex(
        r"\A(19[67][0-9]|2024|9999)-(02|1[0-3])-(2[89]|3[01])[Tt](2[34]|00):(00|59|60):(00|59|60)(\.[0-9]{1,9})?"
        r"([Zz]|[+-](23|24|00):(00|59|60))?\Z"
    )
    | others
    | st.sampled_from(["", "now", "2024", "NaN", "-1", "1e12", "1709294400"])
)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the strategy's values, and sometimes `LEFT_OUT`: the field is missing."""
    return values | st.just(LEFT_OUT)


def records(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return records of these fields, without those that are left out."""
    version = st.just(1) | st.sampled_from([LEFT_OUT, 1.0, 0, 2, 1.5, "1", None, True, False, [], {}])
    return st.fixed_dictionaries({"v": version, **fields}).map(
        lambda record: {name: value for name, value in record.items() if value is not LEFT_OUT}
    )


predictions = records(
    key=maybe(identities | st.just("k")),
    id=maybe(identities | st.just("i")),
    time=maybe(moments | st.just(10**12)),
    version=maybe(st.just("v") | st.sampled_from(["", "x" * 200, "x" * 201, [], None, {}])),
    outputs=st.just({"fraud": 0.5}),
)
good_values = st.sampled_from([0, 1, 0.0, 1.0])
labels = records(
    key=maybe(identities | st.just("k")),
    kind=st.sampled_from(["fraud", "fraud", "fraud", None, [], 1]),
    value=maybe(good_values | good_values | st.sampled_from([None, [], {}])),
    op=maybe(st.sampled_from(["upsert", "retract", "heartbeat", "other", 1, []])),
    time=maybe(moments | st.just(10**12)),
    definition=maybe(st.sampled_from([None, "d-1", "d-2", "", "x" * 200, "x" * 201, [], {}])),
)


def mapped(batch: list[dict[str, Any]], role: Role, config: LoopConfig = CONFIG) -> MappedChunk:
    """Write the records to a file and map it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in batch))
        [chunk] = Mapper(open_record_file(path, role, []), config).chunks()
        return chunk


def accepted(batch: list[dict[str, Any]], model: type[Prediction] | type[Label]) -> dict[int, Any]:
    """Return the messages that the model accepts, by row."""
    messages = {}
    for row, record in enumerate(batch, start=1):
        try:
            messages[row] = model.model_validate_json(json.dumps(record))
        except ValidationError:
            continue
    return messages


@given(st.lists(predictions, min_size=1, max_size=12))
@example([{"v": 1, "key": "k", "time": "1969-12-31T23:59:59.999-00:01", "version": "v", "outputs": {}}])
@settings(max_examples=examples(300), deadline=None)
def test_predictions_are_accepted_alike(batch: list[dict[str, Any]]) -> None:
    """Mapping and model accept the same records, with the same key, id, time and version."""
    messages = accepted(batch, Prediction)
    chunk = mapped(batch, "predictions")
    found = {row: tuple(rest) for row, *rest in chunk.records.select("row", "key", "id", "time_ms", "version").rows()}
    assert found == {
        row: (message.key, message.id if message.id is not None else message.key, message.time, message.version)
        for row, message in messages.items()
    }
    assert set(chunk.rejects["row"]) == set(range(1, len(batch) + 1)) - set(messages)


@given(st.lists(labels, min_size=1, max_size=12))
@settings(max_examples=examples(300), deadline=None)
def test_labels_are_accepted_alike(batch: list[dict[str, Any]]) -> None:
    """Mapping and model accept the same records, with the same values."""
    messages = accepted(batch, Label)
    chunk = mapped(batch, "labels")
    columns = ["row", "key", "kind", "value", "op", "time_ms", "definition"]
    found = {row: tuple(rest) for row, *rest in chunk.records.select(columns).rows()}
    assert found == {
        row: (m.key, m.kind, m.value, m.op, m.time, "d-1" if m.definition is None else m.definition)
        for row, m in messages.items()
    }
    assert set(chunk.rejects["row"]) == set(range(1, len(batch) + 1)) - set(messages)


@given(st.lists(predictions, min_size=2, max_size=12), st.data())
@settings(max_examples=examples(100), deadline=None)
def test_a_record_does_not_depend_on_its_neighbours(batch: list[dict[str, Any]], data: st.DataObject) -> None:
    """Mapped alone or with others, a record becomes the same row or the same reject."""
    row = data.draw(st.integers(1, len(batch)))
    alone = mapped([batch[row - 1]], "predictions")
    among = mapped(batch, "predictions")
    for one, all_rows in ((alone.records, among.records), (alone.rejects, among.rejects)):
        assert one.drop("row").rows() == all_rows.filter(pl.col("row") == row).drop("row").rows()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
names = ["v", "key", "id", "time", "arrived_at", "happened_at", "version", "outputs", "slices", "features", "weight"]
names += ["eligible", "kind", "value", "op", "definition", "source", "origin", "batch_id", "outputs.fraud"]
lines = (
    st.binary(max_size=40)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(names), json_values).map(lambda value: json.dumps(value).encode())
)


@given(st.lists(lines, min_size=1, max_size=10), st.sampled_from(["predictions", "labels"]))
@settings(max_examples=examples(300), deadline=None)
def test_no_bytes_break_the_mapping(content: list[bytes], role: Role) -> None:
    """Whatever bytes a file has, every record is in exactly one of the two frames."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        path.write_bytes(b"\n".join(content) + b"\n")
        config = loop(features={"key": {"type": "string"}, "f": {"type": "float"}, "i": {"type": "int"}})
        chunks = list(Mapper(open_record_file(path, role, []), config).chunks())
    for chunk in chunks:
        assert chunk.records.height + chunk.rejects.height == chunk.rows_read
        assert not set(chunk.records["row"]) & set(chunk.rejects["row"])
        for text in chunk.records["extras"].drop_nulls() if role == "predictions" else ():
            json.loads(text)
