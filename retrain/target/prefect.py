"""Prefect 3 by its REST API, idempotent by its idempotency key, which is the decision's id. Pure.

The flow gets one parameter, `request`, with the same request document as a webhook. A run is found again by its key,
so nothing of the server's answer has to be stored. 409 is not a repeat here: it says that the flow's parameters do not
fit.

https://docs.prefect.io/v3/api-ref/rest-api/server
"""

import json
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from retrain.schedule import DeliveryResult
from retrain.target.exchange import (
    JSON_HEADERS,
    Call,
    Delivery,
    Reply,
    RunPoll,
    RunState,
    RunStatus,
    delivery_result,
    encode,
    json_of,
    parse_state,
)

__all__ = ["Prefect", "state_of"]

OK, CONFLICT = 200, 409
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EXAMPLE_ID = "00000000-0000-4000-8000-000000000000"
DEPLOYMENT_BYTES_MAX = 1_024 * 1_024
"""The documents of a deployment and of a run hold the parameters' schema, and the parameters."""

_STATES: Mapping[str, RunStatus] = {
    "SCHEDULED": "accepted",
    "PENDING": "accepted",
    "PAUSED": "accepted",
    "RUNNING": "running",
    "CANCELLING": "running",
    "COMPLETED": "succeeded",
    "FAILED": "failed",
    "CRASHED": "failed",
    "CANCELLED": "failed",
}


@dataclass(frozen=True, slots=True)
class Prefect:
    """A deployment.

    Attributes:
        url: of the API, without a slash at its end.
        deployment: `FLOW/DEPLOYMENT`, or an id.
        api_key: sent as a bearer token; empty for none.
    """

    url: str = field(repr=False)
    deployment: str
    api_key: str = field(repr=False)

    def deliver(self, decision: str, body: bytes, at_s: int) -> Delivery:  # noqa: ARG002 - part of the protocol
        """Start the flow run, unless it exists already."""
        id_ = yield from self._find()
        if isinstance(id_, DeliveryResult):
            return id_
        key = encode(decision)
        form = b'{"name":%s,"idempotency_key":%s,"tags":["truthloop"],"parameters":{"request":%s}}'
        url, usual = f"{self.url}/deployments/{id_}/create_flow_run", Reply(201, encode({"name": decision}))
        reply = yield Call("start the flow run", "POST", url, self._headers(), form % (key, key, body), usual)
        result = delivery_result(reply, self._missing)
        if reply.status == CONFLICT:
            return replace(result, detail="the flow does not take the parameter `request` as it is (409)")
        return replace(result, detail="the run was there already") if reply.status == OK else result

    def poll(self, decision: str) -> RunPoll:
        """Query the flow run with the decision's key."""
        wanted = encode({"flow_runs": {"idempotency_key": {"any_": [decision]}}, "limit": 1})
        usual = Reply(OK, encode([{"name": decision, "state_type": "RUNNING"}]))
        url = f"{self.url}/flow_runs/filter"
        reply = yield Call("query the run", "POST", url, self._headers(), wanted, usual, DEPLOYMENT_BYTES_MAX)
        if not reply.is_success:
            return RunState.unknown(reply)
        try:
            runs = json.loads(reply.body)
        except (ValueError, RecursionError):
            runs = None
        if not isinstance(runs, list):
            return RunState.unknown(reply, "the answer is not a list of flow runs")
        mine = [run for run in runs if isinstance(run, dict) and run.get("idempotency_key", decision) == decision]
        return state_of(mine[0]) if mine else RunState.unknown(reply, "there is no flow run of this key")

    @property
    def _missing(self) -> str:
        return f"there is no deployment {self.deployment} (404)"

    def _find(self) -> Generator[Call, Reply, str | DeliveryResult]:
        if _UUID.fullmatch(self.deployment):
            return self.deployment
        name = "/".join(quote(part, safe="") for part in self.deployment.split("/"))
        usual = Reply(OK, encode({"id": _EXAMPLE_ID}))
        url = f"{self.url}/deployments/name/{name}"
        reply = yield Call("look up the deployment's id", "GET", url, self._headers(), b"", usual, DEPLOYMENT_BYTES_MAX)
        id_ = json_of(reply).get("id")
        if reply.is_success and isinstance(id_, str) and _UUID.fullmatch(id_):
            return id_
        if reply.is_success:
            return DeliveryResult(None, None, "the answer about the deployment holds no id")
        return delivery_result(reply, self._missing)

    def _headers(self) -> dict[str, str]:
        return {**JSON_HEADERS, **({"Authorization": f"Bearer {self.api_key}"} if self.api_key else {})}


def state_of(run: Mapping[str, Any]) -> RunState:
    """Return the state of a flow run from a document of `POST flow_runs/filter`."""
    return parse_state(run.get("state_type"), _STATES, "Prefect", "flow run")
