"""Writes the rows of several data files of one day or month as one file: sorted, so that readers open little of it.

Rows are sorted by the day of what they are about, then by key: whoever asks for a day or for a key reads few row
groups. DuckDB sorts with bounded memory, whatever the size of a day, in one thread.
"""

import json
import math
import re
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from string import Template
from typing import Any, Final

import duckdb

from lake.failure import lake_error
from lake.maintenance.commit import DataFile
from lake.maintenance.plan import Group
from lake.storage.interface import Storage
from lake.table import PARTITION_COLUMN
from lake.view import quote_name, quote_text
from schemas.errors import LakeError

__all__ = ["NullsPart", "write_sorted"]

ROWS_PER_GROUP = 16_384
"""A reader of one key decodes one group of each day, and a footer has some hundred bytes for each column of each."""

_SESSION: Final[dict[str, str | bool | int | float | list[str]]] = {
    "threads": "1",
    "memory_limit": "512MB",  # beyond it DuckDB sorts on disk
    "autoinstall_known_extensions": "false",
}

_SORTED_BY: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "predictions": ("predicted_at", ("key", "partition", "offset")),
    "outcomes": ("predicted_at", ("key", "partition", "revision")),
    "labels": ("label_time", ("key", "partition", "offset")),
    "cells": ("day", ("version", "slice", "kind", "definition", "measure", "bin")),
    "evidence": ("day", ("kind", "version", "name")),
    "rejects": ("", ("input", "partition", "offset")),
    "ledger": ("", ("partition", "sequence")),
    "decisions": ("", ("kind", "number")),
}
"""Column of the day, and the columns after it; rows of the other tables keep the order in which they were written."""

_COPY = Template(
    "COPY (SELECT * FROM read_parquet($$files, hive_partitioning = false, union_by_name = true) $where $order) "
    "TO $target (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE $rows_per_group)"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = "TIMESTAMP WITH TIME ZONE"
_AS_IS = Template("$column")
_RANGED: Final[Mapping[str, Template]] = {
    **dict.fromkeys(("INTEGER", "BIGINT", "DOUBLE", "VARCHAR"), _AS_IS),
    "DATE": Template("CAST($column AS VARCHAR)"),
    _TIME: Template("epoch_us($column)"),
}
"""Types whose columns get a range, and the expression of the range."""

_PLACES = re.compile(r"([\[*?])")
"""What DuckDB would take for a pattern in a path."""


@dataclass(frozen=True)
class NullsPart:
    """Some rows of a group.

    Attributes:
        column: that tells which.
        is_null: those without a value in it, or those with one.
        rows: how many there are.
    """

    column: str
    is_null: bool
    rows: int

    @property
    def condition(self) -> str:
        """The WHERE of these rows."""
        return f"WHERE {quote_name(self.column)} IS {'' if self.is_null else 'NOT '}NULL"


def write_sorted(
    storage: Storage, table: str, group: Group, columns: Sequence[str], part: NullsPart | None = None
) -> DataFile:
    """Write the rows of a group as one new file, durably; nothing names it yet.

    Args:
        columns: those that get statistics, as far as the files have them.
        part: only these rows.

    Raises:
        LakeError: the new file would not have as many rows, a file cannot be read, or none can be written.
    """
    path = f"{PARTITION_COLUMN}={group.day.isoformat()}/{group.file_name(uuid.uuid4().hex)}"
    sources = [_PLACES.sub(r"[\1]", storage.location(file.path)) for file in group.files]
    try:
        with (
            tempfile.TemporaryDirectory(prefix="truthloop-sort-") as folder,
            duckdb.connect(config=_SESSION | {"temp_directory": folder}) as session,
        ):
            storage.serve(session)
            session.execute("SET TimeZone = 'UTC'")
            stats: dict[str, Any] = {}

            def write(target: str) -> None:
                where = "" if part is None else part.condition
                copy = _COPY.substitute(
                    where=where, order=_order(table), target=quote_text(target), rows_per_group=ROWS_PER_GROUP
                )
                session.execute(copy, {"files": sources})
                stats.update(_statistics(session, target, columns))

            written = storage.stage(path, write)
    except (duckdb.Error, OSError) as error:
        hint = "Check that the disk has room; nothing has changed, and it is tried again."
        where = storage.location(path).rpartition("/")[0]
        raise lake_error(f"{len(group.files)} files could not be rewritten as one", error, where, hint) from error
    if stats["numRecords"] != (rows := group.rows if part is None else part.rows):
        storage.delete(path)
        raise LakeError(
            f"{len(group.files)} files have {stats['numRecords']:,} rows, and the log says {rows:,}",
            where=f"table {table}, {PARTITION_COLUMN} {group.day}",
            hint="Nothing has changed. `truthloop lake verify` names the damaged file; restore it from a backup.",
        )
    text = json.dumps(stats, separators=(",", ":"), ensure_ascii=False)
    return DataFile(path, written.size, text, written.modified_ms)


def _order(table: str) -> str:
    """Return the ORDER BY of a table's files; empty where rows keep their order."""
    if table not in _SORTED_BY:
        return ""
    day, others = _SORTED_BY[table]
    names = [quote_name(name) for name in others]
    if day:
        names.insert(0, "CAST(" + quote_name(day) + " AS DATE)")
    return "ORDER BY " + ", ".join(names)


def _statistics(session: duckdb.DuckDBPyConnection, file: str, columns: Sequence[str]) -> dict[str, Any]:
    """Return Delta's statistics of a file, read from the file itself: number of rows, and ranges of columns."""
    source = session.read_parquet(_PLACES.sub(r"[\1]", file), hive_partitioning=False)
    types = dict(zip(source.columns, map(str, source.types), strict=True))
    known = [name for name in columns if name in types]
    ranged = [name for name in known if types[name] in _RANGED]
    parts = ["count(*)", *("count(" + quote_name(name) + ")" for name in known)]
    for name in ranged:
        column = _RANGED[types[name]].substitute(column=quote_name(name))
        parts += ["min(" + column + ")", "max(" + column + ")"]
    ((rows, *values),) = source.aggregate(", ".join(parts)).fetchall()
    counts, ranges = values[: len(known)], values[len(known) :]
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    for name, low, high in zip(ranged, ranges[::2], ranges[1::2], strict=True):
        if low is None or not (_is_finite(low) and _is_finite(high)):
            continue
        is_time = types[name] == _TIME
        least[name] = _time_text(low // 1000) if is_time else low
        greatest[name] = _time_text(-(-high // 1000)) if is_time else high
    nulls = {name: rows - count for name, count in zip(known, counts, strict=True)}
    return {"numRecords": rows, "minValues": least, "maxValues": greatest, "nullCount": nulls}


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _time_text(time_ms: int) -> str:
    """Return a time as in Delta's statistics, which have milliseconds."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
