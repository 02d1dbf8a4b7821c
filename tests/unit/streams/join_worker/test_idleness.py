"""When an input of a partition counts as idle."""

from joins import Idle
from joins.watermark import PREDICTIONS
from streams.join_worker.idleness import Idleness

AFTER_MS = 1_000


def started(*, is_enabled: bool = True) -> Idleness:
    """Return the idleness of partition 0, started at 0 ms, with one kind of labels."""
    found = Idleness(["click"], AFTER_MS, is_enabled=is_enabled)
    found.start(0, 0)
    return found


def test_an_input_is_idle_after_its_silence_and_once_per_interval() -> None:
    """The elapsed time is that of the longest silence."""
    idleness = started()
    idleness.seen(0, {"click"}, 400)
    assert idleness.idle(0, 999, lambda: True) == Idle()
    assert idleness.idle(0, 1_100, lambda: True) == Idle(frozenset({PREDICTIONS}), 1_100)
    assert idleness.idle(0, 1_500, lambda: True) == Idle()
    assert idleness.idle(0, 2_100, lambda: True) == Idle(frozenset({PREDICTIONS, "click"}), 2_100)


def test_an_input_with_records_to_read_is_not_idle() -> None:
    """It is asked again at the next call."""
    idleness = started()
    assert idleness.idle(0, 1_000, lambda: False) == Idle()
    assert idleness.idle(0, 1_001, lambda: True).inputs == {PREDICTIONS, "click"}


def test_no_input_is_idle_where_time_comes_from_the_records_alone() -> None:
    """As with `clock: event`."""
    assert started(is_enabled=False).idle(0, 10 * AFTER_MS, lambda: True) == Idle()
