"""Evaluations: the same however days are grouped, and without days whose labels are too young."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from cell_cases import HOUR_MS, OWN, config_of
from effort import some
from evaluation_case import (
    Era,
    Story,
    day_of,
    in_one_go,
    memories_after,
    one_by_one,
    plain_config,
    told,
)
from frame_cells import FrameCells

from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.drift.detection import Detection
from monitor.drift.recovery import OpenDrift, RatedDay, still_open
from monitor.evaluation import Evaluator, SourceArrivals, end_of_day_ms
from schemas.events.evidence import Evaluation, Finding, FindingKind, Level, Place

SLOW = {"late": {"definition": OWN["late"], "horizon": "20d", "retain": "30d"}}
"""Panes are whole days then, which are read sooner."""


def named(evaluation: Evaluation, *kinds: FindingKind) -> list[Finding]:
    """Return the findings of some kinds, or all."""
    return [one for one in evaluation.findings if not kinds or one.kind in kinds]


def levels(evaluations: list[Evaluation], kind: FindingKind) -> list[str]:
    """Return the level of the finding of a kind, by evaluation; '' where there is none."""
    return [next((one.level.value for one in named(each, kind)), "") for each in evaluations]


def jump(number: int, before: float, after: float, until: int = 1_000) -> Any:
    """Return a function of the day that changes its value on some days."""
    return lambda day: after if number <= day < until else before


@cache
def two_versions() -> Story:
    """One version that gets worse, and one that is its shadow for weeks, gets worse too, and then runs."""
    eras = [Era("v1", 0, 50, 200, jump(30, 0.1, 0.3)), Era("v2", 2, 60, 100, jump(20, 0.05, 0.5))]
    return Story(plain_config(labels=SLOW), eras, delay_ms=12 * HOUR_MS)


DAYS = (47, 54)


@cache
def all_at_once() -> list[Evaluation]:
    """Return the evaluations around the change of version, from cells as of the last day."""
    return in_one_go(two_versions(), DAYS)


@pytest.mark.parametrize("seed", some(1, 2, 3, 4, 5, 6, at_least=1))
def test_days_are_evaluated_alike_together_in_groups_and_after_restarts(seed: int) -> None:
    """A group is read from the cells as of its end; another process knows what the log remembers, and so do all."""
    rng = random.Random(seed)
    lasts = [number for number in range(*DAYS) if rng.random() < 0.6]
    assert one_by_one(two_versions(), DAYS, lasts) == all_at_once()


def test_a_restarted_process_evaluates_a_new_version_as_a_running_one_does() -> None:
    """The version has been a shadow for longer than the days that the coverage alert reads."""
    assert one_by_one(two_versions(), DAYS) == all_at_once()
    assert told(in_one_go(two_versions(), (51, 51))) == told(all_at_once()[4:5])
    assert [one.version for one in all_at_once()[1:5]] == ["v1", "v1", "v2", "v2"]
    assert levels(all_at_once()[1:5], FindingKind.ERROR_DRIFT) == ["alarm"] * 4
    [drift] = named(all_at_once()[4], FindingKind.ERROR_DRIFT)
    assert (drift.value, drift.limit) == (pytest.approx(0.5, abs=0.1), pytest.approx(0.05, abs=0.05))


def test_days_are_evaluated_alike_one_by_one_across_daylight_saving_time() -> None:
    """The tenth of March has 23 hours in New York."""
    story = Story(plain_config(), [Era("v1", 0, 9, 300)])
    evaluations = one_by_one(story, (4, 7))
    assert evaluations == in_one_go(story, (4, 7))
    assert [one.at for one in evaluations] == [
        end_of_day_ms(day_of(number), "America/New_York") for number in range(4, 8)
    ]
    assert [after.at - before.at for before, after in pairwise(evaluations)] == [
        24 * HOUR_MS,
        23 * HOUR_MS,
        24 * HOUR_MS,
    ]


@pytest.mark.parametrize(
    ("at", "day", "judged"),
    [
        ("6h", date(2013, 5, 20), date(2013, 5, 19)),
        ("1d", date(2013, 5, 20), date(2013, 5, 19)),
        ("86401s", date(2013, 5, 20), date(2013, 5, 18)),
        ("final", date(2013, 5, 20), date(2013, 5, 17)),
        ("1d", date(2013, 3, 10), date(2013, 3, 8)),
        ("23h", date(2013, 3, 10), date(2013, 3, 9)),
        ("25h", date(2013, 11, 3), date(2013, 11, 2)),
        ("90001s", date(2013, 11, 3), date(2013, 11, 1)),
    ],
)
def test_a_day_is_judged_once_all_of_it_has_reached_the_age(at: str, day: date, judged: date) -> None:
    """To the second, also on days of 23 and 25 hours; `final` is the horizon of three days."""
    labels = {"late": {"definition": OWN["late"], "horizon": "3d", "retain": "9d"}}
    evaluator = Evaluator(plain_config(labels=labels, evaluate_at=[at]), "late")
    assert evaluator.judged_day(day) == judged


def test_a_young_day_is_never_judged() -> None:
    """Whether it confirms a drift of the days before it is reported when it is old enough, and not earlier."""
    config = plain_config(labels=SLOW)
    over = in_one_go(Story(config, [Era("v1", 0, 31, 300, jump(27, 0.1, 0.6, until=29))]), (29, 30))
    lasting = in_one_go(Story(config, [Era("v1", 0, 31, 300, jump(27, 0.1, 0.6))]), (29, 30))
    assert told(lasting[:1]) == told(over[:1])
    assert (lasting[0].judged_day, lasting[0].mature_labels) == (str(day_of(28)), 29 * 300)
    assert lasting[1] != over[1]


def test_labels_beyond_the_age_are_not_read_though_they_are_known() -> None:
    """A day that is evaluated late has the same evaluation as in time."""
    story = Story(plain_config(labels=SLOW), [Era("v1", 0, 4, 400)], delay_ms=12 * HOUR_MS)
    evaluator = Evaluator(story.config, "late")
    evaluator.load(FrameCells(story.cells(story.end_ms(3) + 20 * 24 * HOUR_MS)), story.plan, (day_of(0), day_of(3)))
    late = [evaluator.evaluate(day_of(number), story.arrivals()) for number in range(4)]
    assert late == one_by_one(story, (0, 3))
    assert 0.4 < late[3].mature_labels / (3 * 400) < 0.6


def test_only_the_running_version_is_judged() -> None:
    """The errors of a shadow are no finding."""
    story = Story(plain_config(labels=SLOW), [Era("v1", 0, 40, 300), Era("shadow", 5, 40, 150, jump(28, 0.1, 0.9))])
    evaluations = in_one_go(story, (34, 39))
    assert {(one.version, tuple(one.versions)) for one in evaluations} == {("v1", ("v1", "shadow"))}
    assert {one.mature_labels for one in evaluations} == {300 * number for number in range(34, 40)}
    assert not any(named(one, FindingKind.ERROR_DRIFT, FindingKind.METRIC_LOSS) for one in evaluations)


def test_a_drift_stays_open_until_the_error_has_recovered() -> None:
    """Found once by the detector, it is reported every day until a week after the error has returned."""
    story = Story(plain_config(labels=SLOW), [Era("v1", 0, 60, 300, jump(25, 0.1, 0.4, until=40))])
    evaluations = in_one_go(story, (25, 55))
    drift = levels(evaluations, FindingKind.ERROR_DRIFT)
    first = drift.index("alarm")
    assert 1 <= first <= 4
    assert set(drift[first:15]) == {"alarm"}
    assert "alarm" not in drift[25:]
    lost = levels(evaluations, FindingKind.METRIC_LOSS)
    assert "alarm" in lost[:15]
    assert "alarm" not in lost[25:]


SINCE = date(2013, 5, 1)
FOUND = Detection(
    day=SINCE + timedelta(days=1),
    since=SINCE,
    direction="worse",
    error_before=0.1,
    error_after=0.3,
    change=0.2,
    relative_change=2.0,
    n=2_000,
)


def history(errors: list[int], before: int = 100) -> list[RatedDay]:
    """Return four weeks with so many errors a day in 1,000, and then the given ones from the start of the drift."""
    counts = [before] * 28 + errors
    return [(SINCE + timedelta(days=number - 28), float(count), 1_000) for number, count in enumerate(counts)]


OPEN = OpenDrift.of(FOUND, history([300, 300]))


@pytest.mark.parametrize(
    ("errors", "is_open"),
    [
        ([300, 300] + [100] * 6, True),
        ([300, 300] + [100] * 7, False),
        ([300, 300] + [200] * 7, True),
        ([300, 300] + [199] * 7, False),
        ([300, 300] + [1] * 7, False),
        ([300, 300] + [0] * 7, True),
    ],
)
def test_a_drift_is_over_when_a_whole_week_after_it_is_closer_to_before(errors: list[int], is_open: bool) -> None:
    """Seven days, and less than half of the change; as far on the other side is no recovery."""
    assert (still_open(OPEN, history(errors)) is OPEN) is is_open
    assert (still_open(OPEN, history(errors)[-7:]) is OPEN) is is_open


def test_days_without_labels_do_not_close_a_drift() -> None:
    """Missing labels are no recovery, neither after it nor before."""
    silent = [(SINCE + timedelta(days=number), 0.0, 0) for number in range(2, 9)]
    unknown = OpenDrift.of(FOUND, silent)
    assert (OPEN.labels, OPEN.wrong, unknown.labels) == (28_000, 2_800, 0)
    assert still_open(OPEN, history([300, 300]) + silent) is OPEN
    assert still_open(unknown, history([300, 300] + [100] * 7)) is unknown
    assert still_open(None, history([300])) is None


def test_findings_are_sorted_worst_first() -> None:
    """Alarms before warnings; among equals by name, so that the order is always the same."""
    story = Story(
        plain_config(labels=SLOW, drift={"on": ["error"]}),
        [Era("v1", 0, 40, 600, jump(30, 0.1, 0.4), amount=jump(36, 50, 75))],
    )
    minutes = story.arrivals()["ledger"].minutes
    evaluator = Evaluator(story.config, "late")
    evaluator.load(FrameCells(story.cells_after(38)), story.plan, (day_of(38), day_of(38)))
    stopped = minutes[minutes < story.end_ms(35) // 60_000]
    one = evaluator.evaluate(day_of(38), {"desk": SourceArrivals(stopped), "bureau": SourceArrivals(stopped)})
    assert [(each.level, each.kind, each.subject) for each in one.findings] == [
        (Level.ALARM, FindingKind.ERROR_DRIFT, "late"),
        (Level.ALARM, FindingKind.METRIC_LOSS, "log_loss"),
        (Level.ALARM, FindingKind.SILENCE, "bureau"),
        (Level.ALARM, FindingKind.SILENCE, "desk"),
        (Level.WARN, FindingKind.SHIFT, "amount"),
    ]
    assert {each.place for each in one.findings} == {Place.ERROR, Place.METRIC, Place.LABELS, Place.FEATURES}


def test_a_subject_that_the_config_does_not_watch_is_no_alarm() -> None:
    """Errors are not checked, features are a warning at most, the metric is judged all the same."""
    story = Story(
        plain_config(labels=SLOW, drift={"on": ["output"]}),
        [Era("v1", 0, 40, 600, jump(30, 0.1, 0.4), amount=jump(36, 50, 75))],
    )
    [last] = in_one_go(story, (38, 38))
    assert named(last, FindingKind.ERROR_DRIFT) == []
    assert {one.level for one in named(last, FindingKind.SHIFT) if one.place is Place.FEATURES} == {Level.WARN}
    assert levels([last], FindingKind.METRIC_LOSS) == ["alarm"]


@pytest.mark.parametrize(("kind", "subject"), [("fare", "mae"), ("status", "accuracy")])
def test_other_tasks_are_judged_by_their_own_loss(kind: str, subject: str) -> None:
    """Regression and multiclass have no drift detector, no rarer class, and the loss under their metric's name."""
    config = config_of(evaluate_at=["6h", "final"], coverage=[])
    story = Story(config, [Era("v1", 0, 46, 150, jump(36, 0.1, 0.6))], kind=kind)
    [before] = in_one_go(story, (34, 34))
    after = in_one_go(story, (45, 45))[0]
    assert (before.rarer_class, before.mature_labels) == (None, 34 * 150)
    assert named(before, FindingKind.METRIC_LOSS, FindingKind.ERROR_DRIFT) == []
    assert [(one.subject, one.level) for one in named(after, FindingKind.METRIC_LOSS)] == [(subject, Level.ALARM)]
    assert named(after, FindingKind.ERROR_DRIFT) == []


def test_a_kind_with_delays_by_slice_is_evaluated_like_any_other() -> None:
    """Its panes are counted by that slice, and added up."""
    labels = {"late": SLOW["late"] | {"delay_by": "country"}}
    eras = [Era("v1", 0, 34, 300, jump(25, 0.1, 0.4))]
    plain = in_one_go(Story(plain_config(labels=SLOW), eras), (27, 32))
    by_country = in_one_go(Story(plain_config(labels=labels), eras), (27, 32))
    assert by_country == plain
    assert "alarm" in levels(plain, FindingKind.ERROR_DRIFT)


def test_missing_labels_are_a_finding_on_coverage_and_no_other() -> None:
    """Fewer labels by the same age; the error among those that arrive is unchanged."""
    story = Story(plain_config(labels=SLOW), [Era("v1", 0, 50, 300, labelled=jump(46, 0.95, 0.3))])
    *_, before, last = in_one_go(story, (45, 48))
    assert {one.kind for one in named(before) + named(last)} == {FindingKind.COVERAGE}
    assert named(last)[0].level in (Level.ALARM, Level.WARN)
    assert "labels" in named(last)[0].text


def test_a_silent_source_is_named() -> None:
    """Not a source whose labels still arrive, nor one that sends only heartbeats."""
    story = Story(plain_config(labels=SLOW), [Era("v1", 0, 33, 200)])
    minutes = story.arrivals()["ledger"].minutes
    end_ms = story.end_ms(31)
    stopped = minutes[minutes < (end_ms - 30 * HOUR_MS) // 60_000]
    arrivals = {
        "ledger": SourceArrivals(minutes),
        "desk": SourceArrivals(stopped),
        "feed": SourceArrivals(stopped, (end_ms - 60_000, end_ms + 1)),
        "later": SourceArrivals(stopped, (end_ms + 1,)),
    }
    evaluator = Evaluator(story.config, "late")
    evaluator.load(FrameCells(story.cells_after(31)), story.plan, (day_of(31), day_of(31)))
    found = named(evaluator.evaluate(day_of(31), arrivals), FindingKind.SILENCE)
    assert [(one.subject, one.level) for one in found] == [("desk", Level.ALARM), ("later", Level.ALARM)]
    assert found[0].value is not None
    assert found[0].value >= 30 * HOUR_MS
    assert found[0].limit is not None


def test_before_the_first_prediction_no_version_runs_and_nothing_is_judged() -> None:
    """An empty lake has an evaluation without verdicts."""
    config = plain_config()
    evaluator = Evaluator(config, "late")
    evaluator.load(FrameCells(merge()), CellPlan.from_config(config), (day_of(0), day_of(0)))
    one = evaluator.evaluate(day_of(0), {})
    assert (one.version, one.versions, one.judged_day, one.mature_labels, one.rarer_class) == (None, [], None, 0, 0)
    assert [(each.kind, each.level) for each in one.findings] == [(FindingKind.COVERAGE, Level.WARN)]
    with pytest.raises(ValueError, match="no cells are loaded"):
        Evaluator(config, "late").evaluate(day_of(0), {})


def test_a_day_ends_when_the_next_one_begins_in_the_loops_time_zone() -> None:
    """Summer and winter."""
    at = partial(end_of_day_ms, timezone="America/New_York")
    assert datetime.fromtimestamp(at(date(2013, 3, 9)) / 1000, UTC) == datetime(2013, 3, 10, 5, tzinfo=UTC)
    assert datetime.fromtimestamp(at(date(2013, 3, 10)) / 1000, UTC) == datetime(2013, 3, 11, 4, tzinfo=UTC)


class CountedCells(FrameCells):
    """Cells that tell of which days they were asked for."""

    asked: list[date]

    def of_days(self, first: date, last: date, *conditions: pl.Expr) -> pl.DataFrame:
        """Return the cells of some days, and note the first."""
        self.asked = [*getattr(self, "asked", []), first]
        return super().of_days(first, last, *conditions)


def test_a_process_that_goes_on_reads_the_same_days_however_old_the_version_is() -> None:
    """Twelve weeks before the judged day, and the look back on labels; a version without a memory is read whole."""
    story = long_story()
    for number in (100, 139):
        memories = memories_after(in_one_go(story, (number - 1, number - 1)))
        cells = CountedCells(story.cells_after(number))
        evaluator = Evaluator(story.config, "late")
        evaluator.load(cells, story.plan, (day_of(number), day_of(number)), memories=memories)
        assert day_of(number) - min(cells.asked) == timedelta(days=84 + 2)
        evaluator.load(cells, story.plan, (day_of(number), day_of(number)))
        assert min(cells.asked) == day_of(0)


@cache
def long_story() -> Story:
    """A version that gets worse twice, and better once, and whose feature moves for good; nothing is labelled twice."""
    error = jump(40, 0.1, 0.3, until=75)
    again = jump(110, 0.1, 0.35)
    eras = [Era("v1", 0, 140, 150, lambda day: error(day) if day < 100 else again(day), amount=jump(118, 50, 80))]
    return Story(plain_config(labels=SLOW), eras)


@pytest.mark.parametrize("lasts", some([24, 60, 89, 90, 131], [45, 46, 47, 76, 100, 113, 125], range(20, 140)))
def test_restarted_on_any_day_a_loop_finds_what_one_that_never_stops_finds(lasts: Sequence[int]) -> None:
    """To the bit, also what it remembers: also beyond the days that a process reads again."""
    whole = in_one_go(long_story(), (20, 139))
    assert one_by_one(long_story(), (20, 139), lasts) == whole
    assert {one.level.value for each in whole for one in named(each, FindingKind.ERROR_DRIFT)} >= {"alarm"}
    assert any(named(each, FindingKind.SHIFT) for each in whole)


def test_what_was_remembered_of_another_threshold_is_not_used() -> None:
    """Errors are others then: all days are judged anew, as without a memory."""
    story = long_story()
    memories = memories_after(in_one_go(story, (119, 119)))
    other = {version: one.model_copy(update={"basis": "another"}) for version, one in memories.items()}
    assert in_one_go(story, (120, 120), other) == in_one_go(story, (120, 120))
    assert told(in_one_go(story, (120, 120), memories)) == told(in_one_go(story, (120, 120)))
