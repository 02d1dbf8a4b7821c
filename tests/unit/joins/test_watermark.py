"""Marks: time moves on evidence only, and never back."""

import pytest

from joins.record import Idle
from joins.watermark import PREDICTIONS, Watermark, stream_time_ms


def test_a_mark_is_the_third_greatest_time_less_the_disorder() -> None:
    """Two records prove nothing, three do."""
    watermark = Watermark().advance([100, 200], None, 10)
    assert watermark.reached_ms is None
    assert watermark.advance([300], None, 10).reached_ms == 90


def test_one_absurd_timestamp_never_moves_a_mark() -> None:
    """A leap counts once three records have made it."""
    watermark = Watermark().advance([100, 110, 120], None, 0)
    leapt = watermark.advance([9_999_999], None, 0)
    assert leapt.reached_ms == 110
    assert leapt.advance([9_999_999, 9_999_999], None, 0).reached_ms == 9_999_999


def test_a_mark_does_not_depend_on_batches() -> None:
    """The same records in any batches give the same mark."""
    times = [5, 1, 9, 7, 3, 8, 2]
    whole = Watermark().advance(times, None, 1)
    piecewise = Watermark()
    for time in times:
        piecewise = piecewise.advance([time], None, 1)
    assert whole == piecewise


def test_a_mark_never_goes_back_when_disorder_is_raised() -> None:
    """A config that allows more disorder does not undo what was certain."""
    watermark = Watermark().advance([100, 100, 100], None, 0)
    assert watermark.advance([], None, 50).reached_ms == 100


def test_a_promise_moves_a_mark_without_records() -> None:
    """A heartbeat or a close is evidence enough."""
    assert Watermark().advance([], 70, 10).reached_ms == 70


@pytest.mark.parametrize(
    ("predictions_ms", "labels_ms", "idle", "expected"),
    [
        (100, 60, Idle(), 60),
        (100, None, Idle(), None),
        (None, 60, Idle(), None),
        (100, 60, Idle(frozenset({"click"}), 5), 100),
        (100, None, Idle(frozenset({"click"}), 5), 100),
        (100, 160, Idle(frozenset({PREDICTIONS}), 5), 160),
        (100, 60, Idle(frozenset({PREDICTIONS, "click"}), 5), 105),
        (None, None, Idle(frozenset({PREDICTIONS, "click"}), 5), None),
        (100, 60, Idle(frozenset({"sale"}), 5), 60),
    ],
)
def test_stream_time_is_the_least_mark_of_inputs_that_are_not_idle(
    predictions_ms: int | None, labels_ms: int | None, idle: Idle, expected: int | None
) -> None:
    """Idle inputs are left out; when all are idle, time goes on by what has elapsed."""
    assert stream_time_ms(predictions_ms, labels_ms, "click", idle) == expected
