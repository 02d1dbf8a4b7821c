"""Airflow 3 by its public REST API, idempotent by the DAG run's id, which is the decision's. Pure.

The run's conf is the request document, the same as for a webhook. 409 comes from a unique constraint and says that a
run of this id may exist; the run is looked up to make sure. A paused DAG accepts runs and leaves them queued: that
counts as delivered, because the run starts when the DAG is unpaused, and the detail says so.

https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

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

__all__ = ["Airflow", "state_of"]

MISSING, CONFLICT = 404, 409
PAUSED = "the DAG is paused: its run stays queued until it is unpaused"

_STATES: Mapping[str, RunStatus] = {
    "queued": "accepted",
    "running": "running",
    "success": "succeeded",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Airflow:
    """A DAG.

    Attributes:
        url: of the API server, without a slash at its end.
        user: to log in as; empty if `credential` is a token.
        credential: the user's password, or a token.
    """

    url: str = field(repr=False)
    dag_id: str
    user: str
    credential: str = field(repr=False)

    def deliver(self, decision: str, body: bytes, at_s: int) -> Delivery:  # noqa: ARG002 - part of the protocol
        """Start the run, unless it exists already."""
        token = yield from self._log_in()
        if isinstance(token, Reply):
            return self._refused(token)
        conf = b'{"dag_run_id":%s,"logical_date":null,"conf":%s}' % (encode(decision), body)
        url, usual = f"{self._dag}/dagRuns", Reply(200, encode({"dag_run_id": decision, "state": "queued"}))
        reply: Reply = yield Call("start the run", "POST", url, self._headers(token), conf, usual)
        result = delivery_result(reply, f"there is no DAG {self.dag_id} (404)")
        if reply.status == CONFLICT:
            found = yield self._run(decision, token)
            if not found.is_success:
                why = "there is no run of this id" if found.status == MISSING else "the run could not be looked up"
                return replace(result, detail=f"answered 409, and {why}")
            result = DeliveryResult(CONFLICT, None, "the run was there already", "delivered")
        if result.verdict == "delivered":
            seen = yield Call("check whether the DAG is paused", "GET", self._dag, self._headers(token))
            if json_of(seen).get("is_paused") is True:
                result = replace(result, detail="; ".join(filter(None, (result.detail, PAUSED))))
        return result

    def poll(self, decision: str) -> RunPoll:
        """Query the run of the decision."""
        token = yield from self._log_in()
        if isinstance(token, Reply):
            return RunState.unknown(token, self._refused(token).detail)
        reply = yield self._run(decision, token)
        return state_of(json_of(reply)) if reply.is_success else RunState.unknown(reply)

    @property
    def _dag(self) -> str:
        return f"{self.url}/api/v2/dags/{quote(self.dag_id, safe='')}"

    def _run(self, decision: str, token: str) -> Call:
        usual = Reply(200, encode({"dag_run_id": decision, "state": "running"}))
        return Call("query the run", "GET", f"{self._dag}/dagRuns/{decision}", self._headers(token), b"", usual)

    def _headers(self, token: str) -> dict[str, str]:
        return {**JSON_HEADERS, "Authorization": f"Bearer {token}"}

    def _log_in(self) -> Generator[Call, Reply, str | Reply]:
        """Return a token, or the reply without one. Each attempt gets a new token, so that none can have expired."""
        if not self.user:
            return self.credential
        body = encode({"username": self.user, "password": self.credential})
        usual = Reply(201, encode({"access_token": "***"}))
        reply = yield Call("log in for a token", "POST", f"{self.url}/auth/token", JSON_HEADERS, body, usual)
        token = json_of(reply).get("access_token")
        return (
            token if reply.is_success and isinstance(token, str) and token.isascii() and token.isprintable() else reply
        )

    def _refused(self, reply: Reply) -> DeliveryResult:
        if reply.is_success:
            return DeliveryResult(None, None, "the answer to /auth/token holds no token")
        result = delivery_result(reply, "there is no /auth/token (404): is `url` that of an Airflow 3 API server?")
        return replace(result, detail=f"no token: {result.detail}")


def state_of(run: Mapping[str, Any]) -> RunState:
    """Return the state of a DAG run from the document of `GET dagRuns/ID`."""
    return parse_state(run.get("state"), _STATES, "Airflow", "DAG run")
