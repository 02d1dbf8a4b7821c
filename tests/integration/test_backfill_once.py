"""A backfill is logged once, whatever is killed, and however many processes reconcile at the same time."""

import shutil
import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from effort import THOROUGH
from polars.testing import assert_frame_equal
from restatement_case import (
    KNOWN,
    OTHER,
    START_MS,
    Killed,
    add_days,
    diffs_of,
    killed_at,
    log_of,
    make_loop,
    recreated_cells,
    restating_labels,
    rule,
    views_agree,
)

from retrain.episode_status import rulings_of
from schemas.events.backfill import Verdict
from truthloop.config.settings import Settings
from truthloop.evidence.cells import read_evidence
from truthloop.feedback.reconcile import Reconciler

FOUND = restating_labels(range(2, 5), (KNOWN, 3), definition=OTHER)


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop whose first days are evaluated, and some of them restated since."""
    folder = tmp_path_factory.mktemp("early")
    settings = make_loop(folder)
    add_days(settings, (0, KNOWN))
    assert len(Reconciler(settings, lambda: START_MS).run().evaluations) == KNOWN - 1
    add_days(settings, (KNOWN, KNOWN + 1), FOUND)
    return folder


def copy_of(folder: Path, into: Path) -> Settings:
    """Return the loop in another folder."""
    into.mkdir(exist_ok=True)
    shutil.copytree(folder / "lake", into / "lake")
    return make_loop(into)


def told_by(settings: Settings) -> list[dict[str, Any]]:
    """Return the log without what the folder and the tables' versions decide."""
    folder = settings.path.parent.absolute().as_uri()
    rows = []
    for entry in log_of(settings):
        row = entry.model_dump(mode="json")
        row["detail"].pop("manifest_sha256", None)
        row["detail"] = {name: str(value).replace(folder, "") for name, value in row["detail"].items()}
        rows.append(row)
    return rows


def live(settings: Settings) -> None:
    """Do what the feedback role and one person do, as far as it is not done yet."""
    for _ in range(2):
        Reconciler(settings, lambda: START_MS).run()
        last = rulings_of(log_of(settings))[-1]
        if last.verdict is Verdict.QUARANTINED:
            rule(settings, last.episode, Verdict.APPROVED)
    Reconciler(settings, lambda: START_MS).run()


def test_killed_at_any_step_each_thing_is_done_once(early: Path, tmp_path: Path) -> None:
    """Opening, approving, restating, asking: behind everything that becomes lasting, and before the first."""
    whole = copy_of(early, tmp_path / "whole")
    with killed_at(10_000) as places:
        live(whole)
    unbroken, cells = told_by(whole), recreated_cells(whole)
    assert [one["event"] for one in unbroken[KNOWN - 1 :]] == [
        *("evaluated", "backfilled", "approved", "restated", "prepared")
    ]
    # cells, evidence is empty, three entries and the diff; cells again, two entries and the data set's folder
    assert len(places) >= 8
    for step in count(-1) if THOROUGH else range(-1, len(places), 2):
        folder = tmp_path / str(step)
        broken = copy_of(early, folder)
        with killed_at(step) as passed:
            try:
                live(broken)
            except Killed:
                assert passed[-1] == step
            else:
                break
        live(broken)
        assert told_by(broken) == unbroken, f"killed at step {step}"
        assert len(diffs_of(broken)) == 1
        assert_frame_equal(read_evidence(broken).cells.whole(), cells, check_exact=True)
        shutil.rmtree(folder)
    assert step >= len(places) - 2


def test_two_that_look_at_once_decide_once(early: Path, tmp_path: Path) -> None:
    """Who loses a number looks again; a person rules meanwhile."""
    settings = copy_of(early, tmp_path)
    failures: list[BaseException] = []
    turns = [Reconciler(settings, lambda: START_MS) for _ in range(2)]

    def look(one: Reconciler, barrier: threading.Barrier) -> None:
        try:
            barrier.wait()
            for _ in range(3):
                one.run()
        except BaseException as error:  # noqa: BLE001 - it is shown by the test
            failures.append(error)

    for _ in range(2):
        barrier = threading.Barrier(len(turns))
        threads = [threading.Thread(target=look, args=(one, barrier)) for one in turns]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        last = rulings_of(log_of(settings))[-1]
        if last.verdict is Verdict.QUARANTINED:
            rule(settings, last.episode, Verdict.APPROVED)
    events = [one.event.value for one in log_of(settings)[KNOWN - 1 :]]
    assert events == ["evaluated", "backfilled", "approved", "restated", "prepared"]
    assert len({one.decision for one in log_of(settings)} - {None}) == 1
    assert len({one.sha256() for one in diffs_of(settings)}) == 1
    views_agree(settings)
