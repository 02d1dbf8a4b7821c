"""GitHub Actions: the exact requests, and the meaning of every answer. `test_github_contract` checks the shapes."""

import json

import pytest
from gate_case import ID
from target_case import BODY, drive, json_reply

from retrain.schedule import Due, classify_result
from retrain.target.exchange import Reply
from retrain.target.github import LISTED_LATE_MS, Github, run_of, state_of
from schemas.events.retrain_request import REQUEST_BYTES_MAX

GITHUB = Github("https://api.github.com", "acme/models", "retrain.yml", "main", "ghp_token")
NONE = json_reply(200, {"total_count": 0, "workflow_runs": []})
DUE = Due(ID, 1, 0, None)
PLACE = "https://api.github.com/repos/acme/models/actions/workflows/retrain.yml"
INPUTS_CHARACTERS_MAX = 65_535


def listed(*runs: dict[str, object]) -> Reply:
    """Return a page of runs."""
    return json_reply(200, {"total_count": len(runs), "workflow_runs": list(runs)})


def test_a_delivery_lists_runs_and_then_starts_one() -> None:
    """Byte for byte, and the same at every attempt."""
    calls, result = drive(GITHUB.deliver(ID, BODY, 5), [NONE, Reply(204)])
    assert calls == drive(GITHUB.deliver(ID, BODY, 99), [NONE, Reply(204)])[0]
    assert [(call.method, call.url) for call in calls] == [
        ("GET", f"{PLACE}/runs?event=workflow_dispatch&exclude_pull_requests=true&per_page=50"),
        ("POST", f"{PLACE}/dispatches"),
    ]
    for call in calls:
        assert call.headers == {
            "Accept": "application/vnd.github+json",
            "Authorization": "Bearer ghp_token",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
    assert json.loads(calls[1].body) == {"ref": "main", "inputs": {"decision": ID, "request": BODY.decode()}}
    assert (result.verdict, result.status) == ("delivered", 204)


def test_the_largest_request_fits_into_the_inputs() -> None:
    """GitHub accepts 65,535 characters, with the request's quotes escaped."""
    largest = b'"' * REQUEST_BYTES_MAX
    calls, _ = drive(GITHUB.deliver(ID, largest, 5), [NONE, Reply(204)])
    assert len(calls[1].body) < INPUTS_CHARACTERS_MAX


def test_a_run_that_is_listed_is_not_started_again() -> None:
    """Whatever its state: its name holds the id."""
    run = {"display_title": f"retrain flights {ID}", "status": "completed", "conclusion": "failure"}
    other = {"display_title": "retrain flights rt-" + "1" * 32, "status": "queued", "conclusion": None}
    calls, result = drive(GITHUB.deliver(ID, BODY, 5), [listed(other, run)])
    assert len(calls) == 1
    assert (result.verdict, result.detail) == ("delivered", "the run was there already")
    calls, _ = drive(GITHUB.deliver(ID, BODY, 5), [listed(other), Reply(204)])
    assert len(calls) == 2


@pytest.mark.parametrize(
    "reply", [Reply(500), Reply(), Reply(429), Reply(403), Reply(200, b'{"workflow_runs": [{'), Reply(200)]
)
def test_without_a_list_nothing_is_started(reply: Reply) -> None:
    """A run may exist; the attempt is repeated."""
    calls, result = drive(GITHUB.deliver(ID, BODY, 5), [reply])
    assert len(calls) == 1
    assert classify_result(DUE, 0, result).outcome == "retry"
    assert result.detail


@pytest.mark.parametrize(
    ("reply", "waits"), [(Reply(), True), (Reply(502), True), (Reply(422), False), (Reply(401), False)]
)
def test_after_a_start_without_an_answer_the_next_attempt_waits(reply: Reply, waits: bool) -> None:
    """The run may have been started, and is listed after some seconds."""
    _, result = drive(GITHUB.deliver(ID, BODY, 5), [NONE, reply])
    assert classify_result(DUE, 0, result).outcome == "retry"
    assert result.retry_after_ms == (LISTED_LATE_MS if waits else None)


@pytest.mark.parametrize("replies", [[Reply(404)], [NONE, Reply(404)]])
def test_a_missing_workflow_is_gone(replies: list[Reply]) -> None:
    """GitHub gives the same answer for one that the token may not see."""
    _, result = drive(GITHUB.deliver(ID, BODY, 5), replies)
    assert classify_result(DUE, 0, result).outcome == "gone"
    assert result.detail == "there is no workflow retrain.yml in acme/models, or the token may not see it (404)"


def test_of_several_runs_of_one_id_the_first_counts() -> None:
    """GitHub lists the newest first; one that was started twice by mistake waits for the first."""
    runs = [{"display_title": ID, "id": 2}, {"display_title": None}, 7, {"display_title": ID, "id": 1}]
    found = run_of(runs, ID)
    assert found is not None
    assert found["id"] == 1


@pytest.mark.parametrize(
    ("status", "conclusion", "expected"),
    [
        *((state, None, "accepted") for state in ("queued", "requested", "waiting", "pending")),
        ("in_progress", None, "running"),
        ("completed", "success", "succeeded"),
        *(
            ("completed", conclusion, "failed")
            for conclusion in ("failure", "cancelled", "timed_out", "startup_failure", "skipped", "stale", "neutral")
        ),
        ("completed", "action_required", "failed"),
        ("completed", None, None),
        ("new word", None, None),
        (None, None, None),
        ([], {}, None),
    ],
)
def test_the_state_of_a_run_is_that_of_a_callback(status: object, conclusion: object, expected: str | None) -> None:
    """Every status and conclusion that the API documents; another one is unknown."""
    run = {"display_title": ID, "status": status, "conclusion": conclusion}
    assert state_of(run).status == expected
    calls, state = drive(GITHUB.poll(ID), [listed(run)])
    assert len(calls) == 1
    assert state.status == expected


@pytest.mark.parametrize(
    "reply", [Reply(500), Reply(404), Reply(), NONE, Reply(200, b"["), json_reply(200, {"workflow_runs": 7})]
)
def test_an_answer_without_a_state_is_unknown(reply: Reply) -> None:
    """Also a run that is not listed yet."""
    _, state = drive(GITHUB.poll(ID), [reply])
    assert state.status is None
    assert state.detail


def test_the_token_is_in_no_repr() -> None:
    """Of the target and of its calls."""
    calls, _ = drive(GITHUB.deliver(ID, BODY, 5), [NONE, Reply(204)])
    assert all("ghp_token" not in repr(thing) for thing in (GITHUB, *calls))
