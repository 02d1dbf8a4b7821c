"""The next item is made while one is used, all come once and in order, and an error comes where its item was due."""

from collections.abc import Iterator
from threading import Event, current_thread

import pytest

from streams.replay.read_ahead import reading_ahead

PATIENCE_S = 30.0


def test_all_items_come_once_and_in_order() -> None:
    """Also items that are false or None."""
    with reading_ahead(iter([0, None, "", 3])) as items:
        assert list(items) == [0, None, "", 3]


def test_nothing_comes_of_nothing() -> None:
    """The end is the end, not an error."""
    with reading_ahead(iter([])) as items:
        assert list(items) == []


def test_the_next_item_is_made_while_one_is_used_and_no_further_one() -> None:
    """While the first is used the second has been begun, the third has not."""
    begun = [Event(), Event(), Event()]

    def numbers() -> Iterator[int]:
        for number, event in enumerate(begun):
            event.set()
            yield number

    with reading_ahead(numbers()) as items:
        assert next(items) == 0
        assert begun[1].wait(PATIENCE_S)
        assert not begun[2].is_set()
        assert list(items) == [1, 2]


def test_the_first_item_is_made_in_the_callers_thread_and_the_others_in_another() -> None:
    """Sorting comes before the first item, and Ctrl-C reaches only the caller's thread."""
    with reading_ahead(current_thread() for _ in range(3)) as items:
        first, *others = items
    assert first is current_thread()
    assert current_thread() not in others


def test_an_error_comes_where_its_item_was_due() -> None:
    """What was read before it is used."""

    def numbers() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    with reading_ahead(numbers()) as items:
        assert next(items) == 1
        with pytest.raises(OSError, match="the disk is gone"):
            next(items)


def test_who_stops_early_waits_for_the_item_that_is_being_made() -> None:
    """Nothing reads any more after the block, whose folders can be removed."""
    begun, may_end, ended = Event(), Event(), Event()

    def numbers() -> Iterator[int]:
        yield 1
        begun.set()
        may_end.wait(PATIENCE_S)
        ended.set()
        yield 2

    with pytest.raises(ValueError, match="stop"), reading_ahead(numbers()) as items:  # noqa: PT012 - the block is what ends
        next(items)
        assert begun.wait(PATIENCE_S)
        may_end.set()
        raise ValueError("stop")
    assert ended.is_set()
