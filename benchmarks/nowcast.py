"""How well a young day is known: `python benchmarks/nowcast.py`, or with `--model january --edges 64 --hauls 1`.

Every day of March to December 2013 of the flights out of New York is looked at while it runs, at 12, 18 and 23 h
New York time. The cohort is what was predicted on that day up to the moment; its final metric is that of its
flights which get a label at all. "Arrived" is the metric of the flights that are in at the moment, "nowcast" that of
`monitor.nowcast.em`, with the delay law and the prior of the 28 days before that were mature by then. The interval
comes from the errors that earlier days made at the same hour, as far as they were mature. Labels are known when the
plane is in; the horizon is 36 hours.

With `--model monthly` the model is trained again on the first of every month, on all that is known then; with
`january` it is the demo's first model all year.

Prints tables in Markdown: root mean square errors, and what part of the final values lies in the interval. The same
options give the same figures, the times of a nowcast apart.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.bins import OVERFLOW_AGE_MS, SCORE_BINS, score_edges
from monitor.nowcast.conformal import conformal_interval
from monitor.nowcast.delay import DelayCounts, DelayLaw, law_alarm, learn_delay_law
from monitor.nowcast.em import CohortCounts, DayEffect, Nowcast, nowcast
from monitor.nowcast.expected import Losses, expected_metrics
from monitor.nowcast.prior import Prior, learn_prior
from truthloop.demo.features import features_at_prediction
from truthloop.demo.flights import FLIGHT_KEY, NEW_YORK, data_folder, read_flights, read_weather
from truthloop.demo.model import LATE_AFTER_MIN, known_labels, train

HOUR_MS = 3_600_000
HORIZON_MS = 36 * HOUR_MS
SNAPSHOTS = (12, 18, 23)
FIRST_DAY = date(2013, 3, 3)
MATURE_DAYS = 28
PANES = 25
METRICS = ("accuracy", "prevalence", "roc_auc", "log_loss", "brier")
HAUL_MIN = {1: [], 5: [100, 150, 210, 300], 9: [80, 100, 120, 150, 180, 210, 260, 330]}
"""Upper limits of the scheduled minutes from gate to gate, by the number of strata."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Day:
    """The flights that were predicted on one day; `late` is NaN where there never is a label."""

    date: date
    starts_ms: int
    predicted_ms: Counts
    known_ms: Floats
    late: Floats
    score: Floats
    haul: Counts
    bins: Counts
    sides: Counts

    @property
    def ages_ms(self) -> Floats:
        """Age of every label; NaN where there is none."""
        return self.known_ms - self.predicted_ms


@dataclass
class Snapshot:
    """What one day looked like at one hour, and what became of it."""

    date: date
    final: dict[str, float | None]
    arrived: dict[str, float | None]
    found: Nowcast
    statistic: float | None
    alarmed: bool = False
    inside: dict[str, tuple[bool, float] | None] = field(default_factory=dict)


def main() -> None:
    """Read, train, look at every day, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["monthly", "january"], default="monthly")
    parser.add_argument("--edges", type=int, default=128, help="age edges from a minute to 400 days")
    parser.add_argument("--hauls", type=int, choices=sorted(HAUL_MIN), default=5, help="strata of the delay law")
    parser.add_argument("--effect", type=float, nargs=4, metavar=("LEVEL", "HOURLY", "SLOPE", "NEVER"))
    arguments = parser.parse_args()
    days = read_days(arguments.model, HAUL_MIN[arguments.hauls])
    effect = DayEffect(*arguments.effect) if arguments.effect else DayEffect()
    snapshots, seconds = look(days, age_edges(arguments.edges), arguments.hauls, effect)
    print(f"model {arguments.model}, {arguments.edges} age edges, {arguments.hauls} strata, {effect}\n")
    for name, first in (("March to December", FIRST_DAY), ("June to December", date(2013, 6, 1))):
        show(name, {hour: [one for one in found if one.date >= first] for hour, found in snapshots.items()})
    times = np.array(seconds) * 1_000
    print(
        f"CPU time of one nowcast: median {np.median(times):.1f} ms, 95th percentile {np.quantile(times, 0.95):.1f} ms"
    )


def age_edges(count: int) -> Counts:
    """Return 0, `count` ages from a minute to 400 days that grow by one factor, the horizon, and beyond."""
    grid = np.round(np.geomspace(60, 400 * 86_400, count)).astype(np.int64) * 1_000
    return np.unique(np.concatenate([[0, HORIZON_MS, OVERFLOW_AGE_MS], grid]))


def read_days(model: str, hauls: list[int]) -> list[Day]:
    """Return the days from February on, scored."""
    source = data_folder()
    flights = read_flights(source)
    features = features_at_prediction(flights, read_weather(source))
    zone = ZoneInfo(NEW_YORK)
    starts = [datetime(2013, month, 1, tzinfo=zone).astimezone(UTC) for month in range(2, 13)]
    ends = [*starts[1:], datetime(2014, 2, 1, tzinfo=UTC)]
    parts = []
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if number == 0 or model == "monthly":
            known = features.filter(pl.col("predicted_at") < start)
            current = train(known, known_labels(flights, start), version=f"v{number + 1}")
        part = features.filter(pl.col("predicted_at") >= start, pl.col("predicted_at") < end)
        parts.append(part.with_columns(score=current.percent_late(part) / 100))
    rows = pl.concat(parts).join(flights, on=FLIGHT_KEY, how="left", validate="1:1", maintain_order="left")
    rows = rows.with_columns(day=pl.col("predicted_at").dt.convert_time_zone(NEW_YORK).dt.date())
    return [day_of(day, frame, hauls) for (day,), frame in rows.partition_by("day", as_dict=True).items()]


def day_of(day: object, rows: pl.DataFrame, hauls: list[int]) -> Day:
    """Return one day's flights as arrays."""
    assert isinstance(day, date)
    edges, positive_from = score_edges(0.5)
    score = rows["score"].to_numpy()
    bins = np.searchsorted(edges, score, side="right")
    return Day(
        date=day,
        starts_ms=moment_ms(day, 0),
        predicted_ms=rows["predicted_at"].dt.epoch("ms").to_numpy(),
        known_ms=rows["arrived_at"].dt.epoch("ms").cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        late=(rows["arr_delay_min"] > LATE_AFTER_MIN).cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        score=score,
        haul=np.searchsorted(hauls, rows["block_min"].to_numpy(), side="right"),
        bins=bins,
        sides=(bins >= positive_from).astype(np.int64),
    )


def moment_ms(day: date, hour: int) -> int:
    """Return an hour of a day in New York."""
    moment = datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(NEW_YORK))
    return round(moment.timestamp()) * 1_000


def look(
    days: list[Day], edges_ms: Counts, strata: int, effect: DayEffect
) -> tuple[dict[int, list[Snapshot]], list[float]]:
    """Return the snapshots of every hour, and the CPU seconds that each nowcast took."""
    learned = [counts_of_mature(day, edges_ms, strata) for day in days]
    snapshots: dict[int, list[Snapshot]] = defaultdict(list)
    seconds: list[float] = []
    for place, day in enumerate(days):
        if day.date < FIRST_DAY:
            continue
        # At noon the day before yesterday is just mature: it ended 36 hours ago.
        past = learned[max(0, place - 1 - MATURE_DAYS) : place - 1]
        labels, closed, ones, zeros, sums = (np.sum([one[part] for one in past], axis=0) for part in range(5))
        scores = mean_scores(sums, (ones + zeros).sum(axis=0))
        law, prior = learn_delay_law(labels, closed, edges_ms), learn_prior(ones, zeros, scores)
        assert law is not None
        for hour in SNAPSHOTS:
            one, took = snapshot(day, hour, (law, prior, scores, strata), effect)
            seconds.append(took)
            judge(one, snapshots[hour][:-1])
            snapshots[hour].append(one)
    return snapshots, seconds


def counts_of_mature(day: Day, edges_ms: Counts, strata: int) -> tuple[Counts, Counts, Counts, Counts, Floats]:
    """Return what a mature day adds: labels by age, closed, ones and zeros by pane and bin, sums of scores."""
    labelled = ~np.isnan(day.late)
    age = np.searchsorted(edges_ms, day.ages_ms[labelled])
    labels = np.zeros((strata, 2, 2, len(edges_ms)), dtype=np.int64)
    np.add.at(labels, (day.haul[labelled], day.late[labelled].astype(np.int64), day.sides[labelled], age), 1)
    closed: Counts = np.bincount(day.haul[~labelled], minlength=strata)
    place = np.ravel_multi_index(((day.predicted_ms - day.starts_ms) // HOUR_MS, day.bins), (PANES, SCORE_BINS))
    ones, zeros = (
        np.bincount(place[day.late == label], minlength=PANES * SCORE_BINS).reshape(PANES, SCORE_BINS)
        for label in (1, 0)
    )
    sums = np.asarray(np.bincount(day.bins[labelled], day.score[labelled], SCORE_BINS), dtype=np.float64)
    return labels, closed, ones, zeros, sums


def mean_scores(sums: Floats, rows: Counts) -> Floats:
    """Return the mean score of each bin; where there is none, the middle of the bin in the logit."""
    edges = np.array(score_edges(0.5)[0])
    logits = np.log(edges / (1 - edges))
    middle = 1 / (1 + np.exp(-np.concatenate([[logits[0] - 0.5], (logits[1:] + logits[:-1]) / 2, [logits[-1] + 0.5]])))
    return np.where(rows > 0, np.clip(sums / np.maximum(rows, 1), 1e-6, 1 - 1e-6), middle)


def snapshot(
    day: Day, hour: int, learned: tuple[DelayLaw, Prior | None, Floats, int], effect: DayEffect
) -> tuple[Snapshot, float]:
    """Return one day at one hour, and the CPU seconds that its nowcast took."""
    law, prior, scores, strata = learned
    now_ms = moment_ms(day.date, hour)
    made, known = day.predicted_ms < now_ms, day.known_ms <= now_ms
    pane = (day.predicted_ms - day.starts_ms) // HOUR_MS
    shape = (PANES, strata, SCORE_BINS)

    def counted(rows: npt.NDArray[np.bool_]) -> Counts:
        flat = np.ravel_multi_index((pane[rows], day.haul[rows], day.bins[rows]), shape)
        return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)

    starts = day.starts_ms + np.arange(PANES, dtype=np.int64) * HOUR_MS
    cohort = CohortCounts(
        predictions=counted(made),
        ones=counted(made & known & (day.late == 1)),
        zeros=counted(made & known & (day.late == 0)),
        closed=np.zeros(shape, dtype=np.int64),
        pane_start_ms=starts,
        pane_end_ms=starts + HOUR_MS,
        scores=scores,
        losses=losses_of(day, made & known),
    )
    _, positive_from = score_edges(0.5)
    before = time.thread_time()
    found = nowcast(cohort, law, prior, now_ms, positive_from, effect)
    took = time.thread_time() - before
    arrivals = arrivals_of(day, made & known, pane, strata, law.edges_ms)
    check = law_alarm(DelayCounts(arrivals[0], arrivals[1], cohort.ages_ms(now_ms)), law, np.array([]))
    final, arrived = realised(day, made), realised(day, made & known)
    return Snapshot(day.date, final, arrived, found, check.statistic), took


def arrivals_of(
    day: Day, rows: npt.NDArray[np.bool_], pane: Counts, strata: int, edges_ms: Counts
) -> tuple[Counts, Counts]:
    """Return the labels by age, and by pane and stratum."""
    late, sides = day.late[rows].astype(np.int64), day.sides[rows]
    by_age = np.zeros((2, 2, len(edges_ms)), dtype=np.int64)
    np.add.at(by_age, (late, sides, np.searchsorted(edges_ms, day.ages_ms[rows])), 1)
    by_pane = np.zeros((PANES, strata, 2, 2), dtype=np.int64)
    np.add.at(by_pane, (pane[rows], day.haul[rows], late, sides), 1)
    return by_age, by_pane


def losses_of(day: Day, rows: npt.NDArray[np.bool_]) -> Losses:
    """Return the exact loss sums of labelled rows."""
    score, late = np.clip(day.score[rows], 1e-6, 1 - 1e-6), day.late[rows]
    return Losses(float(-np.log(np.where(late == 1, score, 1 - score)).sum()), float(((score - late) ** 2).sum()))


def realised(day: Day, rows: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """Return the metrics of the rows that have a label."""
    rows = rows & ~np.isnan(day.late)
    ones, zeros = (
        np.bincount(day.bins[rows & (day.late == label)], minlength=SCORE_BINS).astype(np.float64) for label in (1, 0)
    )
    return dict(expected_metrics(ones, zeros, score_edges(0.5)[1], losses_of(day, rows)))


def judge(one: Snapshot, past: list[Snapshot]) -> None:
    """Say whether the final values lie in the intervals that earlier days' errors give."""
    statistics = np.array([before.statistic for before in past[-60:] if before.statistic is not None])
    limit = max(1.63, float(np.quantile(statistics, 0.99))) if len(statistics) >= 20 else 1.63
    one.alarmed = one.statistic is not None and one.statistic > limit
    for name in METRICS:
        errors = np.array([difference(before.found.values[name], before.final[name]) for before in past])
        interval = conformal_interval(one.found.values[name], np.abs(errors), one.found.bounds[name])
        final = one.final[name]
        if interval is not None and not interval.is_hard and final is not None:
            one.inside[name] = (interval.low <= final <= interval.high, (interval.high - interval.low) / 2)


def difference(value: float | None, final: float | None) -> float:
    """Return value - final, NaN where one of them is not there."""
    return float("nan") if value is None or final is None else value - final


def show(name: str, snapshots: dict[int, list[Snapshot]]) -> None:
    """Print one table."""
    print(f"{name}, {len(next(iter(snapshots.values())))} days\n")
    print(
        "| hour | metric | labels in | RMSE arrived | RMSE nowcast | ratio | bias | in the interval | its half width |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for hour, found in snapshots.items():
        share = np.mean([one.found.labelled / (one.found.labelled + one.found.waiting) for one in found])
        for metric in METRICS:
            arrived = np.array([difference(one.arrived[metric], one.final[metric]) for one in found])
            estimated = np.array([difference(one.found.values[metric], one.final[metric]) for one in found])
            both = np.isfinite(arrived) & np.isfinite(estimated)
            rmse = [float(np.sqrt(np.mean(errors[both] ** 2))) for errors in (arrived, estimated)]
            judged = [inside for one in found if (inside := one.inside.get(metric)) is not None]
            print(
                f"| {hour} | {metric} | {share:.0%} | {rmse[0]:.4f} | {rmse[1]:.4f} | {rmse[1] / rmse[0]:.2f} "
                f"| {estimated[both].mean():+.4f} | {np.mean([one[0] for one in judged]):.3f} of {len(judged)} "
                f"| {np.mean([one[1] for one in judged]):.3f} |"
            )
        bounded = [one for one in found if one.found.bounds["accuracy"] is not None]
        broken = sum(not contains(one.found.bounds[m], one.final[m]) for one in bounded for m in METRICS[:2])
        print(
            f"| {hour} | hard bounds broken: {broken}; law alarms: {sum(one.alarmed for one in found)} | | | | | | | |"
        )
    print()


def contains(bounds: tuple[float, float] | None, value: float | None) -> bool:
    """Return whether a value lies within bounds, up to rounding."""
    return bounds is None or value is None or bounds[0] - 1e-12 <= value <= bounds[1] + 1e-12


if __name__ == "__main__":
    main()
