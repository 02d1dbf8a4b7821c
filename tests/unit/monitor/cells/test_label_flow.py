"""The flow of labels: counted by block and age of all, of slices and of sources, beside the predictions of that age.

Covers `monitor.cells.flow_cells` and, with days that are read when they are asked for, `monitor.cells.cells_by_day`.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    LOCATION,
    OWN,
    Prediction,
    Revision,
    config_of,
    outcomes_frame,
    predictions_frame,
)
from frame_cells import FrameCells

from monitor.cells.flow_cells import FlowCells
from monitor.cells.fold import fold
from monitor.cells.label_flow import LabelFlow, Series, flow_edges_ms
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.source_name import SOURCES_MAX, newest_sources

PLAN = CellPlan.from_config(config_of())
DAYS = 6
ALL_DAYS = date(2013, 3, 8), date(2013, 3, 8) + timedelta(days=DAYS + 32)
"""Clocks go forward on 10 March."""


def drawn(kind: str, seed: int = 1) -> tuple[list[Prediction], list[Revision], list[str | None]]:
    """Return predictions of some days, first labels of most of them, and the labels' sources."""
    rng = np.random.default_rng(seed)
    start_ms = EPOCH_MS - 4 * DAY_MS
    most = PLAN.kind(kind).horizon_ms
    made = [
        Prediction(f"k{number}", int(start_ms + rng.integers(0, DAYS * DAY_MS)), country=str(rng.choice(["DE", "FR"])))
        for number in range(300)
    ]
    status = {"value": None, "value_class": "late"} if kind == "status" else {"value": 1.0}
    labels = [
        Revision(
            one,
            "joined",
            known_at_ms=one.predicted_at_ms + int(rng.integers(0, most)),
            revision=1,
            kind=kind,
            definition=OWN[kind],
            reason="first",
            label_offset=number,
            **status,  # type: ignore[arg-type] # one of two
        )
        for number, one in enumerate(made)
        if rng.random() < 0.8
    ]
    return made, labels, [str(rng.choice(["desk", "card"])) if rng.random() < 0.9 else None for _ in labels]


def cells_of(made: list[Prediction], labels: list[Revision], sources: list[str | None]) -> pl.DataFrame:
    """Return their cells, from two folds."""
    half = len(labels) // 2
    cells = merge(fold(PLAN, predictions_frame(made), outcomes_frame([]), outcomes_frame([])))
    for part in (slice(None, half), slice(half, None)):
        outcomes = outcomes_frame(labels[part]).with_columns(label_source=pl.Series(sources[part], dtype=pl.String))
        plan = PLAN.with_admitted(cells)
        cells = merge(cells, fold(plan, predictions_frame([]), outcomes, outcomes_frame([])))
    return cells


def flow_of(cells: pl.DataFrame, kind: str, series: Series) -> LabelFlow:
    """Return the flow of all days."""
    return FlowCells(FrameCells(cells), PLAN, kind, ALL_DAYS).flow(series, ALL_DAYS)


@pytest.mark.parametrize("kind", ["late", "status"])
@pytest.mark.parametrize(
    "series", [Series("kind", ""), Series("slice", "country=FR"), Series("source", "desk"), Series("source", "labels")]
)
def test_labels_are_counted_in_the_block_in_which_they_came_and_by_their_age(kind: str, series: Series) -> None:
    """As a plain count of the same labels says, also on a day of 23 hours; a label without a source is of `labels`."""
    made, labels, sources = drawn(kind)
    flow = flow_of(cells_of(made, labels, sources), kind, series)
    edges = flow_edges_ms(PLAN.kind(kind))
    wanted = np.zeros_like(flow.arrived)
    for label, source in zip(labels, sources, strict=True):
        is_own = {
            "kind": True,
            "slice": label.prediction.country == "FR",
            "source": (source or "labels") == series.name,
        }[series.scope]
        known = datetime.fromtimestamp(label.known_at_ms / 1_000, UTC).astimezone(ZoneInfo(LOCATION))
        if not is_own:
            continue
        block = int(np.searchsorted(flow.end_ms, label.known_at_ms, side="right"))
        assert (known.date() - ALL_DAYS[0]).days == block // (8 if kind == "late" else 1)
        wanted[block, np.searchsorted(edges, label.known_at_ms - label.prediction.predicted_at_ms)] += 1
    assert wanted.sum() > 10
    assert (flow.arrived == wanted).all()


@pytest.mark.parametrize("kind", ["late", "status"])
@pytest.mark.parametrize("series", [Series("kind", ""), Series("slice", "country=FR"), Series("source", "desk")])
def test_every_prediction_passes_through_every_age_once(kind: str, series: Series) -> None:
    """Those of the slice, of a slice; all, of a source. At age 0 in the block in which it is made."""
    made, labels, sources = drawn(kind)
    cells = cells_of(made, labels, sources)
    flow = flow_of(cells, kind, series)
    own = [one for one in made if series.scope != "slice" or one.country == "FR"]
    assert flow.exposed.sum(axis=0) == pytest.approx(len(own))
    assert (flow.exposed >= -1e-6).all()
    if series.scope != "slice":
        blocks = np.searchsorted(flow.end_ms, [one.predicted_at_ms for one in own], side="right")
        day = datetime(2013, 3, 9, 12, tzinfo=ZoneInfo(LOCATION)).timestamp() * 1_000
        first = int(np.searchsorted(flow.end_ms, day))
        assert flow.exposed[: first + 1, 0].sum() == pytest.approx((blocks <= first).sum(), abs=3)
    part = ALL_DAYS[0] + timedelta(days=3), ALL_DAYS[0] + timedelta(days=5)
    whole = FlowCells(FrameCells(cells), PLAN, kind, ALL_DAYS)
    apart = FlowCells(FrameCells(cells), PLAN, kind, (date(2020, 1, 1), date(2020, 1, 2)))
    assert whole.flow(series, part).exposed == pytest.approx(apart.flow(series, part).exposed, abs=1e-6)


@pytest.mark.parametrize("kind", ["late", "status"])
@pytest.mark.parametrize("series", [Series("kind", ""), Series("slice", "country=FR"), Series("source", "desk")])
@pytest.mark.parametrize("number", [2, 3, 5])
def test_later_records_change_no_block_before_them(kind: str, series: Series, number: int) -> None:
    """The flow up to a block's end is that of a loop that has read nothing later, also on a day of 23 hours."""
    made, labels, sources = drawn(kind)
    whole = flow_of(cells_of(made, labels, sources), kind, series)
    block = 8 * number + 3 if kind == "late" else 4 * number
    at_ms = int(whole.end_ms[block])
    read = [known.known_at_ms < at_ms for known in labels]
    young = cells_of(
        [one for one in made if one.predicted_at_ms < at_ms],
        [one for one, is_read in zip(labels, read, strict=True) if is_read],
        [one for one, is_read in zip(sources, read, strict=True) if is_read],
    )
    then = flow_of(young, kind, series)
    assert then.arrived[: block + 1].sum() > 5
    assert (then.arrived[: block + 1] == whole.arrived[: block + 1]).all()
    assert then.exposed[: block + 1] == pytest.approx(whole.exposed[: block + 1], abs=1e-9)


def test_the_median_delay_is_that_of_the_labels() -> None:
    """To the width of an age."""
    made, labels, sources = drawn("late")
    cells = FlowCells(FrameCells(cells_of(made, labels, sources)), PLAN, "late", ALL_DAYS)
    ages = [label.known_at_ms - label.prediction.predicted_at_ms for label in labels]
    assert cells.median_ms(ALL_DAYS) == pytest.approx(np.median(ages), rel=0.7)
    assert cells.median_ms((date(2020, 1, 1), date(2020, 1, 2))) == 0
    assert cells.predictions("country=FR", ALL_DAYS) == sum(one.country == "FR" for one in made)


def test_so_many_sources_are_counted_separately_the_earliest_first() -> None:
    """Over all kinds; those that are counted already stay."""
    known = {"late": frozenset(f"s{number}" for number in range(SOURCES_MAX - 1))}
    at = datetime(2013, 3, 8, tzinfo=UTC)
    times = [at + timedelta(days=1), at, at]
    arrivals = pl.DataFrame({"kind": ["fare", "late", "late"], "source": ["b", "a", "s1"], "predicted_at": times})
    found = newest_sources(known, arrivals)
    assert found == {"late": known["late"] | {"a"}}
