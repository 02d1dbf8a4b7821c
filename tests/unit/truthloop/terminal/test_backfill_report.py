"""The diff report of a backfill: no name of the data breaks the terminal's width or the page's markup."""

import re

import pytest
from backfill_case import Row, diff, episode_of, random_rows
from html_reader import HtmlReader
from markupsafe import Markup
from page_case import HOSTILE
from rich.cells import cell_len

from monitor.backfill.rule import verdict_of
from schemas.events.backfill import Cause, Verdict
from schemas.events.backfill_diff import AffectedDecision, BackfillDiff, FlipMatrix
from truthloop.page.markup.backfill import render_backfill
from truthloop.terminal.backfill_report import report_text
from truthloop.text.rulings import largest_flips

REPORTS = {kind: diff(random_rows(kind, 400, seed=3), kind) for kind in ("late", "fare", "status")}
DECISION = AffectedDecision(decision=f"rt-{5:032x}", dataset_uri="file:///data/rt-5")
HUGE = 3_456_789_012
PLAIN = "\n\N{NARROW NO-BREAK SPACE}"
"""Characters of the page itself that are not printable."""


def hostile(name: str) -> BackfillDiff:
    """Return a report in which every name from the data is `name`, even one that the schema would refuse."""
    report = REPORTS["status"]
    call = {"version": name}
    return report.model_copy(
        update={
            "episode": episode_of("status").model_copy(update={"kind": name, "definition": name, "batch": name}),
            "definition": name,
            "versions": [name] * 3,
            "matrix": FlipMatrix(labels=[name, "b", "*other", "*none"], counts=[[HUGE, 1, 2, 3]] * 4),
            "cohorts": [one.model_copy(update=call | {"predictions": HUGE, "flips": HUGE}) for one in report.cohorts],
            "labels": [one.model_copy(update={"label": name}) for one in report.labels],
            "metrics": [
                one.model_copy(update={"name": name, "n_before": HUGE, "n_after": HUGE}) for one in report.metrics
            ],
            "asymmetry": None
            if report.asymmetry is None
            else report.asymmetry.model_copy(update={"start": name, "end": name}),
            "slices": [one.model_copy(update={"name": name, "value": name, "touched": HUGE}) for one in report.slices],
            "decisions": [DECISION.model_copy(update={"dataset_uri": name})],
            "approving": name,
            "rejecting": name,
        }
    )


def page_of(report: BackfillDiff, **options: object) -> HtmlReader:
    """Return the page of a report that was judged by rule."""
    verdict, reasons = verdict_of(report)
    return HtmlReader(render_backfill(report, verdict, reasons, **options))  # type: ignore[arg-type] # a test's options


@pytest.mark.parametrize("width", [72, 80, 120])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_line_is_wider_than_the_terminal_and_no_name_controls_it(name: str, width: int) -> None:
    """Control characters are escaped, and wide characters count as two columns."""
    text = report_text(hostile(name), width, verdict=Verdict.WARNED, reasons=[name])
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("name", [HOSTILE[0], HOSTILE[8], HOSTILE[9]])
def test_no_number_is_cut_off_by_a_long_name(name: str) -> None:
    """The name is shortened."""
    lines = [line for line in report_text(hostile(name), 80).splitlines() if f"{HUGE:,}" in line]
    assert len(lines) >= 4 + len(REPORTS["status"].cohorts)
    cohorts = [line for line in lines if line.startswith("2013-03-")]
    assert len(cohorts) == len(REPORTS["status"].cohorts)
    assert all(line.count(f"{HUGE:,}") == 2 and line.endswith(("yes", "no")) for line in cohorts)


@pytest.mark.parametrize("kind", REPORTS)
def test_the_terminal_shows_the_figures_of_the_report(kind: str) -> None:
    """Counts, coverage, metrics, effects, ages, verdict and digest."""
    report = REPORTS[kind].model_copy(update={"decisions": [DECISION]})
    verdict, reasons = verdict_of(report)
    text = " ".join(report_text(report, 80, verdict=verdict, reasons=reasons).split())
    metric = next(one for one in report.metrics if one.scope == "paired")
    total = report.total
    assert total.coverage_before is not None
    expected = [
        *("QUARANTINED", *reasons, report.approving, report.rejecting, f"sha256 {report.sha256()}", DECISION.decision),
        f"Touches {report.touched.predictions:,} predictions in {report.cohorts_touched} cohorts",
        f"{report.touched.new:,} labels new, {report.touched.changed:,} changed",
        f"all {total.predictions:,} {100 * total.coverage_before:.1f}",
        f"{metric.before:,.4f} {metric.after:,.4f}",
        "without the episode",
        "role=champion",
    ]
    assert [part for part in expected if part not in text] == []


def test_a_report_without_labels_has_no_missing_numbers() -> None:
    """Neither nan nor None is printed."""
    report = diff([Row(None, None), Row(None, None, touched=False)])
    for text in (report_text(report), page_of(report).text):
        assert not re.search(r"\b(nan|None|inf)\b", text)


def test_small_matrices_are_shown_and_of_large_ones_the_largest_changes() -> None:
    """Twenty classes do not fit into a terminal."""
    assert "Labels before (down) and after (across)" in report_text(REPORTS["late"])
    text = report_text(REPORTS["status"])
    start, end, amount = largest_flips(REPORTS["status"].matrix, 1)[0]
    names = {"*none": "no label"}
    assert re.search(rf"{names.get(start, start)} → {names.get(end, end)} +{amount}\n", text)


def test_the_largest_changes_leave_out_unchanged_labels() -> None:
    """Sorted by size, then by name."""
    matrix = FlipMatrix(labels=["a", "b", "*none"], counts=[[90, 4, 2], [4, 80, 0], [7, 0, 1]])
    assert largest_flips(matrix, 3) == [("*none", "a", 7), ("a", "b", 4), ("b", "a", 4)]


@pytest.mark.parametrize("kind", REPORTS)
def test_the_page_is_sound_and_has_no_script_and_no_style_of_its_own(kind: str) -> None:
    """Balanced tags, unique ids, a caption on every table, one style sheet."""
    page = page_of(REPORTS[kind], state="It waits.", json_href="x.json")
    names = [tag for tag, _ in page.tags]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert page.open == []
    assert len(ids) == len(set(ids))
    assert not {"script", "style", "img", "iframe", "form"} & set(names)
    assert names.count("table") == names.count("caption") >= 8
    assert [one.get("href") for tag, one in page.tags if tag == "link"] == ["../icon.svg", "../style.css"]
    assert not any(name.startswith("on") or name == "style" for _, one in page.tags for name in one)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_page_escapes_every_name(name: str) -> None:
    """The same tags as with plain names, no handler, no control character."""
    plain, other = page_of(hostile("plain")), page_of(hostile(name), state=name, json_href=name)
    known = {"bdi", "small", "b"}
    assert {tag for tag, _ in other.tags} <= {tag for tag, _ in plain.tags} | known | {"a"}
    assert other.open == []
    assert not any(key.startswith("on") for _, one in other.tags for key in one)
    assert all(character.isprintable() or character in PLAIN for text in other.texts for character in text)


def test_the_page_shows_verdict_reasons_state_and_form() -> None:
    """The form is inserted unchanged; the state is escaped."""
    form = Markup('<form method="post" action="approve"><button>Approve</button></form>')
    page = page_of(REPORTS["late"], state="Waits <b>since</b> Monday.", form=form)
    verdict, reasons = verdict_of(REPORTS["late"])
    assert ("form", {"method": "post", "action": "approve"}) in page.tags
    assert "Waits <b>since</b> Monday." in page.text
    assert verdict.value.upper() in page.text
    assert all(reason in page.text for reason in reasons)
    assert REPORTS["late"].sha256() in page.text


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_a_sign_next_to_its_colour(verdict: Verdict) -> None:
    """Readable without colours."""
    html = render_backfill(REPORTS["late"], verdict, [])
    assert re.search(rf'class="sign" aria-hidden="true">[●▲■✕]</span>{verdict.value.upper()}<', html)


def test_the_page_shows_the_figures_of_the_report() -> None:
    """Coverage, metrics and retrains."""
    report = REPORTS["late"].model_copy(update={"decisions": [DECISION]})
    text = page_of(report).text
    metric = next(one for one in report.metrics if (one.scope, one.name) == ("cohorts", "log_loss"))
    assert f"log_loss {metric.before:.4f} {metric.after:.4f}" in text
    assert f"{DECISION.decision} {DECISION.dataset_uri}" in text
    first = report.cohorts[0]
    assert first.coverage_before is not None
    assert f"{first.day} {first.version} {100 * first.coverage_before:.1f}" in text


def test_another_definition_is_named_next_to_the_configs() -> None:
    """Everything else in the report depends on it."""
    episode = episode_of(definition="late-30min", causes=[Cause.REDEFINED])
    report = REPORTS["late"].model_copy(update={"episode": episode})
    assert "late-30min ; the config's is late-15min" in page_of(report).text
    assert "Definition late-30min; the config's is late-15min." in report_text(report)
