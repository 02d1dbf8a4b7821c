"""Real servers as processes of their own, data sets for them to train on, and waiting until something is done."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from target_case import OpenRetrain

from retrain.poll import POLL_MS
from retrain.schedule import Attempt, Due
from retrain.sender import send
from schemas.events.evidence import Decision, Event

__all__ = [
    "HOUR_MS",
    "TRAIN",
    "ServerProcess",
    "answered",
    "call",
    "ended",
    "environment",
    "sent",
    "taken",
    "waited",
    "write_dataset",
]

_Found = TypeVar("_Found")

HOUR_MS = 3_600_000
BUSY = 503
"""A real server's answer while it has too much to do: Prefect's, whose SQLite is locked, too."""
WAIT_S = 300
"""For whatever a real server does; on a busy machine it takes long."""

TRAIN = "import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'model').open('a').write('trained\\n')"
"""The training: a line in a file next to the data set, so that a second training shows."""


def environment(name: str, verb: str = "test-foreign") -> Path:
    """Return the folder of the programs of an environment that a verb of the Makefile has made."""
    folder = Path(__file__).parents[2] / f".venv-{name}" / "bin"
    if not (folder / name).exists():
        pytest.fail(f"{name} is not installed: run `make {verb}`")
    return folder


class ServerProcess:
    """A server with all its processes, which can be ended, paused and resumed.

    Args:
        command: that starts it.
        environ: added to a plain environment.
        log: file that it writes to.
    """

    def __init__(self, command: list[str], environ: Mapping[str, str], log: Path) -> None:
        self._command, self._log = command, log
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self._environ = {**kept, **environ}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it in a session of its own, so that all it starts ends with it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                cwd=self._log.parent,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End it and all that it has started."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self._signal(signal.SIGKILL)
        self._process.wait(20)
        self._process = None

    def hold(self) -> None:
        """Let it answer nothing, with its door open."""
        self._signal(signal.SIGSTOP)

    def let_go_on(self) -> None:
        """Let it answer again."""
        self._signal(signal.SIGCONT)

    def fault(self) -> str:
        """Return why waiting is in vain: it has ended; empty while it runs."""
        has_ended = self._process is None or self._process.poll() is not None
        return f"the server has ended:\n{self._log.read_text(errors='replace')[-4_000:]}" if has_ended else ""

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def waited(what: str, found: Callable[[], _Found | None], fault: Callable[[], str] = str) -> _Found:
    """Return what `found` returns as soon as it is something.

    Args:
        what: is waited for.
        found: asked about twice a second.
        fault: why waiting is in vain; empty while it is not.
    """
    until = time.monotonic() + WAIT_S
    while (value := found()) is None:
        assert not fault(), fault()
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.5)
    return value


def call(method: str, url: str, document: object = None, token: str = "") -> Any:
    """Return the document that a server answers; None where it does not, or says that there is none."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - of this machine
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the same
            content = answer.read()
    except (urllib.error.HTTPError, OSError):
        return None
    return json.loads(content) if content else {}


def write_dataset(folder: Path) -> dict[str, str | int]:
    """Write a small data set with its manifest; return what an entry `prepared` says of it."""
    folder.mkdir(parents=True)
    files = {}
    for name in ("train.parquet", "holdout.parquet"):
        (folder / name).write_bytes(name.encode() * 100)
        files[name] = {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"files": files, "rows": {"train": 100}}))
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    return {"dataset": folder.as_uri(), "manifest": manifest.as_uri(), "manifest_sha256": digest, "rows": 100}


def ended(retrain: OpenRetrain, fault: Callable[[], str]) -> Decision:
    """Return the entry that tells how the run ended, as polling has found it."""

    def told() -> Decision | None:
        retrain.step(POLL_MS)
        last = retrain.entries()[-1]
        return last if last.event in (Event.SUCCEEDED, Event.FAILED) else None

    return waited("the run's end", told, fault)


def answered(retrain: OpenRetrain) -> list[Decision]:
    """Return the entries of the first attempt that is not answered 503; a busy server is asked again as any."""
    for entries in _steps(retrain):
        if retrain.attempts()[-1].status != BUSY:
            return entries
    pytest.fail(f"the server stayed busy: {retrain.attempts()}")


def sent(retrain: OpenRetrain, decision: str, body: bytes) -> Attempt:
    """Send a request past the log, as before a crash; return the first attempt that is not answered 503."""
    receiver = retrain.receiver
    assert receiver is not None

    def attempt() -> Attempt | None:
        made = asyncio.run(send(receiver, Due(decision, 1, 0, None), body, 0))
        return None if made.status == BUSY else made

    return waited("an answer", attempt)


def taken(retrain: OpenRetrain) -> Decision:
    """Return the entry that tells of the delivery, at whichever attempt."""
    for entries in _steps(retrain):
        for entry in entries:
            if entry.event is Event.DELIVERED:
                return entry
    pytest.fail(f"the request was not taken: {retrain.attempts()}")


def _steps(retrain: OpenRetrain) -> Iterator[list[Decision]]:
    """Yield the entries of four attempts, an hour apart."""
    for after_ms in (0, HOUR_MS, HOUR_MS, HOUR_MS):
        yield retrain.step(after_ms)
