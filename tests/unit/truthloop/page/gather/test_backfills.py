"""The panel of backfills: what waits is seen whatever kind is chosen, and the page leads to it."""

from pathlib import Path

from page_case import HOSTILE, hostile_view, rich_view
from ruling_case import EPISODE, NOW_MS, approvals, found, make_loop, statement, write_found

from truthloop.config.settings import Settings
from truthloop.page.gather import Gatherer
from truthloop.page.markup.page import render_page
from truthloop.page.panels.view import Selection, View

FARE = f"bf-{9:032x}"


def view_of(settings: Settings, kind: str) -> View:
    """Return what the page shows of a kind."""
    return Gatherer(settings, lambda: NOW_MS, patience_s=60.0).view(Selection(kind))


def test_what_waits_comes_first_whatever_kind_is_chosen(tmp_path: Path) -> None:
    """With what was ruled, and by whom; read from the log alone."""
    loop = make_loop(tmp_path)
    assert view_of(loop, "late").backfills.told == ()
    sha256 = write_found(loop, found())
    write_found(loop, found("fare", id=FARE))
    approvals(loop).rule(statement(sha256))
    for kind in ("late", "fare"):
        panel = view_of(loop, kind).backfills
        assert [(one.id, one.kind, one.is_waiting, one.verdict) for one in panel.told] == [
            (FARE, "fare", True, "quarantined"),
            (EPISODE, "late", False, "approved"),
        ]
        assert "Waits for a person since" in panel.told[0].state
        assert "Approved by Ann (an attestation" in panel.told[1].state
        assert "FROM backfills" in panel.sql


def test_each_backfill_leads_to_its_page() -> None:
    """Relative, so that a proxy may put the page under any path."""
    html = render_page(rich_view(3))
    assert f'href="backfill/{EPISODE}"' in html
    assert html.index("■ waits") < html.index("approved")


def test_hostile_names_in_the_panel_are_inert() -> None:
    """They come from data and from people."""
    for name in HOSTILE:
        html = render_page(hostile_view(name))
        assert "<script" not in html
        assert "<img" not in html
