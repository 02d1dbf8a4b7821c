"""`truthloop run all` on a real cluster: a role that dies is started again, and one signal stops them all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from live_case import Loop, running


def roles(supervisor: int) -> dict[str, int]:
    """Return the processes of the roles that a supervisor has started, by role."""
    found = {}
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"run" in words:
            found[words[words.index(b"run") + 1].decode()] = int(child)
    return found


def test_a_role_that_dies_is_started_again_and_all_end_together(kafka: str, tmp_path: Path) -> None:
    """Whatever killed it; SIGTERM is the way to stop."""
    with running(Loop(tmp_path, kafka, partitions=1, session_ms=6_000)) as loop:
        loop.begin()
        with (tmp_path / "all-0.log").open("ab") as log:
            command = [sys.executable, "-m", "truthloop", "run", "all", "--config", str(loop.config)]
            environ = os.environ | {"TRUTHLOOP_HTTP__PORT": "18080"}
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
        loop.processes.append(process)
        loop.wait("all roles", lambda: {"join", "lake", "feedback"} <= roles(process.pid).keys())
        first = roles(process.pid)["lake"]
        os.kill(first, signal.SIGKILL)
        loop.wait("another lake writer", lambda: roles(process.pid).get("lake", first) != first)
        process.terminate()
        assert process.wait(90) == 0
        assert "lake ended with code -9 and is restarted" in loop.log("all")
