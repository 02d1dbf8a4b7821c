"""History of the retrains of a log: the state of each, and how it ended."""

import json
from typing import Any

import pytest
from gate_case import DRIFT, START_MS, entry

from retrain.gate import DAY_MS, gate_of
from retrain.retrains import Retrain, retrains_of
from schemas.events.evidence import Decision, Event, GateState

FIRST, SECOND = ("rt-" + digit * 32 for digit in "01")
WRITTEN = {
    "dataset": "file:///d",
    "manifest": "file:///d/m",
    "manifest_sha256": "0" * 64,
    "rows": 2_000,
    "holdout_rows": 300,
}


def log_of(*steps: tuple[Event, GateState, dict[str, Any]], number: int = 0, id_: str = FIRST) -> list[Decision]:
    """Return legal entries of one retrain, a day apart."""
    return [
        entry(number + index, event, state, number + index, decision=id_, **other)
        for index, (event, state, other) in enumerate(steps)
    ]


DECIDED = (Event.EVALUATED, GateState.PREPARING, {"reason": "errors rose", "findings": [DRIFT], "version": "v1"})
PREPARED = (Event.PREPARED, GateState.REQUESTED, {"detail": WRITTEN})
DELIVERED = (Event.DELIVERED, GateState.RUNNING, {})
OVERDUE = (Event.OVERDUE, GateState.RUNNING, {})


@pytest.mark.parametrize(
    ("steps", "state", "is_overdue", "rows"),
    [
        ([DECIDED], "preparing", False, None),
        ([DECIDED, PREPARED], "requested", False, 2_000),
        ([DECIDED, PREPARED, DELIVERED], "running", False, 2_000),
        ([DECIDED, PREPARED, DELIVERED, OVERDUE], "running", True, 2_000),
    ],
)
def test_an_open_retrain_has_the_gates_state(steps: Any, state: str, is_overdue: bool, rows: int | None) -> None:
    """With what was known when it was decided."""
    log = log_of(*steps)
    assert gate_of(log).state.value == state
    [found] = retrains_of(log)
    assert found == Retrain(
        id=FIRST,
        kind="late",
        decided_ms=START_MS,
        state=state,
        is_open=True,
        is_overdue=is_overdue,
        reason="errors rose",
        version="v1",
        following_version=None,
        ended_ms=None,
        rows=rows,
        holdout_rows=None if rows is None else 300,
        dataset=None if rows is None else "file:///d",
    )


@pytest.mark.parametrize(
    ("event", "state", "version", "following"),
    [
        (Event.DEPLOYED, "deployed", "v2", "v2"),
        (Event.SUCCEEDED, "succeeded", "v2", None),
        (Event.FAILED, "failed", None, None),
        (Event.UNDELIVERABLE, "undeliverable", None, None),
        (Event.RESOLVED, "resolved", None, None),
    ],
)
def test_every_end_has_its_name(event: Event, state: str, version: str | None, following: str | None) -> None:
    """It is not overdue any more; only predictions name the version that followed."""
    before = [DECIDED, PREPARED] if event is Event.UNDELIVERABLE else [DECIDED, PREPARED, DELIVERED, OVERDUE]
    log = log_of(*before, (event, GateState.COOLING, {"version": version}))
    gate_of(log)
    [found] = retrains_of(log)
    assert (found.state, found.is_open, found.is_overdue) == (state, False, False)
    assert (found.following_version, found.ended_ms) == (following, START_MS + len(before) * DAY_MS)


def test_each_retrain_of_a_log_has_its_own_entries() -> None:
    """In order; days without a retrain belong to none."""
    first = log_of(DECIDED, PREPARED, DELIVERED, (Event.FAILED, GateState.COOLING, {}))
    quiet = entry(4, Event.EVALUATED, GateState.IDLE, 4)
    empty = (Event.RESOLVED, GateState.COOLING, {"reason": "the data set would be empty"})
    second = log_of(DECIDED, empty, number=5, id_=SECOND)
    found = retrains_of([*first, quiet, *second])
    gate_of([*first, quiet, *second])
    assert [(one.id, one.state, one.rows) for one in found] == [(FIRST, "failed", 2_000), (SECOND, "resolved", None)]
    assert retrains_of([quiet]) == []


def test_a_retrain_is_a_json_document() -> None:
    """For `--json` and the page."""
    [found] = retrains_of(log_of(DECIDED, PREPARED))
    document = json.loads(json.dumps(found.document()))
    assert (document["id"], document["rows"], document["ended_ms"]) == (FIRST, 2_000, None)
