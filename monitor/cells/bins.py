"""The fixed bin edges of scores and of label ages.

Stored counts depend on the edges: cells can be merged only if they were counted with the same ones
(`CellPlan.digest`).
"""

import math
from collections.abc import Iterable

__all__ = ["AGES_MAX", "OVERFLOW_AGE_MS", "SCORE_BINS", "age_edges_ms", "score_edges"]

SCORE_BINS = 64
_LOGIT_MIN = -8.0
_LOGIT_STEP = 0.25
_DECIMALS = 12
"""Edges are rounded, so that the last bit of a platform's `exp` moves no score into another bin."""

_FIRST_AGE_S = 60
_LAST_AGE_S = 400 * 86_400
_AGE_STEPS = 127
AGES_MAX = 4_096
"""Age edges that fit into a bin number of a pane; a plan has about seventy."""
OVERFLOW_AGE_MS = 100 * 365 * 86_400_000
"""The last age edge, a hundred years: its bin counts every age beyond the grid."""


def score_edges(threshold: float) -> tuple[tuple[float, ...], int]:
    """Return the 63 inner edges of the 64 score bins, and the first bin whose scores count as positive.

    Bins have equal width (0.25) in the logit of the score, from -8 to 8; the first bin starts at score 0, the last ends
    at 1. The grid is shifted by at most half a bin so that its edge nearest to the decision threshold becomes exactly
    the threshold: "score >= threshold" and "bin >= first positive bin" select the same rows. A threshold beyond the
    grid (0, 1, or closer to them than a logit of 8) replaces the outermost inner edge, and nothing is shifted.

    The bin of a score is the number of inner edges at or below it.

    Args:
        threshold: from 0 to 1, both included; scores at or above it are positive.

    Returns:
        The inner edges, strictly increasing, and the number of the first positive bin (1 to 63).

    >>> edges, positive_from = score_edges(0.3)
    >>> len(edges), positive_from, edges[positive_from - 1]
    (63, 29, 0.3)
    """
    logit = -math.inf if threshold <= 0 else math.inf if threshold >= 1 else math.log(threshold / (1 - threshold))
    last = SCORE_BINS - 1
    position = (logit - _LOGIT_MIN) / _LOGIT_STEP
    positive_from = 1 if position < 1 else last if position > last else round(position)
    shift = (position - positive_from) * _LOGIT_STEP if 1 <= position <= last else 0.0
    logits = (_LOGIT_MIN + _LOGIT_STEP * number + shift for number in range(1, SCORE_BINS))
    edges = [round(1 / (1 + math.exp(-value)), _DECIMALS) for value in logits]
    edges[positive_from - 1] = threshold
    return tuple(edges), positive_from


def age_edges_ms(extra: Iterable[int]) -> tuple[int, ...]:
    """Return the upper edges of the label-age bins, in milliseconds, increasing.

    They are 0, 128 ages from 1 minute to 400 days in geometric steps, the `extra` ages, and `OVERFLOW_AGE_MS`. An age
    belongs to the least edge at or above it, so the labels known *by* an edge's age are exactly those of its bin and of
    all bins before it. Labels known at or before their prediction have age 0.

    Raises:
        ValueError: there would be more than `AGES_MAX` edges.

    >>> edges = age_edges_ms([3_600_000])
    >>> edges[:3], 3_600_000 in edges, len(edges)
    ((0, 60000, 67000), True, 131)
    """
    factor = (_LAST_AGE_S / _FIRST_AGE_S) ** (1 / _AGE_STEPS)
    grid = {round(_FIRST_AGE_S * factor**step) * 1_000 for step in range(_AGE_STEPS + 1)}
    edges = {0, OVERFLOW_AGE_MS} | grid | {age for age in extra if 0 <= age < OVERFLOW_AGE_MS}
    if len(edges) > AGES_MAX:
        raise ValueError(f"{len(edges)} label ages are more than the {AGES_MAX} that can be counted")
    return tuple(sorted(edges))
