"""The verdict on labels: an open silence is an alarm, one that is over is remembered for a while."""

from dataclasses import replace
from typing import Any

import pytest

from monitor.coverage.alert import CoverageAlert
from monitor.coverage.liveness import Liveness
from monitor.coverage.source import SourceWatch
from monitor.label_verdict import Occasion, label_verdict
from schemas.events.evidence import FindingKind, LabelFault, Level

OK = CoverageAlert("ok", 0.1, 0.0, 24, 600, (), 1)
OCCASION = Occasion("late", at_ms=1_000, lookback_ms=600)
SILENT = Liveness("silent", 9, 4, "Nothing.")


def watch(source: str, liveness: Liveness, fault: LabelFault | None = None, *, is_known: bool = True) -> SourceWatch:
    """Return the state of a source that has just become known."""
    return SourceWatch(source, liveness, is_known, is_known, fault)


def silence(until: int | None) -> LabelFault:
    """Return the silence of a source."""
    return LabelFault(check="silence", scope="source", subject="card", since=100, until=until)


@pytest.mark.parametrize(
    ("until", "is_found", "is_kept"), [(None, True, True), (401, False, True), (400, False, False)]
)
def test_a_silence_is_an_alarm_while_it_is_open_and_kept_while_it_is_looked_back_on(
    until: int | None, is_found: bool, is_kept: bool
) -> None:
    """The text names the command that retires the source."""
    verdict = label_verdict(OK, [watch("card", SILENT, silence(until))], [], OCCASION)
    assert [one.level for one in verdict.findings] == [Level.ALARM] * is_found
    assert all("truthloop source retire card --since" in one.text for one in verdict.findings)
    assert verdict.faults == (silence(until),) * is_kept
    assert verdict.learned == ("card",)


def test_sources_beyond_the_limit_are_counted_in_a_warning() -> None:
    """Only those that have a history."""
    alive, young = Liveness("alive", 1, 4, "It lives."), Liveness("unknown", 1, None, "Nobody knows.")
    states = [watch(name, alive, is_known=False) for name in ("a", "b")] + [watch("c", young, is_known=False)]
    [found] = label_verdict(OK, states, [], OCCASION).findings
    assert (found.kind, found.level, found.value) == (FindingKind.SILENCE, Level.WARN, 2.0)


def loss(scope: Any, subject: str, until: int | None = None) -> LabelFault:
    """Return a loss of labels."""
    return LabelFault(check="loss", scope=scope, subject=subject, since=100, until=until, share=0.3)


def test_a_loss_is_told_once() -> None:
    """The whole kind's instead of its slices'; a silent source's silence instead of its loss. All are remembered."""
    states = [watch("card", SILENT, silence(None))]
    losses = [loss("kind", "late"), loss("slice", "country=DE"), loss("source", "card"), loss("source", "desk")]
    verdict = label_verdict(OK, states, losses, OCCASION)
    told = [(one.kind, one.subject) for one in verdict.findings]
    assert told == [
        (FindingKind.COVERAGE, "late"),
        (FindingKind.COVERAGE, "desk"),
        (FindingKind.SILENCE, "card"),
    ]
    assert verdict.faults == (silence(None), *losses)
    [found] = label_verdict(OK, [], [loss("slice", "country=DE"), loss("source", "desk", until=600)], OCCASION).findings
    assert (found.subject, found.level, found.value) == ("country=DE", Level.ALARM, 0.3)


def test_the_alert_of_panes_is_not_told_beside_the_loss_that_explains_it() -> None:
    """Broken hours are."""
    for state, told in (("degraded", 1), ("broken", 2)):
        alert = replace(OK, state=state, deficit=0.2, broken_end_ms=(1,))  # type: ignore[arg-type] # one of two states
        assert len(label_verdict(alert, [], [loss("kind", "late")], OCCASION).findings) == told
