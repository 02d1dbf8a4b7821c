"""Crash points: places where a test ends the process, to show that it does no harm there.

`TRUTHLOOP_CRASH_AT="join:offsets sent:3"` ends the join worker when it comes to that step for the third time.
Without the variable nothing happens.
"""

import os
from collections.abc import Callable, Mapping

from schemas.errors import ConfigError

__all__ = ["VARIABLE", "crash_points"]

VARIABLE = "TRUTHLOOP_CRASH_AT"

EXIT_CODE = 137
"""What a process that was killed would leave."""


def crash_points(role: str, environ: Mapping[str, str]) -> Callable[[str], None]:
    """Return what a role calls with the name of each step.

    Raises:
        ConfigError: the variable does not say ROLE:STEP:COUNT.
    """
    wish = environ.get(VARIABLE, "")
    wanted_role, _, rest = wish.partition(":")
    step, _, count = rest.rpartition(":")
    if wish and not (step and count.isdecimal()):
        raise ConfigError(f"says {wish!r}, not ROLE:STEP:COUNT", where=f"environment variable {VARIABLE}")
    if wanted_role != role:
        return lambda _step: None
    left = int(count)

    def come_to(name: str) -> None:
        nonlocal left
        if name == step:
            left -= 1
            if left == 0:
                os._exit(EXIT_CODE)

    return come_to
