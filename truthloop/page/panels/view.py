"""The view: everything that the page shows at one time for one selection, as frozen values of builtin types.

This module must not read, format or compute; who fills a view answers for its numbers.
"""

from dataclasses import dataclass
from typing import Literal

from truthloop.page.panels.backfill import BackfillPanel
from truthloop.page.panels.gate import GatePanel
from truthloop.page.panels.model import Coverage, Drift, FlowPanel, Maturity, Metric, Quality, Versions

__all__ = ["EVERY", "Freshness", "Loop", "Offer", "PageVerdict", "Selection", "State", "Urgency", "View"]

State = Literal["OK", "WATCH", "HOLD", "STALLED"]
Urgency = Literal["now", "working hours", "none"]

EVERY = ""
"""The choice of all versions, and of the slice of all."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a reader may choose from. An empty version or slice stands for all of them.

    Attributes:
        kinds: label kinds, at least one; the first is taken where none is named.
        versions: without `EVERY`, which is always offered.
        slices: the same.
        metrics: per kind its metrics, the first of which is taken where none is named.
        days_max: how many cohort days can be asked for.
    """

    kinds: tuple[str, ...]
    versions: tuple[str, ...]
    slices: tuple[str, ...]
    metrics: tuple[tuple[str, tuple[str, ...]], ...]
    days_max: int = 400

    def metrics_of(self, kind: str) -> tuple[str, ...]:
        """Return the metrics of a kind; none for a kind that is not known."""
        return dict(self.metrics).get(kind, ())


@dataclass(frozen=True, slots=True)
class Selection:
    """What a reader chose; every value is one of the offer's. `metric` is empty where a kind has none."""

    kind: str
    version: str = EVERY
    slice: str = EVERY
    metric: str = ""
    days: int = 60


@dataclass(frozen=True, slots=True)
class Loop:
    """Which loop this is. `timezone` is an IANA name."""

    name: str
    timezone: str
    kinds: tuple[str, ...]
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PageVerdict:
    """The one thing to know.

    Attributes:
        state: OK, WATCH, HOLD or STALLED.
        sentence: why, in plain words.
        urgency: when a person has to look at it.
        command: what to type next; empty where nothing is to be done.
    """

    state: State
    sentence: str
    urgency: Urgency
    command: str = ""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old what is shown is: evidence folded, and inputs read, up to these times; None: nothing yet."""

    made_at_ms: int
    evidence_until_ms: int | None
    read_until_ms: int | None


@dataclass(frozen=True, slots=True)
class View:
    """The page for one selection."""

    loop: Loop
    verdict: PageVerdict
    freshness: Freshness
    offer: Offer
    selection: Selection
    coverage: Coverage
    maturity: Maturity
    metric: Metric
    drift: Drift
    quality: Quality
    gate: GatePanel
    backfills: BackfillPanel
    versions: Versions
    flow: FlowPanel
