"""The diff report of a large backfill: `PYTHONPATH=. .venv/bin/python benchmarks/backfill_diff.py --labels 1000000`.

A binary kind, two versions, 60 days, two slices. Every prediction of the episode has a label before and another one
after; as many predictions again of the same cohorts are not touched. Frames and cells are made before the clock
starts. Prints the seconds of `diff_of` with cells and without, of `verdict_of` and of `document`, best and worst of
the rounds, and the greatest memory of the process.
"""

import argparse
import resource
import time
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl

from monitor.backfill.diff import PAIR_SCHEMA, diff_of
from monitor.backfill.rule import verdict_of
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.rank_bin import bin_numbers, score_integers
from schemas.config.loop import LoopConfig
from schemas.events.backfill import Cause, Episode

DAYS = 60
DAY_US = 86_400_000_000
FIRST_DAY = date(2013, 3, 12)
EPOCH_US = 1_363_046_400_000_000
"""The beginning of that day."""
LATE_US = 90 * DAY_US


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    plan = CellPlan.from_config(config_of())
    pairs, cohorts, cells = frames_of(plan, options.labels)
    episode = episode_of(options.labels)
    diff = diff_of(episode, plan, pairs, cohorts, cells=cells)
    assert diff.touched.changed == options.labels
    measured: list[tuple[str, Callable[[], object]]] = [
        ("diff_of, with cells", lambda: diff_of(episode, plan, pairs, cohorts, cells=cells)),
        ("diff_of, without", lambda: diff_of(episode, plan, pairs, cohorts)),
        ("verdict_of", lambda: verdict_of(diff)),
        ("document", diff.document),
    ]
    print("| what | best s | worst s | CPU s |\n|---|---|---|---|")
    for name, call in measured:
        seconds = [timed(call) for _ in range(options.rounds)]
        walls = [wall for wall, _ in seconds]
        print(f"| {name} | {min(walls):.3f} | {max(walls):.3f} | {min(cpu for _, cpu in seconds):.3f} |")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    print(f"\n{pairs.height:,} labels changed; report of {len(diff.document()):,} bytes; {peak_mb:,.0f} MB at most")


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds on the clock and of the processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def config_of() -> LoopConfig:
    """Return the loop."""
    return LoopConfig.model_validate(
        {
            "version": 1,
            "loop": "flights",
            "timezone": "UTC",
            "predictions": {"outputs": {"late": {"task": "binary"}}, "slices": ["origin", "carrier"]},
            "labels": {"late": {"definition": "late-15min", "horizon": "2d", "retain": "100d"}},
            "cohorts": {"by": ["version", "origin", "carrier"], "ages": ["1d"]},
        }
    )


def episode_of(labels: int) -> Episode:
    """Return an episode of corrections."""
    return Episode(
        id=f"bf-{0:032x}",
        kind="late",
        definition="late-15min",
        causes=[Cause.CORRECTED],
        since=(EPOCH_US + LATE_US) // 1_000,
        until=(EPOCH_US + LATE_US) // 1_000 + 60_000,
        labels=labels,
        fingerprint=1,
    )


def frames_of(plan: CellPlan, labels: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return pairs, cohorts and cells before; each cohort has as many labels more than the episode touches."""
    rng = np.random.default_rng(7)
    [kind] = plan.kinds
    place = rng.integers(0, 2 * DAYS, labels)
    day_us = EPOCH_US + (place % DAYS) * DAY_US
    predicted_us = day_us + rng.integers(0, DAY_US, labels)
    score = rng.beta(2, 3, labels).round(3)
    before = (rng.random(labels) < score).astype(np.float64)
    known_us = predicted_us + rng.integers(0, DAY_US, labels)
    names = [f"k{number:08d}" for number in range(labels)]

    def instant(values: object) -> pl.Series:
        return pl.Series(values, dtype=pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")

    pairs = pl.DataFrame(
        {
            "key": names,
            "id": names,
            "version": np.array(["v1", "v2"])[place // DAYS],
            "day": instant(day_us).dt.date(),
            "predicted_at": instant(predicted_us),
            "eligible": np.ones(labels, dtype=np.bool_),
            "weight": np.ones(labels),
            "output": score,
            "output_class": pl.Series([None] * labels, dtype=pl.String),
            **side_of("before", before, instant(known_us), instant(known_us)),
            **side_of("after", 1 - before, instant(known_us + LATE_US), instant(known_us)),
            "slice_origin": np.array(["EWR", "JFK", "LGA"])[rng.integers(0, 3, labels)],
            "slice_carrier": np.array([f"carrier {number}" for number in range(16)])[rng.integers(0, 16, labels)],
        }
    ).cast(dict(PAIR_SCHEMA))
    cells = cells_of(kind.name, kind.definition, place, score, before)
    cohorts = (
        pairs.group_by("version", "day")
        .agg(labelled=2 * pl.len().cast(pl.Int64), positives=2 * (pl.col("before_value") == 1).sum().cast(pl.Int64))
        .with_columns(predictions=pl.col("labelled") + 10, is_mature=pl.lit(value=True))
    )
    return pairs, cohorts, cells


def side_of(side: str, value: np.ndarray, known: pl.Series, first: pl.Series) -> dict[str, object]:
    """Return the columns of one side."""
    return {
        f"{side}_status": ["joined"] * len(value),
        f"{side}_value": value,
        f"{side}_class": pl.Series([None] * len(value), dtype=pl.String),
        f"{side}_known_at": known,
        f"{side}_first_known_at": first,
    }


def cells_of(kind: str, definition: str, place: np.ndarray, score: np.ndarray, value: np.ndarray) -> pl.DataFrame:
    """Return cells with twice the scores that the episode has before; losses are left out."""
    bins, index = np.unique(bin_numbers(score_integers(score), None), return_inverse=True)
    counts = np.bincount((place * 2 + value.astype(np.int64)) * len(bins) + index)
    number = np.flatnonzero(counts)
    cohort = number // (2 * len(bins))
    days = [FIRST_DAY + timedelta(days=int(one % DAYS)) for one in cohort]
    return merge(
        pl.DataFrame(
            {
                "version": np.array(["v1", "v2"])[cohort // DAYS],
                "slice": [""] * len(number),
                "day": days,
                "kind": [kind] * len(number),
                "definition": [definition] * len(number),
                "measure": np.array(["score_0", "score_1"])[number // len(bins) % 2],
                "bin": bins[number % len(bins)],
                "amount": 2 * counts[number],
            }
        )
    )


if __name__ == "__main__":
    main()
