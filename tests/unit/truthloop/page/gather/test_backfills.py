"""The panel of backfills: it shows all kinds, and links to the page of each backfill."""

from pathlib import Path

from page_case import HOSTILE, hostile_view, rich_view
from ruling_case import EPISODE, NOW_MS, approvals, backfill_diff, log_backfill, make_loop, statement

from truthloop.config.settings import Settings
from truthloop.page.gather import Gatherer
from truthloop.page.markup.page import render_page
from truthloop.page.panels.view import PageView, Selection

FARE = f"bf-{9:032x}"


def view_of(settings: Settings, kind: str) -> PageView:
    """Return what the page shows of a kind."""
    return Gatherer(settings, lambda: NOW_MS, wait_s=60.0).view(Selection(kind))


def test_waiting_backfills_are_first_whatever_kind_is_selected(tmp_path: Path) -> None:
    """With the ruling and who made it, from the log."""
    loop = make_loop(tmp_path)
    assert view_of(loop, "late").backfills.told == ()
    sha256 = log_backfill(loop, backfill_diff())
    log_backfill(loop, backfill_diff("fare", id=FARE))
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


def test_each_backfill_links_to_its_page() -> None:
    """By a relative address, so that a proxy can serve the page under any path."""
    html = render_page(rich_view(3))
    assert f'href="backfill/{EPISODE}"' in html
    assert html.index("■ waits") < html.index("approved")


def test_hostile_names_in_the_panel_are_inert() -> None:
    """They come from data or people."""
    for name in HOSTILE:
        html = render_page(hostile_view(name))
        assert "<script" not in html
        assert "<img" not in html
