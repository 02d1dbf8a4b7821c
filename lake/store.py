"""The lake of one loop: creates, opens, appends to exactly once, and scans its tables.

It knows columns and positions; what a row means is up to the callers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable, Field, Schema
from deltalake.exceptions import DeltaError
from deltalake.schema import ArrayType, PrimitiveType

from lake.append import Claim, TableWriter, WriteMode
from lake.disk import check_newest_commits
from lake.failure import is_of_storage, lake_error
from lake.marker import Marker, check_path, make_folder
from lake.properties import table_properties
from lake.table import (
    PARTITION_COLUMN,
    RECORDED_AT,
    TABLES,
    TIME,
    ColumnType,
    column_type_of,
    column_type_of_delta,
    required_columns,
    schemas_of,
)
from lake.view import write_views
from schemas.config.loop import LoopConfig
from schemas.errors import LakeError

__all__ = ["Lake"]

Bounds = tuple[int, int] | tuple[datetime, datetime]

_T = TypeVar("_T")


class Lake:
    """The tables of one loop in one folder. Use `create` or `open`."""

    def __init__(self, path: Path, marker: Marker) -> None:
        self.path = path
        self.loop = marker.loop
        self._writers = {table: TableWriter(path / table) for table in TABLES}

    @classmethod
    def create(cls, path: Path, config: LoopConfig) -> "Lake":
        """Create the lake of `config` in `path`, or add what is missing, and update its views.

        A slice, feature or kind that is new in the config becomes a new column; no column is ever removed.

        Raises:
            LakeError: the folder holds other files or another loop's lake, a column would change its type, or one of
                the newest commits is torn.
            LakeTooNew: the lake has a newer format.
        """
        path = path.absolute()
        lake = cls(path, Marker.claim(path, config.loop))
        for table, schema in schemas_of(config).items():
            if DeltaTable.is_deltatable(str(path / table)):
                check_newest_commits(path / table)
                lake._set_properties(table, table_properties(table, config.lake.keep_readable))
                lake._add_columns(table, schema)
            else:
                lake._create_table(table, schema, table_properties(table, config.lake.keep_readable))
        write_views(path, config, {table: lake.schema(table) for table in TABLES})
        return lake

    @classmethod
    def open(cls, path: Path) -> "Lake":
        """Open the lake in `path`.

        Raises:
            LakeError: there is none, a table is missing, or one of the newest commits is torn.
            LakeTooNew: the lake has a newer format.
        """
        path = path.absolute()
        check_path(path)
        lake = cls(path, Marker.read(path))
        for table in TABLES:
            if not DeltaTable.is_deltatable(str(path / table)):
                raise LakeError(
                    f"the lake has no table {table!r}",
                    where=str(path),
                    hint="If its creation was interrupted, run the same command again; otherwise restore the folder "
                    "from a backup.",
                )
            check_newest_commits(path / table)
        return lake

    def applied(self, table: str, app: str) -> int:
        """Return the next position of `app` in `table`; 0 if it has written nothing."""
        return self._writer(table).handle.transaction_version(app) or 0

    def version(self, table: str) -> int:
        """Return the version of the table: the number of its newest commit."""
        return int(self._writer(table).handle.version())

    def schema(self, table: str) -> pl.Schema:
        """Return the table's columns and types, in order."""
        return _schema_of(self._writer(table).handle, table)

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
        within = within or {}
        handle = self._writer(table).handle
        schema = _schema_of(handle, table)
        files = _files(handle, self.path / table, within)
        if not files:
            return pl.LazyFrame(schema=schema)
        rows = pl.scan_parquet(
            files,
            glob=False,
            schema=schema,
            hive_partitioning=True,
            hive_schema={PARTITION_COLUMN: schema[PARTITION_COLUMN]},
            missing_columns="insert",
        ).select(schema.names())
        return rows.filter(*(pl.col(name).is_between(*bounds) for name, bounds in within.items())) if within else rows

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
        if any(claim.following < claim.first for claim in claims):
            raise ValueError("a range cannot end before it begins")
        if rows.height and all(claim.following == claim.first for claim in claims):
            raise ValueError(f"{rows.height} rows need a range that is not empty")
        moment = recorded_at.astimezone(UTC)
        whole = rows.with_columns(
            pl.lit(moment.date()).alias(PARTITION_COLUMN),
            pl.lit(moment).cast(TIME).alias(RECORDED_AT),
        )
        return self._writer(table).write(lambda handle: _conform(table, whole, _schema_of(handle, table)), mode, claims)

    def _create_table(self, table: str, schema: pl.Schema, properties: Mapping[str, str]) -> None:
        make_folder(self.path / table)
        try:
            DeltaTable.create(
                str(self.path / table),
                schema=Schema(_fields(schema.items())),
                mode="ignore",
                partition_by=[PARTITION_COLUMN],
                configuration=dict(properties),
            )
        except BaseException as error:
            if not is_of_storage(error):
                raise
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
            table, "columns could not be added", missing, lambda to, these: to.alter.add_columns(_fields(these))
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


def _fields(columns: Iterable[tuple[str, pl.DataType]]) -> list[Field]:
    return [Field(name, _delta_type(column_type_of(dtype)), nullable=True) for name, dtype in columns]


def _delta_type(column_type: ColumnType) -> PrimitiveType | ArrayType:
    element = PrimitiveType(column_type.delta)
    return ArrayType(element, contains_null=True) if column_type.is_list else element


def _schema_of(handle: DeltaTable, table: str) -> pl.Schema:
    columns = {}
    for field in handle.schema().fields:
        is_list = isinstance(field.type, ArrayType)
        element = field.type.element_type if isinstance(field.type, ArrayType) else field.type
        try:
            columns[field.name] = column_type_of_delta(getattr(element, "type", ""), is_list=is_list).polars
        except KeyError:
            raise LakeError(f"column {field.name!r} has a type that Truthloop does not use", where=table) from None
    return pl.Schema(columns)


def _files(handle: DeltaTable, folder: Path, within: Mapping[str, Bounds]) -> list[Path]:
    """Return the table's files, without those whose statistics show that no row is within the bounds."""
    actions = pl.DataFrame(handle.get_add_actions(flatten=True))
    for name, (least, greatest) in within.items():
        if f"min.{name}" in actions.columns:
            overlaps = (pl.col(f"max.{name}") >= least) & (pl.col(f"min.{name}") <= greatest)
            actions = actions.filter(overlaps.fill_null(value=True))
    return [folder / unquote(path) for path in actions["path"].to_list()]


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
