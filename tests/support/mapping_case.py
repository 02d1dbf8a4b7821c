"""Helpers for tests of the mapping: a small loop, records written in every format, and their mapped chunks."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from streams.mapping.mapper import MappedChunk, Mapper
from streams.mapping.record_file import open_record_file

__all__ = ["loop", "map_file", "map_records", "reasons", "source_map", "write_records"]

Record = dict[str, Any]


def loop(**predictions: Any) -> LoopConfig:
    """Return a config with one kind of each task; keyword arguments replace parts of `predictions`."""
    outputs = {"fraud": {"task": "binary"}, "amount": {"task": "regression"}, "area": {"task": "multiclass"}}
    contract: Record = {"outputs": outputs, "slices": ["country"], "features": {}} | predictions
    label = {"definition": "d-1", "horizon": "7d", "retain": "9d"}
    labels = dict.fromkeys(contract["outputs"], label)
    return LoopConfig.model_validate({"version": 1, "loop": "test", "predictions": contract, "labels": labels})


def source_map(**parts: Any) -> SourceMap:
    """Return a map of predictions for every file; keyword arguments replace its parts."""
    default: Record = {
        "files": "*",
        "as": "predictions",
        "map": {"key": "k", "time": {"path": "t", "unit": "ms"}},
    }
    return SourceMap.model_validate(default | parts)


def write_records(path: Path, records: list[Record]) -> Path:
    """Write nested records in the format of the suffix; CSV gets dotted columns."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    elif path.suffix == ".parquet":
        pl.DataFrame(records, infer_schema_length=None, strict=False).write_parquet(path)
    else:
        flat = [_flat(record) for record in records]
        names = list(dict.fromkeys(name for record in flat for name in record))
        rows = [{name: _cell(record.get(name)) for name in names} for record in flat]
        pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String)).write_csv(path)
    return path


def map_file(path: Path, role: str | None, config: LoopConfig, sources: list[SourceMap] | None = None) -> MappedChunk:
    """Map a whole file and return it as one chunk."""
    chunks = list(Mapper(open_record_file(path, role, sources or []), config).chunks())
    return MappedChunk(
        pl.concat([chunk.records for chunk in chunks]),
        pl.concat([chunk.rejects for chunk in chunks]),
        sum(chunk.rows_read for chunk in chunks),
        sum(chunk.filtered for chunk in chunks),
    )


def map_records(
    folder: Path,
    records: list[Record],
    role: str = "predictions",
    source: SourceMap | None = None,
    **predictions: Any,
) -> MappedChunk:
    """Write Python objects to a JSON lines file and map it."""
    path = write_records(folder / "records.jsonl", records)
    return map_file(path, role, loop(**predictions), [source] if source else [])


def reasons(chunk: MappedChunk) -> list[tuple[int, str]]:
    """Return row and reason of each reject."""
    return chunk.rejects.select("row", "reason").rows()


def _flat(record: Record, prefix: str = "") -> Record:
    flat: Record = {}
    for name, value in record.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _cell(value: object) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
