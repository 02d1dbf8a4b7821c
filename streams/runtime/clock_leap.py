"""Notices that the wall clock was set: it then differs from the monotonic clock by more than both can run apart.

Nothing is corrected here. Whoever measures durations uses the monotonic clock; this names the fault to a person.
"""

__all__ = ["LEAP_MS", "ClockLeap"]

LEAP_MS = 1_000
"""Smaller steps are what time synchronisation does all day, and harm nobody."""


class ClockLeap:
    """Compares two readings of both clocks with the two before."""

    def __init__(self) -> None:
        self._ahead_ms: int | None = None

    def since_last(self, wall_ms: int, monotonic_ms: int) -> int:
        """Return by how many ms the wall clock was set since the last call: forward if positive; 0 if it was not.

        Example:
            >>> clock = ClockLeap()
            >>> [clock.since_last(*read) for read in [(5_000, 10), (5_500, 510), (1_205_550, 560), (5_600, 610)]]
            [0, 0, 1200000, -1200000]
        """
        ahead_ms = wall_ms - monotonic_ms
        leap_ms = 0 if self._ahead_ms is None else ahead_ms - self._ahead_ms
        self._ahead_ms = ahead_ms
        return leap_ms if abs(leap_ms) >= LEAP_MS else 0
