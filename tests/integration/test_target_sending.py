"""Requests to servers over real sockets, from an open retrain to the gate's log: taken once, and asked for.

Tests `truthloop.feedback.polling` with `truthloop.feedback.deliveries`.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from gate_case import ID
from target_case import OpenRetrain, Server

from retrain.address_guard import parse_allowed
from retrain.poll import POLL_MS
from retrain.sender import Receiver
from retrain.target.airflow import Airflow as Target
from schemas.events.evidence import Event, GateState
from truthloop.broker.node import free_ports
from truthloop.feedback.deliveries import Deliveries

ENVIRON = {"TRUTHLOOP_AIRFLOW_PASSWORD": "canary-password"}
TOKEN = "canary-token"  # noqa: S105 - of a test
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


class Airflow:
    """What Airflow does with runs of one DAG, as far as these tests need it.

    Attributes:
        runs: id -> conf.
        state: of every run.
        is_paused: of the DAG.
        faults: answers to give before anything is done, the next first.
        loses_answers: whether the connection ends once a run is taken.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Any] = {}
        self.state: Any = "queued"
        self.is_paused = False
        self.faults: list[web.StreamResponse] = []
        self.loses_answers = False

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """Answer as Airflow 3.3 does."""
        if request.path == "/auth/token":
            known = json.loads(body) == {"username": "loop", "password": "canary-password"}
            return web.json_response({"access_token": TOKEN}, status=201) if known else web.Response(status=401)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=403)
        if self.faults:
            return self.faults.pop(0)
        if request.path == "/api/v2/dags/retrain":
            return web.json_response({"dag_id": "retrain", "is_paused": self.is_paused})
        return self._runs(request, body)

    def _runs(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.method == "GET":
            is_there = request.path.rpartition("/")[2] in self.runs
            return web.json_response({"state": self.state}) if is_there else web.Response(status=404)
        document = json.loads(body)
        if document["dag_run_id"] in self.runs:
            return web.json_response({"detail": {"reason": "Unique constraint violation"}}, status=409)
        self.runs[document["dag_run_id"]] = document["conf"]
        if self.loses_answers:
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"dag_run_id": document["dag_run_id"], "state": "queued"})


Act = Callable[[OpenRetrain, Server, Airflow], Coroutine[Any, Any, None]]


def live(folder: Path, act: Act, **target: Any) -> None:
    """Run a story with an Airflow and an open retrain."""

    async def story() -> None:
        airflow = Airflow()
        async with Server(airflow.answer) as server:
            place = server.url.removeprefix("http://")
            config = {"kind": "airflow", "url": server.url, "allow": [place], "dag_id": "retrain", "user": "loop"}
            await act(OpenRetrain(folder, config | target, ENVIRON), server, airflow)

    asyncio.run(story())


def test_a_run_is_started_asked_for_and_its_success_ends_the_retrain(tmp_path: Path) -> None:
    """By the same entries as callbacks make, each state once, and no request after the end."""

    async def act(retrain: OpenRetrain, server: Server, airflow: Airflow) -> None:
        delivered, accepted = await retrain.step_parallel()
        assert (delivered.event, accepted.event, accepted.source) == (Event.DELIVERED, Event.ACCEPTED, "pipeline")
        assert list(airflow.runs) == [ID]
        assert airflow.runs[ID]["data"]["dataset"]["manifest_sha256"] == "0" * 64
        assert await retrain.step_parallel(POLL_MS) == []
        airflow.state = "running"
        assert await retrain.step_parallel(POLL_MS // 2) == []  # it is not due yet
        [running] = await retrain.step_parallel(POLL_MS)
        assert running.reason == "the pipeline says: running"
        airflow.state = "success"
        [succeeded] = await retrain.step_parallel(POLL_MS)
        assert (succeeded.event, succeeded.state) == (Event.SUCCEEDED, GateState.COOLING)
        requests = len(server.requests)
        assert await retrain.step_parallel(HOUR_MS) == []
        assert len(server.requests) == requests

    live(tmp_path, act)


def test_a_failed_run_ends_the_retrain_as_failed(tmp_path: Path) -> None:
    """Also where its end would have been another version's predictions."""

    async def act(retrain: OpenRetrain, _server: Server, airflow: Airflow) -> None:
        await retrain.step_parallel()
        airflow.state = "failed"
        [failed] = await retrain.step_parallel(POLL_MS)
        assert (failed.event, failed.state) == (Event.FAILED, GateState.COOLING)
        assert "Airflow calls the DAG run failed" in failed.reason

    live(tmp_path, act, completion="first_predictions")


def test_a_run_that_waits_for_predictions_is_asked_for_until_it_succeeds(tmp_path: Path) -> None:
    """Its success is written down, the retrain stays open, and nobody asks any more."""

    async def act(retrain: OpenRetrain, server: Server, airflow: Airflow) -> None:
        await retrain.step_parallel()
        airflow.state = "success"
        [succeeded] = await retrain.step_parallel(POLL_MS)
        assert (succeeded.event, succeeded.state) == (Event.SUCCEEDED, GateState.RUNNING)
        requests = len(server.requests)
        assert await retrain.step_parallel(HOUR_MS) == []
        assert len(server.requests) == requests

    live(tmp_path, act, completion="first_predictions")


def test_a_pipeline_that_calls_back_is_not_asked(tmp_path: Path) -> None:
    """It was told where; Airflow is asked only for the run."""

    async def act(retrain: OpenRetrain, server: Server, _airflow: Airflow) -> None:
        [delivered] = await retrain.step_parallel()
        assert delivered.event is Event.DELIVERED
        requests = len(server.requests)
        assert await retrain.step_parallel(HOUR_MS) == []
        assert len(server.requests) == requests

    ENVIRON["TRUTHLOOP_WEBHOOK_SECRET"] = "whsec_" + "c2VjcmV0" * 5
    try:
        live(tmp_path, act, completion="callback")
    finally:
        del ENVIRON["TRUTHLOOP_WEBHOOK_SECRET"]


def test_an_answer_that_was_lost_does_not_start_a_second_run(tmp_path: Path) -> None:
    """The id is taken; the second attempt finds its run."""

    async def act(retrain: OpenRetrain, _server: Server, airflow: Airflow) -> None:
        airflow.loses_answers = True
        assert await retrain.step_parallel() == []
        assert [one.outcome for one in retrain.attempts()] == ["retry"]
        airflow.loses_answers = False
        delivered, _accepted = await retrain.step_parallel(10_000)
        assert delivered.reason == "the request was delivered at attempt 2: the run was there already"
        assert list(airflow.runs) == [ID]
        assert retrain.attempts()[-1].status == 409

    live(tmp_path, act)


def test_a_paused_dag_is_told_of_in_the_log(tmp_path: Path) -> None:
    """The run waits; it is no failure."""

    async def act(retrain: OpenRetrain, _server: Server, airflow: Airflow) -> None:
        airflow.is_paused = True
        [delivered, _] = await retrain.step_parallel()
        assert delivered.event is Event.DELIVERED
        assert "the DAG is paused" in delivered.reason
        assert "the DAG is paused" in retrain.attempts()[0].detail

    live(tmp_path, act)


def test_a_dag_that_does_not_exist_ends_the_retrain_and_is_named(tmp_path: Path) -> None:
    """Nobody waits three days for it."""

    async def act(retrain: OpenRetrain, _server: Server, airflow: Airflow) -> None:
        airflow.faults = [web.Response(status=404)]
        [entry] = await retrain.step_parallel()
        assert (entry.event, entry.state) == (Event.UNDELIVERABLE, GateState.COOLING)
        assert "there is no DAG retrain (404)" in entry.reason

    live(tmp_path, act)


def test_a_server_that_is_down_slow_or_busy_is_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And what happened is recorded, without payload or credentials, even with everything logged."""
    caplog.set_level(logging.DEBUG)

    async def never(_request: web.Request, _body: bytes) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async def busy(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "3600"}, text="canary")

    async def story() -> None:
        [port] = free_ports(1)
        config = {"kind": "airflow", "url": f"http://127.0.0.1:{port}", "allow": [f"127.0.0.1:{port}"]}
        retrain = OpenRetrain(tmp_path, {**config, "dag_id": "retrain", "user": "loop"}, ENVIRON)
        assert await retrain.step_parallel() == []
        for number, script in enumerate((never, busy)):
            async with Server(script) as server:
                place = server.url.removeprefix("http://")
                other = {**config, "url": server.url, "allow": [place], "dag_id": "retrain", "user": "loop"}
                folder = tmp_path / str(number)
                parallel = OpenRetrain(folder, other, ENVIRON)
                parallel.deliveries._receiver = _hasty(parallel)
                assert await parallel.step_parallel() == []
                retrain.__dict__.setdefault("earlier", []).extend(parallel.attempts())
        attempts = [*retrain.attempts(), *retrain.__dict__["earlier"]]
        assert [one.outcome for one in attempts] == ["retry"] * 3
        assert [one.status for one in attempts] == [None, None, 429]
        assert [one.retry_after_ms for one in attempts] == [None, None, HOUR_MS]
        assert "ClientConnectorError" in attempts[0].detail
        assert "did not end within 0.2 s" in attempts[1].detail
        assert "canary" not in caplog.text + repr(attempts)

    asyncio.run(story())


def _hasty(retrain: OpenRetrain) -> Receiver:
    """Return how to reach it, for those who do not wait."""
    assert retrain.receiver is not None
    fields = {name: getattr(retrain.receiver, name) for name in ("url", "secret", "allow", "server")}
    return Receiver(**fields, timeout_s=0.2)


def test_a_poll_that_fails_is_no_answer(tmp_path: Path) -> None:
    """The retrain stays where it was, and the server gets more and more time."""

    async def act(retrain: OpenRetrain, server: Server, airflow: Airflow) -> None:
        await retrain.step_parallel()
        airflow.state = "success"
        for wait_ms in (POLL_MS, 2 * POLL_MS, 4 * POLL_MS):
            airflow.faults = [web.Response(status=503)]
            assert await retrain.step_parallel(wait_ms) == []
            assert not airflow.faults
            requests = len(server.requests)
            assert await retrain.step_parallel() == []
            assert len(server.requests) == requests
        assert retrain.entries()[-1].event is Event.ACCEPTED
        airflow.faults = [web.Response(text="<html>")]
        assert await retrain.step_parallel(8 * POLL_MS) == []
        [succeeded] = await retrain.step_parallel(16 * POLL_MS)
        assert succeeded.event is Event.SUCCEEDED

    live(tmp_path, act)


def test_a_process_that_begins_anew_takes_no_answer_twice(tmp_path: Path) -> None:
    """What is known of a run stands in the log."""

    async def act(retrain: OpenRetrain, _server: Server, airflow: Airflow) -> None:
        await retrain.step_parallel()
        airflow.state = "running"
        [running] = await retrain.step_parallel(POLL_MS)
        before = retrain.entries()
        assert before[-1] == running
        assert retrain.receiver is not None
        origins = [origin for origin, _ in retrain.deliveries._kinds]
        anew = Deliveries(retrain.deliveries._lake, origins, retrain.receiver, lambda: retrain.now_ms)
        assert await anew.send_due() == []
        airflow.state = "success"
        first, second = await asyncio.gather(anew_step(anew, retrain), retrain.step_parallel(POLL_MS))
        assert len(first) + len(second) == 1
        assert [one.event for one in retrain.entries()[len(before) :]] == [Event.SUCCEEDED]

    async def anew_step(anew: Deliveries, retrain: OpenRetrain) -> list[Any]:
        retrain.now_ms += POLL_MS
        return await anew.send_due()

    live(tmp_path, act)


def test_a_server_that_moves_inside_the_network_is_not_asked_and_that_is_recorded(tmp_path: Path) -> None:
    """Each call is judged anew: the name moves once the token was handed out, and no token follows it."""

    async def act(retrain: OpenRetrain, server: Server, airflow: Airflow) -> None:
        places = ["127.0.0.1", "169.254.169.254"]

        async def moving(host: str, _port: int) -> list[str]:
            assert host == "localhost"
            return [places.pop(0)]

        target = Target(server.url.replace("127.0.0.1", "localhost"), "retrain", "loop", "canary-password")
        allow = parse_allowed([target.url.removeprefix("http://")])
        retrain.deliveries._receiver = Receiver(target.url, None, allow, moving, server=target)
        assert await retrain.step_parallel() == []
        [attempt] = retrain.attempts()
        assert (attempt.outcome, attempt.status) == ("retry", None)
        assert attempt.detail.startswith("not sent: localhost resolves to 169.254.169.254")
        assert [path for _, path, _, _ in server.requests] == ["/auth/token"]
        assert not airflow.runs
        assert retrain.entries()[-1].event is Event.PREPARED

    live(tmp_path, act)


def test_a_redirect_is_not_followed_with_a_token(tmp_path: Path) -> None:
    """Wherever it leads, nothing is asked there."""

    async def act(retrain: OpenRetrain, server: Server, airflow: Airflow) -> None:
        airflow.faults = [web.Response(status=307, headers={"Location": "/elsewhere"})]
        assert await retrain.step_parallel() == []
        assert retrain.attempts()[0].detail == "a redirect, which is not followed"
        assert [path for _, path, _, _ in server.requests] == ["/auth/token", "/api/v2/dags/retrain/dagRuns"]

    live(tmp_path, act)
