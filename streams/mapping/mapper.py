"""Maps foreign or canonical records to canonical frames: a reader for the format, then one of the two converters.

Files and Kafka messages go through the same code, so the same records give the same frames and digests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from schemas.base.status import RejectReason
from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from streams.columns.plan import Plan, conditions, deletion_conditions, deletion_plan, plan_of
from streams.columns.raw import POSITION, ROW, RawChunk, rejects_frame
from streams.columns.scalar_match import condition_met, unread_condition
from streams.columns.schema import REJECTS_SCHEMA, Role
from streams.mapping.labels import LabelConverter
from streams.mapping.predictions import PredictionConverter
from streams.mapping.record_file import RecordFile
from streams.mapping.redaction import Redaction
from streams.mapping.tools import MappingTools, plain_tools
from streams.readers.csv_rows import check_csv, read_csv
from streams.readers.hook_rows import read_objects
from streams.readers.json_lines import ParsedLines, parse_lines
from streams.readers.json_records import NO_METADATA, JsonRecords, RecordMetadata
from streams.readers.parquet import check_parquet, read_parquet

__all__ = ["MappedChunk", "Mapper", "MessageMapper", "deletions_in"]

BYTES_PER_CHUNK = 64 * 1024 * 1024
"""Size of the records at which a chunk ends, too: 250,000 ordinary ones have about as much."""


@dataclass(frozen=True)
class MappedChunk:
    """Some records of a file or topic in the canonical form.

    Attributes:
        records: in the columns of `records_schema`, in file order.
        rejects: records that could not be mapped, in the columns of `REJECTS_SCHEMA`.
        rows_read: number of source records.
        filtered: number of records left out by `where` (list elements, too), by a hook, or for an empty list.
    """

    records: pl.DataFrame
    rejects: pl.DataFrame
    rows_read: int
    filtered: int


class Mapper:
    """Maps the records of one file.

    Raises:
        InputError: a mapped column does not exist in the file; the message names the most similar one.
        ConfigError: the mapping needs a hook or a secret, and `file.tools` is missing.
    """

    def __init__(self, file: RecordFile, config: LoopConfig) -> None:
        tools = file.tools or plain_tools(config, file.source)
        self._file = file
        self._hook = tools.hook_of(file.source)
        is_columnar = file.form != "jsonl" and self._hook is None
        self._plan = plan_of(file.source, file.role, config, is_filtered=not is_columnar)
        self._keep_unknown = config.predictions.unknown_features == "keep"
        self._json = JsonRecords(self._plan, self._keep_unknown, conditions(file.source), self._hook)
        is_typed = file.form != "csv" or not is_columnar
        self._converter = _ChunkConverter(self._plan, config, tools.redaction, is_typed=is_typed)
        if is_columnar and file.form == "parquet":
            check_parquet(file.path, self._plan)
        elif is_columnar:
            check_csv(file.path, self._plan)

    def chunks(self, rows_per_chunk: int = 250_000) -> Iterator[MappedChunk]:
        """Yield the file's records in order.

        Args:
            rows_per_chunk: least number of source records in a chunk, unless they are large; a chunk consists of whole
                batches of the reader.

        Raises:
            InputError: the file cannot be read to its end.
        """
        pending: list[MappedChunk] = []
        rows = size = 0
        for raw in self._read():
            chunk = self._converter.convert(raw)
            pending.append(chunk)
            rows, size = rows + chunk.rows_read, size + int(chunk.records.estimated_size())
            if rows >= rows_per_chunk or size >= BYTES_PER_CHUNK:
                yield _concat(pending)
                pending, rows, size = [], 0, 0
        if pending:
            yield _concat(pending)

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
        source: None for the loop's own canonical messages. Their features with personal data are then dropped: the
            producer should have redacted them.
        tools: hooks and redaction of the source.

    Raises:
        ConfigError: the source's mapping needs a hook or a secret, and `tools` is missing.
    """

    def __init__(
        self, role: Role, source: SourceMap | None, config: LoopConfig, tools: MappingTools | None = None
    ) -> None:
        if tools is None:
            tools = MappingTools(Redaction(config)) if source is None else plain_tools(config, source)
        self.hook = tools.hook_of(source)
        plan = plan_of(source, role, config, is_filtered=True)
        keep_unknown = config.predictions.unknown_features == "keep"
        self._json = JsonRecords(plan, keep_unknown, conditions(source), self.hook)
        self._converter = _ChunkConverter(plan, config, tools.redaction, is_typed=True)
        self._deletions = None if source is None else _Deletions.of(source, config, tools)

    def map(self, values: Sequence[bytes | None], metadata: RecordMetadata = NO_METADATA) -> MappedChunk:
        """Map messages; `row` is the index of each in `values`, from 0.

        Args:
            values: one JSON text each; None where a message has no value.
            metadata: of each message, for the `$` paths that the source reads.
        """
        texts = [b"" if value is None else value for value in values]
        return self.map_parsed(parse_lines(texts, 0), texts, metadata, deletions_in(values))

    def map_parsed(
        self,
        parsed: ParsedLines,
        values: Sequence[bytes],
        metadata: RecordMetadata = NO_METADATA,
        deletions: Sequence[int] = (),
    ) -> MappedChunk:
        """Do the same as `map` for values that are parsed already; a hook may modify the parsed objects.

        Args:
            parsed: the values that are there.
            values: their texts, for the digests of rejects.
            metadata: of each message.
            deletions: indexes of messages without a value.
        """
        chunk = self._converter.convert(self._json.read(parsed, values, 0, metadata))
        if self._deletions is None or not deletions:
            return chunk
        both = _concat([chunk, self._deletions.map(deletions, values, metadata)])
        return replace(both, records=both.records.sort("row", maintain_order=True))


def deletions_in(values: Sequence[bytes | None]) -> list[int]:
    """Return the indexes of messages without a value."""
    return [index for index, value in enumerate(values) if value is None]


class _ChunkConverter:
    """Converts raw chunks to canonical ones with one plan."""

    def __init__(self, plan: Plan, config: LoopConfig, redaction: Redaction, *, is_typed: bool) -> None:
        self._plan = plan
        self._records: PredictionConverter | LabelConverter = (
            PredictionConverter(plan, config, redaction, is_typed=is_typed)
            if plan.role == "predictions"
            else LabelConverter(plan, config)
        )

    def convert(self, raw: RawChunk) -> MappedChunk:
        selected, unselected = _select(raw.frame, self._plan)
        records, rejected = self._records.convert(selected)
        rejects = rejects_frame(raw.rejects)
        for frame in [*unselected, *([] if rejected is None else [rejected.frame])]:
            digests = raw.digests(frame.get_column(POSITION).to_list())
            unmapped = frame.with_columns(pl.Series("digest", digests, dtype=pl.Int64))
            rejects = pl.concat([rejects, unmapped.select(REJECTS_SCHEMA.names()).cast(REJECTS_SCHEMA)])
        filtered = raw.filtered + raw.frame.height - selected.height - sum(frame.height for frame in unselected)
        return MappedChunk(records, rejects.sort(ROW, maintain_order=True), raw.rows_read, filtered)


@dataclass(frozen=True)
class _Deletions:
    """How a source's messages without a value are mapped; `record` stands for the value."""

    records: JsonRecords
    converter: _ChunkConverter
    record: dict[str, Any] | None

    @classmethod
    def of(cls, source: SourceMap, config: LoopConfig, tools: MappingTools) -> "_Deletions | None":
        """Return None if the source leaves them out."""
        wanted = deletion_conditions(source)
        if source.tombstone == "hook":
            plan, hook = plan_of(source, source.as_, config, is_filtered=True), tools.hook_of(source)
            keep_unknown = config.predictions.unknown_features == "keep"
            converter = _ChunkConverter(plan, config, tools.redaction, is_typed=True)
            return cls(JsonRecords(plan, keep_unknown, wanted, hook), converter, None)
        if source.tombstone == "retract":
            plan = deletion_plan(source, config)
            converter = _ChunkConverter(plan, config, tools.redaction, is_typed=True)
            return cls(JsonRecords(plan, keep_unknown=False, conditions=wanted), converter, {})
        return None

    def map(self, indexes: Sequence[int], values: Sequence[bytes], metadata: RecordMetadata) -> MappedChunk:
        parsed = ParsedLines([self.record] * len(indexes), list(indexes), [], len(indexes))
        return self.converter.convert(self.records.read(parsed, values, 0, metadata))


def _concat(chunks: list[MappedChunk]) -> MappedChunk:
    return MappedChunk(
        records=pl.concat([chunk.records for chunk in chunks]),
        rejects=pl.concat([chunk.rejects for chunk in chunks]),
        rows_read=sum(chunk.rows_read for chunk in chunks),
        filtered=sum(chunk.filtered for chunk in chunks),
    )


def _select(frame: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Return the records that fulfil the plan's conditions, and the rejects: those for which one has no answer."""
    rejected = []
    paths = {slot.name: slot.path for slot in plan.slots}
    for slot, wanted in plan.where.items():
        is_kept, is_unread = condition_met(wanted, frame.get_column(slot))
        if is_unread.any():
            reason, detail = pl.lit(str(RejectReason.BAD_VALUE)), pl.lit(unread_condition(paths[slot]))
            unread = frame.filter(is_unread).select(ROW, POSITION, reason.alias("reason"), detail.alias("detail"))
            rejected.append(unread)
        frame = frame.filter(is_kept)
    return frame, rejected
