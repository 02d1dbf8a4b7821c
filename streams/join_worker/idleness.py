"""Which inputs of a live partition are silent, so that they do not hold time back for ever.

An input is idle once it is read to its end, the broker has just said so, and nothing came for a while. With
`clock: event` there is no such thing: time is the records' own. Must not read a clock.
"""

from collections.abc import Callable

from joins import Idle
from joins.watermark import PREDICTIONS

__all__ = ["Idleness"]


class Idleness:
    """Watches the inputs of a worker's partitions.

    Args:
        kinds: label kinds.
        idle_after_ms: the loop's setting.
        counts: whether silence means anything (`clock: arrival`).
    """

    def __init__(self, kinds: list[str], idle_after_ms: int, *, counts: bool) -> None:
        self._names = (PREDICTIONS, *kinds)
        self._idle_after_ms = idle_after_ms
        self._counts = counts
        self._seen_ms: dict[int, dict[str, int]] = {}
        self._asked_ms: dict[int, int] = {}

    def start(self, number: int, now_ms: int) -> None:
        """Watch a partition; it has not been silent yet."""
        self._seen_ms[number] = dict.fromkeys(self._names, now_ms)
        self._asked_ms[number] = now_ms

    def forget(self, number: int) -> None:
        """Watch a partition no longer."""
        self._seen_ms.pop(number, None)
        self._asked_ms.pop(number, None)

    def saw(self, number: int, inputs: set[str], now_ms: int) -> None:
        """Note that records of these inputs came."""
        seen = self._seen_ms[number]
        for name in inputs:
            seen[name] = now_ms

    def idle(self, number: int, now_ms: int, is_caught_up: Callable[[], bool]) -> Idle:
        """Return which inputs are idle; at most once in `idle_after` anything but none."""
        if not self._counts or now_ms - self._asked_ms[number] < self._idle_after_ms:
            return Idle()
        silent_ms = {name: now_ms - seen for name, seen in self._seen_ms[number].items()}
        idle = {name for name, silent in silent_ms.items() if silent >= self._idle_after_ms}
        if not idle or not is_caught_up():
            return Idle()
        self._asked_ms[number] = now_ms
        return Idle(frozenset(idle), max(silent_ms[name] for name in idle))
