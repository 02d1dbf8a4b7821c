"""Threads in which requests of one sort are answered, and the limit of how many of these may wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from truthloop.page.web.middleware import HttpError

__all__ = ["RequestPool"]

T = TypeVar("T")

PENDING_MAX: Final = 16
"""Number of requests of one sort (views, callbacks, rulings) that may run or wait for a thread; others get 503."""


class RequestPool:
    """Threads for one sort of request.

    Args:
        name: of the threads.
        threads: their number.
        answer_s: how long a request may take, its waiting included.
    """

    def __init__(self, name: str, threads: int, answer_s: float) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._answer_s = answer_s
        self._pending = 0

    def submit(self, make: Callable[[], T]) -> "asyncio.Future[T]":
        """Start `make` in a thread.

        Raises:
            HttpError: 503, too many requests are pending.
        """
        if self._pending >= PENDING_MAX:
            raise HttpError(503, "too many requests at once", hint="Try again in a few seconds.")
        self._pending += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, make)
        future.add_done_callback(self._done)
        return future

    async def run(self, make: Callable[[], T]) -> T:
        """Return the result of `make`.

        Raises:
            HttpError: 503, too many requests are pending, or it takes too long.
        """
        future = self.submit(make)
        try:
            # shielded: a thread cannot be cancelled, and is pending until it ends
            async with asyncio.timeout(self._answer_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise HttpError(
                503,
                f"no response within {self._answer_s:g} s",
                hint="The lake or its disk hangs, or the machine is overloaded.",
            ) from None

    def close(self) -> None:
        """Run what is running to its end, and nothing else."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._pending -= 1
        if not future.cancelled():
            future.exception()
