"""Delays of sampled labels after their predictions, and the ages that they suggest for a label kind.

A sample shows no delay longer than its topics' time span, and only the pairs that happen to be in it, so every number
here is a suggestion for a person.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from schemas.base.duration import format_duration

__all__ = ["PAIRS_MIN", "Delays", "SuggestedAges", "age_text", "measure_delays", "suggest_ages", "two_units"]

_S: Final = 1_000
_M: Final = 60 * _S
_H: Final = 60 * _M
_D: Final = 24 * _H
NICE: Final = (
    *(_M, 5 * _M, 15 * _M, 30 * _M, _H, 2 * _H, 3 * _H, 6 * _H, 12 * _H, _D, 2 * _D, 3 * _D, 7 * _D, 14 * _D),
    *(30 * _D, 60 * _D, 90 * _D, 120 * _D, 180 * _D, 365 * _D, 730 * _D),
)

PAIRS_MIN: Final = 30
"""Minimum number of pairs to estimate the slowest labels from."""

SPARE: Final = 2
"""The horizon is this multiple of the age by which 99 of 100 labels have come: months differ."""

WINDOW_MIN: Final = 3
"""A time span of at least this multiple of the p90 shows most of the delays."""


@dataclass(frozen=True)
class Delays:
    """Delays of the labels of one kind: from a prediction to the time when its label was known. Quantiles in ms.

    Attributes:
        pairs: number of sampled predictions whose label was sampled, too.
        window_ms: from the oldest prediction to the newest label: no longer delay can be observed.
        before: share of the labels that were known before their prediction was made.
        beyond_horizon: share of the labels that came after the horizon.
        beyond_retain: share of the labels that came after `retain`.
    """

    pairs: int
    p10: int
    p50: int
    p90: int
    p99: int
    window_ms: int
    before: float
    beyond_horizon: float = 0.0
    beyond_retain: float = 0.0

    @property
    def is_truncated(self) -> bool:
        """Whether the topics span too little time to show the slow labels."""
        return self.window_ms < WINDOW_MIN * self.p90


@dataclass(frozen=True)
class SuggestedAges:
    """Suggested ages of a label kind, in ms.

    Attributes:
        reason: the delays that suggest them, as text.
    """

    expected_delay: int
    horizon: int
    retain: int
    early: int
    cohorts: tuple[int, ...]
    reason: str


def measure_delays(
    predictions: pl.DataFrame, labels: pl.DataFrame, horizon_ms: int | None = None, retain_ms: int | None = None
) -> Delays | None:
    """Return the delays of the keys that both frames have; None if they share none.

    Args:
        predictions: columns `key` and `known_ms`.
        labels: the same columns, for labels of one kind.
        horizon_ms: age for `beyond_horizon`.
        retain_ms: age for `beyond_retain`.
    """
    first = labels.filter(pl.col("key").is_not_null()).group_by("key").agg(pl.col("known_ms").min().alias("label_ms"))
    made = predictions.group_by("key").agg(pl.col("known_ms").min().alias("made_ms"))
    delay = made.join(first, on="key").select(pl.col("label_ms") - pl.col("made_ms"))["label_ms"].sort()
    if delay.is_empty():
        return None
    p10, p50, p90, p99 = (int(delay[min(int(len(delay) * share), len(delay) - 1)]) for share in (0.1, 0.5, 0.9, 0.99))
    newest, oldest = first.select(pl.col("label_ms").max()).item(), made.select(pl.col("made_ms").min()).item()
    beyond_horizon = 0.0 if horizon_ms is None else _share(delay > horizon_ms)
    beyond_retain = 0.0 if retain_ms is None else _share(delay.abs() > retain_ms)
    window_ms = newest - oldest
    return Delays(len(delay), p10, p50, p90, p99, window_ms, _share(delay < 0), beyond_horizon, beyond_retain)


def _share(mask: pl.Series) -> float:
    return float(mask.sum()) / len(mask)


def _nice_age(ms: float) -> int:
    """Return the next longer age that people would write.

    >>> _nice_age(200_000), _nice_age(90_000_000)
    (300000, 172800000)
    """
    return next((age for age in NICE if age >= ms), NICE[-1])


def suggest_ages(delays: Delays | None) -> SuggestedAges:
    """Return ages that fit the delays; common ages if there are too few pairs."""
    if delays is None or delays.pairs < PAIRS_MIN or delays.p90 <= 0:
        pairs = delays.pairs if delays else 0
        reason = f"only {pairs} sampled labels have their prediction in the sample, too few to suggest ages from"
        return SuggestedAges(_D, 7 * _D, 14 * _D, _H, (6 * _H, _D, 3 * _D, 7 * _D), reason)
    expected = _nice_age(delays.p90)
    horizon = max(_nice_age(SPARE * delays.p99), expected)
    retain = _nice_age(SPARE * horizon)
    between = [age for age in NICE if _nice_age(delays.p10) <= age <= horizon]
    cohorts = tuple(between[:: max(1, len(between) // 5)])
    reason = (
        f"of {delays.pairs:,} labels, half came within {age_text(delays.p50)}, 90 % within {age_text(delays.p90)}, "
        f"99 % within {age_text(delays.p99)}"
    )
    if delays.is_truncated:
        reason += f"; the topics span only {age_text(delays.window_ms)}, so slower labels cannot be seen"
    return SuggestedAges(expected, horizon, max(retain, horizon), _H, cohorts or (horizon,), reason)


def age_text(ms: int) -> str:
    """Format an age with its two largest units.

    >>> age_text(3_723_004), age_text(59_300), age_text(-90_061_000)
    ('1h2m', '59s', '-1d1h')
    """
    return format_duration(two_units(ms))


def two_units(ms: int) -> int:
    """Cut an age to its two largest units."""
    step = next((small for large, small in ((_D, _H), (_H, _M), (_M, _S), (_S, _S)) if abs(ms) >= large), 1)
    return int(ms / step) * step
