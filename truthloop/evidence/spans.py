"""What a lake has gained since its cells were written last: new steps, partition by partition.

Every partition has its own span of steps and of positions of predictions; in the lake of a replay all are alike.
Must not count.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from lake import Lake
from monitor.cells.of_record import BACKFILL_COLUMNS
from streams.ledger.table import LedgerRow

__all__ = ["NewRows", "Span", "new_spans", "read_new_rows", "read_outcomes_of", "with_backfills"]

_OUTCOME = ["partition", "prediction_offset", "kind"]

Bounds = tuple[int, int]
"""First, and the one after the last."""


@dataclass(frozen=True)
class Span:
    """New steps of one partition, and the positions of the predictions that they read."""

    partition: int
    steps: Bounds
    predictions: Bounds


@dataclass(frozen=True)
class NewRows:
    """The rows of new steps, in the lake's columns; of outcomes also `monitor.cells.of_record.BACKFILL_COLUMNS`.

    Attributes:
        predictions: those that count.
        outcomes: new revisions.
        earlier: all earlier revisions of the same outcomes, of every definition.
    """

    predictions: pl.DataFrame
    outcomes: pl.DataFrame
    earlier: pl.DataFrame


def new_spans(lake: Lake, newest: Mapping[int, LedgerRow], folded: Mapping[int, int]) -> list[Span] | None:
    """Return what is new behind the steps that were folded, for every partition where something is.

    Args:
        lake: read from.
        newest: by partition, the newest ledger row whose rows are all there.
        folded: by partition, how many of its steps the cells hold.

    Returns:
        None where the ledger has no row that ends with the last step that was folded: it was written anew and
        divided otherwise, so nobody can tell which rows behind it were counted.
    """
    starts = _ends_of(lake, {number: steps - 1 for number, steps in folded.items() if steps})
    spans = []
    for number, row in newest.items():
        first, following = folded[number], row.sequence + 1
        if first >= following:
            continue
        if first and number not in starts:
            return None
        spans.append(Span(number, (first, following), (starts.get(number, 0), row.predictions[1])))
    return spans


def read_new_rows(lake: Lake, spans: list[Span]) -> NewRows:
    """Return what the spans' steps have brought."""
    of_predictions = _within("offset", spans, lambda span: span.predictions)
    around = {"offset": _around(span.predictions for span in spans)}
    place = ["partition", "offset"]
    refused = lake.scan("rejects", around).filter(
        pl.col("input") == "predictions", pl.col("stage") == "join", of_predictions
    )
    predictions = (
        lake.scan("predictions", around)
        .filter(of_predictions)
        .join(refused.select(place), on=place, how="anti")
        .collect()
    )
    outcomes = (
        lake.scan("outcomes", {"sequence": _around(span.steps for span in spans)})
        .filter(_within("sequence", spans, lambda span: span.steps))
        .collect()
    )
    firsts = {span.partition: span.steps[0] for span in spans if span.steps[0]}
    return NewRows(predictions, with_backfills(lake, outcomes), read_outcomes_of(lake, outcomes, firsts))


def with_backfills(lake: Lake, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return revisions with what their labels declare: `monitor.cells.of_record.BACKFILL_COLUMNS`.

    Of the labels only `origin` is read where none is declared, and only in files that may hold one of these.
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


def read_outcomes_of(lake: Lake, predictions: pl.DataFrame, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return revisions of some outcomes, in the columns of `NewRows.outcomes`.

    The lake keeps every outcome there ever was; looked at are the files that may know one of these predictions,
    and all columns are read only of rows with one of these offsets. Measured with 3 million outcomes in 1,000
    files on a busy machine: 0.2 s instead of 3.5.

    Args:
        lake: read from.
        predictions: partition, prediction_offset and kind.
        steps: by partition, how many of its first steps are looked at; none of a partition that is not there.
    """
    wanted = predictions.filter(pl.col("partition").is_in(list(steps)))
    if wanted.is_empty():
        return with_backfills(lake, pl.DataFrame(schema=lake.schema("outcomes")))
    offsets = wanted["prediction_offset"].unique().sort()
    before = pl.DataFrame({"partition": list(steps), "before": list(steps.values())}, schema_overrides=_PLACE)
    found = (
        lake.scan("outcomes", {"prediction_offset": (offsets[0], offsets[-1])})
        .filter(pl.col("prediction_offset").is_in(offsets.implode()))
        .join(before.lazy(), on="partition")
        .filter(pl.col("sequence") < pl.col("before"))
        .drop("before")
        .join(wanted.lazy().select(_OUTCOME).unique(), on=_OUTCOME, how="semi")
        .collect()
    )
    return with_backfills(lake, found)


_PLACE: dict[str, pl.DataType] = {"partition": pl.Int32(), "before": pl.Int64(), "sequence": pl.Int64()}


def _ends_of(lake: Lake, sequences: Mapping[int, int]) -> dict[int, int]:
    """Return where the predictions of these steps end, by partition; without those that the ledger lacks."""
    if not sequences:
        return {}
    columns = {"partition": list(sequences), "sequence": list(sequences.values())}
    steps = pl.DataFrame(columns, schema={name: _PLACE[name] for name in columns})
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
    """Return the least and the greatest number in any of the bounds; they may all be empty."""
    firsts, followings = zip(*bounds, strict=True)
    return min(firsts), max(followings) - 1
