"""How soon lost labels are found, and how often nothing is lost: `PYTHONPATH=. python benchmarks/label_loss.py`.

Every run draws predictions and log-normal label delays (spread 1.0 in the logarithm; every hour of predictions has a
speed of its own, log standard deviation .35), nineteen in twenty get a label. Half of the labels come from one of two
sources, a fifth of the predictions are of one of two slices. After a look back and a horizon of healthy traffic, 30 %
or 70 % of the labels of that source, or of that slice, are lost for good. The labels are judged when the product does:
at the end of every day, and of every block of three hours for delays of an hour, each time with what was remembered.

A loss is found in time if the series that loses labels is told within 12 hours or one median delay, whatever is longer.
It has faded if it is not told any more at a later time of the same run. False are times of healthy runs at which
anything is told. The same options give the same figures.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from frame_cells import FrameCells

from monitor.cells.bins import AGES_MAX
from monitor.cells.cohort import day_starts_ms
from monitor.cells.flow_cells import FlowCells
from monitor.cells.label_flow import BLOCK_HOURS, block_ends_ms, flow_edges_ms
from monitor.cells.packing import CELL_SCHEMA
from monitor.cells.plan import CellPlan
from monitor.cells.source_name import SOURCE_MEASURE
from monitor.coverage.loss_watch import LossWatch
from monitor.coverage.source import LabelMemory
from schemas.config.loop import LoopConfig

HOUR_MS = 3_600_000
HOURS = 24
FIRST = date(2024, 1, 1)
HORIZONS = {1: 72, 72: 14 * 24, 720: 120 * 24, 1_440: 240 * 24}
"""By median delay in hours, the horizon in hours."""
WATCHED_DAYS = {1: 60, 72: 60, 720: 200, 1_440: 330}
"""How long a loss is watched, in days: longer than is looked back."""
SPREAD, SPEED, LABELLED = 1.0, 0.35, 0.95
SOURCE_SHARE, SLICE_SHARE = 0.5, 0.2
LOSSES = [(scope, share) for scope in ("source", "slice") for share in (0.3, 0.7)]
NAMES = {"source": "a", "slice": "part=small"}


@dataclass(frozen=True)
class Loss:
    """Whose labels are lost, what share of them, and from which hour on."""

    scope: str
    share: float
    hour: float


@dataclass(frozen=True)
class Run:
    """A loop with its cells; the loss begins on the day `begins`, at `hour` hours after the first day began."""

    watch: LossWatch
    begins: int
    days: int
    hour: float


def main() -> None:
    """Draw, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rate", type=float, default=300, help="predictions a day")
    parser.add_argument("--medians", type=int, nargs="*", choices=list(HORIZONS), default=list(HORIZONS))
    parser.add_argument(
        "--day-speed", type=float, default=0.0, help="log standard deviation of the speed of whole days"
    )
    arguments = parser.parse_args()
    print("| median | lost | found in time | median time to find | last found | faded |")
    print("|---|---|---|---|---|---|")
    healthy = []
    spent, judged = 0.0, 0
    for median in arguments.medians:
        for scope, share in LOSSES:
            found, faded = [], 0
            for seed in range(arguments.seeds):
                run = make_run(median, (scope, share), seed, arguments)
                hours, held = hours_to_find(run, scope)
                found.append(hours)
                faded += hours < np.inf and not held
            limit = max(12, median)
            in_time = sum(one <= limit for one in found)
            print(
                f"| {age(median)} | {share:.0%} of a {scope} | {in_time} of {len(found)} | {age(np.median(found))} "
                f"| {age(max(found))} | {faded} |",
                flush=True,
            )
        told = looked = 0
        for seed in range(arguments.seeds):
            run = make_run(median, None, seed + 1_000, arguments)
            since = time.process_time()
            alarms = [bool(one) for one in evaluations(run)]
            spent, judged = spent + time.process_time() - since, judged + len(alarms)
            told, looked = told + sum(alarms), looked + len(alarms)
        healthy.append(f"{age(median)}: {told / looked:.2%} of {looked:,}")
    print(f"\nFalse, of all times in healthy runs, of five series: {'; '.join(healthy)}")
    print(f"CPU time of a judgement: {spent / max(judged, 1) * 1e3:.1f} ms")


def make_run(median: int, loss: tuple[str, float] | None, seed: int, options: argparse.Namespace) -> Run:
    """Draw a loop."""
    horizon = HORIZONS[median]
    back = max(42, horizon // HOURS, 5 * median // HOURS)
    begins = horizon // HOURS + back + 1
    days = begins + WATCHED_DAYS[median]
    rng = np.random.default_rng([seed, median, 0 if loss is None else round(100 * loss[1]) + len(loss[0])])
    hour = begins * HOURS + (rng.uniform(0, HOURS) if median < HOURS else 0.0)
    lost = None if loss is None else Loss(*loss, hour)
    config = LoopConfig.model_validate(
        {
            "version": 1,
            "loop": "loss",
            "predictions": {"outputs": {"late": {"task": "binary"}}, "slices": ["part"]},
            "labels": {"late": {"definition": "late-1", "horizon": f"{horizon}h", "retain": f"{2 * horizon}h"}},
            "cohorts": {"by": ["version", "part"], "ages": [f"{horizon}h"]},
            "evaluate_at": ["final"],
        }
    )
    plan = CellPlan.from_config(config)
    cells = draw(plan, days * HOURS, (median, options.rate, options.day_speed), lost, rng)
    last = FIRST + timedelta(days=days - 1)
    flows = FlowCells(FrameCells(cells), plan, "late", (FIRST, last))
    return Run(LossWatch(flows, "late", horizon * HOUR_MS, "UTC"), begins, days, hour)


def draw(
    plan: CellPlan, hours: int, traffic: tuple[float, float, float], loss: Loss | None, rng: np.random.Generator
) -> pl.DataFrame:
    """Return the cells of flows, as a fold of the same records would count them."""
    median, rate, day_speed = traffic
    wave = 1 + 0.5 * np.sin(2 * np.pi * np.arange(hours) / HOURS)
    made_in = np.repeat(np.arange(hours), rng.poisson(rate / HOURS * wave))
    count = len(made_in)
    made = made_in + rng.random(count)
    speed = SPEED * rng.standard_normal(hours)[made_in] + day_speed * rng.standard_normal(hours)[made_in // HOURS]
    known = made + median * np.exp(SPREAD * rng.standard_normal(count) + speed)
    is_a, is_small = rng.random(count) < SOURCE_SHARE, rng.random(count) < SLICE_SHARE
    comes = (rng.random(count) < LABELLED) & (known < hours)
    if loss is not None:
        member = is_a if loss.scope == "source" else is_small
        comes &= ~(member & (known >= loss.hour) & (rng.random(count) < loss.share))
    kind = plan.kinds[0]
    block = known[comes].astype(np.int64) % HOURS // 3 if kind.has_hourly_panes else np.zeros(comes.sum(), np.int64)
    ages = np.searchsorted(flow_edges_ms(kind), (known - made)[comes] * HOUR_MS)
    arrived = pl.DataFrame({"day": known[comes].astype(np.int64) // HOURS, "bin": block * AGES_MAX + ages})
    arrived = arrived.with_columns(a=pl.Series(is_a[comes]), small=pl.Series(is_small[comes]))
    day = made_in // HOURS
    hour = made_in % HOURS if kind.has_hourly_panes else np.zeros(count, np.int64)
    predicted = pl.DataFrame({"day": day, "bin": hour, "small": is_small})
    slices = pl.when("small").then(pl.lit("part=small")).otherwise(pl.lit("part=big"))
    sources = SOURCE_MEASURE + pl.when("a").then(pl.lit("a")).otherwise(pl.lit("b"))
    zero, blocks = pl.lit(0, dtype=pl.Int64), predicted.with_columns(pl.col("bin") // BLOCK_HOURS)
    parts = [
        counted(arrived, measure=pl.lit("arrived_block")),
        counted(arrived, measure=pl.lit("arrived_block"), slice=slices),
        counted(arrived, measure=sources),
        counted(predicted, measure=pl.lit("pane_predictions")),
        *(counted(blocks, measure=pl.lit("predicted_block"), slice=one) for one in (pl.lit(""), slices)),
        counted(predicted.with_columns(bin=zero), measure=pl.lit("predictions")),
        counted(predicted.with_columns(bin=zero), measure=pl.lit("predictions"), slice=slices),
    ]
    return pl.concat(parts)


def counted(rows: pl.DataFrame, **columns: pl.Expr) -> pl.DataFrame:
    """Return rows as cells."""
    texts = {
        "version": pl.lit("v1"),
        "slice": pl.lit(""),
        "kind": pl.lit("late"),
        "definition": pl.lit("late-1"),
    } | columns
    cells = rows.with_columns(**texts).group_by("version", "slice", "day", "kind", "definition", "measure", "bin")
    dated = cells.agg(amount=pl.len().cast(pl.Int64)).with_columns(
        day=pl.lit(FIRST).dt.offset_by(pl.format("{}d", "day")).cast(pl.Date)
    )
    return dated.select(pl.col(name).cast(dtype) for name, dtype in CELL_SCHEMA.items())


def instants(run: Run) -> list[int]:
    """Return when the labels are judged from the day on which a loss would begin."""
    days = [FIRST + timedelta(days=number) for number in range(run.begins, run.days)]
    by_block = run.watch.median_ms(days[0]) < HOURS * HOUR_MS
    return block_ends_ms(days, "UTC", run.watch.cells.per_day if by_block else 1).tolist()


def evaluations(run: Run) -> list[list[str]]:
    """Return what is told after each of these times: between two ends of days only what begins changes it."""
    memory = LabelMemory()
    told = []
    for at_ms in instants(run):
        faults = run.watch.faults(at_ms, memory)
        known = {one.subject for one in memory.faults if one.until is None}
        is_end = at_ms % (HOURS * HOUR_MS) == 0
        if is_end or any(one.until is None and one.subject not in known for one in faults):
            memory = LabelMemory(faults=tuple(faults))
        told.append([one.subject for one in memory.faults if one.until is None])
    return told


def hours_to_find(run: Run, scope: str) -> tuple[float, bool]:
    """Return after how many hours the loss is told, infinite if never, and whether it is told to the end."""
    begins_ms = day_starts_ms([FIRST], "UTC")[0] + run.hour * HOUR_MS
    times = [at_ms for at_ms in instants(run) if at_ms > begins_ms]
    told = [NAMES[scope] in each for each in evaluations(run)][-len(times) :]
    if not any(told):
        return np.inf, False
    first = told.index(True)
    return (times[first] - begins_ms) / HOUR_MS, all(told[first:])


def age(hours: npt.ArrayLike) -> str:
    """Return hours or days."""
    value = float(np.asarray(hours))
    if not np.isfinite(value):
        return "never"
    return f"{value:.0f} h" if value < 2 * HOURS else f"{value / HOURS:.0f} d"


if __name__ == "__main__":
    main()
