"""GitHub Actions by its documented API: a server that takes only what the recorded contract allows, and the example.

The contract in `tests/contracts/github` has the shapes of the public REST documentation; GitHub itself is not asked.
"""

import asyncio
import copy
import json
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from gate_case import ID
from jsonschema import Draft202012Validator
from target_case import OpenRetrain, Server

from retrain.poll import POLL_MS
from retrain.schedule import THROTTLED_MS
from schemas.events.evidence import Event, GateState
from schemas.events.retrain_request import RetrainRequest

ROOT = Path(__file__).parents[2]
DISPATCH, LIST = (
    json.loads((ROOT / "tests" / "contracts" / "github" / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("create_workflow_dispatch", "list_workflow_runs")
)
WORKFLOW = yaml.safe_load((ROOT / "examples" / "github" / "retrain.yml").read_text(encoding="utf-8"))
TRIGGER = WORKFLOW[True]["workflow_dispatch"]  # YAML 1.1 reads `on` as true
ENVIRON = {"TRUTHLOOP_GITHUB_TOKEN": "ghp_canary"}
LATE_MS = 60_000


class Github:
    """GitHub, with one repository that has the example workflow.

    Attributes:
        runs: as the API lists them, the newest first.
        breaches: what was against the contract.
        listed_late: runs that were started and are not listed yet; None: all are at once.
        loses_answers: whether a start is answered by nothing.
    """

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.breaches: list[str] = []
        self.listed_late: list[dict[str, Any]] | None = None
        self.loses_answers = False
        self.ref = "main"

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """Answer as the contract says."""
        contract = DISPATCH if request.method == "POST" else LIST
        place = re.match(contract["path"], request.path)
        self._check(contract, request, body)
        if request.headers.get("Authorization") != "Bearer ghp_canary":
            return _said(contract, "401")
        if place is None or place.groups() != ("acme/models", "retrain.yml"):
            return _said(contract, "404")
        return self._listed(request) if contract is LIST else self._dispatched(request, json.loads(body))

    def _check(self, contract: dict[str, Any], request: web.Request, body: bytes) -> None:
        for name, pattern in contract["headers"].items():
            if not re.search(pattern, request.headers.get(name, "")):
                self.breaches.append(f"header {name}: {request.headers.get(name)!r}")
        self.breaches += [f"query {name}" for name in request.query if name not in contract["query"]]
        if contract["body"] is None:
            self.breaches += ["a body"] if body else []
        else:
            errors = Draft202012Validator(contract["body"]).iter_errors(json.loads(body))
            self.breaches += [error.message for error in errors]

    def _listed(self, request: web.Request) -> web.StreamResponse:
        size = int(request.query.get("per_page", 30))
        if size > LIST["per_page_max"]:
            self.breaches.append(f"per_page {size}")
        runs = [run for run in self.runs if run["event"] == request.query.get("event", run["event"])][:size]
        return web.json_response({"total_count": len(runs), "workflow_runs": runs})

    def _dispatched(self, request: web.Request, document: dict[str, Any]) -> web.StreamResponse:
        inputs = document.get("inputs", {})
        if sum(map(len, inputs.values())) > DISPATCH["inputs_characters_max"]:
            self.breaches.append("too many characters")
        if document["ref"] != self.ref:
            return _said(DISPATCH, "422 ref")
        if set(inputs) - set(TRIGGER["inputs"]):
            return _said(DISPATCH, "422 unexpected")
        if {name for name, one in TRIGGER["inputs"].items() if one["required"]} - set(inputs):
            return _said(DISPATCH, "422 required")
        run = copy.deepcopy(LIST["answers"]["200"]["workflow_runs"][0])
        run["display_title"] = WORKFLOW["run-name"].replace("${{ inputs.decision }}", inputs["decision"])
        (self.runs if self.listed_late is None else self.listed_late).insert(0, run | {"inputs": inputs})
        if self.loses_answers:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=204)


def _said(contract: dict[str, Any], answer: str) -> web.StreamResponse:
    return web.json_response(contract["answers"][answer], status=int(answer[:3]))


Act = Callable[[OpenRetrain, Github], Coroutine[Any, Any, None]]


def live(folder: Path, act: Act, environ: dict[str, str] = ENVIRON, **target: Any) -> Github:
    """Run a story with a GitHub and an open retrain; nothing in it may be against the contract."""
    github = Github()

    async def story() -> None:
        async with Server(github.answer) as server:
            config = {"kind": "github", "url": server.url, "allow": [server.url.removeprefix("http://")]}
            config |= {"repository": "acme/models", "workflow": "retrain.yml"}
            await act(OpenRetrain(folder, config | target, environ), github)

    asyncio.run(story())
    assert github.breaches == []
    return github


def test_the_example_workflow_fits_the_contract() -> None:
    """Its inputs are those that are sent, its name holds the decision, and no input is text of a script."""
    assert set(TRIGGER["inputs"]) == {"decision", "request"}
    assert "${{ inputs.decision }}" in WORKFLOW["run-name"]
    assert "${{ inputs.decision }}" in WORKFLOW["concurrency"]["group"]
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is False
    assert not any("${{" in step.get("run", "") for job in WORKFLOW["jobs"].values() for step in job["steps"])


def test_a_run_is_started_once_asked_for_and_ends_the_retrain(tmp_path: Path) -> None:
    """With the whole request in its inputs."""

    async def act(retrain: OpenRetrain, github: Github) -> None:
        delivered, accepted = await retrain.step_parallel()
        assert (delivered.event, accepted.event) == (Event.DELIVERED, Event.ACCEPTED)
        [run] = github.runs
        request = RetrainRequest.model_validate_json(run["inputs"]["request"])
        assert (request.id, request.data.dataset.rows, run["inputs"]["decision"]) == (ID, 7, ID)
        run["status"] = "in_progress"
        [running] = await retrain.step_parallel(POLL_MS)
        assert running.reason == "the pipeline says: running"
        run |= {"status": "completed", "conclusion": "success"}
        [succeeded] = await retrain.step_parallel(POLL_MS)
        assert (succeeded.event, succeeded.state) == (Event.SUCCEEDED, GateState.COOLING)

    assert len(live(tmp_path, act).runs) == 1


@pytest.mark.parametrize("conclusion", sorted(set(LIST["conclusions"]) - {"success"}))
def test_every_other_conclusion_is_a_failure(tmp_path: Path, conclusion: str) -> None:
    """No model came of it."""

    async def act(retrain: OpenRetrain, github: Github) -> None:
        await retrain.step_parallel()
        github.runs[0] |= {"status": "completed", "conclusion": conclusion}
        [failed] = await retrain.step_parallel(POLL_MS)
        assert (failed.event, failed.state) == (Event.FAILED, GateState.COOLING)
        assert f"GitHub calls the run {conclusion}" in failed.reason

    live(tmp_path, act)


def test_an_answer_that_was_lost_does_not_start_a_second_run(tmp_path: Path) -> None:
    """Not even where the run is listed only later: the next look is a minute after."""

    async def act(retrain: OpenRetrain, github: Github) -> None:
        github.loses_answers, github.listed_late = True, []
        assert await retrain.step_parallel() == []
        assert len(github.listed_late) == 1
        assert await retrain.step_parallel(LATE_MS - 1) == []  # nothing is tried while GitHub may not list it yet
        assert len(retrain.attempts()) == 1
        github.runs = github.listed_late
        delivered, accepted = await retrain.step_parallel(1)
        assert delivered.reason.endswith("the run was there already")
        assert accepted.event is Event.ACCEPTED

    assert LATE_MS >= THROTTLED_MS
    assert len(live(tmp_path, act).runs) == 1


def test_a_run_that_is_not_listed_yet_is_asked_for_later(tmp_path: Path) -> None:
    """It is not lost, and not failed."""

    async def act(retrain: OpenRetrain, github: Github) -> None:
        github.listed_late = []
        [delivered] = await retrain.step_parallel()
        assert delivered.event is Event.DELIVERED
        github.runs = github.listed_late
        [accepted] = await retrain.step_parallel(2 * POLL_MS)
        assert accepted.event is Event.ACCEPTED

    live(tmp_path, act)


@pytest.mark.parametrize(
    ("target", "environ", "outcome", "words"),
    [
        ({"workflow": "other.yml"}, ENVIRON, "gone", "there is no workflow other.yml in acme/models"),
        ({"repository": "acme/secret"}, ENVIRON, "gone", "or the token may not see it"),
        ({"ref": "gone"}, ENVIRON, "retry", "not accepted as it is (422)"),
        ({}, {"TRUTHLOOP_GITHUB_TOKEN": "ghp_old"}, "retry", "credentials are not accepted (401)"),
    ],
)
def test_what_cannot_run_is_named(
    tmp_path: Path, target: dict[str, Any], environ: dict[str, str], outcome: str, words: str
) -> None:
    """404 ends the retrain; what an owner can put right in three days comes again."""

    async def act(retrain: OpenRetrain, _github: Github) -> None:
        entries = await retrain.step_parallel()
        [attempt] = retrain.attempts()
        assert attempt.outcome == outcome
        assert words in attempt.detail
        assert [one.event for one in entries] == ([Event.UNDELIVERABLE] if outcome == "gone" else [])

    assert live(tmp_path, act, environ, **target).runs == []
