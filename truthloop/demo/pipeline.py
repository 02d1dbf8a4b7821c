"""The company's retraining pipeline: receives signed requests, verifies the data set, trains the next model.

It uses nothing of Truthloop's but the request: the signature is verified with the library of Standard Webhooks, the
data set is read as Parquet and must have the digest that was signed.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import polars as pl
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from schemas.errors import TruthloopError
from truthloop.demo.features import FEATURES
from truthloop.demo.model import LateModel, fit

__all__ = ["Pipeline", "Trained"]

log = logging.getLogger("airline")

BODY_BYTES_MAX = 65_536
_PREFIX = "feature_"


@dataclass(frozen=True)
class Trained:
    """A model that was trained for a request.

    Attributes:
        decision: id of the request.
        holdout_log_loss: on the holdout part of the data set; None if that part is empty.
    """

    decision: str
    model: LateModel
    holdout_log_loss: float | None


class Pipeline:
    """An HTTP server on loopback that trains a model for each request, one after the other. A context manager.

    Args:
        port: 0: a free one.
        secret: shared with the loop, `whsec_...`.
    """

    def __init__(self, port: int, secret: str) -> None:
        self._requests: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._trained: SimpleQueue[Trained] = SimpleQueue()
        self._seen: set[str] = set()
        self._busy = Event()
        self._count = 1
        handler = type("Handler", (_Handler,), {"webhook": Webhook(secret), "take": staticmethod(self._take)})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, name="pipeline", daemon=True).start()
        Thread(target=self._work, name="training", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being processed."""
        return self._busy.is_set()

    def next_trained(self) -> Trained | None:
        """Return the next trained model, if there is one."""
        try:
            return self._trained.get_nowait()
        except Empty:
            return None

    def _take(self, event: dict[str, Any]) -> None:
        """Queue a request once, however often it is sent."""
        if event["id"] not in self._seen:
            self._seen.add(event["id"])
            self._busy.set()
            self._requests.put(event)

    def _work(self) -> None:
        while True:
            event = self._requests.get()
            try:
                self._trained.put(self._train(event))
            except (TruthloopError, OSError, ValueError, KeyError) as error:
                log.error("request %s failed: %s", event.get("id"), error)  # noqa: TRY400 - the message is enough
            if self._requests.empty():
                self._busy.clear()

    def _train(self, event: dict[str, Any]) -> Trained:
        dataset = event["data"]["dataset"]
        folder = _checked(Path(unquote(urlsplit(dataset["manifest_uri"]).path)), dataset["manifest_sha256"])
        rows, holdout = _rows(folder / "train.parquet"), _rows(folder / "holdout.parquet")
        self._count += 1
        model = fit(rows, version=f"v{self._count}")
        log.info("%s: %s is trained on %d rows", event["id"], model.version, rows.height)
        return Trained(event["id"], model, model.log_loss(holdout) if holdout.height else None)


def _checked(manifest: Path, sha256: str) -> Path:
    """Return the data set's folder; its manifest must have the signed digest, and its files those of the manifest."""
    content = manifest.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("the manifest is not the signed one")
    for name, file in json.loads(content)["files"].items():
        with (manifest.parent / name).open("rb") as source:
            if hashlib.file_digest(source, "sha256").hexdigest() != file["sha256"]:
                raise ValueError(f"{name} is not the file in the manifest")
    return manifest.parent


def _rows(path: Path) -> pl.DataFrame:
    """Return a part of the data set as training rows: `FEATURES` and `late`."""
    rows = pl.read_parquet(path)
    return rows.select(*(pl.col(f"{_PREFIX}{name}").alias(name) for name in FEATURES), late=pl.col("value") == 1)


class _Handler(BaseHTTPRequestHandler):
    webhook: Webhook
    take: Callable[[dict[str, Any]], None]
    timeout = 20

    def do_POST(self) -> None:
        """Answer 200 to a signed request, whether it is new or a repeat."""
        size = self.headers.get("content-length", "")
        if not size.isdecimal() or int(size) > BODY_BYTES_MAX:
            self._answer(413)
            return
        body = self.rfile.read(int(size))
        try:
            event = self.webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):
            self._answer(401)
            return
        self.take(event)
        self._answer(200)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
        """Log requests at debug level only."""
        log.debug(format, *args)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()
