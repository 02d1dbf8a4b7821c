"""Copies a lake while it is written and maintained, and checks that all files of a lake are there and whole.

A backup is of one version of each table, all of them pinned at its beginning and in the order in which readers read
them, so whatever a row refers to is in it. Its files are those that maintenance keeps for readers that began then. The
marker is written last: a folder without one is no lake, and the same command goes on with it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from lake.append import TableWriter
from lake.failure import is_refused_by_system, lake_error
from lake.log_path import LOG, checkpoint_path, commit_path
from lake.maintenance.delta_log import list_log
from lake.marker import Marker
from lake.present import tables_in
from lake.scan import files_of
from lake.storage.interface import Storage
from lake.storage.location import storage_at
from lake.table import TABLES
from lake.view import PLACEHOLDERS, VIEWS_FILE
from schemas.base.location import Location
from schemas.errors import LakeError

__all__ = ["CheckedTable", "back_up", "check_files"]


@dataclass(frozen=True)
class CheckedTable:
    """A table that was copied or checked.

    Attributes:
        table: its name.
        version: that was copied or checked.
        files: data files of that version.
        rows: in them.
        faults: what is wrong, one sentence a file.
    """

    table: str
    version: int
    files: int
    rows: int
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pinned:
    """A version of a table: its data files with their sizes and rows, and its part of the log."""

    table: str
    version: int
    files: Sequence[tuple[str, int, int | None]]
    log: Sequence[str]


def back_up(path: Location, target: Location, crash: Callable[[str], None] = lambda _step: None) -> list[CheckedTable]:
    """Copy the lake in `path` to `target`, a new folder or one in which a backup was interrupted.

    Args:
        crash: called with the name of each step; tests end the process there.

    Raises:
        LakeError: there is no lake, the target holds something else, or a file cannot be copied.
    """
    marker = Marker.read(path)
    _check_target(target)
    pinned = [_pin(path / table) for table in reversed(tables_in(path))]
    crash("pinned")
    source, copied = storage_at(path), storage_at(target)
    for one in pinned:
        _copy_table(storage_at(path / one.table), storage_at(target / one.table), one)
        crash(f"{one.table} copied")
    for name in [VIEWS_FILE, *sorted(file.path for file in source.list(PLACEHOLDERS))]:
        _copy(source, copied, name)
    marker.write(target)
    return [
        CheckedTable(one.table, one.version, len(one.files), sum(rows or 0 for _, _, rows in one.files))
        for one in pinned
    ]


def check_files(path: Location) -> Iterator[CheckedTable]:
    """Check every table of the lake in `path`: each data file is there, of its size, with the rows that the log says.

    Raises:
        LakeError: there is no lake, or a table cannot be read.
    """
    Marker.read(path)
    for table in tables_in(path):
        handle = TableWriter(path / table).handle
        files, storage = _files(handle), storage_at(path / table)
        sizes = {file.path: file.size for file in storage.list()}
        checked = ((unquote(name), size, rows) for name, size, rows in files)
        faults = [fault for one in checked if (fault := _fault(storage, sizes, *one))]
        yield CheckedTable(table, handle.version(), len(files), sum(rows or 0 for _, _, rows in files), tuple(faults))


def _check_target(target: Location) -> None:
    """Refuse a folder that holds anything but an interrupted backup.

    Raises:
        LakeError: it does.
    """
    kept = {*TABLES, VIEWS_FILE, PLACEHOLDERS}
    others = (file.path for file in storage_at(target).list() if file.path.partition("/")[0] not in kept)
    if other := next(others, ""):
        raise LakeError(
            f"the folder holds {other!r}",
            where=str(target),
            hint="Give every backup a folder of its own; one that was interrupted may be given again.",
        )


def _pin(folder: Location) -> _Pinned:
    """Return the current version of a table, and the files of the log by which Delta reads it."""
    handle = TableWriter(folder).handle
    version, log = handle.version(), list_log(storage_at(folder))
    first = max((one for one in log.checkpoints if one <= version), default=None)
    entries = [commit_path(one) for one in range(0 if first is None else first, version + 1) if one in log.commits]
    return _Pinned(
        folder.name, version, _files(handle), [*([] if first is None else [checkpoint_path(first)]), *entries]
    )


def _files(handle: DeltaTable) -> list[tuple[str, int, int | None]]:
    actions = files_of(handle)
    return actions.select("path", "size_bytes", "num_records").rows() if actions.height else []


def _copy_table(source: Storage, copied: Storage, one: _Pinned) -> None:
    """Copy a pinned version: data files first, then its log; what an interrupted backup has copied is kept."""
    there = {file.path: file.size for file in copied.list()}
    for name in [path for path in there if path.startswith(f"{LOG}/")]:
        copied.delete(name)
    for name, size, _ in one.files:
        if there.get(unquote(name)) != size:
            _copy(source, copied, unquote(name))
    for name in one.log:
        _copy(source, copied, name)


def _copy(source: Storage, copied: Storage, path: str) -> None:
    """Copy a file durably.

    Raises:
        LakeError: it cannot be copied.
    """
    try:
        copied.stage(path, lambda file: source.fetch(path, file))
    except FileNotFoundError as error:
        hint = "The backup took longer than lake.keep_readable: lengthen it, or copy to a faster disk."
        raise lake_error("is gone", error, source.location(path), hint) from error
    except OSError as error:
        hint = "Check that the target has room and is writable, then run the same command again: it goes on."
        raise lake_error("could not be copied", error, copied.location(path), hint) from error


def _fault(storage: Storage, sizes: Mapping[str, int], path: str, size: int, rows: int | None) -> str:
    """Return what is wrong with a data file; empty if it is whole."""
    file = storage.location(path)
    if path not in sizes:
        return f"{file} is missing"
    if sizes[path] != size:
        return f"{file} has {sizes[path]:,} bytes, and the log says {size:,}"
    try:
        with storage.open(path) as content:
            held = pq.read_metadata(content).num_rows
    except (OSError, pa.ArrowException) as error:
        if is_refused_by_system(error):
            raise lake_error("cannot be read", error, file, "") from error
        return f"{file} is damaged: {' '.join(str(error).split())}"
    return f"{file} has {held:,} rows, and the log says {rows:,}" if rows is not None and held != rows else ""
