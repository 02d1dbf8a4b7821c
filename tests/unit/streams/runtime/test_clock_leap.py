"""A wall clock that was set is told from time that passed."""

from streams.runtime.clock_leap import LEAP_MS, ClockLeap


def test_a_wall_clock_that_goes_with_the_monotonic_one_has_not_leapt() -> None:
    """However long it took, and whatever both began with."""
    clock = ClockLeap()
    assert [clock.since_last(*read) for read in [(9_000_000, 5), (9_000_100, 105), (99_000_100, 90_000_105)]] == [0] * 3


def test_a_leap_is_told_once_and_with_its_direction() -> None:
    """What follows is measured from the new time."""
    clock = ClockLeap()
    reads = [(0, 0), (LEAP_MS - 1, 0), (2 * LEAP_MS - 1, 0), (2 * LEAP_MS, 1), (-LEAP_MS, 1)]
    assert [clock.since_last(*read) for read in reads] == [0, 0, LEAP_MS, 0, -3 * LEAP_MS]
