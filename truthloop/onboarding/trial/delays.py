"""How long labels take after their predictions, as far as a sample shows it, and which ages that suggests.

A sample sees no delay that is longer than what its topics hold, and its pairs are those that met by chance: every
figure here is a proposal for a person. Must not know topics.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from schemas.base.duration import format_duration

__all__ = ["Ages", "Delays", "about", "ages_of", "delays_of", "nice_age"]

_S: Final = 1_000
_M: Final = 60 * _S
_H: Final = 60 * _M
_D: Final = 24 * _H
NICE: Final = (
    *(_M, 5 * _M, 15 * _M, 30 * _M, _H, 2 * _H, 3 * _H, 6 * _H, 12 * _H, _D, 2 * _D, 3 * _D, 7 * _D, 14 * _D),
    *(30 * _D, 60 * _D, 90 * _D, 120 * _D, 180 * _D, 365 * _D, 730 * _D),
)

PAIRS_MIN: Final = 30
"""Fewer pairs say nothing of the slowest labels."""

SPARE: Final = 2
"""The horizon is so many times the age by which 99 of 100 labels have come: months differ."""

SEEN_WHOLE: Final = 3
"""A window of so many times the p90 shows most of what there is to see."""


@dataclass(frozen=True)
class Delays:
    """Ages at which the labels of one kind were known, in ms.

    Attributes:
        pairs: predictions whose label is in the sample, too.
        p10: a tenth came earlier.
        p50: the middle.
        p90: nine tenths came earlier.
        p99: nearly all came earlier.
        window_ms: from the oldest prediction to the newest label: no longer delay can be seen.
        before: share of the labels that were known before the prediction was made.
        beyond_horizon: share that came after the horizon.
        beyond_retain: share that came after retain.
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
    def is_cut(self) -> bool:
        """Whether the topics are too short to see the slow labels."""
        return self.window_ms < SEEN_WHOLE * self.p90


@dataclass(frozen=True)
class Ages:
    """A label kind's ages as they could be, in ms."""

    expected_delay: int
    horizon: int
    retain: int
    early: int
    cohorts: tuple[int, ...]
    remark: str


def delays_of(
    predictions: pl.DataFrame, labels: pl.DataFrame, horizon_ms: int | None = None, retain_ms: int | None = None
) -> Delays | None:
    """Return the delays of the keys that both frames have; None where there is none.

    Args:
        predictions: with `key` and `known_ms`.
        labels: of one kind, with `key` and `known_ms`.
        horizon_ms: to count what comes after it.
        retain_ms: the same.
    """
    first = labels.filter(pl.col("key").is_not_null()).group_by("key").agg(pl.col("known_ms").min().alias("label_ms"))
    made = predictions.group_by("key").agg(pl.col("known_ms").min().alias("made_ms"))
    delay = made.join(first, on="key").select(pl.col("label_ms") - pl.col("made_ms"))["label_ms"].sort()
    if delay.is_empty():
        return None
    p10, p50, p90, p99 = (int(delay[min(int(len(delay) * share), len(delay) - 1)]) for share in (0.1, 0.5, 0.9, 0.99))
    newest, oldest = first.select(pl.col("label_ms").max()).item(), made.select(pl.col("made_ms").min()).item()
    return Delays(
        len(delay),
        p10,
        p50,
        p90,
        p99,
        newest - oldest,
        _share(delay < 0),
        0.0 if horizon_ms is None else _share(delay > horizon_ms),
        0.0 if retain_ms is None else _share(delay.abs() > retain_ms),
    )


def _share(mask: pl.Series) -> float:
    return float(mask.sum()) / len(mask)


def nice_age(ms: float) -> int:
    """Return the next age that people would name.

    >>> nice_age(200_000), nice_age(90_000_000)
    (300000, 172800000)
    """
    return next((age for age in NICE if age >= ms), NICE[-1])


def ages_of(delays: Delays | None) -> Ages:
    """Return ages that fit what was seen, or common ones where too little was."""
    if delays is None or delays.pairs < PAIRS_MIN or delays.p90 <= 0:
        seen = f"{delays.pairs if delays else 0} pairs of prediction and label were seen"
        return Ages(_D, 7 * _D, 14 * _D, _H, (6 * _H, _D, 3 * _D, 7 * _D), f"{seen}, too few to propose ages")
    expected = nice_age(delays.p90)
    horizon = max(nice_age(SPARE * delays.p99), expected)
    retain = nice_age(SPARE * horizon)
    between = [age for age in NICE if nice_age(delays.p10) <= age <= horizon]
    cohorts = tuple(between[:: max(1, len(between) // 5)])
    said = (
        f"{delays.pairs:,} pairs: half of the labels within {about(delays.p50)}, 90 % within {about(delays.p90)}, "
        f"99 % within {about(delays.p99)}"
    )
    if delays.is_cut:
        said += f"; the topics only reach {about(delays.window_ms)} back, so slower ones cannot be seen"
    return Ages(expected, horizon, max(retain, horizon), _H, cohorts or (horizon,), said)


def about(ms: int) -> str:
    """Write an age with its two largest units at most.

    >>> about(3_723_004), about(59_300), about(-90_061_000)
    ('1h2m', '59s', '-1d1h')
    """
    rest = abs(ms)
    step = next((small for large, small in ((_D, _H), (_H, _M), (_M, _S), (_S, _S)) if rest >= large), 1)
    text = format_duration(rest // step * step)
    return f"-{text}" if ms < 0 else text
