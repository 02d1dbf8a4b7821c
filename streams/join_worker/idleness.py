"""Which inputs of a partition are idle, so that a silent one does not hold back the partition's time for ever.

An input is idle once it is read to its end, as the broker has just confirmed, and no record has come for
`idle_after_ms`. With `clock: event` no input is ever idle: time comes from the records alone.
"""

from collections.abc import Callable

from joins import Idle
from joins.watermark import PREDICTIONS

__all__ = ["Idleness"]


class Idleness:
    """Tracks the inputs of a worker's partitions.

    Args:
        kinds: label kinds.
        idle_after_ms: silence after which an input is idle.
        is_enabled: false if no input is ever idle.
    """

    def __init__(self, kinds: list[str], idle_after_ms: int, *, is_enabled: bool) -> None:
        self._names = (PREDICTIONS, *kinds)
        self._idle_after_ms = idle_after_ms
        self._is_enabled = is_enabled
        self._seen_ms: dict[int, dict[str, int]] = {}
        self._reported_ms: dict[int, int] = {}

    def start(self, number: int, now_ms: int) -> None:
        """Track a partition, whose inputs count as active now."""
        self._seen_ms[number] = dict.fromkeys(self._names, now_ms)
        self._reported_ms[number] = now_ms

    def seen(self, number: int, inputs: set[str], now_ms: int) -> None:
        """Note that records of these inputs came."""
        seen = self._seen_ms[number]
        for name in inputs:
            seen[name] = now_ms

    def idle(self, number: int, now_ms: int, is_caught_up: Callable[[], bool]) -> Idle:
        """Return the idle inputs of a partition; at most once in `idle_after_ms` there are any."""
        if not self._is_enabled or now_ms - self._reported_ms[number] < self._idle_after_ms:
            return Idle()
        silent_ms = {name: now_ms - seen for name, seen in self._seen_ms[number].items()}
        idle = {name for name, silent in silent_ms.items() if silent >= self._idle_after_ms}
        if not idle or not is_caught_up():
            return Idle()
        self._reported_ms[number] = now_ms
        return Idle(frozenset(idle), max(silent_ms[name] for name in idle))
