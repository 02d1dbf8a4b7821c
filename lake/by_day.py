"""A table whose rows belong to days, as files: each is read only for the days it holds, and replaced by itself.

Appended files hold the rows of one append, of whatever days. A file that is staged is not part of the table until a
commit exchanges others for it, so that a table can be rewritten in parts that fit in memory, and changes at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote
from uuid import uuid4

import polars as pl
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.transaction import RemoveAction

from lake.append import Claim, TableWriter
from lake.failure import lake_error
from lake.scan import files_of, scan_files
from lake.staged_file import StagedFile
from lake.storage.location import storage_at
from lake.table import PARTITION_COLUMN, RECORDED_AT, TIME
from schemas.base.location import Location
from schemas.errors import LakeConflict

__all__ = ["DayFile", "DayTable", "DayTableState"]

DAY: Final = "day"
"""The column by which rows belong to days."""

_MERGED: Final = "merged-"
"""Begins the name of a file that was staged as merged."""

_ROW_GROUP: Final = 65_536
"""Rows of a row group: a reader of one day skips the others of its file."""

_KEY: Final = "key"
"""A column with a Bloom filter: a reader of one key decodes the group that has it, and of the others 80 kB."""
_UNIQUE: Final = frozenset({_KEY, "id"})
"""Texts that hardly ever come twice: a dictionary of them would be as long as they are."""


@dataclass(frozen=True)
class DayFile:
    """A file of the table.

    Attributes:
        path: relative to the table's folder.
        rows: number of its rows.
        size: in bytes.
        first: the first day that it holds rows of.
        last: the last one.
    """

    path: str
    rows: int
    size: int
    first: date
    last: date

    @property
    def is_merged(self) -> bool:
        """Whether it was staged as merged: no two of its rows are of the same cell."""
        return self.path.rpartition("/")[2].startswith(_MERGED)

    def overlaps(self, first: date, last: date) -> bool:
        """Return whether it may hold rows of these days, both included."""
        return self.first <= last and first <= self.last


@dataclass(frozen=True)
class DayTableState:
    """The table as of one commit. Its files stay readable for as long as the lake keeps removed files.

    Attributes:
        folder: of the table.
        schema: of its rows.
        version: of the table.
        files: in no order.
        applied: next positions of the applications that were asked for.
    """

    folder: Location
    schema: pl.Schema
    version: int
    files: tuple[DayFile, ...]
    applied: Mapping[str, int]

    def scan(self, first: date = date.min, last: date = date.max) -> pl.LazyFrame:
        """Return a lazy frame of the rows of some days, both included; files without such rows are not opened."""
        rows = self.scan_some([one for one in self.files if one.overlaps(first, last)])
        return rows.filter(pl.col(DAY).is_between(first, last))

    def scan_some(self, files: Iterable[DayFile]) -> pl.LazyFrame:
        """Return a lazy frame of all rows of some of its files."""
        return _scan(self.folder, [one.path for one in files], self.schema)


class DayTable:
    """Reads and exchanges the files of one table; `lake.Lake.by_day` makes it."""

    def __init__(self, folder: Location, writer: TableWriter, schema: pl.Schema) -> None:
        self._folder = folder
        self._storage = storage_at(folder)
        self._writer = writer
        self._schema = schema

    def state(self, apps: Iterable[str] = ()) -> DayTableState:
        """Return the table as of its newest commit, with the positions of some applications as of the same commit.

        Raises:
            LakeError: the table cannot be read.
        """
        handle = self._writer.handle
        applied = {app: handle.transaction_version(app) or 0 for app in apps}
        return DayTableState(self._folder, self._schema, int(handle.version()), tuple(_files(handle)), applied)

    def stage(
        self,
        rows: pl.DataFrame,
        recorded_at: datetime,
        *,
        is_merged: bool = True,
        constants: Mapping[str, str | None] = MappingProxyType({}),
        footer: Mapping[str, str] = MappingProxyType({}),
    ) -> StagedFile:
        """Write rows to a file that is not part of the table yet.

        Args:
            rows: at least one, in the table's columns but those that the lake adds; sorted as the file is to be.
            recorded_at: a column of every row; its day in UTC is the partition folder.
            is_merged: see `DayFile.is_merged`.
            constants: columns with the same text, or none, in every row; the log has it, for readers of no file.
            footer: texts by key that the file says about itself, for readers of none of its rows.

        Raises:
            LakeError: the file cannot be written.
        """
        moment = recorded_at.astimezone(UTC)
        partition = {PARTITION_COLUMN: str(moment.date())}
        name = f"{_MERGED if is_merged else ''}{uuid4()}.zstd.parquet"
        path = f"{PARTITION_COLUMN}={moment.date()}/{name}"
        literals = [pl.lit(text, dtype=pl.String).alias(one) for one, text in constants.items()]
        whole = rows.with_columns(pl.lit(moment).cast(TIME).alias(RECORDED_AT), *literals)
        columns = [one for one in self._schema.names() if one != PARTITION_COLUMN]
        frame = whole.select(pl.col(one).cast(self._schema[one]) for one in columns)

        try:
            stored = self._storage.stage(path, partial(_write, frame, footer))
        except OSError as error:
            hint = "Check that the disk has room and the folder is writable, then run the same command again."
            raise lake_error("could not be written", error, self._folder / path, hint) from error
        first, last = rows.select(pl.col(DAY).min(), last=pl.col(DAY).max()).row(0)
        bounds = {
            DAY: (str(first), str(last)),
            **{one: (text, text) for one, text in constants.items() if text is not None},
        }
        return StagedFile(path, stored.size, rows.height, partition, bounds, moment)

    def scan_staged(self, files: Iterable[StagedFile]) -> pl.LazyFrame:
        """Return a lazy frame of the rows of staged files."""
        return _scan(self._folder, [one.path for one in files], self._schema)

    def discard(self, files: Iterable[StagedFile]) -> None:
        """Delete staged files that no commit will name."""
        for one in files:
            self._storage.delete(one.path)

    def exchange(
        self,
        added: Sequence[StagedFile],
        removed: Sequence[DayFile],
        claims: Sequence[Claim],
        *,
        is_change: bool,
        recorded_at: datetime,
    ) -> bool:
        """Replace files of the table by staged ones, in one commit with the positions of some applications.

        Args:
            added: they are part of the table afterwards.
            removed: they are not.
            claims: as for `Lake.append`.
            is_change: whether rows are other ones afterwards. Otherwise the change feed tells nothing: a sum of cells
                has moved to another file.
            recorded_at: when the old files were removed.

        Returns:
            True if it was done, False if all ranges were written already.

        Raises:
            LakeConflict: the positions are not those of the claims, or a removed file is not part of the table.
            LakeError: it cannot be written.
        """

        def exchange(handle: DeltaTable, properties: CommitProperties, hooks: PostCommitHookProperties) -> None:
            known = {one.path for one in _files(handle)}
            if gone := [one.path for one in removed if one.path not in known]:
                raise LakeConflict(
                    f"{gone[0]!r} is not part of the table any more",
                    where=str(self._folder),
                    hint="Another process has replaced it: read the table again.",
                )
            at_ms = round(recorded_at.timestamp() * 1_000)
            removals = [
                RemoveAction(one.path, is_change, at_ms, size=one.size, partition_values=_partition_of(one.path))
                for one in removed
            ]
            handle.create_write_transaction(
                [*(one.action(is_change=is_change) for one in added), *removals],
                "append",
                handle.schema(),
                [PARTITION_COLUMN],
                commit_properties=properties,
                post_commithook_properties=hooks,
            )

        return self._writer.commit(exchange, claims, retries=0)


def _scan(folder: Location, paths: Sequence[str], schema: pl.Schema) -> pl.LazyFrame:
    return scan_files(folder, pl.DataFrame({"path": paths}, schema={"path": pl.String}), schema, {})


def _partition_of(path: str) -> dict[str, str | None]:
    """Return the values of the partition columns from a file's path."""
    folders = [part.partition("=") for part in path.split("/")[:-1]]
    return {name: unquote(value) for name, _, value in folders}


def _files(handle: DeltaTable) -> Iterable[DayFile]:
    actions = files_of(handle)
    if not actions.height:
        return
    columns = {"first": f"min.{DAY}", "last": f"max.{DAY}"}
    for name, column in columns.items():
        known = pl.col(column) if column in actions.columns else pl.lit(None, dtype=pl.Date)
        limit = date.min if name == "first" else date.max
        actions = actions.with_columns(known.cast(pl.Date).fill_null(limit).alias(name))
    for row in actions.select("path", "num_records", "size_bytes", "first", "last").iter_rows():
        yield DayFile(*row)


def _write(frame: pl.DataFrame, footer: Mapping[str, str], file: str) -> None:
    table = frame.to_arrow()
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    with pq.ParquetWriter(
        file,
        table.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in texts if name not in _UNIQUE],
        bloom_filter_options={_KEY: {"ndv": min(_ROW_GROUP, frame.height)}} if _KEY in texts else None,
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=_ROW_GROUP)
        writer.add_key_value_metadata(dict(footer))
