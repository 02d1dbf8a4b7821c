"""How fast outcomes become cells: `python benchmarks/fold.py --outcomes 1000000`.

A binary kind with a horizon of 3 days (panes of an hour), metrics at 12 hours and final, 3 slices, label delays by one
of them, 15 features. Predictions over 30 days, each with its features and one outcome: 92 % labelled, the rest expired;
3 % of the outcomes are corrections of earlier ones, which are handed in too. All of it is folded in one call.

Prints one line of JSON: outcomes a second by the wall clock with their predictions folded in the same call, and of
the outcomes alone; CPU seconds a million outcomes; the share of each part in the time; how many cells came out; and
the wall time as a multiple of grouping the same outcomes once by version, day, slice and status, which can be
compared between machines.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from monitor.cells.cohort import cohort_day
from monitor.cells.fold import fold
from monitor.cells.of_record import of_record
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.revisions import states_between
from schemas.config.loop import LoopConfig

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_760_000_000_000
DAYS = 30
CORRECTED = 0.03


def main() -> None:
    """Generate, fold, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outcomes", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    plan = CellPlan.from_config(CONFIG)
    predictions, outcomes, earlier = generate(arguments.outcomes, arguments.seed)
    none, nothing = predictions.clear(), outcomes.clear()
    chains = [of_record(rows, plan.definitions) for rows in (earlier, pl.concat([earlier, outcomes]))]
    cells = fold(plan, predictions, outcomes, earlier)
    cpu = time.process_time()
    whole = best(lambda: fold(plan, predictions, outcomes, earlier), arguments.rounds)
    cpu = (time.process_time() - cpu) / arguments.rounds
    parts = {
        "predictions_and_inputs": best(lambda: fold(plan, predictions, nothing, nothing), arguments.rounds),
        "outcomes": best(lambda: fold(plan, none, outcomes, earlier), arguments.rounds),
        "of_these_chains": best(lambda: states_between(plan, *chains), arguments.rounds),
        "merge_of_the_cells": best(lambda: merge(cells), arguments.rounds),
    }
    single = best(lambda: grouped_once(outcomes), arguments.rounds)
    result = {
        "outcomes": outcomes.height,
        "outcomes_per_s": round(outcomes.height / whole),
        "outcomes_alone_per_s": round(outcomes.height / parts["outcomes"]),
        "cpu_s_per_million": round(cpu / outcomes.height * 1e6, 2),
        "share_of_the_time": {name: round(seconds / whole, 2) for name, seconds in parts.items()},
        "cells": cells.height,
        "cells_of_panes": cells.filter(pl.col("measure").str.starts_with("pane_")).height,
        "wall_over_one_group_by": round(whole / single, 1),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }
    print(json.dumps(result))


def best(work: Callable[[], object], rounds: int) -> float:
    """Return the least seconds that the work took."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def grouped_once(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return the least that could be asked for: one count by texts."""
    return outcomes.group_by("version", cohort_day("UTC").alias("day"), "slice_country", "status").len()


def generate(outcomes: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return predictions, outcomes and earlier revisions, in the lake's columns."""
    rng = np.random.default_rng(seed)
    n = outcomes
    times = START_MS + np.sort(rng.integers(0, DAYS * DAY_MS, n))
    scores = rng.beta(2, 5, n)
    common = pl.DataFrame(
        {
            "partition": rng.integers(0, 8, n).astype(np.int32),
            "key": pl.Series(np.arange(n) * 2_654_435_761 % 2**40).cast(pl.String).str.zfill(13),
            "predicted_at": times,
            "version": rng.choice(["v1", "v2"], n, p=[0.9, 0.1]),
            "eligible": rng.random(n) < 0.99,
            "slice_country": rng.choice(["DE", "FR", "US", "BR", "IN"], n),
            "slice_device": rng.choice(["ios", "android", "web"], n),
            "slice_merchant": rng.integers(0, 60, n).astype("U3"),
        }
    ).with_columns(pl.col("predicted_at").cast(pl.Datetime("ms", "UTC")).cast(pl.Datetime("us", "UTC")))
    features = pl.DataFrame(
        {
            **{f"feature_bounded_{place}": rng.random(n) * 100 for place in range(6)},
            **{f"feature_free_{place}": rng.lognormal(3, 2, n) for place in range(6)},
            "feature_age": rng.integers(18, 90, n),
            "feature_device": rng.choice(["ios", "android", "web", "tv"], n),
            "feature_flag": rng.random(n) < 0.3,
        }
    )
    offsets = pl.Series("offset", np.arange(n))
    predictions = common.with_columns(offsets, pl.col("key").alias("id"), pl.Series("output_click", scores))
    first = revisions(common, scores, rng)
    wrong = first.filter("labelled").sample(round(n * CORRECTED), seed=seed)
    corrected = wrong.with_columns(
        value=1 - pl.col("value"),
        previous="value",
        previous_status=pl.lit("joined"),
        reason=pl.lit("correction"),
        revision=pl.col("revision") + 1,
        known_at=pl.col("known_at") + pl.duration(hours=1),
    )
    right = first.join(wrong, on="prediction_offset", how="anti")
    every = pl.concat([predictions, features], how="horizontal")
    return every, pl.concat([right, corrected]).drop("labelled"), wrong.drop("labelled")


def revisions(common: pl.DataFrame, scores: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """Return the first revision of every prediction's outcome."""
    n = common.height
    delays_ms = np.minimum(rng.lognormal(np.log(6 * HOUR_MS), 1.2, n), 3 * DAY_MS).astype(np.int64)
    labelled = rng.random(n) < 0.92
    values = np.where(rng.random(n) < scores, 1.0, 0.0)
    ages = pl.Series(np.where(labelled, delays_ms, 3 * DAY_MS)).cast(pl.Duration("ms"))
    return common.with_columns(
        pl.Series("prediction_offset", np.arange(n)),
        pl.col("key").alias("id"),
        pl.lit("click").alias("kind"),
        pl.lit("click-1").alias("definition"),
        pl.Series("status", np.where(labelled, "joined", "expired")),
        pl.Series("value", values),
        pl.lit(None, dtype=pl.String).alias("value_class"),
        pl.Series("output", scores),
        pl.lit(None, dtype=pl.String).alias("output_class"),
        (pl.col("predicted_at") + ages).alias("known_at"),
        pl.Series("revision", np.arange(n) * 4),
        pl.Series("labelled", labelled),
        pl.Series("reason", np.where(labelled, "first", "timeout")),
        pl.lit("pending").alias("previous_status"),
        pl.lit(None, dtype=pl.Float64).alias("previous"),
        pl.lit(None, dtype=pl.String).alias("previous_class"),
    ).with_columns(value=pl.when("labelled").then("value"), label_offset=pl.when("labelled").then("prediction_offset"))


CONFIG = LoopConfig.model_validate(
    {
        "version": 1,
        "loop": "bench",
        "predictions": {
            "outputs": {"click": {"task": "binary", "threshold": 0.3}},
            "slices": ["country", "device", "merchant"],
            "features": {
                **{f"bounded_{place}": {"type": "float", "min": 0, "max": 100} for place in range(6)},
                **{f"free_{place}": {"type": "float"} for place in range(6)},
                "age": {"type": "int"},
                "device": {"type": "string", "categories": ["ios", "android", "web"]},
                "flag": {"type": "bool"},
            },
        },
        "labels": {"click": {"definition": "click-1", "horizon": "3d", "retain": "10d", "delay_by": "country"}},
        "cohorts": {"by": ["version", "country", "device", "merchant"], "ages": ["1h", "12h", "1d", "3d"]},
        "evaluate_at": ["12h", "final"],
    }
)

if __name__ == "__main__":
    main()
