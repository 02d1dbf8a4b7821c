"""Puts labelled outcomes into rank bins, and decides on the grid of a version that has many distinct scores."""

import numpy as np
import polars as pl

from monitor.cells.cohort import ALL
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.rank_bin import (
    ATOMS_MAX,
    Owner,
    RankGrid,
    bin_numbers,
    bin_starts,
    learn_grid,
    score_integers,
)
from monitor.cells.revisions import LABELLED
from monitor.cells.scoring import RANK_BIN, SLICE_RANK_BIN, is_scored

__all__ = ["new_grids", "with_rank_bins"]


def new_grids(plan: CellPlan, states: pl.DataFrame) -> dict[Owner, RankGrid]:
    """Return the grids of versions that have too many distinct scores with these states.

    Args:
        plan: with the grids and atoms of the cells so far.
        states: of `monitor.cells.revisions.states_between`.
    """
    found = {}
    for kind in _binary(plan):
        added = states.filter(pl.col("kind") == kind.name, LABELLED, is_scored(), pl.col("sign") > 0).filter(
            pl.col("replaced_at").is_null()
        )
        for version in added.get_column("version").unique().sort():
            if (kind.name, version) in plan.grids:
                continue
            integers, counts = _distinct(plan, kind, version, added.filter(pl.col("version") == version))
            if len(integers) > ATOMS_MAX:
                found[kind.name, version] = learn_grid(integers, counts, kind.threshold or 0.0)
    return found


def with_rank_bins(plan: CellPlan, states: pl.DataFrame) -> pl.DataFrame:
    """Return states with their rank bins in the slice of all and in other slices; null where there is no score.

    Args:
        plan: with the grids.
        states: with kind, version and output.
    """
    kinds = [kind.name for kind in _binary(plan)]
    score = pl.when(pl.col("kind").is_in(kinds), pl.col("output").is_between(0.0, 1.0)).then("output")
    scores = states.select(score.fill_null(0.0)).to_series().to_numpy()
    integers = score_integers(scores)
    fine, coarse = bin_numbers(integers, None), bin_numbers(integers, None)
    present = set(states.select("kind", "version").unique().iter_rows())
    for (kind, version), grid in plan.grids.items():
        if (kind, version) not in present:
            continue
        is_mine = states.select((pl.col("kind") == kind) & (pl.col("version") == version)).to_series().to_numpy()
        fine[is_mine] = bin_numbers(integers[is_mine], grid.fine)
        coarse[is_mine] = bin_numbers(integers[is_mine], grid.coarse)
    bins = {RANK_BIN: fine, SLICE_RANK_BIN: coarse}
    is_score = score.is_not_null()
    return states.with_columns(pl.when(is_score).then(pl.Series(numbers)).alias(name) for name, numbers in bins.items())


def _binary(plan: CellPlan) -> list[KindPlan]:
    return [kind for kind in plan.kinds if kind.task == "binary"]


def _distinct(plan: CellPlan, kind: KindPlan, version: str, added: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct scores of a version, and how often each occurs, in the cells so far and in new states."""
    known = plan.atoms.filter(
        pl.col("kind") == kind.name,
        pl.col("version") == version,
        pl.col("slice") == ALL,
        pl.col("measure").is_in(["score_0", "score_1"]),
    )
    starts, _ = bin_starts(known.get_column("bin").to_numpy())
    integers = np.concatenate([starts, score_integers(added.get_column("output").to_numpy())])
    counts = np.concatenate([known.get_column("amount").to_numpy(), np.ones(added.height, dtype=np.int64)])
    distinct, place = np.unique(integers, return_inverse=True)
    return distinct, np.bincount(place, counts).astype(np.int64)
