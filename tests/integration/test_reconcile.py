"""From a lake's files to a request that is taken: decided once, whatever is killed, and by however many at a time."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest
from delivery_receiver import Receiver as Counter
from delivery_receiver import receiving
from delivery_worker import SECRET, virtual_now_ms
from effort import THOROUGH, some
from retrain_case import DAY_MS, DAYS, START_MS, make_loop, write_days

from lake import Lake
from lake.append import TableWriter
from lake.dataset import read_dataset
from retrain.address_guard import parse_allowed
from retrain.decision_log import DecisionLog
from retrain.gate import gate_of
from retrain.log_entries import EntryOrigin
from retrain.sender import Receiver
from schemas.errors import LakeError
from schemas.events.evidence import Decision, Event, GateState
from truthloop.config.settings import Settings
from truthloop.evidence.cells import Evidence, read_evidence
from truthloop.feedback.deliveries import Deliveries
from truthloop.feedback.reconcile import DAYS_AT_ONCE, Reconciler

KNOWN_DAYS = 27
"""So many are evaluated before anything is broken; the request is decided of day 28, and day 29 has begun."""
LAST = 30
HOURS_MS = 6 * 3_600_000


class Killed(BaseException):
    """What a process that is killed leaves behind: nothing catches it."""


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop whose first days are evaluated, and whose next ones have come."""
    folder = tmp_path_factory.mktemp("early")
    settings = make_loop(folder)
    write_days(settings, (0, KNOWN_DAYS))
    turn = Reconciler(settings, lambda: START_MS)
    results = [turn.run(), turn.run()]
    rest = KNOWN_DAYS - 1 - DAYS_AT_ONCE
    assert [len(one.evaluations) for one in results] == [DAYS_AT_ONCE, rest]
    assert [one.behind for one in results] == [rest, 0]
    write_days(settings, (KNOWN_DAYS, LAST))
    return folder


def copy_of(early: Path, folder: Path, url: str) -> Settings:
    """Return the loop in another folder, asking at a URL."""
    shutil.copytree(early / "lake", folder / "lake")
    (folder / "clock").write_text(str(START_MS + LAST * DAY_MS))
    return make_loop(folder, url)


def live(settings: Settings, url: str) -> None:
    """Do what the feedback role does, until the request is taken; the clock goes on by hours."""
    folder = settings.path.parent

    def now_ms() -> int:
        return virtual_now_ms(folder)

    place = url.split("/")[2]
    origins = [EntryOrigin(settings.config.loop, "fraud", settings.config.retrain)]
    receiver = Receiver(url, SECRET, parse_allowed([place]), timeout_s=0.5)
    turn = Reconciler(settings, now_ms)
    deliveries = Deliveries(Lake.open(settings.lake), origins, receiver, now_ms)
    for _ in range(20):
        turn.run()
        asyncio.run(deliveries.send_due())
        if gate_of(log_of(settings)).state is GateState.RUNNING:
            return
        (folder / "clock").write_text(str(now_ms() + HOURS_MS))
    raise AssertionError("the request was never taken")


def log_of(settings: Settings) -> list[Decision]:
    """Return the gate's log."""
    return DecisionLog(Lake.open(settings.lake), "fraud").entries()


def logged(settings: Settings) -> list[dict[str, Any]]:
    """Return the log without what the folder and the number of attempts decide."""
    folder = settings.path.parent.absolute().as_uri()
    rows = []
    for entry in log_of(settings):
        row = json.loads(entry.model_dump_json().replace(folder, "file:///loop"))
        if entry.event is Event.DELIVERED:
            del row["detail"], row["reason"]
        if entry.event is Event.PREPARED:
            del row["detail"]["manifest_sha256"]  # it names the versions of the tables
        rows.append(row)
    return rows


def evidence_of(settings: Settings) -> list[tuple[Any, ...]]:
    """Return the rows of evidence, sorted."""
    return sorted(
        Lake.open(settings.lake).scan("evidence").drop("recorded_on", "recorded_at").collect().rows(), key=str
    )


@pytest.fixture(scope="module")
def unbroken(early: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[Any]]:
    """What a process that is never killed writes."""
    folder = tmp_path_factory.mktemp("unbroken")
    with receiving(folder) as receiver:
        settings = copy_of(early, folder, receiver.url)
        live(settings, receiver.url)
        return logged(settings), evidence_of(settings)


@contextmanager
def killed_at(step: int) -> Iterator[Callable[[], bool]]:
    """Kill at one of the places where something becomes lasting: before it in even steps, after it in odd ones."""
    steps = count()
    was_killed = False
    commit, rename = TableWriter._commit, Path.rename

    def breaking(act: Callable[..., Any]) -> Callable[..., Any]:
        def broken(*words: Any) -> Any:
            nonlocal was_killed
            for is_after in (False, True):
                if next(steps) == step:
                    was_killed = True
                    raise Killed
                if not is_after:
                    done = act(*words)
            return done

        return broken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TableWriter, "_commit", breaking(commit))
        patch.setattr(Path, "rename", breaking(rename))
        yield lambda: was_killed


def one_effect(receiver: Counter, settings: Settings) -> None:
    """See that the decision has had one effect by the id of its request, signed and with its data set written."""
    [decided] = [entry for entry in log_of(settings) if entry.event is Event.PREPARED]
    assert receiver.effects == {decided.decision: decided.decision}
    assert (receiver.unsigned, receiver.trapped) == ([], [])


def test_one_day_is_evaluated_once_and_a_request_is_made_once(early: Path, tmp_path: Path) -> None:
    """An entry a day in `decisions`, findings in `evidence`; the data set is there before anybody is asked."""
    with receiving(tmp_path) as receiver:
        settings = copy_of(early, tmp_path, receiver.url)
        first = Reconciler(settings, lambda: virtual_now_ms(tmp_path)).run()
        assert [one.day for one in first.evaluations] == ["2023-12-16", "2023-12-17", "2023-12-18"]
        [prepared] = [entry for entry in first.decisions if entry.event is Event.PREPARED]
        assert receiver.came.total() == 0
        dataset = read_dataset(tmp_path / "datasets" / str(prepared.decision))
        assert prepared.detail["dataset"] == dataset.folder.as_uri()
        assert (prepared.detail["rows"], prepared.detail["manifest_sha256"]) == (
            dataset.counts.rows,
            dataset.manifest_sha256,
        )
        assert dataset.manifest["order"]["as_of_ms"] == START_MS + 29 * DAY_MS
        live(settings, receiver.url)
        one_effect(receiver, settings)
        entries = log_of(settings)
        events = [entry.event for entry in entries]
        assert events == [Event.EVALUATED] * 29 + [Event.PREPARED, Event.DELIVERED]
        assert [entry.at for entry in entries[:29]] == [START_MS + (day + 1) * DAY_MS for day in range(29)]
        assert entries[28].findings[0].kind.value == "error_drift"
        rows = evidence_of(settings)
        assert [(row[1].isoformat(), row[4]) for row in rows] == [
            ("2023-11-20", "coverage"),
            ("2023-12-18", "error_drift"),
        ]
        # nothing is new: nothing is written, by this process or another one
        lake = Lake.open(settings.lake)
        before = [lake.version(table) for table in ("cells", "evidence", "decisions")]
        again = Reconciler(settings, lambda: virtual_now_ms(tmp_path)).run()
        assert (list(again.evaluations), list(again.decisions)) == ([], [])
        assert [lake.version(table) for table in ("cells", "evidence", "decisions")] == before


def test_days_behind_a_decision_are_evaluated_by_the_next_look(early: Path, tmp_path: Path) -> None:
    """All at once or day by day, the log says the same; nobody answers, and that is logged."""
    settings = copy_of(early, tmp_path, "http://127.0.0.1:9/hook")
    write_days(settings, (LAST, DAYS))
    turn = Reconciler(settings, lambda: START_MS)
    assert turn.run().decisions[-1].event is Event.PREPARED
    following = turn.run()
    assert turn.run().decisions == []
    events = [entry.event for entry in following.decisions]
    assert events == [Event.EVALUATED, Event.OVERDUE, *[Event.EVALUATED] * 3]
    daily = tmp_path / "daily"
    daily.mkdir()
    other = copy_of(early, daily, "http://127.0.0.1:9/hook")
    one = Reconciler(other, lambda: START_MS)
    one.run()
    for day in range(LAST, DAYS):
        write_days(other, (day, day + 1))
        assert len(one.run().evaluations) == 1
    assert logged(other) == logged(settings)
    assert evidence_of(other) == evidence_of(settings)


def test_a_lake_in_which_nothing_happens_is_not_read(
    early: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two looks that find nothing to do are enough; a new day is seen, and so is a lake restored from a backup."""
    settings = copy_of(early, tmp_path, "http://127.0.0.1:9/hook")
    looks: list[Evidence | None] = []

    def noted(*words: Any) -> Evidence:
        looks.append(words[1])
        return read_evidence(*words)

    monkeypatch.setattr("truthloop.feedback.reconcile.read_evidence", noted)

    def looks_of(turn: Reconciler, times: int) -> int:
        looks.clear()
        assert [turn.run().decisions for _ in range(times)] == [[]] * times
        return len(looks)

    turn = Reconciler(settings, lambda: START_MS)
    while turn.run().decisions:
        pass
    assert looks_of(turn, 5) == 1
    backup = shutil.copytree(settings.path.parent / "lake", tmp_path / "backup")
    write_days(settings, (LAST, LAST + 1))
    [evaluated] = turn.run().evaluations
    assert looks_of(turn, 5) == 2
    shutil.rmtree(settings.path.parent / "lake")
    shutil.copytree(backup, settings.path.parent / "lake")
    assert looks_of(turn, 5) == 2
    write_days(settings, (LAST, LAST + 1))
    assert turn.run().evaluations == [evaluated]


def test_killed_at_any_step_the_log_is_the_same_and_the_effect_is_one(
    early: Path, unbroken: tuple[list[dict[str, Any]], list[Any]], tmp_path: Path
) -> None:
    """Before and after everything that becomes lasting: cells, evidence, decision, data set, attempts, what follows.

    What stands in the lake is the same after one of them and before the next.
    """
    for step in count() if THOROUGH else chain([0], count(1, 2)):
        folder = tmp_path / str(step)
        folder.mkdir()
        with receiving(folder) as receiver:
            settings = copy_of(early, folder, receiver.url)
            with killed_at(step) as was_killed:
                try:
                    live(settings, receiver.url)
                except Killed:
                    assert was_killed()
            live(settings, receiver.url)
            assert (logged(settings), evidence_of(settings)) == unbroken, f"killed at step {step}"
            one_effect(receiver, settings)
        shutil.rmtree(folder)
        if not was_killed():
            break
    # commits of cells, evidence, decision, data set, attempt and delivery, and the data set's own folder
    assert step >= 2 * 7


def test_a_disk_that_refuses_once_changes_nothing_of_what_is_decided(
    early: Path, unbroken: tuple[list[dict[str, Any]], list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same process tries again, and says of each day what was known at its end, not what it has seen since."""
    settings = copy_of(early, tmp_path, "http://127.0.0.1:9/hook")
    turn = Reconciler(settings, lambda: START_MS)
    real = Lake.append
    refused: list[str] = []

    def full(lake: Lake, table: str, *words: Any, **named: Any) -> bool:
        if table in ("evidence", "decisions") and table not in refused:
            refused.append(table)
            raise LakeError("no room", where=table)
        return real(lake, table, *words, **named)

    monkeypatch.setattr(Lake, "append", full)
    for _ in range(2):
        with pytest.raises(LakeError, match="no room"):
            turn.run()
    turn.run()
    assert refused == ["evidence", "decisions"]
    assert (logged(settings), evidence_of(settings)) == (unbroken[0][:-1], unbroken[1])


@pytest.mark.parametrize("seed", range(2))
def test_two_that_decide_at_once_write_one_log(
    early: Path, unbroken: tuple[list[dict[str, Any]], list[Any]], tmp_path: Path, seed: int
) -> None:
    """Who loses a number reads again; both end where one alone does."""
    settings = copy_of(early, tmp_path, "http://127.0.0.1:9/hook")
    barrier = threading.Barrier(2 + seed)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            turn = Reconciler(settings, lambda: START_MS)
            barrier.wait()
            for _ in range(4):
                turn.run()
        except BaseException as error:  # noqa: BLE001 - it is shown by the test
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(barrier.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (logged(settings), evidence_of(settings)) == (unbroken[0][:-1], unbroken[1])


EXITING = """
import os, sys
from pathlib import Path
from lake.append import TableWriter
from truthloop.feedback.reconcile import Reconciler
from truthloop.config.settings import load_settings
real = TableWriter._commit
def dying(writer, *words):
    done = real(writer, *words)
    if writer._folder.name == sys.argv[2]:
        os._exit(9)
    return done
TableWriter._commit = dying
Reconciler(load_settings(Path(sys.argv[1]), {}), lambda: 0).run()
"""


@pytest.mark.parametrize("table", some("evidence", "decisions", "cells"))
def test_a_process_that_is_gone_without_a_word_is_followed_by_another(
    early: Path, unbroken: tuple[list[dict[str, Any]], list[Any]], tmp_path: Path, table: str
) -> None:
    """Nothing is closed or flushed; what stands in the lake is enough."""
    settings = copy_of(early, tmp_path, "http://127.0.0.1:9/hook")
    root = Path(__file__).parents[2]
    died = subprocess.run(
        [sys.executable, "-c", EXITING, str(settings.path), table],
        cwd=root,
        check=False,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert died.returncode == 9
    turn = Reconciler(settings, lambda: START_MS)
    turn.run()
    assert (logged(settings), evidence_of(settings)) == (unbroken[0][:-1], unbroken[1])
    assert timedelta(milliseconds=log_of(settings)[-1].at - START_MS) == timedelta(days=29)
