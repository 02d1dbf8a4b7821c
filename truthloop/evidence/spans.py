"""Reads what a lake has gained since its cells were last written: new steps, partition by partition.

Each partition has its own span of steps and of prediction offsets; in the lake of a replay the spans are equal.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from lake import Lake
from monitor.cells.cohort import times_of_days
from monitor.cells.count_again import count_again
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.slots import ValueCounter, count_values
from monitor.cells.timeouts import Proof
from schemas.events.backfill import Ruling
from streams.ledger.row import LedgerRow
from streams.ledger.table import rows_of
from truthloop.evidence.again import REFUSED_AGAIN, came_again
from truthloop.evidence.outcomes import OUTCOME, for_evidence, read_outcomes_of
from truthloop.evidence.proof import newly_proven, read_cursors

__all__ = ["RECORDS_MAX", "NewRows", "Span", "counter_of_values", "new_spans", "read_new_rows"]

RECORDS_MAX = 250_000
"""Records that are counted at a time: it bounds the memory of a fold, also where a lake is counted anew."""

_SCHEMA: dict[str, pl.DataType] = {"partition": pl.Int32(), "sequence": pl.Int64()}

Bounds = tuple[int, int]
"""The first number, and the one after the last."""


@dataclass(frozen=True)
class Span:
    """New steps of one partition, and the offsets of the predictions and labels that these steps read."""

    partition: int
    steps: Bounds
    predictions: Bounds
    labels: Bounds


@dataclass(frozen=True)
class NewRows:
    """The rows of new steps, in the lake's columns; outcomes also have `monitor.cells.of_record.BACKFILL_COLUMNS`.

    Attributes:
        predictions: without those that the join rejected.
        outcomes: new revisions, also with the `label_source` of the labels that made them.
        earlier: all earlier revisions of the same outcomes, and of those whose timeout the new steps have proven, of
            every definition.
        proof: the join's cursors before the new steps and after them.
        again: what came again in the new steps.
    """

    predictions: pl.DataFrame
    outcomes: pl.DataFrame
    earlier: pl.DataFrame
    proof: Proof
    again: pl.DataFrame

    @property
    def versions(self) -> set[str]:
        """The model versions of these rows."""
        frames = (self.predictions, self.outcomes, self.earlier)
        return {version for frame in frames for version in frame.get_column("version").unique()}

    def with_again(self, plan: CellPlan, cells: pl.DataFrame) -> pl.DataFrame:
        """Return cells and those of what came again."""
        return cells if self.again.is_empty() else merge(cells, count_again(plan, self.again))


def new_spans(
    lake: Lake, newest: Mapping[int, LedgerRow], folded: Mapping[int, int], records_max: int | None = None
) -> list[Span] | None:
    """Return the steps after those that were folded, for every partition that has any.

    Args:
        newest: by partition, the newest ledger row whose rows are all in the lake.
        folded: by partition, how many of its steps the cells hold.
        records_max: of more records, about so many are in the spans, and at least one ledger row of each partition; the
            rest is left for another time. None: all are.

    Returns:
        None where no ledger row ends with the last step that was folded: the ledger was rewritten with other steps per
        row, so it is unknown which rows were counted.
    """
    behind = [number for number, row in newest.items() if folded[number] <= row.sequence]
    if not behind:
        return []
    starts = _ends_of_steps(lake, {number: folded[number] - 1 for number in behind if folded[number]})
    if any(folded[number] and number not in starts for number in behind):
        return None
    spans = []
    for number in behind:
        first, row, start = folded[number], newest[number], starts.get(number, (0, 0))
        steps, ends = row.sequence + 1, (row.predictions[1], row.labels[1])
        records = row.predictions[1] + row.labels[1] - sum(start)
        if records_max is not None and records > (most := records_max // len(behind)):
            steps, ends = _first_steps(lake, number, (first, steps), sum(start) + most)
        spans.append(Span(number, (first, steps), (start[0], ends[0]), (start[1], ends[1])))
    return spans


def read_new_rows(lake: Lake, spans: list[Span], plan: CellPlan, rulings: Sequence[Ruling]) -> NewRows:
    """Return the rows that the spans' steps added.

    Args:
        plan: what the rows will be counted by.
        rulings: about backfills, which they will be counted under.
    """
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
    proof = Proof(read_cursors(lake, firsts), read_cursors(lake, {span.partition: span.steps[1] for span in spans}))
    touched = [outcomes.select(OUTCOME), newly_proven(lake, plan, rulings, proof, firsts)]
    earlier = read_outcomes_of(lake, pl.concat(touched), firsts)
    outcomes = for_evidence(lake, outcomes)
    refused = (
        lake.scan("rejects", {"sequence": _around(span.steps for span in spans), "reason": REFUSED_AGAIN})
        .filter(_within("sequence", spans, lambda span: span.steps), stage="join")
        .select("input", "reason", *position)
        .collect()
    )
    labels = lake.scan("labels", {"offset": _around(span.labels for span in spans)})
    labels = labels.filter(_within("offset", spans, lambda span: span.labels))
    again = came_again(lake, plan, outcomes, labels, refused)
    return NewRows(predictions, _with_sources(lake, outcomes), earlier, proof, again)


def counter_of_values(lake: Lake, timezone: str) -> ValueCounter:
    """Return what counts the slice values of a lake's predictions.

    Args:
        timezone: of days.
    """

    def values(name: str, first: date, last: date) -> pl.DataFrame:
        times = times_of_days(first, last, timezone)
        return count_values(lake.scan("predictions", {"predicted_at": times}), name, timezone, first, last)

    return values


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


def _ends_of_steps(lake: Lake, sequences: Mapping[int, int]) -> dict[int, Bounds]:
    """Return by partition the prediction and label offset after these steps; without those that the ledger lacks."""
    rows = rows_of(lake, sequences).select("partition", "predictions_next", "labels_next")
    return {number: (predictions, labels) for number, predictions, labels in rows.iter_rows()}


def _first_steps(lake: Lake, partition: int, steps: Bounds, position: int) -> tuple[int, Bounds]:
    """Return the end of the first of some steps of a partition, as steps and as prediction and label offset.

    Args:
        steps: of which at least one ledger row is taken.
        position: prediction and label offset together, up to which ledger rows are taken.
    """
    rows = (
        lake.scan("ledger", {"sequence": (steps[0], steps[1] - 1)})
        .filter(pl.col("partition") == partition)
        .select("sequence", "predictions_next", "labels_next")
        .sort("sequence")
        .collect()
    )
    taken = max(rows.filter(pl.col("predictions_next") + pl.col("labels_next") <= position).height, 1)
    sequence, predictions_next, labels_next = rows.row(taken - 1)
    return sequence + 1, (predictions_next, labels_next)


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
