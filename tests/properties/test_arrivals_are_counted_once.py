"""Arrivals do not depend on the division into folds, and equal a row-by-row count."""

from collections import Counter
from datetime import UTC, datetime
from random import Random
from zoneinfo import ZoneInfo

import polars as pl
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    LOCATION,
    OWN,
    Prediction,
    Revision,
    config_of,
    outcomes_frame,
    predictions_frame,
)
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from monitor.cells.fold import fold
from monitor.cells.label_flow import BLOCK_HOURS, flow_edges_ms
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan

PLAN = CellPlan.from_config(config_of())
EDGES_MS = {kind.name: kind.age_edges_ms for kind in PLAN.kinds}
FLOW_EDGES_MS = {kind.name: flow_edges_ms(kind) for kind in PLAN.kinds}
FIRST = ("first", "late", "early")
EVENTS = st.tuples(
    st.integers(0, 2),
    st.sampled_from([*FIRST, "correction", "correction", "retraction", "timeout"]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 1.0]),
    st.one_of(st.integers(-HOUR_MS, 9 * DAY_MS), st.sampled_from([0, 1, HOUR_MS, HOUR_MS + 1])),
)


@st.composite
def arriving(draw: st.DrawFn) -> list[tuple[int, Revision]]:
    """Draw revisions, each with the number of its fold."""
    found = []
    for number in range(draw(st.integers(0, 5))):
        # around the day on which New York's clocks go forward
        made = Prediction(f"k{number}", EPOCH_MS + draw(st.integers(-5 * DAY_MS, 5 * DAY_MS)))
        made = Prediction(made.key, made.predicted_at_ms, draw(st.sampled_from(["v1", "v2"])), draw(st.booleans()))
        fold_number, definition = 0, draw(st.sampled_from([OWN["late"], "another"]))
        for revision, (later, reason, value, before, age_ms) in enumerate(draw(st.lists(EVENTS, max_size=4))):
            fold_number = min(fold_number + later, 2)
            status = {"retraction": "retracted", "timeout": "expired"}.get(reason, "joined")
            one = Revision(
                made,
                status,
                value if status == "joined" else None,
                made.predicted_at_ms + age_ms,
                revision,
                definition=definition,
                reason=reason,
                label_offset=None if reason == "timeout" else revision,
                previous=("joined", before),
            )
            found.append((fold_number, one))
    return found


def arrived(cells: pl.DataFrame) -> pl.DataFrame:
    """Return the cells of arrivals."""
    return cells.filter(pl.col("measure").str.starts_with("arrived"))


def counted_row_by_row(revisions: list[Revision]) -> Counter[tuple[object, ...]]:
    """Count arrivals one row at a time."""
    cells: Counter[tuple[object, ...]] = Counter()
    for one in revisions:
        is_changed = one.reason == "retraction" or (one.reason == "correction" and one.value != one.previous[1])
        if not one.prediction.eligible or one.label_offset is None or not (one.reason in FIRST or is_changed):
            continue
        known = datetime.fromtimestamp(one.known_at_ms / 1_000, UTC).astimezone(ZoneInfo(LOCATION))
        midnight = datetime(known.year, known.month, known.day, tzinfo=ZoneInfo(LOCATION)).timestamp() * 1_000
        bin_ = int((one.known_at_ms - midnight) // HOUR_MS)
        measure = "arrived_corrected" if is_changed else "arrived"
        if not is_changed:
            age_ms = one.known_at_ms - one.prediction.predicted_at_ms
            bin_ = bin_ * 4096 + sum(edge < age_ms for edge in EDGES_MS[one.kind])
        cells[one.prediction.version, "", known.date(), one.kind, one.definition, measure, bin_] += 1
        if not is_changed and one.definition == OWN[one.kind]:
            block = min(int((one.known_at_ms - midnight) // HOUR_MS) // BLOCK_HOURS, 7)
            flow_bin = block * 4096 + sum(edge < age_ms for edge in FLOW_EDGES_MS[one.kind])
            for slice_, name in (("", "arrived_block"), ("country=DE", "arrived_block"), ("", "arrived_from labels")):
                cells[one.prediction.version, slice_, known.date(), one.kind, one.definition, name, flow_bin] += 1
    return cells


@settings(max_examples=examples(200), deadline=None)
@given(rows=arriving(), order=st.randoms(use_true_random=False))
def test_arrivals_are_the_same_for_any_division_into_folds(rows: list[tuple[int, Revision]], order: Random) -> None:
    """Each is counted in its own fold, whatever is in the folds before and after."""
    predictions = predictions_frame({one.prediction.key: one.prediction for _, one in rows}.values())
    every = [one for _, one in rows]
    whole = arrived(fold(PLAN, predictions, outcomes_frame(every), outcomes_frame([])))
    total = merge()
    for number in range(3):
        new = [one for fold_number, one in rows if fold_number == number]
        chains = {one.chain for one in new}
        earlier = [one for fold_number, one in rows if fold_number < number and one.chain in chains]
        order.shuffle(new)
        made = predictions if number == 1 else predictions.clear()
        total = merge(total, fold(PLAN.with_admitted(total), made, outcomes_frame(new), outcomes_frame(earlier)))
    assert_frame_equal(arrived(total), whole, check_exact=True)
    assert {row[:-1]: row[-1] for row in whole.iter_rows()} == counted_row_by_row(every)
