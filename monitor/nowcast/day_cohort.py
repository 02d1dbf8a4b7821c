"""Inputs of the estimator: the panes of single days, and cumulative counts of mature days."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from monitor.cells.pane import KnownLabels, Panes

__all__ = ["MatureTotals", "bin_scores", "count_digest", "panes_of_day"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MatureTotals:
    """Cumulative sums over days of the counts that law and prior are learned from, each with a zero in front.

    Create them with `MatureTotals.of(strata)`. D days, S strata, P panes, B score bins, A age edges.

    Attributes:
        labels: [D + 1, S, 2, 2, A] by class, predicted side and age.
        closed: [D + 1, S] predictions closed without a label.
        ones: [D + 1, P, B] labels of class 1.
        zeros: [D + 1, P, B] labels of class 0.
        predictions: [D] eligible predictions with a probability, not summed.
    """

    labels: Ints
    closed: Ints
    ones: Ints
    zeros: Ints
    predictions: Ints

    @classmethod
    def of(cls, strata: Sequence[Panes]) -> "MatureTotals":
        """Return the totals of panes that all have the same days."""
        days, panes, bins = strata[0].scored.shape
        kind = strata[0].kind
        labels = np.zeros((days, len(strata), 2, 2, len(kind.age_edges_ms)), dtype=np.int64)
        classes = np.zeros((days, panes, bins, 2), dtype=np.int64)
        for stratum, part in enumerate(strata):
            known = part.known
            side = (known.score_bin >= kind.positive_from).astype(np.int64)
            np.add.at(labels[:, stratum], (known.day, known.label, side, known.age), known.amount)
            np.add.at(classes, (known.day, known.pane, known.score_bin, known.label), known.amount)
        closed = np.stack([part.closed.sum(axis=(1, 2)) for part in strata], axis=1)
        predictions = np.sum([part.scored.sum(axis=(1, 2)) for part in strata], axis=0)
        return cls(
            labels=_cumulated(labels),
            closed=_cumulated(closed),
            ones=_cumulated(classes[..., 1]),
            zeros=_cumulated(classes[..., 0]),
            predictions=np.asarray(predictions, dtype=np.int64),
        )

    def within(self, first: int, last: int) -> tuple[Ints, Ints, Ints, Ints]:
        """Return labels, closed, ones and zeros summed over the days from index `first` up to, without, `last`."""
        labels, closed, ones, zeros = (
            sums[last] - sums[first] for sums in (self.labels, self.closed, self.ones, self.zeros)
        )
        return labels, closed, ones, zeros


def _cumulated(counts: Ints) -> Ints:
    return np.concatenate([np.zeros((1, *counts.shape[1:]), dtype=np.int64), np.cumsum(counts, axis=0)])


def panes_of_day(panes: Panes, index: int) -> Panes:
    """Return the panes of the day at an index of `panes.days`."""
    day, known = slice(index, index + 1), panes.known
    mine = known.day == index
    return replace(
        panes,
        days=panes.days[day],
        start_ms=panes.start_ms[day],
        end_ms=panes.end_ms[day],
        predictions=panes.predictions[day],
        labels=panes.labels[day],
        scored=panes.scored[day],
        closed=panes.closed[day],
        known=KnownLabels(
            day=np.zeros(int(mine.sum()), dtype=np.int64),
            pane=known.pane[mine],
            score_bin=known.score_bin[mine],
            label=known.label[mine],
            age=known.age[mine],
            amount=known.amount[mine],
        ),
    )


def count_digest(parts: Sequence[Panes]) -> int:
    """Return a hash of the counts of one day, by stratum."""
    digests = []
    for part in parts:
        known = part.known
        order = np.lexsort((known.age, known.label, known.score_bin, known.pane))
        columns = [column[order] for column in (known.pane, known.score_bin, known.label, known.age, known.amount)]
        digests.append(xxh3_64_intdigest(b"".join(counts.tobytes() for counts in (part.scored, part.closed, *columns))))
    return hash(tuple(digests))


def bin_scores(edges: Sequence[float]) -> Floats:
    """Return a representative score of each bin: its middle in the logit; the outer bins extend by 0.125 beyond.

    >>> bin_scores([0.25, 0.5, 0.75]).round(2).tolist()
    [0.23, 0.37, 0.63, 0.77]
    """
    known = np.array(edges)
    inner = np.clip(known, 1e-6, 1 - 1e-6)
    logits = np.log(inner / (1 - inner))
    middle = np.concatenate([[logits[0] - 0.125], (logits[1:] + logits[:-1]) / 2, [logits[-1] + 0.125]])
    scores: Floats = 1 / (1 + np.exp(-middle))
    return scores
