"""How long a label takes to become an outcome that readers of committed records see, at a steady rate."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from join_engine import Engine
from join_measure import Usage, wait_until_settled
from worker_program import EngineError

__all__ = ["Latency", "measure_latency"]

PROGRAM = Path(__file__).parent / "paced_labels.py"
RAMP_S = 5
"""Left out: labels come up to their rate, and what is new becomes warm."""

CATCH_UP_S = 60


@dataclass(frozen=True)
class Latency:
    """Ages of outcomes at one rate, and what was used for it.

    Attributes:
        engine: whose.
        per_second: predictions and labels.
        ages: quantiles in ms, and how many.
        writer: how late it was against its own timetable, and when the broker had acknowledged a record, in ms.
        cpu_share: of the worker, of one core.
        broker_cpu_share: of the broker.
        fault: what is wrong with the outcomes, or None.
    """

    engine: str
    per_second: int
    ages: dict[str, float]
    writer: dict[str, float]
    cpu_share: float
    broker_cpu_share: float
    fault: str | None


def measure_latency(engine: Engine, broker: int, loop: str, per_second: int, seconds: int) -> Latency:
    """Run one worker over a new loop while records come at a steady rate.

    Args:
        engine: whose worker.
        broker: process of the broker.
        loop: its name.
        per_second: predictions and labels together.
        seconds: how long is measured, behind the ramp.

    Raises:
        EngineError: the worker ended or fell behind.
    """
    cluster = engine.cluster
    programs: list[subprocess.Popen[str]] = []
    try:
        worker = engine.start(loop)
        wait_until_settled(cluster, worker, loop)
        reader = _program(programs, "read", cluster.servers, loop)
        writer = _program(programs, "write", cluster.servers, loop, str(per_second), str(RAMP_S + seconds))
        from_ms = _answer(writer)["first_ms"] + RAMP_S * 1000
        time.sleep(max(0.0, from_ms / 1000 - time.time()))
        usage, began_s = Usage(worker, broker), time.monotonic()
        sent = _answer(writer)
        (worker_s, broker_s), lasted_s = usage.cpu_s(), time.monotonic() - began_s
        deadline_s = time.monotonic() + CATCH_UP_S
        for lag in cluster.lags(loop, cluster.ends(loop)):
            worker.check()
            if not lag:
                break
            if time.monotonic() > deadline_s:
                raise EngineError(f"is {lag:,} records behind: it does not keep up with {per_second:,} a second")
            time.sleep(0.1)
        time.sleep(1)  # for the reader to get the last ones
        assert reader.stdin is not None
        reader.stdin.write(f"{from_ms}\n")
        reader.stdin.flush()
        ages = _answer(reader)
        outcomes = ages.pop("outcomes")
        return Latency(
            engine=engine.name,
            per_second=per_second,
            ages=ages,
            writer={name: sent[name] for name in ("slip_max_ms", "ack_p50_ms", "ack_p99_ms")},
            cpu_share=worker_s / lasted_s,
            broker_cpu_share=broker_s / lasted_s,
            fault=None if outcomes == sent["labels"] else f"{outcomes:,} outcomes in place of {sent['labels']:,}",
        )
    finally:
        for program in programs:
            program.kill()
            program.wait()
        engine.stop()
        cluster.delete(loop)


def _program(programs: list[subprocess.Popen[str]], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), *arguments]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    programs.append(program)
    return program


def _answer(program: subprocess.Popen[str]) -> dict[str, Any]:
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        raise EngineError("the program that paces the records has ended; what it said stands above")
    answer: dict[str, Any] = json.loads(line)
    return answer
