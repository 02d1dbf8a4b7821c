"""The fixed edges that scores and label ages are counted between.

Edges are part of what is stored: two cells merge only if they were counted between the same ones
(see `CellPlan.digest`). This module must not read frames, nor know what the counts are used for.
"""

import math
from collections.abc import Iterable

__all__ = ["AGES_MAX", "BEYOND_MS", "SCORE_BINS", "age_edges_ms", "score_edges"]

SCORE_BINS = 64
_LOGIT_LEAST = -8.0
_LOGIT_STEP = 0.25
_DECIMALS = 12
"""Edges are rounded, so that the last bit of a platform's `exp` moves no score into another bin."""

_FIRST_AGE_S = 60
_LAST_AGE_S = 400 * 86_400
_AGE_STEPS = 127
AGES_MAX = 4_096
"""Age edges that the bin of a pane has room for; a plan has about seventy."""
BEYOND_MS = 100 * 365 * 86_400_000
"""The last age edge, a hundred years: whatever is older than the grid is counted there."""


def score_edges(threshold: float) -> tuple[tuple[float, ...], int]:
    """Return the 63 inner edges of the 64 score bins, and the first bin whose scores count as positive.

    The bins are equally wide (0.25) in the logit of the score, from -8 to 8; the first and the last reach
    to 0 and to 1. The whole grid is shifted by at most half a bin, to where its edge nearest to the
    decision threshold meets it, and that edge is then the threshold itself, to the bit: "score >= threshold"
    and "bin >= first positive bin" are the same set. A threshold beyond the grid (0, 1, or closer to
    them than a logit of 8) replaces the outermost inner edge, and nothing is shifted.

    A score belongs to the bin whose number is the count of inner edges at or below it.

    Args:
        threshold: from 0 to 1, both included; scores at or above it are positive.

    Returns:
        The inner edges, strictly growing, and the number of the first positive bin (1 to 63).
    """
    logit = -math.inf if threshold <= 0 else math.inf if threshold >= 1 else math.log(threshold / (1 - threshold))
    last = SCORE_BINS - 1
    place = (logit - _LOGIT_LEAST) / _LOGIT_STEP
    positive_from = 1 if place < 1 else last if place > last else round(place)
    shift = (place - positive_from) * _LOGIT_STEP if 1 <= place <= last else 0.0
    logits = (_LOGIT_LEAST + _LOGIT_STEP * number + shift for number in range(1, SCORE_BINS))
    edges = [round(1 / (1 + math.exp(-value)), _DECIMALS) for value in logits]
    edges[positive_from - 1] = threshold
    return tuple(edges), positive_from


def age_edges_ms(extra: Iterable[int]) -> tuple[int, ...]:
    """Return the upper edges of the label-age bins, in milliseconds, growing.

    They are 0, 128 ages from 1 minute to 400 days that grow by the same factor, the `extra` ones, and
    `BEYOND_MS`. An age belongs to the least edge that is not below it, so that the labels known *by* an
    edge's age are exactly those of its bin and of the bins before it. Labels that were known before or
    at their prediction have age 0.

    Raises:
        ValueError: there would be more edges than bins have room for.
    """
    factor = (_LAST_AGE_S / _FIRST_AGE_S) ** (1 / _AGE_STEPS)
    grid = {round(_FIRST_AGE_S * factor**step) * 1_000 for step in range(_AGE_STEPS + 1)}
    edges = {0, BEYOND_MS} | grid | {age for age in extra if 0 <= age < BEYOND_MS}
    if len(edges) > AGES_MAX:
        raise ValueError(f"{len(edges)} label ages are more than the {AGES_MAX} that can be counted apart")
    return tuple(sorted(edges))
