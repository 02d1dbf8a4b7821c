"""What the labels show at a day's end, as findings, and what the next evaluation has to remember of it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from monitor.cells.source_name import SOURCES_MAX
from monitor.coverage.alert import CoverageAlert
from monitor.coverage.source import SourceWatch
from monitor.finding import coverage_finding, missing_finding, silence_finding, unwatched_finding
from schemas.events.evidence import Finding, LabelFault

__all__ = ["LabelVerdict", "Occasion", "fault_findings", "label_verdict"]


@dataclass(frozen=True)
class LabelVerdict:
    """Findings on the labels of a kind; the sources that became known; faults that are open or ended lately."""

    findings: tuple[Finding, ...]
    learned: tuple[str, ...]
    faults: tuple[LabelFault, ...]


@dataclass(frozen=True)
class Occasion:
    """Which kind is evaluated, as of when, and how far back its labels are looked at."""

    kind: str
    at_ms: int
    lookback_ms: int


def label_verdict(
    alert: CoverageAlert, sources: Iterable[SourceWatch], losses: Sequence[LabelFault], occasion: Occasion
) -> LabelVerdict:
    """Return the verdict on the labels of a kind.

    A fault that is over is remembered for as long as labels are looked back on, so that it is not taken as usual. What
    is told once is not told again: a silent source is no loss of that source, and while labels are missing in the whole
    kind, no slice is named.

    Args:
        alert: of the panes.
        sources: their states.
        losses: as `monitor.coverage.loss_watch` returns them.
        occasion: of the evaluation.
    """
    states = [*sources]
    learned = tuple(one.source for one in states if one.is_new)
    silent = [one.fault for one in states if one.fault is not None]
    kept_ms = occasion.at_ms - occasion.lookback_ms
    faults = tuple(one for one in silent if one.until is None or one.until > kept_ms)
    is_whole = any(one.scope == "kind" and one.until is None for one in losses)
    unwatched = sum(not one.is_known and one.liveness.state != "unknown" for one in states)
    found = [None if is_whole and alert.state == "degraded" else coverage_finding(alert, occasion.kind)]
    found += [finding for _, finding in fault_findings(states, losses)]
    if unwatched:
        found.append(unwatched_finding(unwatched, SOURCES_MAX))
    return LabelVerdict(tuple(one for one in found if one is not None), learned, (*faults, *losses))


def fault_findings(states: Sequence[SourceWatch], losses: Sequence[LabelFault]) -> list[tuple[LabelFault, Finding]]:
    """Return the findings on faults that are open, each with its fault; what is told once is not told again."""
    open_losses = [one for one in losses if one.until is None]
    silent = [(one.fault, one) for one in states if one.fault is not None and one.fault.until is None]
    mute = {fault.subject for fault, _ in silent}
    is_whole = any(one.scope == "kind" for one in open_losses)
    found = [
        (one, missing_finding(one))
        for one in open_losses
        if one.scope == "kind" or (one.subject not in mute if one.scope == "source" else not is_whole)
    ]
    return [*found, *((fault, silence_finding(one.liveness, one.source, fault.since)) for fault, one in silent)]
