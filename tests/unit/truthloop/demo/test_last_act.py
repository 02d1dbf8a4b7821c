"""What the demo tells of its last act: a month that was told anew, who ruled about it, and what the gate made of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from gate_case import ID, entry
from ruling_case import found

from joins.accounting import Counters
from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import BackfillDiff
from schemas.events.evidence import Event, GateState
from truthloop.demo.last_act import DemoRuling
from truthloop.demo.live import LiveRun
from truthloop.demo.prepare import Prepared
from truthloop.demo.report import document_of, tell
from truthloop.demo.summary import Summary
from truthloop.evidence.conservation import Conservation

EPISODE = f"bf-{7:032x}"


def diff() -> BackfillDiff:
    """Return a diff of 26,971 labels of which 2,345 would change."""
    told = found()
    episode = told.episode.model_copy(update={"labels": 26_971})
    return told.model_copy(update={"episode": episode, "touched": told.touched.model_copy(update={"changed": 2_345})})


def ruled(**changes: Any) -> DemoRuling:
    """Return November, approved; it asks for a retrain."""
    outcome = entry(9, Event.RESTATED, GateState.PREPARING, reason="backfill was approved", decision=ID)
    usual = DemoRuling(11, diff(), Verdict.APPROVED, "half an hour from now on", (0.2187, 0.1234), outcome)
    return replace(usual, **changes)


def rejected() -> DemoRuling:
    """Return October, rejected; nothing follows."""
    outcome = entry(5, Event.RESTATED, GateState.COOLING, reason="cooldown is 12.0 days left")
    told = {"month": 10, "verdict": Verdict.REJECTED, "reason": "not [b]one[/b] month", "late_share": (0.2, 0.2)}
    return ruled(**told, outcome=outcome)


def test_a_month_is_told_in_three_sentences() -> None:
    """How much would change and where to look, who said what and what it did to the month, and the gate."""
    assert ruled().lines() == [
        f"November: 2,345 of 26,971 labels would change. It waits: truthloop backfill diff {EPISODE}",
        "  A person has approved it: half an hour from now on. 21.9 % late before, 12.3 % after.",
        "  The gate: backfill was approved",
    ]
    assert rejected().lines() == [
        f"October: 2,345 of 26,971 labels would change. It waits: truthloop backfill diff {EPISODE}",
        "  A person has rejected it: not [b]one[/b] month. 20.0 % late before, 20.0 % after.",
        "  The gate: cooldown is 12.0 days left",
    ]


def test_as_a_document_a_month_names_the_episode_and_the_retrain() -> None:
    """All that a program needs to go on from there; a retrain that was not asked for is null."""
    assert ruled().document() == {
        "month": 11,
        "episode": EPISODE,
        "labels": 26_971,
        "flips": 2_345,
        "verdict": "approved",
        "reason": "half an hour from now on",
        "late_share": {"before": 0.2187, "after": 0.1234},
        "gate": {"state": "preparing", "reason": "backfill was approved", "retrain": ID},
    }
    assert rejected().document()["gate"] == {
        "state": "cooling",
        "reason": "cooldown is 12.0 days left",
        "retrain": None,
    }


def prepared(folder: Path) -> Prepared:
    """Return names of files that nobody reads here."""
    predictions, labels, restatements, config = (folder / name for name in "plrc")
    return Prepared(predictions, labels, restatements, config, 30, 20, 10)


def told_of(*months: DemoRuling) -> tuple[LiveRun, Conservation, Summary]:
    """Return a run of which nothing but its last act is known."""
    run = LiveRun(Counters.zero(["arrived_late"]), 30, 20, 1.0, ruled=months)
    nothing = pl.DataFrame(schema=dict.fromkeys(("month", "kind", "definition", "name"), pl.String()))
    return run, Conservation({}, {}, []), Summary([], [], "k", 0.9, nothing, [])


def test_the_report_has_every_month_in_order_and_is_json(tmp_path: Path) -> None:
    """Beside the retrains; a run from files has no last act."""
    document = document_of(prepared(tmp_path), told_of(rejected(), ruled()), {"total": 1.234})
    assert document["backfills"] == [rejected().document(), ruled().document()]
    assert (document["decisions"], document["seconds"]) == ([], {"total": 1.23})
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document_of(prepared(tmp_path), told_of(), {})["backfills"] == []


@pytest.mark.parametrize("months", [(), (rejected(), ruled())])
def test_a_person_reads_each_month_once_below_what_it_is_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], months: tuple[DemoRuling, ...]
) -> None:
    """With the words of people as they are; where nothing was told anew, nothing is said of it."""
    tell(prepared(tmp_path), told_of(*months), {"live": 1.0, "total": 2.0}, "through files")
    said = capsys.readouterr().out
    assert said.count("The past changes.") == (1 if months else 0)
    place = 0
    for line in (line for one in months for line in one.lines()):
        assert said.count(line.strip()) == 1
        assert said.index(line.strip()) > place
        place = said.index(line.strip())
    assert "backfill list -c" in said
