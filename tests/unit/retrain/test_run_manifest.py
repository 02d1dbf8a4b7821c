"""The manifest of a retrain at every stage, and how a retrain is found by what it led to."""

from typing import Any

import pytest
from gate_case import DRIFT, START_MS, entry, episode, ruling_entry

from retrain.gate import DAY_MS, gate_of
from retrain.run_manifest import find_retrain, run_manifest
from retrain.schedule import Attempt
from schemas.events.backfill import Verdict
from schemas.events.evidence import Condition, Decision, Event, GateState

FIRST, SECOND, THIRD = ("rt-" + digit * 32 for digit in "012")
GOOD, OTHER = "a" * 64, "b" * 64
WRITTEN: dict[str, Any] = {
    "dataset": "file:///d",
    "manifest": "file:///d/manifest.json",
    "manifest_sha256": "0" * 64,
    "rows": 2_000,
}
MET = Condition(name="coverage", value="ok", needed="ok", is_met=True)
DATASET: dict[str, Any] = {
    "rows": {"train": 2_000, "holdout": 300},
    "definition": "late-15min",
    "backfills": [{"episode": "bf-1", "verdict": "approved"}],
    "contract_sha256": "c" * 64,
    "config_sha256": "d" * 64,
    "code_sha256": "e" * 64,
    "dependencies": {"duckdb": "1"},
    "files": {"train.parquet": {"rows": 2_000}},
    "columns": ["key"],
}

Step = tuple[Event, GateState, dict[str, Any]]

DECIDED: Step = (
    Event.EVALUATED,
    GateState.PREPARING,
    {
        "reason": "errors rose",
        "findings": [DRIFT],
        "conditions": [MET],
        "version": "v1",
        "detail": {"judged_day": "2013-05-30", "mature_labels": 5_000},
    },
)
PREPARED: Step = (Event.PREPARED, GateState.REQUESTED, {"detail": WRITTEN})
DELIVERED: Step = (Event.DELIVERED, GateState.RUNNING, {})
SUCCEEDED: Step = (
    Event.SUCCEEDED,
    GateState.RUNNING,
    {
        "version": "v2",
        "reason": "the pipeline says: succeeded",
        "detail": {"callback_id": "c1", "model_sha256": GOOD, "metric:auc": 0.75, "metric:log_loss": 0.5},
    },
)
DEPLOYED: Step = (Event.DEPLOYED, GateState.COOLING, {"version": "v2", "reason": "v2 predicts"})


def log_of(*steps: Step, before: list[Decision] | None = None, id_: str | None = FIRST) -> list[Decision]:
    """Return legal entries of one retrain, a day apart, after others."""
    known = before or []
    new = [
        entry(len(known) + index, event, state, len(known) + index, decision=id_, **other)
        for index, (event, state, other) in enumerate(steps)
    ]
    gate_of([*known, *new])
    return [*known, *new]


def manifest(log: list[Decision], id_: str = FIRST, **given: Any) -> dict[str, Any]:
    """Return the manifest of a retrain."""
    return run_manifest(log, id_, given.get("attempts", []), given.get("dataset"))


def test_a_retrain_that_is_only_decided_says_why() -> None:
    """With findings, requirements and evidence time; nothing else is known yet."""
    found = manifest(log_of(DECIDED))
    assert found == {
        "retrain": FIRST,
        "loop": "flights",
        "kind": "late",
        "state": "preparing",
        "decided": {
            "evidence_at": START_MS,
            "entry": 0,
            "event": "evaluated",
            "reason": "errors rose",
            "current_version": "v1",
            "findings": [DRIFT.model_dump(mode="json")],
            "conditions": [MET.model_dump(mode="json")],
            "judged_day": "2013-05-30",
            "mature_labels": 5_000,
        },
        "approvals": [],
        "dataset": None,
        "deliveries": [],
        "answers": [],
        "judged": [],
        "refused": [],
        "ended": None,
    }


@pytest.mark.parametrize(
    ("steps", "state"),
    [([DECIDED, PREPARED], "requested"), ([DECIDED, PREPARED, DELIVERED], "running")],
)
def test_from_the_request_on_the_data_set_is_named_with_its_inputs(steps: list[Step], state: str) -> None:
    """Table versions, contract, config, code and dependencies; the rest of its manifest is left out."""
    found = manifest(log_of(*steps), dataset=DATASET)
    assert (found["state"], found["ended"]) == (state, None)
    dataset = found["dataset"]
    names = ("uri", "manifest_uri", "manifest_sha256", "is_whole")
    assert [dataset[name] for name in names] == ["file:///d", "file:///d/manifest.json", "0" * 64, True]
    assert {name: value for name, value in dataset.items() if name in DATASET} == {
        name: value for name, value in DATASET.items() if name != "columns"
    }
    assert dataset["order"] is None


def test_a_data_set_that_is_gone_is_still_named_by_its_digest() -> None:
    """The signed digest is in the log; properties of the data set are not made up."""
    found = manifest(log_of(DECIDED, PREPARED))
    assert found["dataset"] == {
        "uri": "file:///d",
        "manifest_uri": "file:///d/manifest.json",
        "manifest_sha256": "0" * 64,
        "is_whole": False,
    }


@pytest.mark.parametrize(
    ("before", "event", "version"),
    [
        ([DECIDED], Event.RESOLVED, None),
        ([DECIDED, PREPARED], Event.UNDELIVERABLE, None),
        ([DECIDED, PREPARED], Event.RESOLVED, None),
        ([DECIDED, PREPARED], Event.FAILED, None),
        ([DECIDED, PREPARED, DELIVERED], Event.FAILED, None),
        ([DECIDED, PREPARED, DELIVERED], Event.SUCCEEDED, "v2"),
        ([DECIDED, PREPARED, DELIVERED, SUCCEEDED], Event.DEPLOYED, "v2"),
        ([DECIDED, PREPARED, DELIVERED], Event.RESOLVED, None),
    ],
)
def test_every_end_is_reported_as_logged(before: list[Step], event: Event, version: str | None) -> None:
    """The first end counts, whatever the gate's later entries are."""
    end = (event, GateState.COOLING, {"version": version, "reason": "that was it", "detail": {"who": "ann"}})
    log = log_of(*before, end)
    log = log_of((Event.EVALUATED, GateState.COOLING, {}), before=log, id_=None)
    found = manifest(log)
    assert found["state"] == event.value
    assert found["ended"] == {
        "evidence_at": START_MS + len(before) * DAY_MS,
        "event": event.value,
        "reason": "that was it",
        "version": version,
        "detail": {"who": "ann"},
    }


def test_evaluations_during_a_retrain_do_not_change_its_reason() -> None:
    """Such entries carry the retrain's id, too."""
    later = (Event.EVALUATED, GateState.RUNNING, {"reason": "another day", "version": "v1"})
    log = log_of(DECIDED, PREPARED, DELIVERED, later, later)
    found = manifest(log)
    assert (found["decided"]["entry"], found["decided"]["reason"]) == (0, "errors rose")
    assert (found["state"], found["ended"], found["answers"]) == ("running", None, [])


def test_answers_have_the_models_digest_and_the_pipelines_metrics() -> None:
    """Each answer separately, in order."""
    accepted = (Event.ACCEPTED, GateState.RUNNING, {"detail": {"callback_id": "c0", "model_sha256": None}})
    found = manifest(log_of(DECIDED, PREPARED, accepted, SUCCEEDED, DEPLOYED))
    assert [one["event"] for one in found["answers"]] == ["accepted", "succeeded"]
    first, second = found["answers"]
    assert (first["version"], first["model_sha256"], first["metrics"]) == (None, None, {})
    assert second == {
        "evidence_at": START_MS + 3 * DAY_MS,
        "event": "succeeded",
        "reason": "the pipeline says: succeeded",
        "version": "v2",
        "model_sha256": GOOD,
        "metrics": {"auc": 0.75, "log_loss": 0.5},
    }


def test_only_its_own_deliveries_are_listed() -> None:
    """The attempts of all retrains are in one table."""
    attempts = [
        Attempt(FIRST, 1, 5, "retry", 503, None, "busy"),
        Attempt(SECOND, 1, 6, "delivered", 200),
        Attempt(FIRST, 2, 7, "delivered", 202),
    ]
    assert manifest(log_of(DECIDED, PREPARED), attempts=attempts)["deliveries"] == [
        {"number": 1, "at": 5, "outcome": "retry", "http_status": 503, "detail": "busy"},
        {"number": 2, "at": 7, "outcome": "delivered", "http_status": 202, "detail": None},
    ]


def test_notes_after_the_end_belong_to_it_and_do_not_end_it_again() -> None:
    """A model that is judged weeks later, and another one that was refused."""
    judged = (Event.JUDGED, GateState.COOLING, {"version": "v2", "reason": "as good", "detail": {"verdict": "x"}})
    refused = (Event.REFUSED, GateState.COOLING, {"reason": "another model", "detail": {"model_sha256": OTHER}})
    log = log_of(DECIDED, PREPARED, DELIVERED, SUCCEEDED, DEPLOYED, judged, refused)
    found = manifest(log)
    assert (found["state"], found["ended"]["event"]) == ("deployed", "deployed")
    assert [(one["reason"], one["detail"]) for one in found["judged"]] == [("as good", {"verdict": "x"})]
    assert [(one["reason"], one["detail"]) for one in found["refused"]] == [("another model", {"model_sha256": OTHER})]
    assert [one["model_sha256"] for one in found["answers"]] == [GOOD]


def test_notes_while_another_retrain_is_open_belong_to_the_one_they_name() -> None:
    """Such an entry names it in its detail only."""
    log = log_of(DECIDED, PREPARED, DELIVERED, SUCCEEDED, DEPLOYED)
    log = log_of(DECIDED, before=log, id_=SECOND)
    note = {"reason": "as good", "detail": {"decision": FIRST}}
    log = log_of(*((event, GateState.PREPARING, note) for event in (Event.JUDGED, Event.REFUSED)), before=log, id_=None)
    assert [len(manifest(log)[name]) for name in ("judged", "refused")] == [1, 1]
    assert [manifest(log, SECOND)[name] for name in ("judged", "refused")] == [[], []]
    assert gate_of(log).decision == SECOND


def test_only_approvals_since_the_last_retrain_are_listed() -> None:
    """Not those of an earlier retrain, nor one that was rejected later; the newest ruling on each counts."""
    old, taken_back, twice, other = (episode(number) for number in range(4))
    log = [ruling_entry(0, Verdict.APPROVED, old, GateState.UNKNOWN)]
    log = log_of(DECIDED, (Event.RESOLVED, GateState.COOLING, {}), before=log)
    for verdict, about in (
        (Verdict.APPROVED, taken_back),
        (Verdict.APPROVED, twice),
        (Verdict.REJECTED, taken_back),
        (Verdict.QUARANTINED, other),
        (Verdict.APPROVED, other),
    ):
        log.append(ruling_entry(len(log), verdict, about, GateState.COOLING, len(log)))
    words = {"reason": "looked at again", "detail": {"who": "ann", "diff_sha256": GOOD}}
    log.append(ruling_entry(len(log), Verdict.APPROVED, twice, GateState.COOLING, len(log)).model_copy(update=words))
    ruled_ms = log[-1].at
    log = log_of((Event.RESTATED, *DECIDED[1:]), before=log, id_=SECOND)
    found = manifest(log, SECOND)
    assert found["decided"]["event"] == "restated"
    assert [one["episode"] for one in found["approvals"]] == [other.id, twice.id]
    expected = {"episode": twice.id, "evidence_at": ruled_ms, "reason": "looked at again", "who": "ann"}
    assert found["approvals"][1] == expected | {"diff_sha256": GOOD}
    assert [one["episode"] for one in manifest(log)["approvals"]] == [old.id]


def test_an_approval_after_the_decision_belongs_to_the_next_retrain() -> None:
    """It was not known at the decision."""
    log = log_of(DECIDED, PREPARED)
    log.append(ruling_entry(2, Verdict.APPROVED, episode(), GateState.REQUESTED, 5))
    assert manifest(log)["approvals"] == []


def test_a_retrain_is_found_by_its_id_at_any_stage() -> None:
    """And not by another id."""
    log = log_of(DECIDED)
    assert find_retrain(log, FIRST) == FIRST
    assert [find_retrain(log, name) for name in (SECOND, "v1", "v2", "", "None")] == [None] * 5
    assert find_retrain([], FIRST) is None


@pytest.mark.parametrize("steps", [[SUCCEEDED], [(Event.DEPLOYED, GateState.COOLING, {"version": "v2"})]])
def test_a_retrain_is_found_by_the_version_of_a_callback_or_of_predictions(steps: list[Step]) -> None:
    """The version that ran at the decision is not one that it led to."""
    log = log_of(DECIDED, PREPARED, DELIVERED, *steps)
    assert find_retrain(log, "v2") == FIRST
    assert find_retrain(log, "v1") is None


def test_of_several_retrains_that_led_to_a_version_the_last_one_is_found() -> None:
    """A pipeline may reuse names of versions; an id belongs to one retrain."""
    log: list[Decision] = []
    for id_, version in ((FIRST, "v2"), (SECOND, "v2"), (THIRD, "v3")):
        end = (Event.DEPLOYED, GateState.COOLING, {"version": version})
        log = log_of(DECIDED, PREPARED, DELIVERED, end, before=log, id_=id_)
    assert [find_retrain(log, name) for name in ("v2", "v3", FIRST, SECOND)] == [SECOND, THIRD, FIRST, SECOND]


def test_a_version_that_appeared_by_itself_belongs_to_no_retrain() -> None:
    """It was deployed without a request."""
    log = log_of((Event.EVALUATED, GateState.IDLE, {"version": "v1"}), DEPLOYED, id_=None)
    assert find_retrain(log, "v2") is None
