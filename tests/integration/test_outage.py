"""A cluster that is away for longer than every patience of a client: all roles wait, say so once, and go on.

Covers `streams.runtime.cluster_watch`, and what each role does with a broker that does not answer.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
from effort import THOROUGH
from ingest_case import SCORES
from ingest_loop import IngestLoop, ingest_loop
from kafka_fixture import QUICK_START
from processes import end_all

import truthloop
from truthloop.broker.local_broker import LocalBroker
from truthloop.broker.node import free_ports

OUTAGE_S = 90.0 if THOROUGH else 66.0
"""Longer than a role may stand still (60 s), and than a group keeps a member (6 s here)."""

READY_S = 120
ROLES = ("ingest", "join", "lake", "feedback")
BEFORE, AFTER = 3_000, 2_000
START_MS = 1_760_000_000_000
LINES_MAX = 12
"""Of one role about an outage: it, its end, and the partitions that are read again."""


class Worker:
    """A role as a process."""

    def __init__(self, loop: IngestLoop, role: str, slot: str = "0") -> None:
        self.role = role
        [self.port] = free_ports(1)
        self._log = loop.folder / f"{role}-{slot}.log"
        words = ["run", role, "--slot", slot, "--port", str(self.port), "--config", str(loop.path)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "truthloop", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ,
            )

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and reason; the status is 0 where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, json.load(answer)["reason"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["reason"]
        except OSError:
            return 0, ""

    @property
    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(errors="replace")


@contextmanager
def working(loop: IngestLoop) -> Iterator[list[Worker]]:
    """Run one worker of every role; the block may add others."""
    workers = [Worker(loop, role) for role in ROLES]
    try:
        yield workers
    finally:
        end_all([worker.process for worker in workers], 60)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """Run a broker that the test may stop."""
    with LocalBroker(tmp_path / "kafka", java_options=QUICK_START) as started:
        yield started


def until(workers: list[Worker], what: str, is_done: Callable[[], bool], within_s: float = READY_S) -> None:
    """Wait for a condition; a worker that ends by itself fails the test."""
    deadline, pause = time.monotonic() + within_s, Event()
    while not is_done():
        for worker in workers:
            assert worker.process.poll() is None, f"{worker.role} has ended\n{worker.log[-4000:]}"
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen\n" + "\n".join(one.log[-4000:] for one in workers))
        pause.wait(0.3)


def is_ready(workers: list[Worker]) -> bool:
    """Return whether all of them say so."""
    return all(worker.ask("/readyz")[0] == 200 for worker in workers)


def scores(first: int, following: int) -> list[dict[str, str]]:
    """Return records of the source topic."""
    return [
        {"value": json.dumps({"id": f"k{at}", "t": START_MS + at, "s": 0.5}), "key": str(at % 7)}
        for at in range(first, following)
    ]


def rows(loop: IngestLoop) -> list[int]:
    """Return the numbers of the predictions in the lake."""
    keys = truthloop.open(loop.folder / "lake").sql("SELECT key FROM all_predictions").fetchall()
    return sorted(int(key.removeprefix("k")) for (key,) in keys)


@pytest.mark.timeout(600)
def test_every_role_waits_while_the_cluster_is_away(tmp_path: Path, broker: LocalBroker) -> None:
    """Alive all the time, unready with the reason, and no record is lost or doubled by it."""
    with ingest_loop(tmp_path, broker.bootstrap_servers, [SCORES]) as loop:
        loop.create("scores")
        loop.start()
        with working(loop) as workers:
            until(workers, "the first start", lambda: is_ready(workers))
            loop.produce("scores", scores(0, BEFORE))
            until(workers, "the first rows", lambda: len(rows(loop)) > 0)
            loop.produce("scores", scores(BEFORE, BEFORE + AFTER))
            lines = {worker: worker.log.count("\n") for worker in workers}  # before: some say it at once
            broker.kill()
            latecomer = Worker(loop, "join", "1")
            workers.append(latecomer)
            ends = time.monotonic() + OUTAGE_S

            def is_over() -> bool:
                for worker in workers:
                    if worker is not latecomer:
                        assert worker.ask("/livez") == (200, ""), worker.log[-4000:]
                return time.monotonic() > ends

            until(workers, "the end of the outage", is_over, OUTAGE_S + 60)
            for worker in workers:
                status, reason = worker.ask("/readyz")
                assert (status, "cannot be reached" in reason) == (503, True), (worker.role, reason)
                assert worker.ask("/livez") == (200, "")
            latecomer.process.terminate()
            assert latecomer.process.wait(20) == 0, latecomer.log
            workers.remove(latecomer)
            broker.start()
            until(workers, "readiness", lambda: is_ready(workers))
            until(workers, "all rows", lambda: len(rows(loop)) >= BEFORE + AFTER)
            assert rows(loop) == list(range(BEFORE + AFTER))
            for worker in workers:
                said = worker.log.split("\n")[lines[worker] :]
                text = "\n".join(said)
                assert text.count("this role waits") == text.count("answers again") == 1, (worker.role, text)
                assert len(said) <= LINES_MAX, (worker.role, text)
                assert "Traceback" not in text, (worker.role, text)
                worker.process.terminate()
            for worker in workers:
                assert worker.process.wait(60) == 0, worker.log[-4000:]
