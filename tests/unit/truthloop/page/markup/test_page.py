"""The page's HTML: every status has a text, nothing unknown looks like a number, names are escaped.

Tests `truthloop.page.markup.templates` with `truthloop.page.markup.chart`, `truthloop.page.markup.svg`,
`truthloop.page.markup.heatmap`, and the panels of `truthloop.page.panels.gate` and `truthloop.page.panels.backfill`.
"""

import re
from dataclasses import replace
from functools import cache

import pytest
from html_reader import HtmlReader
from page_case import HOSTILE, empty_view, hostile_view, rich_view

from truthloop.page.markup.page import render_error, render_page
from truthloop.page.panels.model import CoverageCell, CoveragePanel, DriftState, MetricPoint, MetricSeries, MetricStatus
from truthloop.page.panels.tables import PANELS
from truthloop.page.panels.view import PageVerdict, Urgency, VerdictState
from truthloop.page.panels.words import DRIFT_SIGNS, STATUS_TEXTS, URGENCY_TEXTS, VERDICT_SIGNS

HOUR_MS = 3_600_000


VIEWS = {"rich": rich_view(), "empty": empty_view(), **{f"hostile-{n}": hostile_view(x) for n, x in enumerate(HOSTILE)}}


@cache
def page_of(view: str) -> HtmlReader:
    """Return a parsed page."""
    return HtmlReader(render_page(VIEWS[view]))


def cell(share: float | None, *, due: bool = True, **marks: bool) -> str:
    """Return the HTML of one coverage cell."""
    view = rich_view(2)
    cohort = replace(view.coverage.cohorts[0], cells=(CoverageCell(share, due, **marks),))
    html = render_page(replace(view, coverage=CoveragePanel((HOUR_MS,), (cohort,))))
    body = html[html.index('<table class="heat">') :]
    cells: list[str] = re.findall(r'<td class="[nus][^>]*>[^<]*', body[: body.index("</table>")])
    return cells[0]


@pytest.mark.parametrize("view", VIEWS)
def test_tags_are_balanced_and_ids_are_unique(view: str) -> None:
    """Whatever the names are."""
    page = page_of(view)
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


@cache
def harmless() -> HtmlReader:
    """Return the page with a harmless name."""
    return HtmlReader(render_page(hostile_view("harmless")))


@pytest.mark.parametrize("view", [view for view in VIEWS if view.startswith("hostile")])
def test_a_hostile_name_adds_no_tag_and_no_attribute(view: str) -> None:
    """The page has the same tags and attributes as with a harmless name."""
    hostile = page_of(view)
    assert [(tag, sorted(attrs)) for tag, attrs in hostile.tags] == [
        (tag, sorted(attrs)) for tag, attrs in harmless().tags
    ]


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\r", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{ZERO WIDTH SPACE}"])
def test_control_characters_are_shown_as_escapes(character: str) -> None:
    """So are direction and invisible characters."""
    page = HtmlReader(render_page(hostile_view(f"a{character}b")))
    assert character not in page.text
    assert "a" + character.encode("unicode_escape").decode() + "b" in page.text


def test_emoji_and_other_scripts_are_shown_unchanged() -> None:
    """In their own direction."""
    html = render_page(hostile_view("\N{FIRE} \N{HEBREW LETTER ALEF}"))
    assert "<bdi>\N{FIRE} \N{HEBREW LETTER ALEF}</bdi>" in html


def test_a_very_long_name_does_not_make_a_long_page() -> None:
    """A name of 10,000 characters is cut in the middle."""
    name = "n" * 9_990 + "the-end-12"
    page = HtmlReader(render_page(hostile_view(name)))
    assert "nnn…nnthe-end-12" in page.text
    assert name not in page.text


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_on_the_page_can_run_or_load_from_elsewhere(view: str) -> None:
    """No script, no event handler, no inline style, and only relative addresses."""
    for tag, attrs in page_of(view).tags:
        assert tag not in {"script", "style", "iframe", "object", "embed", "img", "base"}
        assert "style" not in attrs
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("href", "src", "action", "xlink:href"):
            value = attrs.get(name) or ""
            assert ":" not in value.partition("?")[0], value
            assert not value.startswith("//")


@pytest.mark.parametrize("view", ["rich", "empty"])
def test_every_panel_has_an_anchor_a_heading_and_its_downloads(view: str) -> None:
    """Each is linked from the list of panels, and has JSON and CSV."""
    page = page_of(view)
    ids = {attrs.get("id") for _, attrs in page.tags}
    links = {(attrs.get("href") or "").partition("?")[0] for tag, attrs in page.tags if tag == "a"}
    for panel in PANELS:
        assert {panel, f"{panel}-title"} <= ids
        assert {f"#{panel}", f"panels/{panel}.json", f"panels/{panel}.csv"} <= links


def test_a_new_loop_shows_no_number_and_says_why() -> None:
    """No zero, no share, no chart, and a sentence in each panel."""
    text = page_of("empty").text
    for sentence in (
        "Evidence up to nothing yet",
        "No cohort yet: the first predictions make one.",
        "No label has arrived yet",
        "No value yet: no metric is selected",
        "Nothing to compare with yet.",
        "There are no two versions with labels in common.",
        "No role has reported its progress yet.",
    ):
        assert sentence in text
    assert "%" not in text


def test_nan_is_never_shown() -> None:
    """Nor is infinity."""
    text = HtmlReader(render_page(hostile_view("v9"))).text.lower()
    assert not re.search(r"\bnan\b|\binf\b|infinity", text)


@pytest.mark.parametrize("state", ["OK", "WATCH", "HOLD", "STALLED"])
@pytest.mark.parametrize("urgency", ["now", "working hours", "none"])
def test_the_verdict_has_state_urgency_and_command(state: VerdictState, urgency: Urgency) -> None:
    """As text and as a sign, and the state in the page's title."""
    html = render_page(replace(rich_view(2), verdict=PageVerdict(state, "Because.", urgency, "truthloop status")))
    page = HtmlReader(html)
    assert f"<title>{state}: flights" in html
    assert f"{VERDICT_SIGNS[state]} {state} Because. {URGENCY_TEXTS[urgency]} Next: truthloop status" in page.text


@pytest.mark.parametrize("status", ["no_data", "estimated", "provisional", "mature", "revised"])
def test_every_status_of_a_metric_has_a_text(status: MetricStatus) -> None:
    """It is shown next to the value."""
    view = rich_view(3)
    value = None if status == "no_data" else 0.8125
    points = (MetricPoint("2013-07-07", "mature", 0.8), MetricPoint("2013-07-08", status, value))
    html = render_page(replace(view, metric=replace(view.metric, series=(MetricSeries("v1", points),))))
    row = re.search(r'<th scope="row">2013-07-08.*', html[html.index("by day, the newest first") :])
    assert row is not None
    assert row[0].endswith(STATUS_TEXTS[status])
    assert ("0.8125" in row[0]) == (value is not None)


@pytest.mark.parametrize("state", DRIFT_SIGNS)
def test_every_state_of_a_lane_has_a_sign_and_a_colour(state: DriftState) -> None:
    """Colour is never the only sign."""
    view = rich_view(3)
    lanes = tuple(replace(lane, cells=(replace(lane.cells[0], state=state),) * 3) for lane in view.drift.lanes[:1])
    html = render_page(replace(view, drift=replace(view.drift, lanes=lanes)))
    table = html[html.index('<table class="lanes">') :]
    cells = re.findall(rf'<td class="{state}"[^>]*>([^<\n]*)', table[: table.index("</table>")])
    assert [text.strip() for text in cells] == [DRIFT_SIGNS[state][0]] * 3


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0"),
        (0.0004, "&lt;0.1"),
        (0.001, "0.1"),
        (0.5, "50.0"),
        (0.9994, "99.9"),
        (0.9999, "&gt;99.9"),
        (1.0, "100"),
    ],
)
def test_a_share_is_never_rounded_to_nothing_or_to_all(share: float, text: str) -> None:
    """0 and 100 are exact."""
    assert cell(share).partition(">")[2] == text


@pytest.mark.parametrize("share", [None, 0.0, 0.4])
def test_a_cohort_that_is_not_due_shows_no_share(share: float | None) -> None:
    """Its cell is hatched and has a text."""
    assert cell(share, due=False) == '<td class="n">not yet due'


@pytest.mark.parametrize("share", [None, float("nan"), float("inf")])
def test_a_cohort_that_is_due_without_a_share_shows_a_dash(share: float | None) -> None:
    """It is not shown as 0."""
    assert cell(share) == '<td class="u">\N{EN DASH}'


def test_a_missed_goal_and_an_alert_have_signs_and_texts() -> None:
    """Colour is never the only sign."""
    assert cell(0.61, is_missed=True) == '<td class="s6 m" title="goal missed">61.0 ▾'
    both = cell(0.61, is_missed=True, is_alert=True)
    assert both == '<td class="s6 m a" title="goal missed; far less than expected by now">61.0 ▾!'


def test_final_days_are_solid_and_others_dashed_and_hollow() -> None:
    """A day without a value is a gap."""
    points = [MetricPoint(f"2013-07-0{day}", "mature", 0.8) for day in range(1, 4)]
    points += [
        MetricPoint("2013-07-04", "provisional", 0.7, 0.6, 0.8),
        MetricPoint("2013-07-05", "estimated", 0.7, 0.5, 0.9),
    ]
    points += [
        MetricPoint("2013-07-06", "no_data", None),
        MetricPoint("2013-07-07", "provisional", 0.7, least=0.1, most=0.9),
    ]
    view = rich_view(3)
    html = render_page(replace(view, metric=replace(view.metric, series=(MetricSeries("v1", tuple(points)),))))
    chart = html[html.index('aria-labelledby="metric-chart-title') :].partition("</svg>")[0]
    strokes = re.findall(r'<polyline class="([^"]*)" points="([^"]*)"', chart)
    assert [(classes, points.count(",")) for classes, points in strokes] == [
        ("series series-0", 3),
        ("series dashed series-0", 3),
    ]
    assert chart.count('class="mark hollow') == 3
    assert chart.count("<polygon") == 1
    assert chart.count('class="whisker bounds') == 1


def test_the_running_day_is_described_in_a_sentence() -> None:
    """The estimate, its interval, and the value of the arrived labels."""
    text = page_of("rich").text
    assert "estimate: 0.81 (0.77\N{EN DASH}0.84) , arrived labels alone: 0.90." in text.replace(")", ") ", 1)


def test_times_are_in_the_loops_time_zone() -> None:
    """With the UTC offset at that time; in UTC if this machine does not know the zone."""
    view = rich_view(3)
    assert "Made at 2013-07-08 20:00 -04:00" in render_page(view)
    assert "Made at 2013-07-09 00:00 UTC" in render_page(replace(view, loop=replace(view.loop, timezone="Not/AZone")))


def test_the_query_is_quoted_as_one_argument_of_the_shell() -> None:
    """A name in it can neither end the quotes nor start a command."""
    view = rich_view(3)
    coverage = replace(view.coverage, sql="SELECT 'a''b; $(touch /tmp/x)'")
    text = HtmlReader(render_page(replace(view, coverage=coverage))).text
    assert """truthloop sql 'SELECT '"'"'a'"'"''"'"'b; $(touch /tmp/x)'"'"''""" in text


def test_the_page_reloads_itself_only_if_selected() -> None:
    """A reload interrupts a screen reader."""
    assert "http-equiv" not in render_page(rich_view(3))
    assert '<meta http-equiv="refresh" content="60">' in render_page(rich_view(3), 60)


def test_a_year_of_cohorts_at_fourteen_ages_stays_below_300_kb() -> None:
    """The largest page."""
    ages = tuple(hours * HOUR_MS for hours in range(1, 15))
    assert len(render_page(rich_view(400, ages)).encode()) < 300_000


def test_the_error_page_has_what_where_and_hint_escaped() -> None:
    """It escapes as the page does."""
    html = render_error("no <lake>", "/data/lake", "Bring it back.", "Service Unavailable")
    assert "<lake>" not in html
    assert "no <lake>" in HtmlReader(html).text
    assert "/data/lake" in html
    assert "Bring it back." in html
