"""The ledger: what was read, partition by partition, and where that left everything.

A replay writes the rows of a step before its other rows, so that after a crash they say what to write again.
Where the inputs can be read again the rows are written behind all others, and promise them.
"""

from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import polars as pl

from joins import Checkpoint
from lake import Lake
from schemas.errors import LakeError
from streams.ledger.row import LedgerRow, RunFile, RunRecord, ledger_frame

__all__ = [
    "APP",
    "Ledger",
    "LedgerRow",
    "RunFile",
    "RunRecord",
    "Step",
    "copy_of",
    "ledger_frame",
    "newest_rows",
    "steps_written",
]

APP = "replay"
"""The application whose Delta transaction version says how many steps of a replay a table holds."""


@dataclass(frozen=True)
class Step:
    """One step of a replay as the ledger has it, all partitions together."""

    sequence: int
    now_ms: int
    predictions: tuple[int, int]
    labels: tuple[int, int]
    close_at_ms: int | None
    checkpoints: list[Checkpoint]
    run: RunRecord
    policy: str = field(repr=False)

    def rows(self) -> pl.DataFrame:
        """Return the step in the lake's columns."""
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
            )
            for partition, checkpoint in enumerate(self.checkpoints)
        )


class Ledger:
    """What the ledger of replays says: the newest steps, and every file that was ever read to its end."""

    def __init__(self, lake: Lake) -> None:
        ledger = lake.scan("ledger")
        # A ledger grows with every night, and only its newest two steps are wanted whole.
        newest = ledger.filter(pl.col("sequence") >= pl.col("sequence").max() - 1)
        rows = newest.sort("sequence", "partition").collect()
        self.last = _step_at(rows, 0)
        self.before_last = _step_at(rows, 1)
        of_runs = ledger.filter(pl.col("partition") == 0).select("run").unique()
        runs = of_runs.collect()["run"].to_list()
        finished = [run for text in runs if (run := msgspec.json.decode(text, type=RunRecord)).finished]
        self.files = {file.sha256: file for run in finished for file in run.files}


def newest_rows(lake: Lake, below: int | None = None) -> dict[int, LedgerRow]:
    """Return each partition's newest row, by partition; one that never had a row is missing.

    Args:
        lake: read from.
        below: when given, only rows with a lesser sequence are looked at.
    """
    places = lake.scan("ledger").select("partition", "sequence")
    if below is not None:
        places = places.filter(pl.col("sequence") < below)
    newest = places.group_by("partition").max().collect()
    if newest.is_empty():
        return {}
    sequences = newest["sequence"].unique().sort()
    # The rows are mostly text, and only these few are wanted.
    rows = (
        lake.scan("ledger", {"sequence": (sequences[0], sequences[-1])})
        .filter(pl.col("sequence").is_in(sequences.implode()))
        .join(newest.lazy(), on=["partition", "sequence"], how="semi")
        .sort("partition")
        .collect()
    )
    return {row["partition"]: LedgerRow.read(row) for row in rows.iter_rows(named=True)}


_T = TypeVar("_T", bound=msgspec.Struct)


def copy_of(value: _T) -> _T:
    """Return a copy that shares nothing, by way of the form in which the ledger keeps it."""
    return msgspec.json.decode(msgspec.json.encode(value), type=type(value))


def _step_at(rows: pl.DataFrame, back: int) -> Step | None:
    sequences = rows["sequence"].unique().sort(descending=True).to_list()
    if len(sequences) <= back:
        return None
    found = [LedgerRow.read(row) for row in rows.filter(pl.col("sequence") == sequences[back]).iter_rows(named=True)]
    first = found[0]
    if [row.partition for row in found] != list(range(len(found))) or first.run is None:
        raise LakeError(f"the ledger's step {first.sequence} does not hold every partition once")
    return Step(
        sequence=first.sequence,
        now_ms=first.now_ms,
        predictions=first.predictions,
        labels=first.labels,
        close_at_ms=first.close_at_ms,
        checkpoints=[row.checkpoint for row in found],
        run=first.run,
        policy=first.policy,
    )


TABLES = ("rejects", "labels", "predictions", "outcomes")
"""In this order a reader never sees a duplicate without its rejection, or an outcome of nothing."""


def steps_written(lake: Lake) -> int:
    """Return how many steps every table holds: readers of several tables should go no further."""
    return min(lake.applied(table, APP) for table in (*TABLES, "ledger"))
