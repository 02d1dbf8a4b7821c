"""The wall clock: the one place where the product reads it."""

import time

__all__ = ["now_ms"]


def now_ms() -> int:
    """Return the present in epoch milliseconds."""
    return time.time_ns() // 1_000_000
