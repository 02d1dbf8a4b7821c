"""Class balance and distributions of labels and outputs before and after an episode."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl

from monitor.backfill.flips import LabelPairs
from monitor.backfill.restatement import SIDES, Restatement
from monitor.cells.bins import SCORE_BINS
from monitor.cells.class_name import OTHER, PREDICTED, TRUE
from monitor.cells.exact_sum import ONE, root_of_ratio
from monitor.cells.measure import read_measures, whole_sums
from monitor.cells.rank_bin import middle_scores
from monitor.drift.distance import Counts, excess_psi, group_bins
from schemas.events.backfill_diff import Distribution, LabelChange, Scope

__all__ = ["cohens_h", "distributions_of", "labels_of"]

_CLASSES_MAX = 50
"""Classes that are reported, those with most labels; the rest is reported as one."""
_PARTS = 10
"""Number of groups of numeric values, with equal shares of the side before."""

Positives = tuple[int, int]
"""Number of labels of class 1, and of all labels."""


def cohens_h(before: float, after: float) -> float:
    """Return Cohen's h of two shares: 2 asin sqrt(after) - 2 asin sqrt(before); 0.2 is called small.

    >>> round(cohens_h(0.2, 0.24), 4)
    0.0967
    """
    return 2 * math.asin(math.sqrt(after)) - 2 * math.asin(math.sqrt(before))


def labels_of(
    restatement: Restatement, labels: LabelPairs, cohorts: tuple[Positives, Positives] | None
) -> list[LabelChange]:
    """Return the share of each class, or the mean label, before and after, by scope.

    Args:
        cohorts: of a binary kind, all labels of the cohorts touched, before and after; None for other kinds.
    """
    if cohorts is not None:
        both = labels.both
        touched = [(_positives(both, f"{side}_truth"), both.height) for side in SIDES]
        return [_share("touched", "1", *touched), _share("cohorts", "1", *cohorts)]
    found: list[LabelChange] = []
    for scope in _scopes(restatement, "touched"):
        counts = [restatement.of(scope, side) for side in SIDES]
        if restatement.kind.task == "regression":
            found.append(_mean(scope, *counts))
            continue
        before, after = (_by_class(one, TRUE) for one in counts)
        totals = sum(before.values()), sum(after.values())
        order = sorted(before.keys() | after.keys(), key=lambda n: (-before.get(n, 0) - after.get(n, 0), n))
        common = order if len(order) <= _CLASSES_MAX else [n for n in order if n != OTHER][:_CLASSES_MAX]
        found += [_share(scope, n, (before.get(n, 0), totals[0]), (after.get(n, 0), totals[1])) for n in common]
        if len(common) < len(order):
            rest = [
                total - sum(side.get(n, 0) for n in common) for side, total in zip((before, after), totals, strict=True)
            ]
            found.append(_share(scope, OTHER, (rest[0], totals[0]), (rest[1], totals[1])))
    return found


def distributions_of(
    restatement: Restatement, labels: LabelPairs, cohorts: tuple[Positives, Positives] | None
) -> list[Distribution]:
    """Return the excess PSI of labels, and of outputs of labelled predictions, after against before.

    Numbers are compared in 10 groups with equal shares of the side before; in a regression, only those of the episode's
    own predictions. The two sides share rows, so chance explains less than the excess subtracts.

    Args:
        cohorts: of a binary kind, all labels of the cohorts touched, before and after; None for other kinds.
    """
    if restatement.kind.task == "regression":
        rows = (labels.rows.filter("had_label"), labels.rows.filter("has_label"))
        truths = (side.get_column(f"{name}_truth") for name, side in zip(SIDES, rows, strict=True))
        outputs = (side.get_column("output").drop_nulls() for side in rows)
        return [
            _distribution("episode", "label", _grouped(*truths), is_ordered=True),
            _distribution("episode", "output", _grouped(*outputs), is_ordered=True),
        ]
    found: list[Distribution] = []
    for scope in _scopes(restatement, "episode"):
        before, after = (restatement.of(scope, side) for side in SIDES)
        if restatement.kind.task == "multiclass":
            of_labels, of_outputs = (_aligned(_by_class(before, of), _by_class(after, of)) for of in (TRUE, PREDICTED))
        else:
            of_labels = _binary_labels(labels, cohorts if scope == "cohorts" else None)
            edges = restatement.kind.score_edges
            of_outputs = (_by_score(before, edges), _by_score(after, edges))
        is_score = restatement.kind.task == "binary"
        found.append(_distribution(scope, "label", of_labels, is_ordered=False))
        found.append(_distribution(scope, "output", of_outputs, is_ordered=is_score))
    return found


def _scopes(restatement: Restatement, least: Scope) -> tuple[Scope, ...]:
    return (least, "cohorts") if restatement.is_whole else (least,)


def _positives(rows: pl.DataFrame, truth: str) -> int:
    return int(rows.select((pl.col(truth) == 1.0).sum()).item())


def _share(scope: Scope, label: str, before: Positives, after: Positives) -> LabelChange:
    shares = [count / n if n else None for count, n in (before, after)]
    effect = None if shares[0] is None or shares[1] is None else cohens_h(shares[0], shares[1])
    return LabelChange(scope=scope, label=label, before=shares[0], after=shares[1], effect=effect)


def _mean(scope: Scope, before: pl.DataFrame, after: pl.DataFrame) -> LabelChange:
    means: list[float | None] = []
    spreads: list[float | None] = []
    for side in (before, after):
        n = int(side.filter(pl.col("measure") == "labelled_scored").get_column("amount").sum())
        sums = whole_sums(read_measures(side), [], ["truth", "squared_truth"])
        truth, squared = sums["truth"].get((), 0), sums["squared_truth"].get((), 0)
        means.append(truth / (n * ONE) if n else None)
        spreads.append(root_of_ratio(max(n * ONE * squared - truth * truth, 0), (n * ONE) ** 2) if n else 0.0)
    first, last = means
    effect = None if first is None or last is None or not spreads[0] else (last - first) / spreads[0]
    return LabelChange(scope=scope, label="mean", before=first, after=last, effect=effect)


def _by_class(counts: pl.DataFrame, name: str) -> dict[str, int]:
    """Return how often each class is the label (`TRUE`) or the output (`PREDICTED`)."""
    mine = read_measures(counts).filter(pl.col("name") == name)
    return dict(mine.group_by("class").agg(pl.col("amount").sum()).iter_rows())


def _aligned(before: dict[str, int], after: dict[str, int]) -> tuple[Counts, Counts]:
    names = sorted(before.keys() | after.keys())
    first, last = (np.array([side.get(name, 0) for name in names], dtype=np.int64) for side in (before, after))
    return first, last


def _binary_labels(labels: LabelPairs, cohorts: tuple[Positives, Positives] | None) -> tuple[Counts, Counts]:
    sides = cohorts or tuple(
        (_positives(labels.rows, f"{side}_truth"), int(labels.rows.get_column(is_labelled).sum()))
        for side, is_labelled in zip(SIDES, ("had_label", "has_label"), strict=True)
    )
    first, last = (np.array([n - positives, positives], dtype=np.int64) for positives, n in sides)
    return first, last


def _by_score(counts: pl.DataFrame, edges: Sequence[float]) -> Counts:
    """Return the rows by score bin; a rank bin belongs to the score bin of its middle."""
    scores = counts.filter(pl.col("measure").is_in(["score_0", "score_1"]))
    bins = np.searchsorted(edges, middle_scores(scores["bin"].to_numpy()), side="right")
    return np.bincount(bins, scores["amount"].to_numpy(), SCORE_BINS).astype(np.int64)


def _grouped(before: pl.Series, after: pl.Series) -> tuple[Counts, Counts]:
    """Return the rows of each side in groups that have equal shares of the side before."""
    sides = [side.filter(side.is_finite()).to_numpy() for side in (before, after)]
    if not len(sides[0]):
        return np.zeros(1, dtype=np.int64), np.array([len(sides[1])])
    edges = np.unique(np.quantile(sides[0], np.arange(1, _PARTS) / _PARTS))
    first, last = (np.bincount(np.searchsorted(edges, side, "right"), minlength=len(edges) + 1) for side in sides)
    return first, last


def _distribution(
    scope: Scope, of: Literal["label", "output"], sides: tuple[Counts, Counts], *, is_ordered: bool
) -> Distribution:
    before, after = sides
    rows = int(before.sum()), int(after.sum())
    found = excess_psi(before, after, group_bins(np.arange(len(before)), before, rows[1], is_ordered=is_ordered))
    excess = None if found is None else found.excess
    return Distribution(scope=scope, of=of, before=rows[0], after=rows[1], excess_psi=excess)
