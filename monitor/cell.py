"""Cells: integer counts of predictions and outcomes, which add up in any order to the same bits.

A fold turns new rows of the lake into cells to be added to those that are there; a correction takes the
old outcome out and puts the new one in. Merging is addition, so cells of parts are the cells of the
whole. This module must not compute a rate or a metric, and never trusts what an outcome says about
the revision before it.
"""

from collections.abc import Iterable, Iterator

import polars as pl

from monitor.bins import BEYOND_MS
from monitor.cohort import ALL, cohort_day, slice_text
from monitor.plan import CellPlan, KindPlan
from schemas.status import Status

__all__ = ["CELL_SCHEMA", "LOSS_UNIT", "fold", "merge"]

CELL_SCHEMA = pl.Schema(
    {
        "version": pl.String(),
        "slice": pl.String(),
        "day": pl.Date(),
        "kind": pl.String(),
        "definition": pl.String(),
        "measure": pl.String(),
        "bin": pl.Int64(),
        "amount": pl.Int64(),
    }
)

_TEXTS = [name for name, dtype in CELL_SCHEMA.items() if dtype == pl.String]

LOSS_UNIT = 2.0**32
"""Losses are summed as whole numbers of 2^-32. A day's cell holds 9.2e18 of them: 62 million rows at the
greatest log loss there is (34.5), four thousand million at 0.5."""

_LEAST_PROBABILITY = 1e-15
_STATE_MEASURE = pl.Enum(["labels", "retracted", "expired"])
_CLASS_MEASURE = pl.Enum(["score_0", "score_1", "no_output"])
_CHAIN = ["partition", "prediction_offset", "kind", "definition"]
"""Of one prediction by its position: an id may be used again, and then names another one."""
_LABELLED = pl.col("status").is_in([Status.JOINED.value, Status.IMPLIED.value])
_OUTCOME_SCHEMA: dict[str, pl.DataType] = {
    "partition": pl.Int32(),
    "prediction_offset": pl.Int64(),
    **{name: pl.String() for name in ("kind", "definition", "version", "status")},
    "value": pl.Float64(),
    "output": pl.Float64(),
    "predicted_at": pl.Datetime("us", "UTC"),
    "known_at": pl.Datetime("us", "UTC"),
    "revision": pl.Int64(),
}


def fold(plan: CellPlan, predictions: pl.DataFrame, outcomes: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Return the cells by which the lake's cells grow when these rows are added to it.

    Adding the result to the cells of all earlier rows (`merge`) gives the cells of all rows, to the bit,
    however the rows were divided into folds and whatever their order. Slices with more values than
    `SLICE_VALUES` are the one exception: who is first decides who gets cells (`CellPlan.admitting`).

    Measures, over eligible predictions (all but the first); `bin` is 0 where none is named:

    - `ineligible`: predictions that are not eligible.
    - `predictions`: eligible predictions. `score`, by score bin: those with a probability as output (binary).
    - `labels`, by upper age edge in ms: outcomes now joined or implied, by the age at which a label was
      first known, counted from the last retraction. `early`: those known before their prediction.
    - `retracted`, `expired`: outcomes that now are.
    - `score_0`, `score_1`, by score bin: labelled outcomes by class; `labelled_scored`: their number;
      `log_loss`, `brier`: their losses in units of 2^-32 (binary).
    - `no_output`: labelled outcomes outside the metrics: the output is not a number from 0 to 1, or the
      value is not 0 or 1 (binary).

    The first three are counted under the kind's own definition only, the others under the outcome's.
    What is pending is `predictions - labels - retracted - expired` of the own definition.

    Args:
        plan: what to count, knowing the slice values of the cells that are there (`CellPlan.knowing`).
        predictions: newly accepted predictions, in the lake's columns.
        outcomes: new revisions of outcomes, in the lake's columns.
        earlier: all earlier revisions of the chains in `outcomes`, in the lake's columns.

    Returns:
        Cells in the columns of `CELL_SCHEMA`, sorted, without zero amounts. Amounts may be negative.
    """
    known = _project(earlier, plan)
    after = _latest(pl.concat([known, _project(outcomes, plan)]))
    states = pl.concat([_signed(after, 1), _signed(_latest(known), -1)])
    states = _encoded(states, ["version", "definition", *(f"slice_{name}" for name in plan.slices)])
    plan = plan.admitting(*(frame for frame in (predictions, outcomes) if not frame.is_empty()))
    parts = [] if predictions.is_empty() else list(_prediction_cells(plan, predictions))
    for kind in plan.kinds:
        rows = states.filter(pl.col("kind") == kind.name)
        if not rows.is_empty():
            parts.extend(_outcome_cells(plan, kind, rows.with_columns(day=cohort_day(plan.timezone))))
    return merge(*parts)


def merge(*cells: pl.DataFrame) -> pl.DataFrame:
    """Return the sum of `cells`: one row per place, sorted, without those that add up to zero.

    Columns beyond `CELL_SCHEMA` (such as the lake's `plan`) are left out.
    """
    places = [name for name in CELL_SCHEMA if name != "amount"]
    rows = pl.concat([CELL_SCHEMA.to_frame(), *(frame.select(CELL_SCHEMA.names()) for frame in cells)])
    sums = _encoded(rows, _TEXTS).group_by(places).agg(pl.col("amount").sum()).filter(pl.col("amount") != 0)
    return sums.sort(places).cast(CELL_SCHEMA)


def _encoded(rows: pl.DataFrame, texts: Iterable[str]) -> pl.DataFrame:
    """Turn texts with few distinct values into numbers in their order: faster to group by, and to sort."""
    return rows.with_columns(
        pl.col(name).cast(pl.Enum(rows.get_column(name).unique().drop_nulls().sort())) for name in texts
    )


def _project(outcomes: pl.DataFrame, plan: CellPlan) -> pl.DataFrame:
    """Keep what counting needs, of eligible predictions only."""
    schema = {**_OUTCOME_SCHEMA, **{f"slice_{name}": pl.String() for name in plan.slices}}
    if outcomes.is_empty():
        return pl.DataFrame(schema=schema)
    columns = [pl.col(name).cast(dtype) for name, dtype in schema.items()]
    return outcomes.lazy().filter("eligible").select(columns).collect()


def _signed(states: pl.DataFrame, sign: int) -> pl.DataFrame:
    return states.with_columns(pl.lit(sign, dtype=pl.Int64).alias("sign"))


def _latest(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the newest revision of every chain, with `first_known_at`.

    Most chains have a single revision. A row whose hash is like no other's is one of them for certain;
    only the rest, which holds a few chance collisions too, is sorted and compared by its names.
    """
    alone = rows.select(pl.struct(_CHAIN).hash().is_unique()).to_series()
    first_known = pl.when(_LABELLED).then("known_at")
    single = rows.filter(alone).with_columns(first_known_at=first_known)
    chained = rows.filter(~alone).sort(*_CHAIN, "revision")
    starts = pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in _CHAIN).fill_null(value=True)
    retracted = pl.col("status") == Status.RETRACTED.value
    newest = (
        chained.with_columns(chain=starts.cum_sum(), segment=(starts | retracted).cum_sum())
        .with_columns(first_known_at=first_known.min().over("segment"))
        .filter((pl.col("chain") != pl.col("chain").shift(-1)).fill_null(value=True))
    )
    return pl.concat([single, newest.select(single.columns)])


def _prediction_cells(plan: CellPlan, predictions: pl.DataFrame) -> Iterator[pl.DataFrame]:
    rows = predictions.with_columns(day=cohort_day(plan.timezone))
    rows = _encoded(rows, ["version", *(f"slice_{name}" for name in plan.slices)])
    eligible = rows.filter("eligible")
    for name, keys in _groupings(plan, ["version", "day"]):
        measure = pl.when("eligible").then(pl.lit("predictions")).otherwise(pl.lit("ineligible"))
        counts = rows.group_by(*keys, measure.alias("measure")).agg(amount=pl.len().cast(pl.Int64))
        yield from (_cells(plan, name, counts, kind=kind) for kind in plan.kinds)
    for kind in plan.kinds:
        if kind.task == "binary":
            output = pl.col(f"output_{kind.name}")
            scored = eligible.filter(_is_probability(output)).with_columns(bin=_score_bin(kind, output))
            for name, keys in _groupings(plan, ["version", "day", "bin"]):
                counts = scored.group_by(keys).agg(amount=pl.len().cast(pl.Int64))
                yield _cells(plan, name, counts, kind=kind, measure="score")


def _outcome_cells(plan: CellPlan, kind: KindPlan, states: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Count the states of one kind, each `sign` times."""
    age_us = (pl.col("first_known_at") - pl.col("predicted_at")).dt.total_microseconds()
    counted = states.filter(_LABELLED | pl.col("status").is_in([Status.EXPIRED.value, Status.RETRACTED.value]))
    counted = counted.with_columns(
        measure=pl.when(_LABELLED).then(pl.lit("labels")).otherwise("status").cast(_STATE_MEASURE),
        bin=pl.when(_LABELLED).then(_age_edge(kind, age_us)).otherwise(0),
    )
    early = counted.filter(_LABELLED, age_us < 0).with_columns(measure=pl.lit("early"))
    scores = _scores(kind, counted.filter(_LABELLED)) if kind.task == "binary" else None
    for name, keys in _groupings(plan, ["version", "day", "definition"]):
        amount = pl.col("sign").sum()
        yield _cells(plan, name, counted.group_by(*keys, "measure", "bin").agg(amount=amount), kind=kind)
        yield _cells(plan, name, early.group_by(*keys, "measure", pl.lit(0).alias("bin")).agg(amount=amount), kind=kind)
        if scores is not None:
            yield from _score_cells(plan, name, scores.group_by(*keys, "measure", "bin").agg(_SUMS), kind)


_AMOUNTS = ["amount", "log_loss", "brier"]
_SUMS = [
    pl.col("sign").sum().alias("amount"),
    (pl.col("sign") * pl.col("log_loss")).sum().alias("log_loss"),
    (pl.col("sign") * pl.col("brier")).sum().alias("brier"),
]


def _scores(kind: KindPlan, labelled: pl.DataFrame) -> pl.DataFrame:
    """Add to labelled outcomes of a binary kind: measure by class, score bin, and both losses as integers.

    The probability is clipped for the log loss as River's `LogLoss` clips it.
    """
    output, value = pl.col("output"), pl.col("value")
    usable = _is_probability(output) & value.is_in([0.0, 1.0])
    clipped = output.clip(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    log_loss = -pl.when(value == 1.0).then(clipped.log()).otherwise((1 - clipped).log())
    by_class = pl.when(value == 1.0).then(pl.lit("score_1")).otherwise(pl.lit("score_0"))
    usable = usable.fill_null(value=False)
    return labelled.with_columns(
        measure=pl.when(usable).then(by_class).otherwise(pl.lit("no_output")).cast(_CLASS_MEASURE),
        bin=pl.when(usable).then(_score_bin(kind, output)).otherwise(0),
        log_loss=pl.when(usable).then((log_loss * LOSS_UNIT).round()).otherwise(0).cast(pl.Int64),
        brier=pl.when(usable).then(((output - value) ** 2 * LOSS_UNIT).round()).otherwise(0).cast(pl.Int64),
    )


def _score_cells(plan: CellPlan, name: str | None, counts: pl.DataFrame, kind: KindPlan) -> Iterator[pl.DataFrame]:
    yield _cells(plan, name, counts, kind=kind)
    keys = [column for column in counts.columns if column not in {"measure", "bin", *_AMOUNTS}]
    scored = counts.filter(pl.col("measure") != "no_output").group_by(keys).agg(pl.col(_AMOUNTS).sum())
    yield _cells(plan, name, scored, kind=kind, measure="labelled_scored")
    for loss in ("log_loss", "brier"):
        yield _cells(plan, name, scored.with_columns(amount=loss), kind=kind, measure=loss)


def _groupings(plan: CellPlan, keys: Iterable[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Yield what to group by for the slice of all, and for each slice name."""
    yield None, [*keys]
    for name in plan.slices:
        yield name, [*keys, f"slice_{name}"]


def _cells(
    plan: CellPlan, name: str | None, counts: pl.DataFrame, *, kind: KindPlan, measure: str | None = None
) -> pl.DataFrame:
    """Give counts the columns of cells: what is missing is the own definition, bin 0, the `measure` given."""
    text = pl.lit(ALL) if name is None else slice_text(name, plan.values.get(name, frozenset()))
    missing = {"definition": pl.lit(kind.definition), "bin": pl.lit(0), "measure": pl.lit(measure)}
    added = {column: value for column, value in missing.items() if column not in counts.columns}
    cells = counts.with_columns(slice=text, kind=pl.lit(kind.name), **added)
    return cells.select(pl.col(column).cast(dtype) for column, dtype in CELL_SCHEMA.items())


def _is_probability(output: pl.Expr) -> pl.Expr:
    return output.is_between(0.0, 1.0)


def _score_bin(kind: KindPlan, output: pl.Expr) -> pl.Expr:
    edges = pl.lit(pl.Series(kind.score_edges, dtype=pl.Float64))
    return edges.search_sorted(output, side="right").cast(pl.Int64)


def _age_edge(kind: KindPlan, age_us: pl.Expr) -> pl.Expr:
    """Return the least edge, in ms, that the age does not exceed; the last edge for all that are older."""
    edges = pl.Series(kind.age_edges_ms, dtype=pl.Int64)
    place = pl.lit(edges * 1_000).search_sorted(age_us.clip(upper_bound=BEYOND_MS * 1_000), side="left")
    return pl.lit(edges).gather(place)
