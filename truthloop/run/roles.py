"""The running roles: wiring of clients, folders, health and signals. The only place that knows all of them.

Must not do a role's work.
"""

import gc
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from schemas.errors import ConfigError
from streams.kafka.client import KafkaClients
from streams.runtime.crash_point import crash_points
from streams.runtime.health import Health, HealthServer
from streams.runtime.worker import Worker
from truthloop.clock import now_ms
from truthloop.config.settings import Settings

if TYPE_CHECKING:
    from schemas.config.loop import LoopConfig
    from streams.feedback.role import FeedbackRole
    from streams.ingest.role import IngestRole
    from streams.join_worker.role import JoinRole
    from streams.lake_sink.role import LakeRole

__all__ = ["ROLES", "SUPERVISOR", "clients_of", "role_port", "run_role", "runnable"]

ROLES: Final = ("feedback", "ingest", "join", "lake")
"""In the order of their ports: the first one's is `http.port`, where the page is."""

SLOTS_MAX = 256

OBJECTS_BETWEEN_SEARCHES = 200_000

SUPERVISOR = "TRUTHLOOP_SUPERVISOR"
"""Process id of the supervisor, for the roles that it starts."""


def clients_of(settings: Settings, name: str, environ: Mapping[str, str] = os.environ) -> KafkaClients:
    """Return the makers of clients for the loop's cluster, once it has answered.

    Raises:
        ConfigError: the loop has no `kafka` section.
        BrokerError: the cluster does not answer.
    """
    if settings.config.kafka is None:
        raise ConfigError(
            "has no `kafka` section, so there is no cluster to work on",
            where=str(settings.path),
            hint="Add kafka: {bootstrap_servers: HOST:PORT}, or use `truthloop replay` for files.",
        )
    clients = KafkaClients(settings.config.kafka, environ, f"truthloop-{settings.config.loop}-{name}")
    clients.reach()
    return clients


def runnable(settings: Settings) -> list[str]:
    """Return the roles that a loop needs, in the order of starting: no ingest where every producer is canonical."""
    has_sources = any(source.topic for source in settings.config.ingest)
    return [role for role in (*ROLES[1:], ROLES[0]) if role != "ingest" or has_sources]


def role_port(settings: Settings, role: str) -> int:
    """Return where a role answers when nothing else is said."""
    return settings.config.http.port + ROLES.index(role)


def run_role(settings: Settings, role: str, *, slot: str | None = None, port: int | None = None) -> None:
    """Run one role until SIGTERM or SIGINT.

    Raises:
        TruthloopError: it cannot work; says why and what to do.
    """
    _log_to_stderr(role)
    clients = clients_of(settings, role)
    health = Health(role)
    where = role_port(settings, role) if port is None else port
    settings.state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        if role != "feedback":  # which serves its page there, and answers for its health beside it
            held.enter_context(HealthServer(health, settings.config.http.bind, where))
        mine = held.enter_context(_slot(settings.state, role, slot))
        should_stop = held.enter_context(_stopping())
        logging.getLogger("truthloop").info("slot %s, answers on port %d", mine, where)
        crash = crash_points(role, os.environ)
        worker = Worker(mine, settings.state, settings.lake, health, now_ms, crash)
        work = _role(role, settings, where)(clients, settings.config, worker)
        _collect_rarely()
        work.run(should_stop)


def _collect_rarely() -> None:
    """Let Python look for cycles rarely: a role holds hundreds of thousands of records, which have none.

    By default every 700 new objects start a search, and every tenth of a tenth goes through all of them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_SEARCHES, 20, 100)


def _role(
    name: str, settings: Settings, port: int
) -> "Callable[[KafkaClients, LoopConfig, Worker], FeedbackRole | IngestRole | JoinRole | LakeRole]":
    """Return what makes what does a role's work; of the others nothing is loaded."""
    if name == "feedback":
        from streams.feedback.role import FeedbackRole  # noqa: PLC0415 - see above
        from truthloop.feedback.service import FeedbackHandlers  # noqa: PLC0415 - see above

        def make(clients: "KafkaClients", config: "LoopConfig", worker: Worker) -> FeedbackRole:
            handlers = FeedbackHandlers(settings, worker.health, worker.now_ms, port, os.environ)
            return FeedbackRole(clients, config, worker, handlers, os.environ)

        return make
    if name == "ingest":
        from streams.ingest.role import IngestRole  # noqa: PLC0415 - see above
        from streams.mapping.tools import mapping_tools  # noqa: PLC0415 - see above

        return partial(IngestRole, tools=mapping_tools(settings.config, os.environ, settings.path.parent))
    if name == "join":
        from streams.join_worker.role import JoinRole  # noqa: PLC0415 - see above

        return JoinRole
    from streams.lake_sink.role import LakeRole  # noqa: PLC0415 - see above

    return LakeRole


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Give what says whether to stop: SIGTERM or SIGINT asked for it, or the supervisor has died."""
    stop = Event()
    supervisor = os.environ.get(SUPERVISOR)

    def should_stop() -> bool:
        return stop.is_set() or (supervisor is not None and os.getppid() != int(supervisor))

    def ask(_number: int, _frame: object) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield should_stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _slot(state: Path, role: str, wanted: str | None) -> Iterator[str]:
    """Hold this worker's slot: what was asked for, the ordinal of a StatefulSet's pod, or the first that is free.

    Raises:
        ConfigError: another process on this machine has it.
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
        hint="Give every worker of a role a slot of its own: --slot N.",
    )


def _log_to_stderr(role: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(f"%(asctime)s %(levelname)s {role}: %(message)s"))
    logger = logging.getLogger("truthloop")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _OneLine(logging.Formatter):
    """Keeps what comes from outside from breaking the log's lines or talking to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of printable text."""
        text = super().format(record)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
