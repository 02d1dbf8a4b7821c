"""Cells: integer counts of predictions and outcomes, which add up in any order to the same bits.

A fold turns new rows of the lake into cells to be added to those that are there; a correction takes the
old outcome out and puts the new one in. Merging is addition, so cells of parts are the cells of the
whole. This module must not compute a rate or a metric.
"""

from collections.abc import Sequence

import polars as pl

from monitor.cells.codebook import Codebook
from monitor.cells.count_arrivals import COHORT, arrival_parts, arrivals_of
from monitor.cells.count_outcomes import outcome_parts
from monitor.cells.count_predictions import prediction_parts
from monitor.cells.of_record import of_record
from monitor.cells.packing import CELL_SCHEMA, merge
from monitor.cells.plan import CellPlan
from monitor.cells.revisions import restated_states, states_of
from monitor.cells.scoring import LOSS_UNIT
from schemas.events.backfill import Ruling

__all__ = ["CELL_SCHEMA", "LOSS_UNIT", "fold", "merge", "restate"]


def fold(
    plan: CellPlan,
    predictions: pl.DataFrame,
    outcomes: pl.DataFrame,
    earlier: pl.DataFrame,
    rulings: Sequence[Ruling] = (),
) -> pl.DataFrame:
    """Return the cells by which the lake's cells grow when these rows are added to it.

    Adding the result to the cells of all earlier rows (`merge`) gives the cells of all rows, to the bit,
    however the rows were divided into folds and whatever their order. Slices with more values than
    `SLICE_VALUES`, and kinds with more classes than `CLASSES_MAX`, are the one exception: who is first decides
    who gets cells (`CellPlan.admitting`, `CellPlan.admitting_classes`).

    Measures, over eligible predictions (all but `ineligible`, `output` and `input:`); `bin` is 0 where none is named:

    - `ineligible`: predictions that are not eligible.
    - `predictions`: eligible predictions. `score`, by score bin: those with a probability as output (binary).
    - `input:NAME`, by bin of its `Histogram`: all predictions by the value of a feature; kind and definition are
      empty. `output`: the same of the output (regression and multiclass).
    - `labels`, by upper age edge in ms: outcomes now joined or implied, by the age at which a label was
      first known, counted from the last retraction. `early`: those known before their prediction.
    - `retracted`, `expired`: outcomes that now are. `revised`: changes of a value, of a label to none or of none
      to a label, that became known after the horizon.
    - `labelled_scored`: labelled outcomes that metrics can use; `no_output`: the others, because the output or
      the value is missing, not finite, beyond 2^30 (regression), not from 0 to 1 or not 0 or 1 (binary).
    - `score_0`, `score_1`, by score bin: labelled outcomes by class; `log_loss`, `brier`: their losses in units of
      2^-32 (binary).
    - `confusion ["TRUTH","SAID"]`: labelled outcomes by pair of classes; bin 1: two different ones that are both
      "other" (multiclass; see `monitor.cells.class_name`).
    - `error`, `absolute_error`, `squared_error`, `truth`, `squared_truth`, each in parts with the endings of
      `monitor.cells.fixed_point`: sums of truth minus output, and so on, exact in units of 2^-32 (regression).
    - all from `revised` on also as `NAME@AGE` (`confusion@AGE ["TRUTH","SAID"]`) for each age in ms of `evaluate_at`:
      only labels first known by that age, each with its value of now; `revised@AGE`: changes and retractions of
      such labels that became known after that age.
    - by pane (see `monitor.cells.pane`): `pane_predictions`, by pane; `pane_labels`, by pane * 4,096 + the place of the
      age edge; of binary kinds `pane_score` and `pane_closed` (expired or retracted), by pane * 64 + score bin; and
      `pane_score_0` and `pane_score_1`, by (pane * 64 + score bin) * 4,096 + the place of the age edge. With
      `delay_by` they are counted for each value of that slice, and those of all are the sum of these.
    - live labels by when they became known (see `monitor.cells.count_arrivals`), under the day of that, and never
      taken back:
      `arrived`, by hour of the day * 4,096 + the place of the age edge: first labels of their predictions.
      `arrived_corrected`, by hour of the day: changes of a value, and retractions.

    What concerns predictions is counted under the kind's own definition only, the rest under the outcome's.
    What is pending is `predictions - labels - retracted - expired` of the own definition. Inputs, outputs,
    arrivals, and panes without `delay_by` are counted in the slice of all only.

    Args:
        plan: what to count, knowing the slice values and classes of the cells that are there
            (`CellPlan.knowing`).
        predictions: newly accepted predictions, in the lake's columns.
        outcomes: new revisions of outcomes, in the lake's columns, and `monitor.cells.of_record.BACKFILL_COLUMNS`.
        earlier: all earlier revisions of the chains in `outcomes`, in the same columns; where definitions were
            approved, of all their definitions.
        rulings: about backfills, in their order; of the other rows what is of record is counted.

    Returns:
        Cells in the columns of `CELL_SCHEMA`, sorted, without zero amounts. Amounts may be negative.
    """
    definitions = plan.definitions
    counting = [of_record(rows, definitions, rulings) for rows in (outcomes, earlier)]
    return _counted(plan, predictions, outcomes, states_of(plan, *counting))


def restate(plan: CellPlan, outcomes: pl.DataFrame, before: Sequence[Ruling], after: Sequence[Ruling]) -> pl.DataFrame:
    """Return the cells by which the lake's cells change when other rulings about backfills hold.

    Args:
        plan: as for `fold`.
        outcomes: all revisions, in the columns of `fold`, of every prediction that a changed ruling concerns.
        before: the rulings that the cells were folded with.
        after: those that hold now.
    """
    definitions = plan.definitions
    states = restated_states(plan, *(of_record(outcomes, definitions, rulings) for rulings in (before, after)))
    return _counted(plan, outcomes.clear(), outcomes.clear(), states)


def _counted(plan: CellPlan, predictions: pl.DataFrame, outcomes: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    plan = plan.admitting(*(frame for frame in (predictions, outcomes) if not frame.is_empty()))
    plan = plan.admitting_classes(states)
    arrivals = arrivals_of(outcomes)
    book = Codebook.of(plan, predictions, pl.concat([states.select(COHORT), arrivals.select(COHORT)]))
    parts: list[pl.LazyFrame] = []
    if not predictions.is_empty():
        parts.extend(prediction_parts(plan, book, book.coded(predictions)))
    found = states.get_column("kind").unique().to_list()
    for kind in plan.kinds:
        if kind.name in found:
            rows = states if len(found) == 1 else states.filter(pl.col("kind") == kind.name)
            parts.extend(outcome_parts(plan, book, kind, book.coded(rows)))
    parts.extend(arrival_parts(plan, book, arrivals))
    return book.cells(parts)
