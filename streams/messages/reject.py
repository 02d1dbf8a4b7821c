"""Rejects on their way: what ingest and join put into `<loop>.rejects`, and the columns that the lake makes of it.

A message names the record, the reason and the place where it was refused; the record's own bytes go with it only
where nothing in them is personal data, and never reach the lake. Must not decide what is rejected.
"""

import logging
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
import polars as pl

__all__ = ["ORIGINAL_BYTES_MAX", "RejectMessage", "reject_frame"]

log = logging.getLogger("truthloop.rejects")

ORIGINAL_BYTES_MAX: Final = 512 * 1024
"""Base64 makes a third more of it, and a message has at most 1 MB. Larger originals stay in their topic only."""

_COLUMNS: Final = pl.Schema(
    {
        "input": pl.String(),
        "stage": pl.String(),
        "reason": pl.String(),
        "detail": pl.String(),
        "partition": pl.Int32(),
        "offset": pl.Int64(),
        "source": pl.String(),
        "source_row": pl.Int64(),
        "kind": pl.String(),
        "digest": pl.Int64(),
        "sequence": pl.Int64(),
    }
)


Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Digest = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class RejectMessage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One record that made no outcome.

    Attributes:
        v: version of this form.
        input: 'predictions' or 'labels'.
        stage: mapping (it never became a message) or join.
        reason: one of `schemas.base.status.RejectReason`.
        seen_at: when it was refused, ms.
        source: topic in which it stands.
        source_partition: partition there.
        source_row: offset there.
        detail: what is wrong, without the record's values.
        partition: of the canonical topic, where it got that far.
        offset: there.
        kind: label kind, where it is known.
        digest: xxh3-64 of its bytes, signed.
        sequence: step of the join that refused it.
        original: its bytes, where they may be kept.
    """

    v: Literal[1]
    input: Literal["predictions", "labels"]
    stage: Literal["mapping", "join"]
    reason: str
    seen_at: int
    source: str
    source_partition: Number
    source_row: Offset
    detail: str | None = None
    partition: Number | None = None
    offset: Offset | None = None
    kind: str | None = None
    digest: Digest | None = None
    sequence: Offset | None = None
    original: bytes | None = None

    def encode(self) -> bytes:
        """Return it as a message; the original in base64."""
        return _encode(self)

    @classmethod
    def decode(cls, message: bytes) -> "RejectMessage":
        """Read it.

        Raises:
            msgspec.MsgspecError: it is none.
        """
        return _decode(message)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RejectMessage).decode


def reject_frame(values: Sequence[bytes]) -> pl.DataFrame:
    """Return messages in the lake's columns, without the originals; what is no reject has no row."""
    rows = []
    for value in values:
        try:
            one = _decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            log.warning("a message in the topic of rejects is none, and is left out")
            continue
        rows.append(tuple(getattr(one, name) for name in _COLUMNS))
    return pl.DataFrame(rows, schema=_COLUMNS, orient="row")
