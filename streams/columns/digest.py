"""Digests of records: of a prediction's content (to tell a duplicate from a conflict) and of a rejected record's bytes.

A prediction's digest is the same on every run, machine and version of Polars, so it uses no library's rendering of
floats or JSON: numbers are hashed as the bits of their double (so 1 and 1.0 are equal), texts with their length before
them, in the order of the column names.
"""

import hashlib
import json
from collections.abc import Iterable

import polars as pl
import xxhash

from schemas.config.loop import LoopConfig

__all__ = ["content_digests", "contract_hash", "record_digest", "record_digests"]

_CONTRACT_BITS = 16
_READING = 2
"""Raised when the same record is read to other values than before (1: up to 0.5), like a change of the contract."""
_MISSING = "~"


def contract_hash(config: LoopConfig) -> str:
    """Return the hex SHA-256 of the typed contract (outputs, slices, features, unknown_features) and how it is read."""
    contract = config.predictions.model_dump(mode="json", exclude_none=True)
    contract["slices"] = sorted(contract["slices"])
    contract["reading"] = _READING
    return hashlib.sha256(json.dumps(contract, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def record_digest(record: bytes) -> int:
    """Return xxh3-64 of one record's bytes, as a signed integer."""
    value = xxhash.xxh3_64_intdigest(record)
    return value - (1 << 64) if value >> 63 else value


def record_digests(records: Iterable[bytes]) -> list[int]:
    """Return `record_digest` of each record."""
    return [record_digest(record) for record in records]


def content_digests(frame: pl.DataFrame, contract: str) -> pl.Series:
    """Return one digest per row, of all columns in name order; its upper 16 bits are those of the contract's hash.

    Args:
        frame: the typed contract fields: String, Float64, Int64 and Boolean columns without NaN.
        contract: from `contract_hash`.
    """
    parts = [part for name, dtype in sorted(frame.schema.items()) for part in _digest_parts(name, dtype)]
    content = frame.select(pl.concat_str(parts, separator=",").cast(pl.Binary)).to_series().to_list()
    hashes = pl.Series("digest", list(map(xxhash.xxh3_64_intdigest, content)), dtype=pl.UInt64)
    low = pl.lit((1 << (64 - _CONTRACT_BITS)) - 1, dtype=pl.UInt64)
    high = pl.lit(int(contract[:4], 16) << (64 - _CONTRACT_BITS), dtype=pl.UInt64)
    return hashes.to_frame().select(((pl.col("digest") & low) | high).reinterpret(signed=True)).to_series()


def _digest_parts(name: str, dtype: pl.DataType) -> list[pl.Expr]:
    column = pl.col(name)
    if dtype == pl.String:
        return [column.str.len_bytes().cast(pl.String).fill_null(_MISSING), column.fill_null("")]
    if dtype == pl.Float64:
        # adding 0.0 turns -0.0 into 0.0
        return [(column + 0.0).reinterpret(dtype=pl.Int64).cast(pl.String).fill_null(_MISSING)]
    return [column.cast(pl.Int64).cast(pl.String).fill_null(_MISSING)]
