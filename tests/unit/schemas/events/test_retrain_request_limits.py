"""The request of an open retrain: built from the log alone, and never too large to be sent."""

from gate_case import ID, entry, finding

from retrain.dataset_rows import rows_to_detail
from retrain.gate import gate_of
from schemas.config.retrain import RetrainConfig
from schemas.events.dataset_rows import BackfillRows, DatasetRows
from schemas.events.evidence import Decision, Event, FindingKind, GateState, Place
from schemas.events.retrain_request import APPROVED_MAX, REQUEST_BYTES_MAX
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


def test_the_request_says_what_of_an_approved_backfill_is_left_out() -> None:
    """As the log has it; of a data set that a version before wrote the counts are unknown."""
    entries = log_with(["temp_f"])
    older = request_of(RETRAIN, entries, gate_of(entries)).data.dataset
    assert (older.holdout_rows, older.left_out, older.approved) == (None, {}, [])
    own = BackfillRows(episode=f"bf-{1:032x}", rows=2, holdout_rows=1, left_out={"other_definition": 180})
    counts = DatasetRows(rows=7, holdout_rows=3, left_out={"other_definition": 180, "pending": 4})
    entries[1] = entries[1].model_copy(update={"detail": WRITTEN | rows_to_detail(counts, [own])})
    data = request_of(RETRAIN, entries, gate_of(entries)).data.dataset
    assert (data.rows, data.holdout_rows, data.left_out, data.approved) == (7, 3, counts.left_out, [own])


def test_many_approved_backfills_fit_into_a_request() -> None:
    """With all reasons, and the largest numbers; findings make room."""
    reasons = ("ineligible", "quarantined", "pending", "expired", "retracted", "other_definition", "not_mature")
    reasons += ("known_before_the_prediction", "the_same_moment_again", "purged_at_the_split")
    left_out = dict.fromkeys(reasons, (1 << 63) - 1)
    own = [
        BackfillRows(episode=f"bf-{number:032x}", rows=1 << 62, holdout_rows=1 << 62, left_out=left_out)
        for number in range(APPROVED_MAX)
    ]
    counts = DatasetRows(rows=1, holdout_rows=1, left_out=left_out, backfills=own)
    entries = log_with([f"{number:02}" + "\N{AIRPLANE}" * 300 for number in range(20)])
    entries[1] = entries[1].model_copy(update={"detail": WRITTEN | rows_to_detail(counts, own)})
    request = request_of(RETRAIN, entries, gate_of(entries))
    assert len(request.body()) <= REQUEST_BYTES_MAX
    assert request.data.dataset.approved == own
