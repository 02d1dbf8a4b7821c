"""A backfill is found once, is not of record until it is approved, restates everything, and requests one retrain.

Tests `truthloop.evidence.backfill_scan` with `truthloop.evidence.backfill_pairs`, `truthloop.evidence.touched`,
`truthloop.evidence.spans` and `truthloop.evidence.diff_log`.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from restatement_case import (
    DAY_MS,
    HALF,
    HOUR_MS,
    KNOWN,
    OTHER,
    ROWS,
    START_MS,
    add_days,
    cells_of_days,
    diffs_of,
    label_row,
    log_of,
    make_loop,
    restating_labels,
    rule,
    scored,
    views_agree,
)

from lake.dataset import read_dataset
from retrain.episode_status import rulings_of
from schemas.events.backfill import Cause, Verdict
from schemas.events.evidence import Decision, Event, FindingKind, GateState
from truthloop.config.settings import Settings
from truthloop.evidence.cells import read_evidence
from truthloop.feedback.reconcile import Reconciler

MONTH = range(2, 5)
SETTLED = 6
"""Days whose outcomes are final when the past is restated."""
NEXT = (KNOWN, KNOWN + 1)
DECIDED = KNOWN - 1
"""Entries of the log: the last day has ended once a later one has begun."""


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop whose first days are evaluated."""
    folder = tmp_path_factory.mktemp("early")
    settings = make_loop(folder)
    add_days(settings, (0, KNOWN))
    assert len(turn(settings)) == DECIDED
    return folder


def copy_of(folder: Path, into: Path) -> Settings:
    """Return the loop in another folder."""
    into.mkdir(exist_ok=True)
    shutil.copytree(folder / "lake", into / "lake")
    return make_loop(into)


@pytest.fixture
def loop(early: Path, tmp_path: Path) -> Settings:
    """The same loop, to be changed."""
    return copy_of(early, tmp_path)


def turn(settings: Settings) -> list[Decision]:
    """Look once, as a process that was just started."""
    return [*Reconciler(settings, lambda: START_MS).run().decisions]


def found_in(decisions: list[Decision]) -> Decision:
    """Return the only entry about a backfill, which is the last one."""
    [opened] = [one for one in decisions if one.event is Event.BACKFILLED]
    assert decisions[-1] is opened
    assert opened.episode is not None
    return opened


def changed(before: pl.DataFrame, after: pl.DataFrame) -> int:
    """Return how many predictions have another label than before."""
    both = before.select("key", "value").join(after.select("key", now="value"), on="key")
    return both.filter(pl.col("value") != pl.col("now")).height


def asked_for(settings: Settings) -> set[str]:
    """Return the ids of all retrains."""
    return {one.decision for one in log_of(settings) if one.decision is not None}


@pytest.fixture(scope="module")
def redefined(early: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loop after three of its days were restated in another definition."""
    folder = tmp_path_factory.mktemp("redefined")
    settings = copy_of(early, folder)
    add_days(settings, NEXT, restating_labels(MONTH, (KNOWN, 3), definition=OTHER))
    turn(settings)
    return folder


def test_another_definition_waits_once_with_its_diff(early: Path, redefined: Path, tmp_path: Path) -> None:
    """Behind the day's evaluation; nothing else changes, and a further look finds nothing new."""
    settings = copy_of(redefined, tmp_path)
    entries = log_of(settings)[DECIDED:]
    assert [one.event for one in entries] == [Event.EVALUATED, Event.BACKFILLED]
    opened = entries[-1]
    assert (opened.state, opened.verdict, opened.decision) == (GateState.WAITING, Verdict.QUARANTINED, None)
    assert opened.episode is not None
    assert (opened.episode.definition, opened.episode.causes) == (OTHER, [Cause.REDEFINED])
    assert opened.episode.labels == len(MONTH) * HALF
    assert opened.episode.since == START_MS + KNOWN * DAY_MS + 3 * HOUR_MS
    [diff] = diffs_of(settings)
    assert (diff.episode, diff.sha256()) == (opened.episode, opened.detail["diff_sha256"])
    assert (diff.touched.changed, diff.touched.predictions) == (len(MONTH) * HALF // 4, len(MONTH) * HALF)
    assert turn(settings) == []
    assert len(diffs_of(settings)) == 1
    evidence = views_agree(settings)
    before = cells_of_days(read_evidence(make_loop(early)), (0, SETTLED))
    assert_frame_equal(cells_of_days(evidence, (0, SETTLED)), before, check_exact=True)


def test_approving_it_restates_everything_and_asks_once(redefined: Path, tmp_path: Path) -> None:
    """Cells, views and what is scored follow; the past as it was known then stays; the data set has the new labels."""
    settings = copy_of(redefined, tmp_path)
    before = scored(settings)
    opened = log_of(settings)[-1]
    assert opened.episode is not None
    approved = rule(settings, opened.episode, Verdict.APPROVED)
    decisions = turn(settings)
    assert [(one.event, one.state) for one in decisions] == [
        (Event.RESTATED, GateState.PREPARING),
        (Event.PREPARED, GateState.REQUESTED),
    ]
    assert [one.kind for one in decisions[0].findings] == [FindingKind.BACKFILL]
    evidence = views_agree(settings)
    after = scored(settings)
    months = after.filter(pl.col("definition") == OTHER)
    assert months.height == len(MONTH) * HALF
    assert changed(before, after) == len(MONTH) * HALF // 4
    then = scored(settings, datetime.fromtimestamp((approved.at - 1) / 1_000, UTC))
    names = ["partition", "prediction_offset", "value", "definition"]
    settled = pl.col("predicted_at") < datetime.fromtimestamp((START_MS + KNOWN * DAY_MS) / 1_000, UTC)
    assert_frame_equal(then.filter(settled).select(names), before.filter(settled).select(names))
    retrain = decisions[0].decision
    dataset = read_dataset(tmp_path / "datasets" / str(retrain))
    [listed] = dataset.manifest["backfills"]
    assert (listed["episode"], listed["verdict"]) == (opened.episode.id, "approved")
    assert not any(evidence.cells.whole().filter(pl.col("amount") == 0).iter_rows())
    assert turn(settings) == []
    add_days(settings, (KNOWN + 1, KNOWN + 2))
    assert [one.event for one in turn(settings)] == [Event.EVALUATED]
    assert asked_for(settings) == {retrain}


def test_rejecting_it_leaves_everything_as_it_was(redefined: Path, tmp_path: Path) -> None:
    """Bit for bit; the gate rests again, nothing is asked, and its later labels wait as a backfill of their own."""
    settings = copy_of(redefined, tmp_path)
    before, cells = scored(settings), read_evidence(settings).cells.whole()
    opened = log_of(settings)[-1]
    assert opened.episode is not None
    rule(settings, opened.episode, Verdict.REJECTED)
    [again] = turn(settings)
    assert (again.event, again.state) == (Event.RESTATED, GateState.IDLE)
    assert_frame_equal(views_agree(settings).cells.whole(), cells, check_exact=True)
    assert_frame_equal(scored(settings), before)
    assert (turn(settings), asked_for(settings)) == ([], set())
    add_days(settings, (KNOWN + 1, KNOWN + 2), restating_labels([5], (KNOWN + 1, 3), definition=OTHER))
    later = found_in(turn(settings))
    assert later.episode is not None
    assert later.episode.id != opened.episode.id
    assert (later.episode.labels, later.verdict) == (HALF, Verdict.QUARANTINED)


def test_an_approved_definition_goes_on_without_another_word(redefined: Path, tmp_path: Path) -> None:
    """Its later live labels count, and open nothing."""
    settings = copy_of(redefined, tmp_path)
    opened = log_of(settings)[-1]
    assert opened.episode is not None
    rule(settings, opened.episode, Verdict.APPROVED)
    turn(settings)
    add_days(settings, (KNOWN + 1, KNOWN + 2), restating_labels([5], (KNOWN + 1, 3), definition=OTHER))
    assert [one.event for one in turn(settings)] == [Event.EVALUATED]
    views_agree(settings)
    assert scored(settings).filter(pl.col("definition") == OTHER).height == (len(MONTH) + 1) * HALF


@pytest.mark.parametrize("verdict", [Verdict.APPROVED, Verdict.REJECTED])
def test_a_declared_batch_stands_beside_until_it_is_ruled_about(loop: Settings, verdict: Verdict) -> None:
    """Corrections of the own definition, declared; what comes of the same batch later is another backfill."""
    before, told_then = read_evidence(loop), scored(loop)
    batch = {"origin": "backfill", "batch_id": "2023-11"}
    add_days(loop, NEXT, restating_labels(MONTH, (KNOWN, 3), **batch))
    opened = found_in(turn(loop))
    assert opened.episode is not None
    assert (opened.episode.causes, opened.episode.batch) == ([Cause.DECLARED], "2023-11")
    assert (opened.verdict, opened.state) == (Verdict.QUARANTINED, GateState.WAITING)
    unruled = read_evidence(loop)
    assert_frame_equal(cells_of_days(unruled, (0, SETTLED)), cells_of_days(before, (0, SETTLED)), check_exact=True)
    rule(loop, opened.episode, verdict)
    decisions = turn(loop)
    assert decisions[0].event is Event.RESTATED
    after = views_agree(loop)
    assert after.cells.whole().equals(unruled.cells.whole()) is (verdict is Verdict.REJECTED)
    counts = verdict is Verdict.APPROVED
    assert (changed(told_then, scored(loop)), len(asked_for(loop))) == (
        (len(MONTH) * HALF // 4, 1) if counts else (0, 0)
    )
    add_days(loop, (KNOWN + 1, KNOWN + 2), restating_labels([5], (KNOWN + 1, 3), **batch))
    later = found_in(turn(loop))
    assert later.episode is not None
    assert later.episode.id != opened.episode.id
    assert later.episode.labels == HALF
    assert (scored(loop).filter(pl.col("key").str.starts_with("5-"))["value"].drop_nulls() == 1).sum() == HALF * 2 // 5


def test_a_batch_of_another_definition_changes_what_its_diff_shows(loop: Settings) -> None:
    """Approving it makes the definition of record, and its labels count."""
    add_days(loop, NEXT, restating_labels([3], (KNOWN, 3), definition=OTHER, origin="backfill"))
    opened = found_in(turn(loop))
    assert opened.episode is not None
    assert (opened.episode.causes, opened.episode.batch) == ([Cause.REDEFINED, Cause.DECLARED], None)
    before = scored(loop)
    rule(loop, opened.episode, Verdict.APPROVED)
    turn(loop)
    views_agree(loop)
    [diff] = diffs_of(loop)
    assert changed(before, scored(loop)) == diff.touched.changed == HALF // 4


def test_a_batch_counts_in_the_views_while_live_labels_of_its_definition_wait(loop: Settings) -> None:
    """Each has a ruling of its own; cells count the batch."""
    live = restating_labels([2], (KNOWN, 3), definition=OTHER)
    add_days(loop, NEXT, [*live, *restating_labels([3], (KNOWN, 3), definition=OTHER, origin="backfill")])
    [batch] = [one.episode for one in turn(loop) if one.episode is not None and Cause.DECLARED in one.episode.causes]
    rule(loop, batch, Verdict.APPROVED)
    turn(loop)
    views_agree(loop)


def test_300_stale_labels_in_four_hours_are_found_and_pass_if_they_only_add(loop: Settings) -> None:
    """They say of the other half of five days what is usual: no rule fires, they count, nobody is asked."""
    first_ms = START_MS + KNOWN * DAY_MS + 3 * HOUR_MS
    names = [(day, number) for day in range(2, 7) for number in range(HALF, ROWS)]
    step_ms = (4 * HOUR_MS - 1) // len(names)
    add_days(loop, NEXT, [label_row(*name, first_ms + place * step_ms) for place, name in enumerate(names)])
    opened = found_in(turn(loop))
    assert opened.episode is not None
    assert (opened.episode.causes, opened.episode.labels, len(names)) == ([Cause.STALE], 300, 300)
    assert (opened.verdict, opened.state) == (Verdict.PASSED, GateState.IDLE)
    [diff] = diffs_of(loop)
    assert (diff.touched.new, diff.touched.changed) == (300, 0)
    assert turn(loop) == []
    views_agree(loop)
    assert scored(loop).filter(status="joined").height == ROWS * (KNOWN + 1)
    assert asked_for(loop) == set()


def test_300_corrections_in_four_hours_are_found_and_wait(loop: Settings) -> None:
    """From then on they do not count, as if they had not come; approved they count again."""
    before, told_then = read_evidence(loop), scored(loop)
    add_days(loop, NEXT, restating_labels(range(2, 7), (KNOWN, 3), share=1))
    opened = found_in(turn(loop))
    assert opened.episode is not None
    assert (opened.episode.causes, opened.episode.labels) == ([Cause.CORRECTED], 300)
    assert (opened.verdict, opened.state) == (Verdict.QUARANTINED, GateState.WAITING)
    [again] = turn(loop)
    assert (again.event, again.state) == (Event.RESTATED, GateState.WAITING)
    evidence = views_agree(loop)
    assert_frame_equal(cells_of_days(evidence, (0, SETTLED)), cells_of_days(before, (0, SETTLED)), check_exact=True)
    assert turn(loop) == []
    rule(loop, opened.episode, Verdict.APPROVED)
    assert turn(loop)[0].state is GateState.PREPARING
    views_agree(loop)
    assert changed(told_then, scored(loop)) == 300
    assert turn(loop) == []


def test_a_backfill_that_grows_keeps_its_id_and_is_approved_as_it_is(redefined: Path, tmp_path: Path) -> None:
    """It is put before a person anew; what was in it then is what counts."""
    settings = copy_of(redefined, tmp_path)
    first = log_of(settings)[-1]
    add_days(settings, (KNOWN + 1, KNOWN + 2), restating_labels([5], (KNOWN + 1, 3), definition=OTHER))
    grown = found_in(turn(settings))
    assert first.episode is not None
    assert grown.episode is not None
    assert grown.episode.id == first.episode.id
    assert (grown.episode.since, grown.episode.labels) == (first.episode.since, (len(MONTH) + 1) * HALF)
    sha256s = [one.sha256() for one in diffs_of(settings)]
    assert sha256s == [first.detail["diff_sha256"], grown.detail["diff_sha256"]]
    assert len(rulings_of(log_of(settings))) == 1
    rule(settings, grown.episode, Verdict.APPROVED)
    turn(settings)
    views_agree(settings)
    assert scored(settings).filter(pl.col("definition") == OTHER).height == (len(MONTH) + 1) * HALF
    assert len(asked_for(settings)) == 1


def test_labels_that_never_find_a_prediction_are_told_by_whoever_looks_later(loop: Settings) -> None:
    """They leave the join after a while; two processes, one of which looks only then, find the same."""
    lost = [
        {"key": f"lost-{place}", "kind": "fraud", "value": 1, "time": START_MS + KNOWN * DAY_MS, "definition": OTHER}
        for place in range(5)
    ]
    add_days(loop, NEXT, [*lost, *restating_labels([7], (KNOWN, 3), definition=OTHER)])
    standing = Reconciler(loop, lambda: START_MS)
    standing.run()
    opened = log_of(loop)[-1]
    assert opened.episode is not None
    add_days(loop, (KNOWN + 25, KNOWN + 26))
    later = Reconciler(loop, lambda: START_MS)
    for _ in range(3):
        standing.run()
        later.run()
    assert [one.episode for one in log_of(loop) if one.event is Event.BACKFILLED] == [opened.episode]
