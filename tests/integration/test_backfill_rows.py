"""What of a backfill is in the data set is said before and after its approval, and a data set without a holdout waits.

Tests `truthloop.evidence.approved_rows` with `truthloop.evidence.approvals` and the gate.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from restatement_case import (
    HALF,
    KNOWN,
    OTHER,
    START_MS,
    add_days,
    log_of,
    make_loop,
    restating_labels,
    rule,
)
from typer.testing import CliRunner, Result

from lake.dataset import read_dataset
from retrain.gate import gate_of
from schemas.events.backfill import Episode, Verdict
from schemas.events.dataset_rows import BackfillRows
from schemas.events.evidence import Decision, Event, GateState
from truthloop.__main__ import app
from truthloop.config.settings import Settings
from truthloop.evidence.approvals import open_approvals, state_text
from truthloop.feedback.deliveries import request_of
from truthloop.feedback.reconcile import Reconciler

MONTH = range(2, 5)
HELD_OUT = range(6, 8)
"""Days with predictions of the holdout: it is of the day before the last one whose outcomes are final."""
NEXT = (KNOWN, KNOWN + 1)


def turn(settings: Settings) -> list[Decision]:
    """Look once."""
    return [*Reconciler(settings, lambda: START_MS).run().decisions]


def waiting_of(settings: Settings) -> list[Episode]:
    """Return the backfills that wait, in the order in which they were found."""
    statuses = open_approvals(settings, lambda: START_MS).statuses()
    return sorted((one.episode for one in statuses if one.is_waiting), key=lambda episode: episode.batch or "")


def restated_loop(folder: Path, *batches: Iterable[int], **other: object) -> Settings:
    """Return a loop whose days were restated by batches, each of which waits for a person."""
    settings = make_loop(folder)
    add_days(settings, (0, KNOWN))
    turn(settings)
    labels = [
        row
        for number, days in enumerate(batches)
        for row in restating_labels(days, (KNOWN, 3), **other or {"origin": "backfill", "batch_id": f"batch {number}"})
    ]
    add_days(settings, NEXT, labels)
    turn(settings)
    assert len(waiting_of(settings)) == len(batches)
    return settings


def state_of(settings: Settings, episode: Episode) -> str:
    """Return what the page and the terminal say of a backfill."""
    status = open_approvals(settings, lambda: START_MS).status(episode.id)
    assert status is not None
    return state_text(settings, status)


def run(settings: Settings, *words: str) -> Result:
    """Run a command of the program."""
    return CliRunner().invoke(app, [*words, "--config", str(settings.path)])


def test_a_definition_that_no_data_set_has_is_said_before_and_after_it_is_approved(tmp_path: Path) -> None:
    """To the person who approves, in the log, in the request, and in the manifest: 0 of 180 are in it."""
    settings = restated_loop(tmp_path, MONTH, definition=OTHER)
    [episode] = waiting_of(settings)
    labels = len(MONTH) * HALF
    has = f"data set of now has 0 of its {labels} predictions as training rows and 0 as holdout rows; "
    has += f"left out: {labels} other definition."
    assert state_of(settings, episode).endswith(f"If it is approved, a {has}")
    assert f"If it is approved, a {has}" in " ".join(run(settings, "backfill", "diff", episode.id).stdout.split())
    digest = json.loads(run(settings, "backfill", "list", "--json").stdout)["backfills"][0]["diff_sha256"]
    ruled = run(settings, "backfill", "approve", episode.id, "--diff", digest, "--reason", "checked")
    assert ruled.exit_code == 0
    assert f"A {has}" in " ".join(ruled.stderr.split())
    assert state_of(settings, episode).endswith(f"A {has}")
    prepared = turn(settings)[-1]
    assert prepared.event is Event.PREPARED
    expected = BackfillRows(episode=episode.id, rows=0, holdout_rows=0, left_out={"other_definition": labels})
    dataset = read_dataset(tmp_path / "datasets" / str(prepared.decision))
    assert dataset.counts.backfills == [expected]
    assert f"of {labels} predictions that backfill {episode.id} has labelled, 0 are training rows" in prepared.reason
    entries, retrain = log_of(settings), settings.config.retrain
    assert retrain is not None
    requested = request_of(retrain, entries, gate_of(entries)).data.dataset
    assert (requested.rows, requested.holdout_rows) == (dataset.counts.rows, dataset.counts.holdout_rows)
    assert requested.holdout_rows
    assert (requested.left_out, requested.approved) == (dataset.counts.left_out, [expected])
    listed = json.loads(run(settings, "retrain", "list", "--json").stdout)["retrains"]
    assert [(one["rows"], one["holdout_rows"]) for one in listed] == [(requested.rows, requested.holdout_rows)]


def test_what_is_in_the_data_set_is_said_as_well(tmp_path: Path) -> None:
    """Corrections of the own definition, whose first labels were known before the split."""
    settings = restated_loop(tmp_path, MONTH)
    [episode] = waiting_of(settings)
    labels = len(MONTH) * HALF
    has = f"data set of now has {labels} of its {labels} predictions as training rows and 0 as holdout rows."
    assert state_of(settings, episode).endswith(f"If it is approved, a {has}")
    rule(settings, episode, Verdict.APPROVED)
    assert state_of(settings, episode).endswith(f"A {has}")
    rule(settings, episode, Verdict.REJECTED)
    assert "data set" not in state_of(settings, episode)


@pytest.mark.parametrize("verdict", [Verdict.APPROVED, Verdict.REJECTED])
def test_a_holdout_without_rows_holds_the_request_until_there_are_some(tmp_path: Path, verdict: Verdict) -> None:
    """Another backfill quarantines its days. The approval is kept, no cooldown begins, and a ruling sets it free."""
    settings = restated_loop(tmp_path, MONTH, HELD_OUT)
    first, other = waiting_of(settings)
    rule(settings, first, Verdict.APPROVED)
    [held] = turn(settings)
    assert (held.event, held.state, held.decision) == (Event.RESTATED, GateState.WATCHING, None)
    [unmet] = [one for one in held.conditions if not one.is_met]
    assert unmet.name == "holdout_rows"
    assert unmet.value.startswith("0 (")
    assert "quarantined" in unmet.value
    assert "not requested: holdout_rows is 0" in held.reason
    assert not (tmp_path / "datasets").exists()
    explained = run(settings, "retrain", "explain")
    assert "a longer retrain.dataset.holdout" in " ".join(explained.stdout.split())
    rule(settings, other, verdict)
    restated, prepared = turn(settings)
    assert (restated.state, prepared.event) == (GateState.PREPARING, Event.PREPARED)
    assert first.id in restated.reason
    holdout_rows = prepared.detail["holdout_rows"]
    assert isinstance(holdout_rows, int)
    assert holdout_rows > 0
    assert [(one.name, one.value) for one in restated.conditions[-1:]] == [("holdout_rows", f"{holdout_rows:,}")]
    assert gate_of(log_of(settings)).asked_ms == (restated.at,)
