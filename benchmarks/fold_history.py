"""What a fold of few records costs beside a long history: `python benchmarks/fold_history.py --days 10 400 1100`.

The lake has the cells of so many days, each with those of 1,000 predictions and their outcomes of the config of
`benchmarks/fold.py`. Then 450 predictions of the newest three days and their outcomes are folded, again and again, by
`read_evidence`, as the feedback role does.

Prints one line of JSON for each history: CPU milliseconds of a fold (median and mean), the greatest memory of the
process, and of the files the number, the size, and what is left dead by a day of 8,640 folds.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from fold import CONFIG, DAY_MS, START_MS, generate

from joins import MemoryStore, Partition, policy_from
from lake import Claim, Lake
from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.summary import summarise
from streams.ledger.row import LedgerRow, ledger_frame
from truthloop.config.settings import Settings
from truthloop.evidence.cell_runs import stage_cells, stage_days
from truthloop.evidence.cells import read_evidence

RECORDS = 450
A_DAY = 1_000
FOLDS_A_DAY = 8_640
RECORDED_AT = datetime(2025, 11, 10, tzinfo=UTC)


def main() -> None:
    """Measure each history in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, nargs="+", default=[10, 400, 1100])
    parser.add_argument("--folds", type=int, default=120)
    parser.add_argument("--lake", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=["write", "fold"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "write":
        write_history(Lake.create(arguments.lake, CONFIG), arguments.days[0])
    elif arguments.step == "fold":
        print(json.dumps(measure(arguments.lake, arguments.days[0], arguments.folds)))
    else:
        for days in arguments.days:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, "--days", str(days), "--folds", str(arguments.folds)]
                for step in ("write", "fold"):
                    subprocess.run([*command, "--lake", f"{folder}/lake", "--step", step], check=True)  # noqa: S603 - itself


def measure(path: Path, days: int, folds: int) -> dict[str, object]:
    """Return the figures beside a history."""
    lake = Lake.open(path)
    settings = Settings(CONFIG, path.parent / "truthloop.yaml", path, path.parent, path.parent)
    predictions, outcomes, _ = generate(RECORDS * folds, 2)
    evidence, spent_ms = None, []
    for number in range(folds):
        slices = (with_few_scores(rows.slice(number * RECORDS, RECORDS)) for rows in (predictions, outcomes))
        append(lake, number, *slices)
        started = time.process_time()
        evidence = read_evidence(settings, evidence)
        spent_ms.append((time.process_time() - started) * 1_000)
    files = lake.by_day("cells").state().files
    live = sum(one.size for one in files)
    every = sum(one.stat().st_size for one in (path / "cells").rglob("*.parquet"))
    return {
        "days": days,
        "cells": sum(one.rows for one in files),
        "fold_cpu_ms": round(statistics.median(spent_ms[2:]), 1),
        "fold_cpu_ms_mean": round(statistics.mean(spent_ms[2:]), 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "files": len(files),
        "size_mb": round(live / 1e6, 1),
        "dead_mb_a_day": round((every - live) / folds * FOLDS_A_DAY / 1e6),
    }


def write_history(lake: Lake, days: int) -> None:
    """Write the cells of days before the first prediction: those of one day, moved."""
    plan = CellPlan.from_config(CONFIG)
    predictions, outcomes, _ = generate(A_DAY * 30, 1)
    is_first = pl.col("predicted_at") < datetime.fromtimestamp((START_MS + DAY_MS) / 1000, UTC)
    first = predictions.filter(is_first).get_column("offset")
    own = outcomes.filter(pl.col("prediction_offset").is_in(first.implode()))
    cells = fold(plan, with_few_scores(predictions.filter(is_first)), with_few_scores(own), outcomes.clear())
    table = lake.by_day("cells")
    parts = []
    for begin in range(1, days + 1, 10):
        moved = [
            cells.with_columns(pl.col("day") - timedelta(days=3 + back))
            for back in range(begin, min(begin + 10, days + 1))
        ]
        part = merge(*moved)
        parts.append(stage_cells(table, merge(part, summarise(part)), plan.digest, RECORDED_AT, is_merged=False))
    staged = [*stage_days(table, parts, plan.digest, RECORDED_AT)]
    table.discard(parts)
    claims = [Claim("cells", 0, 1)]
    assert table.exchange(staged, [], claims, is_change=True, recorded_at=RECORDED_AT)


def append(lake: Lake, number: int, predictions: pl.DataFrame, outcomes: pl.DataFrame) -> None:
    """Append a step of one partition to the lake."""
    claims = [Claim("bench", number, number + 1)]
    shared = {"partition": pl.lit(0, dtype=pl.Int32)}
    position = {"source": pl.lit("bench"), "source_row": pl.col("offset"), "digest": pl.col("offset")}
    moment = START_MS + (number % 3) * DAY_MS
    moved = {"predicted_at": pl.lit(datetime.fromtimestamp(moment / 1000, UTC)).cast(pl.Datetime("us", "UTC"))}
    age = pl.col("known_at") - pl.col("predicted_at")
    made = predictions.with_columns(
        **shared, **position, **moved, weight=pl.lit(1.0), flags=pl.lit([], dtype=pl.List(pl.String))
    )
    known = outcomes.with_columns(known_at=moved["predicted_at"] + age, **shared, **moved)
    sequence = pl.lit(number, dtype=pl.Int64)
    lake.append("predictions", conform(lake, "predictions", made), claims, recorded_at=RECORDED_AT)
    lake.append(
        "outcomes",
        conform(lake, "outcomes", known.with_columns(sequence=sequence, weight=pl.lit(1.0))),
        claims,
        recorded_at=RECORDED_AT,
    )
    policy = policy_from(CONFIG)
    row = LedgerRow(
        partition=0,
        sequence=number,
        now_ms=moment,
        predictions=(number * RECORDS, (number + 1) * RECORDS),
        labels=(0, 0),
        checkpoint=Partition(policy, MemoryStore(list(policy.kinds))).checkpoint,
        policy="{}",
        commands=(0, 0),
        idle='{"inputs":[],"elapsed_ms":0}',
        close_at_ms=None,
    )
    lake.append("ledger", ledger_frame([row]), [Claim("ledger:0", number, number + 1)], recorded_at=RECORDED_AT)


def with_few_scores(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows whose scores are of a hundred: else rank bins would take their place meanwhile, once in a version."""
    return rows.with_columns(pl.col(name).round(2) for name in ("output", "output_click") if name in rows.columns)


def conform(lake: Lake, table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that the table has."""
    columns = [(name, dtype) for name, dtype in lake.schema(table).items() if name in rows.columns]
    return rows.select(pl.col(name).cast(dtype) for name, dtype in columns)


if __name__ == "__main__":
    main()
