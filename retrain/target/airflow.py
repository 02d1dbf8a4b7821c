"""Airflow 3 by its public REST API: the decision's id is the DAG run's, so Airflow itself takes it once. Pure.

The conf of the run is the request document, the same one that a webhook gets. 409 says that a run of this id may be
there already, in the words of a unique constraint; the run is looked up before that is believed. A DAG that is paused
takes runs and leaves them queued: this is told, and it counts as delivered, because it runs once somebody unpauses it.

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
    Look,
    Reply,
    RunState,
    RunStatus,
    encode,
    json_of,
    judged,
    named_state,
)

__all__ = ["Airflow", "state_of"]

MISSING, CONFLICT = 404, 409
PAUSED = "the DAG is paused: its run stays queued until somebody unpauses it"

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
        dag_id: of the DAG.
        user: who asks for a token; empty where `credential` is one.
        credential: the user's password, or a token.
    """

    url: str = field(repr=False)
    dag_id: str
    user: str
    credential: str = field(repr=False)

    def deliver(self, decision: str, body: bytes, at_s: int) -> Delivery:  # noqa: ARG002 - of the protocol
        """Start the run; where it is there already, nothing is started."""
        token = yield from self._log_in()
        if isinstance(token, Reply):
            return self._refused(token)
        conf = b'{"dag_run_id":%s,"logical_date":null,"conf":%s}' % (encode(decision), body)
        url, usual = f"{self._dag}/dagRuns", Reply(200, encode({"dag_run_id": decision, "state": "queued"}))
        reply: Reply = yield Call("start the run", "POST", url, self._headers(token), conf, usual)
        result = judged(reply, f"there is no DAG {self.dag_id} (404)")
        if reply.status == CONFLICT:
            found = yield self._run(decision, token)
            if not found.is_success:
                is_there = "there is no run of this id" if found.status == MISSING else "the run could not be looked up"
                return replace(result, detail=f"answered 409, and {is_there}")
            result = DeliveryResult(CONFLICT, None, "the run was there already", "delivered")
        if result.verdict == "delivered":
            seen = yield Call("see whether the DAG is paused", "GET", self._dag, self._headers(token))
            if json_of(seen).get("is_paused") is True:
                result = replace(result, detail="; ".join(filter(None, (result.detail, PAUSED))))
        return result

    def look(self, decision: str) -> Look:
        """Ask for the run of the decision."""
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
        return Call(
            "see how the run gets on", "GET", f"{self._dag}/dagRuns/{decision}", self._headers(token), b"", usual
        )

    def _headers(self, token: str) -> dict[str, str]:
        return {**JSON_HEADERS, "Authorization": f"Bearer {token}"}

    def _log_in(self) -> Generator[Call, Reply, str | Reply]:
        """Return a token, or the reply that gave none. Each attempt has a token of its own: none can have expired."""
        if not self.user:
            return self.credential
        body = encode({"username": self.user, "password": self.credential})
        usual = Reply(201, encode({"access_token": "***"}))
        reply = yield Call("ask for a token", "POST", f"{self.url}/auth/token", JSON_HEADERS, body, usual)
        token = json_of(reply).get("access_token")
        return (
            token if reply.is_success and isinstance(token, str) and token.isascii() and token.isprintable() else reply
        )

    def _refused(self, reply: Reply) -> DeliveryResult:
        if reply.is_success:
            return DeliveryResult(None, None, "the answer to /auth/token holds no token")
        result = judged(reply, "there is no /auth/token (404): is `url` that of an Airflow 3 API server?")
        return replace(result, detail=f"no token: {result.detail}")


def state_of(run: Mapping[str, Any]) -> RunState:
    """Return how far a DAG run has come.

    Args:
        run: the document of `GET dagRuns/ID`.
    """
    return named_state(run.get("state"), _STATES, "Airflow", "DAG run")
