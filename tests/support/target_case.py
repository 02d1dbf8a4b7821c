"""An open retrain to deliver, a scripted server, and exchanges that are driven by hand."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp import web
from gate_case import DRIFT, ID, START_MS, entry
from lake_builder import LakeBuilder

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.log_entries import EntryOrigin
from retrain.schedule import Attempt
from retrain.target.exchange import Call, Reply
from schemas.config.retrain import RetrainConfig
from schemas.events.evidence import Decision, Event, GateState
from schemas.events.retrain_request import RequestedDataset, RetrainData, RetrainFinding, RetrainRequest
from truthloop.config.settings import Settings
from truthloop.feedback.deliveries import Deliveries
from truthloop.feedback.endpoints import receiver_of

__all__ = ["BODY", "REQUEST", "OpenRetrain", "Server", "drive", "json_reply"]

_Outcome = TypeVar("_Outcome")

REQUEST = RetrainRequest.of(
    RetrainData(
        loop="flights",
        decision=ID,
        kind="late",
        trigger=[RetrainFinding(kind="error_drift", place="error", subject="late", text="errors rose")],
        evidence_at=START_MS,
        dataset=RequestedDataset(
            uri="file:///sets/rt",
            manifest_uri="file:///sets/rt/manifest.json",
            manifest_sha256="0" * 64,
            rows=7,
            as_of=START_MS,
        ),
        current_version="v1",
    ),
    START_MS,
)
BODY = REQUEST.body()


def json_reply(status: int, document: object = None, **other: Any) -> Reply:
    """Return an answer in JSON."""
    return Reply(status, b"" if document is None else json.dumps(document).encode(), **other)


def drive(exchange: Generator[Call, Reply, _Outcome], replies: Iterable[Reply]) -> tuple[list[Call], _Outcome]:
    """Reply to an exchange call by call; return its calls and its result. All replies must be used."""
    calls, left = [], list(replies)
    try:
        calls.append(next(exchange))
        while True:
            calls.append(exchange.send(left.pop(0)))
    except StopIteration as ended:
        assert not left
        outcome: _Outcome = ended.value
        return calls, outcome


@dataclass
class Server:
    """An aiohttp server on this machine that answers by a script and records requests.

    Attributes:
        script: request and its body -> answer.
        requests: method, path with query, headers and body of each, in order.
    """

    script: Callable[[web.Request, bytes], Coroutine[Any, Any, web.StreamResponse]]
    requests: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=2**20)
        application.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.path_qs, dict(request.headers), body))
        return await self.script(request, body)


class OpenRetrain:
    """A loop with its own lake, and a retrain whose data set is written and which is not requested yet.

    Args:
        target: the section `retrain.target`.
        environ: environment with the secrets.
        written: URI and digest of the data set, as in the entry `prepared`.
        decision: id of the retrain.
    """

    def __init__(
        self,
        folder: Path,
        target: dict[str, Any],
        environ: Mapping[str, str],
        written: Mapping[str, str | int] | None = None,
        decision: str = ID,
    ) -> None:
        builder = LakeBuilder(folder / "lake")
        retrain = RetrainConfig.model_validate({"target": target})
        config = builder.config.model_copy(update={"retrain": retrain})
        self.settings = Settings(config, folder / "truthloop.yaml", folder / "lake", folder / "state", folder / "sets")
        self.receiver = receiver_of(self.settings, environ)
        self.now_ms = START_MS
        lake = Lake.open(folder / "lake")
        self._log = DecisionLog(lake, "fraud")
        detail = dict(
            written or {"dataset": "file:///d", "manifest": "file:///d/m", "manifest_sha256": "0" * 64, "rows": 7}
        )
        own: dict[str, Any] = {"loop": config.loop, "kind": "fraud", "decision": decision}
        begin = entry(0, Event.EVALUATED, GateState.PREPARING, findings=[DRIFT], version="v1", **own)
        assert self._log.append([begin, entry(1, Event.PREPARED, GateState.REQUESTED, detail=detail, **own)], START_MS)
        assert self.receiver is not None
        origins = [EntryOrigin(config.loop, "fraud", retrain)]
        self.deliveries = Deliveries(lake, origins, self.receiver, lambda: self.now_ms)

    def step(self, after_ms: int = 0) -> list[Decision]:
        """Deliver and poll what is due after some time has passed."""
        self.now_ms += after_ms
        return asyncio.run(self.deliveries.send_due())

    async def step_parallel(self, after_ms: int = 0) -> list[Decision]:
        """Do the same while a server runs in the same event loop."""
        self.now_ms += after_ms
        return await self.deliveries.send_due()

    def entries(self) -> list[Decision]:
        """Return the gate's log."""
        return self._log.entries()

    def attempts(self) -> list[Attempt]:
        """Return the recorded attempts."""
        return self.deliveries._log.attempts({one.decision for one in self.entries() if one.decision})
