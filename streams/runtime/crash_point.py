"""Crash points: named steps at which a test ends the process, to prove that no record is lost or doubled there.

`TRUTHLOOP_CRASH_AT="join:offsets sent:3"` ends the join worker when it reaches that step for the third time. Without
the variable nothing happens.
"""

import os
from collections.abc import Callable, Mapping

from schemas.errors import ConfigError

__all__ = ["VARIABLE", "crash_points"]

VARIABLE = "TRUTHLOOP_CRASH_AT"

EXIT_CODE = 137
"""The exit code of a process that was killed."""


def crash_points(role: str, environ: Mapping[str, str]) -> Callable[[str], None]:
    """Return the function that a role calls with the name of each step.

    Raises:
        ConfigError: the variable is not of the form ROLE:STEP:COUNT.
    """
    text = environ.get(VARIABLE, "")
    crashing_role, _, rest = text.partition(":")
    step, _, count = rest.rpartition(":")
    if text and not (step and count.isdecimal()):
        raise ConfigError(f"is {text!r}, not ROLE:STEP:COUNT", where=f"environment variable {VARIABLE}")
    if crashing_role != role:
        return lambda _step: None
    left = int(count)

    def reached(name: str) -> None:
        nonlocal left
        if name == step:
            left -= 1
            if left == 0:
                os._exit(EXIT_CODE)

    return reached
