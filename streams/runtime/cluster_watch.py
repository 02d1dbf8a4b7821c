"""Asks every few seconds whether the cluster answers, in a thread of its own, and reports that to the role's health.

So a role that can only wait is not taken for a stalled one, whatever call its own thread is in, and an outage is logged
once when it begins and once when it ends.
"""

import logging
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Final, Self

from schemas.errors import ClusterAway, TruthloopError
from streams.runtime.health import Health

__all__ = ["ClusterWatch"]

log = logging.getLogger("truthloop.kafka")

INTERVAL_S: Final = 5.0
"""Between two questions. One of them is a small request to one broker."""

REPEATED_AFTER_S: Final = 600.0
"""An outage that lasts is logged again after this time, then after twice as long, and so on."""

_WAIT_S: Final = 0.2


class ClusterWatch:
    """Whether the cluster of one role answers; a context manager, which runs the thread.

    Args:
        ask: returns once the cluster has answered, and raises a TruthloopError if it does not.
        clock: monotonic seconds.
    """

    def __init__(self, ask: Callable[[], None], health: Health, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._health = health
        self._clock = clock
        self._stop = Event()
        self._thread = Thread(target=self._run, name="cluster", daemon=True)
        self._has_answered = False
        self._refusal: TruthloopError | None = None
        self._away_since_s: float | None = None
        self._logged_s = 0.0
        self._repeated_after_s = REPEATED_AFTER_S

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, should_stop: Callable[[], bool]) -> bool:
        """Return true once the cluster has answered for the first time, and false if `should_stop` is true before.

        Raises:
            BrokerError: the cluster refuses the connection, which waiting does not mend.
            ConfigError: there is no client with these properties.
        """
        while not self._has_answered:
            if self._refusal is not None:
                raise self._refusal
            if should_stop():
                return False
            self._stop.wait(_WAIT_S)
        return True

    def look(self) -> None:
        """Ask once, and report what has changed."""
        try:
            self._ask()
        except TruthloopError as error:
            if not self._has_answered and not isinstance(error, ClusterAway):
                self._refusal = error
            self._report_away(error)
        else:
            self._report_back()
            self._has_answered = True

    def _run(self) -> None:
        self.look()
        while not self._stop.wait(INTERVAL_S):
            self.look()

    def _report_away(self, error: TruthloopError) -> None:
        self._health.await_cluster(str(error))
        now_s = self._clock()
        if self._away_since_s is None:
            self._away_since_s = self._logged_s = now_s
            if self._refusal is None:
                log.warning("%s: %s; this role waits until it answers", error.where, error.what)
        elif now_s - self._logged_s >= self._repeated_after_s:
            log.warning("%s: %s; for %.0f min by now", error.where, error.what, (now_s - self._away_since_s) / 60)
            self._logged_s = now_s
            self._repeated_after_s *= 2

    def _report_back(self) -> None:
        if self._away_since_s is None:
            return
        log.warning("the cluster answers again, after %.0f s", self._clock() - self._away_since_s)
        self._away_since_s = None
        self._repeated_after_s = REPEATED_AFTER_S
        self._health.await_cluster("")
