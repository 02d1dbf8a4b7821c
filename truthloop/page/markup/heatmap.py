"""The body of the coverage table: one row per cohort, one cell per age, the newest day first.

It is written here and not in a template, because it is most of the page: 400 days of 14 ages are 5,600 cells.
Colour repeats what the text of a cell says, and is never the only sign. Must not judge a share.
"""

from markupsafe import Markup, escape

from truthloop.page.panels.model import Cohort, Coverage, CoverageCell
from truthloop.text.format import count, finite, name, share

__all__ = ["COHORTS_MAX", "STEPS", "heat_body"]

COHORTS_MAX = 400
"""More rows than this nobody reads on a screen; the CSV has all of them."""

STEPS = 10
"""Shades of the scale; the style sheet has one more, for all of it."""

_NOT_DUE = '<td class="n">not yet due'
_UNKNOWN = f'<td class="u">{share(None)}'


def heat_body(coverage: Coverage, *, with_versions: bool) -> Markup:
    """Return the rows of the newest cohorts; `with_versions` says whether the table has a column for them."""
    rows = [_row(cohort, with_versions=with_versions) for cohort in coverage.cohorts[: -COHORTS_MAX - 1 : -1]]
    # names are escaped where they are put in; the rest is numbers and words of ours
    return Markup("\n".join(rows))  # noqa: S704


def _row(cohort: Cohort, *, with_versions: bool) -> str:
    version = f'<td class="l"><bdi>{escape(name(cohort.version))}</bdi>' if with_versions else ""
    cells = "".join([_cell(cell) for cell in cohort.cells])
    return (
        f'<tr><th scope="row">{escape(name(cohort.day))}{version}<td>{count(cohort.predictions)}{cells}'
        f'<td>{share(cohort.so_far)}<td class="l">{"yes" if cohort.is_mature else "not yet"}'
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
    classes, marks, remarks = zip(*(sign[1:] for sign in signs if sign[0]), strict=True)
    usual = "" if finite(cell.expected) is None else f", {share(cell.expected)} % expected"
    remark = escape(f"{'; '.join(remarks)}{usual}")
    return f'<td class="s{step} {" ".join(classes)}" title="{remark}">{_text(known)} {"".join(marks)}'


def _text(known: float) -> str:
    text = share(known)
    # the two signs that a share can begin with; escaping each cell would take a third of the page's time
    return text if text[0] not in "<>" else str(escape(text))
