"""The view of the page: everything shown at one time for one selection, as frozen values of builtin types."""

from dataclasses import dataclass
from typing import Literal

from truthloop.page.panels.backfill import BackfillPanel
from truthloop.page.panels.gate import GatePanel
from truthloop.page.panels.model import (
    CoveragePanel,
    DriftPanel,
    FlowPanel,
    MaturityPanel,
    MetricPanel,
    QualityPanel,
    VersionsPanel,
)

__all__ = [
    "DAYS_MAX",
    "EVERY",
    "Choices",
    "Freshness",
    "LoopSummary",
    "PageVerdict",
    "PageView",
    "Selection",
    "Urgency",
    "VerdictState",
]

VerdictState = Literal["OK", "WATCH", "HOLD", "STALLED"]
Urgency = Literal["now", "working hours", "none"]

DAYS_MAX = 400
"""Days of predictions that one page can show."""

EVERY = ""
"""Selects all versions, or the slice of all predictions."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The options that a reader may select.

    Attributes:
        kinds: label kinds, at least one; the first is the default.
        versions: without `EVERY`, which is always possible and the default.
        slices: the same.
        metrics: pairs of a kind and its metrics, whose first is the default.
        days_max: maximum number of cohort days.
        uncounted: names of slices that predictions carry and that nothing is counted by; they cannot be selected.
    """

    kinds: tuple[str, ...]
    versions: tuple[str, ...]
    slices: tuple[str, ...]
    metrics: tuple[tuple[str, tuple[str, ...]], ...]
    days_max: int = DAYS_MAX
    uncounted: tuple[str, ...] = ()

    def metrics_of(self, kind: str) -> tuple[str, ...]:
        """Return the metrics of a kind; none of an unknown kind."""
        return dict(self.metrics).get(kind, ())


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected options, each one of `Choices`; `metric` is empty if the kind has none."""

    kind: str
    version: str = EVERY
    slice: str = EVERY
    metric: str = ""
    days: int = 60


@dataclass(frozen=True, slots=True)
class LoopSummary:
    """The loop's name, IANA time zone, label kinds and model versions."""

    name: str
    timezone: str
    kinds: tuple[str, ...]
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PageVerdict:
    """The state of the loop in one sentence.

    Attributes:
        sentence: the reason of the state.
        urgency: when a person has to act.
        command: the next command to run; empty if none is needed.
        link: relative address of the page with which to act; empty if there is none.
    """

    state: VerdictState
    sentence: str
    urgency: Urgency
    command: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Freshness:
    """Up to which times the view is complete.

    Attributes:
        made_at_ms: when the lake was last seen to be as the view shows it.
        evidence_until_ms: up to when evidence was evaluated; None: nothing yet.
        read_until_ms: up to when inputs were read; None: nothing yet.
    """

    made_at_ms: int
    evidence_until_ms: int | None
    read_until_ms: int | None


@dataclass(frozen=True, slots=True)
class PageView:
    """The page for one selection; `truthloop.page.panels.tables.PANELS` gives the order of its panels."""

    loop: LoopSummary
    verdict: PageVerdict
    freshness: Freshness
    choices: Choices
    selection: Selection
    coverage: CoveragePanel
    maturity: MaturityPanel
    metric: MetricPanel
    drift: DriftPanel
    quality: QualityPanel
    gate: GatePanel
    backfills: BackfillPanel
    versions: VersionsPanel
    flow: FlowPanel
