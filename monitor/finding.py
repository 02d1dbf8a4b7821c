"""Findings: the results of checks as sentences with a level, for people and for the gate.

The measuring is done by the checks themselves; `retrain.policy` decides which findings ask for a retrain.
"""

import math
import shlex
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime

import polars as pl

from monitor.cells.inputs import LABEL, OUTPUT
from monitor.cells.versions import Rollout
from monitor.coverage.alert import CoverageAlert
from monitor.coverage.liveness import Liveness
from monitor.drift.detection import Detection, Resolution
from monitor.drift.loss import LossCheck
from monitor.versions.rollback import Rollback
from schemas.base.figures import number, share
from schemas.config.retrain import DriftSubject
from schemas.events.evidence import Finding, FindingKind, LabelFault, Level, Place
from schemas.events.memory import ShiftWindow

__all__ = [
    "coverage_finding",
    "drift_finding",
    "loss_finding",
    "missing_finding",
    "quality_findings",
    "rollback_finding",
    "shift_findings",
    "silence_finding",
    "unwatched_finding",
]

_SHIFT_LEVELS = {"alarm": Level.ALARM, "critical": Level.WARN, "warn": Level.WARN}
LOST_MUCH = 2.0
"""The smallest change that is found is this many times as great as if days were alike."""
_TEXT_MAX = 600
"""Names of versions may be long, and the command that follows them is never cut off."""
_CHECKS = {
    "missing": "missing",
    "unseen": "of a category that the contract does not have",
    "out_of_range": "outside the contract's limits",
    "not_finite": "not finite",
    "stuck": "the same value",
}


def coverage_finding(alert: CoverageAlert, kind: str) -> Finding | None:
    """Return the finding on the label pipeline; None if its state is `ok`.

    >>> coverage_finding(CoverageAlert("degraded", -5.0, 0.123, 24, 600, (), 1), "late").text
    'labels are missing: 12.3 % fewer than usual have arrived by this age'
    """
    if alert.state == "ok":
        return None
    if alert.state == "degraded":
        level = Level.ALARM
        text = f"labels are missing: {share(alert.deficit)} fewer than usual have arrived by this age"
    elif alert.state == "broken":
        hours = len(alert.broken_end_ms)
        level = Level.WARN
        text = f"{hours} hour{'s' if hours > 1 else ''} of predictions got far fewer labels than usual"
    elif alert.state == "no_predictions":
        level, text = Level.WARN, "there are no recent predictions that could get labels"
    else:
        level = Level.CALIBRATING
        text = f"too little history to tell whether labels are missing ({alert.history} time windows)"
    z = alert.z if alert.z is not None and math.isfinite(alert.z) else None
    return Finding(kind=FindingKind.COVERAGE, place=Place.LABELS, subject=kind, level=level, value=z, text=text)


def missing_finding(fault: LabelFault) -> Finding:
    """Return the finding on a loss of labels that is open.

    >>> missing_finding(LabelFault(check="loss", scope="slice", subject="country=DE", since=0, share=0.3)).text
    "labels are missing in 'country=DE': 30.0 % fewer than usual have come since 1970-01-01T00:00:00+00:00"
    """
    whose = {"kind": "", "slice": f" in {_cut(repr(fault.subject))}", "source": f" from {_cut(repr(fault.subject))}"}
    text = f"{share(fault.share)} fewer than usual have come since {_instant(fault.since)}"
    return Finding(
        kind=FindingKind.COVERAGE,
        place=Place.LABELS,
        subject=fault.subject,
        level=Level.ALARM,
        value=fault.share,
        text=f"labels are missing{whose[fault.scope]}: {text}"[:1_000],
    )


def silence_finding(liveness: Liveness, source: str, since_ms: int) -> Finding:
    """Return the finding on a label source that has been silent for longer than is usual.

    Args:
        since_ms: the source's last sign of life.

    >>> found = silence_finding(Liveness("silent", 9_000, 4_000, "No label for 9 s."), "desk", 0)
    >>> found.level.value, found.text
    ('alarm', "labels from 'desk' have stopped: No label for 9 s. Gone for good: \
truthloop source retire desk --since 1970-01-01T00:00:00+00:00 --reason TEXT")
    """
    command = f"truthloop source retire {shlex.quote(source)} --since {_instant(since_ms)} --reason TEXT"
    return Finding(
        kind=FindingKind.SILENCE,
        place=Place.LABELS,
        subject=source,
        level=Level.ALARM,
        value=None if liveness.silent_ms is None else float(liveness.silent_ms),
        limit=None if liveness.allowed_ms is None else float(liveness.allowed_ms),
        text=f"labels from {_cut(repr(source))} have stopped: {liveness.sentence} Gone for good: {command}"[:1_000],
    )


def unwatched_finding(count: int, most: int) -> Finding:
    """Return the finding that further sources are not watched.

    >>> unwatched_finding(3, 1_000).text
    'labels come from 3 more sources than the 1,000 that are watched: nobody is told when these stop'
    """
    return Finding(
        kind=FindingKind.SILENCE,
        place=Place.LABELS,
        subject="sources",
        level=Level.WARN,
        value=float(count),
        limit=float(most),
        text=f"labels come from {count:,} more sources than the {most:,} that are watched: "
        "nobody is told when these stop",
    )


def drift_finding(found: Detection | None, resolution: Resolution | None, kind: str) -> Finding | None:
    """Return the finding on the model's error: an alarm for a lasting change for the worse, `ok` for the better.

    Where days differ much by themselves, it says how small a change is not found, with a drift and without one. Without
    either there is no finding.

    >>> found = Detection(date(2013, 6, 4), date(2013, 6, 2), "worse", 0.1, 0.25, 0.15, 1.5, 900)
    >>> drift_finding(found, None, "late").text
    'errors went from 10.0 % to 25.0 % since 2 June 2013 (worse)'
    >>> drift_finding(None, Resolution(0.06, 0.09, 4.7), "late").text
    'no drift of the error is found; days differ by 6.0 %, so less than 9.0 % in a week is not found'
    """
    blurred = ""
    if resolution is not None and resolution.lost >= LOST_MUCH:
        differ, smallest = share(resolution.days_differ), share(resolution.smallest)
        blurred = f"; days differ by {differ}, so less than {smallest} in a week is not found"
    level, value, limit = Level.OK, None, None
    if found is not None:
        level = Level.ALARM if found.direction == "worse" else Level.OK
        value, limit = found.error_after, found.error_before
        text = (
            f"errors went from {share(found.error_before)} to {share(found.error_after)} "
            f"since {found.since:%-d %B %Y} ({found.direction}){blurred}"
        )
    elif blurred:
        text = f"no drift of the error is found{blurred}"
    else:
        return None
    return Finding(
        kind=FindingKind.ERROR_DRIFT,
        place=Place.ERROR,
        subject=kind,
        level=level,
        value=value,
        limit=limit,
        text=text,
    )


def loss_finding(found: LossCheck, name: str) -> Finding | None:
    """Return the finding on the last week's loss; None unless its state is `worse`.

    >>> loss_finding(LossCheck("worse", 0.5, 0.6, 0.2, 0.05, 900), "log_loss").text
    'log_loss of the last week is 20.0 % worse than in the four weeks before it'
    """
    if found.state != "worse" or found.increase is None:
        return None
    return Finding(
        kind=FindingKind.METRIC_LOSS,
        place=Place.METRIC,
        subject=name,
        level=Level.ALARM,
        value=found.after,
        limit=found.before,
        text=f"{name} of the last week is {share(found.increase)} worse than in the four weeks before it",
    )


def rollback_finding(found: Rollback, rollout: Rollout, subject: str) -> Finding:
    """Return the advice to roll back to the version before, as a warning.

    Args:
        rollout: of the running version, with one before it.
        subject: the metric that was compared.
    """
    change = f"{number(found.before)} to {number(found.after)}"
    if found.reason == "paired":
        why = f"on {found.n:,} labels of both, {subject} goes from {change}"
    elif found.reason == "loss":
        why = f"{subject} went from {change} since it took over on {rollout.since:%-d %B %Y}"
    else:
        why = f"errors went from {change} since it took over on {rollout.since:%-d %B %Y}"
    text = f"{rollout.version} does worse than {rollout.former}: {why}; consider rolling back to {rollout.former}"
    command = f"`truthloop affected --version {shlex.quote(rollout.version)}` lists its predictions"
    return Finding(
        kind=FindingKind.ROLLBACK,
        place=Place.METRIC,
        subject=subject,
        level=Level.WARN,
        value=found.after,
        limit=found.before,
        text=f"{_cut(text)}; {command}"[:1_000],
    )


def shift_findings(
    windows: Iterable[ShiftWindow], day: date, judged: date, on: Collection[DriftSubject]
) -> list[Finding]:
    """Return the findings on inputs whose newest window has shifted; for labels, that of the newest judged day.

    Args:
        windows: of one version.
        day: the newest day.
        judged: the newest day whose labels are old enough.
        on: subjects that the config watches; a shift of any other is a warning at most.

    >>> day, figures = date(2013, 6, 4), {"psi": 0.4, "threshold": 0.2, "w1": None, "w1_threshold": None}
    >>> window = ShiftWindow(input="amount", since=day, day=day, **figures, flagged=True, level="alarm")
    >>> shift_findings([window], day, day, {"features"})[0].text
    'amount has shifted compared with the four weeks before'
    """
    found = []
    for one in windows:
        if one.level not in _SHIFT_LEVELS or one.day != (judged if one.input == LABEL else day):
            continue
        name, level = one.input, _SHIFT_LEVELS[one.level]
        place: Place = Place.OUTPUT if name == OUTPUT else Place.LABEL if name == LABEL else Place.FEATURES
        if place.value not in on and level is Level.ALARM:
            level = Level.WARN
        by_index = one.psi is not None and one.psi > one.threshold
        value, limit = (one.psi, one.threshold) if by_index else (one.w1, one.w1_threshold)
        subject = {OUTPUT: "the model's scores have", LABEL: "the share of the classes has"}.get(name, f"{name} has")
        found.append(
            Finding(
                kind=FindingKind.SHIFT,
                place=place,
                subject=name,
                level=level,
                value=value,
                limit=limit,
                text=f"{subject} shifted compared with the four weeks before",
            )
        )
    return found


def quality_findings(checks: pl.DataFrame) -> list[Finding]:
    """Return the findings on flagged checks of `monitor.drift.quality.judge_quality`.

    >>> check = {"input": ["amount"], "check": ["missing"], "share": [0.4], "usual": [0.01], "flagged": [True]}
    >>> quality_findings(pl.DataFrame(check))[0].text
    '40.0 % of amount is missing (usually 1.0 %)'
    """
    found = []
    for row in checks.filter("flagged").iter_rows(named=True):
        name, check = row["input"], row["check"]
        if check == "stale":
            text = f"{name} has no values any more"
        else:
            part = "an unknown share" if row["share"] is None else share(row["share"])
            text = f"{part} of {name} is {_CHECKS[check]} (usually {share(row['usual'])})"
        found.append(
            Finding(
                kind=FindingKind.QUALITY,
                place=Place.OUTPUT if name == OUTPUT else Place.FEATURES,
                subject=name,
                level=Level.ALARM,
                value=row["share"],
                limit=row["usual"],
                text=text,
            )
        )
    return found


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}..."
