"""A panel as JSON and CSV: whole, exact, and nothing that a spreadsheet would calculate."""

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
    """Not due is an empty cell, never 0."""
    view = rich_view(400)
    rows = rows_of(panel_csv(view, "coverage"))
    assert len(rows) == 400 * 8
    first = view.coverage.cohorts[0].cells[0]
    assert float(rows[0]["coverage"]) == first.share
    assert rows[0]["due"] == "true"
    young = [row for row in rows if row["due"] == "false"]
    assert [row["coverage"] for row in young] == [""] * 6


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "\r\n@"])
def test_text_that_a_spreadsheet_would_calculate_is_defused(start: str) -> None:
    """In every panel and column."""
    view = hostile_view(f"{start}1+cmd|' /C calc'!A0")
    for panel in PANELS:
        text = panel_csv(view, panel)
        for row in csv.reader(io.StringIO(text, newline="")):
            assert not [value for value in row if value.lstrip().startswith(("=", "+", "@"))]
            assert not [value for value in row if value.startswith("-1+")]


def test_negative_numbers_stay_numbers() -> None:
    """They are ours, and an analyst adds them up."""
    view = rich_view(3)
    assert rows_of(panel_csv(view, "versions"))[1]["difference"] == "-0.0811"


def test_what_is_no_number_is_empty_in_csv_and_null_in_json() -> None:
    """NaN and infinity are neither."""
    view = hostile_view("v9")
    row = rows_of(panel_csv(view, "versions"))[0]
    assert [row[name] for name in ("first_value", "second_value", "difference", "low")] == [""] * 4
    found = json.loads(panel_json(view, "versions"), parse_constant=pytest.fail)["data"]["comparisons"][0]
    assert [found[name] for name in ("first_value", "second_value", "difference", "low")] == [None] * 4


def test_long_and_strange_names_come_whole() -> None:
    """Only what is shown is cut and escaped; what is downloaded is the data."""
    name = "\N{RIGHT-TO-LEFT OVERRIDE}x" + "n" * 10_000
    view = hostile_view(name)
    assert rows_of(panel_csv(view, "quality"))[0]["field"] == name
    assert json.loads(panel_json(view, "quality"))["data"]["counts"][0]["field"] == name


@pytest.mark.parametrize("panel", PANELS)
def test_the_json_of_a_panel_has_every_field_of_it(panel: str) -> None:
    """With what is needed to know what it is about."""
    view = rich_view(3)
    found = json.loads(panel_json(view, panel))
    part = getattr(view, panel)
    assert is_dataclass(part)
    assert set(found["data"]) == {field.name for field in fields(part)}
    assert (found["loop"], found["panel"], found["selection"]["days"]) == ("flights", panel, 3)


def test_a_panel_that_does_not_exist_is_an_error_of_the_caller() -> None:
    """And no attribute of the view that happens to have the name."""
    view = rich_view(3)
    for wrong in ("loop", "__class__", "nothing"):
        with pytest.raises(KeyError):
            panel_csv(view, wrong)
        with pytest.raises(KeyError):
            panel_json(view, wrong)


def test_a_query_is_one_word_for_the_shell() -> None:
    """Quotes in it do not end it."""
    assert sql_command("SELECT 1") == "truthloop sql 'SELECT 1'"
    assert sql_command("'; rm -rf /; '") == """truthloop sql ''"'"'; rm -rf /; '"'"''"""


def test_a_day_more_or_less_is_no_other_row() -> None:
    """Rows follow the view: one cohort less, eight rows less."""
    view = rich_view(5)
    less = replace(view, coverage=replace(view.coverage, cohorts=view.coverage.cohorts[1:]))
    assert len(rows_of(panel_csv(view, "coverage"))) - len(rows_of(panel_csv(less, "coverage"))) == 8
