"""Stores in a folder for temporary files, for a state that is thrown away in the end."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from streams.state_store.store import RocksStore

__all__ = ["temporary_stores"]


@contextmanager
def temporary_stores(partitions: int, kinds: list[str]) -> Iterator[Sequence[RocksStore]]:
    """Open an empty store for each partition; its end removes them.

    Raises:
        StateError: the disk refuses.
    """
    with (
        tempfile.TemporaryDirectory(prefix="truthloop-state-", ignore_cleanup_errors=True) as folder,
        ExitStack() as opened,
    ):
        stores = (RocksStore(Path(folder) / str(number), kinds) for number in range(partitions))
        yield [opened.enter_context(closing(store)) for store in stores]
