"""Views made from real lakes: what they show, with and without data, and when the lake is read again.

Tests `truthloop.page.gather.gatherer` with all that it calls: `truthloop.page.gather.background`,
`truthloop.page.gather.coverage`, `truthloop.page.gather.estimates`, `truthloop.page.gather.flow`,
`truthloop.page.gather.maturity`, `truthloop.page.gather.metric`, `truthloop.page.gather.quality`, and
`truthloop.evidence.arrivals`.
"""

import dataclasses
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gather_case import DAY_MS, DAYS, NOW_MS, Clock, config_of, gatherer_of, make_lake, records, settings_of

from schemas.errors import LakeError
from truthloop.config.settings import Settings
from truthloop.page.gather import Gatherer
from truthloop.page.gather import gatherer as gatherer_module
from truthloop.page.gather.snapshot import Snapshot, read_snapshot
from truthloop.page.markup.page import render_page
from truthloop.page.panels.download import panel_csv, panel_json
from truthloop.page.panels.model import RoleFlow
from truthloop.page.panels.tables import PANELS
from truthloop.page.panels.view import PageView, Selection


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return a loop of forty days."""
    return make_lake(tmp_path_factory.mktemp("shop"), config_of(), *records())


@pytest.fixture(scope="module")
def gatherer(settings: Settings) -> Gatherer:
    """Return its gatherer."""
    return gatherer_of(settings)


@pytest.fixture(scope="module")
def view(gatherer: Gatherer) -> PageView:
    """Return the view of all versions and slices."""
    return gatherer.view(Selection("bought", metric="accuracy"))


def can_be_shown(view: PageView) -> None:
    """Render the page, and write every panel as JSON and CSV."""
    assert render_page(view).endswith("</html>")
    for panel in PANELS:
        panel_json(view, panel)
        panel_csv(view, panel)


def test_the_choices_of_a_lake(gatherer: Gatherer) -> None:
    """Kinds in the config's order, versions in that of their first day, slices, and metrics of each kind."""
    choices = gatherer.choices()
    assert choices.kinds == ("bought", "price", "route")
    assert choices.versions == ("v1", "v2")
    assert choices.slices == ("country=DE", "country=FR", "country=∅")
    assert choices.metrics_of("bought")[0] == "accuracy"
    assert choices.metrics_of("price") == ("mae", "rmse", "mse", "r2")
    assert "macro_f1" in choices.metrics_of("route")


def test_a_running_day_has_an_estimate_and_the_value_of_the_arrived_labels(view: PageView) -> None:
    """Its status is provisional, and its interval contains the estimate."""
    running = {one.version: one for one in view.metric.running}
    assert set(running) == {"v1", "v2"}
    known = running["v1"]
    assert known.day == "2026-02-09"
    assert known.estimate is not None
    assert known.low is not None
    assert known.high is not None
    assert known.low <= known.estimate <= known.high
    assert known.arrived is not None
    newest = next(one for one in view.metric.series if one.version == "v1").points[-1]
    assert (newest.day, newest.status, newest.value) == (known.day, "provisional", known.estimate)
    assert "predictions made so far" in view.metric.note


def test_a_version_that_is_too_young_for_an_interval_gets_the_bounds(view: PageView) -> None:
    """Twelve days are less than the twenty needed."""
    newest = next(one for one in view.metric.series if one.version == "v2").points[-1]
    assert newest.low is None
    assert newest.least is not None
    assert newest.most is not None
    assert newest.least <= newest.most


def test_a_day_is_final_once_its_outcomes_are(view: PageView) -> None:
    """Also if it has a good estimate before."""
    final = [point.day for one in view.metric.series for point in one.points if point.status == "mature"]
    assert max(final) == "2026-02-07"
    assert min(final) == "2026-01-01"


def test_kinds_without_scores_have_values_and_no_estimates(gatherer: Gatherer) -> None:
    """Regression and multiclass: values of provisional days are of the arrived labels, and a note says so."""
    for kind, metric, is_higher_better in (("price", "mae", False), ("route", "accuracy", True)):
        found = gatherer.view(Selection(kind, metric=metric))
        assert found.metric.is_higher_better is is_higher_better
        assert not found.metric.running
        statuses = {point.status for one in found.metric.series for point in one.points}
        assert {"mature", "provisional"} <= statuses
        assert "of the arrived labels" in found.metric.note
        assert found.drift.lanes[0].name == "output"
        can_be_shown(found)


def test_classes_that_never_meet_are_said_beside_the_metric(tmp_path: Path) -> None:
    """Else labels with names of their own would look like a bad model."""
    predictions, labels = records(days=3)
    renamed = [one | {"value": f"by {one['value']}"} if one["kind"] == "route" else one for one in labels]
    gatherer = gatherer_of(make_lake(tmp_path, config_of(), predictions, renamed))
    note = gatherer.view(Selection("route", metric="accuracy")).metric.note
    assert "labels has a class that is ever predicted: labels say 'by " in note
    assert "ever predicted" not in gatherer.view(Selection("price", metric="mae")).metric.note


def test_versions_are_compared_on_the_labels_that_they_share(gatherer: Gatherer) -> None:
    """The later version has a lower loss on the same labels; there is one comparison for every task."""
    losses = {}
    for kind, metric in (("bought", "log_loss"), ("price", "mae"), ("route", "share of wrong classes")):
        (found,) = gatherer.view(Selection(kind)).versions.comparisons
        assert (found.first, found.second, found.metric) == ("v1", "v2", metric)
        assert 150 < found.shared_labels < 12 * 24
        losses[kind] = found
    bought = losses["bought"]
    assert bought.verdict == "v2 is better"
    assert bought.first_value is not None
    assert bought.second_value is not None
    assert bought.difference == pytest.approx(bought.second_value - bought.first_value)
    assert bought.high is not None
    assert bought.high < 0


def test_maturity_shows_the_newest_cohorts(view: PageView) -> None:
    """Curves grow with age up to one at most; the running day is compared with the usual share by its age."""
    for curve in (view.maturity.expected, *view.maturity.cohorts):
        shares = [share for _, share in curve.points if share is not None]
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)
    assert view.maturity.cohorts[0].name == "2026-02-09"
    assert view.maturity.arrived_by_now is not None
    assert view.maturity.expected_by_now is not None
    assert view.maturity.arrived_by_now == pytest.approx(view.maturity.expected_by_now, abs=0.25)


def test_the_progress_is_that_of_the_lake_unless_it_is_given(settings: Settings, view: PageView) -> None:
    """Sources are judged by their own history."""
    assert {one.source for one in view.flow.sources} == {"till"}
    assert {one.kind for one in view.flow.sources} == {"bought", "price", "route"}
    assert [one.role for one in view.flow.roles] == ["lake", "feedback"]
    role = RoleFlow("join", "behind", 12, "2 of 2 partitions", NOW_MS)
    given = Gatherer(settings, Clock(), lambda: [role], 60.0).view(Selection("bought"))
    assert given.flow.roles == (role,)
    assert given.flow.note == ""


def test_values_outside_the_contract_are_counted(view: PageView) -> None:
    """An amount of 20 is above the limit of 10, and a quarter of the values is missing."""
    found = {(one.field, one.problem): one for one in view.quality.counts}
    assert set(found) == {("amount", "missing"), ("amount", "outside its limits")}
    assert all(one.count > 0 and one.share is not None and 0 < one.share < 1 for one in found.values())


def test_a_page_without_new_data_reads_nothing(tmp_path: Path) -> None:
    """Snapshot and view are reused; new records make new ones."""
    settings = make_lake(tmp_path, config_of(), *records(days=3))
    gatherer = gatherer_of(settings)
    first = gatherer.view(Selection("bought"))
    snapshot = gatherer._current().snapshot
    second = gatherer.view(Selection("bought"))
    assert gatherer._current().snapshot is snapshot
    assert second.coverage is first.coverage
    assert second.freshness.made_at_ms > first.freshness.made_at_ms
    more = {"key": "new", "kind": "bought", "value": 1, "time": NOW_MS, "source": "other"}
    make_lake(tmp_path, settings.config, (), [more])
    third = gatherer.view(Selection("bought"))
    assert gatherer._current().snapshot is not snapshot
    assert {one.source for one in third.flow.sources} == {"till", "other"}


def test_several_threads_get_the_same_views(settings: Settings) -> None:
    """Eight at once, from a new gatherer."""
    gatherer = gatherer_of(settings)
    wanted = [Selection("bought", "v1", metric="accuracy"), Selection("price", "v1", metric="mae")] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(gatherer.view, wanted))
    for selection, one in zip(wanted, found, strict=True):
        alone = gatherer.view(selection)
        assert dataclasses.replace(one, freshness=alone.freshness) == alone


def test_a_page_does_not_wait_for_slow_values(settings: Settings) -> None:
    """Notes say what is missing; when it is computed, the page is complete."""
    gatherer = Gatherer(settings, Clock(), wait_s=0.0)
    early = gatherer.view(Selection("bought", metric="accuracy"))
    assert "being computed" in early.metric.note
    assert "being computed" in early.drift.note
    assert "being computed" in early.versions.note
    can_be_shown(early)
    gatherer._background._wait_s = 60.0
    complete = gatherer.view(Selection("bought", metric="accuracy"))
    assert complete.metric.running[0].estimate is not None
    assert complete.versions.comparisons
    assert "being computed" not in complete.drift.note


def test_while_a_large_lake_is_read_again_the_page_shows_the_snapshot_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the time that it is of; a live lake that changes all the time still has a page."""
    settings = make_lake(tmp_path, config_of(), *records(days=3))
    gatherer = gatherer_of(settings)
    first = gatherer.view(Selection("bought"))
    more = {"key": "new", "kind": "bought", "value": 1, "time": NOW_MS, "source": "other"}
    make_lake(tmp_path, settings.config, (), [more])
    free = threading.Event()

    def slow(*arguments: Any) -> Snapshot:
        free.wait(20)
        return read_snapshot(*arguments)

    monkeypatch.setattr(gatherer_module, "read_snapshot", slow)
    gatherer._wait_s = 0.0
    second = gatherer.view(Selection("bought"))
    assert {one.source for one in second.flow.sources} == {"till"}
    assert second.freshness.made_at_ms == first.freshness.made_at_ms
    assert gatherer.progress().startswith("opening the lake, for ")
    free.set()
    gatherer._wait_s = 60.0
    assert {one.source for one in gatherer.view(Selection("bought")).flow.sources} == {"till", "other"}


def test_without_a_lake_there_is_an_error(tmp_path: Path) -> None:
    """Once there is a lake, there is a page."""
    gatherer = gatherer_of(settings_of(tmp_path, config_of()))
    with pytest.raises(LakeError):
        gatherer.choices()
    make_lake(tmp_path, config_of())
    assert gatherer.choices().versions == ()


def test_the_view_of_an_empty_lake_has_no_values(tmp_path: Path) -> None:
    """No cohort, no value, no lane, and no urgency."""
    found = gatherer_of(make_lake(tmp_path, config_of())).view(Selection("bought", metric="accuracy"))
    assert found.coverage.cohorts == ()
    assert found.metric.series == ()
    assert found.drift.lanes == ()
    assert found.maturity.cohorts == ()
    assert found.flow.roles == ()
    assert found.freshness.read_until_ms is None
    assert (found.verdict.state, found.verdict.urgency) == ("WATCH", "none")
    can_be_shown(found)


@pytest.mark.parametrize("with_labels", [False, True])
def test_a_single_prediction_makes_a_page(tmp_path: Path, with_labels: bool) -> None:
    """One cohort that is not due, no value without labels, and every panel can be rendered."""
    predictions, labels = records(("v1",), ("DE",), 1)
    first = predictions[:1]
    mine = [one for one in labels if one["key"] == first[0]["key"]] if with_labels else []
    gatherer = gatherer_of(make_lake(tmp_path, config_of(), first, mine))
    for kind in gatherer.choices().kinds:
        can_be_shown(gatherer.view(Selection(kind, slice="country=DE", metric="accuracy" if kind != "price" else "r2")))
    found = gatherer.view(Selection("bought", metric="accuracy"))
    can_be_shown(found)
    (cohort,) = found.coverage.cohorts
    assert cohort.predictions == 1
    assert all(cell.share is None and not cell.due for cell in cohort.cells)
    (series,) = found.metric.series
    assert (series.points[0].status == "no_data") is not with_labels


def test_without_labels_values_and_shares_are_unknown(tmp_path: Path) -> None:
    """With forty days of predictions; there is no source either."""
    predictions, _ = records(("v1",))
    found = gatherer_of(make_lake(tmp_path, config_of(), predictions)).view(Selection("bought", metric="accuracy"))
    assert {point.value for one in found.metric.series for point in one.points} == {None}
    assert not any(cell.due for cohort in found.coverage.cohorts for cell in cohort.cells)
    assert found.flow.sources == ()
    can_be_shown(found)


def test_only_the_selected_days_are_shown(gatherer: Gatherer) -> None:
    """The last five, in coverage, metric and drift."""
    found = gatherer.view(Selection("bought", "v1", "", "accuracy", 5))
    assert len(found.coverage.cohorts) == 5
    assert [len(one.points) for one in found.metric.series] == [5]
    assert found.drift.days == tuple(f"2026-02-{day:02}" for day in (5, 6, 7, 8))
    assert all(len(lane.cells) == 4 for lane in found.drift.lanes)
    assert math.ceil((NOW_MS - int(found.freshness.read_until_ms or 0)) / DAY_MS) <= 1
    assert DAYS == 40


def test_a_metric_by_weight_is_shown_and_not_estimated(tmp_path: Path) -> None:
    """The page says so; with equal weights its values are those of the plain metric."""
    config = config_of(metrics={"bought": ["accuracy", {"metric": "accuracy", "by": "weight"}]})
    predictions, labels = records(days=6)
    gatherer = gatherer_of(make_lake(tmp_path, config, predictions, labels))
    assert gatherer.choices().metrics_of("bought") == ("accuracy", "accuracy (by weight)")
    plain, weighted = (
        gatherer.view(Selection("bought", metric=name)).metric for name in ("accuracy", "accuracy (by weight)")
    )
    assert "no estimate" in weighted.note
    assert "no estimate" not in plain.note
    final = [(point.day, point.value) for series in plain.series for point in series.points if point.status == "mature"]
    assert final
    assert final == [
        (point.day, pytest.approx(point.value))
        for series in weighted.series
        for point in series.points
        if point.status == "mature"
    ]
    assert "accuracy (by weight)" in render_page(gatherer.view(Selection("bought", metric="accuracy (by weight)")))
