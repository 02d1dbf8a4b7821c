"""What keeps a role from its work for now, said out loud, and when it tries again.

For what a restart would not mend: a full disk, a cluster that is away. Must not decide what to try.
"""

import logging
import time
from collections.abc import Callable

from schemas.errors import TruthloopError
from streams.runtime.health import Health

__all__ = ["BACKOFF_S", "Backoff"]

log = logging.getLogger("truthloop")

BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""How long to wait before the next attempt, each time longer."""


class Backoff:
    """Keeps track of one role's failures in a row.

    Args:
        health: told of them.
        clock: seconds that only grow.
    """

    def __init__(self, health: Health, clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._clock = clock
        self._attempts = 0
        self._stage = ""
        self._not_before_s = 0.0

    def __bool__(self) -> bool:
        return self._attempts > 0

    @property
    def must_wait(self) -> bool:
        """Whether the next attempt is still to be waited for."""
        return self._clock() < self._not_before_s

    def begin(self, stage: str, error: TruthloopError) -> None:
        """Note that a stage of the work has failed."""
        wait_s = BACKOFF_S[min(self._attempts, len(BACKOFF_S) - 1)]
        self._attempts += 1
        self._stage = stage
        self._not_before_s = self._clock() + wait_s
        log.error("%s; it is tried again in %.0f s", error, wait_s)
        self._health.ready(str(error))

    def end(self, stage: str) -> None:
        """Note that a stage has worked; the trouble is over if it was that stage's."""
        if not self:
            self._health.ready()
        elif stage == self._stage:
            log.info("it works again")
            self._attempts = 0
            self._not_before_s = 0.0
            self._health.ready()

    def tell(self, moved: int, lag: int) -> None:
        """Tell of one turn of the role; one that can only wait lives, however long that takes."""
        self._health.turn(moved, lag)
        if self:
            self._health.waits()
