"""Rank bins: the intervals of scores in which labels are counted, which follow the distribution of the scores.

Scores from 0 to 1 keep their order as integers (the bits of the float), and an interval is a node of the binary tree
over these integers: its start is a multiple of its size, a power of two. Its number is its start plus its end, so that
intervals sort by their numbers, and start and size follow from the number alone. An odd number is a single score, an
atom.

As long as a version has few distinct scores, each is an atom, and ranks are exact. With more, its labels so far decide
once on a grid: the tree is split until no leaf but an atom has more than a small share of them. The grid stays as it is
and is kept among the cells; the labels so far are moved into it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.cohort import ALL
from monitor.cells.packing import CELL_SCHEMA

__all__ = [
    "ATOMS_MAX",
    "GRID",
    "IS_SCORE",
    "Owner",
    "RankGrid",
    "atom",
    "atoms_among",
    "bin_numbers",
    "bin_starts",
    "grids_in",
    "learn_grid",
    "middle_scores",
    "moved_into",
    "score_integers",
    "without_grid",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Owner = tuple[str, str]
"""A kind and a version."""

ATOMS_MAX = 4_096
"""Distinct scores of a version that are counted one by one."""

GRID = "score_grid"
"""Measure: where the leaves of a grid start, in `bin`; the amount is 2 for those of the coarser grid, too."""

_PARTS, _SLICE_PARTS = 300, 25
"""A leaf has at most one part of the labels, in the slice of all and in other slices. The error of an area under the
curve is then about half a part at most."""
_ROOT_LEVEL: Final = 62
IS_SCORE: Final = r"^score_[01](@|$)"
"""Matches the measures of labels by score."""


@dataclass(frozen=True, eq=False)
class RankGrid:
    """The leaves of one version and kind.

    Attributes:
        fine: integers at which the leaves start, increasing from 0; for the slice of all.
        coarse: the same for other slices; each is in `fine`, too.
    """

    fine: Ints
    coarse: Ints

    def table(self) -> pl.DataFrame:
        """Return `bin`, `bin_order` and `amount` of the cells that keep the grid."""
        amount = 1 + np.isin(self.fine, self.coarse).astype(np.int64)
        return pl.DataFrame({"bin": self.fine, "bin_order": np.arange(len(self.fine)), "amount": amount})


def score_integers(scores: Floats) -> Ints:
    """Return integers that sort as scores from 0 to 1 do.

    >>> score_integers(np.array([0.0, -0.0, 0.5, 1.0])).tolist() == [0, 0, 0x3FE << 52, 0x3FF << 52]
    True
    """
    positive: Floats = scores + 0.0
    return positive.view(np.int64)


def atom(score: float) -> int:
    """Return the number of the bin that holds a single score; the bins of greater scores have greater numbers.

    >>> atom(0.5) < atom(0.75)
    True
    """
    return 2 * int(score_integers(np.array([score]))[0]) + 1


def bin_numbers(integers: Ints, starts: Ints | None) -> Ints:
    """Return the bin of each score.

    Args:
        integers: of `score_integers`.
        starts: of a grid's leaves; None: each score is a bin.
    """
    if starts is None:
        return 2 * integers + 1
    leaf = np.searchsorted(starts, integers, side="right")
    ends = np.append(starts[1:], np.int64(1) << _ROOT_LEVEL)
    return starts[leaf - 1] + ends[leaf - 1]


def bin_starts(bins: Ints) -> tuple[Ints, Ints]:
    """Return start and size of bins.

    >>> [part.tolist() for part in bin_starts(np.array([5, 12]))]
    [[2, 4], [1, 4]]
    """
    size = bins & -bins
    return (bins - size) >> 1, size


def middle_scores(bins: Ints) -> Floats:
    """Return the score in the middle of each bin; that of an atom is exact.

    >>> middle_scores(np.array([atom(0.25)])).tolist()
    [0.25]
    """
    middles: Ints = bins >> 1
    return middles.view(np.float64)


def learn_grid(integers: Ints, counts: Ints | Floats, threshold: float) -> RankGrid:
    """Return the grid for a distribution of scores.

    Args:
        integers: distinct, increasing.
        counts: how often each occurs, or its weight.
        threshold: a score at which a leaf starts.
    """
    edge = int(score_integers(np.array([threshold]))[0])
    fine, coarse = (_leaves(integers, counts, edge, parts) for parts in (_PARTS, _SLICE_PARTS))
    return RankGrid(fine, coarse)


def _leaves(integers: Ints, counts: Ints | Floats, edge: int, parts: int) -> Ints:
    below = np.append(0, np.cumsum(counts))
    most = float(below[-1]) / parts
    starts = []
    waiting = [(0, _ROOT_LEVEL)]
    while waiting:
        start, level = waiting.pop()
        end = start + (1 << level)
        first, last = np.searchsorted(integers, [start, end])
        if level and (below[last] - below[first] > most or start < edge < end):
            half = 1 << (level - 1)
            waiting += [(start + half, level - 1), (start, level - 1)]
        else:
            starts.append(start)
    return np.array(starts, dtype=np.int64)


def grids_in(cells: pl.DataFrame) -> dict[Owner, RankGrid]:
    """Return the grids that are kept among cells."""
    rows = cells.filter(pl.col("measure") == GRID).sort("bin")
    found = {}
    for (kind, version), mine in rows.group_by("kind", "version"):
        fine, amount = mine.get_column("bin").to_numpy(), mine.get_column("amount").to_numpy()
        found[str(kind), str(version)] = RankGrid(fine, fine[amount > 1])
    return found


def without_grid(cells: pl.DataFrame, grids: Iterable[Owner]) -> pl.DataFrame:
    """Return the cells of labels by score of the versions that have no grid."""
    return _scores(cells).join(_owners(grids), on=["kind", "version"], how="anti")


def atoms_among(cells: pl.DataFrame, owners: Iterable[Owner]) -> pl.DataFrame:
    """Return the cells of labels by score of some kinds and versions."""
    return _scores(cells).join(_owners(owners), on=["kind", "version"], how="semi")


def _scores(cells: pl.DataFrame) -> pl.DataFrame:
    return cells.filter(pl.col("measure").str.contains(IS_SCORE)).select(CELL_SCHEMA.names())


def _owners(owners: Iterable[Owner]) -> pl.DataFrame:
    return pl.DataFrame(list(owners), schema={"kind": pl.String, "version": pl.String}, orient="row")


def moved_into(cells: pl.DataFrame, grids: Mapping[Owner, RankGrid]) -> pl.DataFrame:
    """Return the cells to add so that atoms are counted in the leaves of grids.

    Args:
        cells: as `atoms_among` returns them.
        grids: by kind and version; the cells of others stay.
    """
    parts = [CELL_SCHEMA.to_frame()]
    for (kind, version), grid in grids.items():
        mine = cells.filter(pl.col("kind") == kind, pl.col("version") == version)
        for is_all in (True, False):
            rows = mine.filter((pl.col("slice") == ALL) == is_all)
            starts, _ = bin_starts(rows.get_column("bin").to_numpy())
            bins = pl.Series("bin", bin_numbers(starts, grid.fine if is_all else grid.coarse), dtype=pl.Int64)
            parts += [rows.with_columns(-pl.col("amount")), rows.with_columns(bins)]
    return pl.concat(parts)
