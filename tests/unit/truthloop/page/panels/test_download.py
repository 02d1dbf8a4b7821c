"""A panel as JSON and CSV: complete, exact, and without formulas."""

import csv
import io
import json
from dataclasses import fields, is_dataclass, replace

import pytest
from page_case import hostile_view, rich_view

from truthloop.page.panels.download import panel_csv, panel_json, sql_command
from truthloop.page.panels.tables import PANELS


def rows_of(text: str) -> list[dict[str, str]]:
    """Read a CSV back."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_coverage_csv_has_one_row_per_cohort_and_age_unrounded() -> None:
    """A share that is not due is an empty cell."""
    view = rich_view(400)
    rows = rows_of(panel_csv(view, "coverage"))
    assert len(rows) == 400 * 8
    first = view.coverage.cohorts[0].cells[0]
    assert float(rows[0]["coverage"]) == first.share
    assert rows[0]["due"] == "true"
    young = [row for row in rows if row["due"] == "false"]
    assert [row["coverage"] for row in young] == [""] * 6


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "\r\n@"])
def test_text_that_a_spreadsheet_would_evaluate_is_escaped(start: str) -> None:
    """In every panel and column."""
    view = hostile_view(f"{start}1+cmd|' /C calc'!A0")
    for panel in PANELS:
        text = panel_csv(view, panel)
        for row in csv.reader(io.StringIO(text, newline="")):
            assert not [value for value in row if value.lstrip().startswith(("=", "+", "@"))]
            assert not [value for value in row if value.startswith("-1+")]


def test_negative_numbers_remain_numbers() -> None:
    """They get no apostrophe."""
    view = rich_view(3)
    assert rows_of(panel_csv(view, "versions"))[1]["difference"] == "-0.0811"


def test_nan_is_empty_in_csv_and_null_in_json() -> None:
    """So is infinity."""
    view = hostile_view("v9")
    row = rows_of(panel_csv(view, "versions"))[0]
    assert [row[name] for name in ("first_value", "second_value", "difference", "low")] == [""] * 4
    found = json.loads(panel_json(view, "versions"), parse_constant=pytest.fail)["data"]["comparisons"][0]
    assert [found[name] for name in ("first_value", "second_value", "difference", "low")] == [None] * 4


def test_long_and_strange_names_are_complete() -> None:
    """Names are cut and escaped on the page only."""
    name = "\N{RIGHT-TO-LEFT OVERRIDE}x" + "n" * 10_000
    view = hostile_view(name)
    assert rows_of(panel_csv(view, "quality"))[0]["field"] == name
    assert json.loads(panel_json(view, "quality"))["data"]["counts"][0]["field"] == name


@pytest.mark.parametrize("panel", PANELS)
def test_the_json_of_a_panel_has_every_field_of_it(panel: str) -> None:
    """And loop, panel and selection."""
    view = rich_view(3)
    found = json.loads(panel_json(view, panel))
    part = getattr(view, panel)
    assert is_dataclass(part)
    assert set(found["data"]) == {field.name for field in fields(part)}
    assert (found["loop"], found["panel"], found["selection"]["days"]) == ("flights", panel, 3)


def test_an_unknown_panel_is_a_key_error() -> None:
    """Also if the view has another attribute of that name."""
    view = rich_view(3)
    for wrong in ("loop", "__class__", "nothing"):
        with pytest.raises(KeyError):
            panel_csv(view, wrong)
        with pytest.raises(KeyError):
            panel_json(view, wrong)


def test_a_query_is_one_argument_of_the_shell() -> None:
    """Quotes in it do not end it."""
    assert sql_command("SELECT 1") == "truthloop sql 'SELECT 1'"
    assert sql_command("'; rm -rf /; '") == """truthloop sql ''"'"'; rm -rf /; '"'"''"""


def test_rows_follow_the_view() -> None:
    """One cohort less is eight rows less."""
    view = rich_view(5)
    less = replace(view, coverage=replace(view.coverage, cohorts=view.coverage.cohorts[1:]))
    assert len(rows_of(panel_csv(view, "coverage"))) - len(rows_of(panel_csv(less, "coverage"))) == 8
