"""How far back the labels of a kind are looked at: it scales with their delay, and never with the age of the loop."""

from typing import Final

__all__ = ["lookback_days", "lookback_ms"]

_DAY_MS: Final = 86_400_000

_DAYS_MIN: Final = 42
"""Four weeks of history, and the days that are judged: enough for labels that come within days."""

_MEDIANS: Final = 5
"""What is lost of slow labels shows after about one median delay; the rest is history."""


def lookback_ms(horizon_ms: int, median_ms: int = 0) -> int:
    """Return how far back to look: 42 days, the horizon, or five median delays, whatever is longest.

    >>> lookback_ms(3_600_000) // 86_400_000, lookback_ms(120 * 86_400_000, 30 * 86_400_000) // 86_400_000
    (42, 150)

    Args:
        horizon_ms: the age at which a prediction without a label is final.
        median_ms: the age by which half of the labels have come; 0 where it is not known.
    """
    return max(_DAYS_MIN * _DAY_MS, horizon_ms, _MEDIANS * median_ms)


def lookback_days(horizon_ms: int, median_ms: int = 0) -> int:
    """Return the same in whole days, rounded up."""
    return -(-lookback_ms(horizon_ms, median_ms) // _DAY_MS)
