"""Labels before and after an episode, prediction by prediction: new, changed, identical, or taken away.

Every figure is a count, so that the order of rows does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from scipy.special import bdtr

from monitor.cells.class_name import escape_class
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

__all__ = ["LabelPairs", "asymmetry_of", "flip_p_value", "matrix_of", "pair_labels", "slices_of"]

_LABELLED = [Status.JOINED.value, Status.IMPLIED.value]
_RANGES = 5
"""Number of ranges of a regression's labels in the flip matrix."""
_SLICE = "slice_"


@dataclass(frozen=True, eq=False)
class LabelPairs:
    """Eligible predictions of an episode, each with its label before and after.

    Attributes:
        rows: the input's rows with `had_label`, `has_label` (before and after the episode) and `is_flip` (labels on
            both sides that differ), never null; `before_truth` and `after_truth` (Float64, or String in a multiclass
            kind) are null without a label.
        ineligible: number of rows that were left out.
    """

    rows: pl.DataFrame
    ineligible: int

    @property
    def both(self) -> pl.DataFrame:
        """Rows with a label before and after."""
        return self.rows.filter("had_label", "has_label")


def pair_labels(kind: KindPlan, pairs: pl.DataFrame) -> LabelPairs:
    """Compare the labels of an episode's eligible predictions before and after.

    Args:
        pairs: as `monitor.backfill.diff.diff_of` takes them.

    Raises:
        ValueError: a labelled row has no value (or class), or one that is not finite.
    """
    ending = "class" if kind.task == "multiclass" else "value"
    before, after = pl.col("before_truth"), pl.col("after_truth")
    labelled = {side: pl.col(f"{side}_status").is_in(_LABELLED).fill_null(value=False) for side in ("before", "after")}
    is_eligible = pl.col("eligible").fill_null(value=False)
    rows = pairs.filter(is_eligible).with_columns(
        *(pl.when(is_label).then(f"{side}_{ending}").alias(f"{side}_truth") for side, is_label in labelled.items()),
        had_label=labelled["before"],
        has_label=labelled["after"],
    )
    for name, is_label in (("before_truth", "had_label"), ("after_truth", "has_label")):
        is_valid = pl.col(name).is_not_null() if ending == "class" else pl.col(name).is_finite().fill_null(value=False)
        if not rows.select((is_valid | ~pl.col(is_label)).all()).item():
            raise ValueError(f"a row of status joined or implied has no {ending} in {name.replace('truth', ending)}")
    is_flip = (pl.col("had_label") & pl.col("has_label") & (before != after)).fill_null(value=False)
    return LabelPairs(rows.with_columns(is_flip=is_flip), pairs.height - rows.height)


def matrix_of(kind: KindPlan, labels: LabelPairs) -> FlipMatrix:
    """Return the matrix of labels before (rows) by labels after (columns).

    A binary kind has 0 and 1, a multiclass kind its 20 most common classes of both sides together, a regression 5
    ranges with equal shares of the labels before (of those after, where there are none before). All others are
    `*other`; flips between two of those are on the diagonal.
    """
    names, index_of = _matrix_index(kind, labels.rows)
    size = len(names)
    indexes = [
        pl.when(is_labelled).then(index_of(side).fill_null(size)).otherwise(size + 1).cast(pl.Int64).alias(side)
        for side, is_labelled in (("before", "had_label"), ("after", "has_label"))
    ]
    counts = np.zeros((size + 2, size + 2), dtype=np.int64)
    for row, column, amount in labels.rows.select(indexes).group_by("before", "after").len().iter_rows():
        counts[row, column] = amount
    kept = [*range(size), *([size] if counts[size].any() or counts[:, size].any() else []), size + 1]
    names = [*names, OTHER_LABEL, NO_LABEL]
    return FlipMatrix(labels=[names[index] for index in kept], counts=counts[np.ix_(kept, kept)].tolist())


def asymmetry_of(kind: KindPlan, labels: LabelPairs) -> Asymmetry | None:
    """Return the test whether flips go one way; None without flips.

    In a multiclass kind it is about the two classes with most flips between them. The number of flips between two
    classes is independent of their direction, so that this choice does not bias the p-value.
    """
    flips = labels.rows.filter("is_flip")
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
        start, end = escape_class(low), escape_class(high)
    if not any(counts):
        return None
    return Asymmetry(start=start, end=end, to_end=counts[0], to_start=counts[1], p_value=flip_p_value(*counts))


def flip_p_value(one_way: int, other_way: int) -> float:
    """Return the two-sided p-value of an exact binomial test that flips go either way with probability one half.

    >>> flip_p_value(4, 1), flip_p_value(30, 0) < 1e-8
    (0.375, True)
    """
    n = one_way + other_way
    return min(1.0, 2 * float(bdtr(min(one_way, other_way), n, 0.5))) if n else 1.0


def slices_of(labels: LabelPairs) -> list[SliceChange]:
    """Return predictions and flips by value of each slice: most flips first, then most predictions.

    >>> rows = pl.DataFrame({"slice_country": ["DE", "FR", "FR"], "is_flip": [False, True, True]})
    >>> [(one.value, one.touched, one.flips) for one in slices_of(LabelPairs(rows, 0))]
    [('FR', 2, 2), ('DE', 1, 0)]
    """
    rows = labels.rows
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


class _LabelIndex:
    """Expression for the index of a side's label among those of the matrix; null for all others."""

    def __init__(self, edges: Sequence[float] | None, names: Sequence[str]) -> None:
        self._edges = None if edges is None else pl.Series(edges, dtype=pl.Float64)
        self._names = list(names)

    def __call__(self, side: str) -> pl.Expr:
        truth = pl.col(f"{side}_truth")
        if self._edges is not None:
            return pl.lit(self._edges).search_sorted(truth, side="right").cast(pl.Int64)
        if self._names:
            return truth.cast(pl.Enum(self._names), strict=False).to_physical().cast(pl.Int64)
        return pl.when(truth.is_in([0.0, 1.0])).then(truth.cast(pl.Int64, strict=False))


def _matrix_index(kind: KindPlan, rows: pl.DataFrame) -> tuple[list[str], _LabelIndex]:
    """Return the names of the matrix's labels, and the index of each."""
    if kind.task == "binary":
        return ["0", "1"], _LabelIndex(None, [])
    if kind.task == "multiclass":
        both = pl.concat([rows.get_column("before_truth"), rows.get_column("after_truth")]).drop_nulls()
        counts = sorted(both.value_counts().iter_rows(), key=lambda one: (-one[1], one[0]))
        names = [name for name, _ in counts[:MATRIX_CLASSES_MAX]]
        # an enumeration cannot be empty; any class that no row has will do
        return [escape_class(name) for name in names], _LabelIndex(None, names or [""])
    edges = _edges(rows)
    texts = [f"{edge:.6g}" for edge in edges]
    if not texts:
        return ["any"], _LabelIndex([], [])
    between = [f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"below {texts[0]}", *between, f"from {texts[-1]}"], _LabelIndex(edges, [])


def _edges(rows: pl.DataFrame) -> list[float]:
    """Return the inner edges of a regression's ranges, growing; fewer where labels have few values."""
    before = rows.get_column("before_truth").drop_nulls()
    values = before if before.len() else rows.get_column("after_truth").drop_nulls()
    if not values.len():
        return []
    shares = np.arange(1, _RANGES) / _RANGES
    return [float(edge) for edge in np.unique([float(f"{edge:.6g}") for edge in np.quantile(values, shares)])]
