"""Counts the outcomes of one kind: labels by age, how the model did with them, and what has closed without one.

This module must not fold, nor look at predictions.
"""

from collections.abc import Iterator, Sequence

import polars as pl

from monitor.cells.bins import AGES_MAX, BEYOND_MS, SCORE_BINS
from monitor.cells.codebook import Codebook
from monitor.cells.packing import sums
from monitor.cells.pane import PANES_MAX
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.revisions import FINAL, LABELLED, revised_column
from monitor.cells.scoring import Scoring, is_probability, score_bin, scored
from schemas.base.status import Status

__all__ = ["aged", "outcome_parts"]

_STATES = ("labels", Status.EXPIRED.value, Status.RETRACTED.value)
_SCORED = "labelled_scored"


def aged(measure: str, age_ms: int | None) -> str:
    """Return the measure that counts the same for labels first known by an age; None stands for all labels."""
    if age_ms is None:
        return measure
    name, space, rest = measure.partition(" ")
    return f"{name}@{age_ms}{space}{rest}"


def outcome_parts(plan: CellPlan, book: Codebook, kind: KindPlan, states: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Count the states of one kind, each `sign` times.

    Args:
        plan: with the slices and classes that are told apart.
        book: that the rows are coded with.
        kind: of all rows.
        states: coded rows of `states_of`.
    """
    age_us = (pl.col("first_known_at") - pl.col("predicted_at")).dt.total_microseconds()
    closed = [pl.col("status") == status for status in _STATES[1:]]
    state = pl.when(LABELLED).then(0).when(closed[0]).then(1).when(closed[1]).then(2)
    columns = ["version", "day", "definition", "pane", "sign", "value", "value_class", "output", "output_class"]
    columns += [f"slice_{name}" for name in plan.slices]
    columns += [revised_column(FINAL), *(revised_column(age) for age in kind.evaluate_at_ms)]
    rows = states.select(
        *columns,
        state=state,
        edge=_place(kind.age_edges_ms, age_us).fill_null(0),
        passed=_place(kind.evaluate_at_ms, age_us).fill_null(0),
        is_early=age_us < 0,
    ).filter(pl.col("state").is_not_null())
    yield from _by_state(plan, book, kind, rows)
    yield from _revised(plan, book, kind, rows)
    scoring = scored(plan, kind, rows.filter(pl.col("state") == 0))
    yield from _by_point(plan, book, kind, scoring)
    yield from _by_pane(book, kind, rows, scoring)


def _by_state(plan: CellPlan, book: Codebook, kind: KindPlan, rows: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Count labels by age, early ones, expired and retracted outcomes."""
    ages = len(kind.age_edges_ms)
    age = pl.when(pl.col("state") == 0, "is_early").then(ages).when(pl.col("state") == 0).then("edge").otherwise(0)
    keys = book.sizes | {"state": len(_STATES), "age": ages + 1}
    table = book.table(rows.with_columns(age=age), keys, ["sign"], plan.slices)
    labels = table.filter(pl.col("state") == 0).with_columns(
        order=pl.when(pl.col("age") == ages).then(0).otherwise("age")
    )
    edges = pl.lit(pl.Series(kind.age_edges_ms, dtype=pl.Int64))
    by_edge = sums(labels, _cohort(book) | {"order": ages}, ["sign"])
    yield _part(book, kind, by_edge.with_columns(bin=edges.gather(pl.col("order")), measure=book.measure("labels")))
    early = labels.filter(pl.col("age") == ages).drop("order")
    yield _part(book, kind, early.with_columns(measure=book.measure("early")))
    for place, name in enumerate(_STATES[1:], start=1):
        closed = table.filter(pl.col("state") == place)
        yield _part(book, kind, closed.with_columns(measure=book.measure(name)))


def _revised(plan: CellPlan, book: Codebook, kind: KindPlan, rows: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Count what changed after it was settled."""
    names = {revised_column(FINAL): None, **{revised_column(age): age for age in kind.evaluate_at_ms}}
    changed = rows.filter(pl.any_horizontal(pl.col(name) != 0 for name in names))
    if changed.is_empty():
        return
    signed = changed.with_columns(pl.col(name) * pl.col("sign") for name in names)
    table = book.table(signed, book.sizes, list(names), plan.slices)
    for name, age_ms in names.items():
        measure = book.measure(aged("revised", age_ms))
        yield _part(book, kind, table.with_columns(sign=pl.col(name), measure=measure))


def _by_point(plan: CellPlan, book: Codebook, kind: KindPlan, scoring: Scoring) -> Iterator[pl.LazyFrame]:
    """Count scored labels by point and sum their losses: all of them, and those known by each age."""
    if scoring.rows.is_empty():
        return
    added = ["sign", *scoring.sums]
    signed = scoring.rows.with_columns(pl.col(name) * pl.col("sign") for name in scoring.sums)
    keys = book.sizes | {"point": len(scoring.points), "passed": len(kind.evaluate_at_ms) + 1}
    table = book.table(signed, keys, added, plan.slices)
    found = table.get_column("point").unique().sort()
    places = [scoring.points[place] for place in found]
    bins = pl.lit(pl.Series([bin_ for _, bin_ in places], dtype=pl.Int64))
    at = pl.lit(found).search_sorted(pl.col("point"))
    is_scored = pl.col("point") != len(scoring.points) - 1
    for cut, age_ms in enumerate((*kind.evaluate_at_ms, None)):
        known = table.filter(pl.col("passed") <= cut)
        numbers = [book.measure(aged(measure, age_ms)) for measure, _ in places]
        measures = pl.lit(pl.Series(numbers, dtype=pl.Int64))
        counts = sums(known, _cohort(book) | {"point": len(scoring.points)}, ["sign"])
        if kind.task == "regression":
            counts = counts.filter(~is_scored)
        yield _part(book, kind, counts.with_columns(measure=measures.gather(at), bin=bins.gather(at)))
        totals = {name: book.measure(aged(_SCORED if name == "sign" else name, age_ms)) for name in added}
        long = sums(known.filter(is_scored), _cohort(book), added).unpivot(
            on=added, index=list(_cohort(book)), variable_name="measure", value_name="amount"
        )
        measure = pl.col("measure").replace_strict(totals, return_dtype=pl.Int64)
        yield _part(book, kind, long.with_columns(measure))


def _by_pane(book: Codebook, kind: KindPlan, rows: pl.DataFrame, scoring: Scoring) -> Iterator[pl.LazyFrame]:
    """Count labels by pane and age; of binary kinds also by class and score bin, and what closed without one."""
    panes = PANES_MAX if kind.has_hourly_panes else 1
    ages = len(kind.age_edges_ms)
    delays = [] if kind.delay_by is None else [kind.delay_by]
    columns = ["version", "day", "definition", *(f"slice_{name}" for name in delays), "pane", "edge", "point", "sign"]
    unscored = 2 * SCORE_BINS
    labelled = scoring.rows if kind.task == "binary" else scoring.rows.with_columns(point=pl.lit(unscored))
    found = [labelled.select(pl.col(columns).cast(pl.Int64))]
    if kind.task == "binary":
        closed = rows.filter(pl.col("state") > 0, is_probability(pl.col("output")))
        closed = closed.with_columns(point=unscored + 1 + score_bin(kind, pl.col("output")), edge=pl.lit(0))
        found.append(closed.select(pl.col(columns).cast(pl.Int64)))
    every = pl.concat(found)
    if panes == 1:
        every = every.with_columns(pane=pl.lit(0, dtype=pl.Int64))
    keys = book.sizes | {"pane": panes, "point": 3 * SCORE_BINS + 1, "edge": ages}
    table = book.apart(every, keys, ["sign"], kind.delay_by)
    point, pane, edge = pl.col("point"), pl.col("pane"), pl.col("edge")
    labels = sums(table.filter(point <= unscored), _cohort(book) | {"pane": panes, "edge": ages}, ["sign"])
    yield _part(book, kind, labels.with_columns(bin=pane * AGES_MAX + edge, measure=book.measure("pane_labels")))
    if kind.task == "binary":
        place = pane * SCORE_BINS + point % SCORE_BINS
        by_class = pl.lit(pl.Series([book.measure(f"pane_score_{truth}") for truth in (0, 1)], dtype=pl.Int64))
        classed = table.filter(point < unscored)
        measure = by_class.gather(point // SCORE_BINS)
        yield _part(book, kind, classed.with_columns(bin=place * AGES_MAX + edge, measure=measure))
        closed_place = pane * SCORE_BINS + point - unscored - 1
        closed = table.filter(point > unscored)
        yield _part(book, kind, closed.with_columns(bin=closed_place, measure=book.measure("pane_closed")))


def _cohort(book: Codebook) -> dict[str, int]:
    return book.sizes | {"slice": len(book.slices)}


def _part(book: Codebook, kind: KindPlan, rows: pl.DataFrame | pl.LazyFrame) -> pl.LazyFrame:
    return book.part(rows.lazy().rename({"sign": "amount"}, strict=False), kind.name, kind.definition)


def _place(edges_ms: Sequence[int], age_us: pl.Expr) -> pl.Expr:
    """Return the place of the least edge that the age does not exceed, or one beyond; the last one has no end."""
    edges = pl.lit(pl.Series(edges_ms, dtype=pl.Int64) * 1_000)
    return edges.search_sorted(age_us.clip(upper_bound=BEYOND_MS * 1_000), side="left").cast(pl.Int64)
