"""False and found drifts of the error in simulated loops whose days differ, weekly patterns included.

    python benchmarks/error_drift.py --runs 30

Prints a table. Each run is 100 days of 1,000 labels with an error of 0.20; a day's error differs from its pattern by a
normal deviation. A step goes to 0.30 on day 60 and should be found within 14 days; a ramp goes to 0.35 from day 60 to
day 90, and should be found by day 100.
"""

import argparse
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from monitor.drift.error import ErrorDrift

START = date(2013, 1, 1)
DAYS, ROWS, ERROR = 100, 1_000, 0.2
CHANGE_DAY, STEP_DAYS, RAMP_DAYS = 60, 14, 30
Change = Callable[[int], float]


def steady(_day: int) -> float:
    """Return no change."""
    return 0.0


def step(day: int) -> float:
    """Return what a step adds to the error of a day."""
    return 0.10 if day >= CHANGE_DAY else 0.0


def ramp(day: int) -> float:
    """Return what a ramp adds."""
    return 0.15 * min(max(day - CHANGE_DAY, 0), RAMP_DAYS) / RAMP_DAYS


def found_on(seed: int, pattern: str, days_differ: float, change: Change, days: int = DAYS) -> list[int]:
    """Return the days on which a drift was found in one run."""
    rng = np.random.default_rng(seed)
    drift, found = ErrorDrift("UTC"), []
    for number in range(days):
        day = START + timedelta(days=number)
        hours = np.sort(rng.random(ROWS)) * 24
        error = np.full(ROWS, ERROR)
        if pattern != "even":
            error *= 1 + 0.5 * np.sin(2 * np.pi * hours / 24)
        if pattern == "weekly":
            error *= 1.5 if day.isoweekday() > 5 else 0.8
        error = np.clip(error + rng.normal(0, days_differ) + change(number), 0, 1)
        start_us = round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1e6)
        times = pl.Series(start_us + (hours * 3.6e9).astype(np.int64)).cast(pl.Datetime("us", "UTC"))
        wrong = (rng.random(ROWS) < error).astype(np.float64)
        if drift.add_day(day, pl.DataFrame({"predicted_at": times, "error": wrong})) is not None:
            found.append(number)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30, help="of 100 days without a change, by pattern")
    runs = parser.parse_args().runs
    print(f"{'pattern':10}{'days differ by':>16}{'false':>12}{'step found':>14}{'ramp found':>14}")
    for pattern, days_differ in (
        *(("even", 0.0), ("diurnal", 0.0), ("weekly", 0.0)),
        *(("even", 0.03), ("even", 0.06), ("weekly", 0.06)),
    ):
        false = sum(bool(found_on(seed, pattern, days_differ, steady)) for seed in range(runs))
        last = CHANGE_DAY + STEP_DAYS
        steps = sum(
            any(CHANGE_DAY <= day < last for day in found_on(1_000 + seed, pattern, days_differ, step, last))
            for seed in range(runs // 2)
        )
        ramps = sum(
            any(day >= CHANGE_DAY for day in found_on(2_000 + seed, pattern, days_differ, ramp))
            for seed in range(runs // 2)
        )
        counts = (f"{false} of {runs}", f"{steps} of {runs // 2}", f"{ramps} of {runs // 2}")
        print(f"{pattern:10}{days_differ:>16.2f}{counts[0]:>12}{counts[1]:>14}{counts[2]:>14}", flush=True)


if __name__ == "__main__":
    main()
