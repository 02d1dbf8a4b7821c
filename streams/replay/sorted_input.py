"""One input of a file replay: merges several files into one log in order of time, with offsets.

A log's order is (time, argument order, row), so the same files always make the same log. Files of any size and order
are sorted in bounded memory; what does not fit is put aside in a folder for temporary files.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import polars as pl

from schemas.config.loop import LoopConfig
from streams.columns.schema import known_at_ms
from streams.ledger.row import RunFile
from streams.mapping.mapper import Mapper
from streams.mapping.record_file import RecordFile
from streams.messages.lake_rows import mapping_reject_rows
from streams.readers.row_size import text_bytes
from streams.replay.external_sort import ExternalSort, read_part, write_part

__all__ = ["SortedInput"]

ROWS_PER_SLICE = 125_000
"""Rows per slice: large enough for columnar work, small enough for steady progress."""

BYTES_PER_SLICE = 64 * 1024 * 1024
"""Bytes of text per slice. Of ordinary records 125,000 have a third of it; of large ones a slice has fewer."""


@dataclass
class SortedInput:
    """The log of all files of one role. Use it as a context manager: its end removes what was put aside.

    Attributes:
        files: in argument order.
        first_offset: offset of the log's first record.
        counts: per file; complete once `slices` is exhausted.
    """

    role: Literal["predictions", "labels"]
    files: Sequence[RecordFile]
    config: LoopConfig
    first_offset: int
    counts: list[RunFile] = field(init=False)
    _folder: tempfile.TemporaryDirectory[str] = field(init=False)
    _rejects: list[Path] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [RunFile(file.path.name, file.sha256, file.role) for file in self.files]

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="truthloop-replay-", ignore_cleanup_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def slices(self) -> Iterator[pl.DataFrame]:
        """Yield the log in order, as canonical frames with the additional columns source, order_ms and offset.

        Where slices begin and end depends on the records alone.

        Raises:
            InputError: a file cannot be read, or there is no room to sort the records.
        """
        sort = ExternalSort(Path(self._folder.name))
        for frame in self._mapped():
            sort.add(frame)
        offset = self.first_offset
        for frame in _cut(sort.sorted()):
            numbered = frame.with_columns(pl.int_range(offset, offset + frame.height, dtype=pl.Int64).alias("offset"))
            offset += frame.height
            yield numbered

    def rejects(self) -> Iterator[pl.DataFrame]:
        """Yield the records that could not be mapped, once, as rows of the lake; after `slices`."""
        return map(read_part, self._rejects)

    def _mapped(self) -> Iterator[pl.DataFrame]:
        for file, counts in zip(self.files, self.counts, strict=True):
            for chunk in Mapper(file, self.config).chunks():
                counts.read += chunk.rows_read
                counts.filtered += chunk.filtered
                counts.rejected += chunk.rejects.height
                counts.mapped += chunk.records.height
                _count(counts.reasons, chunk.rejects["reason"])
                _count(counts.flags, chunk.records["flags"].explode().drop_nulls())
                if not chunk.rejects.is_empty():
                    self._rejects.append(Path(self._folder.name) / f"rejects-{len(self._rejects)}.arrow")
                    write_part(mapping_reject_rows(file, chunk.rejects), self._rejects[-1])
                yield self._with_order(chunk.records, file)
            # however the file was read, its counts are the same text in the ledger
            counts.reasons, counts.flags = (dict(sorted(one.items())) for one in (counts.reasons, counts.flags))

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


def _cut(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the same rows in frames of `ROWS_PER_SLICE`, or as many as have `BYTES_PER_SLICE` of text, at least one."""
    pending: list[pl.DataFrame] = []
    rows = size = 0
    for frame in frames:
        sizes = text_bytes(frame).cum_sum()
        first, before = 0, 0
        while first < frame.height:
            fits = int(sizes.search_sorted(before + BYTES_PER_SLICE - size, side="right")) - first
            taken = max(min(fits, ROWS_PER_SLICE - rows, frame.height - first), 0 if rows else 1)
            pending.append(frame[first : first + taken])
            first, rows = first + taken, rows + taken
            reached = int(sizes[first - 1]) if first else 0
            size, before = size + reached - before, reached
            if first < frame.height or rows == ROWS_PER_SLICE:
                yield pl.concat(pending)
                pending, rows, size = [], 0, 0
    if pending:
        yield pl.concat(pending)
