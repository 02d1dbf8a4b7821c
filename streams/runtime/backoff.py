"""Back-off of a role: counts failures in a row, waits longer after each, and reports them.

For failures that a restart would not mend, such as a full disk or a cluster that is down. A failure is logged once,
however often it is met again, and not at all while `streams.runtime.cluster_watch` has said that the cluster is away.
"""

import logging
import time
from collections.abc import Callable

from schemas.errors import ClusterAway
from streams.runtime.health import Health

__all__ = ["BACKOFF_S", "Backoff"]

log = logging.getLogger("truthloop")

BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits after the first, second, third ... failure in a row; the last one is repeated."""


class Backoff:
    """Failures in a row of one role; true while there are any.

    Args:
        health: of the role, which is unready while there are failures.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, health: Health, clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._clock = clock
        self._failures = 0
        self._stage = ""
        self._logged = ""
        self._retry_at_s = 0.0
        self._waits_for_cluster = False

    def __bool__(self) -> bool:
        return self._failures > 0

    @property
    def must_wait(self) -> bool:
        """Whether it is too early for the next attempt; it is not once an outage that caused the failure has ended."""
        if self._waits_for_cluster and not self._health.awaits_cluster:
            self._waits_for_cluster = False
            self._retry_at_s = 0.0
        return self._clock() < self._retry_at_s

    def failed(self, stage: str, error: Exception) -> None:
        """Count and report a failure of a stage of the role's work."""
        wait_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        self._stage = stage
        self._retry_at_s = self._clock() + wait_s
        self._waits_for_cluster = self._health.awaits_cluster
        # the text of a ClusterAway names another connection each time
        logged = ClusterAway.__name__ if isinstance(error, ClusterAway) else str(error)
        if logged != self._logged and not self._waits_for_cluster:
            log.error("%s; it is tried again in %.0f s, and later every %.0f s", error, wait_s, BACKOFF_S[-1])
            self._logged = logged
        self._health.set_readiness(str(error))

    def succeeded(self, stage: str) -> None:
        """End the back-off if this stage is the one that failed."""
        if not self:
            self._health.set_readiness()
        elif stage == self._stage:
            if self._logged:
                log.info("it works again")
            self._failures = 0
            self._logged = ""
            self._retry_at_s = 0.0
            self._health.set_readiness()

    def report_progress(self, moved: int, lag: int) -> None:
        """Report one iteration of the role; during a back-off the role counts as alive, however long it takes."""
        self._health.report_progress(moved, lag)
        if self:
            self._health.report_alive()
