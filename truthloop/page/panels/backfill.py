"""The panel of backfills: what told the past anew, and whether it counts.

Rules are those of `panel`: builtin types, milliseconds in UTC, None for what nobody knows. Must not decide.
"""

from dataclasses import dataclass

__all__ = ["BackfillPanel", "BackfillRow"]


@dataclass(frozen=True, slots=True)
class BackfillRow:
    """One backfill.

    Attributes:
        id: of the episode.
        kind: label kind.
        causes: why it was opened.
        since_ms: when its first label became known.
        labels: how many it has; of predictions sent again: how many of those.
        verdict: the newest.
        is_waiting: a person has to rule about it.
        state: where it stands, as a sentence or two.
        why: what the rules made of it, and why.
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
    """Those of all kinds: what waits first, the oldest at the top; then the others, the newest first."""

    told: tuple[BackfillRow, ...] = ()
    sql: str = ""
    note: str = ""
