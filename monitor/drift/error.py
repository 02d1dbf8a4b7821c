"""Drift of the model's error: a test of daily means at a fixed age, in which days and not rows are the observations.

Errors of one day go up and down together, by weather or by a campaign, and thousands of rows do not make that rarer. So
how much days differ is learned, and a change must exceed it. In arrival order errors drift by themselves, because the
delay of a label depends on the outcome: so the caller gives whole mature days. The changes that were found, and the
days of the last twelve weeks, are all the state: with them a detector is resumed as it was.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import stdtrit

from monitor.drift.detection import Detection, Resolution
from schemas.events.memory import ErrorChange

__all__ = ["ERROR_LOOKBACK", "ErrorDrift"]

_REFERENCE, _WINDOW = timedelta(days=56), timedelta(days=28)
"""The longest time before a change that it is compared with, and the longest after it. Slower changes are not found."""
ERROR_LOOKBACK: Final = _REFERENCE + _WINDOW
"""How far back days matter, the newest included."""
_WARM_UP = timedelta(days=14)
"""Until every hour of the week has been seen twice, the weekly pattern itself is found as drift."""
_SLOT_HOURS, _SLOTS, _WEEKDAYS = 3, 56, 7
_PSEUDO_LABELS = 200
_CHANGE, _RELATIVE_CHANGE = 0.01, 0.02
_LASTING = 0.5
"""Part of the change that the window's first day has, and that the window keeps without its most deviating day: the
days before a change do not belong to it, and one day makes no drift."""
_ROWS_LEAST = 500
"""Rows that the window has without that day."""
_LEVEL = 3e-5
"""Of one test on one side. Up to 28 windows are tested a day, most of them nearly alike: none was false in 18,000
simulated days (`benchmarks/error_drift.py`)."""
_WEEK_DAYS = 7
_SCALE_MOST = 4.0

_Floats = npt.NDArray[np.float64]


@dataclass
class _Day:
    """Rows, errors and squared errors of one day by slot; later drifts change errors linearly."""

    day: date
    rows: _Floats
    errors: _Floats
    squares: _Floats

    def adjust(self, scale: float, shift: float) -> None:
        """Replace each error e by scale * e + shift."""
        self.squares = scale**2 * self.squares + 2 * scale * shift * self.errors + shift**2 * self.rows
        self.errors = scale * self.errors + shift * self.rows


@dataclass(frozen=True)
class _Baseline:
    """What is usual, learned from the days of a reference.

    Attributes:
        expected: mean error by slot.
        row_variance: of a row around its slot's mean.
        day_variance: between days, beyond that of their rows.
        weight: sum of the days' weights, which are inverse variances.
        threshold: in standard errors.
    """

    expected: _Floats
    row_variance: float
    day_variance: float
    weight: float
    threshold: float

    def weights(self, rows: _Floats) -> _Floats:
        """Return the weights of daily means of so many rows."""
        found: _Floats = 1 / (self.day_variance + self.row_variance / rows)
        return found


class ErrorDrift:
    """Finds lasting changes of one version's error, day by day.

    Each day, every window of up to 28 days that ends with it is compared with the up to 56 days before the window, of
    which there must be 14. What a row is expected to have is the mean error in the same three hours of the week before,
    shrunk towards the overall mean by 200 pseudo-labels. Daily means around it have variance `day + row / n`, of which
    `day` is estimated from the reference by moments, weekdays taken out; they are weighted by its inverse. The
    difference of the two means, in standard errors, is compared with Student's t.

    The window with the greatest such difference counts, of those whose first day shows half of it. It is reported if
    the difference is at least 0.01 and at least 2 % of the error before, and if without its most deviating day 500 rows
    still show half of it. History is then scaled by the change, so that it is reported once. A slower change than the
    window is not found.

    Args:
        timezone: IANA name of the zone whose hours of the week count.

    >>> drift = ErrorDrift("UTC")
    >>> for day in pl.date_range(date(2013, 1, 1), date(2013, 1, 22), eager=True):
    ...     times = pl.datetime_range(day, day + timedelta(days=1), "1m", closed="left", time_zone="UTC", eager=True)
    ...     errors = [0.0, 0.0, 0.0, float(day >= date(2013, 1, 21))] * 360
    ...     found = drift.add_day(day, pl.DataFrame({"predicted_at": times, "error": errors}))
    >>> found.direction, str(found.since), round(found.change, 2)
    ('worse', '2013-01-21', 0.25)
    """

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone).key
        self._history: deque[_Day] = deque(maxlen=ERROR_LOOKBACK.days)
        self._found: list[Detection] = []
        self._last: date | None = None

    @classmethod
    def resumed(
        cls, timezone: str, days: Iterable[tuple[date, pl.DataFrame]], found: Sequence[Detection]
    ) -> "ErrorDrift":
        """Return the detector as it was after some days, to the bit.

        Args:
            days: all days of the last `ERROR_LOOKBACK` with their rows, in order, as they were given then.
            found: the changes that were found with them, in order.
        """
        drift = cls(timezone)
        for day, rows in days:
            drift._keep(day, rows)
            for one in found:
                if one.day == day:
                    drift._accept(one)
        return drift

    @property
    def found(self) -> list[Detection]:
        """The changes that some day of `ERROR_LOOKBACK` lies before, in order."""
        return [one for one in self._found if self._last is not None and self._last - one.since < ERROR_LOOKBACK]

    def add_day(self, day: date, rows: pl.DataFrame) -> Detection | None:
        """Read the next mature day; return the drift that is found with it.

        Args:
            day: later than all days before.
            rows: `predicted_at` (Datetime, microseconds, UTC) and `error` from 0 to 1. May be empty.

        Raises:
            ValueError: the day is not later, or an error is not from 0 to 1.
        """
        self._keep(day, rows)
        if rows.is_empty():
            return None
        found = self._change(day)
        if found is not None:
            self._accept(found)
        return found

    def _keep(self, day: date, rows: pl.DataFrame) -> None:
        if self._last is not None and day <= self._last:
            raise ValueError(f"{day} comes after {self._last}: days are given in order, each once")
        usable = rows.get_column("error").is_between(0.0, 1.0).fill_null(value=False)
        if not usable.all():
            raise ValueError(f"{(~usable).sum()} errors of {day} are not from 0 to 1")
        self._last = day
        if not rows.is_empty():
            self._history.append(self._read(day, rows))

    def resolution(self) -> Resolution | None:
        """Return what the test can tell of the next week; None until there are four weeks to learn from."""
        reference = [] if self._last is None else self._before(self._last + timedelta(days=1))
        return _resolution(_learn(reference), reference) if len(reference) >= _WINDOW.days else None

    def _read(self, day: date, rows: pl.DataFrame) -> _Day:
        local = pl.col("predicted_at").dt.convert_time_zone(self._zone)
        slot = (local.dt.weekday() - 1).cast(pl.Int64) * (24 // _SLOT_HOURS) + local.dt.hour() // _SLOT_HOURS
        read = rows.select(slot.cast(pl.Int64).alias("slot"), pl.col("error").cast(pl.Float64))
        slots, errors = read.get_column("slot").to_numpy(), read.get_column("error").to_numpy()
        rows_of, errors_of, squares_of = (
            np.bincount(slots, weights, _SLOTS).astype(np.float64)
            for weights in (np.ones_like(errors), errors, errors**2)
        )
        return _Day(day, rows_of, errors_of, squares_of)

    def _before(self, since: date) -> list[_Day]:
        """Return the days to compare with; none where there are too few."""
        found = [one for one in self._history if since - _REFERENCE <= one.day < since]
        return found if found and since - found[0].day >= _WARM_UP and len(found) > _WEEKDAYS else []

    def _change(self, today: date) -> Detection | None:
        """Return the change with the greatest evidence among the windows that end today, if it suffices and lasts."""
        recent = [one for one in self._history if today - one.day < _WINDOW]
        best: tuple[float, list[_Day], _Baseline] | None = None
        for first in range(len(recent)):
            window, reference = recent[first:], self._before(recent[first].day)
            if reference:
                usual = _learn(reference)
                score = _score(window, usual)
                if best is None or abs(score) > abs(best[0]):
                    best = score, window, usual
        if best is None or abs(best[0]) < 1 or not _lasts(*best[1:]):
            return None
        _, window, usual = best
        before, after = _means(window, usual)
        n = round(float(np.sum([one.rows for one in window])))
        return Detection.of(ErrorChange(day=today, since=window[0].day, error_before=before, error_after=after, n=n))

    def _accept(self, found: Detection) -> None:
        """Scale history to the new error, as errors mostly keep their pattern; shift it where the scale is limited."""
        self._found.append(found)
        scale = min(found.error_after / found.error_before, _SCALE_MOST) if found.error_before > 0 else 1.0
        for one in self._history:
            if one.day < found.since:
                one.adjust(scale, found.error_after - found.error_before * scale)


def _learn(reference: Sequence[_Day]) -> _Baseline:
    """Return what is usual; more days than the seven of a week are needed."""
    rows, errors, squares = (
        np.array([getattr(one, name) for one in reference]) for name in ("rows", "errors", "squares")
    )
    mean = errors.sum() / rows.sum()
    expected = ((errors.sum(axis=0) + _PSEUDO_LABELS * mean) / (rows.sum(axis=0) + _PSEUDO_LABELS)).clip(0.0, 1.0)
    n = rows.sum(axis=1)
    around = (squares - 2 * errors * expected + rows * expected**2).sum()
    row_variance = (max(float(around), 0.0) + 1) / (n.sum() + 2)  # never zero, as after one more error
    deviations = (errors - rows * expected).sum(axis=1) / n
    freedom = len(reference) - _WEEKDAYS
    day_variance = max(0.0, float((deviations**2).sum() / freedom - (row_variance / n).mean()))
    usual = _Baseline(expected, row_variance, day_variance, 0.0, float(stdtrit(freedom, 1 - _LEVEL)))
    return replace(usual, weight=float(usual.weights(n).sum()))


def _deviations(window: Sequence[_Day], usual: _Baseline) -> tuple[_Floats, _Floats, float]:
    """Return each day's difference from what is usual, its rows, and the weighted mean difference."""
    n = np.array([one.rows.sum() for one in window])
    deviations: _Floats = np.array([(one.errors - one.rows * usual.expected).sum() for one in window]) / n
    weights = usual.weights(n)
    return deviations, n, float(weights @ deviations / weights.sum())


def _score(window: Sequence[_Day], usual: _Baseline) -> float:
    """Return the window's difference from what is usual as a multiple of the threshold; 0 if it began later."""
    deviations, n, change = _deviations(window, usual)
    if change == 0 or deviations[0] / change < _LASTING:
        return 0.0
    return change / math.sqrt(1 / float(usual.weights(n).sum()) + 1 / usual.weight) / usual.threshold


def _lasts(window: Sequence[_Day], usual: _Baseline) -> bool:
    """Tell whether a change is large, also without the day that deviates most, and rests on enough rows then."""
    deviations, n, change = _deviations(window, usual)
    rest = np.arange(len(window)) != int((deviations * math.copysign(1.0, change)).argmax())
    if n[rest].sum() < _ROWS_LEAST:
        return False
    weights = usual.weights(n[rest])
    kept = float(weights @ deviations[rest] / weights.sum())
    before, after = _means(window, usual)
    is_large = _is_large(before, before + kept) and _is_large(before, after)
    return is_large and kept / change >= _LASTING and (after - before) * change > 0


def _means(window: Sequence[_Day], usual: _Baseline) -> tuple[float, float]:
    """Return the expected error and the observed error of a window."""
    rows = np.sum([one.rows for one in window], axis=0)
    return float(rows @ usual.expected / rows.sum()), float(np.sum([one.errors for one in window]) / rows.sum())


def _resolution(usual: _Baseline, reference: Sequence[_Day]) -> Resolution:
    """Return what a week of days with the usual number of rows can tell."""
    rows = float(np.median([one.rows.sum() for one in reference]))
    variance, of_rows = usual.day_variance + usual.row_variance / rows, usual.row_variance / rows
    smallest = usual.threshold * math.sqrt(variance / _WEEK_DAYS + 1 / usual.weight)
    return Resolution(math.sqrt(usual.day_variance), smallest, math.sqrt(variance / of_rows))


def _is_large(before: float, after: float) -> bool:
    return abs(after - before) >= max(_CHANGE, _RELATIVE_CHANGE * before)
