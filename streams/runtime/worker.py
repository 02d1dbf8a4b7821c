"""Identity and surroundings of a running worker: slot, folders, health and clocks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schemas.base.location import Location
from streams.runtime.health import Health

__all__ = ["Worker"]


@dataclass(frozen=True)
class Worker:
    """One worker of one role.

    Attributes:
        slot: name of this worker among the role's workers; the same after every restart.
        state: folder for the worker's local state.
        lake: where the loop's lake is.
        now_ms: the wall clock, ms UTC.
        clock: a monotonic clock, in seconds; durations are measured by it.
        crash: called with the name of each step of a commit; tests end the process there.
        wait_for_cluster: returns true once the cluster answers, and false when the argument asks to stop before.
    """

    slot: str
    state: Path
    lake: Location
    health: Health
    now_ms: Callable[[], int]
    crash: Callable[[str], None] = lambda _step: None
    clock: Callable[[], float] = time.monotonic
    wait_for_cluster: Callable[[Callable[[], bool]], bool] = lambda _should_stop: True
