"""The records of a simulated loop, the same for the same seed, and what must be counted of them.

Every day has predictions; 85 % of them get a label after a lognormal delay with a median of 4 hours, 3 % of the labels
are corrected up to `retain` later, so every day corrects labels of the days before. Once a quarter, on day 20, 110 and
so on, the labels of the predictions of two days are told again, declared as a backfill, one in 50 with the other value;
a person approves it. A version lasts for 400 days: what looks back to its first day grows with it.

`expected` counts what was generated, and shares nothing with the join, the lake or the views.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from schemas.config.loop import LoopConfig

__all__ = ["DAY_MS", "START_MS", "World", "day_start_ms"]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_672_531_200_000
"""Day 1 begins on 1 January 2023, UTC."""

HORIZON_MS = DAY_MS
QUARTER_DAYS = 90
VERSION_DAYS = 400
BACKFILL_ON = 20
BACKFILL_DAYS = (3, 2)
"""Age, in days, of the predictions whose labels are told again."""

LABELLED, CORRECTED, FLIPPED = 0.85, 0.03, 0.02
LABEL_SCHEMA = {"key": pl.String, "value": pl.Int64, "time": pl.Int64, "origin": pl.String, "batch_id": pl.String}


def day_start_ms(day: int) -> int:
    """Return the first instant of a day; the first day is 1."""
    return START_MS + (day - 1) * DAY_MS


class World(msgspec.Struct, frozen=True):
    """What is simulated.

    Attributes:
        rate: predictions a day.
        busy_rate: predictions on a day of full cadence.
        busy_days: the days of full cadence.
        slices: number of values of the one slice.
        retain_days: age until which a label is joined or corrected.
        commits: rounds of commits a day, each at most one commit a table.
        measured_commits: the same on a measured day.
        busy_commits: the same on a day of full cadence.
        looks: how often a day the feedback role looks at the lake.
        keep_days: after which predictions leave the lake; None: never.
    """

    seed: int
    rate: int
    busy_rate: int
    busy_days: tuple[int, ...]
    measured_days: tuple[int, ...]
    slices: int
    retain_days: int
    commits: int
    measured_commits: int
    busy_commits: int
    looks: int
    keep_days: int | None = None

    def rounds(self, day: int) -> int:
        """Return the number of rounds of commits on a day."""
        if day in self.busy_days:
            return self.busy_commits
        return self.measured_commits if day in self.measured_days else self.commits

    def config(self) -> LoopConfig:
        """Return the loop's config."""
        return LoopConfig.model_validate(
            {
                "version": 1,
                "loop": "years",
                "clock": "event",
                "partitions": 4,
                "predictions": {
                    "outputs": {"click": {"task": "binary"}},
                    "slices": ["shop"],
                    "features": {
                        "amount": {"type": "float", "min": 0},
                        "device": {"type": "string", "categories": ["ios", "android", "web"]},
                    },
                },
                "labels": {"click": {"definition": "click-1", "horizon": "1d", "retain": f"{self.retain_days}d"}},
                "cohorts": {"by": ["version", "shop"], "ages": ["6h", "12h", "1d"]},
                "evaluate_at": ["12h", "final"],
                "retention": {} if self.keep_days is None else {"lake": f"{self.keep_days}d"},
            }
        )

    def predictions(self, day: int) -> pl.DataFrame:
        """Return the predictions of a day in the canonical form, in order of time."""
        return _made(self, day).predictions

    def labels(self, day: int) -> pl.DataFrame:
        """Return the labels that come on a day, in order of time: of that day's predictions and of earlier ones."""
        first = max(1, day - self.retain_days)
        frames = [_made(self, made_on).labels for made_on in range(first, day + 1)]
        if is_backfill_day(day):
            frames += [self._backfill(day, made_on) for made_on in (day - age for age in BACKFILL_DAYS)]
        start_ms = day_start_ms(day)
        within = pl.col("time").is_between(start_ms, start_ms + DAY_MS, closed="left")
        return pl.concat(frames).filter(within).sort("time", "key")

    def labels_of(self, made_on: int) -> pl.DataFrame:
        """Return the labels of the predictions of a day, in order of time; without those of a backfill."""
        return _made(self, made_on).labels.sort("time")

    def expected(self, made_on: int, read_until_ms: int) -> "DayCounts":
        """Count the predictions of a day whose labels have been read up to a time, declared ones being approved."""
        made = _made(self, made_on)
        frames = [made.labels]
        told_on = [made_on + age for age in BACKFILL_DAYS if is_backfill_day(made_on + age)]
        frames += [self._backfill(day, made_on) for day in told_on]
        read = pl.concat(frames).filter(pl.col("time") < read_until_ms).sort("time")
        newest = read.group_by("key", maintain_order=True).last()
        return DayCounts(made.predictions.height, newest.height, int(newest["value"].sum()))

    def write(self, day: int, folder: Path) -> tuple[Path, Path]:
        """Write the records of a day as files; return those of predictions and of labels."""
        files = (folder / f"predictions-{day:05d}.parquet", folder / f"labels-{day:05d}.parquet")
        self.predictions(day).write_parquet(files[0])
        self.labels(day).write_parquet(files[1])
        return files

    def _backfill(self, day: int, made_on: int) -> pl.DataFrame:
        """Return the labels of a backfill: those that the predictions of `made_on` had, one in 50 turned round."""
        start_ms = day_start_ms(day)
        known = _made(self, made_on).labels.filter(pl.col("time") < start_ms).sort("time", "key")
        newest = known.group_by("key", maintain_order=True).last()
        rng = np.random.default_rng([self.seed, day, made_on])
        flipped = pl.Series(rng.random(newest.height) < FLIPPED)
        times = start_ms + DAY_MS // 2 + np.arange(newest.height)
        told = newest.with_columns(
            value=pl.when(flipped).then(1 - pl.col("value")).otherwise("value"),
            time=pl.Series(times),
            origin=pl.lit("backfill"),
            batch_id=pl.lit(f"quarter-{day // QUARTER_DAYS}"),
        )
        return told.select(list(LABEL_SCHEMA))


@dataclass(frozen=True)
class DayCounts:
    """What a day's predictions must come to: their number, how many have a label, and how many of these are 1."""

    predictions: int
    joined: int
    ones: int


@dataclass(frozen=True)
class _Made:
    """The predictions of one day, and all labels that they ever get but those of a backfill."""

    predictions: pl.DataFrame
    labels: pl.DataFrame


def is_backfill_day(day: int) -> bool:
    """Tell whether labels are told again on a day."""
    return day % QUARTER_DAYS == BACKFILL_ON


@lru_cache(maxsize=64)
def _made(world: World, day: int) -> _Made:
    """Generate a day."""
    rng = np.random.default_rng([world.seed, day])
    n = world.busy_rate if day in world.busy_days else world.rate
    times = day_start_ms(day) + np.sort(rng.integers(0, DAY_MS, n))
    scores = rng.beta(2, 5, n)
    keys = pl.Series([f"{one:010x}" for one in (day * 1_000_003 + np.arange(n)) * 2_654_435_761 % 2**40])
    predictions = pl.DataFrame(
        {
            "key": keys,
            "time": times,
            "version": [f"v{1 + day // VERSION_DAYS}"] * n,
        }
    ).with_columns(
        pl.struct(click=pl.Series(scores)).alias("outputs"),
        pl.struct(shop=pl.Series(np.minimum(rng.zipf(1.5, n), world.slices)).cast(pl.String)).alias("slices"),
        pl.struct(
            amount=pl.Series(rng.lognormal(3, 1, n).round(2)),
            device=pl.Series(rng.choice(["ios", "android", "web"], n)),
        ).alias("features"),
    )
    labelled = np.flatnonzero(rng.random(n) < LABELLED)
    delays = np.minimum(rng.lognormal(np.log(4 * HOUR_MS), 1.0, labelled.size), HORIZON_MS - HOUR_MS).astype(np.int64)
    values = (rng.random(labelled.size) < scores[labelled]).astype(np.int64)
    first = pl.DataFrame({"key": keys.gather(labelled), "value": values, "time": times[labelled] + delays})
    is_wrong = pl.Series(rng.random(labelled.size) < CORRECTED)
    most_ms = (world.retain_days - 1) * DAY_MS - HOUR_MS
    waits = pl.Series(rng.integers(HOUR_MS, most_ms, labelled.size))
    corrected = first.with_columns(value=1 - pl.col("value"), time=pl.col("time") + waits).filter(is_wrong)
    nothing = pl.lit(None, dtype=pl.String)
    labels = pl.concat([first, corrected]).with_columns(origin=nothing, batch_id=nothing)
    return _Made(predictions, labels.select(list(LABEL_SCHEMA)))
