"""The stores of a replay, kept in a folder from one run to the next: a night reads of its state what it needs.

Each store holds the mark of the step after which it was kept. One with another mark is behind the lake, because a run
was killed; or ahead of it, because the lake came from a backup; or of another lake. It is thrown away, as is one of
another form, and whoever asked makes it anew from the lake.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import StateError
from streams.state_store.store import RocksStore

__all__ = ["KeptStores", "kept_stores"]


@dataclass(frozen=True)
class KeptStores:
    """The open stores of all partitions.

    Attributes:
        stores: in the order of the partitions.
        is_kept: they hold the state after the step that was asked for; otherwise they are empty.
    """

    stores: Sequence[RocksStore]
    is_kept: bool

    def keep(self, mark: bytes) -> None:
        """Write all changes, as the state after the step with this mark: of a run that is killed amid it none is kept.

        Raises:
            StateError: the disk refuses.
        """
        for store in self.stores:
            store.flush(mark)


@contextmanager
def kept_stores(folder: Path, partitions: int, kinds: list[str], mark: bytes | None) -> Iterator[KeptStores]:
    """Open the stores in a folder, and close them in the end; what was not kept is lost then.

    Args:
        folder: for these stores alone; created if missing, and emptied if it holds another state.
        partitions: number of stores.
        kinds: label kinds.
        mark: of the step after which the state is wanted; None before the first.

    Raises:
        StateError: another process has a store open, or the disk refuses.
    """
    is_usable = False
    with ExitStack() as opened:
        try:
            stores = _opened(folder, partitions, kinds, opened)
            marks = {store.checkpoint() for store in stores}
            is_usable = marks in ({mark}, {None})  # a store without a mark is empty
        except StateError as error:
            if not error.must_rebuild:
                raise
        if not is_usable:
            opened.close()
            shutil.rmtree(folder)
            stores = _opened(folder, partitions, kinds, opened)
        yield KeptStores(stores, is_kept=mark is not None and stores[0].checkpoint() == mark)


def _opened(folder: Path, partitions: int, kinds: list[str], opened: ExitStack) -> list[RocksStore]:
    stores = (RocksStore(folder / str(number), kinds) for number in range(partitions))
    return [opened.enter_context(closing(store)) for store in stores]
