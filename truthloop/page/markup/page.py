"""The page of a loop as HTML, and the page of an error. Pure, and without JavaScript.

The templates escape every value; numbers are formatted by `truthloop.text.format`, drawings made by `chart` and
`heatmap`.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources

from schemas.base.figures import moment, zone_of
from truthloop.page.markup.templates import render
from truthloop.page.panels.selection import query_of
from truthloop.page.panels.view import PageView

__all__ = ["ErrorPage", "asset", "render_error", "render_making", "render_page"]


def render_page(view: PageView, refresh_s: int = 0) -> str:
    """Return the whole page.

    Args:
        refresh_s: after how many seconds the page reloads itself; 0: never.
    """
    zone = zone_of(view.loop.timezone)
    return render(
        "page.html",
        view=view,
        refresh_s=refresh_s,
        query=query_of(view.selection),
        moment=lambda at_ms: moment(at_ms, zone),
    )


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """Links and heading of the page of an error.

    Attributes:
        root: address of the loop's page, relative to this one.
        back: relative address of the page that the reader can go back to.
        heading: two or three words.
    """

    root: str = "./"
    back: str = "./"
    heading: str = "No page"


def render_error(what: str, where: str, hint: str, title: str, page: ErrorPage | None = None) -> str:
    """Return the page of an error: what is wrong, where, and what to do."""
    return render("error.html", what=what, where=where, hint=hint, title=title, page=page or ErrorPage())


def render_making(doing: str, again_s: int) -> str:
    """Return the page that is shown while the loop's page is being made.

    Args:
        doing: what is being done, and for how long already.
        again_s: after how many seconds it reloads itself.
    """
    return render("making.html", doing=doing, again_s=again_s)


@cache
def asset(file: str) -> bytes:
    """Return a static file of the page: `style.css` or `icon.svg`."""
    return resources.files("truthloop.page.markup").joinpath("static", file).read_bytes()
