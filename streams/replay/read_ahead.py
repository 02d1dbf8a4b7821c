"""Reads one item ahead in a thread, so that a replay maps and sorts the next records while it joins these."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["reading_ahead"]

Item = TypeVar("Item")


@contextmanager
def reading_ahead(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """Give an iterator over the same items, of which the next one is made while this one is used.

    The first item, for which a replay sorts all files, is made in the caller's thread: Ctrl-C ends that at once.
    An error of `items` is raised where its item was due. The end of the block waits for the item that is being made.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:

        def ahead() -> Iterator[Item]:
            found = _next(items)
            while found is not None:
                following = pool.submit(_next, items)
                yield found[0]
                found = following.result()

        yield ahead()


def _next(items: Iterator[Item]) -> tuple[Item] | None:
    """Return the next item in a tuple; None at the end, because a future cannot raise `StopIteration`."""
    return next(((item,) for item in items), None)
