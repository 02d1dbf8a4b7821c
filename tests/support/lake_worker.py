"""Lake writers for tests: as threads of the test, or as processes that can be killed, stopped and starved.

Run as a program it is one such process, and its environment injects faults:
`TRUTHLOOP_CRASH_AT=lake:STEP:COUNT` ends it at a step, `FREEZE_AT=STEP` stops it there with SIGSTOP, and
`FULL_DISK_FOR=N` lets no file grow beyond a few bytes for the first N rounds.
"""

import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from processes import end_all

from lake import Lake
from schemas.config.loop import LoopConfig
from streams.kafka import client as kafka_client
from streams.kafka.client import KafkaClients
from streams.lake_sink.role import LakeRole
from streams.runtime.crash_point import crash_points
from streams.runtime.health import Health
from streams.runtime.worker import Worker

__all__ = ["LakeWorkers", "RunningRole", "wait_until"]

DEADLINE_S = 120.0
FRESHNESS_MS = 200
SESSION_TIMEOUT_MS = 6_000
"""The least that brokers allow: a dead worker is noticed soon."""


def wait_until(what: str, is_done: Callable[[], bool], log: Callable[[], str] = str) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it does not come true; with the log.
    """
    deadline = time.monotonic() + DEADLINE_S
    clock = threading.Event()
    while not is_done():
        assert time.monotonic() < deadline, f"{what} did not happen\n{log()}"
        clock.wait(0.1)


def often(config: LoopConfig) -> LoopConfig:
    """Return a config whose lake commits as often as is allowed."""
    return config.model_copy(update={"lake": config.lake.model_copy(update={"freshness": FRESHNESS_MS})})


class RunningRole:
    """A lake writer in a thread, as a context manager; its error is raised where the test waits."""

    def __init__(self, clients: KafkaClients, config: LoopConfig, lake: Path) -> None:
        self.health = Health("lake")
        self._stop = threading.Event()
        worker = Worker("0", lake.with_name("state"), lake, self.health, _now_ms)
        self._role = LakeRole(clients, often(config), worker)
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, what: str, is_done: Callable[[], bool]) -> None:
        """Wait for a condition, or raise the error of the role."""

        def is_over() -> bool:
            if self._errors:
                raise self._errors[0]
            return is_done()

        wait_until(what, is_over, self.health.unready)

    def wait_for(self, *texts: str) -> None:
        """Wait until the reason why the role is not ready has all these texts."""
        self.wait("the fault", lambda: all(text in self.health.unready() for text in texts))

    def _run(self) -> None:
        try:
            self._role.run(self._stop.is_set)
        except BaseException as error:  # noqa: BLE001 - it is raised where the test waits
            self._errors.append(error)


class LakeWorkers:
    """Lake writers of one loop as processes.

    Args:
        folder: for lake, config and logs.
        config: the loop's.
    """

    def __init__(self, folder: Path, config: LoopConfig) -> None:
        self.lake = folder / "lake"
        self._folder = folder
        self._config = folder / "config.json"
        self._config.write_text(config.model_dump_json(by_alias=True, exclude_unset=True), "utf-8")
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, slot: str = "0", **environ: str) -> subprocess.Popen[bytes]:
        """Start a process."""
        path = f"{Path(__file__).parents[2]}:{Path(__file__).parent}"
        command = [sys.executable, __file__, str(self._config), str(self.lake), slot]
        with (self._folder / f"worker-{slot}.log").open("ab") as log:
            process = subprocess.Popen(command, stderr=log, stdout=log, env={"PYTHONPATH": path} | environ)
        self.processes.append(process)
        return process

    def run(self, slot: str = "0", **environ: str) -> int:
        """Run a process to its end and return its exit code."""
        try:
            return self.start(slot, **environ).wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end\n{self.log()}") from None

    def log(self) -> str:
        """Return the end of all logs."""
        texts = [path.read_text("utf-8", errors="replace") for path in sorted(self._folder.glob("worker-*.log"))]
        return "\n".join(texts)[-20_000:]

    def opened(self) -> Lake | None:
        """Return the lake; None before it is created."""
        return Lake.open(self.lake) if (self.lake / "views.sql").exists() else None

    def stop(self) -> None:
        """Terminate the processes that are left."""
        end_all(self.processes, 30)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    config = LoopConfig.model_validate_json(Path(sys.argv[1]).read_bytes())
    assert config.kafka is not None
    assert isinstance(kafka_client._CONSUMER, dict)
    kafka_client._CONSUMER["session.timeout.ms"] = SESSION_TIMEOUT_MS
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    crash, full_disk_rounds = crash_points("lake", os.environ), int(os.environ.get("FULL_DISK_FOR", "0"))

    def inject_faults(step: str) -> None:
        nonlocal full_disk_rounds
        if step == "cut" and full_disk_rounds >= 0:
            limit = 1 if full_disk_rounds else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            full_disk_rounds -= 1
        if step == os.environ.get("FREEZE_AT"):
            os.kill(os.getpid(), signal.SIGSTOP)
        crash(step)

    lake = Path(sys.argv[2])
    worker = Worker(sys.argv[3], lake.with_name("state"), lake, Health("lake"), _now_ms, inject_faults)
    clients = KafkaClients(config.kafka, {}, "lake")
    LakeRole(clients, often(config), worker).run(stop.is_set)


if __name__ == "__main__":
    _main()
