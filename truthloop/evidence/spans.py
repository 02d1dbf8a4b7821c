"""Reads what a lake has gained since its cells were last written: new steps, partition by partition.

Each partition has its own span of steps and of prediction offsets; in the lake of a replay the spans are equal.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from lake import Lake
from monitor.cells.class_spelling import with_one_spelling
from monitor.cells.of_record import BACKFILL_COLUMNS
from streams.ledger.row import LedgerRow

__all__ = ["OUTCOME", "NewRows", "Span", "new_spans", "read_new_rows", "read_outcomes_of", "with_backfill_columns"]

OUTCOME = ["partition", "prediction_offset", "kind"]
"""Columns that identify an outcome."""

_SCHEMA: dict[str, pl.DataType] = {"partition": pl.Int32(), "before": pl.Int64(), "sequence": pl.Int64()}

Bounds = tuple[int, int]
"""The first number, and the one after the last."""


@dataclass(frozen=True)
class Span:
    """New steps of one partition, and the offsets of the predictions that these steps read."""

    partition: int
    steps: Bounds
    predictions: Bounds


@dataclass(frozen=True)
class NewRows:
    """The rows of new steps, in the lake's columns; outcomes also have `monitor.cells.of_record.BACKFILL_COLUMNS`.

    Attributes:
        predictions: without those that the join rejected.
        outcomes: new revisions, also with the `label_source` of the labels that made them.
        earlier: all earlier revisions of the same outcomes, of every definition.
    """

    predictions: pl.DataFrame
    outcomes: pl.DataFrame
    earlier: pl.DataFrame


def new_spans(lake: Lake, newest: Mapping[int, LedgerRow], folded: Mapping[int, int]) -> list[Span] | None:
    """Return the steps after those that were folded, for every partition that has any.

    Args:
        newest: by partition, the newest ledger row whose rows are all in the lake.
        folded: by partition, how many of its steps the cells hold.

    Returns:
        None where no ledger row ends with the last step that was folded: the ledger was rewritten with other steps per
        row, so it is unknown which rows were counted.
    """
    starts = _prediction_ends(lake, {number: steps - 1 for number, steps in folded.items() if steps})
    spans = []
    for number, row in newest.items():
        first, end = folded[number], row.sequence + 1
        if first >= end:
            continue
        if first and number not in starts:
            return None
        spans.append(Span(number, (first, end), (starts.get(number, 0), row.predictions[1])))
    return spans


def read_new_rows(lake: Lake, spans: list[Span]) -> NewRows:
    """Return the rows that the spans' steps added."""
    of_predictions = _within("offset", spans, lambda span: span.predictions)
    around = {"offset": _around(span.predictions for span in spans)}
    position = ["partition", "offset"]
    rejected = lake.scan("rejects", around).filter(
        pl.col("input") == "predictions", pl.col("stage") == "join", of_predictions
    )
    predictions = (
        lake.scan("predictions", around)
        .filter(of_predictions)
        .join(rejected.select(position), on=position, how="anti")
        .collect()
    )
    outcomes = (
        lake.scan("outcomes", {"sequence": _around(span.steps for span in spans)})
        .filter(_within("sequence", spans, lambda span: span.steps))
        .collect()
    )
    firsts = {span.partition: span.steps[0] for span in spans if span.steps[0]}
    named = _with_sources(lake, _for_evidence(lake, outcomes))
    return NewRows(predictions, named, read_outcomes_of(lake, outcomes, firsts))


def read_outcomes_of(lake: Lake, predictions: pl.DataFrame, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return all revisions of some outcomes, in the columns of `NewRows.outcomes`.

    The lake keeps every outcome there ever was. Only files that may hold one of these predictions are read, and all
    columns only of rows with one of these offsets. Measured with 3 million outcomes in 1,000 files on a busy machine:
    0.2 s instead of 3.5.

    Args:
        predictions: the outcomes' columns `OUTCOME`.
        steps: by partition, how many of its first steps to read; nothing is read of a partition that is missing.
    """
    wanted = predictions.filter(pl.col("partition").is_in(list(steps)))
    if wanted.is_empty():
        return _for_evidence(lake, pl.DataFrame(schema=lake.schema("outcomes")))
    offsets = wanted["prediction_offset"].unique().sort()
    before = pl.DataFrame({"partition": list(steps), "before": list(steps.values())}, schema_overrides=_SCHEMA)
    found = (
        lake.scan("outcomes", {"prediction_offset": (offsets[0], offsets[-1])})
        .filter(pl.col("prediction_offset").is_in(offsets.implode()))
        .join(before.lazy(), on="partition")
        .filter(pl.col("sequence") < pl.col("before"))
        .drop("before")
        .join(wanted.lazy().select(OUTCOME).unique(), on=OUTCOME, how="semi")
        .collect()
    )
    return _for_evidence(lake, found)


def _for_evidence(lake: Lake, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return revisions with what their labels declare, and with one spelling of classes."""
    return with_backfill_columns(lake, with_one_spelling(outcomes))


def with_backfill_columns(lake: Lake, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return revisions with `monitor.cells.of_record.BACKFILL_COLUMNS`: what their labels declare.

    Where no label is declared, only the labels' column `origin` is read, and only in files that may hold one of them.
    """
    offsets = outcomes["label_offset"].drop_nulls().sort()
    if offsets.is_empty():
        return outcomes.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in BACKFILL_COLUMNS.items())
    declared = (
        lake.scan("labels", {"offset": (offsets[0], offsets[-1])})
        .filter(pl.col("origin") == "backfill")
        .select("partition", "batch_id", label_offset="offset", is_declared=pl.lit(value=True))
        .unique(["partition", "label_offset"])
        .collect()
    )
    return outcomes.join(declared, on=["partition", "label_offset"], how="left").with_columns(
        pl.col(name) for name in BACKFILL_COLUMNS
    )


def _with_sources(lake: Lake, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return revisions with the source of their labels, read only from files that may hold one of them."""
    offsets = outcomes["label_offset"].drop_nulls().sort()
    if offsets.is_empty():
        return outcomes.with_columns(label_source=pl.lit(None, dtype=pl.String))
    position = ["partition", "label_offset"]
    sources = (
        lake.scan("labels", {"offset": (offsets[0], offsets[-1])})
        .filter(pl.col("label_source").is_not_null())
        .select("partition", "label_source", label_offset="offset")
        .join(outcomes.lazy().select(position).unique(), on=position, how="semi")
        .collect()
    )
    return outcomes.join(sources.unique(position), on=position, how="left")


def _prediction_ends(lake: Lake, sequences: Mapping[int, int]) -> dict[int, int]:
    """Return by partition the prediction offset that follows these steps; without those that the ledger lacks."""
    if not sequences:
        return {}
    columns = {"partition": list(sequences), "sequence": list(sequences.values())}
    steps = pl.DataFrame(columns, schema={name: _SCHEMA[name] for name in columns})
    rows = (
        lake.scan("ledger", {"sequence": (min(sequences.values()), max(sequences.values()))})
        .select("partition", "sequence", "predictions_next")
        .join(steps.lazy(), on=["partition", "sequence"], how="semi")
        .select("partition", "predictions_next")
        .collect()
    )
    return dict(rows.iter_rows())


def _within(column: str, spans: list[Span], bounds_of: Callable[[Span], Bounds]) -> pl.Expr:
    """Return the condition that a row lies in its partition's span; partitions with equal bounds share one."""
    alike: dict[Bounds, list[int]] = {}
    for span in spans:
        alike.setdefault(bounds_of(span), []).append(span.partition)
    return pl.any_horizontal(
        pl.col("partition").is_in(partitions) & pl.col(column).is_between(*bounds, closed="left")
        for bounds, partitions in alike.items()
    )


def _around(bounds: Iterable[Bounds]) -> tuple[int, int]:
    """Return the least and the greatest number in any of the bounds; all of them may be empty."""
    firsts, ends = zip(*bounds, strict=True)
    return min(firsts), max(ends) - 1
