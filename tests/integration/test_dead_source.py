"""A source of labels that has stopped: the gate holds for as long as it lasts, until a person retires the source."""

import json
from pathlib import Path

import pytest
from replay_case import run
from retrain_case import START_MS, make_loop
from typer.testing import CliRunner

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.gate import DAY_MS, gate_of
from retrain.log_entries import EntryOrigin
from schemas.events.evidence import Decision, Event, GateState
from truthloop.__main__ import app
from truthloop.config.settings import Settings
from truthloop.feedback.reconcile import Reconciler

DIES = 20
LAST = 70
"""Fifty days later: the look back, which is 42 days here, shows no label of the source any more."""
ROWS = 24


def write_days(settings: Settings, days: tuple[int, int]) -> None:
    """Replay some days: every other label is of the source that dies."""
    predictions, labels = [], []
    for day in range(*days):
        for number in range(ROWS):
            at_ms = START_MS + day * DAY_MS + number * (DAY_MS // ROWS)
            key = f"{day}-{number}"
            predictions.append(
                {"key": key, "time": at_ms, "version": "v1", "outputs": {"fraud": 0.1 + number % 2 * 0.8}}
            )
            source = "card" if number % 4 < 2 else "desk"
            if source == "desk" or day < DIES:
                labels.append(
                    {"key": key, "kind": "fraud", "value": number % 2, "time": at_ms + 60_000, "source": source}
                )
        end = {"kind": "fraud", "op": "heartbeat", "time": START_MS + (day + 1) * DAY_MS, "source": "desk"}
        labels.append(end)
    paths = []
    for name, rows in (("predictions", predictions), ("labels", labels)):
        paths.append(settings.path.parent / f"{name}-{days[0]}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(settings.lake, paths[:1], paths[1:], close_at_ms=None, config=settings.config)


def evaluate(settings: Settings) -> list[Decision]:
    """Evaluate all days that have ended, as a process that has just started, and return the log."""
    reconciler = Reconciler(settings, lambda: START_MS + LAST * DAY_MS)
    while reconciler.run().decisions:
        pass
    return log_of(settings)


def log_of(settings: Settings) -> list[Decision]:
    """Return the gate's log."""
    return DecisionLog(Lake.open(settings.lake), "fraud").entries()


def day_of(entry: Decision) -> int:
    """Return the number of the day that an entry ended."""
    return (entry.at - START_MS) // DAY_MS - 1


@pytest.fixture
def loop(tmp_path: Path) -> Settings:
    """A loop with seventy days, and no log."""
    settings = make_loop(tmp_path)
    write_days(settings, (0, LAST))
    return settings


def test_the_gate_holds_from_the_first_silent_day_until_a_person_retires_the_source(loop: Settings) -> None:
    """Then the newest day is evaluated again; the days after it know the source no more."""
    log = evaluate(loop)
    held = {day_of(entry): entry.state for entry in log if entry.event is Event.EVALUATED}
    assert {day for day, state in held.items() if state is GateState.HELD} == set(range(DIES, LAST - 1))
    assert "labels from 'card' have stopped" in log[-1].reason
    gate = gate_of(log)
    assert gate.sources == ("card", "desk")
    assert {(one.check, one.scope, one.subject) for one in gate.faults} == {
        ("silence", "source", "card"),
        ("loss", "source", "card"),
        ("loss", "kind", "fraud"),
    }
    words = ["source", "retire", "card", "--since", "2023-12-10T00:00:00Z", "--reason", "the contract ended"]
    result = CliRunner().invoke(app, [*words, "--config", str(loop.path)])
    assert result.exit_code == 0, result.stderr
    *_, entry, again = evaluate(loop)
    assert (entry.event, again.event) == (Event.RETIRED, Event.RESTATED)
    assert again.state is not GateState.HELD
    assert gate_of(log_of(loop)).sources == ("desk",)


def test_a_lake_of_the_version_before_learns_its_sources_from_all_labels(loop: Settings) -> None:
    """Its log says of the last sixty days that nothing speaks for a retrain."""
    origin, log = EntryOrigin("fraud", "fraud", loop.config.retrain), DecisionLog(Lake.open(loop.lake), "fraud")
    gate = gate_of([])
    detail = {"judged_day": "2024-01-01", "mature_labels": 900}
    older = origin.entry(
        gate, Event.EVALUATED, GateState.IDLE, "no finding", at=START_MS + 66 * DAY_MS, version="v1", detail=detail
    )
    assert "sources" not in detail
    assert log.append([older], START_MS)
    found = evaluate(loop)
    assert [day_of(entry) for entry in found[1:]] == list(range(66, LAST - 1))
    assert {entry.state for entry in found[1:]} == {GateState.HELD}
    assert all("labels from 'card' have stopped" in entry.reason for entry in found[1:])
