"""Findings as sentences: what was measured, in the words that people and the gate read.

This module must not measure, and must not choose what asks for a retrain.
"""

import math
import shlex
from collections.abc import Collection
from datetime import date

import polars as pl

from monitor.cells.inputs import LABEL, OUTPUT
from monitor.cells.versions import Reign
from monitor.coverage.alert import CoverageAlert
from monitor.coverage.liveness import Liveness
from monitor.drift.error import Detection
from monitor.drift.loss import LossCheck
from monitor.versions.rollback import Rollback
from schemas.config.retrain import DriftSubject
from schemas.events.evidence import Finding, FindingKind, Level, Place

__all__ = [
    "coverage_finding",
    "drift_finding",
    "loss_finding",
    "quality_findings",
    "rollback_finding",
    "shift_findings",
    "silence",
]

_SHIFT_LEVELS = {"alarm": Level.ALARM, "critical": Level.WARN, "warn": Level.WARN}
_TEXT_MAX = 600
"""Names of versions may be long; the command behind them must not be cut off."""
_CHECKS = {
    "missing": "missing",
    "unseen": "of a category that the contract does not have",
    "out_of_range": "outside the contract's limits",
    "not_finite": "not finite",
    "stuck": "one and the same value",
}


def coverage_finding(alert: CoverageAlert, kind: str) -> Finding | None:
    """Return what is to be said of the label pipeline; None where all is well."""
    if alert.state == "ok":
        return None
    if alert.state == "degraded":
        level, text = Level.ALARM, f"labels are missing: {_share(alert.deficit)} fewer have come than usual by this age"
    elif alert.state == "broken":
        count = len(alert.broken_end_ms)
        level, text = (
            Level.WARN,
            f"{count} hour{'s' if count > 1 else ''} of predictions got far fewer labels than usual",
        )
    elif alert.state == "no_predictions":
        level, text = Level.WARN, "there are no recent predictions to get labels"
    else:
        level = Level.CALIBRATING
        text = f"too little history to tell whether labels are missing ({alert.history} spans of time)"
    z = alert.z if alert.z is not None and math.isfinite(alert.z) else None
    return Finding(kind=FindingKind.COVERAGE, place=Place.LABELS, subject=kind, level=level, value=z, text=text)


def silence(liveness: Liveness, source: str) -> Finding | None:
    """Return what is to be said of a source of labels that is silent for longer than it ever is."""
    if liveness.state != "silent":
        return None
    return Finding(
        kind=FindingKind.SILENCE,
        place=Place.LABELS,
        subject=source,
        level=Level.ALARM,
        value=None if liveness.silent_ms is None else float(liveness.silent_ms),
        limit=None if liveness.allowed_ms is None else float(liveness.allowed_ms),
        text=f"labels from {source!r} have stopped: {liveness.sentence}"[:1_000],
    )


def drift_finding(found: Detection, kind: str) -> Finding:
    """Return what is to be said of a change of the model's error; one to the better asks for nothing."""
    level = Level.ALARM if found.direction == "worse" else Level.OK
    text = (
        f"errors went from {_share(found.error_before)} to {_share(found.error_after)} "
        f"since {found.since:%-d %B %Y} ({found.direction})"
    )
    return Finding(
        kind=FindingKind.ERROR_DRIFT,
        place=Place.ERROR,
        subject=kind,
        level=level,
        value=found.error_after,
        limit=found.error_before,
        text=text,
    )


def loss_finding(found: LossCheck, name: str) -> Finding | None:
    """Return what is to be said of the last week's loss; None where there is nothing to say."""
    if found.state != "worse" or found.increase is None:
        return None
    return Finding(
        kind=FindingKind.METRIC_LOSS,
        place=Place.METRIC,
        subject=name,
        level=Level.ALARM,
        value=found.after,
        limit=found.before,
        text=f"{name} of the last week is {found.increase:.1%} worse than in the four weeks before it",
    )


def rollback_finding(found: Rollback, reign: Reign, subject: str) -> Finding:
    """Return the advice to go back to the version before; people take it, or not.

    Args:
        found: why.
        reign: of the version that runs, with one before it.
        subject: the metric that was compared.
    """
    change = f"{_number(found.before)} to {_number(found.after)}"
    if found.reason == "paired":
        why = f"on {found.n:,} labels of both, {subject} goes from {change}"
    elif found.reason == "loss":
        why = f"{subject} went from {change} since it took over on {reign.since:%-d %B %Y}"
    else:
        why = f"errors went from {change} since it took over on {reign.since:%-d %B %Y}"
    text = f"{reign.version} does worse than {reign.former} did: {why}; consider going back to {reign.former}"
    command = f"`truthloop affected --version {shlex.quote(reign.version)}` lists what it has predicted"
    return Finding(
        kind=FindingKind.ROLLBACK,
        place=Place.METRIC,
        subject=subject,
        level=Level.WARN,
        value=found.after,
        limit=found.before,
        text=f"{_cut(text)}; {command}"[:1_000],
    )


def shift_findings(verdicts: pl.DataFrame, day: date, judged: date, on: Collection[DriftSubject]) -> list[Finding]:
    """Return the inputs whose newest window is unlike the weeks before; labels are told of the newest judged day.

    Args:
        verdicts: as `monitor.drift.shift.judge_shift` returns them.
        day: the newest day.
        judged: the newest day whose labels are old enough.
        on: what the config watches; the rest is told as a warning at most.
    """
    found = []
    newest = verdicts.filter(
        pl.col("reference") == "trailing",
        pl.col("day") == pl.when(pl.col("input") == LABEL).then(pl.lit(judged)).otherwise(pl.lit(day)),
        pl.col("level").is_in(list(_SHIFT_LEVELS)),
    )
    for row in newest.iter_rows(named=True):
        name = row["input"]
        place: Place = Place.OUTPUT if name == OUTPUT else Place.LABEL if name == LABEL else Place.FEATURES
        level = _SHIFT_LEVELS[row["level"]]
        if place.value not in on and level is Level.ALARM:
            level = Level.WARN
        by_index = row["psi"] is not None and row["psi"] > (row["threshold"] or 0)
        value, limit = (row["psi"], row["threshold"]) if by_index else (row["w1"], row["w1_threshold"])
        what = {"output": "the model's scores have", "label": "the share of the classes has"}.get(name, f"{name} has")
        found.append(
            Finding(
                kind=FindingKind.SHIFT,
                place=place,
                subject=name,
                level=level,
                value=value,
                limit=limit,
                text=f"{what} shifted against the four weeks before",
            )
        )
    return found


def quality_findings(checks: pl.DataFrame) -> list[Finding]:
    """Return the checks of inputs that are flagged, as `monitor.drift.quality.judge_quality` returns them."""
    found = []
    for row in checks.filter("flagged").iter_rows(named=True):
        name, check = row["input"], row["check"]
        if check == "stale":
            text = f"{name} has no values any more"
        else:
            text = f"{_share(row['share'])} of {name} is {_CHECKS[check]} (usually {_share(row['usual'])})"
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


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}..."


def _number(value: float) -> str:
    return f"{value:.4g}"


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.1f} %"
