"""Reject messages of ingest and the join, and their rows in the lake."""

import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from ingest_case import loop_with

from joins import Effects, RejectRow
from lake.table import schemas_of
from schemas.base.status import RejectReason
from streams.join_worker.task import join_rejects
from streams.kafka.topics import Topics
from streams.messages.canonical import Unreadable
from streams.messages.reject import RejectMessage, reject_frame

CONFIG = loop_with()
MAPPING = RejectMessage(
    v=1,
    input="labels",
    stage="mapping",
    reason="bad_key",
    seen_at=7,
    source="chargebacks",
    source_partition=3,
    source_row=42,
    detail="key: missing",
    digest=-5,
    original=b"\x00bytes",
)


def test_a_reject_survives_its_wire() -> None:
    """The original is in base64; unknown fields are left out."""
    wire = MAPPING.encode()
    assert RejectMessage.decode(wire) == MAPPING
    assert json.loads(wire) == {
        "v": 1,
        "input": "labels",
        "stage": "mapping",
        "reason": "bad_key",
        "seen_at": 7,
        "source": "chargebacks",
        "source_partition": 3,
        "source_row": 42,
        "detail": "key: missing",
        "digest": -5,
        "original": "AGJ5dGVz",
    }


def step_result() -> Any:
    """Return a step that rejected three records."""
    rows = [
        RejectRow("predictions", 5, RejectReason.DUPLICATE),
        RejectRow("labels", 6, RejectReason.STALE, "fraud"),
    ]
    unreadable = ([], [Unreadable(7, "not_json", "not JSON", 11)])
    step = SimpleNamespace(partition=2, sequence=9)
    return SimpleNamespace(effects=Effects([], rows), unreadable=unreadable, record=step)


def test_a_reject_of_the_join_has_its_position_in_the_canonical_topic() -> None:
    """With step and kind; an unreadable message has detail and digest."""
    found = [RejectMessage.decode(wire) for wire in join_rejects(step_result(), Topics.of(CONFIG), 1_000)]
    assert [(one.input, one.reason, one.partition, one.offset, one.kind, one.sequence) for one in found] == [
        ("predictions", "duplicate", 2, 5, None, 9),
        ("labels", "stale", 2, 6, "fraud", 9),
        ("labels", "not_json", 2, 7, None, 9),
    ]
    assert [(one.source, one.source_partition, one.source_row) for one in found] == [
        ("cards.predictions", 2, 5),
        ("cards.labels", 2, 6),
        ("cards.labels", 2, 7),
    ]
    assert (found[2].detail, found[2].digest, found[2].stage) == ("not JSON", 11, "mapping")
    assert all(one.original is None for one in found)


def test_rejects_become_rows_of_the_lake() -> None:
    """In its columns and types; a mapping's reject has no canonical partition, offset or step."""
    frame = reject_frame([MAPPING.encode(), *join_rejects(step_result(), Topics.of(CONFIG), 1_000)])
    schema = schemas_of(CONFIG)["rejects"]
    own = {name: dtype for name, dtype in schema.items() if name not in ("recorded_on", "recorded_at")}
    assert dict(frame.schema) == {name: own[name] for name in frame.columns}
    assert set(own) == set(frame.columns)
    assert frame.row(0, named=True) == {
        "input": "labels",
        "stage": "mapping",
        "reason": "bad_key",
        "detail": "key: missing",
        "partition": None,
        "offset": None,
        "source": "chargebacks",
        "source_row": 42,
        "source_partition": 3,
        "kind": None,
        "digest": -5,
        "sequence": None,
    }
    assert frame["sequence"].to_list() == [None, 9, 9, 9]
    assert reject_frame([]).schema == frame.schema


def test_a_mark_of_a_repair_has_no_row() -> None:
    """The record itself has a flag in the lake, and its reject stays one."""
    mark = msgspec.structs.replace(MAPPING, stage="repair", original=None)
    assert RejectMessage.decode(mark.encode()) == mark
    assert reject_frame([MAPPING.encode(), mark.encode()]).height == 1


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"v": 2}',
        MAPPING.encode().replace(b"42", b"-1"),
        MAPPING.encode().replace(b"42", b"9" * 30),
    ],
)
def test_a_message_that_is_no_reject_has_no_row(message: bytes) -> None:
    """A foreign message in the topic is left out."""
    assert reject_frame([message, MAPPING.encode()])["source_row"].to_list() == [42]
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        RejectMessage.decode(message)
