"""Reads the lake's ledger table: the newest row of each partition, and the steps of replays.

A replay writes a step's ledger rows before its other rows, so that after a crash they say what to write again. A live
join can read its topics again; its ledger rows are written last, and prove that the others are there.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import polars as pl

from joins import Checkpoint, Withdrawal
from lake import Lake
from schemas.errors import LakeError
from streams.ledger.row import LedgerRow, RunRecord, ledger_frame

__all__ = [
    "REPLAY_APP",
    "STEP_TABLES",
    "ReplayLedger",
    "ReplayStep",
    "copy_of",
    "newest_rows",
    "rows_of",
    "steps_written",
]

REPLAY_APP = "replay"
"""Application id of a replay's appends: its Delta transaction version is the number of steps that a table holds."""

STEP_TABLES = ("rejects", "labels", "predictions", "outcomes")
"""Tables that a step writes after the ledger. In this order a reader sees no duplicate before its reject, and no
outcome before its records."""

_T = TypeVar("_T", bound=msgspec.Struct)


@dataclass(frozen=True)
class ReplayStep:
    """One step of a replay, all partitions together; `withdrawals` are by partition."""

    sequence: int
    now_ms: int
    predictions: tuple[int, int]
    labels: tuple[int, int]
    close_at_ms: int | None
    checkpoints: list[Checkpoint]
    run: RunRecord
    policy: str = field(repr=False)
    withdrawals: Mapping[int, Sequence[Withdrawal]] = field(default_factory=dict)

    def rows(self) -> pl.DataFrame:
        """Return the step's rows of the ledger table, one for each partition."""
        return ledger_frame(
            LedgerRow(
                partition=partition,
                sequence=self.sequence,
                now_ms=self.now_ms,
                predictions=self.predictions,
                labels=self.labels,
                checkpoint=checkpoint,
                policy=self.policy,
                run=self.run,
                close_at_ms=self.close_at_ms,
                withdrawals=self.withdrawals.get(partition, ()),
            )
            for partition, checkpoint in enumerate(self.checkpoints)
        )


class ReplayLedger:
    """The ledger of a lake that replays fill.

    Attributes:
        last: the newest step; None where there is none.
        before_last: the step before it.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        steps = lake.applied("ledger", REPLAY_APP)
        # the table grows with every nightly run, and only its newest two steps are needed whole
        rows = lake.scan("ledger", {"sequence": (steps - 2, steps - 1)}).sort("sequence", "partition").collect()
        self.last = _step_from_end(rows, 0)
        self.before_last = _step_from_end(rows, 1)

    def read_before(self, sha256s: Collection[str]) -> set[str]:
        """Return those of some files that a finished run has read.

        The newest runs are looked at first: files of the night before are found without opening any more of the ledger.
        """
        missing = set(sha256s)
        for runs in self._runs() if missing else ():
            missing -= {file.sha256 for run in runs if run.finished for file in run.files}
            if not missing:
                break
        return set(sha256s) - missing

    def _runs(self) -> Iterator[list[RunRecord]]:
        """Yield the runs as their steps recorded them, some at a time, the newest first."""
        if self.last is not None:
            yield [self.last.run]
        for part in self._lake.scan_back("ledger"):
            texts = part.filter(pl.col("partition") == 0).select("run").unique().collect()["run"]
            yield [_decode_run(text) for text in texts]


def newest_rows(lake: Lake, steps: int | None = None) -> dict[int, LedgerRow]:
    """Return the newest row of each partition that has one. It costs the same however long the ledger is.

    Args:
        lake: the lake to read.
        steps: of a replay, whose partitions all take the same steps: the number of those to consider.
    """
    rows = lake.remember("ledger", f"newest rows of {steps} steps", lambda: _newest_rows(lake, steps))
    return {row["partition"]: LedgerRow.read(row) for row in rows.iter_rows(named=True)}


def rows_of(lake: Lake, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return the rows that end with some steps; the newest files are read first, and no more of them than are needed.

    Args:
        lake: the lake to read.
        steps: by partition, the number of a step.
    """
    if not steps:
        return pl.DataFrame(schema=lake.schema("ledger"))
    wanted = pl.LazyFrame(
        {"partition": list(steps), "sequence": list(steps.values())}, {"partition": pl.Int32, "sequence": pl.Int64}
    )
    found: list[pl.DataFrame] = []
    for part in lake.scan_back("ledger", {"sequence": (min(steps.values()), max(steps.values()))}):
        found.append(part.join(wanted, on=["partition", "sequence"], how="semi").collect())
        if sum(rows.height for rows in found) >= len(steps):
            break
    return pl.concat(found) if found else pl.DataFrame(schema=lake.schema("ledger"))


def _newest_rows(lake: Lake, steps: int | None) -> pl.DataFrame:
    if steps is not None:
        last = {"sequence": (steps - 1, steps - 1)}
        return lake.scan("ledger", last).sort("partition").collect()
    heads = lake.heads()
    if heads is not None:
        return heads
    ledger = lake.scan("ledger")
    newest = ledger.select("partition", "sequence").group_by("partition").max()
    # a row is mostly JSON text, so only the few rows that are needed are read whole
    return ledger.join(newest, on=["partition", "sequence"], how="semi").sort("partition").collect()


def steps_written(lake: Lake) -> int:
    """Return the number of a replay's steps that every table holds: readers of several tables stop there."""
    return min(lake.applied(table, REPLAY_APP) for table in (*STEP_TABLES, "ledger"))


def copy_of(value: _T) -> _T:
    """Return a deep copy of a struct, by way of its JSON."""
    return msgspec.json.decode(msgspec.json.encode(value), type=type(value))


def _step_from_end(rows: pl.DataFrame, back: int) -> ReplayStep | None:
    sequences = rows["sequence"].unique().sort(descending=True).to_list()
    if len(sequences) <= back:
        return None
    found = [LedgerRow.read(row) for row in rows.filter(pl.col("sequence") == sequences[back]).iter_rows(named=True)]
    first = found[0]
    if [row.partition for row in found] != list(range(len(found))) or first.run is None:
        raise LakeError(f"the ledger's step {first.sequence} does not hold every partition once")
    return ReplayStep(
        sequence=first.sequence,
        now_ms=first.now_ms,
        predictions=first.predictions,
        labels=first.labels,
        close_at_ms=first.close_at_ms,
        checkpoints=[row.checkpoint for row in found],
        run=first.run,
        policy=first.policy,
        withdrawals={row.partition: row.withdrawals for row in found if row.withdrawals},
    )


_decode_run = msgspec.json.Decoder(RunRecord).decode
