"""Foreign or canonical records as canonical frames: the one place where reading and meaning meet.

The readers of files and of messages deliver raw columns, the two conversions give them meaning; both are the
same for every source, so the same records give the same frames and digests. This module must not decide what joins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from streams.columns.digest import contract_hash
from streams.columns.plan import Plan, conditions, plan_of
from streams.columns.raw import AT, ROW, RawChunk, rejects_frame
from streams.columns.scalar import to_text
from streams.columns.schema import REJECTS_SCHEMA, Role, records_schema
from streams.mapping.labels import LabelFrames
from streams.mapping.predictions import PredictionFrames
from streams.mapping.record_file import RecordFile
from streams.mapping.redaction import Redaction
from streams.mapping.tools import MappingTools, plain_tools
from streams.readers.csv_rows import check_csv, read_csv
from streams.readers.hook_rows import read_objects
from streams.readers.json_lines import ParsedLines, parse_lines
from streams.readers.json_records import NO_METADATA, JsonRecords, RecordMetadata
from streams.readers.parquet import check_parquet, read_parquet

__all__ = ["REJECTS_SCHEMA", "MappedChunk", "Mapper", "MessageMapper", "contract_hash", "records_schema"]


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
        ConfigError: the file's mapping needs tools that it does not have.
    """

    def __init__(self, file: RecordFile, config: LoopConfig) -> None:
        tools = file.tools or plain_tools(config, file.source)
        self._file = file
        self._hook = tools.hook_of(file.source)
        is_columnar = file.form != "jsonl" and self._hook is None
        self._plan = plan_of(file.source, file.role, config, is_selected=not is_columnar)
        self._keep_unknown = config.predictions.unknown_features == "keep"
        self._json = JsonRecords(self._plan, self._keep_unknown, conditions(file.source), self._hook)
        self._meaning = _Meaning(self._plan, config, tools.redaction, is_typed=file.form != "csv" or not is_columnar)
        if is_columnar and file.form == "parquet":
            check_parquet(file.path, self._plan)
        elif is_columnar:
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
            waiting.append(self._meaning.map(raw))
            if sum(chunk.rows_read for chunk in waiting) >= rows_per_chunk:
                yield _join(waiting)
                waiting = []
        if waiting:
            yield _join(waiting)

    def _read(self) -> Iterator[RawChunk]:
        path = self._file.path
        if self._file.form == "jsonl":
            return self._json.read_file(path)
        if self._hook is not None:
            return read_objects(path, self._file.form, self._json)
        read = read_parquet if self._file.form == "parquet" else read_csv
        return read(path, self._plan, keep_unknown=self._keep_unknown)


class MessageMapper:
    """Maps the values of Kafka messages, as `Mapper` maps the lines of a file.

    Args:
        role: what the messages are.
        source: the map that covers their topic; None where they are the loop's own canonical messages, of whose
            hidden features nothing is kept then: who wrote them should have redacted them.
        config: the loop's.
        tools: what the source needs beside the config.

    Raises:
        ConfigError: the source's mapping needs tools that are not given.
    """

    def __init__(
        self, role: Role, source: SourceMap | None, config: LoopConfig, tools: MappingTools | None = None
    ) -> None:
        if tools is None:
            tools = MappingTools(Redaction(config)) if source is None else plain_tools(config, source)
        self.hook = tools.hook_of(source)
        plan = plan_of(source, role, config, is_selected=True)
        keep_unknown = config.predictions.unknown_features == "keep"
        self._json = JsonRecords(plan, keep_unknown, conditions(source), self.hook)
        self._meaning = _Meaning(plan, config, tools.redaction, is_typed=True)

    def map(self, values: Sequence[bytes], beside: RecordMetadata = NO_METADATA) -> MappedChunk:
        """Return what the messages say; `row` is the place of each among `values`, from 0.

        Args:
            values: one JSON text each.
            beside: what is known of each message beside its value, by the path that asks for it (`$key`).
        """
        return self.map_parsed(parse_lines(values, 0), values, beside)

    def map_parsed(
        self, parsed: ParsedLines, values: Sequence[bytes], beside: RecordMetadata = NO_METADATA
    ) -> MappedChunk:
        """Do what `map` does with values that are parsed already; a function may change what it is given."""
        return self._meaning.map(self._json.read(parsed, values, 0, beside))


class _Meaning:
    """Gives raw columns their meaning under one plan."""

    def __init__(self, plan: Plan, config: LoopConfig, redaction: Redaction, *, is_typed: bool) -> None:
        self._plan = plan
        self._frames: PredictionFrames | LabelFrames = (
            PredictionFrames(plan, config, redaction, is_typed=is_typed)
            if plan.role == "predictions"
            else LabelFrames(plan, config)
        )

    def map(self, raw: RawChunk) -> MappedChunk:
        taken = _taken(raw.frame, self._plan)
        records, rejected = self._frames.convert(taken)
        rejects = rejects_frame(raw.rejects)
        if rejected is not None:
            digests = raw.digests(rejected.frame.get_column(AT).to_list())
            late = rejected.frame.with_columns(pl.Series("digest", digests, dtype=pl.Int64))
            rejects = pl.concat([rejects, late.select(REJECTS_SCHEMA.names()).cast(REJECTS_SCHEMA)])
        filtered = raw.filtered + raw.frame.height - taken.height
        return MappedChunk(records, rejects.sort(ROW, maintain_order=True), raw.rows_read, filtered)


def _join(chunks: list[MappedChunk]) -> MappedChunk:
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
