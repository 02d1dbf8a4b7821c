"""Prefect: the exact requests, and the meaning of every answer."""

import json

import pytest
from gate_case import ID
from target_case import BODY, REQUEST, drive, json_reply

from retrain.schedule import Due, classify_result
from retrain.target.exchange import Reply
from retrain.target.prefect import Prefect, state_of

UUID = "0b6f1c9e-1111-4222-8333-944455556666"
BY_NAME = Prefect("https://prefect.example/api", "retrain flights/prod", "")
BY_ID = Prefect("https://prefect.example/api", UUID, "pnu_key")
FOUND = json_reply(200, {"id": UUID})
DUE = Due(ID, 1, 0, None)


def test_a_delivery_resolves_the_deployment_and_starts_a_run_with_its_key() -> None:
    """Byte for byte, and the same at every attempt."""
    calls, result = drive(BY_NAME.deliver(ID, BODY, 5), [FOUND, Reply(201)])
    assert calls == drive(BY_NAME.deliver(ID, BODY, 99), [FOUND, Reply(201)])[0]
    assert [(call.method, call.url) for call in calls] == [
        ("GET", "https://prefect.example/api/deployments/name/retrain%20flights/prod"),
        ("POST", f"https://prefect.example/api/deployments/{UUID}/create_flow_run"),
    ]
    key = ID.encode()
    form = b'{"name":"%s","idempotency_key":"%s","tags":["truthloop"],"parameters":{"request":%s}}'
    assert calls[1].body == form % (key, key, BODY)
    assert json.loads(calls[1].body)["parameters"] == {"request": json.loads(REQUEST.model_dump_json())}
    assert "Authorization" not in calls[1].headers
    assert (result.verdict, result.detail) == ("delivered", "")


def test_an_id_is_not_resolved_and_an_api_key_is_a_bearer_token() -> None:
    """For servers with authentication."""
    calls, result = drive(BY_ID.deliver(ID, BODY, 5), [Reply(201)])
    assert calls[0].headers["Authorization"] == "Bearer pnu_key"
    assert "pnu_key" not in repr(BY_ID)
    assert result.verdict == "delivered"


def test_a_key_that_was_used_is_a_run_that_is_there_already() -> None:
    """Prefect answers 200 instead of 201, and starts nothing."""
    _, result = drive(BY_ID.deliver(ID, BODY, 5), [Reply(200)])
    assert (result.verdict, result.detail) == ("delivered", "the run was there already")


def test_a_conflict_is_about_the_parameters_and_no_repeat() -> None:
    """The flow lacks the parameter `request`; the attempt is repeated until it is changed."""
    _, result = drive(BY_ID.deliver(ID, BODY, 5), [Reply(409)])
    assert classify_result(DUE, 0, result).outcome == "retry"
    assert "parameter `request`" in result.detail


@pytest.mark.parametrize(
    ("replies", "outcome", "words"),
    [
        ([Reply(404)], "gone", "there is no deployment retrain flights/prod (404)"),
        ([FOUND, Reply(404)], "gone", "there is no deployment"),
        ([FOUND, Reply(410)], "gone", "410"),
        ([Reply(401)], "retry", "not accepted (401)"),
        ([FOUND, Reply(500)], "retry", "500"),
        ([FOUND, Reply(429, b"", 5_000)], "retry", "429"),
        ([Reply(fault="did not end within 20 s")], "retry", "did not end"),
        ([Reply(200, b"{}")], "retry", "holds no id"),
        ([json_reply(200, {"id": "../../admin"})], "retry", "holds no id"),
        ([json_reply(200, {"id": 7})], "retry", "holds no id"),
    ],
)
def test_every_other_answer_is_gone_or_retried(replies: list[Reply], outcome: str, words: str) -> None:
    """A value that is not a valid id is put into no path."""
    _, result = drive(BY_NAME.deliver(ID, BODY, 5), replies)
    attempt = classify_result(DUE, 0, result)
    assert attempt.outcome == outcome
    assert words in attempt.detail


def test_a_run_is_queried_by_its_key() -> None:
    """Nothing of the start has to be stored."""
    calls, state = drive(BY_ID.poll(ID), [json_reply(200, [{"idempotency_key": ID, "state_type": "COMPLETED"}])])
    assert (calls[0].method, calls[0].url) == ("POST", "https://prefect.example/api/flow_runs/filter")
    assert json.loads(calls[0].body) == {"flow_runs": {"idempotency_key": {"any_": [ID]}}, "limit": 1}
    assert state.status == "succeeded"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        *(("SCHEDULED", "accepted"), ("PENDING", "accepted"), ("PAUSED", "accepted")),
        *(("RUNNING", "running"), ("CANCELLING", "running"), ("COMPLETED", "succeeded")),
        *(("FAILED", "failed"), ("CRASHED", "failed"), ("CANCELLED", "failed")),
    ],
)
def test_every_state_of_a_flow_run_is_one_of_a_callback(state: str, status: str) -> None:
    """All nine."""
    assert state_of({"state_type": state}).status == status


@pytest.mark.parametrize(
    "reply",
    [
        *(Reply(500), Reply(404), Reply(), Reply(200, b"[]"), Reply(200, b"{}"), Reply(200, b"["), Reply(200, b"[7]")),
        json_reply(200, [{"state_type": "SUPER"}]),
        json_reply(200, [{"state_type": None}]),
        json_reply(200, [{"state_type": "COMPLETED", "idempotency_key": "rt-of-another"}]),
    ],
)
def test_an_answer_without_a_state_is_unknown(reply: Reply) -> None:
    """Also one about another run."""
    _, state = drive(BY_ID.poll(ID), [reply])
    assert state.status is None
    assert state.detail
