"""A RocksDB database for one partition's state, with bounded memory, whose faults become `StateError`.

It has two column families: states by key, with a bloom filter because most new keys are absent, and ordered entries
together with a few metadata values. Each ends in a sentinel that every walk must reach, because RocksDB's iterators end
silently at a damaged file. States and entries are plain bytes here.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import TypeVar, cast

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
)

from schemas.errors import StateError
from streams.runtime.folder import make_state_folder

__all__ = ["CHECKPOINT", "COUNTS", "END", "FORMAT", "RocksDatabase"]

Row = TypeVar("Row")

CACHE_BYTES = 160 * 1024 * 1024
"""Cache of all databases of this process: blocks, their indexes and filters, and write buffers.

It is shared, so that memory does not grow with the partitions that a worker is assigned. With 10 million live entries,
filters and indexes of blocks take about 20 MB of it.
"""

WRITE_BUFFER_BYTES = 64 * 1024 * 1024
"""The part of the cache for write buffers; after a crash the log of so much is replayed, in one or two seconds."""

LOG_BYTES_MAX = 16 * 1024 * 1024
"""Per database. Without a limit, a quiet one would keep a long log for the few changes still in its write buffer."""

OPEN_FILES_MAX = 64
"""Per database: eight of them stay well below the usual limit of 1,024; 10 million entries make a dozen files each."""

BLOOM_BITS = 10
"""Per key: 1 % false positives, and an absent key costs a tenth of a look-up."""

MEMTABLE_BLOOM_SHARE = 0.02
"""Share of a write buffer for its bloom filter, some 20 bits a key; it makes an absent key four times as cheap."""

BLOCK_BYTES = 8 * 1024
"""4, 8 and 16 kB measured the same, in time and on disk."""

LOG_FILES_KEPT = 2
"""RocksDB's own log files, of this run and the one before."""

FORMAT, CHECKPOINT, COUNTS = b"\0format", b"\0point", b"\0counts"
"""Keys of the metadata values; they sort before all entries."""

END = b"\xff"
"""Key of the sentinel; it sorts after every entry and after every key, because no UTF-8 text begins with it."""

_STATES = "states"

_FAULTS = (
    ("While lock file", "is used by another process", "Stop that one, or wait until it has ended.", False),
    ("lock hold by current process", "is open already in this process", "Close it there first.", False),
    (
        "Too many open files",
        "this process may not open more files",
        "The state is sound: raise the limit (ulimit -n, LimitNOFILE=) to 1,024 or more, and start again.",
        False,
    ),
    ("No space left on device", "the disk is full", "Make room and start again: no record is lost.", False),
    ("Corruption", "is damaged", "Move the folder away: the state is then rebuilt.", True),
)
"""RocksDB's text, what it means, what to do, and whether the state must be rebuilt."""


class RocksDatabase:
    """One open database.

    Args:
        folder: created if missing; for this database alone.
        version: format of the stored states; a database of another version is refused.

    Attributes:
        states_family: column family handle for states in a batch; entries and metadata need none.

    Raises:
        StateError: the database is in use, damaged or of another version, or the disk refuses.
    """

    def __init__(self, folder: Path, version: bytes) -> None:
        self.folder = folder
        self._version = version
        with self._faults():
            make_state_folder(folder)
            self._entries = Rdict(str(folder), _entry_options(), column_families={_STATES: _state_options()})
            self._states = self._entries.get_column_family(_STATES)
            self.states_family = self._entries.get_column_family_handle(_STATES)
        try:
            self._check_version()
        except StateError:
            self.close()
            raise

    def metadata(self, name: bytes) -> bytes | None:
        """Return a metadata value."""
        with self._faults():
            return cast("bytes | None", self._entries.get(name))

    def states(self, keys: list[bytes]) -> list[bytes | None]:
        """Return the state of each key, None where it is absent."""
        with self._faults():
            return cast("list[bytes | None]", self._states.get([*keys]))

    def walk_states(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all keys and states, ordered by key, in a snapshot of now."""
        begin = cast("Callable[[], Iterable[tuple[bytes, bytes]]]", self._states.items)
        return self._walk(begin, lambda row: row[0])

    def walk_entry_keys(self, start: bytes) -> Iterator[bytes]:
        """Iterate over the keys of the entries from `start` on, in order, in a snapshot of now."""
        begin = cast("Callable[[], Iterable[bytes]]", partial(self._entries.keys, from_key=start))
        return self._walk(begin, lambda key: key)

    def entry(self, key: bytes) -> bytes:
        """Return the value of an entry that exists."""
        with self._faults():
            value = cast("bytes | None", self._entries.get(key))
            if value is None:
                raise Exception("Corruption: an entry is missing")  # noqa: TRY002 - like RocksDB's own
            return value

    def write(self, batch: WriteBatch) -> None:
        """Write a batch atomically. It survives the end of this process; a power cut may lose the last batches."""
        with self._faults():
            self._entries.write(batch)

    def clear(self) -> None:
        """Delete everything."""
        batch = WriteBatch(raw_mode=True)
        batch.delete_range(b"", END)
        batch.delete_range(b"", END, self.states_family)
        batch.put(FORMAT, self._version)
        self.write(batch)

    def close(self) -> None:
        """Close the database, so that it can be opened elsewhere. Closing twice does nothing."""
        # A handle that is still referenced would keep the lock.
        self.__dict__.pop("states_family", None)
        for family in (self._states, self._entries):
            # Data that the disk does not take into files now is still in the log.
            with suppress(Exception):
                family.close()

    def _check_version(self) -> None:
        found = self.metadata(FORMAT)
        if found is None and next(self._entries.keys(), None) is None:
            batch = WriteBatch(raw_mode=True)
            batch.put(FORMAT, self._version)
            batch.put(END, b"")
            batch.put(END, b"", self.states_family)
            self.write(batch)
        elif found != self._version:
            name = "none" if found is None else found.decode(errors="replace")
            raise StateError(
                f"holds a state of format {name}, and this version reads {self._version.decode()}",
                where=str(self.folder),
                hint="Move the folder away: the state is then rebuilt.",
                must_rebuild=True,
            )

    def _walk(self, begin: Callable[[], Iterable[Row]], key_of: Callable[[Row], bytes]) -> Iterator[Row]:
        with self._faults():
            for row in begin():
                if key_of(row) == END:
                    return
                yield row
            raise Exception("Corruption: a walk ended before the last entry")  # noqa: TRY002 - like RocksDB's own

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn RocksDB's faults into `StateError`; the binding raises bare exceptions with RocksDB's text."""
        try:
            yield
        except Exception as error:
            text = str(error)
            for part, what, hint, must_rebuild in _FAULTS:
                if part in text:
                    raise StateError(
                        f"{what} ({text})", where=str(self.folder), hint=hint, must_rebuild=must_rebuild
                    ) from error
            raise StateError(f"cannot be used: {text}", where=str(self.folder)) from error


@cache
def _memory() -> tuple[Cache, WriteBufferManager]:
    """Return the block cache and the write buffer manager that all databases of this process share."""
    blocks = Cache(CACHE_BYTES)
    return blocks, WriteBufferManager.new_write_buffer_manager_with_cache(
        WRITE_BUFFER_BYTES, allow_stall=False, cache=blocks
    )


def _entry_options() -> Options:
    options = _options(bloom=False)
    options.create_if_missing(create_if_missing=True)
    options.create_missing_column_families(create_missing_cfs=True)
    options.set_paranoid_checks(enabled=True)
    options.set_max_open_files(OPEN_FILES_MAX)
    options.set_max_background_jobs(2)
    options.set_max_total_wal_size(LOG_BYTES_MAX)
    options.set_keep_log_file_num(LOG_FILES_KEPT)
    options.set_write_buffer_manager(_memory()[1])
    return options


def _state_options() -> Options:
    options = _options(bloom=True)
    options.set_memtable_whole_key_filtering(whole_key_filter=True)
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_SHARE)
    return options


def _options(*, bloom: bool) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(_memory()[0])
    table.set_block_size(BLOCK_BYTES)
    table.set_cache_index_and_filter_blocks(v=True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(v=True)
    table.set_format_version(5)
    if bloom:
        table.set_bloom_filter(BLOOM_BITS, block_based=False)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES // 4)
    # zstd would need a sixth less disk, and a tenth more time for reads from disk.
    options.set_compression_type(DBCompressionType.lz4())
    return options
