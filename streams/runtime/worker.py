"""What every running worker is given beside its work: who it is, whom it tells how it goes, and the clock.

Must not do anything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streams.runtime.health import Health

__all__ = ["Worker"]


@dataclass(frozen=True)
class Worker:
    """One worker of one role.

    Attributes:
        slot: which of the role's workers this is; the same in every life.
        state: folder of what it keeps on this machine.
        lake: folder of the loop's lake.
        health: told how it goes.
        now_ms: the wall clock.
        crash: called with the name of each step of a commit; tests end the process there.
    """

    slot: str
    state: Path
    lake: Path
    health: Health
    now_ms: Callable[[], int]
    crash: Callable[[str], None] = lambda _step: None
