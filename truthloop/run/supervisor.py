"""Runs all roles of a loop on one machine: one process each, restarted when it dies."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from time import monotonic

from truthloop.config.settings import Settings
from truthloop.run.roles import SUPERVISOR_VARIABLE

__all__ = ["Supervisor"]

log = logging.getLogger("truthloop.supervisor")

STEADY_AFTER_S = 60.0
"""A process that ran this long is restarted at once; one that died sooner waits longer each time."""

BACKOFF_S = (0.0, 1.0, 2.0, 5.0, 15.0, 30.0)

STOP_TIMEOUT_S = 40.0
"""A role finishes its transaction and writes its state; librdkafka's time-outs are 10 s each."""

USAGE_ERROR = 2


@dataclass
class _Child:
    role: str
    process: subprocess.Popen[bytes]
    started_s: float
    deaths: int = 0
    restart_s: float | None = None


class Supervisor:
    """Runs roles as processes until it is stopped.

    Args:
        settings: the loop's.
        roles: in the order of starting.
    """

    def __init__(self, settings: Settings, roles: Sequence[str]) -> None:
        self._settings = settings
        self._roles = roles
        self._children: list[_Child] = []
        self._stop = Event()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; return 0, or the code of a role whose config cannot work."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            self._children = [_Child(role, self._start(role), monotonic()) for role in self._roles]
            while not self._stop.wait(0.2):
                for child in self._children:
                    code = self._check(child)
                    if code is not None:
                        return code
        finally:
            self._stop_all()
        return 0

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "truthloop", "run", role, "--config", str(self._settings.path)]
        environ = os.environ | {SUPERVISOR_VARIABLE: str(os.getpid())}
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environ)  # noqa: S603 - our own command

    def _check(self, child: _Child) -> int | None:
        """Restart a dead child once its back-off is over; return the exit code of one whose config is wrong."""
        now_s = monotonic()
        if child.restart_s is None:
            code = child.process.poll()
            if code is None:
                return None
            if code == USAGE_ERROR:
                return code
            child.deaths = 1 if now_s - child.started_s > STEADY_AFTER_S else child.deaths + 1
            wait_s = BACKOFF_S[min(child.deaths - 1, len(BACKOFF_S) - 1)]
            log.warning("%s ended with code %d and is restarted in %.0f s", child.role, code, wait_s)
            child.restart_s = now_s + wait_s
        if now_s >= child.restart_s:
            child.process, child.started_s, child.restart_s = self._start(child.role), now_s, None
        return None

    def _stop_all(self) -> None:
        for child in self._children:
            child.process.terminate()
        deadline_s = monotonic() + STOP_TIMEOUT_S
        for child in self._children:
            try:
                child.process.wait(max(0.1, deadline_s - monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s does not stop and is killed", child.role)
                child.process.kill()
                child.process.wait()
