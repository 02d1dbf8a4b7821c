"""A live lake made from the records of a replayed one: every partition has offsets and steps of its own.

The steps of a partition are those of the replay in which it had records, so the join decides alike in both. Offsets
overlap between partitions and have gaps, as in transactional topics.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal
from replay_case import CONFIG

from joins import Batch, Checkpoint, MemoryStore, Partition, policy_from
from lake import Claim, Lake, connect
from schemas.config.loop import LoopConfig
from streams.ledger.row import LedgerRow, ledger_frame
from streams.ledger.rules import rules_text
from streams.ledger.table import copy_of
from streams.messages.lake_rows import outcome_rows, reject_rows
from streams.messages.records import Projection, label_records, prediction_records
from truthloop.config.settings import Settings
from truthloop.evidence.cells import Evidence, read_evidence

__all__ = [
    "RECORDED_AT",
    "LiveLake",
    "assert_same",
    "assert_same_rows",
    "recounted_evidence",
    "settings_of",
    "view_rows",
]

RECORDED_AT = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
VIEWS = ("scored", "revisions", "counts", "coverage", "metrics", "unmatched", "rejects", "ledger", "all_labels")
"""Views whose rows end with the last whole step."""
TABLES = ("rejects", "labels", "predictions", "outcomes", "ledger")


@dataclass(frozen=True)
class _Step:
    """Records that one step of one partition reads."""

    predictions: pl.DataFrame
    labels: pl.DataFrame
    now_ms: int
    close_at_ms: int | None


class LiveLake:
    """Fills a lake as running joins and lake writers would.

    Args:
        replayed: lake that the records come from.
        path: folder of the live lake.
        config: of both.
    """

    def __init__(self, replayed: Path, path: Path, config: LoopConfig) -> None:
        self.lake = Lake.create(path, config)
        self.partitions = range(config.partitions)
        self._source = Lake.open(replayed)
        self._projection = Projection.of(config)
        policy = policy_from(config)
        self._policy = rules_text(config)
        self._joins = [Partition(policy, MemoryStore(list(policy.kinds))) for _ in self.partitions]
        self._steps = [self._steps_of(number) for number in self.partitions]
        self._taken = [0 for _ in self.partitions]
        self._made: dict[int, list[dict[str, pl.DataFrame]]] = {number: [] for number in self.partitions}
        self._rows: dict[int, list[LedgerRow]] = {number: [] for number in self.partitions}

    def left(self, number: int) -> int:
        """Return how many steps of a partition are left."""
        return len(self._steps[number]) - self._taken[number]

    def checkpoint(self, number: int) -> Checkpoint:
        """Return the checkpoint of a partition's join."""
        return self._joins[number].checkpoint

    def advance(self, steps: Mapping[int, int], *, lake: Lake | None = None, tables: int = len(TABLES)) -> None:
        """Let partitions take steps and append them in one go; less than all `tables` is a crash in between.

        Appends that such a crash has left out are made by calling this again for the same partitions with 0 steps.
        """
        for number, count in steps.items():
            for _ in range(count):
                self._take(number)
        for table in TABLES[:tables]:
            frames, claims = [], []
            for number in steps:
                done, claim = self._claim(table, number)
                frames += [made[table] for made in self._made[number][done:] if table in made]
                claims.append(claim)
                if table == "ledger" and self._rows[number][done:]:
                    frames.append(ledger_frame([_joined(self._rows[number][done:])]))
            if frames:
                rows = pl.concat([frame for frame in frames if frame.height] or frames[:1])
                (lake or self.lake).append(table, rows, claims, recorded_at=RECORDED_AT)

    def finish(self) -> "LiveLake":
        """Take all steps that are left, by two writers with different portions."""
        rival = Lake.open(self.lake.path)
        portion = 0
        while any(self.left(number) for number in self.partitions):
            portion += 1
            for number in self.partitions:
                if count := min(self.left(number), (portion * (number + 2)) % 5):
                    self.advance({number: count}, lake=rival if number % 2 else self.lake)
            several = {number: 1 for number in self.partitions if self.left(number)}
            if several:
                self.advance(several)
        return self

    def _claim(self, table: str, number: int) -> tuple[int, Claim]:
        """Return how many steps of a partition a table has, and the claim on the others, as lake writers name them."""
        rows = self._rows[number]
        if table not in ("predictions", "labels"):
            app = f"ledger:{number}" if table == "ledger" else f"id:loop.ledger:{number}:steps"
            done = self.lake.applied(table, app)
            return done, Claim(app, done, self._taken[number])
        app = f"id:loop.{table}:{number}"
        position = self.lake.applied(table, app)
        done = sum(getattr(row, table)[1] <= position for row in rows)
        return done, Claim(app, position, max(position, getattr(rows[-1], table)[1] if rows else 0))

    def _take(self, number: int) -> None:
        step = self._steps[number][self._taken[number]]
        join = self._joins[number]
        first = (join.checkpoint.predictions_next, join.checkpoint.labels_next)
        following = tuple(
            at if frame.is_empty() else frame["offset"][-1] + 2
            for at, frame in zip(first, (step.predictions, step.labels), strict=True)
        )
        records = prediction_records(step.predictions, self._projection), label_records(step.labels)
        effects = join.step(Batch(*records, *following, step.now_ms, step.close_at_ms))
        assert join.is_caught_up
        sequence = pl.lit(self._taken[number], dtype=pl.Int64).alias("sequence")
        sources = [frame.rename({"source_row": "row"}) for frame in (step.predictions, step.labels)]
        own = ["time_ms", "order_ms", "recorded_on", "recorded_at"]
        self._made[number].append(
            {
                "predictions": step.predictions.drop(own),
                "labels": step.labels.drop(own),
                "outcomes": outcome_rows([(number, effects)], self._projection).with_columns(sequence),
                "rejects": reject_rows([(number, effects)], sources).with_columns(sequence),
            }
        )
        self._rows[number].append(
            LedgerRow(
                partition=number,
                sequence=self._taken[number],
                now_ms=step.now_ms,
                predictions=(first[0], following[0]),
                labels=(first[1], following[1]),
                checkpoint=copy_of(join.checkpoint),
                policy=self._policy,
                commands=(0, 0),
                idle='{"inputs":[],"elapsed_ms":0}',
                close_at_ms=step.close_at_ms,
            )
        )
        self._taken[number] += 1

    def _steps_of(self, number: int) -> list[_Step]:
        steps = self._source.scan("ledger").filter(pl.col("partition") == number).sort("sequence").collect()
        times = {"predictions": ("predicted_at", "predicted_at"), "labels": ("label_time", "known_at")}
        records = {}
        for table, (time, order) in times.items():
            records[table] = (
                self._source.scan(table)
                .filter(pl.col("partition") == number)
                .sort("offset")
                .with_columns(
                    pl.col(time).dt.epoch("ms").alias("time_ms"), pl.col(order).dt.epoch("ms").alias("order_ms")
                )
                .with_columns((2 * pl.int_range(pl.len()) + number).alias("own"))
                .collect()
            )
        found = []
        for step in steps.iter_rows(named=True):
            read = [
                frame.filter(pl.col("offset").is_between(step[f"{table}_first"], step[f"{table}_next"], closed="left"))
                .with_columns(pl.col("own").alias("offset"))
                .drop("own")
                for table, frame in records.items()
            ]
            close_at = step["close_at"]
            if read[0].height or read[1].height or close_at is not None:
                close_at_ms = None if close_at is None else round(close_at.timestamp() * 1000)
                found.append(_Step(*read, round(step["now"].timestamp() * 1000), close_at_ms))
        return found


def settings_of(lake: Path) -> Settings:
    """Return settings with a lake."""
    return Settings(CONFIG, lake.parent / "truthloop.yaml", lake, lake.parent / "state", lake.parent / "datasets")


def recounted_evidence(lake: Path) -> Evidence:
    """Return the evidence of a copy of the lake whose cells were never counted."""
    copy = lake.with_name(f"{lake.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(lake, copy)
    shutil.rmtree(copy / "cells")
    Lake.create(copy, CONFIG)
    return read_evidence(settings_of(copy))


def assert_same(one: Evidence, two: Evidence) -> None:
    """Compare cells, which must be exactly equal, and the reach."""
    assert_frame_equal(one.cells.whole(), two.cells.whole(), check_exact=True)
    assert one.reach == two.reach


def view_rows(lake: Path, views: Iterable[str]) -> dict[str, pl.DataFrame]:
    """Return all rows of some views, in one order."""
    with connect(lake) as connection:
        return {view: connection.sql(f"SELECT * FROM {view} ORDER BY ALL").pl() for view in views}  # noqa: S608 - names of a test


def assert_same_rows(one: Mapping[str, pl.DataFrame], two: Mapping[str, pl.DataFrame]) -> None:
    """Compare the rows of views; sums of decimals may be added up in another order."""
    assert one.keys() == two.keys()
    for view, rows in one.items():
        assert_frame_equal(rows, two[view])


def _joined(rows: list[LedgerRow]) -> LedgerRow:
    """Return one row for several consecutive steps."""
    first, last = rows[0], rows[-1]
    return LedgerRow(
        partition=last.partition,
        sequence=last.sequence,
        now_ms=last.now_ms,
        predictions=(first.predictions[0], last.predictions[1]),
        labels=(first.labels[0], last.labels[1]),
        checkpoint=last.checkpoint,
        policy=last.policy,
        commands=last.commands,
        idle=last.idle,
        close_at_ms=last.close_at_ms,
    )
