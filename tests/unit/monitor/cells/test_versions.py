"""Which versions exist, and which of them runs."""

from datetime import date, timedelta

import polars as pl
import pytest
from frame_cells import FrameCells

from monitor.cells.packing import CELL_SCHEMA
from monitor.cells.versions import running_version, versions_in

FIRST = date(2013, 3, 12)


def counts_of(*rows: tuple[str, int, int]) -> pl.DataFrame:
    """Return counts of (version, number of the day, predictions)."""
    named = [(version, FIRST + timedelta(days=day), amount) for version, day, amount in rows]
    return pl.DataFrame(named, schema={"version": pl.String, "day": pl.Date, "amount": pl.Int64}, orient="row")


@pytest.mark.parametrize(
    ("rows", "running"),
    [
        ([("v1", 0, 100)], "v1"),
        ([("v1", 0, 100), ("v2", 1, 100)], "v2"),
        ([("v1", 0, 100), ("v1", 1, 100), ("v2", 1, 90)], "v2"),
        ([("v1", 0, 100), ("v1", 1, 100), ("v2", 1, 89)], "v1"),
        ([("v1", 0, 100), ("v2", 0, 100), ("v1", 1, 100)], "v1"),
        ([("v2", 0, 100), ("v1", 1, 100), ("v2", 1, 100)], "v1"),
        ([("v2", 0, 50), ("v1", 0, 50)], "v1"),
        ([("v1", 0, 1_000), ("v1", 1, 5), ("v2", 1, 9)], "v2"),
        ([("v1", 0, 100), ("v2", 1, 100), ("v1", 2, 100)], "v1"),
    ],
)
def test_the_newest_of_the_busiest_versions_of_the_last_day_runs(
    rows: list[tuple[str, int, int]], running: str
) -> None:
    """A share of 90 % is enough; a canary does not run; ties go by name; a roll-back is recognised."""
    counts = counts_of(*rows)
    assert running_version(counts) == running
    assert running_version(counts.reverse()) == running


def test_without_predictions_nothing_runs() -> None:
    """There is no running version before the first prediction."""
    assert running_version(counts_of()) is None
    assert versions_in(counts_of()) == []


def test_versions_are_in_the_order_of_their_first_predictions() -> None:
    """Versions of the same day are sorted by name."""
    assert versions_in(counts_of(("b", 1, 1), ("z", 0, 1), ("a", 1, 1), ("z", 9, 5))) == ["z", "a", "b"]


def test_only_eligible_predictions_of_the_kind_up_to_the_day_count() -> None:
    """Other measures, kinds, slices, days and zero amounts are left out."""
    usual = {"version": "v1", "slice": "", "day": FIRST, "kind": "late", "definition": "d", "measure": "predictions"}
    changes: list[dict[str, object]] = [
        {},
        {"version": "ineligible", "measure": "ineligible"},
        {"version": "labels", "measure": "labels"},
        {"version": "other kind", "kind": "fare"},
        {"version": "slice", "slice": "country=DE"},
        {"version": "later", "day": FIRST + timedelta(days=1)},
        {"version": "none", "amount": 0},
    ]
    cells = pl.DataFrame([{**usual, "bin": 0, "amount": 3, **change} for change in changes], schema=CELL_SCHEMA)
    assert FrameCells(cells).summary.predictions("late", FIRST).rows() == [("v1", FIRST, 3)]
