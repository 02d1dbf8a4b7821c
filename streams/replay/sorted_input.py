"""One input of a file replay: merges several files into one log in order of time, with offsets.

A log's order is (time, argument order, row), so the same files always make the same log. Files that fit are sorted in
memory; larger ones must be sorted already, or are refused with the command that sorts them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from schemas.config.loop import LoopConfig
from schemas.errors import InputError
from streams.columns.schema import known_at_ms
from streams.ledger.row import RunFile
from streams.mapping.mapper import Mapper
from streams.mapping.record_file import RecordFile

__all__ = ["SortedInput"]

SORT_BYTES_MAX = 2 * 1024**3
"""Files up to this total size are sorted in memory; as frames they take about three times as much."""

ROWS_PER_SLICE = 125_000
"""Rows per slice: large enough for columnar work, small enough for steady progress."""

_SORT = "duckdb -c \"COPY (FROM 'in.parquet' ORDER BY time) TO 'out.parquet'\""


@dataclass
class SortedInput:
    """The log of all files of one role.

    Attributes:
        files: in argument order.
        first_offset: offset of the log's first record.
        counts: per file; complete once `slices` is exhausted.
        rejects: files and their records that could not be mapped, one entry per chunk.
    """

    role: Literal["predictions", "labels"]
    files: Sequence[RecordFile]
    config: LoopConfig
    first_offset: int
    counts: list[RunFile] = field(init=False)
    rejects: list[tuple[RecordFile, pl.DataFrame]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [RunFile(file.path.name, file.sha256, file.role) for file in self.files]

    def slices(self) -> Iterator[pl.DataFrame]:
        """Yield the log in order, as canonical frames with the additional columns source, order_ms and offset.

        Raises:
            InputError: the files are too large to be sorted in memory and are not in order.
        """
        offset = self.first_offset
        fits = sum(file.path.stat().st_size for file in self.files) <= SORT_BYTES_MAX
        for frame in self._sorted_in_memory() if fits else self._checked_order():
            numbered = frame.with_columns(pl.int_range(offset, offset + frame.height, dtype=pl.Int64).alias("offset"))
            offset += frame.height
            yield numbered

    def _sorted_in_memory(self) -> Iterator[pl.DataFrame]:
        frames = [frame for _, frame in self._mapped()]
        if not frames:
            return
        # Files are in argument order and rows in file order, so a stable sort resolves all ties.
        log = pl.concat(frames).sort("order_ms", maintain_order=True)
        frames.clear()
        yield from log.iter_slices(ROWS_PER_SLICE)

    def _checked_order(self) -> Iterator[pl.DataFrame]:
        latest_ms: int | None = None
        for file, frame in self._mapped():
            if frame.is_empty():
                continue
            times = frame["order_ms"]
            first_ms = times[0]
            if not times.is_sorted() or (latest_ms is not None and first_ms < latest_ms):
                raise InputError(
                    f"not in order, and over {SORT_BYTES_MAX >> 30} GiB in all: too large to be sorted in memory",
                    where=str(file.path),
                    hint=f"Sort it by time first ({_SORT}), and give several files in order.",
                )
            latest_ms = times[-1]
            yield from frame.iter_slices(ROWS_PER_SLICE)

    def _mapped(self) -> Iterator[tuple[RecordFile, pl.DataFrame]]:
        for file, counts in zip(self.files, self.counts, strict=True):
            for chunk in Mapper(file, self.config).chunks():
                counts.read += chunk.rows_read
                counts.filtered += chunk.filtered
                counts.rejected += chunk.rejects.height
                counts.mapped += chunk.records.height
                _count(counts.reasons, chunk.rejects["reason"])
                _count(counts.flags, chunk.records["flags"].explode().drop_nulls())
                if not chunk.rejects.is_empty():
                    self.rejects.append((file, chunk.rejects))
                yield file, self._with_order(chunk.records, file)

    def _with_order(self, records: pl.DataFrame, file: RecordFile) -> pl.DataFrame:
        source = pl.lit(file.sha256, dtype=pl.String).alias("source")
        if self.role == "predictions":
            return records.with_columns(pl.col("time_ms").alias("order_ms"), source)
        # A heartbeat is about the whole input: every partition gets a copy.
        every = list(range(self.config.partitions))
        partitions = pl.when(pl.col("op") == "heartbeat").then(pl.lit(every)).otherwise(pl.lit([None]))
        return (
            records.with_columns(known_at_ms(self.config).alias("order_ms"), source)
            .with_columns(partitions.cast(pl.List(pl.Int32)).alias("partition"))
            .explode("partition")
        )


def _count(counts: dict[str, int], names: pl.Series) -> None:
    """Add the number of occurrences of each name."""
    for name, count in names.value_counts().iter_rows():
        counts[name] = counts.get(name, 0) + count
