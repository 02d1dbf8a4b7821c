"""Entries of the gate's log, and evaluations, built by hand with only what a test is about."""

from typing import Any

from retrain.gate import DAY_MS
from schemas.events.backfill import Cause, Episode, Ruling, Verdict
from schemas.events.evidence import Decision, Evaluation, Event, Finding, FindingKind, GateState, Level, Place

__all__ = ["DRIFT", "ID", "START_MS", "entry", "episode", "evaluation", "finding", "ruling", "ruling_entry"]

START_MS = 1_370_000_000_000 // DAY_MS * DAY_MS
ID = "rt-" + "0" * 32


def finding(kind: FindingKind, level: Level = Level.ALARM, place: Place = Place.ERROR, **other: Any) -> Finding:
    """Return a finding about the only kind."""
    return Finding(kind=kind, place=place, subject="late", level=level, text=f"{kind.value} {level.value}", **other)


DRIFT = finding(FindingKind.ERROR_DRIFT)


def evaluation(day: float = 0, *findings: Finding, **other: Any) -> Evaluation:
    """Return the evaluation of a day that meets every requirement unless stated otherwise."""
    usual: dict[str, Any] = {
        "loop": "flights",
        "kind": "late",
        "at": START_MS + round(day * DAY_MS),
        "day": "2013-06-01",
        "version": "v1",
        "versions": ["v1"],
        "judged_day": "2013-05-30",
        "mature_labels": 5_000,
        "rarer_class": 900,
        "findings": list(findings),
    }
    return Evaluation(**usual | other)


def entry(number: int, event: Event, state: GateState, day: float = 0, **other: Any) -> Decision:
    """Return an entry of the log."""
    usual: dict[str, Any] = {"loop": "flights", "kind": "late", "reason": "so", "at": START_MS + round(day * DAY_MS)}
    return Decision(number=number, event=event, state=state, **usual | other)


def episode(number: int = 7, cause: Cause = Cause.REDEFINED, day: float = 0, **other: Any) -> Episode:
    """Return a backfill of an hour that ended at a day."""
    until = START_MS + round(day * DAY_MS)
    usual: dict[str, Any] = {
        "id": f"bf-{number:032x}",
        "kind": "late",
        "definition": "late-30min" if cause is Cause.REDEFINED else "late-15min",
        "causes": [cause],
        "since": until - 3_600_000,
        "until": until,
        "labels": 300,
        "fingerprint": 5,
    }
    return Episode(**usual | other)


def ruling(verdict: Verdict, about: Episode | None = None) -> Ruling:
    """Return a ruling about a backfill."""
    return Ruling(episode=about or episode(), verdict=verdict)


def ruling_entry(number: int, verdict: Verdict, about: Episode, state: GateState, day: float = 0) -> Decision:
    """Return the log entry of a verdict: by a person if it is a person's, else by rule."""
    events = {Verdict.APPROVED: Event.APPROVED, Verdict.REJECTED: Event.REJECTED}
    event = events.get(verdict, Event.BACKFILLED)
    return entry(number, event, state, day, episode=about, verdict=verdict)
