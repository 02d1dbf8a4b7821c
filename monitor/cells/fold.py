"""Folds new rows of the lake into cells, and restates cells when other rulings about backfills hold.

Merging cells is addition, so the cells of parts sum to the cells of the whole, in any order and to the same bits. A
correction subtracts the old outcome and adds the new one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import polars as pl

from monitor.cells.codebook import Codebook
from monitor.cells.count_arrivals import COHORT, arrivals_of, count_arrivals
from monitor.cells.count_outcomes import count_outcomes
from monitor.cells.count_predictions import count_predictions
from monitor.cells.label_flow import count_label_flow
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.rank_bin import GRID, Owner, RankGrid, moved_into
from monitor.cells.rank_states import new_grids, with_rank_bins
from monitor.cells.revisions import states_between
from monitor.cells.slot_admission import with_slots
from monitor.cells.timeouts import CURSOR_SCHEMA, Proof, before_and_after, revisions_of_record
from schemas.events.backfill import Ruling

__all__ = ["fold", "restate"]


def fold(
    plan: CellPlan,
    predictions: pl.DataFrame,
    outcomes: pl.DataFrame,
    earlier: pl.DataFrame,
    rulings: Sequence[Ruling] = (),
    proof: Proof | None = None,
) -> pl.DataFrame:
    """Return the cells to add to the lake's cells when these rows are added to the lake.

    Adding the result to the cells of all earlier rows (`merge`) gives the cells of all rows, to the bit, however the
    rows are divided into folds and whatever their order. The exceptions are kinds with more classes than `CLASSES_MAX`,
    and versions with more distinct scores than `ATOMS_MAX`: which of them are counted separately, and in which rank
    bins, depends on which came first (`CellPlan.admit_classes`, `monitor.cells.rank_states.new_grids`). Of slices with
    more values than `SLOTS_MAX` it holds as long as the predictions of a day are folded before those of the day after
    the next one (`monitor.cells.slots`).

    Measures, over eligible predictions (except `ineligible`, `output` and `input:`); `bin` is 0 unless stated:

    - `ineligible`: predictions that are not eligible.
    - `predictions`: eligible predictions. `score`, by score bin: those with a probability as output (binary).
    - `input:NAME`, by bin of its `Histogram`: all predictions by the value of a feature; kind and definition are
      empty. `output`: the same of the output (regression and multiclass).
    - `labels`, by upper age edge in ms: outcomes that are joined or implied, by the age at which a label was first
      known, counted from the last retraction. `early`: those known before their prediction.
    - `retracted`, `expired`: outcomes in that status. `revised`: changes that became known after the horizon, of a
      value, from a label to none, or from none to a label.
    - `labelled_scored`: labelled outcomes that metrics can use. `no_output`: the others, because output or value is
      missing, not finite, not from 0 to 1 or not 0 or 1 (binary).
    - `score_0`, `score_1`, by rank bin: labelled outcomes by class; `score_grid`: a version's grid of these bins, see
      `monitor.cells.rank_bin` (binary).
    - `log_loss:LIMB`, `brier:LIMB`: exact sums of the losses, see `monitor.cells.exact_sum` (binary).
    - `class_true CLASS`, `class_predicted CLASS`, `class_hit CLASS`: labelled outcomes of a class, those predicted to
      be of it, and those that are both (multiclass; see `monitor.cells.class_name`).
    - `absolute_error:LIMB`, `squared_error:LIMB`, `truth:LIMB`, `squared_truth:LIMB`: exact sums (regression).
    - `weight:LIMB`, `weight_squared:LIMB`, and `weighted_NAME:LIMB` for the scores, classes and sums above: the same by
      weight, exact (where a metric of the kind is by weight).
    - every measure from `revised` on also as `NAME@AGE`, `NAME:LIMB@AGE` or `NAME@AGE CLASS` for
      each age in ms of `evaluate_at`: outcomes that were labelled at that age, each with the value that was of record
      then: the newest of the labels known by then, or the value implied at the deadline. `revised@AGE`: changes and
      retractions of such labels that became known after that age.
    - by pane (see `monitor.cells.pane`): `pane_predictions`, by pane; `pane_labels`, by pane * 4,096 + index of the age
      edge; of binary kinds `pane_score` and `pane_closed` (expired or retracted), by pane * 64 + score bin; and
      `pane_score_0` and `pane_score_1`, by (pane * 64 + score bin) * 4,096 + index of the age edge, and
      `pane_error` (also as `pane_error@AGE`), by pane * 2 + whether the decision was wrong. With `delay_by` they are
      counted for each value of that slice, and the slice of all is the sum of these.
    - live labels by when they became known (see `monitor.cells.count_arrivals`), under the day of their arrival and
      never subtracted: `arrived`, by hour of the day * 4,096 + index of the age edge: first labels of their
      predictions; `arrived_corrected`, by hour of the day: changes of a value, and retractions. First labels also by
      block and age (see `monitor.cells.label_flow`): `arrived_block`, in every slice, and `arrived_from SOURCE`.
    - `slot`, of a slice with too many values: it is counted separately from this day on (1), or no more (-1);
      `slots_ranked`, `slots_decided`: see `monitor.cells.slots`. `bin` is the day, counted from 1970.
    - `predicted_block`, by block: eligible predictions in every slice, where a block is shorter than a day.

    Measures of predictions are counted under the kind's own definition, the rest under that of the label: each outcome
    once at each age, under the definition that was of record then. Of definitions that are not of record only arrivals
    are counted. Pending outcomes are `predictions - labels - retracted - expired`, summed over definitions. Inputs,
    outputs, arrivals, and panes without `delay_by` are counted in the slice of all only.

    A lake's cells also have what came again, see `monitor.cells.count_again`.

    Args:
        plan: with what the lake's cells of these rows' versions count separately (`CellPlan.with_admitted`).
        predictions: newly accepted predictions, in the lake's columns.
        outcomes: new revisions of outcomes, in the lake's columns, and `monitor.cells.of_record.BACKFILL_COLUMNS`.
        earlier: all earlier revisions of the chains in `outcomes`, in the same columns; where definitions were
            approved, of all their definitions. Also those of chains without a label in time whose deadlines have been
            proven since (`monitor.cells.timeouts.is_without_timely_label`).
        rulings: about backfills, in their order; only revisions of record are counted.
        proof: up to where deadlines were proven for the lake's cells, and are now; None: none is.

    Returns:
        Cells in the columns of `CELL_SCHEMA`, sorted, without zero amounts. Amounts may be negative.
    """
    states = states_between(plan, *before_and_after(plan, outcomes, earlier, rulings, proof))
    return _count(plan, predictions, outcomes, states)


def restate(
    plan: CellPlan,
    outcomes: pl.DataFrame,
    before: Sequence[Ruling],
    after: Sequence[Ruling],
    cursors: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return the cells to add to the lake's cells when other rulings about backfills hold.

    Args:
        plan: as for `fold`.
        outcomes: all revisions, in the columns of `fold`, of every prediction that a changed ruling concerns.
        before: the rulings that the cells were folded with.
        after: those that hold now.
        cursors: up to where deadlines were proven for the lake's cells (`monitor.cells.timeouts.CURSOR_SCHEMA`).
    """
    cursors = CURSOR_SCHEMA.to_frame() if cursors is None else cursors
    states = states_between(plan, *(revisions_of_record(plan, outcomes, one, cursors) for one in (before, after)))
    return _count(plan, outcomes.clear(), outcomes.clear(), states)


def _count(plan: CellPlan, predictions: pl.DataFrame, outcomes: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    plan, of_slots = with_slots(plan, predictions, outcomes)
    plan = plan.admit_classes(states)
    arrivals = arrivals_of(outcomes, plan.slices)
    plan = plan.admit_sources(arrivals)
    grids = new_grids(plan, states)
    plan = replace(plan, grids={**plan.grids, **grids})
    states = with_rank_bins(plan, states)
    codebook = Codebook.of(plan, predictions, pl.concat([states.select(COHORT), arrivals.select(COHORT)]))
    parts: list[pl.LazyFrame] = []
    if not predictions.is_empty():
        parts.extend(count_predictions(plan, codebook, codebook.encode(predictions)))
    found = states.get_column("kind").unique().to_list()
    for kind in plan.kinds:
        if kind.name in found:
            rows = states if len(found) == 1 else states.filter(pl.col("kind") == kind.name)
            parts.extend(count_outcomes(plan, codebook, kind, codebook.encode(rows)))
    parts.extend(count_arrivals(plan, codebook, arrivals))
    parts.extend(count_label_flow(plan, codebook, arrivals))
    parts.extend(_grids(plan, codebook, states, grids))
    cells = codebook.decode(parts).filter(pl.col("day") >= plan.since)
    moved = [of_slots, *([moved_into(plan.readers.atoms_of(grids), grids)] if grids else [])]
    return cells if all(map(pl.DataFrame.is_empty, moved)) else merge(cells, *moved)


def _grids(
    plan: CellPlan, codebook: Codebook, states: pl.DataFrame, grids: Mapping[Owner, RankGrid]
) -> Iterator[pl.LazyFrame]:
    """Yield encoded cells that keep new grids, each under the first cohort day of its version in these states."""
    for (kind, version), grid in grids.items():
        first = states.filter(pl.col("kind") == kind, pl.col("version") == version).sort("predicted_at").head(1)
        rows = codebook.encode(first).select("version", "day").join(grid.table(), how="cross")
        yield codebook.encoded_cells(rows.with_columns(measure=codebook.measure(GRID)), kind, plan.definitions[kind])
