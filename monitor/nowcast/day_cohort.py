"""What estimates are made from: panes of single days as cohorts, and running totals of mature days.

This module must not estimate anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from monitor.cells.pane import Known, Panes
from monitor.nowcast.em import CohortCounts

__all__ = ["MatureTotals", "ReachedCohort", "bin_scores", "count_digest", "one_day"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReachedCohort(CohortCounts):
    """A cohort seen through its cells: each pane was looked at by one age, which is known."""

    reached_ms: Floats = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, cohort: CohortCounts, reached_ms: Floats) -> "ReachedCohort":
        """Return the cohort with the age of each pane, shape (panes,)."""
        return cls(**{one.name: getattr(cohort, one.name) for one in fields(cohort)}, reached_ms=reached_ms)

    def ages_ms(self, now_ms: int) -> Floats:  # noqa: ARG002 - the age of a pane is given
        """Return the age that each pane was looked at by."""
        return self.reached_ms


@dataclass(frozen=True)
class MatureTotals:
    """Running sums over days of what law and prior are learned from, each with a zero in front.

    Make them with `MatureTotals.of(strata)`. D days, S strata, P panes, B score bins, A age edges.

    Attributes:
        labels: [D + 1, S, 2, 2, A] by class, predicted side and age.
        closed: [D + 1, S] without a label.
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
        """Return the totals of panes whose days are alike."""
        days, panes, bins = strata[0].scored.shape
        kind = strata[0].kind
        labels = np.zeros((days, len(strata), 2, 2, len(kind.age_edges_ms)), dtype=np.int64)
        classes = np.zeros((days, panes, bins, 2), dtype=np.int64)
        for stratum, one in enumerate(strata):
            known = one.known
            side = (known.score_bin >= kind.positive_from).astype(np.int64)
            np.add.at(labels[:, stratum], (known.day, known.label, side, known.age), known.amount)
            np.add.at(classes, (known.day, known.pane, known.score_bin, known.label), known.amount)
        closed = np.stack([one.closed.sum(axis=(1, 2)) for one in strata], axis=1)
        sums = [_cumulated(part) for part in (labels, closed, classes[..., 1], classes[..., 0])]
        made = np.sum([one.scored.sum(axis=(1, 2)) for one in strata], axis=0)
        labels_so_far, closed_so_far, ones, zeros = sums
        return cls(labels_so_far, closed_so_far, ones, zeros, np.asarray(made, dtype=np.int64))

    def within(self, first: int, last: int) -> tuple[Ints, Ints, Ints, Ints]:
        """Return the sums of some days, the last one not included."""
        labels, closed, ones, zeros = (
            part[last] - part[first] for part in (self.labels, self.closed, self.ones, self.zeros)
        )
        return labels, closed, ones, zeros


def _cumulated(counts: Ints) -> Ints:
    return np.concatenate([np.zeros((1, *counts.shape[1:]), dtype=np.int64), np.cumsum(counts, axis=0)])


def one_day(panes: Panes, place: int) -> Panes:
    """Return the panes of one day."""
    one, known = slice(place, place + 1), panes.known
    mine = known.day == place
    return replace(
        panes,
        days=(panes.days[place],),
        start_ms=panes.start_ms[one],
        end_ms=panes.end_ms[one],
        predictions=panes.predictions[one],
        labels=panes.labels[one],
        scored=panes.scored[one],
        closed=panes.closed[one],
        known=Known(
            day=np.zeros(int(mine.sum()), dtype=np.int64),
            pane=known.pane[mine],
            score_bin=known.score_bin[mine],
            label=known.label[mine],
            age=known.age[mine],
            amount=known.amount[mine],
        ),
    )


def count_digest(parts: Sequence[Panes]) -> int:
    """Return a number that changes with the counts of a day."""
    digests = []
    for one in parts:
        known = one.known
        order = np.lexsort((known.age, known.label, known.score_bin, known.pane))
        arrays = [part[order] for part in (known.pane, known.score_bin, known.label, known.age, known.amount)]
        digests.append(xxh3_64_intdigest(b"".join(part.tobytes() for part in (one.scored, one.closed, *arrays))))
    return hash(tuple(digests))


def bin_scores(edges: Sequence[float]) -> Floats:
    """Return what stands for the scores of each bin: the middle of the bin in the logit."""
    known = np.array(edges)
    inner = np.clip(known, 1e-6, 1 - 1e-6)
    logits = np.log(inner / (1 - inner))
    middle = np.concatenate([[logits[0] - 0.125], (logits[1:] + logits[:-1]) / 2, [logits[-1] + 0.125]])
    scores: Floats = 1 / (1 + np.exp(-middle))
    return scores
