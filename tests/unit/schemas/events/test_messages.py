"""Canonical messages: what is valid, what is refused (`schemas.base.validators`), and that parsing is strict."""

import json
from typing import Any

import pytest
from message_examples import HEARTBEAT, LABEL, LEDGER_ENTRY, OUTCOME, PREDICTION, REJECTION, RETRACTION
from pydantic import BaseModel, ValidationError

from joins import Checkpoint
from schemas.base.instant import MOMENT_MAX_MS, parse_moment_ms
from schemas.events.messages import Label, LedgerEntry, Outcome, Prediction, Rejection
from streams.ledger.entry import LedgerRecord

GOOD: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (Prediction, PREDICTION),
    (Label, LABEL),
    (Label, RETRACTION),
    (Label, HEARTBEAT),
    (Outcome, OUTCOME),
    (Rejection, REJECTION),
    (LedgerEntry, LEDGER_ENTRY),
]
LONE_SURROGATE = "\ud800"


def read(model: type[BaseModel], document: dict[str, Any], **changes: object) -> BaseModel:
    """Parse a message from JSON text, with changes; a change to `...` removes the field."""
    changed = {key: value for key, value in {**document, **changes}.items() if value is not ...}
    return model.model_validate_json(json.dumps(changed))


@pytest.mark.parametrize(("model", "document"), GOOD)
def test_valid_messages_round_trip(model: type[BaseModel], document: dict[str, Any]) -> None:
    """Written as JSON and parsed again, a message is the same."""
    message = read(model, document)
    assert model.model_validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize(("model", "document"), GOOD)
@pytest.mark.parametrize("version", [..., 2, "1", True, 1.5, None])
def test_only_version_1_is_accepted(model: type[BaseModel], document: dict[str, Any], version: object) -> None:
    """Another version has another meaning; producers may leave it out."""
    if version is ... and model in (Prediction, Label):
        assert read(model, document, v=version) == read(model, document)
        return
    with pytest.raises(ValidationError, match="v\n"):
        read(model, document, v=version)


@pytest.mark.parametrize(("model", "document"), GOOD)
def test_unknown_fields_are_ignored(model: type[BaseModel], document: dict[str, Any]) -> None:
    """A newer sender may add fields."""
    assert read(model, document, something_new=1) == read(model, document)


def test_a_small_prediction_has_defaults() -> None:
    """Only key, time, version and outputs are needed."""
    message = Prediction.model_validate_json('{"key":"a","time":1000000000000,"version":"v1","outputs":{}}')
    assert (message.id, message.weight, message.eligible, message.slices) == (None, 1.0, True, {})


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("key", "", "key"),
        ("key", "a\0b", "key"),
        ("key", "a" * 1_025, "key"),
        ("key", "é" * 513, "key"),
        ("key", 5, "key"),
        ("key", None, "key"),
        ("id", "", "id"),
        ("id", "é" * 513, "id"),
        ("time", "2013-01-01T10:00:00", "time"),
        ("time", "2013-01-01", "time"),
        ("time", 1.5, "time"),
        ("time", True, "time"),
        ("time", -1, "time"),
        ("time", MOMENT_MAX_MS + 1, "time"),
        ("version", "", "version"),
        ("outputs", {"fraud": True}, "outputs.fraud"),
        ("outputs", {"bad name": 0.3}, "outputs.bad name"),
        ("outputs", {"fraud": [1]}, "outputs.fraud"),
        ("slices", {"country": 5}, "slices.country"),
        ("weight", -0.1, "weight"),
        ("weight", "1", "weight"),
        ("eligible", 1, "eligible"),
        ("eligible", "true", "eligible"),
    ],
)
def test_a_prediction_outside_the_rules_is_refused(field: str, value: object, fault: str) -> None:
    """The error names the field."""
    with pytest.raises(ValidationError) as caught:
        read(Prediction, PREDICTION, **{field: value})
    assert {".".join(map(str, error["loc"])).startswith(fault) for error in caught.value.errors()} == {True}


@pytest.mark.parametrize("key", ["a", "é" * 512, "a" * 1_024, " ", "a\n", "🙂" * 256])
def test_keys_of_up_to_1024_bytes_are_valid(key: str) -> None:
    """The limit counts bytes of UTF-8."""
    assert read(Prediction, PREDICTION, key=key).model_dump()["key"] == key


def test_a_key_with_a_lone_surrogate_is_refused() -> None:
    """It cannot be written as UTF-8."""
    with pytest.raises(ValidationError, match="key"):
        Prediction(v=1, key=LONE_SURROGATE, time=0, version="v1", outputs={})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ['"weight":{}', '"outputs":{{"fraud":{}}}', '"features":{{"a":[{{"b":{}}}]}}'])
def test_numbers_that_are_not_finite_are_refused(field: str, number: str) -> None:
    """Also at depth inside features."""
    rest = {name: value for name, value in PREDICTION.items() if name not in ("weight", "outputs", "features")}
    base = {**rest, "outputs": {}, "features": {}}
    base.pop(field.split('"')[1], None)
    text = json.dumps(base)[:-1] + "," + field.format(number) + "}"
    with pytest.raises(ValidationError):
        Prediction.model_validate_json(text)


@pytest.mark.parametrize(
    ("document", "changes", "message"),
    [
        (LABEL, {"value": ...}, "op: upsert needs a value"),
        (LABEL, {"value": None}, "op: upsert needs a value"),
        (LABEL, {"key": ...}, "op: upsert needs a key"),
        (LABEL, {"op": "remove"}, "op"),
        (LABEL, {"value": True}, "value"),
        (LABEL, {"kind": "bad name"}, "kind"),
        (LABEL, {"kind": ...}, "kind"),
        (LABEL, {"origin": "old"}, "origin"),
        (LABEL, {"definition": ""}, "definition"),
        (LABEL, {"happened_at": "yesterday"}, "happened_at"),
        (RETRACTION, {"value": 1}, "a retraction has no value"),
        (RETRACTION, {"key": ...}, "op: retract needs a key"),
        (HEARTBEAT, {"key": "a"}, "a heartbeat has neither key nor value"),
        (HEARTBEAT, {"value": 0}, "a heartbeat has neither key nor value"),
        (HEARTBEAT, {"time": ...}, "time"),
    ],
)
def test_a_label_whose_fields_do_not_fit_its_op_is_refused(
    document: dict[str, Any], changes: dict[str, object], message: str
) -> None:
    """An upsert has a value, a retraction none, a heartbeat neither key nor value."""
    with pytest.raises(ValidationError, match=message):
        read(Label, document, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "pending"}, "status"),
        ({"status": "expired"}, "status expired cannot come by reason first"),
        ({"reason": "timeout"}, "status joined cannot come by reason timeout"),
        ({"value": None}, "status joined and value None do not go together"),
        (
            {"status": "retracted", "reason": "retraction"},
            "status retracted and value 1.0 do not go together",
        ),
        ({"previous_status": "gone"}, "previous_status"),
        ({"revision": -1}, "revision"),
        ({"partition": 2**31}, "partition"),
        ({"known_at": ...}, "known_at"),
    ],
)
def test_an_impossible_outcome_is_refused(changes: dict[str, object], message: str) -> None:
    """Status, reason and value have to agree."""
    with pytest.raises(ValidationError, match=message):
        read(Outcome, OUTCOME, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "implied", "reason": "timeout", "value": 0, "label_offset": None, "label_time": None},
        {"status": "expired", "reason": "timeout", "value": None},
        {"status": "expired", "reason": "aged_out", "value": None},
        {
            "status": "retracted",
            "reason": "retraction",
            "value": None,
            "previous": 1,
            "previous_status": "joined",
        },
        {"reason": "correction", "value": "class", "previous": "other", "previous_status": "joined"},
        {"reason": "late", "previous_status": "expired"},
        {"reason": "early"},
    ],
)
def test_every_possible_outcome_is_valid(changes: dict[str, object]) -> None:
    """Each pair of status and reason."""
    assert read(Outcome, OUTCOME, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": None}, "partition and offset are given together or not at all"),
        ({"offset": None, "partition": None}, "stage: join needs partition and offset"),
        ({"reason": "bored"}, "reason"),
        ({"stage": "lake"}, "stage"),
        ({"digest": 2**63}, "digest"),
    ],
)
def test_a_rejection_without_a_position_is_refused(changes: dict[str, object], message: str) -> None:
    """A record in the join has a position in a partition."""
    with pytest.raises(ValidationError, match=message):
        read(Rejection, REJECTION, **changes)


def test_a_record_that_was_never_mapped_has_no_partition() -> None:
    """Its position is that in the source."""
    assert read(Rejection, REJECTION, stage="mapping", reason="bad_key", partition=None, offset=None, kind=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predictions": [1, 0]}, "predictions\\n.*ends at 0, before it begins at 1"),
        ({"labels": [8, 7]}, "labels"),
        ({"commands": [0]}, "commands"),
        ({"commands": ...}, "commands"),
        ({"unreadable": [0, -1]}, "unreadable"),
        ({"sequence": -1}, "sequence"),
        ({"outcomes": None}, "outcomes"),
        ({"idle": {"elapsed_ms": -1}}, "idle.elapsed_ms"),
        ({"point": ...}, "point"),
        ({"point": []}, "point"),
        ({"policy": {}}, "policy"),
    ],
)
def test_an_impossible_ledger_entry_is_refused(changes: dict[str, object], message: str) -> None:
    """Ranges go forward, and every field that a redo needs is required."""
    with pytest.raises(ValidationError, match=message):
        read(LedgerEntry, LEDGER_ENTRY, **changes)


def test_the_joins_own_entries_fit_the_published_form() -> None:
    """They parse, and round trip."""
    written = LedgerRecord(
        sequence=4,
        partition=1,
        now=1_357_120_800_000,
        predictions=(0, 10),
        labels=(7, 7),
        commands=(2, 3),
        policy="{}",
        outcomes=3,
        rejects=1,
        checkpoint=Checkpoint.start(["fraud"]),
    )
    entry = LedgerEntry.model_validate_json(written.encode())
    assert (entry.predictions, entry.labels, entry.commands) == ((0, 10), (7, 7), (2, 3))
    assert set(json.loads(written.encode())) == set(LedgerEntry.model_fields)
    assert LedgerRecord.decode(json.dumps(LEDGER_ENTRY | {"point": entry.point}).encode()).idle.elapsed_ms == 61_000


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0),
        (MOMENT_MAX_MS, MOMENT_MAX_MS),
        ("1970-01-01T00:00:00Z", 0),
        ("2013-01-01T10:00:00Z", 1_357_034_400_000),
        ("2013-01-01t11:00:00+01:00", 1_357_034_400_000),
        ("2013-01-01T10:00:00.9999999Z", 1_357_034_400_999),
        ("2013-01-01T10:00:00.5z", 1_357_034_400_500),
        ("9999-12-31T23:59:59.999Z", MOMENT_MAX_MS),
        ("2013-01-01T23:59:60Z", 1_357_084_800_000),
        ("2013-01-01T23:59:60.5Z", 1_357_084_800_500),
        ("2013-01-01t24:00:00.000z", 1_357_084_800_000),
    ],
)
def test_times_are_text_with_an_offset_or_milliseconds(value: object, ms: int) -> None:
    """Fractions of a millisecond are cut off, never rounded up."""
    assert parse_moment_ms(value) == ms


@pytest.mark.parametrize(
    "value",
    [
        "2013-01-01T10:00:00",
        "2013-01-01 10:00:00Z",
        "2013-02-30T10:00:00Z",
        "2013-01-01T24:00:01Z",
        "2013-01-01T24:00:00.001Z",
        "2013-01-01T24:00:60Z",
        "2013-01-01T23:59:61Z",
        "2013-01-01T23:60:60Z",
        "9999-12-31T24:00:00Z",
        "2013-01-01T10:00Z",
        "2013-01-01T10:00:00,5Z",
        "2013-W01-1",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+14:00",
        "",
        "0",
        -1,
        1.0,
        True,
        None,
    ],
)
def test_other_times_are_refused(value: object) -> None:
    """Without a time zone, impossible, out of range, or not a time."""
    with pytest.raises(ValueError, match=r".+"):
        parse_moment_ms(value)
