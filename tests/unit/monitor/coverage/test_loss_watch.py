"""Losses of a source and of a slice: found, told for as long as they last, never learned, and closed."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from cell_cases import OWN
from evaluation_case import plain_config
from frame_cells import FrameCells

from monitor.cells.flow_cells import FlowCells
from monitor.cells.label_flow import flow_edges_ms
from monitor.cells.packing import CELL_SCHEMA
from monitor.cells.plan import CellPlan
from monitor.coverage.lookback import lookback_days, lookback_ms
from monitor.coverage.loss_watch import LossWatch
from monitor.coverage.source import LabelMemory
from schemas.events.evidence import LabelFault

FIRST = date(2013, 3, 4)
START_MS = round(datetime(2013, 3, 4, tzinfo=UTC).timestamp()) * 1_000
DAY_MS = 86_400_000
HORIZON_DAYS = 40
MEDIAN_DAYS = 8
BEGINS = 100
"""Horizon and look back are over."""


def watch_of(days: int, lost: tuple[str, float, *tuple[int, ...]] | None, seed: int = 1) -> LossWatch:
    """Return the watch over 150 predictions a day, two sources and two slices, in cells of flows.

    Args:
        days: that the loop has run.
        lost: whose labels (`desk` or `country=DE`), what share of them, from and before which days they are lost.
        seed: of the random generator.
    """
    labels = {"late": {"definition": OWN["late"], "horizon": f"{HORIZON_DAYS}d", "retain": f"{2 * HORIZON_DAYS}d"}}
    config = plain_config(labels=labels, cohorts={"by": ["version", "country"], "ages": ["1d"]}, timezone="UTC")
    plan = CellPlan.from_config(config)
    rng = np.random.default_rng(seed)
    made = rng.uniform(0, days, 150 * days)
    known = made + MEDIAN_DAYS * np.exp(rng.normal(0, 0.7, len(made)))
    by_desk, in_de = rng.random(len(made)) < 0.5, rng.random(len(made)) < 0.3
    comes = (known < days) & (rng.random(len(made)) < 0.95)
    if lost is not None:
        whose, share, *times = lost
        member = by_desk if whose == "desk" else in_de
        chosen = member & (rng.random(len(made)) < share)
        for begins, ends in zip(times[::2], times[1::2], strict=True):
            comes &= ~(chosen & (known >= begins) & (known < ends))
    ages = np.searchsorted(flow_edges_ms(plan.kind("late")), (known - made) * DAY_MS)
    rows = pl.DataFrame(
        {"made": made.astype(int), "known": known.astype(int), "age": ages, "de": in_de, "desk": by_desk}
    ).with_columns(zero=pl.lit(0, pl.Int64), all=pl.lit(""))
    rows = rows.with_columns(
        country=pl.when("de").then(pl.lit("country=DE")).otherwise(pl.lit("country=FR")),
        source=pl.when("desk").then(pl.lit("arrived_from desk")).otherwise(pl.lit("arrived_from card")),
    )
    came, block, predictions = rows.filter(pl.Series(comes)), pl.lit("arrived_block"), pl.lit("predictions")
    parts = [came.select(measure="source", slice="all", day="known", bin="age")]
    for name in ("all", "country"):
        parts.append(came.select(measure=block, slice=name, day="known", bin="age"))
        parts.append(rows.select(measure=predictions, slice=name, day="made", bin="zero"))
    counted = pl.concat(parts).group_by("measure", "slice", "day", "bin").agg(amount=pl.len())
    cells = counted.with_columns(
        version=pl.lit("v1"), kind=pl.lit("late"), definition=pl.lit(OWN["late"]), day=FIRST + pl.duration(days="day")
    )
    shaped = cells.select(pl.col(name).cast(dtype) for name, dtype in CELL_SCHEMA.items())
    flows = FlowCells(FrameCells(shaped), plan, "late", (FIRST, FIRST + timedelta(days=days - 1)))
    return LossWatch(flows, "late", HORIZON_DAYS * DAY_MS, "UTC")


def lived(watch: LossWatch, days: range, memory: LabelMemory | None = None) -> list[tuple[LabelFault, ...]]:
    """Evaluate days, each with what the one before remembered."""
    found: list[tuple[LabelFault, ...]] = []
    memory = memory or LabelMemory()
    for number in days:
        faults = tuple(watch.faults(START_MS + (number + 1) * DAY_MS, memory))
        memory = LabelMemory(retired_ms=memory.retired_ms, faults=faults)
        found.append(faults)
    return found


def is_open(faults: tuple[LabelFault, ...], subject: str) -> bool:
    """Tell whether a loss of this subject is open."""
    return any(one.subject == subject and one.until is None for one in faults)


@pytest.mark.parametrize("whose", ["desk", "country=DE"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_loss_is_found_within_a_median_delay_and_lasts_longer_than_is_looked_back(whose: str, share: float) -> None:
    """A hundred and twenty days: it never becomes usual. Its share is estimated, and the other source is no suspect."""
    found = lived(watch_of(BEGINS + 120, (whose, share, BEGINS, 999)), range(BEGINS - 20, BEGINS + 120))
    told = [is_open(each, whose) for each in found]
    first = told.index(True)
    assert 20 <= first < 20 + MEDIAN_DAYS
    assert all(told[first:])
    [fault] = [one for one in found[-1] if one.subject == whose]
    assert fault.share == pytest.approx(share, abs=0.1)
    assert whose != "desk" or not any(is_open(each, "card") for each in found)


def test_healthy_labels_are_no_loss() -> None:
    """Three loops of eighty evaluations each, from their first month on."""
    alarms = [bool(each) for seed in range(3) for each in lived(watch_of(110, None, seed), range(30, 110))]
    assert sum(alarms) <= 0.015 * len(alarms)


def test_a_loss_that_is_over_is_closed_and_the_next_one_is_found_as_soon() -> None:
    """What was usual before it still is: its days are left out."""
    watch = watch_of(260, ("desk", 0.5, BEGINS, BEGINS + 60))
    found = lived(watch, range(BEGINS - 5, BEGINS + 70))
    [over] = [one for one in found[-1] if one.subject == "desk"]
    assert over.until is not None
    days = [(at_ms - START_MS) / DAY_MS for at_ms in (over.since, over.until)]
    assert days == pytest.approx([BEGINS, BEGINS + 60], abs=4)
    again = watch_of(260, ("desk", 0.5, BEGINS + 75, 999))
    next_days = lived(again, range(BEGINS + 70, BEGINS + 85), LabelMemory(faults=found[-1]))
    told = [is_open(each, "desk") for each in next_days]
    assert 5 <= told.index(True) <= 5 + MEDIAN_DAYS


def test_short_losses_end_one_by_one_and_the_one_that_lasts_is_told() -> None:
    """Storms of a day: each is over within three days, also if few labels come on the first day after it."""
    storms = (BEGINS, BEGINS + 1, BEGINS + 12, BEGINS + 13, BEGINS + 24, BEGINS + 25)
    found = lived(watch_of(BEGINS + 70, ("desk", 0.8, *storms, BEGINS + 36, 999)), range(BEGINS - 1, BEGINS + 60))
    told = {number - 1 for number, each in enumerate(found) if is_open(each, "desk")}
    assert 0 in told
    assert not {-1, 3, 8, 11, 15, 20, 23, 27, 30, 35} & told
    assert {40, 50, 58} <= told


def test_a_retired_source_ends_the_losses_it_explains() -> None:
    """Evaluations after it learn what is usual anew: for three weeks nothing is told, whatever is missing."""
    watch = watch_of(BEGINS + 60, ("desk", 1.0, BEGINS, 999))
    before = lived(watch, range(BEGINS, BEGINS + 10))
    assert is_open(before[-1], "late")
    memory = LabelMemory(retired_ms={"desk": START_MS + BEGINS * DAY_MS})
    after = lived(watch, range(BEGINS + 10, BEGINS + 60), memory)
    assert not any(after)


def test_how_far_is_looked_back_scales_with_the_delay() -> None:
    """42 days, the horizon, or five median delays."""
    cases = {(1, 0): 42, (50, 0): 50, (50, 20): 100}
    assert {(days, median): lookback_days(days * DAY_MS, median * DAY_MS) for days, median in cases} == cases
    assert lookback_ms(DAY_MS) == 42 * DAY_MS
