"""Canonical messages read as records for the join and as frames for the lake: both have the same content."""

from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_case import CONFIG

from joins import Op
from schemas.config.loop import LoopConfig
from streams.columns.digest import record_digest
from streams.mapping.mapper import MessageMapper
from streams.messages.canonical import CanonicalReader
from streams.messages.records import Projection, label_records, prediction_records
from streams.messages.wire import encode_records

ARRIVAL = CONFIG.model_copy(update={"clock": "arrival"})
T = 1_700_000_000_000

PREDICTION: dict[str, Any] = {
    "key": "a",
    "time": T,
    "version": "v1",
    "outputs": {"click": 0.5},
    "slices": {"country": "DE"},
    "features": {"amount": 3, "other": [1]},
}
LABEL: dict[str, Any] = {"key": "a", "kind": "click", "value": 1, "time": T}
HEARTBEAT: dict[str, Any] = {"kind": "click", "op": "heartbeat", "time": T}
JUNK = [b"", b"  ", b"{", b"[1]", b'{"key": ""}', b'{"v": 1, "key": "a", "key": "b"}', b"\xff", b'{"key": "\\ud800"}']


def texts(*records: dict[str, Any]) -> list[bytes]:
    """Return records as messages of other producers."""
    return [msgspec.json.encode(record) for record in records]


def ours(role: Any, *records: dict[str, Any], config: LoopConfig = ARRIVAL) -> list[bytes]:
    """Return records as messages of Truthloop."""
    return encode_records(role, MessageMapper(role, None, config).map(texts(*records)).records)


def read(name: str, values: list[bytes | None], config: LoopConfig = ARRIVAL) -> tuple[list, list, pl.DataFrame]:
    """Return records, unreadable messages, and the frame; every other offset is missing."""
    reader = CanonicalReader(config)
    columns = ([10 + 2 * at for at in range(len(values))], values, [T + 5_000] * len(values))
    found = getattr(reader, f"{name}_records")(*columns)
    return found.records, found.unreadable, getattr(reader, f"{name}_frame")(*columns)


def changed(message: bytes, **fields: Any) -> bytes:
    """Return a message with other fields."""
    return msgspec.json.encode(msgspec.json.decode(message) | fields)


BROKEN = changed(ours("predictions", PREDICTION)[0], features={"amount": "much"}, id="broken")
"""Has all fields that the join needs, and an invalid feature: written under an earlier config, or by others."""

prediction_values = st.sampled_from(
    [*texts(PREDICTION, PREDICTION | {"id": "x", "arrived_at": T + 1}), *ours("predictions", PREDICTION), BROKEN, *JUNK]
)
label_values = st.sampled_from(
    [
        *texts(LABEL, HEARTBEAT, LABEL | {"arrived_at": T + 1}, LABEL | {"kind": "none"}, LABEL | {"time": "noon"}),
        *ours("labels", LABEL, HEARTBEAT, LABEL | {"kind": "sale", "value": 2.5}),
        *JUNK,
    ]
)


@settings(deadline=None)
@given(st.lists(prediction_values, max_size=8))
def test_predictions_are_the_same_as_records_and_as_rows(values: list[bytes | None]) -> None:
    """In the order of their offsets, whichever producer wrote them."""
    records, unreadable, frame = read("prediction", values)
    assert prediction_records(frame, Projection.of(ARRIVAL)) == records
    assert [10 + 2 * row for row in frame["row"]] == frame["offset"].to_list()
    offsets = [record[0] for record in records] + [one.offset for one in unreadable]
    assert sorted(offsets) == [10 + 2 * at for at in range(len(values))]


@settings(deadline=None)
@given(st.lists(label_values, max_size=8), st.sampled_from([CONFIG, ARRIVAL]))
def test_labels_are_the_same_as_records_and_as_rows(values: list[bytes | None], config: LoopConfig) -> None:
    """Under both clocks."""
    records, unreadable, frame = read("label", values, config)
    assert label_records(frame) == records
    offsets = [record[0] for record in records] + [one.offset for one in unreadable]
    assert sorted(offsets) == [10 + 2 * at for at in range(len(values))]


def test_messages_of_others_have_arrived_at_their_kafka_timestamp() -> None:
    """A message with `arrived_at` keeps it; ingest writes it with the timestamp in the source topic."""
    values = [*texts(LABEL, LABEL | {"arrived_at": T + 1}), *ours("labels", LABEL | {"arrived_at": T + 2})]
    records, _, frame = read("label", values)
    assert [record[7] for record in records] == [T + 5_000, T + 1, T + 2]
    assert frame["arrived_at_ms"].to_list() == [T + 5_000, T + 1, T + 2]
    assert read("label", values, CONFIG)[2]["order_ms"].to_list() == [T, T, T]


def test_a_message_without_a_timestamp_has_not_arrived() -> None:
    """A negative timestamp stands for none."""
    frame = CanonicalReader(ARRIVAL).label_frame([0], texts(LABEL), [-1])
    assert (frame["arrived_at_ms"].item(), frame["order_ms"].item()) == (None, T)


@pytest.mark.parametrize("name", ["prediction", "label"])
@pytest.mark.parametrize("value", [None, *JUNK])
def test_a_message_that_is_no_record_is_unreadable(name: str, value: bytes | None) -> None:
    """It is reported with offset, reason and digest, and has no row."""
    records, unreadable, frame = read(name, [value])
    assert (records, frame.height, len(unreadable)) == ([], 0, 1)
    assert unreadable[0].offset == 10
    assert unreadable[0].digest == record_digest(value or b"")
    assert unreadable[0].reason in {"not_json", "not_an_object", "bad_key", "bad_time", "duplicate_json_key"}


def test_a_record_of_the_join_has_a_row_even_if_its_features_are_invalid() -> None:
    """The row has a flag, and the other fields."""
    _, unreadable, frame = read("prediction", [*ours("predictions", PREDICTION), BROKEN])
    assert unreadable == []
    assert frame["id"].to_list() == ["a", "broken"]
    assert frame["feature_amount"].to_list() == [3.0, None]
    assert frame["flags"].to_list() == [["output_sale:missing"], ["features:invalid"]]


def test_a_label_keeps_its_op() -> None:
    """The join compares members of its own enum."""
    values = [*texts(HEARTBEAT, LABEL), *ours("labels", LABEL | {"op": "retract", "value": None})]
    assert [record[4] for record in read("label", values)[0]] == [Op.HEARTBEAT, Op.UPSERT, Op.RETRACT]
