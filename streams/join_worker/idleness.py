"""Which inputs of a partition are idle, so that a silent one does not hold back the partition's time for ever.

An input is idle once it is read to its end, as the broker has just confirmed, and no record has come for
`idle_after_ms`. With `clock: event` no input is ever idle: time comes from the records alone.

Silence is what this worker has observed: by a monotonic clock, and between two polls no more than `OBSERVED_MAX_MS`. So
neither a wall clock that leaps nor a process that stood still moves a partition's time.
"""

from collections.abc import Callable

from joins import Idle
from joins.watermark import PREDICTIONS

__all__ = ["OBSERVED_MAX_MS", "Idleness"]

OBSERVED_MAX_MS = 5_000
"""Longest time between two polls that counts as silence: a slow commit is shorter, a leap or a standstill longer."""


class Idleness:
    """Tracks the inputs of a worker's partitions. Times are of the silence that was observed, from 0 on.

    Args:
        kinds: label kinds.
        idle_after_ms: silence after which an input is idle.
        is_enabled: false if no input is ever idle.
    """

    def __init__(self, kinds: list[str], idle_after_ms: int, *, is_enabled: bool) -> None:
        self._names = (PREDICTIONS, *kinds)
        self._idle_after_ms = idle_after_ms
        self._is_enabled = is_enabled
        self._polled_ms: int | None = None
        self._observed_ms = 0
        self._seen_ms: dict[int, dict[str, int]] = {}
        self._reported_ms: dict[int, int] = {}

    def observe(self, monotonic_ms: int) -> None:
        """Go on with time; to be called at every poll, with a monotonic clock."""
        if self._polled_ms is not None:
            self._observed_ms += min(max(monotonic_ms - self._polled_ms, 0), OBSERVED_MAX_MS)
        self._polled_ms = monotonic_ms

    def start(self, number: int) -> None:
        """Track a partition, whose inputs count as active now."""
        self._seen_ms[number] = dict.fromkeys(self._names, self._observed_ms)
        self._reported_ms[number] = self._observed_ms

    def seen(self, number: int, inputs: set[str]) -> None:
        """Note that records of these inputs came."""
        seen = self._seen_ms[number]
        for name in inputs:
            seen[name] = self._observed_ms

    def idle(self, number: int, is_caught_up: Callable[[], bool]) -> Idle:
        """Return the idle inputs of a partition; at most once in `idle_after_ms` there are any."""
        now_ms = self._observed_ms
        if not self._is_enabled or now_ms - self._reported_ms[number] < self._idle_after_ms:
            return Idle()
        silent_ms = {name: now_ms - seen for name, seen in self._seen_ms[number].items()}
        idle_ms = {name: silent for name, silent in silent_ms.items() if silent >= self._idle_after_ms}
        if not idle_ms or not is_caught_up():
            return Idle()
        self._reported_ms[number] = now_ms
        return Idle(frozenset(idle_ms), min(idle_ms.values()))
