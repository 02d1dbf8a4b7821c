"""The body of a retrain request: its fields, its strictness and its size; and callbacks."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.events.evidence import Finding, FindingKind, Level, Place
from schemas.events.retrain_request import (
    REQUEST_BYTES_MAX,
    RetrainCallback,
    RetrainData,
    RetrainFinding,
    RetrainRequest,
)

ID = "rt-" + "0f" * 16
DECIDED_MS = 1_700_000_000_123
FINDING = {"kind": "error_drift", "place": "error", "subject": "fraud", "text": "Errors rose."}


def data(**changes: Any) -> RetrainData:
    """Return a request's data."""
    fields = {
        "loop": "card-fraud",
        "decision": ID,
        "kind": "fraud",
        "trigger": [FINDING | {"value": 0.25}],
        "evidence_at": DECIDED_MS - 5_000,
        "dataset": {
            "uri": "s3://bucket/datasets/1",
            "manifest_uri": "s3://bucket/datasets/1/manifest.json",
            "manifest_sha256": "a" * 64,
            "rows": 2_000,
            "as_of": DECIDED_MS - 9_000,
        },
        "current_version": "7",
    }
    return RetrainData.model_validate(fields | changes)


def test_a_request_is_a_cloud_event_that_names_its_decision() -> None:
    """All attributes that CloudEvents 1.0 requires, and times as text."""
    event = json.loads(RetrainRequest.of(data(), DECIDED_MS).body())
    inner = event.pop("data")
    assert event == {
        "specversion": "1.0",
        "id": ID,
        "source": "truthloop/card-fraud",
        "type": "truthloop.retrain.requested.v1",
        "time": "2023-11-14T22:13:20.123Z",
        "subject": "card-fraud",
    }
    assert (inner["decision"], inner["loop"], inner["callback_url"], inner["dry_run"]) == (
        ID,
        "card-fraud",
        None,
        False,
    )
    assert inner["evidence_at"] == "2023-11-14T22:13:15.123Z"
    assert inner["dataset"]["as_of"] == "2023-11-14T22:13:11.123Z"


def test_the_body_is_the_same_bytes_each_time_and_reads_back() -> None:
    """Also after parsing: retries after a crash send the same bytes."""
    request = RetrainRequest.of(data(), DECIDED_MS)
    again = RetrainRequest.model_validate_json(request.body())
    assert (again, again.body()) == (request, request.body())


def test_a_receiver_ignores_unknown_fields() -> None:
    """A newer Truthloop may add some."""
    event = json.loads(RetrainRequest.of(data(), DECIDED_MS).body())
    event["traceparent"] = "00-1"
    event["data"]["news"] = {"deep": [1]}
    assert RetrainRequest.model_validate_json(json.dumps(event)) == RetrainRequest.of(data(), DECIDED_MS)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("id",), "rt-" + "1" * 32),
        (("id",), ID + "\n"),
        (("subject",), "another"),
        (("source",), "truthloop/another"),
        (("specversion",), "0.3"),
        (("type",), "truthloop.retrain.requested.v2"),
        (("time",), "2023-11-14T22:13:20"),
        (("data", "decision"), "../../etc/passwd"),
        (("data", "loop"), "Not A Loop"),
        (("data", "trigger"), []),
        (("data", "trigger", 0, "value"), "0.5"),
        (("data", "trigger", 0, "text"), "x" * 301),
        (("data", "trigger", 0, "kind"), "Error Drift"),
        (("data", "dataset", "rows"), -1),
        (("data", "dataset", "rows"), 1.5),
        (("data", "dataset", "manifest_sha256"), "A" * 64),
        (("data", "dataset", "uri"), "a b"),
        (("data", "dataset", "uri"), "x" * 2_001),
        (("data", "current_version"), ""),
        (("data", "callback_url"), ""),
        (("data", "dry_run"), 1),
    ],
)
def test_one_wrong_value_is_refused(place: tuple[str | int, ...], value: object) -> None:
    """Types are strict, texts are bounded, and repeated values must agree."""
    event = json.loads(RetrainRequest.of(data(), DECIDED_MS).body())
    inner: Any = event
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with pytest.raises(ValidationError):
        RetrainRequest.model_validate_json(json.dumps(event))


def test_numbers_are_finite() -> None:
    """JSON has no other ones."""
    for text in ("NaN", "Infinity", "1e999"):
        body = RetrainRequest.of(data(), DECIDED_MS).body().replace(b"0.25", text.encode())
        with pytest.raises(ValidationError):
            RetrainRequest.model_validate_json(body)
    for value in ("NaN", "-Infinity", "1e999"):
        with pytest.raises(ValidationError):
            RetrainCallback.model_validate_json(f'{{"decision":"{ID}","status":"failed","metrics":{{"auc":{value}}}}}')


def test_a_request_has_at_most_20_000_bytes() -> None:
    """Counted in bytes, not in characters."""
    finding = FINDING | {"text": "x" * 300, "subject": "s" * 200, "value": 0.123456789, "limit": 1e-300}
    assert len(RetrainRequest.of(data(trigger=[finding] * 20), DECIDED_MS).body()) <= REQUEST_BYTES_MAX
    wide = FINDING | {"text": "\N{SNOWMAN}" * 300, "subject": "\N{SNOWMAN}" * 200}
    with pytest.raises(ValidationError, match="at most 20000"):
        RetrainRequest.of(data(trigger=[wide] * 20), DECIDED_MS)
    with pytest.raises(ValidationError):
        data(trigger=[FINDING] * 21)


def test_a_finding_is_summarised() -> None:
    """Texts in the lake may be longer than those in a request."""
    found = Finding(
        kind=FindingKind.METRIC_LOSS,
        place=Place.METRIC,
        subject="s" * 1_000,
        level=Level.ALARM,
        value=0.5,
        limit=0.25,
        text="t" * 300,
    )
    short = RetrainFinding.of(found)
    assert (short.kind, short.place, short.value, short.limit) == ("metric_loss", "metric", 0.5, 0.25)
    assert (short.subject, short.text) == ("s" * 199 + "\N{HORIZONTAL ELLIPSIS}", "t" * 300)


def test_a_callback_has_no_unknown_fields() -> None:
    """A misspelt field is refused, not ignored."""
    text = (
        f'{{"decision":"{ID}","status":"succeeded","version":"8","model_sha256":"{"b" * 64}","metrics":{{"auc":0.9}}}}'
    )
    assert RetrainCallback.model_validate_json(text).metrics == {"auc": 0.9}
    for change in (
        ('"status"', '"state"'),
        ("succeeded", "done"),
        ('"version"', '"versoin"'),
        ('"8"', "8"),
        ('"8"', f'"{"8" * 201}"'),
        ("b" * 64, "b" * 63),
        ('{"auc":0.9}', "{" + ",".join(f'"m{number}":1' for number in range(65)) + "}"),
        ('{"auc":0.9}', f'{{"{"m" * 101}":1}}'),
        ('"auc":0.9', '"auc":"0.9"'),
        ('"version":"8"', '"message":"' + "x" * 1_001 + '"'),
        ('"version":"8"', '"message":"\\u0000"'),
        ('"version":"8"', '"message":"\\ud800"'),
    ):
        assert change[0] in text
        with pytest.raises(ValidationError):
            RetrainCallback.model_validate_json(text.replace(*change))
