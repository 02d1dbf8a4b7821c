"""One row of the lake's ledger table: the offsets that a step of one partition read, and the checkpoint it left.

In a replay a row is one step, and all partitions share its number and offset ranges. In a live lake every partition
has its own, and one row may cover several consecutive steps: its number is the last step's, its ranges begin with the
first step's. Pure: `streams.ledger.table` reads the lake.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl

from joins import Checkpoint, Withdrawal
from lake.table import TIME

__all__ = ["LedgerRow", "RunFile", "RunRecord", "ledger_frame"]


_SCHEMA: dict[str, Any] = {
    "sequence": pl.Int64,
    "partition": pl.Int32,
    "now": TIME,
    "predictions_first": pl.Int64,
    "predictions_next": pl.Int64,
    "labels_first": pl.Int64,
    "labels_next": pl.Int64,
    "commands_first": pl.Int64,
    "commands_next": pl.Int64,
    "floor": TIME,
    "policy": pl.String,
    "marks": pl.String,
    "cursors": pl.String,
    "counters": pl.String,
    "fingerprint": pl.Int64,
    "point": pl.String,
    "run": pl.String,
    "close_at": TIME,
    "idle": pl.String,
    "withdrawals": pl.String,
}


class RunFile(msgspec.Struct):
    """One file of a replay and the counts of its records; the counts are zero until the run has finished.

    Attributes:
        name: file name without folders.
        sha256: hex digest of the content.
        role: 'predictions' or 'labels'.
        read: records in the file; equals mapped + filtered + rejected unless a list makes several records of one.
        mapped: canonical records made of them.
        filtered: records that no `where` of the config selects.
        rejected: records that could not be mapped.
        reasons: rejected records by reason code.
        flags: mapped records by flag of a value outside of the contract.
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
    """One run of `truthloop replay`; by its files an interrupted run is recognised and resumed.

    Attributes:
        predictions_first: offset of the run's first prediction.
        labels_first: offset of the run's first label.
        files: in the order of the command's arguments.
        finished: whether every record has been read; set by the run's last step.
    """

    predictions_first: int
    labels_first: int
    files: list[RunFile]
    finished: bool = False


@dataclass(frozen=True)
class LedgerRow:
    """One ledger row of one partition.

    Attributes:
        sequence: number of the step; of the last one where the row covers several.
        now_ms: processing time of the step, UTC.
        predictions: first offset that was read, and the offset after the last.
        labels: the same of the labels.
        checkpoint: state of the partition after the step.
        policy: JSON of the rules in force; see `streams.ledger.rules`.
        commands: the same offsets of the commands; None in a replay, which has no commands.
        idle: JSON of the inputs that were silent; None in a replay, where no input is ever idle.
        run: the replay's run; None in a live lake.
        close_at_ms: time up to which all inputs were declared complete, UTC.
        withdrawals: labels that the step of a replay withdrew; a live join keeps them in its topic's entries.
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
    withdrawals: Sequence[Withdrawal] = ()

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "LedgerRow":
        """Read a row from its columns; a lake of an earlier version may lack the newest columns."""
        commands, withdrawals = row.get("commands_next"), row.get("withdrawals")
        return cls(
            partition=row["partition"],
            sequence=row["sequence"],
            now_ms=_to_ms(row["now"]) or 0,
            predictions=(row["predictions_first"], row["predictions_next"]),
            labels=(row["labels_first"], row["labels_next"]),
            checkpoint=_decode_checkpoint(row["point"]),
            policy=row["policy"],
            commands=None if commands is None else (row["commands_first"], commands),
            idle=row.get("idle"),
            run=None if row["run"] is None else _decode_run(row["run"]),
            close_at_ms=_to_ms(row["close_at"]),
            withdrawals=() if withdrawals is None else _decode_withdrawals(withdrawals),
        )

    def columns(self) -> dict[str, Any]:
        """Return the row as the lake's columns."""
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
            "withdrawals": _json(self.withdrawals) if self.withdrawals else None,
        }


def ledger_frame(rows: Iterable[LedgerRow]) -> pl.DataFrame:
    """Return rows as a frame to append to the lake's ledger table."""
    return pl.DataFrame([row.columns() for row in rows], schema=_SCHEMA, orient="row")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _from_ms(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


def _to_ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


# Made at import, for the same reason as in `streams.ledger.entry`.
_decode_checkpoint = msgspec.json.Decoder(Checkpoint).decode
_decode_run = msgspec.json.Decoder(RunRecord).decode
_decode_withdrawals = msgspec.json.Decoder(list[Withdrawal]).decode
