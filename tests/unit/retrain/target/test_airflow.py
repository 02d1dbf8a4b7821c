"""Airflow: the exact requests, and the meaning of every answer."""

import json
from itertools import product

import pytest
from gate_case import ID
from target_case import BODY, REQUEST, drive, json_reply

from retrain.schedule import Due, classify_result
from retrain.target.airflow import Airflow, state_of
from retrain.target.exchange import Reply

BY_PASSWORD = Airflow("https://airflow.example/base", "retrain.flights", "loop", 'p"w')
BY_TOKEN = Airflow("https://airflow.example", "retrain", "", "a.b.c")
TOKEN = json_reply(201, {"access_token": "a.b.c"})
RUN = json_reply(200, {"dag_run_id": ID, "state": "queued"})
DAG = json_reply(200, {"is_paused": False})
PAUSED = json_reply(200, {"is_paused": True})
CONFLICT = json_reply(409, {"detail": {"reason": "Unique constraint violation"}})
DUE = Due(ID, 1, 0, None)


def test_a_delivery_logs_in_starts_the_run_and_sees_whether_the_dag_is_paused() -> None:
    """Byte for byte, and the same at every attempt."""
    calls, result = drive(BY_PASSWORD.deliver(ID, BODY, 5), [TOKEN, RUN, DAG])
    again, _ = drive(BY_PASSWORD.deliver(ID, BODY, 99), [TOKEN, RUN, DAG])
    assert calls == again
    base = "https://airflow.example/base"
    assert [(call.method, call.url) for call in calls] == [
        ("POST", f"{base}/auth/token"),
        ("POST", f"{base}/api/v2/dags/retrain.flights/dagRuns"),
        ("GET", f"{base}/api/v2/dags/retrain.flights"),
    ]
    assert calls[0].body == b'{"username":"loop","password":"p\\"w"}'
    assert "Authorization" not in calls[0].headers
    assert calls[1].body == b'{"dag_run_id":"%s","logical_date":null,"conf":%s}' % (ID.encode(), BODY)
    assert calls[1].headers == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Authorization": "Bearer a.b.c",
    }
    assert (result.verdict, result.status, result.detail) == ("delivered", 200, "")


def test_the_whole_request_is_the_runs_conf() -> None:
    """The same document as for a webhook: findings, data set and the manifest's digest."""
    calls, _ = drive(BY_TOKEN.deliver(ID, BODY, 5), [RUN, DAG])
    assert json.loads(calls[0].body)["conf"] == json.loads(REQUEST.model_dump_json())


def test_a_token_is_used_as_it_is() -> None:
    """Without a login."""
    calls, result = drive(BY_TOKEN.deliver(ID, BODY, 5), [RUN, DAG])
    assert [call.url.rpartition("/")[2] for call in calls] == ["dagRuns", "retrain"]
    assert calls[0].headers["Authorization"] == "Bearer a.b.c"
    assert result.verdict == "delivered"


def test_a_conflict_means_delivered_if_the_run_is_found() -> None:
    """Airflow answers 409 for any unique constraint; without the run the attempt is repeated."""
    calls, result = drive(BY_TOKEN.deliver(ID, BODY, 5), [CONFLICT, RUN, DAG])
    assert calls[1].url.endswith(f"/dagRuns/{ID}")
    assert (result.verdict, result.status, result.detail) == ("delivered", 409, "the run was there already")
    for reply, words in (
        (Reply(404), "there is no run"),
        (Reply(503), "could not be looked up"),
        (Reply(), "could not"),
    ):
        _, result = drive(BY_TOKEN.deliver(ID, BODY, 5), [CONFLICT, reply])
        assert classify_result(DUE, 0, result).outcome == "retry"
        assert words in result.detail


def test_a_paused_dag_counts_as_delivered_and_is_reported() -> None:
    """The run is queued; a failed check for the pause does not repeat the delivery."""
    _, result = drive(BY_TOKEN.deliver(ID, BODY, 5), [RUN, PAUSED])
    assert result.verdict == "delivered"
    assert result.detail.startswith("the DAG is paused")
    _, result = drive(BY_TOKEN.deliver(ID, BODY, 5), [CONFLICT, RUN, PAUSED])
    assert result.detail.startswith("the run was there already; the DAG is paused")
    _, result = drive(BY_TOKEN.deliver(ID, BODY, 5), [RUN, Reply(fault="did not end within 20 s")])
    assert (result.verdict, result.detail) == ("delivered", "")


@pytest.mark.parametrize(
    ("reply", "outcome", "words"),
    [
        (Reply(404), "gone", "there is no DAG retrain (404)"),
        (Reply(410), "gone", "410"),
        (Reply(400), "retry", "not accepted (400)"),
        (Reply(401), "retry", "credentials are not accepted (401)"),
        (Reply(403), "retry", "credentials do not allow it"),
        (Reply(422), "retry", "not accepted as it is (422)"),
        (Reply(429, b"", 60_000), "retry", "429"),
        (Reply(500), "retry", "500"),
        (Reply(503), "retry", "503"),
        (Reply(302, b"", None, "a redirect, which is not followed"), "retry", "redirect"),
        (Reply(fault="did not end within 20 s"), "retry", "did not end"),
        (
            Reply(fault="not sent: h resolves to 10.0.0.1, which is not an address of the public internet"),
            "retry",
            "10.0.0.1",
        ),
    ],
)
def test_every_other_answer_is_gone_or_retried(reply: Reply, outcome: str, words: str) -> None:
    """The detail is text of our own."""
    _, result = drive(BY_TOKEN.deliver(ID, BODY, 5), [reply])
    attempt = classify_result(DUE, 0, result)
    assert attempt.outcome == outcome
    assert words in attempt.detail
    assert attempt.retry_after_ms == reply.retry_after_ms


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(401), "no token: the credentials are not accepted (401)"),
        (Reply(500), "no token: it was not accepted (500)"),
        (Reply(fault="failed: ClientConnectorError"), "no token: failed: ClientConnectorError"),
        (json_reply(201, {"token": 1}), "holds no token"),
        (json_reply(201, {"access_token": "a\r\nX: y"}), "holds no token"),
        (json_reply(201, ["access_token"]), "holds no token"),
        (Reply(201, b"[" * 100_000), "holds no token"),
    ],
)
def test_without_a_token_nothing_is_started(reply: Reply, words: str) -> None:
    """The attempt is repeated; a value that is not a token is put into no header."""
    calls, result = drive(BY_PASSWORD.deliver(ID, BODY, 5), [reply])
    assert len(calls) == 1
    assert classify_result(DUE, 0, result).outcome == "retry"
    assert words in result.detail
    _, state = drive(BY_PASSWORD.poll(ID), [reply])
    assert state.status is None
    assert words in state.detail


@pytest.mark.parametrize(
    ("state", "status"),
    [("queued", "accepted"), ("running", "running"), ("success", "succeeded"), ("failed", "failed")],
)
def test_the_state_of_a_run_is_that_of_a_callback(state: str, status: str) -> None:
    """All four states of a DAG run."""
    calls, found = drive(BY_PASSWORD.poll(ID), [TOKEN, json_reply(200, {"state": state})])
    assert calls[1].method == "GET"
    assert calls[1].url == f"https://airflow.example/base/api/v2/dags/retrain.flights/dagRuns/{ID}"
    assert found.status == status


def test_an_answer_without_a_state_is_unknown() -> None:
    """So is any failure of the server."""
    for document in ({}, {"state": None}, {"state": ["success"]}, {"state": "SUCCESS"}):
        assert state_of(document).status is None
    for reply in (Reply(404), Reply(500), Reply(), Reply(200, b"<html>"), Reply(200, b'{"state": "succ')):
        _, found = drive(BY_TOKEN.poll(ID), [reply])
        assert found.status is None
        assert found.detail


def test_no_secret_is_in_a_repr() -> None:
    """Of the target and of its calls."""
    calls, _ = drive(BY_PASSWORD.deliver(ID, BODY, 5), [TOKEN, RUN, DAG])
    for thing, secret in product((BY_PASSWORD, BY_TOKEN, *calls), ("a.b.c", 'p"w', 'p\\"w')):
        assert secret not in repr(thing)
