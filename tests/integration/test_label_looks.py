"""Labels that stop during a day hold the gate within hours, live and in a replay alike.

They are looked at by truthloop.feedback.label_looks.
"""

import json
from pathlib import Path

import pytest
from replay_case import run
from retrain_case import HOUR_MS, START_MS, make_loop

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.gate import DAY_MS
from schemas.events.evidence import Decision, Event, FindingKind, GateState
from truthloop.config.settings import Settings
from truthloop.feedback.reconcile import Reconciler

DAY = 31
STOPS_MS = START_MS + DAY * DAY_MS + 4 * HOUR_MS
"""One of two sources of labels stops here; its labels came every half hour."""
BEGINS_MS, ENDS_MS = START_MS + DAY * DAY_MS, START_MS + (DAY + 1) * DAY_MS + 5 * HOUR_MS
EVERY_MS = 15 * 60_000


def replay(settings: Settings, since_ms: int, until_ms: int) -> None:
    """Replay the records of some time into the lake."""
    predictions, labels = [], []
    for at_ms in range(since_ms, until_ms, EVERY_MS):
        number = (at_ms - START_MS) // EVERY_MS
        outputs = {"fraud": 0.1 + number % 4 // 2 * 0.8}
        predictions.append({"key": f"k{number}", "time": at_ms, "version": "v1", "outputs": outputs})
        source = "card" if number % 2 else "desk"
        if source == "desk" or at_ms < STOPS_MS:
            labels.append({"key": f"k{number}", "kind": "fraud", "value": number % 4 // 2, "source": source})
            labels[-1]["time"] = at_ms + 60_000
    labels.append({"kind": "fraud", "op": "heartbeat", "time": until_ms, "source": "desk"})
    paths = []
    for name, rows in (("predictions", predictions), ("labels", labels)):
        paths.append(settings.path.parent / f"{name}-{since_ms}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(settings.lake, paths[:1], paths[1:], close_at_ms=None, config=settings.config)


def reconcile(settings: Settings, reconciler: Reconciler | None = None) -> list[Decision]:
    """Reconcile until nothing is left to do, and return the log."""
    reconciler = reconciler or Reconciler(settings, lambda: ENDS_MS)
    while reconciler.run().decisions:
        pass
    return DecisionLog(Lake.open(settings.lake), "fraud").entries()


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> list[Decision]:
    """The log of a loop that was read whole before anything was evaluated."""
    settings = make_loop(tmp_path_factory.mktemp("replayed"))
    replay(settings, START_MS, ENDS_MS)
    return reconcile(settings)


def test_labels_that_stop_at_four_hold_the_gate_on_the_same_morning(replayed: list[Decision]) -> None:
    """The entry says since when, and what to do; what is lost is no second finding. It is still so at the day's end."""
    [first, *_] = [one for one in replayed if one.event is Event.INTERRUPTED]
    assert STOPS_MS < first.at <= STOPS_MS + 8 * HOUR_MS
    assert first.state is GateState.HELD
    assert first.reason.startswith("labels cannot be trusted now: labels from 'card' have stopped")
    assert [(one.check, one.subject) for one in first.faults] == [("silence", "card"), ("loss", "card")]
    assert [one.kind for one in first.findings] == [FindingKind.SILENCE]
    assert STOPS_MS - 2 * EVERY_MS < first.faults[0].since <= STOPS_MS
    before = [one.state for one in replayed if one.at < first.at]
    assert GateState.HELD not in before
    [evening] = [one for one in replayed if one.event is Event.EVALUATED and one.at == START_MS + (DAY + 1) * DAY_MS]
    assert evening.state is GateState.HELD
    assert ("silence", "card") in [(one.check, one.subject) for one in evening.faults]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_loop_that_lives_through_the_hours_logs_the_same(
    tmp_path: Path, replayed: list[Decision], is_restarted: bool
) -> None:
    """Two hours are read at a time; with or without a new process each time. Looks that find nothing log nothing."""
    settings = make_loop(tmp_path)
    replay(settings, START_MS, BEGINS_MS)
    reconciler = Reconciler(settings, lambda: ENDS_MS)
    log = reconcile(settings, reconciler)
    for since_ms in range(BEGINS_MS, ENDS_MS, 2 * HOUR_MS):
        replay(settings, since_ms, min(since_ms + 2 * HOUR_MS, ENDS_MS))
        log = reconcile(settings, None if is_restarted else reconciler)
    assert log == replayed


@pytest.mark.parametrize("days", [1, 3, 100])
def test_the_log_does_not_depend_on_how_many_days_are_judged_at_once(
    tmp_path: Path, replayed: list[Decision], monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Also with an interruption amid them, by looks that belong to the days of a part and to no later ones."""
    monkeypatch.setattr("truthloop.feedback.reconcile.DAYS_AT_ONCE", days)
    settings = make_loop(tmp_path)
    replay(settings, START_MS, ENDS_MS)
    assert reconcile(settings) == replayed
