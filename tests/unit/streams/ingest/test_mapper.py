"""Mapping a topic's messages without a broker: formats, several sources, sizes, and rejects.

Covers `streams.readers.format`.
"""

import json
from typing import Any

import pytest
from ingest_case import STAMP, TIME, labels_of, loop_with, map_values, predictions_of, reasons_of, source_messages

from schemas.base.status import RejectReason
from streams.columns.digest import record_digest
from streams.ingest.mapper import PAYLOAD_BYTES_MAX, TopicMapper
from streams.mapping.redaction import Redaction
from streams.mapping.tools import MappingTools
from streams.messages.reject import ORIGINAL_BYTES_MAX

Record = dict[str, Any]

PLAIN: Record = {"topic": "t", "as": "predictions", "map": {"key": "id", "time": TIME, "outputs.fraud": "s"}}
SCORES: Record = PLAIN | {"where": {"type": "score"}}
REFUNDS: Record = {
    "topic": "t",
    "as": "labels",
    "kind": "fraud",
    "where": {"type": "refund"},
    "map": {"key": "id", "time": TIME, "value": "v"},
}


def good(**parts: Any) -> Record:
    """Return a record of the plain source with these parts replaced."""
    return {"id": "k", "t": 1_000_000_001_000, "s": 0.5} | parts


def test_a_message_is_keyed_and_whole() -> None:
    """The key is the join's key as UTF-8, and every field is there; the message's time is the arrival."""
    made = map_values(loop_with(PLAIN), [good(id="ключ")])
    assert [key for key, _ in made.predictions] == ["ключ".encode()]
    (value,) = predictions_of(made)
    assert value["arrived_at"] == STAMP
    assert (value["key"], value["id"], value["time"], value["outputs"]) == (
        "ключ",
        "ключ",
        1_000_000_001_000,
        {"fraud": 0.5},
    )


@pytest.mark.parametrize(("stamp", "arrived"), [(STAMP, STAMP), (-1, None), (0, None), (10**15, None)])
def test_arrival_is_the_records_own_or_kafkas(stamp: int, arrived: int | None) -> None:
    """A record that names its arrival keeps it; a timestamp that is none counts as none."""
    source = PLAIN | {"map": PLAIN["map"] | {"arrived_at": {"path": "a", "unit": "ms"}}}
    made = map_values(loop_with(source), [good(a=STAMP + 1), good()], timestamp=stamp)
    assert [value["arrived_at"] for value in predictions_of(made)] == [STAMP + 1, arrived]


def test_record_metadata_can_be_mapped_and_used_in_conditions() -> None:
    """Key, timestamp, topic, partition, offset and headers; bytes that are no text are no value."""
    fields = {"key": "$key", "time": {"path": "$timestamp", "unit": "ms"}, "version": "$headers.model"}
    fields |= {"id": ["$topic", "$partition", "$offset"]}
    source = {"topic": "t", "as": "predictions", "where": {"$headers.kind": "score"}, "map": fields}
    headers = [("model", b"v1"), ("kind", b"score"), ("model", b"v2")]
    rows = [
        (b"a", headers),
        (b"\xff", headers),
        (None, headers),
        (b"a", [*headers, ("kind", b"other")]),
        (b"a", None),
        (b"a", [("kind", b"score"), ("model", None)]),
    ]
    keys, found = [key for key, _ in rows], [headers for _, headers in rows]
    made = map_values(loop_with(source), [{}] * 6, keys=keys, headers=found)
    assert [(one["key"], one["id"], one["version"], one["time"]) for one in predictions_of(made)] == [
        ("a", "t|0|100", "v2", STAMP)
    ]
    assert reasons_of(made) == [(101, "bad_key"), (102, "bad_key"), (105, "bad_version")]
    assert made.filtered == 2


def test_each_source_of_a_topic_sees_every_record() -> None:
    """A record is a reject only if a source that selects it cannot map it, and filtered if none selects it."""
    records = [
        {"type": "score"} | good(id="a"),
        {"type": "refund", "id": "a", "t": 1_000_000_000_005, "v": 1},
        {"type": "score", "t": 1_000_000_000_001},
        {"type": "other"},
        {"type": "refund", "id": "a", "t": 1_000_000_000_005, "v": 7},
    ]
    made = map_values(loop_with(SCORES, REFUNDS), records)
    assert [value["key"] for value in predictions_of(made)] == ["a"]
    assert [value["value"] for value in labels_of(made)] == [1.0]
    assert reasons_of(made) == [(102, "bad_key"), (104, "bad_value")]
    assert [reject.input for reject in made.rejects] == ["predictions", "labels"]
    assert made.filtered == 1


def test_one_record_can_be_two_messages() -> None:
    """Where two sources select it; and it is counted once when one of them cannot map it."""
    both = REFUNDS | {"where": {"type": "score"}}
    made = map_values(loop_with(SCORES, both), [{"type": "score", "v": 1} | good(), {"type": "score"} | good()])
    assert (len(made.predictions), len(made.labels)) == (2, 1)
    assert reasons_of(made) == [(101, "bad_value")]
    assert made.filtered == 0


def test_other_records_need_not_have_the_list() -> None:
    """`each` applies only to records that `where` selects."""
    source = {"topic": "t", "as": "predictions", "where": {"type": "basket", "items.kind": "score"}, "each": "items"}
    source |= {"map": {"key": "items.id", "time": TIME}}
    items = [{"id": "a", "kind": "score"}, {"id": "b", "kind": "x"}]
    records = [
        {"type": "basket", "t": 1_000_000_000_001, "items": items},
        {"type": "other", "items": {"not": "a list"}},
        {"type": "basket", "items": {"not": "a list"}},
    ]
    made = map_values(loop_with(source), records)
    assert [value["key"] for value in predictions_of(made)] == ["a"]
    assert reasons_of(made) == [(102, "not_an_object")]


@pytest.mark.parametrize("wrapped", [True, False])
def test_debezium(wrapped: bool) -> None:
    """Inserts, snapshot reads, updates and deletes, with and without `payload`; tombstones are filtered."""
    prefix = "payload." if wrapped else ""
    fields = {
        "key": {"path": f"{prefix}after.tx", "otherwise": f"{prefix}before.tx"},
        "value": {"path": f"{prefix}after.reason", "values": {"10.4": 1, "": 0}},
        "time": {"path": f"{prefix}ts_ms", "unit": "ms"},
        "retract": {"path": f"{prefix}op", "in": ["d"]},
    }
    source = {"topic": "t", "as": "labels", "kind": "fraud", "map": fields}
    rows = [
        ("r", None, {"tx": "a", "reason": "10.4"}),
        ("c", None, {"tx": 12, "reason": ""}),
        ("u", {"tx": 12, "reason": ""}, {"tx": 12, "reason": "10.4"}),
        ("d", {"tx": "a", "reason": "10.4"}, None),
    ]
    records: list[Any] = [
        {"op": op, "ts_ms": at, "before": before, "after": after} for at, (op, before, after) in enumerate(rows, STAMP)
    ]
    if wrapped:
        records = [{"schema": {"type": "struct"}, "payload": record} for record in records]
    made = map_values(loop_with(source), [*records, None])
    found = [(one["key"], one["op"], one["value"], one["time"]) for one in labels_of(made)]
    assert found == [
        ("a", "upsert", 1.0, STAMP),
        ("12", "upsert", 0.0, STAMP + 1),
        ("12", "upsert", 1.0, STAMP + 2),
        ("a", "retract", None, STAMP + 3),
    ]
    assert (reasons_of(made), made.filtered) == ([], 1)


DELETED: Record = {
    "topic": "t",
    "as": "labels",
    "kind": "fraud",
    "source": "crm",
    "tombstone": "retract",
    "where": {"type": "refund", "$headers.site": ["eu", "us"]},
    "map": {"key": {"path": "id", "otherwise": "$key"}, "time": TIME, "value": "v", "definition": {"constant": "d-2"}},
}


def test_a_tombstone_deletes_the_label_of_its_key() -> None:
    """Time is Kafka's, kind, definition and source are the source's; conditions on the value it lacks do not count."""
    refund = {"type": "refund", "id": "a", "t": 10**12, "v": 1}
    values = [None, refund, None, None, {"type": "other"}]
    site = [("site", b"eu")]
    headers = [site, site, site, [("site", b"asia")], site]
    made = map_values(loop_with(DELETED), values, keys=[b"a", b"a", None, b"a", b"a"], headers=headers)
    found = [
        (
            one["key"],
            one["op"],
            one["value"],
            one["time"],
            one["arrived_at"],
            one["kind"],
            one["definition"],
            one["source"],
        )
        for one in labels_of(made)
    ]
    assert found == [
        ("a", "delete", None, STAMP, STAMP, "fraud", "d-2", "crm"),
        ("a", "upsert", 1.0, 10**12, STAMP, "fraud", "d-2", "crm"),
    ]
    assert reasons_of(made) == [(102, "bad_key")]
    assert made.rejects[0].original is None
    assert made.filtered == 2


def test_tombstones_are_skipped_unless_a_source_says_otherwise() -> None:
    """Also where another source of the topic deletes by them."""
    plain = DELETED | {"tombstone": "skip"}
    made = map_values(loop_with(plain), [None], keys=[b"a"], headers=[[("site", b"eu")]])
    assert (labels_of(made), made.filtered) == ([], 1)
    made = map_values(loop_with(plain, DELETED), [None], keys=[b"a"], headers=[[("site", b"eu")]])
    assert ([one["op"] for one in labels_of(made)], made.filtered) == (["delete"], 0)


def test_a_tombstone_without_a_time_deletes_nothing() -> None:
    """It is a reject, like every record without one."""
    source = DELETED | {"where": {}}
    assert reasons_of(map_values(loop_with(source), [None], keys=[b"a"], timestamp=-1)) == [(100, "bad_time")]


def test_a_second_path_is_taken_whole() -> None:
    """A composite key comes from one side or the other; values of several types mean what their text means."""
    fields = {"key": {"path": ["a.x", "a.y"], "otherwise": ["b.x", "b.y"]}, "time": {"path": "t", "otherwise": "u"}}
    fields["time"] |= {"unit": "ms"}
    source = {"topic": "t", "as": "predictions", "map": fields}
    a, b = {"x": 1, "y": 2}, {"x": "p", "y": "q"}
    records = [
        {"a": a, "b": b, "t": 1_000_000_000_005},
        {"a": {"x": 1}, "b": b, "u": "2001-09-09T01:46:41Z"},
        {"a": {"x": 1}, "t": 1_000_000_000_005},
    ]
    made = map_values(loop_with(source), records)
    assert [(one["key"], one["time"]) for one in predictions_of(made)] == [
        ("1|2", 1_000_000_000_005),
        ("p|q", 1_000_000_001_000),
    ]
    assert reasons_of(made) == [(102, "bad_key")]


def test_a_boolean_is_no_key_whatever_is_beside_it() -> None:
    """With a second path, too, where columns of several types meet."""
    source = {"topic": "t", "as": "predictions", "map": {"key": {"path": "a", "otherwise": "b"}, "time": TIME}}
    odd, good_one = {"a": False, "t": 10**12}, {"b": "k", "t": 10**12}
    for records in ([odd], [odd, good_one], [good_one, odd], [odd, {"a": "x", "t": 10**12}]):
        made = map_values(loop_with(source), records)
        assert reasons_of(made) == [(100 + records.index(odd), "bad_key")]


EVENT = {"specversion": "1.0", "id": "e", "source": "/s", "type": "score", "datacontenttype": "application/json"}


def test_cloud_events_are_unwrapped_for_canonical_sources() -> None:
    """The envelope is removed, and conditions may use its attributes; plain messages stay as they are."""
    message = {"v": 1, "key": "k", "time": 1_000_000_000_005, "version": "v", "outputs": {"fraud": 0.5}}
    source = {"topic": "t", "as": "predictions"}
    made = map_values(loop_with(source), [EVENT | {"data": message}, message, EVENT | {"data": "text"}])
    assert [one["key"] for one in predictions_of(made)] == ["k", "k"]
    assert predictions_of(made)[0]["digest"] == predictions_of(made)[1]["digest"]
    assert reasons_of(made) == [(102, "bad_key")]
    typed = map_values(loop_with(source | {"where": {"type": "score"}}), [EVENT | {"data": message}, message])
    assert (len(typed.predictions), typed.filtered) == (1, 1)


def test_cloud_events_are_reachable_by_path() -> None:
    """Structured mode below `data`, binary mode in the headers."""
    structured = {"topic": "t", "as": "predictions", "map": {"key": "data.id", "time": "time", "version": "type"}}
    record = EVENT | {"time": "2001-09-09T01:46:41Z", "data": {"id": "k"}}
    (value,) = predictions_of(map_values(loop_with(structured), [record]))
    assert (value["key"], value["time"], value["version"]) == ("k", 1_000_000_001_000, "score")
    binary = {"topic": "t", "as": "predictions", "map": {"key": "id", "time": "$headers.ce_time"}}
    headers = [[("ce_specversion", b"1.0"), ("ce_time", b"2001-09-09T01:46:41Z")]]
    (value,) = predictions_of(map_values(loop_with(binary), [{"id": "k"}], headers=headers))
    assert (value["key"], value["time"]) == ("k", 1_000_000_001_000)


def test_a_canonical_source_names_the_source_of_its_labels() -> None:
    """Where they do not name it themselves."""
    source = {"topic": "t", "as": "labels", "source": "chargebacks"}
    label = {"v": 1, "key": "k", "value": 1, "time": 1_000_000_000_005}
    made = map_values(loop_with(source), [label, label | {"source": "own"}])
    assert [one["source"] for one in labels_of(made)] == ["chargebacks", "own"]


BINARY: list[tuple[bytes, str, str]] = [
    (b"\x00\x00\x00\x01\x02\x0bhello", "avro_or_protobuf", "Confluent's wire format with schema 258"),
    (b'\x00\x00\x00\x00\x07{"id": broken', "avro_or_protobuf", "Confluent's wire format with schema 7"),
    (b"Obj\x01\x04\x14avro.codec", "avro_or_protobuf", "an Avro file"),
    (b"\xc3\x01\x11\x22\x33\x44\x55\x66\x77\x88abc", "avro_or_protobuf", "Avro in single-object encoding"),
    (b"\x03\x00" + bytes(range(16)) + b"x", "avro_or_protobuf", "AWS Glue's wire format with schema version 00010203-"),
    (b"\x0a\x03abc\x10\x96\x01", "avro_or_protobuf", "binary data without a schema id"),
    (b"\x08\x01", "avro_or_protobuf", "binary data"),
    (b"\x1f\x8b\x08\x00\x00", "not_json", "compressed by its producer (gzip)"),
    (b'{"id": "\xff"}', "not_json", "not UTF-8"),
    (b'{"id": "\x01"}', "not_json", "not JSON"),
    (b"hello", "not_json", "not JSON"),
    ("héllo".encode(), "not_json", "not JSON"),
    (b"", "not_json", "an empty message"),
    (b" \n", "not_json", "an empty message"),
    (b"[1]", "not_an_object", "the value is JSON, but no object"),
    (b'{"id": 1, "id": 2}', "duplicate_json_key", ""),
]


@pytest.mark.parametrize(("value", "reason", "detail"), BINARY)
def test_a_value_that_is_no_json_object_is_named(value: bytes, reason: str, detail: str) -> None:
    """Avro and Protobuf with the schema's number, where there is one; broken JSON as such. No payload is repeated."""
    made = map_values(loop_with(SCORES, REFUNDS), [value])
    assert reasons_of(made) == [(100, reason)]
    (reject,) = made.rejects
    assert reject.detail is not None
    assert reject.detail.startswith(detail)
    assert (reject.digest, reject.original) == (record_digest(value), value)
    assert made.filtered == 0


def test_json_behind_confluents_header_is_read() -> None:
    """Its JSON serializer writes a zero byte and the schema's number before the object."""
    value = b"\x00\x00\x00\x00\x07" + json.dumps(good(t="x")).encode()
    fine = b"\x00\x00\x00\x00\x07" + json.dumps(good()).encode()
    made = map_values(loop_with(PLAIN), [fine, value])
    assert [one["key"] for one in predictions_of(made)] == ["k"]
    assert [(reject.reason, reject.digest) for reject in made.rejects] == [("bad_time", record_digest(value))]


def test_heartbeats_are_for_every_partition() -> None:
    """They have no key, so they have no partition of their own."""
    source = {"topic": "t", "as": "labels", "kind": "fraud"}
    source |= {"map": {"key": "id", "time": TIME, "value": "v", "heartbeat": {"path": "hb", "in": [True]}}}
    made = map_values(
        loop_with(source), [{"hb": True, "t": 1_000_000_000_009}, {"id": "k", "t": 1_000_000_000_008, "v": 1}]
    )
    assert [json.loads(value)["op"] for _, value in made.heartbeats] == ["heartbeat"]
    assert [key for key, _ in made.heartbeats] == [None]
    assert [one["key"] for one in labels_of(made)] == ["k"]


def sized(length: int) -> bytes:
    """Return a good record of this many bytes, with one large unknown field."""
    head = json.dumps(good())[:-1] + ', "pad": "'
    return (head + "x" * (length - len(head) - 2) + '"}').encode()


def test_values_up_to_a_mebibyte_are_read() -> None:
    """A longer one is a reject, without its bytes and without being parsed."""
    made = map_values(loop_with(PLAIN), [sized(1_048_576), sized(1_048_577)])
    assert len(made.predictions) == 1
    assert reasons_of(made) == [(101, "too_large")]
    assert made.rejects[0].original is None


def test_no_message_is_made_that_cannot_be_sent() -> None:
    """A canonical message past the limit is a reject; one at the limit is not."""
    source = PLAIN | {"map": PLAIN["map"] | {"features": "f.*"}}
    config = loop_with(source)

    def record(pad: int) -> Record:
        return good(f={"pad": "x" * pad})

    ((key, value),) = map_values(config, [record(1)]).predictions
    room = PAYLOAD_BYTES_MAX - len(value) - len(key or b"")
    made = map_values(config, [record(room + 1), record(room + 2)])
    assert [len(key or b"") + len(value) for key, value in made.predictions] == [PAYLOAD_BYTES_MAX]
    assert reasons_of(made) == [(101, "too_large")]
    assert made.rejects[0].detail == "its canonical message has 999,001 bytes, and 999,000 are carried"
    assert made.filtered == 0


def test_rejects_fit_into_small_messages() -> None:
    """A reject is sent without its original if that would not fit, or is past the limit of originals."""
    tools = MappingTools(Redaction(loop_with(PLAIN)))
    large = b"x" * ORIGINAL_BYTES_MAX
    small = TopicMapper("t", loop_with(PLAIN), tools, 20_000).map(source_messages([b"x" * 10_904, b"x" * 10_905]), 5)
    assert [reject.original is None for reject in small.rejects] == [False, True]
    assert max(len(reject.encode()) for reject in small.rejects) <= 20_000
    made = map_values(loop_with(PLAIN), [large, large + b"x"])
    assert [reject.original is None for reject in made.rejects] == [False, True]
    assert max(len(reject.encode()) for reject in made.rejects) <= PAYLOAD_BYTES_MAX


def test_of_several_rejects_of_one_record_the_first_has_its_bytes() -> None:
    """A list of bad elements would repeat them otherwise."""
    source = {"topic": "t", "as": "predictions", "each": "items", "map": {"key": "items.id", "time": TIME}}
    made = map_values(loop_with(source), [{"t": 1_000_000_000_001, "items": [{}, {}, {"id": "a"}]}])
    assert [reject.original is None for reject in made.rejects] == [False, True]
    assert len(made.predictions) == 1


def test_a_reject_has_the_position_of_its_record() -> None:
    """Topic, partition and offset of the source; the time; and the stage."""
    made = map_values(loop_with(PLAIN), [good(), good(id=None)])
    (reject,) = made.rejects
    assert (reject.source, reject.source_partition, reject.source_row) == ("t", 1, 101)
    assert (reject.stage, reject.input, reject.seen_at, reject.detail) == ("mapping", "predictions", 5, "key: missing")


def test_poison_pills_are_rejected_unread() -> None:
    """Whatever their values are."""
    config = loop_with(PLAIN)
    mapper = TopicMapper("t", config, MappingTools(Redaction(config)))
    made = mapper.reject_unread(source_messages([good(), None, b"\x00"]), 5)
    assert reasons_of(made) == [(at, RejectReason.CRASHED_THE_PROCESS.value) for at in (100, 101, 102)]
    assert not made.predictions


def test_a_message_does_not_depend_on_its_neighbours() -> None:
    """Mapped one by one, the messages become the same as all at once."""
    values: list[object] = [
        {"type": "score"} | good(),
        {"type": "refund", "id": 1, "t": 1_000_000_000_001, "v": "1"},
        None,
        b"",
        b"\x00",
    ]
    values += [{"type": "score", "id": 5}, {"type": ["x"]}, {"type": "score", "id": True, "t": "2001-09-09", "s": "x"}]
    config = loop_with(SCORES, REFUNDS)
    mapper = TopicMapper("t", config, MappingTools(Redaction(config)))
    messages = source_messages(values)
    whole = mapper.map(messages, 5)
    alone = [mapper.map(messages.part(at, at + 1), 5) for at in range(len(values))]
    for one in alone[1:]:
        alone[0].add(one)
    assert (alone[0].predictions, alone[0].labels, alone[0].filtered) == (
        whole.predictions,
        whole.labels,
        whole.filtered,
    )
    assert sorted(reasons_of(alone[0])) == sorted(reasons_of(whole))
