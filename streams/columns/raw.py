"""The interface between readers and conversion: raw columns with record numbers, and records the reader rejected."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from schemas.base.status import RejectReason
from streams.columns.schema import REJECTS_SCHEMA

__all__ = ["INVALID", "POSITION", "ROW", "UNKNOWN", "RawChunk", "Reject", "rejects_frame"]

ROW = "row"
"""Column of 1-based record numbers."""
POSITION = "position"
"""Column of indexes into the reader's own batch, for digests of records that are rejected later."""
UNKNOWN = "unknown"
"""Column of features outside the contract as one JSON object; null where there are none."""
INVALID: Final = "invalid"
"""Column of Booleans: one of those features is a number that is not finite, and null in the object."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that cannot be read or mapped. `detail` says what is wrong and repeats no payload."""

    row: int
    reason: RejectReason
    detail: str
    digest: int


@dataclass(frozen=True, slots=True)
class RawChunk:
    """Some records of a file or topic as raw columns.

    Attributes:
        frame: `row`, `position`, one tidied column per slot, `unknown`, `invalid`. A slot that a file lacks is absent.
        digests: returns the record digests of positions (values of `position`).
        rejects: records that the reader rejected.
        rows_read: number of records, the rejected ones included.
        filtered: number of records that were left out on purpose: by conditions, by a hook, or for an empty list.
    """

    frame: pl.DataFrame
    digests: Callable[[Sequence[int]], list[int]]
    rejects: list[Reject] = field(default_factory=list)
    rows_read: int = 0
    filtered: int = 0


def rejects_frame(rejects: Sequence[Reject]) -> pl.DataFrame:
    """Return rejects in the columns of `REJECTS_SCHEMA`."""
    rows = [(reject.row, str(reject.reason), reject.detail, reject.digest) for reject in rejects]
    return pl.DataFrame(rows, schema=REJECTS_SCHEMA, orient="row")
