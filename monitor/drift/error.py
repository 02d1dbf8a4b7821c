"""Drift of the model's error: ADWIN on deseasonalised errors, at a fixed age, in event-time order.

In arrival order errors drift by themselves, because the delay of a label depends on the outcome: so the caller gives
whole mature days. Giving the days again rebuilds the state, so none is stored.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl
from river.drift import ADWIN

__all__ = ["Detection", "ErrorDrift"]

_DELTA = 1e-4
_ROWS_MOST = 20_000
"""Errors read per day: with more, a drift of 0.01 is found no sooner than within the day either."""
_SEASON = timedelta(days=28)
_WARM_UP = timedelta(days=14)
"""Until every hour of the week has been seen twice, the weekly pattern itself is found as drift."""
_SLOT_HOURS, _SLOTS = 3, 56
_PSEUDO_LABELS = 200
_CHANGE, _RELATIVE_CHANGE = 0.01, 0.02
_LASTING = 0.5
"""Part of the change that the days after must keep: the random deviation of one day does not last."""
_ROWS_TO_CONFIRM, _DAYS_TO_FADE, _DAYS_TO_CONFIRM = 500, 3, 7
"""Rows that the days after need; a change may seem gone for two of these days, and be uncertain for six."""
_SCORES = 3.0
"""Standard errors that the change must exceed, with days and not rows as the independent observations."""
_SCALE_MOST = 4.0
_detector = partial(ADWIN, delta=_DELTA)

_Floats = npt.NDArray[np.float64]
_Slots = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Detection:
    """A lasting change of the error.

    Attributes:
        day: the day that confirmed it.
        found_on: the day on which ADWIN found it.
        since: the day of the new window's first row; the window reaches to the end of `day`.
        direction: `worse` where the error has grown.
        error_before: mean of the 28 days before `since`, at the new window's hours of the week.
        error_after: mean of the new window.
        change: error_after - error_before.
        relative_change: change / error_before; infinite where there were no errors before.
        n: rows of the new window that were read.
        every: one row in `every` was read (the greatest of the new window's days); 1 means all.
    """

    day: date
    found_on: date
    since: date
    direction: Literal["worse", "better"]
    error_before: float
    error_after: float
    change: float
    relative_change: float
    n: int
    every: int


@dataclass
class _Day:
    """Rows read of one day, one in `every`, and the linear map by which later drifts have changed the expectation."""

    day: date
    slots: _Slots
    errors: _Floats
    every: int
    scale: float = 1.0
    shift: float = 0.0

    def adjusted(self) -> _Floats:
        """Return the errors as they would be after all drifts since."""
        return self.errors * self.scale + self.shift


_Fed = tuple[_Day, int, _Floats]
"""Values of a day that ADWIN has read, from the given row on."""


@dataclass(frozen=True)
class _ChangePoint:
    """A change that ADWIN has found: the window after it, and the days that have to confirm it.

    `expected`: mean error of the reference by slot. `spread`: standard deviation of the reference's daily means, number
    of its days and of the window's days. `before`: what ADWIN had read before the change.
    """

    found_on: date
    since: date
    expected: _Floats
    spread: tuple[float, int, int]
    slots: _Slots
    errors: _Floats
    before: list[_Fed]
    later: tuple[_Day, ...] = ()


class ErrorDrift:
    """Finds lasting changes of one version's error, day by day.

    ADWIN reads `(e - m + 1) / 2`: `m` is the mean error in the same three hours of the week over the 28 days before,
    of which there must be 14, shrunk towards their overall mean by 200 pseudo-labels.

    A change that ADWIN (delta 1e-4) finds is reported if it is at least 0.01 and at least 2 % of the error before, if
    the days after it, with 500 rows or more, show as much and at least half of it, and if it is at least three
    standard errors with days as observations; this is waited for during seven days at most. History is then scaled by
    the change, so that it is reported once. A slower change than the 28 days is not found.

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
        self._history: deque[_Day] = deque(maxlen=2 * _SEASON.days + 1)
        self._adwin: Any = _detector()
        self._fed: deque[_Fed] = deque(maxlen=_SEASON.days)
        self._last: date | None = None
        self._change: _ChangePoint | None = None

    def add_day(self, day: date, rows: pl.DataFrame) -> Detection | None:
        """Read the next mature day (every k-th row, if there are more than 20,000); return the drift that it confirms.

        Args:
            day: later than all days before.
            rows: `predicted_at` (Datetime, microseconds, UTC), growing, and `error` from 0 to 1. May be empty.

        Raises:
            ValueError: the day is not later, rows are not in order, or an error is not from 0 to 1.
        """
        if self._last is not None and day <= self._last:
            raise ValueError(f"{day} comes after {self._last}: days are given in order, each once")
        read = self._read(day, rows)
        self._last = day
        self._history.append(read)
        if self._change is None:
            self._feed(read)
            return None
        change = replace(self._change, later=(*self._change.later, read))
        detection, is_open = _confirmed(change)
        self._change = change if is_open else None
        if detection is not None:
            self._accept(detection)
        elif not is_open:
            # A change that persists has to be found again, which needs the values before it.
            self._restart(change.before)
            self._feed(read)
        return detection

    def _read(self, day: date, rows: pl.DataFrame) -> _Day:
        if not rows.get_column("predicted_at").is_sorted():
            raise ValueError(f"the rows of {day} are not in the order of predicted_at")
        usable = rows.get_column("error").is_between(0.0, 1.0).fill_null(value=False)
        if not usable.all():
            raise ValueError(f"{(~usable).sum()} errors of {day} are not from 0 to 1")
        every = max(1, -(-len(rows) // _ROWS_MOST))
        local = pl.col("predicted_at").dt.convert_time_zone(self._zone)
        slot = (local.dt.weekday() - 1).cast(pl.Int64) * (24 // _SLOT_HOURS) + local.dt.hour() // _SLOT_HOURS
        kept = rows.gather_every(every).select(slot.cast(pl.Int64).alias("slot"), pl.col("error").cast(pl.Float64))
        return _Day(day, kept.get_column("slot").to_numpy(), kept.get_column("error").to_numpy(), every)

    def _reference(self, before: date) -> list[_Day]:
        return [one for one in self._history if before - _SEASON <= one.day < before and len(one.errors)]

    def _feed(self, today: _Day) -> None:
        """Feed a day to ADWIN, up to a change large enough to wait for the days that confirm it."""
        reference = self._reference(today.day)
        if not reference or today.day - reference[0].day < _WARM_UP:
            return
        values, start = (today.errors - _slot_means(reference)[today.slots] + 1) / 2, 0
        for row, value in enumerate(values.tolist()):
            self._adwin.update(value)  # a further update would reset the detector and lose what this one has found
            if self._adwin.drift_detected:
                self._fed.append((today, start, values[start : row + 1]))
                change = self._change_point()
                self._restart()
                start = row + 1
                if change is not None and _is_large(*_means(change)):
                    self._change = change
                    return
        self._fed.append((today, start, values[start:]))

    def _change_point(self) -> _ChangePoint | None:
        """Locate the change in what ADWIN has read; the window after it reaches to the end of today.

        ADWIN detects a change and drops only the oldest part of its window, so the window does not say when it was.
        The change is put at the split with the most evidence for two means: the greatest
        `|sum| / sqrt(k (1 - k / n))` of the first k centred values.
        """
        values = np.concatenate([part for _, _, part in self._fed])
        heads = np.arange(1, len(values))
        evidence = np.abs(np.cumsum(values - values.mean())[:-1]) / np.sqrt(heads * (1 - heads / len(values)))
        split = int(evidence.argmax()) + 1
        before: list[_Fed] = []
        window: list[tuple[_Day, int]] = []
        for day, start, part in self._fed:
            head = min(max(split, 0), len(part))
            if head > 0:
                before.append((day, start, part[:head]))
            if head < len(part):
                window.append((day, start + head))
            split -= len(part)
        since = window[0][0].day
        if not (reference := self._reference(since)):
            return None
        expected = _slot_means(reference)
        spread = float(np.std([(one.adjusted() - expected[one.slots]).mean() for one in reference]))
        slots = np.concatenate([day.slots[start:] for day, start in window])
        errors = np.concatenate([day.errors[start:] for day, start in window])
        found_on, variation = window[-1][0].day, (spread, len(reference), len(window))
        return _ChangePoint(found_on, since, expected, variation, slots, errors, before)

    def _restart(self, fed: Sequence[_Fed] = ()) -> None:
        self._adwin = _detector()
        self._fed = deque(fed, maxlen=_SEASON.days)
        for _, _, part in fed:
            for value in part.tolist():
                self._adwin.update(value)

    def _accept(self, detection: Detection) -> None:
        """Scale history to the new error, as errors mostly keep their pattern; shift it where the scale is limited."""
        self._restart()
        scale = min(detection.error_after / detection.error_before, _SCALE_MOST) if detection.error_before > 0 else 1.0
        for one in self._history:
            if one.day < detection.since:
                one.scale *= scale
                one.shift = one.shift * scale + detection.error_after - detection.error_before * scale


def _slot_means(days: Sequence[_Day]) -> _Floats:
    """Return the expected error of each slot, shrunk towards the mean of all."""
    slots = np.concatenate([one.slots for one in days])
    errors = np.concatenate([one.adjusted() for one in days])
    counts = np.bincount(slots, minlength=_SLOTS)
    sums = np.bincount(slots, weights=errors, minlength=_SLOTS)
    expected: _Floats = (sums + _PSEUDO_LABELS * errors.mean()) / (counts + _PSEUDO_LABELS)
    return expected.clip(0.0, 1.0)


def _confirmed(change: _ChangePoint) -> tuple[Detection | None, bool]:
    """Return the drift if the later days confirm it, and whether further days may still do so."""
    later = [one for one in change.later if len(one.errors)]
    if sum(len(one.errors) for one in later) < _ROWS_TO_CONFIRM:
        return None, True
    slots = np.concatenate([change.slots, *(one.slots for one in later)])
    errors = np.concatenate([change.errors, *(one.errors for one in later)])
    size = len(change.slots)
    first_before, first_after = _means(change)
    later_before, later_after = _means(replace(change, slots=slots[size:], errors=errors[size:]))
    before, after = _means(replace(change, slots=slots, errors=errors))
    lasting = (later_after - later_before) / (first_after - first_before)
    if lasting < _LASTING or not _is_large(later_before, later_after) or not _is_large(before, after):
        return None, len(later) < _DAYS_TO_FADE
    spread, reference_days, days = change.spread
    if abs(after - before) < _SCORES * spread * math.sqrt(1 / (days + len(later)) + 1 / reference_days):
        return None, len(later) < _DAYS_TO_CONFIRM
    drift = Detection(
        day=later[-1].day,
        found_on=change.found_on,
        since=change.since,
        direction="worse" if after > before else "better",
        error_before=before,
        error_after=after,
        change=after - before,
        relative_change=(after - before) / before if before > 0 else math.inf,
        n=len(errors),
        every=max(one.every for one in later),
    )
    return drift, False


def _means(change: _ChangePoint) -> tuple[float, float]:
    """Return the expected error and the observed error of the window."""
    return float(change.expected[change.slots].mean()), float(change.errors.mean())


def _is_large(before: float, after: float) -> bool:
    return abs(after - before) >= max(_CHANGE, _RELATIVE_CHANGE * before)
