"""What an append and a look cost on a live lake of many small files: `python benchmarks/look.py --commits 2000`.

Commits of 8 partitions go to the tables of outcomes and of the ledger as the lake role makes them: a row of the ledger
for each partition, with the checkpoint of a join of one kind, and the outcomes of its step. Nothing is compacted.

Prints a line of JSON at the first tenth of the commits and at their end, with medians in milliseconds:
- `append_ms`: one append to the ledger, durable;
- `look_ms`: the newest ledger row of each partition, and what the cells count of it, on a lake that has not changed;
- `new_look_ms`: the same after one more commit;
- `first_look_ms`: the same by a process that has just opened the lake, its opening left out;
- `log_bytes`: of one commit to the ledger.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from joins import Checkpoint
from lake import Claim, Lake
from schemas.config.loop import LoopConfig
from streams.ledger.lake_kind import complete_rows
from streams.ledger.row import LedgerRow, ledger_frame
from streams.ledger.rules import rules_text

PARTITIONS = 8
OUTCOMES = 25
START = datetime(2026, 3, 1, tzinfo=UTC)
MEASURED = 15

CONFIG = LoopConfig.model_validate(
    {
        "version": 1,
        "loop": "bench",
        "clock": "event",
        "partitions": PARTITIONS,
        "predictions": {"outputs": {"click": {"task": "binary"}}, "slices": ["country"]},
        "labels": {"click": {"definition": "click-1", "horizon": "6h", "retain": "12h"}},
    }
)


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=2_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="truthloop-bench-") as name:
        loop = Writer(Path(name) / "lake")
        for until in (arguments.commits // 10, arguments.commits):
            while loop.step < until:
                loop.append()
            print(json.dumps({"commits": loop.step, **measure(loop)}), flush=True)


def measure(loop: "Writer") -> dict[str, float]:
    """Return the figures of one line."""
    reader = Lake.open(loop.lake.path)
    look(reader)
    unchanged = [timed(lambda: look(reader)) for _ in range(MEASURED)]
    appended, changed, first = [], [], []
    for _ in range(MEASURED):
        appended.append(loop.append())
        changed.append(timed(lambda: look(reader)))
        opened = Lake.open(loop.lake.path)
        first.append(timed(lambda lake=opened: look(lake)))
    log = loop.lake.path / "ledger" / "_delta_log" / f"{loop.lake.version('ledger'):020d}.json"
    medians = {"append_ms": appended, "look_ms": unchanged, "new_look_ms": changed, "first_look_ms": first}
    figures = {name: round(statistics.median(times), 1) for name, times in medians.items()}
    return {**figures, "log_bytes": log.stat().st_size}


def look(lake: Lake) -> None:
    """Look at a lake as the deciding role does first of all."""
    newest = complete_rows(lake)
    assert sorted(newest) == list(range(PARTITIONS))
    for number in newest:
        lake.applied("cells", f"cells:{number}")
    for table in ("outcomes", "cells", "decisions"):
        lake.version(table)


def timed(call: Callable[[], object]) -> float:
    """Return the milliseconds that a call takes."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1_000


class Writer:
    """A lake role with steps of made-up outcomes."""

    def __init__(self, path: Path) -> None:
        self.lake = Lake.create(path, CONFIG)
        self.step = 0
        self._rules = rules_text(CONFIG)

    def append(self) -> float:
        """Append one step of every partition; return the milliseconds of the append to the ledger."""
        now = START + timedelta(seconds=10 * self.step)
        claims = [
            Claim(f"{app}:{number}", self.step, self.step + 1)
            for app in ("records", "steps")
            for number in range(PARTITIONS)
        ]
        self.lake.append("outcomes", self._outcomes(now), claims, recorded_at=now)
        rows = ledger_frame(self._row(number, now) for number in range(PARTITIONS))
        milliseconds = timed(lambda: self.lake.append("ledger", rows, claims, recorded_at=now))
        self.step += 1
        return milliseconds

    def _outcomes(self, now: datetime) -> pl.DataFrame:
        number = pl.int_range(PARTITIONS * OUTCOMES, eager=True).alias("number")
        texts = {"kind": "click", "definition": "click-1", "status": "joined", "reason": "first", "version": "v1"}
        return number.to_frame().select(
            (pl.col("number") % PARTITIONS).cast(pl.Int32).alias("partition"),
            *(pl.format("key-{}-{}", pl.lit(self.step), "number").alias(name) for name in ("key", "id")),
            *(pl.lit(text).alias(name) for name, text in texts.items()),
            *(pl.lit(value).alias(name) for name, value in {"value": 1.0, "output": 0.5, "weight": 1.0}.items()),
            *(pl.lit(now).alias(name) for name in ("predicted_at", "known_at", "label_time")),
            *(
                pl.lit(self.step * 100).cast(pl.Int64).alias(name)
                for name in ("revision", "prediction_offset", "sequence")
            ),
            pl.lit(self.step * 100, pl.Int64).alias("label_offset"),
            pl.lit("pending").alias("previous_status"),
            pl.lit(value=True).alias("eligible"),
            pl.lit("DE").alias("slice_country"),
        )

    def _row(self, number: int, now: datetime) -> LedgerRow:
        checkpoint = Checkpoint.start(["click"])
        checkpoint.predictions_next = checkpoint.labels_next = OUTCOMES * (self.step + 1)
        position = (OUTCOMES * self.step, OUTCOMES * (self.step + 1))
        now_ms = round(now.timestamp() * 1_000)
        return LedgerRow(number, self.step, now_ms, position, position, checkpoint, self._rules, commands=(0, 0))


if __name__ == "__main__":
    main()
