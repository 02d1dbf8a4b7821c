"""Foreign or canonical records of a file as canonical frames: the one place where reading and meaning meet.

The three readers deliver raw columns, the two conversions give them meaning; both are the same for every
format, so the same records give the same frames and digests. This module must not decide what joins.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from schemas.config import LoopConfig
from streams.csv_rows import check_csv, read_csv
from streams.digest import contract_hash
from streams.field_plan import Plan, canonical_plan, mapped_plan
from streams.frame import REJECTS_SCHEMA, records_schema
from streams.json_lines import read_json_lines
from streams.label_frame import LabelFrames
from streams.parquet_columns import check_parquet, read_parquet
from streams.prediction_frame import PredictionFrames
from streams.raw import AT, ROW, RawChunk, rejects_frame
from streams.record_file import RecordFile
from streams.scalar import to_text

__all__ = ["REJECTS_SCHEMA", "MappedChunk", "Mapper", "contract_hash", "records_schema"]


@dataclass(frozen=True)
class MappedChunk:
    """Some records of a file in canonical form.

    Attributes:
        records: in the columns of `records_schema`, in file order.
        rejects: in the columns of `REJECTS_SCHEMA`: records that became no message.
        rows_read: records of the file that this chunk covers.
        filtered: records (or list elements) that `where` left out, and records whose list was empty.
    """

    records: pl.DataFrame
    rejects: pl.DataFrame
    rows_read: int
    filtered: int


class Mapper:
    """Maps one file under one config.

    Args:
        file: from `open_record_file`.
        config: the loop's.

    Raises:
        InputError: a mapped column does not exist in the file; the nearest one that does is named.
    """

    def __init__(self, file: RecordFile, config: LoopConfig) -> None:
        self._file = file
        self._plan = canonical_plan(file.role, config) if file.source is None else mapped_plan(file.source, config)
        self._keep_unknown = config.predictions.unknown_features == "keep"
        self._frames: PredictionFrames | LabelFrames = (
            PredictionFrames(self._plan, config, is_typed=file.form != "csv")
            if file.role == "predictions"
            else LabelFrames(self._plan, config)
        )
        self._schema = records_schema(file.role, config)
        if file.form == "parquet":
            check_parquet(file.path, self._plan)
        elif file.form == "csv":
            check_csv(file.path, self._plan)

    def chunks(self, rows_per_chunk: int = 250_000) -> Iterator[MappedChunk]:
        """Yield the file's records in order.

        Args:
            rows_per_chunk: records of the file after which a chunk is handed over; chunks end where the
                reader's batches end, so they differ in size.

        Raises:
            InputError: the file cannot be read to its end.
        """
        waiting: list[MappedChunk] = []
        for raw in self._read():
            waiting.append(self._map(raw))
            if sum(chunk.rows_read for chunk in waiting) >= rows_per_chunk:
                yield self._join(waiting)
                waiting = []
        if waiting:
            yield self._join(waiting)

    def _read(self) -> Iterator[RawChunk]:
        read = {"parquet": read_parquet, "csv": read_csv, "jsonl": read_json_lines}[self._file.form]
        return read(self._file.path, self._plan, keep_unknown=self._keep_unknown)

    def _map(self, raw: RawChunk) -> MappedChunk:
        taken = _taken(raw.frame, self._plan)
        records, rejected = self._frames.convert(taken)
        rejects = rejects_frame(raw.rejects)
        if rejected is not None:
            digests = raw.digests(rejected.frame.get_column(AT).to_list())
            late = rejected.frame.with_columns(pl.Series("digest", digests, dtype=pl.Int64))
            rejects = pl.concat([rejects, late.select(REJECTS_SCHEMA.names()).cast(REJECTS_SCHEMA)])
        filtered = raw.filtered + raw.frame.height - taken.height
        return MappedChunk(records, rejects.sort(ROW, maintain_order=True), raw.rows_read, filtered)

    def _join(self, chunks: list[MappedChunk]) -> MappedChunk:
        return MappedChunk(
            records=pl.concat([chunk.records for chunk in chunks]),
            rejects=pl.concat([chunk.rejects for chunk in chunks]),
            rows_read=sum(chunk.rows_read for chunk in chunks),
            filtered=sum(chunk.filtered for chunk in chunks),
        )


def _taken(frame: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Return the records that `where` lets through; values are compared as text."""
    for slot, wanted in plan.where.items():
        frame = frame.filter(to_text(frame.get_column(slot)).is_in(list(wanted)).fill_null(value=False))
    return frame
