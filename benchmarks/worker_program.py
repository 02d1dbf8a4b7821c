"""A program that the join's benchmark starts and ends: its process, its log, and that it does not outlive us."""

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["EngineError", "WorkerProgram"]

STOP_S = 60
TAIL_LINES = 15


class EngineError(Exception):
    """An engine did not do what it was started for."""


class WorkerProgram:
    """A running program. It is told to end by the end of its stdin, or by SIGTERM.

    Args:
        command: its command line.
        log: where what it says goes.
        environ: further environment variables.
    """

    def __init__(self, command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environ or {})},
                cwd=log.parent,
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def check(self) -> None:
        """Raise where it has ended by itself.

        Raises:
            EngineError: with the end of its log.
        """
        if (code := self._process.poll()) is not None:
            raise EngineError(f"ended by itself with exit code {code}; its log ends:\n{self.said()}")

    def said(self) -> str:
        """Return the last lines of its log."""
        lines = self._log.read_text("utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line[:300]}" for line in lines[-TAIL_LINES:])

    def find(self, pattern: str) -> str:
        """Return the first group of a pattern that its log has.

        Raises:
            EngineError: the log does not have it.
        """
        found = re.search(pattern, self._log.read_text("utf-8", errors="replace"))
        if found is None:
            raise EngineError(f"its log does not say {pattern!r}; it ends:\n{self.said()}")
        return found[1]

    def tell(self, line: str, answer: str) -> None:
        """Send it a line, and wait until it has answered on its stdout once more."""
        answers = self._count(answer)
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(f"{line}\n".encode())
        stdin.flush()
        deadline_s = time.monotonic() + STOP_S
        while self._count(answer) == answers:
            self.check()
            if time.monotonic() > deadline_s:
                raise EngineError(f"does not answer {line!r}; its log ends:\n{self.said()}")
            time.sleep(0.05)

    def stop(self, *, by_signal: bool = False) -> None:
        """End it."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if by_signal:
            self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _count(self, line: str) -> int:
        return self._log.read_text("utf-8", errors="replace").splitlines().count(line)
