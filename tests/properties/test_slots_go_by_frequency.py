"""Slots of slice values go by frequency, and are the same however predictions are divided into folds.

Tests monitor.cells.slots and monitor.cells.slot_admission through `fold`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    LOCATION,
    Prediction,
    Revision,
    config_of,
    outcomes_frame,
    predictions_frame,
)
from effort import some
from polars.testing import assert_frame_equal

from monitor.cells.fold import fold
from monitor.cells.packing import CELL_SCHEMA, merge
from monitor.cells.plan import CellPlan
from monitor.cells.readers import CellReaders
from monitor.cells.slots import SLOTS_MAX, count_values
from monitor.cells.summary import CellSummary, summarise

PLAN = CellPlan.from_config(config_of())
NONE = outcomes_frame([])
VALUES = 220
KEPT_RANK = 150


@dataclass(frozen=True)
class Row:
    """A prediction, when it arrived, and the label it gets later."""

    prediction: Prediction
    arrived_ms: int
    revision: Revision

    @property
    def day(self) -> date:
        """Of the prediction, in the loop's time zone."""
        made = datetime.fromtimestamp(self.prediction.predicted_at_ms / 1000, UTC)
        return made.astimezone(ZoneInfo(LOCATION)).date()

    @property
    def is_on_time(self) -> bool:
        """Whether it arrived within six hours of its day."""
        end = datetime.combine(self.day + timedelta(days=1), datetime.min.time(), ZoneInfo(LOCATION))
        return self.arrived_ms < end.timestamp() * 1000 + 6 * HOUR_MS


def days_of_rows(seed: int, days: int) -> list[list[Row]]:
    """Return rows in the order in which they are read, day by day; late ones are read with a later day's."""
    random = np.random.default_rng(seed)
    share = 1 / np.arange(1, VALUES + 1) ** 0.8
    read = [list[Row]() for _ in range(days)]
    for number in range(days):
        shift = number // 4 * 17
        few = SLOTS_MAX - 5 if number < seed % 3 else VALUES
        for index in range(int(random.integers(60, 160))):
            value = (random.choice(VALUES, p=share / share.sum()) + shift) % few
            made_ms = EPOCH_MS + number * DAY_MS + int(random.integers(-6, 6)) * HOUR_MS
            is_late = number > 3 and random.random() < 0.05
            late_days = int(random.integers(1, 4)) if is_late else 0
            one = Prediction(f"{number}-{index}", made_ms, country=f"c{value}", eligible=bool(random.random() < 0.9))
            labelled = Revision(one, "joined", float(random.integers(2)), made_ms + HOUR_MS, 1)
            row = Row(one, made_ms + late_days * DAY_MS + 8 * HOUR_MS * is_late, labelled)
            read[min(number + late_days, days - 1)].append(row)
    return read


def frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows in the lake's columns."""
    arrived = pl.Series("arrived_at", [row.arrived_ms for row in rows], pl.Int64).cast(pl.Datetime("ms", "UTC"))
    made = [replace(row.prediction) for row in rows]
    return predictions_frame(made).with_columns(arrived.cast(pl.Datetime("us", "UTC")))


def folded(folds: Sequence[tuple[list[Row], list[Row]]]) -> pl.DataFrame:
    """Return the cells after folds of (predictions, labels), each continuing from the summary of those before."""
    total, summary, read = CELL_SCHEMA.to_frame(), CellSummary(), list[Row]()
    for rows, labelled in folds:
        read += rows
        lake = frame_of(read)

        def values(name: str, first: date, last: date, lake: pl.DataFrame = lake) -> pl.DataFrame:
            return count_values(lake.lazy(), name, LOCATION, first, last)

        of_all = CellReaders.of_cells(total)
        plan = PLAN.with_admitted(summary.of_versions(["v1"]), replace(of_all, values=values))
        outcomes = outcomes_frame([row.revision for row in labelled])
        grown = fold(plan, frame_of(rows).drop("arrived_at"), outcomes, NONE)
        total, summary = merge(total, grown), summary.plus(summarise(grown))
    assert_frame_equal(merge(summary.of_versions(["v1"])), summarise(total), check_exact=True)
    return total


def slots_by_hand(rows: Sequence[Row]) -> dict[date, set[str]]:
    """Return the slots of each day as the specification says, from all rows at once."""
    first: dict[str, date] = {}
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for row in rows:
        value = row.prediction.country or ""
        first[value] = min(row.day, first.get(value, row.day))
        if row.is_on_time and row.prediction.eligible:
            counts[row.day][value] += 1
    days = [min(first.values()) + timedelta(days=number) for number in range(60)]
    ranked_from = next(day for day in days if sum(since <= day for since in first.values()) > SLOTS_MAX)
    held, slots = {value for value, since in first.items() if since < ranked_from}, dict[date, set[str]]()
    for day in days:
        if day < ranked_from + timedelta(days=2):
            slots[day] = held
            continue
        window: Counter[str] = Counter()
        for back in range(2, 9):
            window += counts[day - timedelta(days=back)]
        order = sorted(window, key=lambda value: (-window[value], value))[:KEPT_RANK]
        if order:
            kept = [value for value in order if value in held]
            held = {*kept, *[value for value in order if value not in held][: SLOTS_MAX - len(kept)]}
        slots[day] = held
    return slots


def in_parts(rows: Sequence[Row], order: Random) -> Iterator[list[Row]]:
    """Yield rows in some order, in three parts of some sizes."""
    mixed = order.sample(rows, len(rows))
    one, two = sorted(order.choices(range(len(rows)), k=2))
    yield from (mixed[:one], mixed[one:two], mixed[two:])


@pytest.mark.parametrize("seed", some(*range(30), at_least=3))
def test_slots_are_those_of_the_specification_however_rows_are_folded(seed: int) -> None:
    """Cells are equal to the bit, labels come days later, and each row is in the slice that its day gives it."""
    read, order = days_of_rows(seed, 13), Random(seed)
    rows = [row for part in read for row in part]
    whole = folded([(rows, rows)])
    slots = slots_by_hand(rows)
    wanted = Counter(
        (row.day, f"country={row.prediction.country}" if row.prediction.country in slots[row.day] else "country=*other")
        for row in rows
        if row.prediction.eligible
    )
    made = whole.filter(pl.col("kind") == "late", pl.col("measure") == "predictions", pl.col("slice") != "")
    assert {(day, text): amount for day, text, amount in made.select("day", "slice", "amount").iter_rows()} == wanted
    assert any(text.endswith("other") for _, text in wanted)
    folds = [(part, waiting) for number, rows in enumerate(read) for part, waiting in _folds(rows, read, number, order)]
    folds.append(([], [row for part in read[-3:] for row in part]))
    assert_frame_equal(folded(folds), whole, check_exact=True)


def _folds(
    rows: Sequence[Row], read: Sequence[list[Row]], number: int, order: Random
) -> Iterator[tuple[list[Row], list[Row]]]:
    """Yield a day's rows in parts, the last one with the labels of what was read three days before."""
    for part in in_parts(rows, order):
        yield part, []
    yield [], read[number - 3] if number >= 3 else []


def test_half_of_the_rows_have_a_slot_of_their_own_where_best_is_a_little_more() -> None:
    """The n-th of 1,000 values has a frequency of n to the -0.8: the first hundred have 52.6 % of the rows."""
    random = np.random.default_rng(7)
    share = 1 / np.arange(1, 1_001) ** 0.8
    total, summary, lake = CELL_SCHEMA.to_frame(), CellSummary(), frame_of([])
    template = frame_of([Row(Prediction("k"), EPOCH_MS, Revision(Prediction("k"), "joined", 1.0, EPOCH_MS, 1))])
    for number in range(12):
        values = random.choice(1_000, 3_000, p=share / share.sum())
        moment = pl.lit(datetime.fromtimestamp(EPOCH_MS / 1000, UTC) + timedelta(days=number), pl.Datetime("us", "UTC"))
        rows = template.select(pl.all().repeat_by(len(values)).explode()).with_columns(
            slice_country=pl.Series([f"c{value}" for value in values]), predicted_at=moment, arrived_at=moment
        )
        lake = pl.concat([lake, rows])

        def counts(name: str, first: date, last: date, lake: pl.DataFrame = lake) -> pl.DataFrame:
            return count_values(lake.lazy(), name, LOCATION, first, last)

        readers = replace(CellReaders.of_cells(total), values=counts)
        grown = fold(PLAN.with_admitted(summary.of_versions(["v1"]), readers), rows.drop("arrived_at"), NONE, NONE)
        total, summary = merge(total, grown), summary.plus(summarise(grown))
    made = total.filter(
        pl.col("kind") == "late", pl.col("measure") == "predictions", pl.col("day") >= date(2013, 3, 19)
    )
    other = made.filter(pl.col("slice") == "country=*other")["amount"].sum()
    assert other / made.filter(pl.col("slice") == "")["amount"].sum() < 0.5
    assert made.filter(pl.col("slice") != "").group_by("day").len()["len"].max() == SLOTS_MAX + 1
