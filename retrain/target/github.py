"""GitHub Actions by workflow_dispatch, idempotent by the run's name: runs are listed before one is started. Pure.

Why not repository_dispatch: it answers 204 whether a workflow listens or not, so a wrong name goes unnoticed.
workflow_dispatch names one file, refuses what cannot run (404, 422), and its runs can be found again: the workflow's
`run-name` holds the input `decision`, which the API returns as `display_title`.

GitHub has no idempotency key. A run takes some seconds to be listed, so after an attempt without an answer the next one
waits, and the workflow's `concurrency` group, named by the decision, prevents two runs from training at once.

Inputs have at most 65,535 characters together, and older servers take at most 10 (newer ones 25). Two are used:
`decision`, and `request` with the whole request document as text (at most 20,000 bytes).

https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from retrain.schedule import DeliveryResult
from retrain.target.exchange import (
    Call,
    Delivery,
    Reply,
    RunPoll,
    RunState,
    RunStatus,
    delivery_result,
    encode,
    json_of,
)

__all__ = ["API_VERSION", "Github", "run_of", "state_of"]

API_VERSION = "2022-11-28"
"""In this version a dispatch answers 204; GitHub Enterprise servers support it, too."""

RUNS_PER_PAGE = 50
"""The newest runs of one workflow. A loop requests a few retrains a month, so a run of the last days is among them."""

RUNS_BYTES_MAX = 4 * 1_024 * 1_024
"""Each run repeats its repository twice: 20 kB and more."""

LISTED_LATE_MS = 60_000
"""Least wait after an attempt without an answer, whose run may not be listed yet."""

_UNDER_WAY: Mapping[str, RunStatus] = {
    "queued": "accepted",
    "requested": "accepted",
    "waiting": "accepted",
    "pending": "accepted",
    "in_progress": "running",
}


@dataclass(frozen=True, slots=True)
class Github:
    """A workflow.

    Attributes:
        url: of the REST API, without a slash at its end.
        repository: `OWNER/NAME`.
        workflow: name of its file.
        ref: branch or tag.
        token: with write permission for the repository's Actions.
    """

    url: str = field(repr=False)
    repository: str
    workflow: str
    ref: str
    token: str = field(repr=False)

    def deliver(self, decision: str, body: bytes, at_s: int) -> Delivery:  # noqa: ARG002 - part of the protocol
        """Start a run, unless one of this decision is listed."""
        missing = f"there is no workflow {self.workflow} in {self.repository}, or the token may not see it (404)"
        listed = yield self._list("check whether the run exists already", Reply(200, encode({"workflow_runs": []})))
        runs = json_of(listed).get("workflow_runs")
        if not listed.is_success:
            return delivery_result(listed, missing)
        if not isinstance(runs, list):
            return DeliveryResult(None, None, "the answer is not a list of runs")
        if run_of(runs, decision) is not None:
            return DeliveryResult(listed.status, None, "the run was there already", "delivered")
        inputs = {"decision": decision, "request": body.decode()}
        url, content = f"{self._workflow}/dispatches", encode({"ref": self.ref, "inputs": inputs})
        reply = yield Call("start the run", "POST", url, self._headers(), content, Reply(204))
        result = delivery_result(reply, missing)
        if reply.status is None or reply.status >= 500:  # noqa: PLR2004 - a server error, after which the run may exist
            wait_ms = max(LISTED_LATE_MS, reply.retry_after_ms or 0)
            return replace(result, retry_after_ms=wait_ms)
        return result

    def poll(self, decision: str) -> RunPoll:
        """Query the run whose name holds the decision."""
        usual = Reply(200, encode({"workflow_runs": [{"display_title": decision, "status": "in_progress"}]}))
        reply = yield self._list("query the run", usual)
        if not reply.is_success:
            return RunState.unknown(reply)
        runs = json_of(reply).get("workflow_runs")
        run = run_of(runs, decision) if isinstance(runs, list) else None
        return state_of(run) if run is not None else RunState.unknown(reply, f"no run's name holds {decision}")

    @property
    def _workflow(self) -> str:
        return f"{self.url}/repos/{self.repository}/actions/workflows/{self.workflow}"

    def _list(self, purpose: str, usual: Reply) -> Call:
        query = f"event=workflow_dispatch&exclude_pull_requests=true&per_page={RUNS_PER_PAGE}"
        return Call(purpose, "GET", f"{self._workflow}/runs?{query}", self._headers(), b"", usual, RUNS_BYTES_MAX)

    def _headers(self) -> dict[str, str]:
        return {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": API_VERSION,
        }


def run_of(runs: list[Any], decision: str) -> Mapping[str, Any] | None:
    """Return the run whose name holds the decision, the oldest of several; None without one.

    Args:
        runs: `workflow_runs` of a page, the newest first.
        decision: its id.
    """
    mine = [run for run in runs if isinstance(run, dict) and decision in str(run.get("display_title") or "")]
    return mine[-1] if mine else None


def state_of(run: Mapping[str, Any]) -> RunState:
    """Return the state of a workflow run. Every conclusion but success is a failure: it produced no model."""
    state, conclusion = run.get("status"), run.get("conclusion")
    if state == "completed" and isinstance(conclusion, str):
        message = f"GitHub calls the run {conclusion:.40}"
        return RunState("succeeded" if conclusion == "success" else "failed", message)
    status = _UNDER_WAY.get(state) if isinstance(state, str) else None
    return RunState(detail="the answer holds no state of a run") if status is None else RunState(status)
