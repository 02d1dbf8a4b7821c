"""The page of one backfill: its diff report as HTML, without a script, with a place for the form that rules on it.

The form comes from outside, as markup. Must not read anything but its own templates, and must not judge.
"""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import NO_LABEL, OTHER_LABEL, BackfillDiff
from truthloop.text import format as text
from truthloop.text.rulings import SCOPE_WORDS, flips_of

__all__ = ["render_backfill"]

ROWS_MAX = 100
FLIPS_MAX = 20

_TONES: Final = {
    Verdict.PASSED: ("ok", "●"),
    Verdict.APPROVED: ("ok", "●"),
    Verdict.WARNED: ("watch", "▲"),
    Verdict.QUARANTINED: ("hold", "■"),
    Verdict.REJECTED: ("stalled", "✕"),
}
_TEMPLATES = ("backfill.html", "macros.html")
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
    """Return the page of a backfill, as it stands at `backfill/ID` below the page.

    Args:
        diff: what is told.
        verdict: what was ruled last.
        reasons: why, one sentence each.
        state: where it stands, as one sentence; empty: nothing is said.
        form: what stands below the verdict, such as the form that approves and rejects: markup that is escaped
            already, without script and style; None: nothing.
        json_href: where the document of the report can be had; empty: nowhere.
    """
    tone, sign = _TONES[verdict]
    shown: dict[str, Any] = {
        "diff": diff,
        "verdict": verdict.value,
        "tone": tone,
        "sign": sign,
        "reasons": reasons,
        "state": state,
        "form": form,
        "json_href": json_href,
        "digest": diff.sha256(),
        "flips": flips_of(diff.matrix, FLIPS_MAX),
        "matrix": _shaded(diff),
        "scopes": {
            scope: found for scope in SCOPE_WORDS if (found := [one for one in diff.metrics if one.scope == scope])
        },
    }
    return _environment().get_template("backfill.html").render(shown)


@cache
def _environment() -> Environment:
    folder = resources.files("truthloop.page.markup").joinpath("templates")
    sources = {file: folder.joinpath(file).read_text("utf-8") for file in _TEMPLATES}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        name=text.name,
        prose=text.prose,
        number=text.number,
        signed=_signed,
        share=_per_cent,
        count=text.count,
        age=text.age,
        label=_label,
        difference=_difference,
        p_value=lambda value: "<1e-12" if value < 1e-12 else f"{value:.2g}",  # noqa: PLR2004 - beyond reading
    )
    environment.globals.update(SCOPE_WORDS=SCOPE_WORDS, ROWS_MAX=ROWS_MAX)
    return environment


def _shaded(diff: BackfillDiff) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return label before, and per label after the count and its shade: the share of the row, in tenths."""
    rows = []
    for label, counts in zip(diff.matrix.labels, diff.matrix.counts, strict=True):
        total = max(sum(counts), 1)
        rows.append((label, [(amount, -(-amount * _SHADES // total)) for amount in counts]))
    return rows


def _label(label: str) -> str:
    """Return a label of the matrix as it is shown."""
    return {NO_LABEL: "no label", OTHER_LABEL: "other"}.get(label, text.name(label))


def _per_cent(value: float | None) -> Markup:
    """Return a share with its sign; a narrow space keeps the two together."""
    shown = text.share(value)
    return Markup("{}").format(shown if shown == text.NOTHING else f"{shown}\N{NARROW NO-BREAK SPACE}%")


def _signed(value: float | None) -> str:
    """Return a difference with its sign, whatever its size."""
    known = text.finite(value)
    if known is None:
        return text.NOTHING
    sign = "\N{MINUS SIGN}" if known < 0 else "+"
    return f"{sign}{text.number(abs(known))}"


def _difference(after: float | None, before: float | None) -> str:
    return _signed(None if after is None or before is None else after - before)
