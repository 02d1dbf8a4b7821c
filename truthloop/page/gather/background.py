"""Values that take long to make: made one at a time in a thread of their own, and waited for with patience.

Who asks and gets nothing asks again later; the value is then there, or nearer. Must not know what it makes.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

__all__ = ["BackgroundValues"]

T = TypeVar("T")

KEPT_MAX = 64
"""Values; the one asked for longest ago goes first."""


class BackgroundValues:
    """A shelf of values that take long.

    Args:
        patience_s: how long one asks before going on without.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._lock = Lock()
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="gather")
        self._shelf: OrderedDict[Hashable, Future[Any]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T | None:
        """Return the value of a key, None where it is still being made.

        What `make` raises is raised here; the next one who asks has it made anew.
        """
        with self._lock:
            future: Future[Any] | None = self._shelf.get(key)
            if future is None:
                future = self._shelf[key] = self._maker.submit(make)
            self._shelf.move_to_end(key)
            while len(self._shelf) > KEPT_MAX:
                self._shelf.popitem(last=False)[1].cancel()
        try:
            found: T = future.result(self._patience_s)
        except TimeoutError:
            if not future.done():
                return None
            self._drop(key, future)
            raise
        except BaseException:
            self._drop(key, future)
            raise
        return found

    def close(self) -> None:
        """Make nothing more."""
        self._maker.shutdown(wait=False, cancel_futures=True)

    def _drop(self, key: Hashable, future: "Future[Any]") -> None:
        with self._lock:
            if self._shelf.get(key) is future:
                del self._shelf[key]
