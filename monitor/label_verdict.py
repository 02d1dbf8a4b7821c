"""What the labels show at a day's end, as findings, and what the next evaluation has to remember of it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from monitor.coverage.alert import CoverageAlert
from monitor.coverage.source import SOURCES_MAX, SourceWatch
from monitor.finding import coverage_finding, silence_finding, unwatched_finding
from schemas.events.evidence import Finding, LabelFault

__all__ = ["LabelVerdict", "Occasion", "label_verdict"]


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


def label_verdict(alert: CoverageAlert, sources: Iterable[SourceWatch], occasion: Occasion) -> LabelVerdict:
    """Return the verdict on the labels of a kind.

    A fault that is over is remembered for as long as labels are looked back on, so that it is not taken as usual.
    """
    states = [*sources]
    learned = tuple(one.source for one in states if one.is_new)
    silent = [one.fault for one in states if one.fault is not None]
    kept_ms = occasion.at_ms - occasion.lookback_ms
    faults = tuple(one for one in silent if one.until is None or one.until > kept_ms)
    unwatched = sum(not one.is_known and one.liveness.state != "unknown" for one in states)
    found = [coverage_finding(alert, occasion.kind)]
    found += [
        silence_finding(one.liveness, one.source, one.fault.since)
        for one in states
        if one.fault is not None and one.fault.until is None
    ]
    if unwatched:
        found.append(unwatched_finding(unwatched, SOURCES_MAX))
    return LabelVerdict(tuple(one for one in found if one is not None), learned, faults)
