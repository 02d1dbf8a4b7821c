"""Caches values that take long to compute: they are computed one at a time in a background thread."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

__all__ = ["BackgroundValues"]

T = TypeVar("T")

VALUES_MAX = 64
"""The least recently used value is evicted first."""


class BackgroundValues:
    """A cache of values by key.

    Args:
        wait_s: how long `get` waits for a value.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gather")
        self._futures: OrderedDict[Hashable, Future[Any]] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T | None:
        """Return the value of a key; None if it is not computed yet: a later call returns it.

        An exception of `compute` is raised here, and the next call computes the value again.
        """
        with self._lock:
            future: Future[Any] | None = self._futures.get(key)
            if future is None:
                future = self._futures[key] = self._pool.submit(compute)
            self._futures.move_to_end(key)
            while len(self._futures) > VALUES_MAX:
                self._futures.popitem(last=False)[1].cancel()
        try:
            value: T = future.result(self._wait_s)
        except TimeoutError:
            if not future.done():
                return None
            self._drop(key, future)
            raise
        except BaseException:
            self._drop(key, future)
            raise
        return value

    def close(self) -> None:
        """Compute nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _drop(self, key: Hashable, future: "Future[Any]") -> None:
        with self._lock:
            if self._futures.get(key) is future:
                del self._futures[key]
