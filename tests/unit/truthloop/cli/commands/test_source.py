"""`truthloop source`: the list, and the retirement of a source. Covers truthloop.evidence.sources."""

import json
from pathlib import Path
from typing import Any

import pytest
from gate_case import START_MS, evaluation
from ruling_case import log_of, make_loop
from typer.testing import CliRunner, Result

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.evaluation_entries import evaluated
from retrain.gate import gate_of
from retrain.log_entries import EntryOrigin
from schemas.events.evidence import Event, LabelFault
from truthloop.__main__ import app
from truthloop.config.settings import Settings
from truthloop.terminal.instants import parse_instant_ms

SINCE = "2013-06-05T00:00:00Z"
DEAD = LabelFault(check="silence", scope="source", subject="card", since=START_MS)
LOSS = LabelFault(check="loss", scope="slice", subject="country=DE", since=START_MS, share=0.4)


@pytest.fixture
def loop(tmp_path: Path) -> Settings:
    """A loop whose log knows of two sources of one kind, and of one of them for another kind, too."""
    settings = make_loop(tmp_path)
    for kind, sources in (("late", ["card", "desk"]), ("fare", ["desk"])):
        log = DecisionLog(Lake.open(settings.lake), kind)
        found = evaluation(1, kind=kind, sources=sources, faults=[DEAD, LOSS] if kind == "late" else [])
        assert log.append(evaluated(EntryOrigin("flights", kind, None), gate_of([]), found), START_MS)
    return settings


def run(settings: Settings, *words: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["source", *words, "--config", str(settings.path)])


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Return the list."""
    found: list[dict[str, Any]] = json.loads(run(settings, "list", "--json").stdout)["sources"]
    return found


def retire(settings: Settings, name: str, *more: str, since: str = SINCE) -> Result:
    """Retire a source."""
    return run(settings, "retire", name, "--since", since, "--reason", "the contract ended", *more)


def test_a_known_source_is_listed_though_it_has_no_label_left(loop: Settings) -> None:
    """By kind and name; the table says the same."""
    assert [(one["kind"], one["source"], one["is_known"]) for one in listed(loop)] == [
        ("late", "card", True),
        ("late", "desk", True),
        ("fare", "desk", True),
    ]
    text = run(loop, "list")
    assert "card" in text.stdout
    assert "3 sources of labels are known." in text.stderr


def test_a_retired_source_is_an_entry_of_the_log_and_known_no_more(loop: Settings) -> None:
    """With time, reason and name of the person; the list still says since when."""
    result = retire(loop, "card")
    assert result.exit_code == 0, result.stderr
    last = log_of(loop)[-1]
    assert (last.event, last.reason, last.source) == (Event.RETIRED, "the contract ended", "person")
    assert last.detail["since_ms"] == parse_instant_ms(SINCE, "--since")
    assert gate_of(log_of(loop)).faults == ()
    [card] = [one for one in listed(loop) if one["source"] == "card"]
    assert (card["is_known"], card["retired_ms"]) == (False, last.detail["since_ms"])


def test_a_slice_whose_labels_are_missing_can_be_retired(loop: Settings) -> None:
    """It is no source, and is not listed as one."""
    assert retire(loop, "country=DE").exit_code == 0
    assert LOSS not in gate_of(log_of(loop)).faults
    assert {one["source"] for one in listed(loop)} == {"card", "desk"}
    assert retire(loop, "country=DE").exit_code == 2


def test_a_source_of_several_kinds_needs_its_kind(loop: Settings) -> None:
    """And is retired from that one alone."""
    refused = retire(loop, "desk")
    assert refused.exit_code == 2
    assert "--kind: late, fare" in refused.stderr
    assert retire(loop, "desk", "--kind", "fare").exit_code == 0
    assert [(one["kind"], one["source"]) for one in listed(loop) if one["is_known"]] == [
        ("late", "card"),
        ("late", "desk"),
    ]


@pytest.mark.parametrize(
    ("name", "words", "since", "part"),
    [
        ("dsk", (), SINCE, "Known: card, country=DE, desk"),
        ("card", ("--kind", "status"), SINCE, "is no label kind"),
        ("card", (), "9999-01-01T00:00:00Z", "is in the future"),
        ("card", (), "2013-06-05", "UTC offset"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(
    loop: Settings, name: str, words: tuple[str, ...], since: str, part: str
) -> None:
    """Nothing is written."""
    before = log_of(loop)
    result = retire(loop, name, *words, since=since)
    assert result.exit_code == 2
    assert part in result.stderr
    assert log_of(loop) == before


def test_a_retirement_needs_a_reason(loop: Settings) -> None:
    """Blanks are none."""
    result = run(loop, "retire", "card", "--since", SINCE, "--reason", "  ")
    assert (result.exit_code, len(log_of(loop))) == (2, 1)
