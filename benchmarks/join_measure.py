"""One measurement: a worker waits, a load becomes visible at a stroke, and the clock stops with its last commit.

Loads before the last one only fill the state: they are waited for and not measured.
"""

import time
from dataclasses import dataclass

from join_cluster import Cluster
from join_engine import Engine
from join_traffic import Traffic
from process_usage import cpu_s, rss_mb, tree
from worker_program import EngineError, WorkerProgram

__all__ = ["Throughput", "Usage", "measure", "wait_until_settled"]

SETTLE_S = 3.0
"""Between the group's agreement and the load: stores are opened, and what a filling left to do is done."""

READY_S = 120
STANDSTILL_S = 120
LOOK_EVERY_S = 0.03
RSS_EVERY = 10


@dataclass(frozen=True)
class Throughput:
    """What one worker did with one load.

    Attributes:
        turns: by part of the worker's turns, seconds of wall time and of CPU time, as far as it tells.
    """

    engine: str
    mix: str
    records: int
    record_bytes: float
    seconds: float
    cpu_s: float
    broker_cpu_s: float
    rss_mb: float
    written_mb: float
    turns: dict[str, tuple[float, float]]
    fault: str | None

    @property
    def per_s(self) -> float:
        """Records in a second of wall time."""
        return self.records / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """The worker's CPU seconds for a million records."""
        return self.cpu_s / self.records * 1e6

    @property
    def broker_cpu_per_million(self) -> float:
        """The broker's CPU seconds for a million records."""
        return self.broker_cpu_s / self.records * 1e6


class Usage:
    """What a worker and the broker use from now on.

    Args:
        worker: with all that it has started.
        broker: process of the broker.
    """

    def __init__(self, worker: WorkerProgram, broker: int) -> None:
        self._worker = tree(worker.pid)
        self._broker = [broker]
        self._cpu_s = cpu_s(self._worker)
        self._broker_cpu_s = cpu_s(self._broker)
        self.rss_mb = rss_mb(self._worker)

    def look(self) -> None:
        """Take note of the memory."""
        self.rss_mb = max(self.rss_mb, rss_mb(self._worker))

    def cpu_s(self) -> tuple[float, float]:
        """Return the CPU seconds since then, of the worker and of the broker."""
        return cpu_s(self._worker) - self._cpu_s, cpu_s(self._broker) - self._broker_cpu_s


def measure(engine: Engine, broker: int, loop: str, mix: str, loads: list[Traffic]) -> Throughput:
    """Run one worker over a new loop's loads; the last one is measured.

    Args:
        engine: whose worker.
        broker: process of the broker.
        loop: its name.
        mix: of the loads.
        loads: one after the other.

    Raises:
        EngineError: the worker ended, or stood still.
    """
    cluster = engine.cluster
    try:
        worker = engine.start(loop)
        wait_until_settled(cluster, worker, loop)
        for load in loads[:-1]:
            written = cluster.fill(loop, load.chunks())
            written.commit()
            _wait(cluster, worker, loop, written.ends, None)
        written = cluster.fill(loop, loads[-1].chunks())
        time.sleep(SETTLE_S)
        worker.check()
        usage, before_mb, before = Usage(worker, broker), cluster.written_mb(loop), engine.turns()
        started_s = written.commit()
        seconds = _wait(cluster, worker, loop, written.ends, usage) - started_s
        worker_s, broker_s = usage.cpu_s()
        written_mb = cluster.written_mb(loop) - before_mb
        turns = {part: _less(whole, before.get(part, (0.0, 0.0))) for part, whole in engine.turns().items()}
        engine.stop()
        tally = loads[-1].tally
        return Throughput(
            engine=engine.name,
            mix=mix,
            records=tally.records,
            record_bytes=tally.record_bytes / tally.records,
            seconds=seconds,
            cpu_s=worker_s,
            broker_cpu_s=broker_s,
            rss_mb=usage.rss_mb,
            written_mb=written_mb,
            turns=turns,
            fault=engine.fault(loop, loads),
        )
    finally:
        engine.stop()
        cluster.delete(loop)


def _less(whole: tuple[float, float], before: tuple[float, float]) -> tuple[float, float]:
    return whole[0] - before[0], whole[1] - before[1]


def wait_until_settled(cluster: Cluster, worker: WorkerProgram, loop: str) -> None:
    """Wait until a worker has its partitions.

    Raises:
        EngineError: it has not got them in time.
    """
    deadline_s = time.monotonic() + READY_S
    while not cluster.is_caught_up(loop):
        worker.check()
        if time.monotonic() > deadline_s:
            raise EngineError(f"has no partitions after {READY_S} s; its log ends:\n{worker.said()}")
        time.sleep(0.2)
    time.sleep(SETTLE_S)


def _wait(
    cluster: Cluster, worker: WorkerProgram, loop: str, ends: dict[tuple[str, int], int], usage: Usage | None
) -> float:
    """Wait until everything is committed; return the moment, by the monotonic clock."""
    least, moved_s = None, time.monotonic()
    for look, lag in enumerate(cluster.lags(loop, ends)):
        now_s = time.monotonic()
        if usage is not None and (look % RSS_EVERY == 0 or not lag):
            usage.look()
        if not lag:
            return now_s
        if least is None or lag < least:
            least, moved_s = lag, now_s
        worker.check()
        if now_s - moved_s > STANDSTILL_S:
            raise EngineError(f"stands still with {lag:,} records to go; its log ends:\n{worker.said()}")
        time.sleep(LOOK_EVERY_S)
    raise AssertionError("the lags never end")
