"""Liveness, readiness and metrics of a role, and the HTTP server of /livez, /readyz and /metrics.

Liveness means progress: a role that has records to read and moves none is stalled, however busy it looks. No payload
of any record is served.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, NamedTuple, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from schemas.errors import ConfigError

__all__ = ["FEEDBACK_STALLED_AFTER_S", "PROBE_PATHS", "Health", "HealthServer", "ProbeAnswer"]

log = logging.getLogger("truthloop.health")

STALLED_AFTER_S = 60.0
"""An iteration takes at most a few seconds; librdkafka's own time-outs are 10 s."""

FEEDBACK_STALLED_AFTER_S = 1_800.0
"""One statement of the feedback role may read the whole lake: that which selects a data set."""

ACCEPT_PAUSE_S = 0.5
"""Between two attempts to accept a connection while the process has no descriptor left."""

PROBE_PATHS = ("/livez", "/readyz", "/metrics")
"""What every role answers, alike: over `HealthServer`, or over the page's server in the feedback role."""

BATCH_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ProbeAnswer(NamedTuple):
    """The HTTP answer to a probe or a scraper."""

    status: int
    body: bytes
    content_type: str


class Health:
    """Liveness, readiness and metrics of one role; thread-safe.

    Args:
        clock: a monotonic clock, in seconds.
        stalled_after_s: a role that gets nothing done for longer is stalled.

    Attributes:
        registry: Prometheus registry of the role's metrics.
        records: records taken in, by input.
        rejects: records that made no outcome or message, by reason.
        seconds: duration of batches, from reading to the commit.
    """

    def __init__(
        self,
        role: str,
        clock: Callable[[], float] = time.monotonic,
        stalled_after_s: float = STALLED_AFTER_S,
    ) -> None:
        self.role = role
        self.registry = CollectorRegistry()
        self.records = Counter("truthloop_records", "Records taken in", ["role", "input"], registry=self.registry)
        self.rejects = Counter(
            "truthloop_rejects", "Records that made no outcome", ["role", "reason"], registry=self.registry
        )
        self.seconds = Histogram(
            "truthloop_batch_seconds",
            "From reading a batch to its commit",
            ["role"],
            buckets=BATCH_BUCKETS_S,
            registry=self.registry,
        )
        self._lag = Gauge("truthloop_lag_records", "Records still to be read", ["role"], registry=self.registry)
        self._stopped = Gauge(
            "truthloop_stopped_partitions", "Partitions that wait for a repair", ["role"], registry=self.registry
        )
        self._away = Gauge(
            "truthloop_cluster_away", "Whether the role waits for the Kafka cluster", ["role"], registry=self.registry
        )
        self._away.labels(role)
        self._clock = clock
        self._stalled_after_s = stalled_after_s
        self._lock = Lock()
        self._moved_at = clock()
        self._unready = "it is starting"
        self._awaited = ""
        self._reasons: dict[int, str] = {}

    def report_progress(self, moved: int, lag: int) -> None:
        """Report one iteration: the number of records that it moved, and of those that are still to be read."""
        with self._lock:
            if moved or not lag:
                self._moved_at = self._clock()
        self._lag.labels(self.role).set(lag)

    def report_alive(self) -> None:
        """Report that the role waits for something outside, which its readiness names, or is amid something long.

        A restart would not help, so the role does not count as stalled.
        """
        with self._lock:
            self._moved_at = self._clock()

    @property
    def awaits_cluster(self) -> bool:
        """Whether the role waits for the Kafka cluster; see `await_cluster`."""
        with self._lock:
            return bool(self._awaited)

    def await_cluster(self, problem: str) -> None:
        """Report that the Kafka cluster is away; '' once it is there again.

        The role is unready meanwhile and, whatever its own thread is doing, alive: a restart would not help.
        """
        with self._lock:
            self._awaited = problem
            self._moved_at = self._clock()
        self._away.labels(self.role).set(bool(problem))

    def set_readiness(self, problem: str = "") -> None:
        """Mark the role ready, or unready because of a problem."""
        with self._lock:
            self._unready = problem

    def stop_partition(self, partition: int, reason: str) -> None:
        """Mark a partition stopped until somebody repairs what the reason names."""
        with self._lock:
            self._reasons[partition] = reason
            self._stopped.labels(self.role).set(len(self._reasons))

    def release_partition(self, partition: int) -> None:
        """Mark a partition no longer stopped: it works, or is another worker's."""
        with self._lock:
            self._reasons.pop(partition, None)
            self._stopped.labels(self.role).set(len(self._reasons))

    def stalled(self) -> str:
        """Return why the role is not alive; empty while it is."""
        with self._lock:
            silent_s = 0.0 if self._awaited else self._clock() - self._moved_at
        return f"no progress for {silent_s:.0f} s although there is work" if silent_s > self._stalled_after_s else ""

    def unready(self) -> str:
        """Return why the role is not ready; empty when it is."""
        with self._lock:
            stopped = [f"partition {number} is stopped: {why}" for number, why in sorted(self._reasons.items())]
            return self._awaited or self._unready or "; ".join(stopped)

    def answer(self, path: str, unready: str = "") -> ProbeAnswer:
        """Return the answer to a GET of one of `PROBE_PATHS`; 503 with the reason if the role is not well.

        Args:
            unready: why the server that answers is not ready, although the role is.
        """
        if path == "/metrics":
            return ProbeAnswer(200, generate_latest(self.registry), "text/plain; version=0.0.4; charset=utf-8")
        reason = self.stalled() if path == "/livez" else self.unready() or unready
        document = {"role": self.role, "status": "no" if reason else "ok", "reason": reason}
        return ProbeAnswer(503 if reason else 200, json.dumps(document).encode() + b"\n", "application/json")


class HealthServer:
    """HTTP server of one role's health, on one port, in threads of its own; a context manager.

    Raises:
        ConfigError: the server cannot listen on the port.
    """

    def __init__(self, health: Health, bind: str, port: int) -> None:
        handler = type("Handler", (_HealthHandler,), {"health": health})
        try:
            self._server = _ProbeServer((bind, port), handler)
        except OSError as error:
            raise ConfigError(
                f"cannot listen: {error.strerror}",
                where=f"{bind}:{port}",
                hint="Another process has the port; choose others with http.port.",
            ) from None
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, name="http", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _ProbeServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._pause = Event()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; without descriptors for it, wait a moment: the next attempt would follow at once."""
        try:
            return super().get_request()
        except OSError as error:
            log.warning("a connection was not accepted: %s", error.strerror or error)
            self._pause.wait(ACCEPT_PAUSE_S)
            raise

    def handle_error(self, _request: Any, _address: Any) -> None:  # noqa: ANN401 - the signature of socketserver
        """Note that an answer was not sent, mostly because the client has hung up."""
        log.info("an answer was not sent: %s", type(sys.exception()).__name__)


class _HealthHandler(BaseHTTPRequestHandler):
    health: Health
    timeout = 10
    server_version = "truthloop"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a request."""
        if self.path in PROBE_PATHS:
            self._send(self.health.answer(self.path))
        else:
            self._send(ProbeAnswer(404, f"{', '.join(PROBE_PATHS)}\n".encode(), "text/plain"))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the signature of http.server
        """Keep requests out of the log."""
        log.debug(format, *args)

    def _send(self, answer: ProbeAnswer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(answer.body)
