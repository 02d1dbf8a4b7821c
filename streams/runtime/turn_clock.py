"""What the turns of a role's thread go into, part by part, as metrics: wall time, and of it the thread's CPU time.

The difference is time that the thread has waited: for messages, the cluster or the disk, and in parts that only
compute, for a processor or for the interpreter that another thread holds.
"""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

__all__ = ["TurnClock"]


class TurnClock:
    """Divides the time of one thread into parts, without a gap.

    Args:
        role: label of the metrics.
        registry: where they are registered.
        clock: monotonic seconds.
        cpu_clock: CPU seconds of the calling thread.
    """

    def __init__(
        self,
        role: str,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._role = role
        names = ["role", "part"]
        self._seconds = Counter(
            "truthloop_turn_seconds", "Time of the role's thread, by part", names, registry=registry
        )
        self._cpu = Counter("truthloop_turn_cpu_seconds", "CPU time of the same", names, registry=registry)
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._marks = clock(), cpu_clock()

    def begin(self) -> None:
        """Begin now, in the thread whose time is divided."""
        self._marks = self._clock(), self._cpu_clock()

    def ends(self, part: str) -> None:
        """Count the time since the last part has ended for this one."""
        before, before_cpu = self._marks
        self._marks = now, now_cpu = self._clock(), self._cpu_clock()
        self._seconds.labels(self._role, part).inc(now - before)
        self._cpu.labels(self._role, part).inc(now_cpu - before_cpu)
