"""Cells are an abelian group: cells of parts sum to those of the whole, to the bit, and equal a row-by-row count.

Tests monitor.cells.codebook, monitor.cells.count_predictions and monitor.cells.count_outcomes through `fold`.
"""

from dataclasses import dataclass
from random import Random

import polars as pl
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    OWN,
    Prediction,
    Revision,
    as_counter,
    config_of,
    count_row_by_row,
    outcomes_frame,
    predictions_frame,
)
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.summary import CellSummary, summarise

PLAN = CellPlan.from_config(config_of())

OUTPUTS = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.3, float("nan"), float("inf"), 1.5, -0.1]))
NUMBERS = st.one_of(
    st.floats(-1e10, 1e10),
    st.floats(-2, 2),
    st.sampled_from([None, 0.0, -1.5, 12.25, 2.0**30, -1e13, 1.7e308, -1.7e308, 5e-324, float("nan"), float("-inf")]),
)
TRUTHS = {
    "late": st.tuples(st.sampled_from([0.0, 1.0, 1.0, 7.0]), st.none()),
    "fare": st.tuples(NUMBERS, st.none()),
    "status": st.tuples(st.none(), st.sampled_from(["landed", "late", "cancelled", None])),
}
AGES_MS = st.one_of(
    st.integers(-HOUR_MS, 20 * DAY_MS), st.sampled_from([-1, 0, 1, 60_000, HOUR_MS, DAY_MS, DAY_MS + 1])
)


@dataclass(frozen=True)
class History:
    """Predictions and revisions, each with the number of its fold."""

    predictions: list[tuple[int, Prediction]]
    revisions: list[tuple[int, Revision]]


@st.composite
def histories(draw: st.DrawFn, folds: int = 3) -> History:
    """Draw chains of several kinds and definitions, with labels, timeouts, corrections, retractions."""
    predictions, revisions = [], []
    for number in range(draw(st.integers(0, 6))):
        prediction = Prediction(
            key=f"k{number}",
            predicted_at_ms=EPOCH_MS + draw(st.integers(-4 * DAY_MS, 4 * DAY_MS)),
            version=draw(st.sampled_from(["v1", "v2"])),
            eligible=draw(st.sampled_from([True, True, True, False])),
            output=draw(OUTPUTS),
            country=draw(st.sampled_from(["DE", "FR", None])),
            fare=draw(NUMBERS),
            predicted_class=draw(st.sampled_from(["landed", "late", None])),
            amount=draw(st.sampled_from([None, 0.0, 55.5, 100.0, 1e9, float("nan")])),
        )
        first_fold = draw(st.integers(0, folds - 1))
        predictions.append((first_fold, prediction))
        chains = st.lists(
            st.tuples(st.sampled_from(sorted(OWN)), st.sampled_from(["own", "other"])),
            unique=True,
            max_size=3,
        )
        for kind, whose in draw(chains):
            fold_number, definition = first_fold, OWN[kind] if whose == "own" else f"{kind}-other"
            for revision in range(draw(st.integers(1, 5))):
                fold_number = draw(st.integers(fold_number, folds - 1))
                status = draw(st.sampled_from(["joined", "joined", "implied", "expired", "retracted"]))
                value = draw(st.sampled_from([0.0, 1.0, 1.0, 7.0])) if status in ("joined", "implied") else None
                known_at_ms = prediction.predicted_at_ms + draw(AGES_MS)
                one = Revision(prediction, status, value, known_at_ms, revision * 3, kind, definition)
                revisions.append((fold_number, one))
    return History(predictions, revisions)


@settings(max_examples=examples(100), deadline=None)
@given(history=histories())
def test_one_fold_equals_a_row_by_row_count(history: History) -> None:
    """The oracle works without folds, signs or frames; another definition is not of record, and not counted."""
    predictions = [one for _, one in history.predictions]
    revisions = [one for _, one in history.revisions]
    cells = fold(PLAN, predictions_frame(predictions), outcomes_frame(revisions), outcomes_frame([]))
    own = [one for one in revisions if one.definition == OWN[one.kind]]
    assert as_counter(cells) == count_row_by_row(PLAN, predictions, own)


@settings(max_examples=examples(100), deadline=None)
@given(history=histories(), order=st.randoms(use_true_random=False))
def test_folds_in_sequence_sum_to_one_fold_of_everything_bit_for_bit(history: History, order: Random) -> None:
    """However rows are divided into folds, and whatever their order within each."""
    total = merge()
    for number in range(3):
        predictions = [one for fold_number, one in history.predictions if fold_number == number]
        revisions = [one for fold_number, one in history.revisions if fold_number == number]
        revised = {one.chain for one in revisions}
        earlier = [one for fold_number, one in history.revisions if fold_number < number and one.chain in revised]
        for rows in (predictions, revisions, earlier):
            order.shuffle(rows)
        plan = PLAN.with_admitted(total)
        grown = fold(plan, predictions_frame(predictions), outcomes_frame(revisions), outcomes_frame(earlier))
        total = merge(total, grown)
    whole = fold(
        PLAN,
        predictions_frame([one for _, one in history.predictions]),
        outcomes_frame([one for _, one in history.revisions]),
        outcomes_frame([]),
    )
    assert_frame_equal(total, whole, check_exact=True)


@settings(max_examples=examples(100), deadline=None)
@given(history=histories(folds=1), sides=st.lists(st.booleans(), min_size=6, max_size=6))
def test_cells_of_partitions_sum_in_any_order(history: History, sides: list[bool]) -> None:
    """A key is in one partition, so partitions can be folded separately: merging commutes."""
    parts = []
    for side in (True, False):
        keys = {f"k{number}" for number, chosen in enumerate(sides) if chosen is side}
        predictions = predictions_frame([one for _, one in history.predictions if one.key in keys])
        revisions = [one for _, one in history.revisions if one.prediction.key in keys]
        parts.append(fold(PLAN, predictions, outcomes_frame(revisions), outcomes_frame([])))
    whole = fold(
        PLAN,
        predictions_frame([one for _, one in history.predictions]),
        outcomes_frame([one for _, one in history.revisions]),
        outcomes_frame([]),
    )
    assert_frame_equal(merge(*parts), whole, check_exact=True)
    assert_frame_equal(merge(*reversed(parts)), whole, check_exact=True)


@settings(max_examples=examples(100), deadline=None)
@given(history=histories(folds=1))
def test_every_cell_has_an_inverse(history: History) -> None:
    """Adding the negative of a cell leaves no row, not even a zero."""
    cells = fold(
        PLAN,
        predictions_frame([one for _, one in history.predictions]),
        outcomes_frame([one for _, one in history.revisions]),
        outcomes_frame([]),
    )
    assert merge(cells, cells.with_columns(-pl.col("amount"))).is_empty()


@settings(max_examples=examples(100), deadline=None)
@given(history=histories())
def test_a_summary_is_a_sum_and_says_what_all_cells_say(history: History) -> None:
    """Which values, classes and sources have cells, and how many predictions were made: folds need no other cells."""
    total, summary = merge(), CellSummary()
    for number in range(3):
        predictions = [one for fold_number, one in history.predictions if fold_number == number]
        revisions = [one for fold_number, one in history.revisions if fold_number == number]
        revised = {one.chain for one in revisions}
        earlier = [one for fold_number, one in history.revisions if fold_number < number and one.chain in revised]
        versions = {one.version for one in predictions} | {one.prediction.version for one in revisions}
        plan = PLAN.with_admitted(summary.of_versions(versions))
        grown = fold(plan, predictions_frame(predictions), outcomes_frame(revisions), outcomes_frame(earlier))
        total, summary = merge(total, grown), summary.plus(summarise(grown))
    assert_frame_equal(merge(summary.of_versions(["v1", "v2"])), summarise(total), check_exact=True)
    assert PLAN.with_admitted(summarise(total)) == PLAN.with_admitted(total)
    for kind in PLAN.kinds:
        is_counted = (pl.col("kind") == kind.name) & (pl.col("slice") == "") & (pl.col("measure") == "predictions")
        counted = total.filter(is_counted).select("version", "day", "amount")
        assert_frame_equal(summary.predictions(kind.name).sort("version", "day"), counted.sort("version", "day"))
        arrived = pl.col("measure").is_in(["arrived", "arrived_corrected"]) & (pl.col("definition") == kind.definition)
        days = total.filter(is_counted | (arrived & (pl.col("kind") == kind.name)))["day"]
        assert summary.days(kind.name, kind.definition) == (None if days.is_empty() else (days.min(), days.max()))
    assert summary.slices == sorted(set(total["slice"]) - {""})
