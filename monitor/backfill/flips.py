"""Labels before and after an episode, prediction by prediction: what is new, changed, the same, taken away.

This module must not know of metrics, and counts only: every figure is a whole number, whatever the order of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from scipy.special import bdtr

from monitor.cells.class_name import class_text
from monitor.cells.plan import KindPlan
from schemas.base.status import Status
from schemas.events.backfill_diff import (
    MATRIX_CLASSES_MAX,
    NO_LABEL,
    OTHER_LABEL,
    SLICES_MAX,
    Asymmetry,
    FlipMatrix,
    SliceChange,
)

__all__ = ["RelabelledRows", "asymmetry_of", "flip_p_value", "matrix_of", "slices_of", "told"]

_LABELLED = [Status.JOINED.value, Status.IMPLIED.value]
_RANGES = 5
"""Ranges of a regression's labels in the flip matrix."""
_SLICE = "slice_"


@dataclass(frozen=True, eq=False)
class RelabelledRows:
    """Eligible predictions of an episode, with what was told of each before and after.

    Attributes:
        rows: the input's rows with `had` and `has` (a label, before and after) and `is_flip` (it has both, and they
            differ), never null; `before_truth` and `after_truth` (Float64, or String in a multiclass kind) are null
            without a label.
        ineligible: rows that were left out.
    """

    rows: pl.DataFrame
    ineligible: int

    @property
    def both(self) -> pl.DataFrame:
        """Rows with a label before and after."""
        return self.rows.filter("had", "has")


def told(kind: KindPlan, pairs: pl.DataFrame) -> RelabelledRows:
    """Return the eligible rows of an episode, compared.

    Args:
        kind: of all rows.
        pairs: as `monitor.backfill.diff.diff_of` takes them.

    Raises:
        ValueError: a label says nothing: its value (or class) is null or not a number.
    """
    ending = "class" if kind.task == "multiclass" else "value"
    before, after = pl.col("before_truth"), pl.col("after_truth")
    labelled = {side: pl.col(f"{side}_status").is_in(_LABELLED).fill_null(value=False) for side in ("before", "after")}
    is_eligible = pl.col("eligible").fill_null(value=False)
    rows = pairs.filter(is_eligible).with_columns(
        *(pl.when(is_label).then(f"{side}_{ending}").alias(f"{side}_truth") for side, is_label in labelled.items()),
        had=labelled["before"],
        has=labelled["after"],
    )
    for name, is_label in (("before_truth", "had"), ("after_truth", "has")):
        says = pl.col(name).is_not_null() if ending == "class" else pl.col(name).is_finite().fill_null(value=False)
        if not rows.select((says | ~pl.col(is_label)).all()).item():
            raise ValueError(f"a row of status joined or implied has no {ending} in {name.replace('truth', ending)}")
    is_flip = (pl.col("had") & pl.col("has") & (before != after)).fill_null(value=False)
    return RelabelledRows(rows.with_columns(is_flip=is_flip), pairs.height - rows.height)


def matrix_of(kind: KindPlan, episode: RelabelledRows) -> FlipMatrix:
    """Return labels before by labels after.

    A binary kind has 0 and 1, a multiclass kind its 20 most common classes of both sides together, a regression 5
    ranges with equal shares of the labels before (of those after, where there are none before). What is none of them
    is `*other`; flips between two of those stand on the diagonal.
    """
    names, code = _coded(kind, episode.rows)
    size = len(names)
    place = [
        pl.when(there).then(code(side).fill_null(size)).otherwise(size + 1).cast(pl.Int64).alias(side)
        for side, there in (("before", "had"), ("after", "has"))
    ]
    counts = np.zeros((size + 2, size + 2), dtype=np.int64)
    for row, column, amount in episode.rows.select(place).group_by("before", "after").len().iter_rows():
        counts[row, column] = amount
    kept = [*range(size), *([size] if counts[size].any() or counts[:, size].any() else []), size + 1]
    labels = [*names, OTHER_LABEL, NO_LABEL]
    return FlipMatrix(labels=[labels[one] for one in kept], counts=counts[np.ix_(kept, kept)].tolist())


def asymmetry_of(kind: KindPlan, episode: RelabelledRows) -> Asymmetry | None:
    """Return whether flips go one way.

    Of a multiclass kind it is about the two classes with most flips between them. How many flips there are between
    two classes says nothing about their direction, so that choosing them so leaves the p-value what it is.
    """
    flips = episode.rows.filter("is_flip")
    before, after = pl.col("before_truth"), pl.col("after_truth")
    if kind.task == "regression":
        counts = flips.select(up=(after > before).sum(), down=(after < before).sum()).row(0)
        start, end = "lower", "higher"
    elif kind.task == "binary":
        counts = flips.select(
            up=((before == 0.0) & (after == 1.0)).sum(), down=((before == 1.0) & (after == 0.0)).sum()
        ).row(0)
        start, end = "0", "1"
    else:
        ways = {(one, other): amount for one, other, amount in flips.group_by(before, after).len().iter_rows()}
        pairs = {
            (low, high): (ways.get((low, high), 0), ways.get((high, low), 0))
            for low, high in {(min(pair), max(pair)) for pair in ways}
        }
        if not pairs:
            return None
        (low, high), counts = min(pairs.items(), key=lambda one: (-sum(one[1]), one[0]))
        start, end = class_text(low), class_text(high)
    if not any(counts):
        return None
    return Asymmetry(start=start, end=end, to_end=counts[0], to_start=counts[1], p_value=flip_p_value(*counts))


def flip_p_value(one_way: int, other_way: int) -> float:
    """Return the exact two-sided binomial p-value of flips that go either way with probability one half."""
    n = one_way + other_way
    return min(1.0, 2 * float(bdtr(min(one_way, other_way), n, 0.5))) if n else 1.0


def slices_of(episode: RelabelledRows) -> list[SliceChange]:
    """Return what happens to each value of each slice: those with most flips first, then with most predictions."""
    rows = episode.rows
    found = [
        (name.removeprefix(_SLICE), value, touched, flips)
        for name in sorted(rows.columns)
        if name.startswith(_SLICE)
        for value, touched, flips in rows.group_by(pl.col(name).cast(pl.String))
        .agg(pl.len(), pl.col("is_flip").sum().alias("flips"))
        .iter_rows()
    ]
    found.sort(key=lambda one: (-one[3], -one[2], one[0], one[1] is not None, one[1] or ""))
    return [
        SliceChange(name=name, value=value, touched=touched, flips=flips)
        for name, value, touched, flips in found[:SLICES_MAX]
    ]


class _Code:
    """Gives the place of a side's truth among the matrix's labels; null where it is none of them."""

    def __init__(self, edges: Sequence[float] | None, names: Sequence[str]) -> None:
        self._edges = None if edges is None else pl.Series(edges, dtype=pl.Float64)
        self._names = list(names)

    def __call__(self, side: str) -> pl.Expr:
        """Return the place as Int64."""
        truth = pl.col(f"{side}_truth")
        if self._edges is not None:
            return pl.lit(self._edges).search_sorted(truth, side="right").cast(pl.Int64)
        if self._names:
            return truth.cast(pl.Enum(self._names), strict=False).to_physical().cast(pl.Int64)
        return pl.when(truth.is_in([0.0, 1.0])).then(truth.cast(pl.Int64, strict=False))


def _coded(kind: KindPlan, rows: pl.DataFrame) -> tuple[list[str], _Code]:
    if kind.task == "binary":
        return ["0", "1"], _Code(None, [])
    if kind.task == "multiclass":
        both = pl.concat([rows.get_column("before_truth"), rows.get_column("after_truth")]).drop_nulls()
        counts = sorted(both.value_counts().iter_rows(), key=lambda one: (-one[1], one[0]))
        names = [name for name, _ in counts[:MATRIX_CLASSES_MAX]]
        # an empty enumeration is none; any class that nobody has will do
        return [class_text(name) for name in names], _Code(None, names or [""])
    edges = _edges(rows)
    texts = [f"{edge:.6g}" for edge in edges]
    if not texts:
        return ["any"], _Code([], [])
    between = [f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"below {texts[0]}", *between, f"from {texts[-1]}"], _Code(edges, [])


def _edges(rows: pl.DataFrame) -> list[float]:
    """Return the inner edges of a regression's ranges, growing; fewer where labels are few."""
    before = rows.get_column("before_truth").drop_nulls()
    values = before if before.len() else rows.get_column("after_truth").drop_nulls()
    if not values.len():
        return []
    shares = np.arange(1, _RANGES) / _RANGES
    return [float(edge) for edge in np.unique([float(f"{edge:.6g}") for edge in np.quantile(values, shares)])]
