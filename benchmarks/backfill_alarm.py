"""How often the alarm on backfills is wrong: `PYTHONPATH=. python benchmarks/backfill_alarm.py --runs 200`.

Every run draws 118 days of predictions and their labels: delays are seven in ten log-normal around 2 hours and three in
ten around a day with a long tail (99.5 % are there after about 15 days), and every hour of predictions has a speed of
its own. One label in a hundred is corrected, around two days later. The first 28 days, in which the loop is young, are
counted apart from the 90 behind them: whatever is flagged there is false. Then, into the same traffic, 300 or 100
labels are put within four hours of one of the last two weeks: first labels older than the age above which they are
stale, or corrections. They are found if a flagged run with that cause meets those hours.

Prints a table in Markdown; the same options give the same figures. In the last three kinds of traffic the source
of labels is silent for 6 or 24 hours on day 100 and then sends everything within an hour. That is not healthy: their
"false" episodes say what is made of it.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from monitor.backfill.alarm import BackfillAlarm, judge_arrivals
from monitor.cells.bins import age_edges_ms
from monitor.cells.count_arrivals import HourlyArrivals
from schemas.events.backfill import Cause

HOUR_MS = 3_600_000
HOURS = 24
YOUNG_DAYS = 28
DAYS = YOUNG_DAYS + 90
RETAIN_H = 60 * HOURS
EDGES_MS = np.asarray(age_edges_ms([24 * HOUR_MS, 72 * HOUR_MS, RETAIN_H * HOUR_MS]), np.int64)
WITHIN_H = 4
OPENS, CLOSES = 9, 17
WORKDAYS = 5
CORRECTED = 0.01

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Traffic:
    """One kind of traffic.

    Attributes:
        rate: labels an hour on average of a working day.
        daily: how far the rate of predictions moves around it in the course of a day, 0 to 1.
        weekend: the part of the rate that is left on two days in seven.
        speed: log standard deviation of the speed of an hour of predictions.
        usual_h: median delay of labels that are not slow.
        slow: the part of labels that are.
        is_by_hand: labels only come in working hours.
        file_every_h: labels come in files, one in so many hours; 0: one by one.
        silent_h: for how long the source is silent on day 100.
    """

    rate: float = 500
    daily: float = 0.0
    weekend: float = 1.0
    speed: float = 0.35
    usual_h: float = 2.0
    slow: float = 0.3
    is_by_hand: bool = False
    file_every_h: int = 0
    silent_h: int = 0


TRAFFIC: Mapping[str, Traffic] = {
    "500 an hour": Traffic(),
    "500, by day and week": Traffic(daily=0.8, weekend=0.3),
    "500, uneven delays": Traffic(speed=0.7),
    "500, in working hours": Traffic(is_by_hand=True),
    "500, one file a day": Traffic(file_every_h=HOURS),
    "50 an hour": Traffic(rate=50),
    "5,000 an hour": Traffic(rate=5_000),
    "5,000, by day and week": Traffic(rate=5_000, daily=0.8, weekend=0.3),
    "500, within minutes": Traffic(usual_h=0.1, slow=0.0),
    "500, silent for 6 h": Traffic(silent_h=6),
    "500, silent for 24 h": Traffic(silent_h=24),
    "500, within minutes, silent for 6 h": Traffic(usual_h=0.1, slow=0.0, silent_h=6),
}
COSTLY = 1_000
"""Of traffic with more labels an hour a tenth of the runs is made."""


def main() -> None:
    """Draw, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--traffic", nargs="*", choices=list(TRAFFIC), default=list(TRAFFIC))
    arguments = parser.parse_args()
    cases = [(count, cause) for count in (300, 100) for cause in (Cause.STALE, Cause.CORRECTED)]
    found_of = " | ".join(f"{count} {cause.value} found" for count, cause in cases)
    print(f"| labels | runs | false episodes in 90 days | in the first 28 days | stale above | {found_of} |")
    print("|---" * (5 + len(cases)) + "|")
    spent = 0.0
    judged = 0
    for name in arguments.traffic:
        traffic = TRAFFIC[name]
        runs = arguments.runs if traffic.rate < COSTLY else -(-arguments.runs // 10)
        false, young, ages, found = 0, 0, [], dict.fromkeys(cases, 0)
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            arrivals = draw(traffic, rng)
            since = time.process_time()
            alarm = judge(arrivals)
            spent, judged = spent + time.process_time() - since, judged + 1
            late = sum(run.since_ms >= YOUNG_DAYS * HOURS * HOUR_MS for run in alarm.runs)
            false, young = false + late, young + len(alarm.runs) - late
            assert alarm.stale_after_ms is not None
            ages.append(alarm.stale_after_ms / HOUR_MS / HOURS)
            for count, cause in cases:
                found[count, cause] += is_found(arrivals, alarm.stale_after_ms, (count, cause), rng)
        shares = " | ".join(f"{hits / runs:.0%}" for hits in found.values())
        print(f"| {name} | {runs} | {false / runs:.2f} | {young / runs:.2f} | {np.mean(ages):.1f} d | {shares} |")
    print(f"\nCPU time to judge {DAYS} days: {spent / judged * 1e3:.0f} ms")


def draw(traffic: Traffic, rng: np.random.Generator) -> HourlyArrivals:
    """Return the arrivals of 118 days."""
    hour = np.arange(DAYS * HOURS)
    wave = 1 + traffic.daily * np.sin(2 * np.pi * hour / HOURS)
    calm = np.where(hour // HOURS % 7 >= WORKDAYS, traffic.weekend, 1.0)
    made_in = np.repeat(hour, rng.poisson(traffic.rate * wave * calm))
    count = len(made_in)
    made = made_in + rng.random(count)
    speed = traffic.speed * rng.standard_normal(len(hour))
    is_slow = rng.random(count) < traffic.slow
    centre, spread = np.where(is_slow, np.log(24), np.log(traffic.usual_h)), np.where(is_slow, 1.2, 1.0)
    known = held_up(traffic, made + np.exp(centre + spread * rng.standard_normal(count) + speed[made_in]), rng)
    again = known[rng.random(count) < CORRECTED]
    again = again + np.exp(np.log(48) + rng.standard_normal(len(again)))
    comes = (known < len(hour)) & (known - made < RETAIN_H)
    first = np.zeros((len(hour), len(EDGES_MS)), np.int64)
    places = np.searchsorted(EDGES_MS, ((known - made)[comes] * HOUR_MS).astype(np.int64))
    np.add.at(first, (known[comes].astype(np.int64), places), 1)
    changed = np.bincount(again[again < len(hour)].astype(np.int64), minlength=len(hour))
    return HourlyArrivals(EDGES_MS, hour * HOUR_MS, hour % HOURS, first, changed, np.zeros_like(changed))


def held_up(traffic: Traffic, known: Floats, rng: np.random.Generator) -> Floats:
    """Return when labels come, in hours, that are known at these hours."""
    if traffic.is_by_hand:
        day, at = np.divmod(known, HOURS)
        day = np.where(at >= CLOSES, day + 1, day)
        at = np.where((at >= CLOSES) | (at < OPENS), OPENS + rng.random(len(at)), at)
        day = np.where(day % 7 >= WORKDAYS, day + 7 - day % 7, day)
        return day * HOURS + at
    if traffic.file_every_h:
        return (np.floor(known / traffic.file_every_h) + 1) * traffic.file_every_h + 0.5
    start = 100 * HOURS + 10
    is_held = (known >= start) & (known < start + traffic.silent_h)
    return np.where(is_held, start + traffic.silent_h + rng.random(len(known)), known)


def is_found(
    arrivals: HourlyArrivals, stale_after_ms: int, backfill: tuple[int, Cause], rng: np.random.Generator
) -> bool:
    """Return whether so many labels of this cause are found that come within four hours."""
    count, cause = backfill
    start = (DAYS - 14) * HOURS + int(rng.integers(0, 12 * HOURS))
    at = start + rng.integers(0, WITHIN_H, count)
    first, changed = arrivals.first.copy(), arrivals.changed.copy()
    if cause is Cause.STALE:
        ages_ms = (rng.uniform(1.5, 2.5, count) * stale_after_ms).astype(np.int64)
        np.add.at(first, (at, np.searchsorted(EDGES_MS, ages_ms)), 1)
    else:
        np.add.at(changed, at, 1)
    alarm = judge(replace(arrivals, first=first, changed=changed))
    span = start * HOUR_MS, (start + WITHIN_H) * HOUR_MS
    return any(run.since_ms < span[1] and run.until_ms >= span[0] and cause in run.causes for run in alarm.runs)


def judge(arrivals: HourlyArrivals) -> BackfillAlarm:
    """Judge all hours."""
    end_ms = int(arrivals.hour_ms[-1]) + HOUR_MS
    return judge_arrivals(arrivals, end_ms, end_ms)


if __name__ == "__main__":
    main()
