"""Reject messages: ingest and the join write them to `<loop>.rejects`, and the lake reads them as columns.

A message gives the record's position, the reason and the stage that rejected it. The record's own bytes are included
only where the config declares no personal data, and never reach the lake. A message of the stage `repair` is a mark:
the record was taken again. The lake has no row for it: the record itself has a flag there.
"""

import logging
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
import polars as pl

from streams.messages.wire import Digest

__all__ = ["ORIGINAL_BYTES_MAX", "RejectMessage", "reject_frame"]

log = logging.getLogger("truthloop.rejects")

ORIGINAL_BYTES_MAX: Final = 512 * 1024
"""Base64 adds a third, and a message has at most 1 MB. Larger originals are found only in their source topic."""

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
        "source_partition": pl.Int32(),
        "kind": pl.String(),
        "digest": pl.Int64(),
        "sequence": pl.Int64(),
    }
)

Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class RejectMessage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One record that made no outcome.

    Attributes:
        v: version of this message's form.
        stage: mapping (the record never became a canonical message) or join; repair: it was taken again.
        reason: one of `schemas.base.status.RejectReason`.
        seen_at: time of the rejection, or of the repair, ms UTC.
        source: topic of the record.
        source_partition: partition in the source topic.
        source_row: offset in the source topic.
        detail: what is wrong, without the record's values.
        partition: partition of the canonical topic, if the record came so far.
        offset: offset in the canonical topic.
        kind: label kind, where it is known.
        digest: signed xxh3-64 of the record's bytes.
        sequence: step of the join that rejected the record.
        original: the record's bytes, where they may be kept.
    """

    v: Literal[1]
    input: Literal["predictions", "labels"]
    stage: Literal["mapping", "join", "repair"]
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
        """Return the reject as JSON, the original in base64."""
        return _encode(self)

    @classmethod
    def decode(cls, message: bytes) -> "RejectMessage":
        """Read a reject from JSON.

        Raises:
            msgspec.MsgspecError: the message is no reject.
        """
        return _decode(message)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RejectMessage).decode


def reject_frame(values: Sequence[bytes]) -> pl.DataFrame:
    """Return rejects in the lake's columns, without the originals; marks, and what is neither, have no row."""
    rows = []
    for value in values:
        try:
            reject = _decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            log.warning("a message in the topic of rejects is no reject, and is left out")
            continue
        if reject.stage != "repair":
            rows.append(tuple(getattr(reject, name) for name in _COLUMNS))
    return pl.DataFrame(rows, schema=_COLUMNS, orient="row")
