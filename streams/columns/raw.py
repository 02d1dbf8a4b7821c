"""What the three readers hand to the conversion: raw columns with their record numbers, and early rejects.

This module must not know any file format.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl

from schemas.base.status import RejectReason
from streams.columns.schema import REJECTS_SCHEMA

__all__ = ["AT", "ROW", "UNKNOWN", "RawChunk", "Reject", "rejects_frame"]

ROW = "row"
"""Column of 1-based record numbers."""
AT = "at"
"""Column of positions in the reader's own batch, for digests of records that are rejected later."""
UNKNOWN = "unknown"
"""Column of features outside the contract as one JSON object; null where there are none."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One record that the reader could not take. `detail` names what is wrong and repeats no payload."""

    row: int
    reason: RejectReason
    detail: str
    digest: int


@dataclass(frozen=True, slots=True)
class RawChunk:
    """Some records of a file.

    Attributes:
        frame: `row`, `at`, one tidied column a slot, `unknown`. A slot that the file does not have is absent.
        digests: gives the record digests of positions (values of `at`).
        rejects: records that the reader refused.
        rows_read: records read, the rejected ones included.
        filtered: records whose list of elements was empty.
    """

    frame: pl.DataFrame
    digests: Callable[[Sequence[int]], list[int]]
    rejects: list[Reject] = field(default_factory=list)
    rows_read: int = 0
    filtered: int = 0


def rejects_frame(rejects: Sequence[Reject]) -> pl.DataFrame:
    """Return rejects in their canonical columns."""
    rows = [(reject.row, str(reject.reason), reject.detail, reject.digest) for reject in rejects]
    return pl.DataFrame(rows, schema=REJECTS_SCHEMA, orient="row")
