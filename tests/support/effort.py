"""How much the tests try: `make test` takes minutes; `make test-thorough` is for whoever changes what they guard."""

import os
from typing import TypeVar

__all__ = ["THOROUGH", "examples", "some"]

THOROUGH = os.environ.get("TRUTHLOOP_TESTS") == "thorough"

_T = TypeVar("_T")

SHARE = 8
EXAMPLES_MIN = 20


def examples(thorough: int) -> int:
    """Return how many examples a property is tried with."""
    return thorough if THOROUGH else max(EXAMPLES_MIN, thorough // SHARE)


def some(*cases: _T, at_least: int = 1) -> tuple[_T, ...]:
    """Return all cases of a long test, or the first few where minutes count."""
    return cases if THOROUGH else cases[:at_least]
