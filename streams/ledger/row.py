"""One row of the lake's ledger: what was read in one partition, and where that left everything.

In a replay a row is one step, and all partitions share sequence and positions. In a live lake every partition
has its own, and a row may stand for several steps in a row: then it has the number of the last one, and its
ranges begin where the first one began. Must not read or write a lake.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl

from joins import Checkpoint

__all__ = ["LedgerRow", "RunFile", "RunRecord", "ledger_frame"]

_MOMENT = pl.Datetime("us", "UTC")

_SCHEMA: dict[str, Any] = {
    "sequence": pl.Int64,
    "partition": pl.Int32,
    "now": _MOMENT,
    "predictions_first": pl.Int64,
    "predictions_next": pl.Int64,
    "labels_first": pl.Int64,
    "labels_next": pl.Int64,
    "commands_first": pl.Int64,
    "commands_next": pl.Int64,
    "floor": _MOMENT,
    "policy": pl.String,
    "marks": pl.String,
    "cursors": pl.String,
    "counters": pl.String,
    "fingerprint": pl.Int64,
    "point": pl.String,
    "run": pl.String,
    "close_at": _MOMENT,
    "idle": pl.String,
}


class RunFile(msgspec.Struct):
    """One file of a run and what became of its records; the counts are zero until the run has finished.

    Attributes:
        name: of the file, without folders.
        sha256: of its content, hex.
        role: 'predictions' or 'labels'.
        read: records in the file = mapped + filtered + rejected, where no list makes several of one.
        mapped: canonical records made of them.
        filtered: records that the config's `where` leaves out.
        rejected: records that could not be mapped.
        reasons: why, with counts.
        flags: what was out of the contract and kept, with counts.
    """

    name: str
    sha256: str
    role: str
    read: int = 0
    mapped: int = 0
    filtered: int = 0
    rejected: int = 0
    reasons: dict[str, int] = {}
    flags: dict[str, int] = {}


class RunRecord(msgspec.Struct):
    """One run of `truthloop replay`: enough to tell whether another is the same one, going on.

    Attributes:
        predictions_first: offset of the run's first prediction.
        labels_first: the same of the labels.
        files: in argument order.
        finished: whether every record has been read; set by the run's last step.
    """

    predictions_first: int
    labels_first: int
    files: list[RunFile]
    finished: bool = False


@dataclass(frozen=True)
class LedgerRow:
    """What the ledger says of one partition.

    Attributes:
        partition: which.
        sequence: number of the step, of the last one where there are several.
        now_ms: what it took for the present.
        predictions: the positions that were read, first and following.
        labels: the same.
        checkpoint: where it left everything.
        policy: JSON of the rules that decided; see `streams.ledger.rules`.
        commands: the positions that were read; None in a replay, which has none.
        idle: JSON of the inputs that were silent; None in a replay, where none ever is.
        run: the replay's run; None in a live lake.
        close_at_ms: all inputs are complete up to this time.
    """

    partition: int
    sequence: int
    now_ms: int
    predictions: tuple[int, int]
    labels: tuple[int, int]
    checkpoint: Checkpoint
    policy: str = field(repr=False)
    commands: tuple[int, int] | None = None
    idle: str | None = None
    run: RunRecord | None = None
    close_at_ms: int | None = None

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "LedgerRow":
        """Return what the columns of a row say; a lake may not have got its newest columns yet."""
        commands = row.get("commands_next")
        return cls(
            partition=row["partition"],
            sequence=row["sequence"],
            now_ms=_to_ms(row["now"]) or 0,
            predictions=(row["predictions_first"], row["predictions_next"]),
            labels=(row["labels_first"], row["labels_next"]),
            checkpoint=msgspec.json.decode(row["point"], type=Checkpoint),
            policy=row["policy"],
            commands=None if commands is None else (row["commands_first"], commands),
            idle=row.get("idle"),
            run=None if row["run"] is None else msgspec.json.decode(row["run"], type=RunRecord),
            close_at_ms=_to_ms(row["close_at"]),
        )

    def columns(self) -> dict[str, Any]:
        """Return the row in the lake's columns."""
        checkpoint = self.checkpoint
        return {
            "sequence": self.sequence,
            "partition": self.partition,
            "now": _from_ms(self.now_ms),
            "predictions_first": self.predictions[0],
            "predictions_next": self.predictions[1],
            "labels_first": self.labels[0],
            "labels_next": self.labels[1],
            "commands_first": None if self.commands is None else self.commands[0],
            "commands_next": None if self.commands is None else self.commands[1],
            "floor": _from_ms(checkpoint.floor_ms),
            "policy": self.policy,
            "marks": _json({name: watermark.reached_ms for name, watermark in checkpoint.watermarks.items()}),
            "cursors": _json(checkpoint.cursors),
            "counters": _json(checkpoint.counters),
            "fingerprint": checkpoint.fingerprint,
            "point": _json(checkpoint),
            "run": None if self.run is None else _json(self.run),
            "close_at": _from_ms(self.close_at_ms),
            "idle": self.idle,
        }


def ledger_frame(rows: Iterable[LedgerRow]) -> pl.DataFrame:
    """Return rows as they are appended to the lake's ledger."""
    return pl.DataFrame([row.columns() for row in rows], schema=_SCHEMA, orient="row")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _from_ms(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


def _to_ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
