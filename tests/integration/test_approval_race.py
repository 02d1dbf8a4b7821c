"""Fifty people rule about one backfill at the same moment, in two processes: one ruling is logged.

Tests `truthloop.evidence.approvals`, too.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from ruling_case import backfill_diff, log_backfill, log_of, make_loop

from retrain.episode_status import rulings_of
from retrain.gate import gate_of
from schemas.events.evidence import Event
from truthloop.config.settings import Settings

PEOPLE = 50
WORKER = Path(__file__).parents[1] / "support" / "approval_worker.py"


def rule_at_once(settings: Settings, sha256: str, *bug: str) -> list[tuple[str, str, str | None]]:
    """Let two processes with half of the people each rule; return person, outcome, and who has ruled.

    Each has read the log before one of them writes.
    """
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(WORKER.parent), str(WORKER.parents[2])])}
    half = PEOPLE // 2
    workers = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(settings.path), sha256, str(first), str(half), *bug],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        for first in (0, half)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=200)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    return [tuple(one) for text in said for one in json.loads(text)]


def test_of_fifty_approvals_at_once_one_has_an_effect(tmp_path: Path) -> None:
    """Half of them reject: what stands is one word, and everybody else learns whose it is."""
    settings = make_loop(tmp_path)
    sha256 = log_backfill(settings, backfill_diff())
    answers = rule_at_once(settings, sha256)
    log = log_of(settings)
    ruled = [entry for entry in log if entry.event in (Event.APPROVED, Event.REJECTED)]
    assert len(ruled) == 1
    winner = ruled[0].detail["by"]
    outcomes = {person: (outcome, by) for person, outcome, by in answers}
    assert len(outcomes) == PEOPLE
    assert outcomes.pop(str(winner)) == ("done", winner)
    assert set(outcomes.values()) == {("decided", winner)}
    assert [one.verdict for one in rulings_of(log)] == [ruled[0].verdict]
    # each refusal is on record once, and moves nothing
    refused = [entry.detail["by"] for entry in log if entry.event is Event.REFUSED]
    assert sorted(map(str, refused)) == sorted(outcomes)
    assert gate_of(log).approved == gate_of(log[:2]).approved


def test_without_the_comparison_the_test_sees_more_than_one(tmp_path: Path) -> None:
    """A planted bug: whoever loses the race writes all the same."""
    settings = make_loop(tmp_path)
    sha256 = log_backfill(settings, backfill_diff())
    rule_at_once(settings, sha256, "append")
    ruled = [entry for entry in log_of(settings) if entry.event in (Event.APPROVED, Event.REJECTED)]
    assert len(ruled) > 1
