"""The registry of panels: title, and the flat table of a panel's CSV, complete and unrounded.

A new panel takes a dataclass in `model`, a field in `truthloop.page.panels.view.PageView`, an entry here, a template
of its name, and a module in `truthloop.page.gather` that `Gatherer` calls.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from truthloop.page.panels.view import PageView

__all__ = ["PANELS", "CellValue", "PanelEntry", "table_of"]

CellValue = str | int | float | bool | None
Row = tuple[CellValue, ...]


@dataclass(frozen=True)
class PanelEntry:
    """A panel of the page.

    Attributes:
        columns: of its table, separated by spaces; a panel of several tables has a first column `part`.
    """

    title: str
    columns: str
    rows: Callable[[PageView], Iterator[Row]]


def table_of(view: PageView, panel: str) -> tuple[tuple[str, ...], list[Row]]:
    """Return a panel's columns and rows.

    Raises:
        KeyError: there is no such panel.
    """
    entry = PANELS[panel]
    return tuple(entry.columns.split()), list(entry.rows(view))


def _verdict(view: PageView) -> Iterator[Row]:
    verdict, freshness = view.verdict, view.freshness
    times = (freshness.made_at_ms, freshness.evidence_until_ms, freshness.read_until_ms)
    yield (view.loop.name, verdict.state, verdict.sentence, verdict.urgency, verdict.command, verdict.link, *times)


def _coverage(view: PageView) -> Iterator[Row]:
    for cohort in view.coverage.cohorts:
        for age_ms, cell in zip(view.coverage.ages_ms, cohort.cells, strict=False):
            found = (cell.share, cell.due, cell.expected, cell.is_missed, cell.is_alert)
            yield (cohort.day, cohort.version, cohort.predictions, cohort.is_mature, cohort.so_far, age_ms, *found)


def _maturity(view: PageView) -> Iterator[Row]:
    for part, curve in (("expected", view.maturity.expected), *(("cohort", one) for one in view.maturity.cohorts)):
        for age_ms, share in curve.points:
            yield (part, curve.name, age_ms, share)


def _metric(view: PageView) -> Iterator[Row]:
    for series in view.metric.series:
        for point in series.points:
            ranges = (point.low, point.high, point.least, point.most)
            counts = (point.bound, point.n, point.labelled, point.predictions)
            first = (view.metric.name, series.version, series.definition, point.day)
            yield (*first, point.status, point.value, *ranges, *counts, None)
    for now in view.metric.running:
        rest = (now.estimate, now.low, now.high, None, None, None, None, None, None, now.arrived)
        yield (view.metric.name, now.version, None, now.day, "running", *rest)


def _drift(view: PageView) -> Iterator[Row]:
    for lane in view.drift.lanes:
        for day, cell in zip(view.drift.days, lane.cells, strict=False):
            yield (lane.group, lane.name, day, cell.state, cell.detail)


def _quality(view: PageView) -> Iterator[Row]:
    for one in view.quality.counts:
        yield (one.field, one.problem, one.count, one.share, one.state)


def _gate(view: PageView) -> Iterator[Row]:
    gate = view.gate
    yield ("state", gate.since_ms, "", gate.state, gate.sentence, "", "", "")
    for one in gate.conditions:
        state = {None: "unknown", True: "fulfilled", False: "not fulfilled"}[one.is_fulfilled]
        yield ("condition", None, one.name, state, "", one.value, one.needed, "")
    for found in gate.evaluations:
        yield ("evaluation", found.at_ms, "again" if found.is_again else "", found.state, found.reason, "", "", "")
    for retrain in gate.decisions:
        yield ("decision", retrain.at_ms, retrain.id, retrain.state, retrain.reason, "", "", retrain.command)


def _backfills(view: PageView) -> Iterator[Row]:
    for one in view.backfills.told:
        found = (one.labels, one.verdict, one.is_waiting, one.state, one.why)
        yield (one.id, one.kind, one.causes, one.since_ms, *found)


def _versions(view: PageView) -> Iterator[Row]:
    for one in view.versions.comparisons:
        values = (one.first_value, one.second_value, one.difference, one.low, one.high)
        yield (one.metric, one.first, one.second, one.shared_labels, *values, one.verdict)


def _flow(view: PageView) -> Iterator[Row]:
    for role in view.flow.roles:
        yield ("role", role.role, "", role.state, role.lag, role.position, role.read_until_ms, None)
    for source in view.flow.sources:
        yield ("source", source.source, source.kind, source.state, None, "", source.last_ms, source.usual_gap_ms)
    for reject in view.flow.rejects:
        yield ("rejects", reject.input, reject.reason, "", reject.count, "", reject.last_ms, None)


PANELS: Final[dict[str, PanelEntry]] = {
    "verdict": PanelEntry(
        "Verdict", "loop state sentence urgency command link made_at_ms evidence_until_ms read_until_ms", _verdict
    ),
    "metric": PanelEntry(
        "Model performance",
        "metric version definition day status value low high least most bound n labelled predictions arrived_alone",
        _metric,
    ),
    "maturity": PanelEntry("Label delay", "part name age_ms share", _maturity),
    "coverage": PanelEntry(
        "Label coverage by age",
        "day version predictions is_mature so_far age_ms coverage due expected goal_missed alert",
        _coverage,
    ),
    "gate": PanelEntry("Retraining", "part at_ms name state reason value needed command", _gate),
    "backfills": PanelEntry(
        "Backfills", "episode kind causes since_ms labels verdict is_waiting state why", _backfills
    ),
    "drift": PanelEntry("Drift", "group input day state detail", _drift),
    "versions": PanelEntry(
        "Version comparison",
        "metric first second shared_labels first_value second_value difference low high verdict",
        _versions,
    ),
    "quality": PanelEntry("Data quality", "field problem count share state", _quality),
    "flow": PanelEntry("Data flow", "part name detail state count position last_ms usual_gap_ms", _flow),
}
"""The panels in the order of the page. The names are those of `PageView`'s fields, of the templates, of the anchors on
the page, and of the paths below /panels/."""
