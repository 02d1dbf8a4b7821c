"""Gives slots to the slice values of new rows, and moves cells where a slice name gets too many values."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import partial

import polars as pl

from monitor.cells.cohort import cohort_day, slice_texts
from monitor.cells.packing import CELL_SCHEMA, merge
from monitor.cells.plan import CellPlan
from monitor.cells.slots import SLOTS_MAX, Slots, entries_between, is_slot

__all__ = ["with_slots"]

_IS_OF_PREDICTIONS = pl.col("measure").is_in(["predictions", "ineligible"])


def with_slots(plan: CellPlan, predictions: pl.DataFrame, outcomes: pl.DataFrame) -> tuple[CellPlan, pl.DataFrame]:
    """Return a plan with the slots of the values and days of new rows, and the cells that this adds.

    These are the entries that keep the slots; and where a slice name gets too many values, the cells of those that lose
    their slot, moved: they are counted as other values from then on.

    Args:
        plan: with the slots so far.
        predictions: new ones, in the lake's columns.
        outcomes: new revisions, in the same columns.
    """
    slots, added = dict[str, Slots](), [CELL_SCHEMA.to_frame()]
    made = predictions.filter("eligible").select(cohort_day(plan.timezone).max()).item()
    for name in plan.slices:
        before = plan.slots.get(name, Slots())
        after = before if before.ranked_from is not None else _with_values(plan, name, before, [predictions, outcomes])
        if lost := sorted(before.values - after.values):
            added.append(_moved_to_other(plan, name, lost))
        slots[name] = after if made is None else after.decided_until(made, partial(plan.readers.values, name))
    return replace(plan, slots=slots), merge(*added, entries_between(plan.slots, slots))


def _with_values(plan: CellPlan, name: str, slots: Slots, frames: Sequence[pl.DataFrame]) -> Slots:
    """Return the slots of a slice name of which each value has had one, with the values of new rows."""
    value, day = pl.col(f"slice_{name}").cast(pl.String).alias("value"), cohort_day(plan.timezone).alias("day")
    rows = pl.concat(frame.select(value, day) for frame in frames).drop_nulls("value")
    new = dict(rows.group_by("value").agg(pl.col("day").min()).iter_rows())
    values = slots.values.union(new)
    if len(values) <= SLOTS_MAX:
        return replace(slots, values=values)
    first = _first_days(plan, name, slots)
    return slots.ranked({one: min(new.get(one, date.max), first.get(one, date.max)) for one in values})


def _first_days(plan: CellPlan, name: str, slots: Slots) -> dict[str, date]:
    """Return the first day of prediction of each value that has cells."""
    values = sorted(slots.values)
    texts, _, _ = slice_texts(name, values)
    cells = plan.readers.of_slices(texts, _IS_OF_PREDICTIONS)
    days = dict(cells.group_by("slice").agg(pl.col("day").min()).iter_rows())
    return {value: days[text] for value, text in zip(values, texts, strict=True) if text in days}


def _moved_to_other(plan: CellPlan, name: str, values: Sequence[str]) -> pl.DataFrame:
    """Return the cells to add, so that cells of some values are counted as other values instead."""
    texts, _, other = slice_texts(name, values)
    cells = plan.readers.of_slices(texts, ~is_slot())
    return merge(cells.with_columns(-pl.col("amount")), cells.with_columns(pl.lit(other).alias("slice")))
