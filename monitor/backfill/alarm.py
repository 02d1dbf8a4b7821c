"""Backfill alarm: hours in which far more labels than usual are stale, change what was known, or tell it again.

An hour is judged by the two weeks before its day and by nothing later, so that judging it again gives the same result.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import betainc

from monitor.cells.count_arrivals import HourlyArrivals
from schemas.events.backfill import Cause

__all__ = ["BackfillAlarm", "FlaggedRun", "judge_arrivals", "judge_resent", "stale_age"]

_HOUR_MS = 3_600_000
_HOURS = 24

_WINDOW = 14 * _HOURS
_WINDOW_MIN = 7 * _HOURS
"""Hours of history that are read, and the number below which nothing is judged: a history must have a weekend."""

_LABELS_MIN = 100
"""With fewer labels, history does not show how old labels get."""

_MATURE_SHARE = 0.995
_STALE_MIN_MS = _HOUR_MS

_COUNT_MIN = 20
_COUNT_MAX = 60
"""Bounds of the limit of 2 % of an hour's labels that a count has to reach."""

_VOLUME_SHARE = 0.02
_P = 1e-6

_DISPERSION_MIN = 1.5
"""Least variance of an hour's count over its mean: real traffic is never as even as a Poisson process."""

_USUAL = 0.75
"""Quantile of the dispersions by hour of the day that is the least for all hours. The median is too small where whole
hours are slow; the greatest, where labels come in files, hides what comes at other hours."""

_SEEN_MIN = 3
"""Times that an hour of the day has to be in history for its own mean to be used."""

_UNKNOWN = -1

_Counts = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FlaggedRun:
    """Consecutive flagged hours.

    Attributes:
        since_ms: first instant of its first hour.
        until_ms: last millisecond of its last hour.
        causes: causes for which any of its hours was flagged.
        hours: first instant of each hour, with its number of labels (`resent`: predictions) of these causes.
        stale_after_ms: in a run with stale labels, the age above which they are stale; one of the kind's age edges.
    """

    since_ms: int
    until_ms: int
    causes: tuple[Cause, ...]
    hours: tuple[tuple[int, int], ...]
    stale_after_ms: int | None = None

    @property
    def amount(self) -> int:
        """Number of labels, or predictions, of these causes."""
        return sum(amount for _, amount in self.hours)


@dataclass(frozen=True)
class BackfillAlarm:
    """Result of judging all hours.

    Attributes:
        runs: in order of time.
        is_calibrating: there is not enough history to judge the newest hour.
        stale_after_ms: the age above which labels are stale on the newest day; None where it is unknown.
    """

    runs: tuple[FlaggedRun, ...]
    is_calibrating: bool
    stale_after_ms: int | None


def judge_arrivals(arrivals: HourlyArrivals, until_ms: int, labels_seen_ms: int) -> BackfillAlarm:
    """Find the hours in which far too many labels are stale, change what was known, or tell it with another time.

    The history of an hour is the 14 days before its day; in a loop younger than 28 days, the later half of the days
    before it, at least 7. A label is stale if it is older than the `stale_age` of that history. An hour is flagged if
    the count is at least 20 and 2 % of all labels of the hour (of more than 3,000 labels: 60), and a negative binomial
    with the mean and the dispersion of history reaches it with a probability below 1e-6. Flagged hours are left out of
    history; once a flagged state has lasted for more than seven days there is not enough history to judge, and it
    becomes usual.

    Labels that are told again with another time depend on no prediction, their least count is 20 whatever the hour's
    volume, and an hour's count only grows: so every hour with labels is judged, and one that goes on by what it has so
    far.

    In a young loop labels become older every day, and the history with them. Labels of an age that could not occur
    before are stale all the same: those that always take thirty days are flagged once, when the first ones come.

    Args:
        until_ms: the time up to which predictions and labels have certainly been read; an hour that ends later is not
            judged by stale and changed labels.
        labels_seen_ms: labels as late as this have been read.

    >>> hours, changed = np.arange(24 * 21), np.zeros(24 * 21, np.int64)
    >>> changed[500:502] = 90
    >>> first, ages_ms = np.full((len(hours), 2), [40, 0]), np.array([_HOUR_MS, 24 * _HOUR_MS])
    >>> arrivals = HourlyArrivals(ages_ms, hours * _HOUR_MS, hours % 24, first, changed, np.zeros_like(changed))
    >>> end_ms = len(hours) * _HOUR_MS
    >>> [run] = judge_arrivals(arrivals, end_ms, end_ms).runs
    >>> run.since_ms // _HOUR_MS, run.causes[0].value, run.amount
    (500, 'corrected', 180)
    """
    known = int(np.searchsorted(_ends(arrivals.hour_ms), until_ms, side="right"))
    begun = int(np.searchsorted(arrivals.hour_ms, labels_seen_ms))
    judged = max(known, begun)
    is_known = np.arange(judged) < known
    volume = arrivals.first.sum(axis=1) + arrivals.changed
    least = np.clip(_VOLUME_SHARE * volume, _COUNT_MIN, _COUNT_MAX)
    stale, corrected, retimed = (np.zeros(judged, np.bool_) for _ in range(3))
    stale_from = np.full(judged, _UNKNOWN, np.int64)
    older = np.zeros(judged, np.int64)  # of the day that is judged and its history: labels older than the stale age
    fewest = np.full(len(volume), _COUNT_MIN, np.float64)
    for day, window in _days(arrivals.hour_of_day[:judged]):
        kept = np.flatnonzero(~(stale | corrected | retimed)[window]) + window.start
        if len(kept) < _WINDOW_MIN:
            continue
        retimed[day] = _is_exceeded(arrivals.retimed, fewest[day], arrivals.hour_of_day, kept, day)
        corrected[day] = is_known[day] & _is_exceeded(arrivals.changed, least[day], arrivals.hour_of_day, kept, day)
        seen_ms = int(arrivals.hour_ms[window.start] - arrivals.hour_ms[0])
        by_age = arrivals.first[kept].sum(axis=0)
        age_ms = stale_age(by_age, arrivals.edges_ms, seen_ms)
        if age_ms is not None:
            edge = int(np.searchsorted(arrivals.edges_ms, age_ms)) + 1
            seen = slice(window.start, day.stop)
            older[seen] = arrivals.first[seen, edge:].sum(axis=1)
            stale[day] = is_known[day] & _is_exceeded(older, least[day], arrivals.hour_of_day, kept, day)
            stale_from[day] = edge
    latest = int(stale_from[known - 1]) if known else _UNKNOWN
    found = {Cause.STALE: stale, Cause.CORRECTED: corrected, Cause.RETIMED: retimed}
    return BackfillAlarm(
        runs=tuple(_run(arrivals, span, found, stale_from) for span in _spans(stale | corrected | retimed)),
        is_calibrating=latest == _UNKNOWN,
        stale_after_ms=None if latest == _UNKNOWN else int(arrivals.edges_ms[latest - 1]),
    )


def judge_resent(conflicts: pl.DataFrame, since_ms: int, until_ms: int) -> BackfillAlarm:
    """Find the hours in which far too many predictions were sent again with other content.

    The rule is that of `judge_arrivals`, with 20 as the least count.

    Args:
        conflicts: hour_ms and count; hours without any may be missing, and hours outside the span are ignored.
        since_ms: the time from which predictions were read.
        until_ms: the time up to which they have certainly been read.

    >>> conflicts = pl.DataFrame({"hour_ms": [400 * _HOUR_MS], "count": [30]})
    >>> [run] = judge_resent(conflicts, 0, 24 * 20 * _HOUR_MS).runs
    >>> run.since_ms // _HOUR_MS, run.amount
    (400, 30)
    """
    known = max((until_ms - since_ms) // _HOUR_MS, 0)
    counts = np.zeros(known, np.int64)
    hours = (conflicts.get_column("hour_ms").to_numpy() - since_ms) // _HOUR_MS
    inside = (hours >= 0) & (hours < known)
    np.add.at(counts, hours[inside], conflicts.get_column("count").to_numpy()[inside])
    hour_ms = since_ms + _HOUR_MS * np.arange(known, dtype=np.int64)
    hour_of_day = np.arange(known, dtype=np.int64) % _HOURS
    flags = np.zeros(known, np.bool_)
    is_judged = False
    for day, window in _days(hour_of_day):
        kept = np.flatnonzero(~flags[window]) + window.start
        is_judged = len(kept) >= _WINDOW_MIN
        if is_judged:
            least = np.full(day.stop - day.start, _COUNT_MIN, np.float64)
            flags[day] = _is_exceeded(counts, least, hour_of_day, kept, day)
    runs = tuple(
        FlaggedRun(*_times(hour_ms, span), (Cause.RESENT,), _hours(hour_ms, counts, span)) for span in _spans(flags)
    )
    return BackfillAlarm(runs, not is_judged, None)


def stale_age(labels: _Counts, edges_ms: _Counts, seen_ms: int) -> int | None:
    """Return the age above which a label is stale: the age by which 99.5 % of labels have arrived, at least an hour.

    Args:
        labels: by age, shape (ages,), of a time range.
        edges_ms: upper edges of the ages, growing, shape (ages,).
        seen_ms: time from the first prediction to the start of that range: greater ages were not observed in full.

    Returns:
        One of the edges; None with fewer than 100 labels.

    >>> edges_ms = np.array([1, 2, 24]) * _HOUR_MS
    >>> stale_age(np.array([900, 98, 2]), edges_ms, 90 * 24 * _HOUR_MS) // _HOUR_MS
    2
    """
    seen = labels[edges_ms <= seen_ms].cumsum()
    if not len(seen) or seen[-1] < _LABELS_MIN:
        return None
    edge = int(np.searchsorted(seen, _MATURE_SHARE * seen[-1]))
    return int(edges_ms[max(edge, int(np.searchsorted(edges_ms, _STALE_MIN_MS)))])


def _is_exceeded(counts: _Counts, least: _Floats, hour_of_day: _Counts, kept: _Counts, day: slice) -> _Flags:
    """Return which hours of a day have a count that is too improbable under their history.

    The mean is that of all hours of history, or of the same hour of the day or a neighbour of it (daylight saving time)
    where that is greater. The dispersion is the greatest of 1.5, the upper quartile over the hours of the day, and
    those of these three hours.

    Args:
        counts: shape (hours,).
        least: the least count to be flagged, shape (hours of the day,).
        hour_of_day: shape (hours,).
        kept: indexes of the hours of history.
        day: indexes of the hours to judge.
    """
    judged = counts[day]
    suspects = np.flatnonzero(judged >= least)
    if not len(suspects):
        return np.zeros(len(judged), np.bool_)
    past, slot = counts[kept].astype(np.float64), hour_of_day[kept] % _HOURS
    seen = np.bincount(slot, minlength=_HOURS)
    own = np.bincount(slot, past, minlength=_HOURS) / np.maximum(seen, 1)
    squares = np.bincount(slot, (past - own[slot]) ** 2, minlength=_HOURS)
    pooled = (past.sum() + 1) / (len(past) + 1)
    own[seen < _SEEN_MIN] = 0
    spread = np.divide(squares, np.maximum(seen - 1, 1) * own, out=np.zeros(_HOURS), where=own > 0)
    usual = np.quantile(spread[own > 0], _USUAL) if own.any() else 0.0
    near = (hour_of_day[day][suspects, np.newaxis] + np.array([-1, 0, 1])) % _HOURS
    mean = np.maximum(own[near].max(axis=1), pooled)
    dispersion = np.maximum(spread[near].max(axis=1), max(_DISPERSION_MIN, usual))
    tail = betainc(judged[suspects], mean / (dispersion - 1), 1 - 1 / dispersion)
    flags = np.zeros(len(judged), np.bool_)
    flags[suspects[tail < _P]] = True
    return flags


def _days(hour_of_day: _Counts) -> Iterator[tuple[slice, slice]]:
    """Yield the hours of each day with enough history, and the hours of its history."""
    starts = np.flatnonzero(hour_of_day == 0).tolist()
    for first, following in pairwise([*starts, len(hour_of_day)]):
        length = min(max(first // 2, _WINDOW_MIN), _WINDOW)
        if first >= length:
            yield slice(first, following), slice(first - length, first)


def _ends(hour_ms: _Counts) -> _Counts:
    return np.append(hour_ms[1:], hour_ms[-1:] + _HOUR_MS)


def _spans(flags: _Flags) -> Iterator[slice]:
    """Yield each range of consecutive flagged hours."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int64)))
    for first, following in edges.reshape(-1, 2).tolist():
        yield slice(first, following)


def _run(arrivals: HourlyArrivals, span: slice, flags: Mapping[Cause, _Flags], stale_from: _Counts) -> FlaggedRun:
    """Return the run of a range of hours; its stale age is that of the first day with too many stale labels."""
    causes = tuple(cause for cause, flagged in flags.items() if flagged[span].any())
    amounts, stale_after_ms = np.zeros(len(arrivals.hour_ms), np.int64), None
    if Cause.STALE in causes:
        edge = int(stale_from[span][np.argmax(flags[Cause.STALE][span])])
        stale_after_ms = int(arrivals.edges_ms[edge - 1])
        amounts[span] += arrivals.first[span, edge:].sum(axis=1)
    if not {Cause.CORRECTED, Cause.RETIMED}.isdisjoint(causes):
        amounts[span] += arrivals.changed[span]
    if Cause.RETIMED in causes:
        amounts[span] += arrivals.retimed[span]
    hours = _hours(arrivals.hour_ms, amounts, span)
    return FlaggedRun(*_times(arrivals.hour_ms, span), causes, hours, stale_after_ms)


def _times(hour_ms: _Counts, span: slice) -> tuple[int, int]:
    """Return the first and the last millisecond of a range of hours."""
    return int(hour_ms[span.start]), int(_ends(hour_ms)[span.stop - 1]) - 1


def _hours(hour_ms: _Counts, amounts: _Counts, span: slice) -> tuple[tuple[int, int], ...]:
    return tuple(zip(hour_ms[span].tolist(), amounts[span].tolist(), strict=True))
