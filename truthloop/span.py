"""What a lake has gained since its cells were written last: new steps, partition by partition.

Every partition has its own span of steps and of positions of predictions; in the lake of a replay all are alike.
Must not count.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from lake import Lake
from streams.ledger import LedgerRow

__all__ = ["NewRows", "Span", "new_spans", "read_new_rows"]

_CHAIN = ["partition", "prediction_offset", "kind", "definition"]

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
    """The rows of new steps, in the lake's columns.

    Attributes:
        predictions: those that count.
        outcomes: new revisions.
        earlier: all earlier revisions of the same chains.
    """

    predictions: pl.DataFrame
    outcomes: pl.DataFrame
    earlier: pl.DataFrame


def new_spans(lake: Lake, points: Mapping[int, LedgerRow], folded: Mapping[int, int]) -> list[Span] | None:
    """Return what is new behind the steps that were folded, for every partition where something is.

    Args:
        lake: read from.
        points: by partition, the newest ledger row whose rows are all there.
        folded: by partition, how many of its steps the cells hold.

    Returns:
        None where the ledger has no row that ends with the last step that was folded: it was written anew and
        divided otherwise, so nobody can tell which rows behind it were counted.
    """
    starts = _ends_of(lake, {number: steps - 1 for number, steps in folded.items() if steps})
    spans = []
    for number, row in points.items():
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
    return NewRows(predictions, outcomes, _earlier(lake, outcomes, spans))


def _earlier(lake: Lake, outcomes: pl.DataFrame, spans: list[Span]) -> pl.DataFrame:
    """Return the revisions before the spans of all chains in `outcomes`.

    The lake keeps every outcome there ever was; looked at are the files that may know one of these predictions,
    and all columns are read only of rows with one of these offsets. Measured with 3 million outcomes in 1,000
    files on a busy machine: 0.2 s instead of 3.5.
    """
    firsts = {span.partition: span.steps[0] for span in spans if span.steps[0]}
    wanted = outcomes.filter(pl.col("partition").is_in(list(firsts)))
    if wanted.is_empty():
        return outcomes.clear()
    offsets = wanted["prediction_offset"].unique().sort()
    before = pl.DataFrame({"partition": list(firsts), "before": list(firsts.values())}, schema_overrides=_PLACE)
    return (
        lake.scan("outcomes", {"prediction_offset": (offsets[0], offsets[-1])})
        .filter(pl.col("prediction_offset").is_in(offsets.implode()))
        .join(before.lazy(), on="partition")
        .filter(pl.col("sequence") < pl.col("before"))
        .drop("before")
        .join(wanted.lazy().select(_CHAIN).unique(), on=_CHAIN, how="semi")
        .collect()
    )


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
