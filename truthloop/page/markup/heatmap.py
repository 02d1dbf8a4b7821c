"""The body of the coverage table: one row per cohort, one cell per age, newest day first.

It is not written by a template, because it is most of the page: 400 days of 14 ages are 5,600 cells. The text of a
cell has all that its colour means.
"""

from markupsafe import Markup, escape

from schemas.base.figures import count, finite, percent, share
from truthloop.page.panels.model import CoverageCell, CoverageCohort, CoveragePanel
from truthloop.text.format import name

__all__ = ["COHORTS_MAX", "STEPS", "coverage_rows"]

COHORTS_MAX = 400
"""Number of newest cohorts on the page; the CSV has all."""

STEPS = 10
"""Number of equal steps of the colour scale; the style sheet has one more shade, for a share of 1."""

_NOT_DUE = '<td class="n">not yet due'
_UNKNOWN = f'<td class="u">{percent(None)}'


def coverage_rows(coverage: CoveragePanel, *, with_versions: bool) -> Markup:
    """Return the rows of the newest cohorts; `with_versions`: with a column for the version."""
    rows = [_row(cohort, with_versions=with_versions) for cohort in coverage.cohorts[: -COHORTS_MAX - 1 : -1]]
    # names are escaped in the rows; all else is numbers and constants
    return Markup("\n".join(rows))  # noqa: S704


def _row(cohort: CoverageCohort, *, with_versions: bool) -> str:
    version = f'<td class="l"><bdi>{escape(name(cohort.version))}</bdi>' if with_versions else ""
    cells = "".join([_cell(cell) for cell in cohort.cells])
    return (
        f'<tr><th scope="row">{escape(name(cohort.day))}{version}<td>{count(cohort.predictions)}{cells}'
        f'<td>{percent(cohort.so_far)}<td class="l">{"yes" if cohort.is_mature else "not yet"}'
    )


def _cell(cell: CoverageCell) -> str:
    if not cell.due:
        return _NOT_DUE
    known = finite(cell.share)
    if known is None:
        return _UNKNOWN
    step = min(max(int(known * STEPS), 0), STEPS)
    if not (cell.is_missed or cell.is_alert):
        return f'<td class="s{step}">{_text(known)}'
    signs = [(cell.is_missed, "m", "▾", "goal missed"), (cell.is_alert, "a", "!", "far less than expected by now")]
    classes, marks, notes = zip(*(sign[1:] for sign in signs if sign[0]), strict=True)
    usual = "" if finite(cell.expected) is None else f", {share(cell.expected)} expected"
    title = escape(f"{'; '.join(notes)}{usual}")
    return f'<td class="s{step} {" ".join(classes)}" title="{title}">{_text(known)} {"".join(marks)}'


def _text(known: float) -> str:
    text = percent(known)
    # only these two characters need escaping; escaping every cell would take a third of the page's time
    return text if text[0] not in "<>" else str(escape(text))
