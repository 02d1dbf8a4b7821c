"""The panel of backfills: which labels restate the past, and whether they are of record.

Conventions are those of `truthloop.page.panels.model`.
"""

from dataclasses import dataclass

__all__ = ["BackfillPanel", "BackfillRow"]


@dataclass(frozen=True, slots=True)
class BackfillRow:
    """One backfill.

    Attributes:
        id: of the episode.
        causes: why the episode was opened.
        since_ms: when its first label became known.
        labels: number of its labels, or of its resent predictions.
        verdict: of the newest ruling.
        is_waiting: whether a person has to rule about it.
        state: one or two sentences.
        why: the rules' verdict with its reasons.
    """

    id: str
    kind: str
    causes: str
    since_ms: int
    labels: int
    verdict: str
    is_waiting: bool
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class BackfillPanel:
    """The backfills of all kinds: first those that wait, oldest first; then the others, newest first."""

    told: tuple[BackfillRow, ...] = ()
    sql: str = ""
    note: str = ""
