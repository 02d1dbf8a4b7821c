"""The request of an open retrain: built from the log alone, and never too large to be sent."""

from gate_case import ID, entry, finding

from retrain.gate import gate_of
from schemas.config.retrain import RetrainConfig
from schemas.events.evidence import Decision, Event, FindingKind, GateState, Place
from schemas.events.retrain_request import REQUEST_BYTES_MAX
from truthloop.feedback.deliveries import request_of

RETRAIN = RetrainConfig.model_validate({"target": {"url": "https://pipeline.example/retrain"}})
WRITTEN: dict[str, str | int | float | None] = {
    "dataset": "file:///sets/rt",
    "manifest": "file:///sets/rt/manifest.json",
    "manifest_sha256": "0" * 64,
    "rows": 7,
}


def log_with(findings: list[str]) -> list[Decision]:
    """Return a log whose retrain was triggered by shifts of these inputs."""
    found = [
        finding(FindingKind.SHIFT, place=Place.FEATURES).model_copy(update={"subject": name, "text": name})
        for name in findings
    ]
    decided = entry(0, Event.EVALUATED, GateState.PREPARING, decision=ID, version="v1", findings=found)
    return [decided, entry(1, Event.PREPARED, GateState.REQUESTED, decision=ID, detail=WRITTEN)]


def test_the_same_log_gives_the_same_bytes() -> None:
    """With the data set and the findings of the decision."""
    entries = log_with(["temp_f", "wind_mph"])
    request = request_of(RETRAIN, entries, gate_of(entries))
    assert request.body() == request_of(RETRAIN, entries, gate_of(entries)).body()
    assert request.id == ID
    assert (request.data.dataset.rows, request.data.current_version) == (7, "v1")
    assert [one.subject for one in request.data.trigger] == ["temp_f", "wind_mph"]


def test_the_request_of_a_retrain_after_a_ruling_has_the_rulings_findings() -> None:
    """Its first entry is not the evaluation of a day's end; later evaluations do not change the request."""
    found = [finding(FindingKind.BACKFILL, place=Place.LABELS)]
    begun = entry(0, Event.RESTATED, GateState.PREPARING, decision=ID, version="v1", findings=found)
    later = entry(2, Event.EVALUATED, GateState.REQUESTED, decision=ID, version="v1", day=1)
    entries = [begun, entry(1, Event.PREPARED, GateState.REQUESTED, decision=ID, detail=WRITTEN), later]
    request = request_of(RETRAIN, entries, gate_of(entries))
    assert [one.kind for one in request.data.trigger] == ["backfill"]
    assert (request.time, request.data.dataset.as_of) == (begun.at, begun.at)


def test_many_long_names_never_make_a_request_that_cannot_be_sent() -> None:
    """Of findings with long names the gravest are kept."""
    entries = log_with([f"{number:02}" + "\N{AIRPLANE}" * 300 for number in range(20)])
    request = request_of(RETRAIN, entries, gate_of(entries))
    assert len(request.body()) <= REQUEST_BYTES_MAX
    assert request.data.trigger[0].subject.startswith("00")
    assert 1 <= len(request.data.trigger) < 20
