"""The last part of the demo in its report: a restated month, the ruling about it, and the gate's entry."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from gate_case import ID, entry
from ruling_case import backfill_diff

from joins.accounting import Counters
from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import BackfillDiff
from schemas.events.evidence import Event, GateState
from truthloop.demo.last_act import DemoRuling
from truthloop.demo.live import LiveRun
from truthloop.demo.prepare import Prepared
from truthloop.demo.report import demo_document, print_demo
from truthloop.demo.summary import Summary
from truthloop.evidence.conservation import Conservation

EPISODE = f"bf-{7:032x}"


def diff() -> BackfillDiff:
    """Return a diff of 26,971 labels of which 2,345 would change."""
    base = backfill_diff()
    episode = base.episode.model_copy(update={"labels": 26_971})
    return base.model_copy(update={"episode": episode, "touched": base.touched.model_copy(update={"changed": 2_345})})


def approved(**changes: Any) -> DemoRuling:
    """Return the ruling about November, which asks for a retrain."""
    outcome = entry(9, Event.RESTATED, GateState.PREPARING, reason="backfill was approved", decision=ID)
    ruling = DemoRuling(11, diff(), Verdict.APPROVED, "half an hour from now on", (0.2187, 0.1234), outcome)
    return replace(ruling, **changes)


def rejected() -> DemoRuling:
    """Return the ruling about October, which asks for nothing."""
    outcome = entry(5, Event.RESTATED, GateState.COOLING, reason="cooldown is 12.0 days left")
    october = {"month": 10, "verdict": Verdict.REJECTED, "reason": "not [b]one[/b] month", "late_share": (0.2, 0.2)}
    return approved(**october, outcome=outcome)


def test_a_ruling_is_printed_in_three_lines() -> None:
    """The labels that would change, the ruling with its effect, and the gate's entry."""
    assert approved().lines() == [
        f"November: 2,345 of 26,971 labels would change. It waits: truthloop backfill diff {EPISODE}",
        "  A person has approved it: half an hour from now on. 21.9 % late before, 12.3 % after.",
        "  The gate: backfill was approved",
    ]
    assert rejected().lines() == [
        f"October: 2,345 of 26,971 labels would change. It waits: truthloop backfill diff {EPISODE}",
        "  A person has rejected it: not [b]one[/b] month. 20.0 % late before, 20.0 % after.",
        "  The gate: cooldown is 12.0 days left",
    ]


def test_as_a_document_a_ruling_names_the_episode_and_the_retrain() -> None:
    """The retrain is null if none was asked for."""
    assert approved().document() == {
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
    """Return paths of files that these tests do not read."""
    predictions, labels, restatements, config = (folder / name for name in "plrc")
    return Prepared(predictions, labels, restatements, config, 30, 20, 10)


def result_of(*rulings: DemoRuling) -> tuple[LiveRun, Conservation, Summary]:
    """Return the result of a run with nothing but rulings."""
    run = LiveRun(Counters.zero(["arrived_late"]), 30, 20, 1.0, rulings=rulings)
    nothing = pl.DataFrame(schema=dict.fromkeys(("month", "kind", "definition", "name"), pl.String()))
    return run, Conservation({}, {}, []), Summary([], [], "k", 0.9, nothing, [])


def test_the_report_has_every_ruling_in_order_and_is_json(tmp_path: Path) -> None:
    """A run from files has none."""
    document = demo_document(prepared(tmp_path), result_of(rejected(), approved()), {"total": 1.234})
    assert document["backfills"] == [rejected().document(), approved().document()]
    assert (document["decisions"], document["seconds"]) == ([], {"total": 1.23})
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert demo_document(prepared(tmp_path), result_of(), {})["backfills"] == []


@pytest.mark.parametrize("rulings", [(), (rejected(), approved())])
def test_each_ruling_is_printed_once_below_its_heading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rulings: tuple[DemoRuling, ...]
) -> None:
    """With the reasons unchanged; without rulings there is no heading."""
    print_demo(prepared(tmp_path), result_of(*rulings), {"live": 1.0, "total": 2.0}, "through files")
    output = capsys.readouterr().out
    assert output.count("The past changes.") == (1 if rulings else 0)
    position = 0
    for line in (line for ruling in rulings for line in ruling.lines()):
        assert output.count(line.strip()) == 1
        assert output.index(line.strip()) > position
        position = output.index(line.strip())
    assert "backfill list -c" in output
