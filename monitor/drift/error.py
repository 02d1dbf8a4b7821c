"""Drift of the model's error: ADWIN on de-seasonalised errors, at a fixed age, in event-time order.

Errors in the order in which labels arrive drift by themselves, because delay depends on the outcome; the
caller gives whole mature days. This module must not store River's objects: giving the days again makes them.
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
"""Errors a day that are fed: more do not find a drift of 0.01 any sooner than within the day."""
_SEASON = timedelta(days=28)
_WARM_UP = timedelta(days=14)
"""Until every hour of the week has been seen twice, the week itself is found as drift."""
_SLOT_HOURS, _SLOTS = 3, 56
_PSEUDO_LABELS = 200
_CHANGE, _RELATIVE_CHANGE = 0.01, 0.02
_LASTING = 0.5
"""The days after must keep this part of the change: a day's own luck does not last."""
_ROWS_TO_CONFIRM, _DAYS_TO_FADE, _DAYS_TO_CONFIRM = 500, 3, 7
"""Rows that the days after need; a change may seem gone for two of these days, and be unsure for six."""
_SCORES = 3.0
"""The change must exceed this many standard errors, were days the independent draws and not rows."""
_SCALE_MOST = 4.0

_detector = partial(ADWIN, delta=_DELTA)

_Floats = npt.NDArray[np.float64]
_Slots = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Detection:
    """A lasting change of the error.

    Attributes:
        day: that confirmed it.
        found_on: when ADWIN found it.
        since: the day of the new window's first row; the window reaches to the end of `day`.
        direction: `worse` where the error has grown.
        error_before: mean of the 28 days before `since`, at the new window's hours of the week.
        error_after: mean of the new window.
        change: error_after - error_before.
        relative_change: change / error_before; infinite where there were no errors before.
        n: rows of the new window, as far as they were read.
        every: one row in so many was read (the most among the new window's days); 1 means all.
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
    """The rows of one day that are read, one in `every`, and how drifts since have changed what is usual."""

    day: date
    slots: _Slots
    errors: _Floats
    every: int
    scale: float = 1.0
    moved: float = 0.0

    def usual(self) -> _Floats:
        return self.errors * self.scale + self.moved


_Fed = tuple[_Day, int, _Floats]
"""What ADWIN was fed of a day: the values from the given row on."""


@dataclass(frozen=True)
class _Candidate:
    """What ADWIN has found, and the days after it that have to agree; `calm` is what was fed before it.

    `spread`: the standard deviation of the reference's days, their number, and that of the window's days.
    """

    found_on: date
    since: date
    usual: _Floats
    spread: tuple[float, int, int]
    slots: _Slots
    errors: _Floats
    calm: list[_Fed]
    later: tuple[_Day, ...] = ()


class ErrorDrift:
    """Finds lasting changes of one version's error, day by day.

    What is fed is `(e - m + 1) / 2`: `m` is the mean error of the same three hours of the week over the 28 days
    before, at least 14, drawn to their overall mean by 200 pseudo-labels.

    A change that ADWIN (delta 1e-4) finds is reported if it is at least 0.01 and at least 2 % of the error
    before, once the days after it, with 500 rows or more, show as much and at least half of it, and once it is
    three standard errors as days differ among themselves; seven days are waited for at most. History is then
    scaled by it, so that it is reported once. A change so slow that 28 days follow it is not found.

    All state follows from the days given; there is nothing to be stored.

    Args:
        timezone: IANA name; hours of the week are those of this zone.
    """

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone).key
        self._history: deque[_Day] = deque(maxlen=2 * _SEASON.days + 1)
        self._adwin: Any = _detector()
        self._fed: deque[_Fed] = deque(maxlen=_SEASON.days)
        self._last: date | None = None
        self._candidate: _Candidate | None = None
        self._found = 0

    @property
    def found(self) -> int:
        """How often ADWIN has found a change so far, reported or not."""
        return self._found

    def add_day(self, day: date, rows: pl.DataFrame) -> Detection | None:
        """Read the next mature day (of more than 20,000 rows every k-th), and return the drift that it confirms.

        Args:
            day: later than all days before.
            rows: `predicted_at` (Datetime, microseconds, UTC), growing, and `error` from 0 to 1. May be empty.

        Raises:
            ValueError: the day is not later, rows are not in order, or an error is not from 0 to 1.
        """
        if self._last is not None and day <= self._last:
            raise ValueError(f"{day} comes after {self._last}: days are given in their order, each once")
        read = self._read(day, rows)
        self._last = day
        self._history.append(read)
        if self._candidate is None:
            self._feed(read)
            return None
        waiting = replace(self._candidate, later=(*self._candidate.later, read))
        detection, is_open = _judged(waiting)
        self._candidate = waiting if is_open else None
        if detection is not None:
            self._accept(detection)
        elif not is_open:
            # A change that is still there has to be found again, and so needs what was before it.
            self._restart(waiting.calm)
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
        """Feed a day to ADWIN, up to a change that is great enough to wait for what the days after say."""
        reference = self._reference(today.day)
        if not reference or today.day - reference[0].day < _WARM_UP:
            return
        values, start = (today.errors - _slot_means(reference)[today.slots] + 1) / 2, 0
        for place, value in enumerate(values.tolist()):
            self._adwin.update(value)  # which would begin anew, and forget what the update before it found
            if self._adwin.drift_detected:
                self._found += 1
                self._fed.append((today, start, values[start : place + 1]))
                candidate = self._window()
                self._restart()
                start = place + 1
                if candidate is not None and _is_great(*_means(candidate)):
                    self._candidate = candidate
                    return
        self._fed.append((today, start, values[start:]))

    def _window(self) -> _Candidate | None:
        """Return the rows after the change, to the end of today.

        ADWIN tells that there was a change, and gives up only the oldest part of its window before it is read.
        When it was, is the split of what it was fed that has the most evidence for two means:
        the greatest `|sum| / sqrt(k (1 - k / n))` of the first k centred values.
        """
        values = np.concatenate([part for _, _, part in self._fed])
        heads = np.arange(1, len(values))
        drawn = np.abs(np.cumsum(values - values.mean())[:-1]) / np.sqrt(heads * (1 - heads / len(values)))
        split = int(drawn.argmax()) + 1
        calm: list[_Fed] = []
        window: list[tuple[_Day, int]] = []
        for day, start, part in self._fed:
            head = min(max(split, 0), len(part))
            if head > 0:
                calm.append((day, start, part[:head]))
            if head < len(part):
                window.append((day, start + head))
            split -= len(part)
        since = window[0][0].day
        if not (reference := self._reference(since)):
            return None
        usual = _slot_means(reference)
        spread = float(np.std([(one.usual() - usual[one.slots]).mean() for one in reference]))
        slots = np.concatenate([day.slots[start:] for day, start in window])
        errors = np.concatenate([day.errors[start:] for day, start in window])
        return _Candidate(window[-1][0].day, since, usual, (spread, len(reference), len(window)), slots, errors, calm)

    def _restart(self, calm: Sequence[_Fed] = ()) -> None:
        self._adwin = _detector()
        self._fed = deque(calm, maxlen=_SEASON.days)
        for _, _, part in calm:
            for value in part.tolist():
                self._adwin.update(value)

    def _accept(self, detection: Detection) -> None:
        """Scale what was usual: errors mostly keep their pattern in proportion; beyond the limit they are shifted."""
        self._restart()
        scale = min(detection.error_after / detection.error_before, _SCALE_MOST) if detection.error_before > 0 else 1.0
        for one in self._history:
            if one.day < detection.since:
                one.scale *= scale
                one.moved = one.moved * scale + detection.error_after - detection.error_before * scale


def _slot_means(days: Sequence[_Day]) -> _Floats:
    """Return the mean error that each slot should have, drawn to the mean of all."""
    slots = np.concatenate([one.slots for one in days])
    errors = np.concatenate([one.usual() for one in days])
    counts = np.bincount(slots, minlength=_SLOTS)
    sums = np.bincount(slots, weights=errors, minlength=_SLOTS)
    usual: _Floats = (sums + _PSEUDO_LABELS * errors.mean()) / (counts + _PSEUDO_LABELS)
    return usual.clip(0.0, 1.0)


def _judged(candidate: _Candidate) -> tuple[Detection | None, bool]:
    """Return the drift if the days after it keep it, and whether later days may still say so."""
    later = [one for one in candidate.later if len(one.errors)]
    if sum(len(one.errors) for one in later) < _ROWS_TO_CONFIRM:
        return None, True
    slots = np.concatenate([candidate.slots, *(one.slots for one in later)])
    errors = np.concatenate([candidate.errors, *(one.errors for one in later)])
    size = len(candidate.slots)
    first_before, first_after = _means(candidate)
    usual_later, error_later = _means(replace(candidate, slots=slots[size:], errors=errors[size:]))
    before, after = _means(replace(candidate, slots=slots, errors=errors))
    lasting = (error_later - usual_later) / (first_after - first_before)
    if lasting < _LASTING or not _is_great(usual_later, error_later) or not _is_great(before, after):
        return None, len(later) < _DAYS_TO_FADE
    spread, reference_days, days = candidate.spread
    if abs(after - before) < _SCORES * spread * math.sqrt(1 / (days + len(later)) + 1 / reference_days):
        return None, len(later) < _DAYS_TO_CONFIRM
    drift = Detection(
        day=later[-1].day,
        found_on=candidate.found_on,
        since=candidate.since,
        direction="worse" if after > before else "better",
        error_before=before,
        error_after=after,
        change=after - before,
        relative_change=(after - before) / before if before > 0 else math.inf,
        n=len(errors),
        every=max(one.every for one in later),
    )
    return drift, False


def _means(candidate: _Candidate) -> tuple[float, float]:
    """Return the error that was to be expected, and the error that is."""
    return float(candidate.usual[candidate.slots].mean()), float(candidate.errors.mean())


def _is_great(before: float, after: float) -> bool:
    return abs(after - before) >= max(_CHANGE, _RELATIVE_CHANGE * before)
