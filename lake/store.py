"""The lake of one loop: creates, opens, appends to exactly once, and scans its tables.

It knows columns and positions; what a row means is up to the callers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import polars as pl
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError

from lake.append import Claim, TableWriter, WriteMode
from lake.by_day import DayTable
from lake.delta_schema import fields_of, schema_of
from lake.disk import check_newest_commits
from lake.failure import is_of_storage, lake_error
from lake.heads import HEADS, HEADS_TABLE, first_heads, head_claims, head_times, holds_a_head
from lake.marker import Marker, check_path
from lake.present import is_table, tables_in
from lake.properties import table_properties
from lake.scan import Bounds, files_of, holding, scan_files
from lake.storage.location import delta_options, storage_at
from lake.storage.probe import check_store
from lake.table import (
    PARTITION_COLUMN,
    RECORDED_AT,
    TABLES,
    TIME,
    column_type_of,
    required_columns,
    schemas_of,
)
from lake.view import write_views
from schemas.base.location import Location
from schemas.config.loop import LoopConfig
from schemas.errors import LakeConflict, LakeError

__all__ = ["Lake"]

_T = TypeVar("_T")

HISTORY: Final = "history"
HISTORY_TABLE: Final = "predictions"
"""Application whose position says where history begins, and the table that has it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FILES_AT_ONCE = 32
"""Files of one part of `scan_back`: more than those of a few minutes of a live lake."""


class Lake:
    """The tables of one loop in one folder. Use `create` or `open`."""

    def __init__(self, path: Location, marker: Marker) -> None:
        self.path = path
        self.loop = marker.loop
        self._writers = {table: TableWriter(path / table) for table in TABLES}
        self._remembered: dict[tuple[str, str], tuple[int, Any]] = {}

    @classmethod
    def create(cls, path: Location, config: LoopConfig) -> "Lake":
        """Create the lake of `config` in `path`, or add what is missing, and update its views.

        A slice, feature or kind that is new in the config becomes a new column; no column is ever removed.

        Raises:
            LakeError: the folder holds other files or another loop's lake, a column would change its type, one of
                the newest commits is torn, or the object store lets two writers create the same object.
            LakeTooNew: the lake has a newer format.
        """
        path = path.absolute()
        check_path(path)
        check_store(path)
        lake = cls(path, Marker.claim(path, config.loop))
        for table, schema in schemas_of(config).items():
            if is_table(path / table):
                check_newest_commits(path / table)
                lake._set_properties(table, table_properties(table, config.lake.keep_readable))
                lake._add_columns(table, schema)
            else:
                lake._create_table(table, schema, table_properties(table, config.lake.keep_readable))
        lake._set_heads()
        write_views(path, config, {table: lake.schema(table) for table in TABLES})
        return lake

    @classmethod
    def open(cls, path: Location) -> "Lake":
        """Open the lake in `path`.

        Raises:
            LakeError: there is none, a table is missing, or one of the newest commits is torn.
            LakeTooNew: the lake has a newer format.
        """
        path = path.absolute()
        check_path(path)
        lake = cls(path, Marker.read(path))
        for table in tables_in(path):
            if not is_table(path / table):
                raise LakeError(
                    f"the lake has no table {table!r}",
                    where=str(path),
                    hint="If its creation was interrupted, run the same command again; otherwise restore the folder "
                    "from a backup.",
                )
            check_newest_commits(path / table)
        return lake

    @contextmanager
    def look(self) -> Iterator[None]:
        """See each table as it was when it was first used within, plus this process's own commits.

        An object store is asked once for each table.
        """
        with ExitStack() as stack:
            for writer in self._writers.values():
                stack.enter_context(writer.look())
            yield

    def ask_again(self, table: str) -> None:
        """Within a look: see newer commits of a table, too."""
        self._writer(table).ask_again()

    def applied(self, table: str, app: str) -> int:
        """Return the next position of `app` in `table`; 0 if it has written nothing."""
        return self._writer(table).position(app)

    @property
    def history_begins_ms(self) -> int:
        """Time of the oldest predictions that readers show, ms UTC; 0: of all."""
        return self.applied(HISTORY_TABLE, HISTORY)

    def begin_history(self, at_ms: int, recorded_at: datetime) -> None:
        """Let history begin at a time; it never goes back.

        Raises:
            LakeConflict: another process has moved it meanwhile.
        """
        none = pl.DataFrame(schema=self.schema(HISTORY_TABLE)).drop(PARTITION_COLUMN, RECORDED_AT)
        self.append(HISTORY_TABLE, none, [Claim(HISTORY, self.history_begins_ms, at_ms)], recorded_at=recorded_at)

    def version(self, table: str) -> int:
        """Return the version of the table: the number of its newest commit."""
        return int(self._writer(table).handle.version())

    def newest_commits(self, tables: Iterable[str]) -> list[tuple[int, str | None]]:
        """Return what tells the newest commit of each table from all others, also from those of a restored lake."""
        return [self._writer(table).newest_commit for table in tables]

    def schema(self, table: str) -> pl.Schema:
        """Return the table's columns and types, in order."""
        return schema_of(self._writer(table).handle, table)

    def append(self, table: str, rows: pl.DataFrame, claims: Sequence[Claim], *, recorded_at: datetime) -> bool:
        """Append the rows of position ranges of one or several applications, exactly once.

        Rows and positions are one commit; a frame without rows commits the positions alone. `recorded_at` becomes a
        column of every row, and its day in UTC the partition folder. Writers of other applications may append to the
        same table at the same time.

        Returns:
            True if the rows were written, False if all ranges were written already.

        Raises:
            LakeConflict: the applications' positions are neither all at the start nor all past the end of their ranges.
            LakeError: the rows do not fit the table, or cannot be written.
        """
        return self._write(table, rows, "append", claims, recorded_at)

    def replace(self, table: str, rows: pl.DataFrame, claims: Sequence[Claim], *, recorded_at: datetime) -> bool:
        """Replace all rows of the table in one commit, by the rules of `append`."""
        return self._write(table, rows, "overwrite", claims, recorded_at)

    def scan(self, table: str, within: Mapping[str, Bounds] | None = None) -> pl.LazyFrame:
        """Return a lazy frame of the table in its current version, without later appends.

        Args:
            table: its name.
            within: column -> least and greatest number or time. Other rows are left out, and files that hold no such
                row by Delta's statistics are not opened.
        """
        return self._scan(table, holding(self._files(table), within or {}), within or {})

    def scan_back(self, table: str, within: Mapping[str, Bounds] | None = None) -> Iterator[pl.LazyFrame]:
        """Yield what `scan` returns in parts of a few files each, those with the newest rows first."""
        files = holding(self._files(table), within or {})
        newest = files.sort(pl.col("^max.recorded_at$"), "path", descending=True, nulls_last=False)
        for part in newest.iter_slices(_FILES_AT_ONCE):
            yield self._scan(table, part, within or {})

    def greatest(self, table: str, column: str) -> Any | None:  # noqa: ANN401 - of the column's type
        """Return the greatest value of a column with statistics, from the log alone; None where no file has any."""
        files = self._files(table)
        return files[f"max.{column}"].max() if f"max.{column}" in files.columns else None

    def is_empty(self, table: str) -> bool:
        """Tell whether the table has no rows."""
        return not self._files(table)["num_records"].fill_null(1).sum()

    def heads(self) -> pl.DataFrame | None:
        """Return the newest rows of the ledger's partitions, from files that hold one by Delta's statistics.

        Returns:
            None if an earlier version wrote the ledger, or rows were taken from it.
        """
        files = self._files(HEADS_TABLE)
        position = self._writer(HEADS_TABLE).position
        if not position(HEADS) and not files.is_empty():
            return None
        heads = head_times(files, position)
        if not heads:
            return pl.DataFrame(schema=self.schema(HEADS_TABLE))
        wanted = pl.LazyFrame(
            {"partition": list(heads), RECORDED_AT: list(heads.values())}, {"partition": pl.Int32(), RECORDED_AT: TIME}
        )
        rows = self._scan(HEADS_TABLE, files.filter(holds_a_head(heads)), {})
        found = rows.join(wanted, on=["partition", RECORDED_AT], how="semi").collect()
        newest = found.filter(pl.col("sequence") == pl.col("sequence").max().over("partition")).sort("partition")
        return newest if newest["partition"].to_list() == sorted(heads) else None

    def remember(self, table: str, name: str, read: Callable[[], _T]) -> _T:
        """Return what `read` returned when it was last called under this name, if the table has not changed since.

        Args:
            read: reads this table alone.
        """
        version = self.version(table)
        known = self._remembered.get((table, name))
        if known is None or known[0] != version:
            known = self._remembered[table, name] = version, read()
        found: _T = known[1]
        return found

    def _files(self, table: str) -> pl.DataFrame:
        """Return the table's files with their statistics."""
        return files_of(self._writer(table).handle)

    def _scan(self, table: str, files: pl.DataFrame, within: Mapping[str, Bounds]) -> pl.LazyFrame:
        return scan_files(self.path / table, files, self.schema(table), within)

    def by_day(self, table: str) -> DayTable:
        """Return a table whose rows belong to days, to be read and replaced file by file."""
        return DayTable(self.path / table, self._writer(table), self.schema(table))

    def _writer(self, table: str) -> TableWriter:
        try:
            return self._writers[table]
        except KeyError:
            raise LakeError(f"there is no table {table!r}; there are {', '.join(TABLES)}") from None

    def _write(
        self, table: str, rows: pl.DataFrame, mode: WriteMode, claims: Sequence[Claim], recorded_at: datetime
    ) -> bool:
        if recorded_at.tzinfo is None:
            raise ValueError("recorded_at needs a time zone")
        if len({claim.app for claim in claims}) < max(len(claims), 1):
            raise ValueError("there must be one claim for each application, and at least one")
        if any(claim.first is not None and claim.following < claim.first for claim in claims):
            raise ValueError("a range cannot end before it begins")
        if rows.height and all(claim.following == claim.first for claim in claims):
            raise ValueError(f"{rows.height} rows need a range that is not empty")
        moment = recorded_at.astimezone(UTC)
        whole = rows.with_columns(
            pl.lit(moment.date()).alias(PARTITION_COLUMN),
            pl.lit(moment).cast(TIME).alias(RECORDED_AT),
        )
        heads = self._new_heads(whole, moment) if table == HEADS_TABLE else []
        return self._writer(table).write(
            lambda handle: _conform(table, whole, schema_of(handle, table)), mode, [*claims, *heads]
        )

    def _new_heads(self, rows: pl.DataFrame, moment: datetime) -> list[Claim]:
        """Return the heads that a commit of ledger rows sets; before the first, a table has them all."""
        is_first = not self.applied(HEADS_TABLE, HEADS) and self.is_empty(HEADS_TABLE)
        heads = head_claims(rows, moment) if rows.height else []
        return [Claim(HEADS, None, 1), *heads] if heads and is_first else heads

    def _set_heads(self) -> None:
        """Give a ledger of an earlier version its heads."""
        while not self.applied(HEADS_TABLE, HEADS) and not self.is_empty(HEADS_TABLE):
            rows = self.scan(HEADS_TABLE).select("partition", "sequence", RECORDED_AT).collect()
            claims = first_heads(rows, partial(self.applied, HEADS_TABLE))
            none = pl.DataFrame(schema=self.schema(HEADS_TABLE)).drop(PARTITION_COLUMN, RECORDED_AT)
            try:
                self.append(HEADS_TABLE, none, claims, recorded_at=_EPOCH)
            except LakeConflict:  # another process has set some meanwhile
                continue

    def _create_table(self, table: str, schema: pl.Schema, properties: Mapping[str, str]) -> None:
        storage_at(self.path / table).make()
        try:
            DeltaTable.create(
                str(self.path / table),
                storage_options=delta_options(self.path),
                schema=Schema(fields_of(schema.items())),
                mode="ignore",
                partition_by=[PARTITION_COLUMN],
                configuration=dict(properties),
            )
        except BaseException as error:
            if not is_of_storage(error):
                raise
            if is_table(self.path / table):  # only the answer was lost
                return
            raise lake_error("the table could not be created", error, self.path / table, "") from error

    def _set_properties(self, table: str, properties: Mapping[str, str]) -> None:
        """Give a table of an earlier version or config the properties that a new one has."""

        def missing() -> dict[str, str]:
            known = self._writer(table).handle.metadata().configuration
            return {name: value for name, value in properties.items() if known.get(name) != value}

        self._alter(
            table, "properties could not be set", missing, lambda to, these: to.alter.set_table_properties(these)
        )

    def _add_columns(self, table: str, schema: pl.Schema) -> None:
        known = self.schema(table)
        folded = {name.lower(): name for name in known}
        for name, dtype in schema.items():
            if folded.get(name.lower(), name) != name:
                raise LakeError(
                    f"{name!r} would be a second {folded[name.lower()]!r}: Delta and DuckDB ignore case",
                    where=str(self.path / table),
                    hint="Write it as before, or rename it in the config.",
                )
            if name in known and known[name] != dtype:
                raise LakeError(
                    f"column {name!r} holds {column_type_of(known[name]).duckdb} in the lake, "
                    f"and the config wants {column_type_of(dtype).duckdb}",
                    where=str(self.path / table),
                    hint="A column never changes its type: rename it in the config.",
                )

        def missing() -> list[tuple[str, pl.DataType]]:
            known = self.schema(table)
            return [(name, dtype) for name, dtype in schema.items() if name not in known]

        self._alter(
            table, "columns could not be added", missing, lambda to, these: to.alter.add_columns(fields_of(these))
        )

    def _alter(
        self, table: str, failure: str, missing: Callable[[], _T], alter: Callable[[DeltaTable, _T], None]
    ) -> None:
        """Add what a table lacks; another process may do the same at once."""
        lacking = missing()
        if not lacking:
            return
        try:
            alter(self._writer(table).handle, lacking)
        except DeltaError as error:
            if missing():
                hint = "Another process is writing to the lake: stop it, or run the same command again."
                raise lake_error(failure, error, self.path / table, hint) from error


def _conform(table: str, rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Return the rows with the table's columns in order; missing optional columns are null."""
    if unknown := sorted(set(rows.columns) - set(schema)):
        raise LakeError(
            f"the table has no column {', '.join(map(repr, unknown))}",
            where=table,
            hint="A new slice, feature or kind becomes a column when the lake is updated to the new config.",
        )
    required = required_columns(table)
    if missing := sorted(required - set(rows.columns)):
        raise LakeError(f"the rows lack {', '.join(map(repr, missing))}", where=table)
    for name, dtype in rows.schema.items():
        if dtype not in (schema[name], pl.Null):
            raise LakeError(f"column {name!r} is {dtype}, and the table has {schema[name]}", where=table)
        if name in required and rows[name].null_count():
            raise LakeError(f"column {name!r} must never be null", where=table)
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )
