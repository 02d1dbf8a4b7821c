"""Ends the processes of a test."""

import signal
import subprocess
from collections.abc import Iterable


def end_all(processes: Iterable[subprocess.Popen[bytes]], within_s: float) -> None:
    """Terminate processes, stopped ones too; kill what has not ended in time."""
    processes = list(processes)
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
    for process in processes:
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
