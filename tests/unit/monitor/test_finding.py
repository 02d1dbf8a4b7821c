"""Findings: the sentence, level and place of every result of a check."""

from datetime import date
from typing import Any, get_args

import polars as pl
import pytest

from monitor.coverage.alert import AlertState, CoverageAlert
from monitor.coverage.liveness import Liveness
from monitor.drift.detection import Detection, Resolution
from monitor.drift.loss import LossCheck
from monitor.drift.quality import QUALITY_SCHEMA
from monitor.finding import (
    coverage_finding,
    drift_finding,
    loss_finding,
    quality_findings,
    shift_findings,
    silence_finding,
)
from schemas.events.evidence import FindingKind, Level, Place
from schemas.events.memory import ShiftWindow

DAY = date(2013, 6, 4)
JUDGED = date(2013, 6, 2)
ALL = frozenset({"error", "output", "label", "features"})
EVEN = Resolution(days_differ=0.0, smallest=0.02, lost=1.0)


@pytest.mark.parametrize(
    ("state", "broken", "level", "text"),
    [
        ("degraded", (), Level.ALARM, "12.3 % fewer than usual have arrived"),
        ("broken", (1,), Level.WARN, "1 hour of predictions got far fewer labels"),
        ("broken", (1, 2), Level.WARN, "2 hours of predictions got far fewer labels"),
        ("no_predictions", (), Level.WARN, "no recent predictions"),
        ("not_enough_history", (), Level.CALIBRATING, "too little history to tell"),
    ],
)
def test_every_state_of_coverage_has_a_sentence(
    state: AlertState, broken: tuple[int, ...], level: Level, text: str
) -> None:
    """Only `degraded` is an alarm."""
    found = coverage_finding(CoverageAlert(state, -5.0, 0.1234, 24, 600, broken, 1), "late")
    assert found is not None
    assert (found.kind, found.place, found.subject, found.level) == (FindingKind.COVERAGE, Place.LABELS, "late", level)
    assert text in found.text


def test_a_good_state_is_no_finding() -> None:
    """And no state of a coverage alert is left out."""
    assert coverage_finding(CoverageAlert("ok", 0.1, 0.0, 24, 600, (), 1), "late") is None
    assert loss_finding(LossCheck("ok", 1.0, 2.0, 1.0, 0.5, 9), "mae") is None
    assert loss_finding(LossCheck("not_enough"), "mae") is None
    assert set(get_args(AlertState)) == {"ok", "degraded", "broken", "no_predictions", "not_enough_history"}


def test_a_silent_source_is_an_alarm_with_both_durations() -> None:
    """A long sentence is cut."""
    found = silence_finding(Liveness("silent", 9_000, 4_000, "No sign of life. " * 100), "desk\u202e", 0)
    assert (found.level, found.subject, found.value, found.limit) == (Level.ALARM, "desk\u202e", 9_000.0, 4_000.0)
    assert len(found.text) == 1_000


@pytest.mark.parametrize(("direction", "level"), [("worse", Level.ALARM), ("better", Level.OK)])
def test_only_a_change_for_the_worse_is_an_alarm(direction: Any, level: Level) -> None:
    """The text states the errors before and after."""
    found = drift_finding(Detection(DAY, JUDGED, direction, 0.1, 0.25, 0.15, 1.5, 900), EVEN, "late")
    assert found is not None
    assert (found.level, found.value, found.limit) == (level, 0.25, 0.1)
    assert found.text == f"errors went from 10.0 % to 25.0 % since 2 June 2013 ({direction})"


def test_what_days_that_differ_cost_is_said_where_it_is_much() -> None:
    """With a drift and without one; nothing is said where the rows alone set the limit."""
    much = Resolution(days_differ=0.06, smallest=0.09, lost=2.0)
    cost = "days differ by 6.0 %, so less than 9.0 % in a week is not found"
    drift = drift_finding(Detection(DAY, JUDGED, "worse", 0.1, 0.25, 0.15, 1.5, 900), much, "late")
    quiet = drift_finding(None, much, "late")
    assert drift is not None
    assert quiet is not None
    assert (drift.level, quiet.level, quiet.value) == (Level.ALARM, Level.OK, None)
    assert cost in drift.text
    assert cost in quiet.text
    assert drift_finding(None, EVEN, "late") is None
    assert drift_finding(None, None, "late") is None


def test_a_loss_is_reported_as_a_relative_increase() -> None:
    """With its values before and after."""
    found = loss_finding(LossCheck("worse", 0.5, 0.6, 0.2, 0.05, 900), "log_loss")
    assert found is not None
    assert (found.place, found.subject, found.value, found.limit) == (Place.METRIC, "log_loss", 0.6, 0.5)
    assert "20.0 % worse" in found.text


def shift_window(input_: str, **changes: Any) -> ShiftWindow:
    """Return a verdict on one input."""
    figures = {"psi": 0.4, "w1": 0.1, "threshold": 0.2, "w1_threshold": 0.3, "flagged": True, "level": "alarm"}
    return ShiftWindow(**{"day": DAY, "input": input_, "since": DAY, **figures, **changes})


def shifts(*windows: ShiftWindow, on: frozenset[Any] = ALL) -> list[tuple[Place, str, Level, float | None]]:
    """Return place, subject, level and value of the findings."""
    found = shift_findings(windows, DAY, JUDGED, on)
    return [(one.place, one.subject, one.level, one.value) for one in found]


def test_each_input_has_its_place_and_labels_their_own_day() -> None:
    """The newest day of features and scores, the newest judged day of labels."""
    rows = [
        shift_window("amount"),
        shift_window("output"),
        shift_window("label", day=JUDGED, psi=0.7),
        shift_window("label"),
        shift_window("amount", day=JUDGED),
        shift_window("feature label"),
    ]
    assert shifts(*rows) == [
        (Place.FEATURES, "amount", Level.ALARM, 0.4),
        (Place.OUTPUT, "output", Level.ALARM, 0.4),
        (Place.LABEL, "label", Level.ALARM, 0.7),
        (Place.FEATURES, "feature label", Level.ALARM, 0.4),
    ]


@pytest.mark.parametrize(
    ("level", "watched", "found"),
    [
        ("alarm", True, Level.ALARM),
        ("alarm", False, Level.WARN),
        ("critical", True, Level.WARN),
        ("warn", False, Level.WARN),
        ("ok", True, None),
        ("calibrating", True, None),
    ],
)
def test_one_odd_day_and_an_unwatched_subject_are_warnings(level: str, watched: bool, found: Level | None) -> None:
    """Only two odd days of three, of a watched subject, are an alarm."""
    on = frozenset({"features"}) if watched else frozenset({"error"})
    assert [one[2] for one in shifts(shift_window("amount", level=level), on=on)] == ([] if found is None else [found])


def test_a_shift_has_the_figure_that_exceeded_its_limit() -> None:
    """A shift against deployment is no finding; the page shows it."""
    assert shifts(shift_window("amount", psi=0.1, w1=0.9)) == [(Place.FEATURES, "amount", Level.ALARM, 0.9)]
    assert shifts(shift_window("amount", psi=None, w1=None)) == [(Place.FEATURES, "amount", Level.ALARM, None)]
    text = shift_findings([shift_window("output")], DAY, JUDGED, ALL)[0].text
    assert text == "the model's scores have shifted compared with the four weeks before"


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ("missing", "40.0 % of amount is missing (usually 1.0 %)"),
        ("unseen", "40.0 % of amount is of a category that the contract does not have (usually 1.0 %)"),
        ("out_of_range", "40.0 % of amount is outside the contract's limits (usually 1.0 %)"),
        ("not_finite", "40.0 % of amount is not finite (usually 1.0 %)"),
        ("stuck", "40.0 % of amount is the same value (usually 1.0 %)"),
        ("stale", "amount has no values any more"),
    ],
)
def test_every_quality_check_has_a_sentence(check: str, text: str) -> None:
    """A check that is not flagged has none."""
    rows = [("amount", check, 0.4, 0.01, 900, True), ("other", check, 0.4, 0.01, 900, False)]
    [found] = quality_findings(pl.DataFrame(rows, schema=QUALITY_SCHEMA, orient="row"))
    assert (found.text, found.place, found.level) == (text, Place.FEATURES, Level.ALARM)


def test_missing_scores_are_a_finding_on_the_output() -> None:
    """And an unknown share is called so."""
    rows = [("output", "missing", None, 0.01, 0, True)]
    [found] = quality_findings(pl.DataFrame(rows, schema=QUALITY_SCHEMA, orient="row"))
    assert (found.place, found.value) == (Place.OUTPUT, None)
    assert found.text.startswith("an unknown share of output")
