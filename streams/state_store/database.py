"""A RocksDB database for one partition's state: opened, bounded in memory, and its faults in words.

Two column families: keys with their states (bloom filter: most new keys are absent), and entries in order with
the few facts about the whole. Each ends in a sentinel, so that a walk that a damaged file stops short is found
out: RocksDB's iterators end without a word. Must not know what states and entries mean.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import cast

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

__all__ = ["COUNTS", "END", "FORMAT", "POINT", "RocksDatabase"]

CACHE_BYTES = 160 * 1024 * 1024
"""Blocks, their indexes and filters, and what is written but not yet in files, of all databases of this process.

Partitions come and go; their memory does not add up. With 10 million live entries, filters and indexes of blocks
take about 20 MB of it.
"""

WRITE_BUFFER_BYTES = 64 * 1024 * 1024
"""The part of it that waits to become files: what is read again after a crash, in one or two seconds in all."""

LOG_BYTES_MAX = 16 * 1024 * 1024
"""Per database: a quiet one must not keep a long log for the few changes in it that wait to become files."""

OPEN_FILES_MAX = 64
"""Per database: eight of them stay well below the usual limit of 1,024; 10 million entries make a dozen files each."""

BLOOM_BITS = 10
"""A filter of this size is wrong in one of a hundred look-ups, at a tenth of the price of looking."""

MEMTABLE_BLOOM_SHARE = 0.02
"""The same for what is not yet in files: some 20 bits a key; it makes an absent key four times as cheap."""

BLOCK_BYTES = 8 * 1024
"""4, 8 and 16 kB measured alike, in time and on disk."""

LOG_FILES_KEPT = 2
"""RocksDB's own reports, of this opening and the one before."""

FORMAT, POINT, COUNTS = b"\0format", b"\0point", b"\0counts"
"""Facts about the whole, before all entries."""

END = b"\xff"
"""The sentinel: behind every entry, and behind every key, because no UTF-8 text begins with it."""

_STATES = "states"

_FAULTS = (
    ("While lock file", "is used by another process", "Stop that one, or wait until it has ended.", False),
    ("lock hold by current process", "is open already in this process", "Close it there first.", False),
    ("No space left on device", "the disk is full", "Make room and start again: nothing that was read is lost.", False),
    ("Corruption", "is damaged", "Move the folder away: the state is then rebuilt.", True),
)


class RocksDatabase:
    """One open database.

    Args:
        folder: made if there is none; nobody else may put anything there.
        version: of what is stored in it; a database of another one is refused.

    Attributes:
        states_family: handle to put a state into a batch; without one it is an entry.

    Raises:
        StateError: it is in use, damaged, of another version, or the disk refuses.
    """

    def __init__(self, folder: Path, version: bytes) -> None:
        self.folder = folder
        self._version = version
        with self._faults():
            folder.mkdir(parents=True, exist_ok=True)
            self._entries = Rdict(str(folder), _entry_options(), column_families={_STATES: _state_options()})
            self._states = self._entries.get_column_family(_STATES)
            self.states_family = self._entries.get_column_family_handle(_STATES)
        try:
            self._check_version()
        except StateError:
            self.close()
            raise

    def fact(self, name: bytes) -> bytes | None:
        """Return a fact about the whole."""
        with self._faults():
            return cast("bytes | None", self._entries.get(name))

    def states(self, keys: list[bytes]) -> list[bytes | None]:
        """Return the states of these keys, None for each that is not there."""
        with self._faults():
            return cast("list[bytes | None]", self._states.get([*keys]))

    def walk_states(self) -> Iterator[tuple[bytes, bytes]]:
        """Go through all keys and states, in order of keys, as they are now."""
        return self._walk(self._states, b"")

    def walk_entries(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Go through the entries from `start` on, in order, as they are now."""
        return self._walk(self._entries, start)

    def write(self, batch: WriteBatch) -> None:
        """Write a batch as a whole, safe from the end of this process; a power cut may cost the last ones."""
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
        """Close it, so that it can be opened elsewhere. Closing twice does nothing."""
        # A handle that is left alive would keep the lock.
        self.__dict__.pop("states_family", None)
        for family in (self._states, self._entries):
            # What the disk refuses to take into files now is still in the log.
            with suppress(Exception):
                family.close()

    def _check_version(self) -> None:
        found = self.fact(FORMAT)
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

    def _walk(self, family: Rdict, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._faults():
            for row in family.items(from_key=start):
                if row[0] == END:
                    return
                yield cast("tuple[bytes, bytes]", row)
            raise Exception("Corruption: a walk ended before the last entry")  # noqa: TRY002 - as RocksDB would say it

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Say what RocksDB's faults mean; the binding raises bare exceptions with RocksDB's own words."""
        try:
            yield
        except Exception as error:
            text = str(error)
            for sign, what, hint, must_rebuild in _FAULTS:
                if sign in text:
                    raise StateError(
                        f"{what} ({text})", where=str(self.folder), hint=hint, must_rebuild=must_rebuild
                    ) from error
            raise StateError(f"cannot be used: {text}", where=str(self.folder)) from error


@cache
def _memory() -> tuple[Cache, WriteBufferManager]:
    """Return what all databases of this process share."""
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
    # zstd takes a sixth less disk and a tenth more time to look up what is not in memory.
    options.set_compression_type(DBCompressionType.lz4())
    return options
