"""Watermarks of inputs, and the stream time that they make.

A watermark advances only on evidence: three records beyond it (so that one absurd timestamp never moves it), a
heartbeat, or a close. It never goes back.
"""

from collections.abc import Iterable

import msgspec

from joins.record import Idle

__all__ = ["CONFIRMATIONS", "PREDICTIONS", "Watermark", "stream_time_ms"]

PREDICTIONS = "predictions"
"""Name of the predictions input; the other inputs are named by their label kind."""

CONFIRMATIONS = 3
"""The watermark is the third greatest time read: a leap counts once three records have made it."""


class Watermark(msgspec.Struct, frozen=True):
    """How far one input of one partition has come.

    Attributes:
        greatest: the three greatest times read, in ms, greatest first.
        assured_ms: the time that a heartbeat or a close promised.
        reached_ms: the watermark itself; kept because it does not go back when `disorder` is raised.
    """

    greatest: tuple[int, ...] = ()
    assured_ms: int | None = None
    reached_ms: int | None = None

    @property
    def seen_ms(self) -> int | None:
        """The time that three records, or a promise, have reached: the watermark without `disorder`.

        Example:
            >>> Watermark().advance([100, 300, 200], None, disorder_ms=60).seen_ms
            100
        """
        return _greatest(self.reached_ms, self.greatest[-1] if len(self.greatest) == CONFIRMATIONS else None)

    def advance(self, times_ms: Iterable[int], assured_ms: int | None, disorder_ms: int) -> "Watermark":
        """Return the watermark after more records and, where there is one, a promise.

        Example:
            >>> Watermark().advance([100, 300, 200, 9_999], None, disorder_ms=0).reached_ms
            200
            >>> Watermark().advance([], assured_ms=500, disorder_ms=0).reached_ms
            500
        """
        greatest = tuple(sorted((*self.greatest, *times_ms))[: -CONFIRMATIONS - 1 : -1])  # they come nearly in order
        assured = _greatest(self.assured_ms, assured_ms)
        confirmed = greatest[-1] - disorder_ms if len(greatest) == CONFIRMATIONS else None
        return Watermark(greatest, assured, _greatest(self.reached_ms, assured, confirmed))


def stream_time_ms(predictions_ms: int | None, labels_ms: int | None, kind: str, idle: Idle) -> int | None:
    """Return a kind's stream time: the least watermark of its inputs that are not idle; None if one has none yet.

    When both are idle, time goes on from the greatest watermark by the time elapsed since the last record.

    Example:
        >>> stream_time_ms(900, 700, "click", Idle())
        700
        >>> stream_time_ms(900, 700, "click", Idle(frozenset({"click"})))
        900
    """
    silent = (PREDICTIONS in idle.inputs, kind in idle.inputs)
    if silent == (True, True):
        latest = _greatest(predictions_ms, labels_ms)
        return None if latest is None else latest + idle.elapsed_ms
    if silent == (True, False):
        return labels_ms
    if silent == (False, True):
        return predictions_ms
    if predictions_ms is None or labels_ms is None:
        return None
    return min(predictions_ms, labels_ms)


def _greatest(*times_ms: int | None) -> int | None:
    return max((time for time in times_ms if time is not None), default=None)
