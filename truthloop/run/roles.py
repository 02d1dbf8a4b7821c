"""Runs one role as a process: its Kafka clients, state folder, health server, logging and signals.

The only module that knows every role; the roles themselves are in `streams`.
"""

import gc
import logging
import math
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from schemas.errors import ConfigError, TruthloopError
from streams.kafka.client import KafkaClients, check_limits
from streams.kafka.fencing import FencedError
from streams.runtime.cluster_watch import ClusterWatch
from streams.runtime.crash_point import crash_points
from streams.runtime.folder import make_state_folder
from streams.runtime.health import FEEDBACK_STALLED_AFTER_S, Health, HealthServer
from streams.runtime.worker import Worker
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.run.descriptor_limit import raise_descriptor_limit
from truthloop.run.logs import log_to_stderr

if TYPE_CHECKING:
    from schemas.config.loop import LoopConfig
    from streams.feedback.role import FeedbackRole
    from streams.ingest.role import IngestRole
    from streams.join_worker.role import JoinRole
    from streams.lake_sink.role import LakeRole

__all__ = [
    "ROLES",
    "SUPERVISOR_VARIABLE",
    "kafka_clients",
    "needed_roles",
    "role_port",
    "run_role",
    "stop_signal",
    "unasked_clients",
]

log = logging.getLogger("truthloop")

ROLES: Final = ("feedback", "ingest", "join", "lake")
"""In the order of their ports: the first one's is `http.port`, the page's."""

SLOTS_MAX = 256

GC_THRESHOLD = 200_000
"""New objects between two runs of Python's garbage collector; the default is 700."""

FENCED_AGAIN_S = 600.0
"""A worker that is fenced again within this time ends: another one has its slot."""

SUPERVISOR_VARIABLE = "TRUTHLOOP_SUPERVISOR"
"""Environment variable with the process id of the supervisor, for the roles that it starts."""


def kafka_clients(settings: Settings, name: str, environ: Mapping[str, str] = os.environ) -> KafkaClients:
    """Return the client factory for the loop's cluster, once the cluster has answered.

    Args:
        settings: the loop's.
        name: last part of the client id.
        environ: with the secrets of the cluster.

    Raises:
        ConfigError: the loop has no `kafka` section.
        BrokerError: the cluster does not answer.
    """
    clients = unasked_clients(settings, name, environ)
    clients.check_reachable()
    return clients


def unasked_clients(settings: Settings, name: str, environ: Mapping[str, str] = os.environ) -> KafkaClients:
    """Return the client factory for the loop's cluster, as `kafka_clients` does, but wait for no answer.

    Raises:
        ConfigError: the loop has no `kafka` section.
    """
    if settings.config.kafka is None:
        raise ConfigError(
            "has no `kafka` section, so there is no cluster to connect to",
            where=str(settings.path),
            hint="Add kafka: {bootstrap_servers: HOST:PORT}, or use `truthloop replay` for files.",
        )
    return KafkaClients(settings.config.kafka, environ, f"truthloop-{settings.config.loop}-{name}")


def needed_roles(settings: Settings) -> list[str]:
    """Return the roles that a loop needs, in the order of starting; ingest only if the config maps topics."""
    has_topics = any(source.topic for source in settings.config.ingest)
    return [role for role in (*ROLES[1:], ROLES[0]) if role != "ingest" or has_topics]


def role_port(settings: Settings, role: str) -> int:
    """Return the default port of a role's health server."""
    return settings.config.http.port + ROLES.index(role)


def run_role(settings: Settings, role: str, *, slot: str | None = None, port: int | None = None) -> int:
    """Run one role until SIGTERM or SIGINT; return the exit code. Whatever ends it is in the log.

    Args:
        settings: the loop's.
        role: one of `ROLES`.
        slot: this worker's, the same after a restart; default: see `_locked_slot`.
        port: of the health server; default: `role_port`.

    Raises:
        ConfigError: the environment names no format or level of the log.
    """
    log_to_stderr(role, settings.config.loop)
    try:
        _run_through_fencing(settings, role, slot, port)
    except TruthloopError as error:
        log.error("%s", error)  # noqa: TRY400 - the message has everything
        return error.exit_code
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException:  # also a panic of Rust code, which is no Exception
        log.exception("the role has ended by a fault of Truthloop's, please report it")
        return 1
    log.info("stopped")
    return 0


def _run_through_fencing(settings: Settings, role: str, slot: str | None, port: int | None) -> None:
    """Run one role, and once more, as after a restart of its process, where a request of its own can have fenced it.

    If another worker does have the slot, that one is fenced in turn; who is fenced again soon ends.
    """
    again_s = -math.inf
    while True:
        clients = unasked_clients(settings, role)
        try:
            _run(settings, role, clients, slot, port)
        except FencedError as error:
            now_s = time.monotonic()
            if not clients.has_lost_connection() or now_s - again_s < FENCED_AGAIN_S:
                raise
            again_s = now_s
            log.warning(
                "%s: %s. That was soon after a lost connection: this worker begins again", error.where, error.what
            )
        else:
            return


def _run(settings: Settings, role: str, clients: KafkaClients, slot: str | None, port: int | None) -> None:
    raise_descriptor_limit()
    if settings.config.kafka is not None:
        check_limits(settings.config.kafka)
    health = Health(role, stalled_after_s=FEEDBACK_STALLED_AFTER_S) if role == "feedback" else Health(role)
    port = role_port(settings, role) if port is None else port
    make_state_folder(settings.state)
    with ExitStack() as stack:
        if role != "feedback":  # its page's server answers the health requests
            port = stack.enter_context(HealthServer(health, settings.config.http.bind, port)).port
        slot = stack.enter_context(_locked_slot(settings.state, role, slot))
        should_stop = stack.enter_context(stop_signal())
        log.info("slot %s, listens on port %d", slot, port)
        crash = crash_points(role, os.environ)
        watch = stack.enter_context(ClusterWatch(clients.check_reachable, health))
        worker = Worker(slot, settings.state, settings.lake, health, now_ms, crash, wait_for_cluster=watch.wait)
        running = _role_factory(role, settings, port, should_stop)(clients, settings.config, worker)
        stack.enter_context(_rare_garbage_collection())
        if running is not None:
            running.run(should_stop)


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Run Python's garbage collector rarely: a role holds hundreds of thousands of records, which have no cycles.

    By default every 700 new objects start a run, and every hundredth run goes through all objects. At the end, what was
    kept out of it is given back: else DuckDB's module lists on stderr what it holds when Python ends.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 100)
    try:
        yield
    finally:
        gc.unfreeze()


def _role_factory(
    name: str, settings: Settings, port: int, should_stop: Callable[[], bool]
) -> "Callable[[KafkaClients, LoopConfig, Worker], FeedbackRole | IngestRole | JoinRole | LakeRole | None]":
    """Return the constructor of a role, None if it is to stop; the modules of the other roles are not loaded."""
    if name == "feedback":
        from streams.feedback.role import FeedbackRole  # noqa: PLC0415 - see above
        from streams.runtime.backoff import Backoff  # noqa: PLC0415 - see above
        from streams.runtime.lake_opening import opened  # noqa: PLC0415 - see above
        from truthloop.feedback.metrics import FeedbackMetrics  # noqa: PLC0415 - see above
        from truthloop.feedback.service import FeedbackHandlers  # noqa: PLC0415 - see above

        def make(clients: "KafkaClients", config: "LoopConfig", worker: Worker) -> FeedbackRole | None:
            metrics = FeedbackMetrics(worker.health.registry)
            arguments = settings, worker.health, metrics, worker.now_ms, port, os.environ
            handlers = opened(partial(FeedbackHandlers, *arguments), Backoff(worker.health), should_stop)
            return None if handlers is None else FeedbackRole(clients, config, worker, handlers, os.environ)

        return make
    if name == "ingest":
        from streams.ingest.role import IngestRole  # noqa: PLC0415 - see above
        from streams.registry.topic_tools import topic_tools  # noqa: PLC0415 - see above

        return partial(IngestRole, tools=topic_tools(settings.config, os.environ, settings.path.parent))
    if name == "join":
        from streams.join_worker.role import JoinRole  # noqa: PLC0415 - see above

        return JoinRole
    from streams.lake_sink.role import LakeRole  # noqa: PLC0415 - see above

    return LakeRole


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether to stop: after SIGTERM or SIGINT, or when the supervisor has died."""
    stop = Event()
    supervisor = os.environ.get(SUPERVISOR_VARIABLE)

    def should_stop() -> bool:
        return stop.is_set() or (supervisor is not None and os.getppid() != int(supervisor))

    def request_stop(_number: int, _frame: object) -> None:
        stop.set()

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield should_stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _locked_slot(state: Path, role: str, wanted: str | None) -> Iterator[str]:
    """Lock this worker's slot: the one asked for, the ordinal of a StatefulSet's pod, or the first that is free.

    Raises:
        ConfigError: another process on this machine has the slot.
    """
    ordinal = re.search(r"-(\d+)$", socket.gethostname()) if "KUBERNETES_SERVICE_HOST" in os.environ else None
    if wanted is None and ordinal is not None:
        wanted = ordinal.group(1)
    for slot in [wanted] if wanted is not None else map(str, range(SLOTS_MAX)):
        lock = FileLock(state / f"{role}-{slot}.slot", timeout=0)
        try:
            with lock:
                yield slot
                return
        except Timeout:
            continue
    raise ConfigError(
        f"slot {wanted} is taken by another process" if wanted is not None else "all slots are taken",
        where=f"role {role}, {state}",
        hint="Give every worker of a role its own slot: --slot N.",
    )
