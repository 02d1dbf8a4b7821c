"""How common labels are before and after an episode, and how far labels and outputs are spread otherwise.

This module must not judge.
"""

import math
from typing import Literal

import numpy as np
import polars as pl

from monitor.backfill.flips import RelabelledRows
from monitor.backfill.restatement import SIDES, Restatement
from monitor.cells.bins import SCORE_BINS
from monitor.cells.class_name import read_confusion
from monitor.cells.fixed_point import LINEAR_PARTS, SQUARE_PARTS, UNIT, sum_of
from monitor.drift.distance import Counts, excess_psi, group_bins
from schemas.events.backfill_diff import Distribution, LabelChange, Scope

__all__ = ["cohens_h", "distributions_of", "labels_of"]

_PARTS = 10
"""Groups with equal shares of the side before, for numbers."""

Positives = tuple[int, int]
"""Labels of class 1, and all labels."""


def cohens_h(before: float, after: float) -> float:
    """Return Cohen's effect size of two shares: 2 asin sqrt(after) - 2 asin sqrt(before); 0.2 is called small."""
    return 2 * math.asin(math.sqrt(after)) - 2 * math.asin(math.sqrt(before))


def labels_of(
    restatement: Restatement, episode: RelabelledRows, cohorts: tuple[Positives, Positives] | None
) -> list[LabelChange]:
    """Return how common each class is before and after, or the mean label, by scope.

    Args:
        restatement: of the episode.
        episode: its predictions.
        cohorts: of a binary kind, all labels of the cohorts touched, before and after; None of other kinds.
    """
    if cohorts is not None:
        both = episode.both
        touched = [(_positives(both, f"{side}_truth"), both.height) for side in SIDES]
        return [_share("touched", "1", *touched), _share("cohorts", "1", *cohorts)]
    found: list[LabelChange] = []
    for scope in _scopes(restatement, "touched"):
        counts = [restatement.of(scope, side) for side in SIDES]
        if restatement.kind.task == "regression":
            found.append(_mean(scope, *counts))
            continue
        before, after = (_by_class(one, 0) for one in counts)
        totals = sum(before.values()), sum(after.values())
        order = sorted(before.keys() | after.keys(), key=lambda n: (-before.get(n, 0) - after.get(n, 0), n))
        found += [_share(scope, n, (before.get(n, 0), totals[0]), (after.get(n, 0), totals[1])) for n in order]
    return found


def distributions_of(
    restatement: Restatement, episode: RelabelledRows, cohorts: tuple[Positives, Positives] | None
) -> list[Distribution]:
    """Return how far labels, and outputs of labelled predictions, are spread otherwise after than before.

    Of numbers it is told by 10 groups with equal shares of the side before; of a regression for the episode's own
    predictions only. The two sides share rows, so that chance explains less than the excess takes off.

    Args:
        restatement: of the episode.
        episode: its predictions.
        cohorts: of a binary kind, all labels of the cohorts touched, before and after; None of other kinds.
    """
    if restatement.kind.task == "regression":
        rows = (episode.rows.filter("had"), episode.rows.filter("has"))
        truths = (side.get_column(f"{name}_truth") for name, side in zip(SIDES, rows, strict=True))
        said = (side.get_column("output").drop_nulls() for side in rows)
        return [
            _distribution("episode", "label", _grouped(*truths), is_ordered=True),
            _distribution("episode", "output", _grouped(*said), is_ordered=True),
        ]
    found: list[Distribution] = []
    for scope in _scopes(restatement, "episode"):
        before, after = (restatement.of(scope, side) for side in SIDES)
        if restatement.kind.task == "multiclass":
            labels, outputs = (_aligned(_by_class(before, place), _by_class(after, place)) for place in (0, 1))
        else:
            labels = _binary_labels(episode, cohorts if scope == "cohorts" else None)
            outputs = (_by_score(before), _by_score(after))
        is_score = restatement.kind.task == "binary"
        found.append(_distribution(scope, "label", labels, is_ordered=False))
        found.append(_distribution(scope, "output", outputs, is_ordered=is_score))
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
    spreads: list[float] = []
    for side in (before, after):
        amounts = dict(side.filter(pl.col("bin") == 0).select("measure", "amount").iter_rows())
        n = amounts.get("labelled_scored", 0)
        truth, squared = sum_of("truth", amounts, LINEAR_PARTS), sum_of("squared_truth", amounts, SQUARE_PARTS)
        means.append(truth / (n * UNIT) if n else None)
        spreads.append(math.sqrt(max(n * squared - truth * truth, 0)) / (n * UNIT) if n else 0.0)
    first, last = means
    effect = None if first is None or last is None or spreads[0] <= 0 else (last - first) / spreads[0]
    return LabelChange(scope=scope, label="mean", before=first, after=last, effect=effect)


def _by_class(counts: pl.DataFrame, place: int) -> dict[str, int]:
    """Return how often each class is the truth (place 0), or was said (place 1)."""
    found: dict[str, int] = {}
    for measure, amount in counts.select("measure", "amount").iter_rows():
        if (pair := read_confusion(measure)) is not None:
            found[pair[place]] = found.get(pair[place], 0) + amount
    return found


def _aligned(before: dict[str, int], after: dict[str, int]) -> tuple[Counts, Counts]:
    names = sorted(before.keys() | after.keys())
    first, last = (np.array([side.get(name, 0) for name in names], dtype=np.int64) for side in (before, after))
    return first, last


def _binary_labels(episode: RelabelledRows, cohorts: tuple[Positives, Positives] | None) -> tuple[Counts, Counts]:
    sides = cohorts or tuple(
        (_positives(episode.rows, f"{side}_truth"), int(episode.rows.get_column(there).sum()))
        for side, there in zip(SIDES, ("had", "has"), strict=True)
    )
    first, last = (np.array([n - positives, positives], dtype=np.int64) for positives, n in sides)
    return first, last


def _by_score(counts: pl.DataFrame) -> Counts:
    scores = counts.filter(pl.col("measure").is_in(["score_0", "score_1"]))
    return np.bincount(scores["bin"].to_numpy(), scores["amount"].to_numpy(), SCORE_BINS).astype(np.int64)


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
