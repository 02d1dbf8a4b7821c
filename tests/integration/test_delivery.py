"""Delivery over real sockets: one effect per decision, whatever the receiver and the machine do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from delivery_receiver import FAIL_SHARE, GONE, Receiver, receiving
from delivery_worker import FileLog

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120


def sender(folder: Path, receiver: Receiver, size: int, *bugs: str) -> subprocess.Popen[bytes]:
    """Start a sender process."""
    support = ROOT / "tests" / "support"
    command = [sys.executable, str(support / "delivery_worker.py"), str(folder), receiver.url, str(size), *bugs]
    path = [ROOT, support]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))})


def test_a_thousand_decisions_have_a_thousand_effects_although_the_sender_is_killed(tmp_path: Path) -> None:
    """The receiver fails, throttles, redirects, is silent, acts and then fails; the sender dies three times."""
    size, kills = 1_000, (150, 500, 450)
    with receiving(tmp_path) as receiver:
        for requests in kills:
            running = sender(tmp_path, receiver, size)
            assert receiver.reached(requests).wait(DEADLINE_S)
            running.kill()
            running.wait()
        running = sender(tmp_path, receiver, size)
        assert running.wait(DEADLINE_S) == 0
        assert receiver.faults(size) == []
        assert len(receiver.effects) == size - 1
        assert GONE not in receiver.effects
    [end] = [attempt for attempt in FileLog(tmp_path / "log").attempts() if attempt.decision == GONE]
    assert (end.outcome, end.status) == ("gone", 410)
    # the case is as hard as it says
    answers = receiver.statuses
    failed = sum(answers[status] for status in (400, 500, 502, 503))
    assert failed > FAIL_SHARE * 0.8 * (answers.total() - answers[0] - answers[302] - answers[429])
    assert receiver.repeats > size / 10
    assert (answers[0], answers[302], answers[429]) >= (size // 100,) * 3


@pytest.mark.parametrize(
    ("bug", "fault"),
    [
        ("id", "effects of"),
        ("timestamp", "not signed: webhook-timestamp is too old"),
        ("redirect", "a redirect was followed"),
        ("success", "no effect of"),
        ("retry-after", "ms after the one before"),
    ],
)
def test_a_planted_bug_is_noticed(tmp_path: Path, bug: str, fault: str) -> None:
    """The same case is quiet without it and speaks with it."""
    with receiving(tmp_path) as receiver:
        assert sender(tmp_path, receiver, 40, bug).wait(DEADLINE_S) == 0
        assert any(fault in text for text in receiver.faults(40))
