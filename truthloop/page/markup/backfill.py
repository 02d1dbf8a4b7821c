"""The page of one backfill: its diff as HTML, without a script, with a place for the form that rules on it."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import BackfillDiff
from truthloop.page.markup.templates import render
from truthloop.text.rulings import SCOPE_TITLES, largest_flips

__all__ = ["render_backfill"]

FLIPS_MAX = 20

_TONES: Final = {
    Verdict.PASSED: ("ok", "●"),
    Verdict.APPROVED: ("ok", "●"),
    Verdict.WARNED: ("watch", "▲"),
    Verdict.QUARANTINED: ("hold", "■"),
    Verdict.REJECTED: ("stalled", "✕"),
}
_SHADES = 10


def render_backfill(
    diff: BackfillDiff,
    verdict: Verdict,
    reasons: Sequence[str],
    *,
    state: str = "",
    form: Markup | None = None,
    json_href: str = "",
) -> str:
    """Return the page of a backfill for the address `backfill/ID` below the loop's page.

    Args:
        verdict: of the newest ruling.
        reasons: of the verdict, one sentence each.
        state: one sentence; empty: none is shown.
        form: escaped markup below the verdict, without script and style; None: no form.
        json_href: address of the diff as JSON; empty: no link.
    """
    tone, sign = _TONES[verdict]
    scopes = {scope: found for scope in SCOPE_TITLES if (found := [one for one in diff.metrics if one.scope == scope])}
    return render(
        "backfill.html",
        diff=diff,
        verdict=verdict.value,
        tone=tone,
        sign=sign,
        reasons=reasons,
        state=state,
        form=form,
        json_href=json_href,
        digest=diff.sha256(),
        flips=largest_flips(diff.matrix, FLIPS_MAX),
        matrix=_shaded_matrix(diff),
        scopes=scopes,
    )


def _shaded_matrix(diff: BackfillDiff) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return for each label before the label, and per label after the count and its share of the row in tenths."""
    rows = []
    for label, counts in zip(diff.matrix.labels, diff.matrix.counts, strict=True):
        total = max(sum(counts), 1)
        rows.append((label, [(amount, -(-amount * _SHADES // total)) for amount in counts]))
    return rows
