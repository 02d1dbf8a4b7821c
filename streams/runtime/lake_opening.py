"""Opens what a role has in the lake at its start, again and again while the lake's disk or store refuses."""

from collections.abc import Callable
from threading import Event
from typing import Final, TypeVar

from lake.failure import is_of_storage, store_errors_told
from schemas.errors import LakeError
from streams.runtime.backoff import Backoff

__all__ = ["opened"]

_T = TypeVar("_T")

_WAIT_S: Final = 0.2


def opened(open_lake: Callable[[], _T], backoff: Backoff, should_stop: Callable[[], bool]) -> _T | None:
    """Return what `open_lake` returns once it can; None if `should_stop` is true before.

    Raises:
        LakeError: it fails for another reason, which does not pass by itself.
    """
    while not should_stop():
        try:
            with store_errors_told():
                found = open_lake()
        except LakeError as error:
            if not is_of_storage(error.__cause__):
                raise
            backoff.failed("open", error)
            while backoff.must_wait and not should_stop():
                Event().wait(_WAIT_S)
        else:
            backoff.succeeded("open")
            return found
    return None
