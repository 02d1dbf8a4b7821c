"""The panels of the page: everything they show, as frozen values of builtin types.

Days are ISO dates in the loop's time zone, instants are milliseconds since 1970 in UTC, shares run from 0 to 1,
and None means that nothing is known, which is never the same as 0. Every panel carries the SQL that gets the
same from the lake (empty where no view has it), and a note that the page shows first: why there is nothing yet,
or what to bear in mind. This module must not format, draw or compute.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Cohort",
    "Coverage",
    "CoverageCell",
    "Curve",
    "Drift",
    "DriftCell",
    "DriftState",
    "FlowPanel",
    "Lane",
    "Maturity",
    "Metric",
    "MetricStatus",
    "NowcastSeries",
    "Point",
    "Quality",
    "QualityCount",
    "RejectCount",
    "RoleFlow",
    "Series",
    "SourceState",
    "VersionComparison",
    "Versions",
]

MetricStatus = Literal["no_data", "estimated", "provisional", "mature", "revised"]
DriftState = Literal["no_data", "calibrating", "ok", "warn", "critical", "alarm"]


@dataclass(frozen=True, slots=True)
class CoverageCell:
    """How much of one cohort was labelled by one age: `due` once the whole day has reached the age."""

    share: float | None
    due: bool
    expected: float | None = None
    is_missed: bool = False
    is_alert: bool = False


@dataclass(frozen=True, slots=True)
class Cohort:
    """The predictions of one version on one day; `cells` in the order of the panel's ages.

    `so_far` is the share labelled at any age, due or not.
    """

    day: str
    version: str
    predictions: int
    so_far: float | None
    is_mature: bool
    cells: tuple[CoverageCell, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Cohorts by label age, the oldest day first. `goals` are pairs of an age and its least share."""

    ages_ms: tuple[int, ...]
    cohorts: tuple[Cohort, ...]
    goals: tuple[tuple[int, float], ...] = ()
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """The share of labels known by an age, as pairs of age in milliseconds and share."""

    name: str
    points: tuple[tuple[int, float | None], ...]


@dataclass(frozen=True, slots=True)
class Maturity:
    """What is usual, and how the newest cohorts come along.

    `arrived_by_now` and `expected_by_now` are shares of the newest cohort that has reached an age.
    """

    expected: Curve
    cohorts: tuple[Curve, ...]
    arrived_by_now: float | None = None
    expected_by_now: float | None = None
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """A metric on one day.

    `low` and `high` are the interval of what the number will be in the end, `least` and `most` the bounds that
    hold whatever the missing labels say; the page draws the bounds where the interval is missing.
    """

    day: str
    status: MetricStatus
    value: float | None
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None
    labelled: int = 0
    predictions: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """A metric of one version, the oldest day first."""

    version: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class NowcastSeries:
    """Where the running day's number will end, beside what the labels that are in would say alone."""

    day: str
    version: str
    estimate: float | None
    low: float | None = None
    high: float | None = None
    arrived: float | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric day by day, per version."""

    name: str
    series: tuple[Series, ...]
    running: tuple[NowcastSeries, ...] = ()
    is_higher_better: bool = True
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class DriftCell:
    """What was found about one input on one day; `detail` names measure and figure, in a line."""

    state: DriftState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """One thing that may shift, day by day; as many cells as the panel has days."""

    name: str
    group: Literal["error", "output", "label", "feature"]
    cells: tuple[DriftCell, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """Lanes of the same days, the oldest first."""

    days: tuple[str, ...]
    lanes: tuple[Lane, ...]
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class QualityCount:
    """How many values of a field had a problem, and the share of all values of that field."""

    field: str
    problem: str
    count: int
    share: float | None
    state: DriftState = "ok"


@dataclass(frozen=True, slots=True)
class Quality:
    """Values that were kept, flagged and counted."""

    counts: tuple[QualityCount, ...]
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Two versions on predictions whose labels both share: `difference` is the second's minus the first's."""

    metric: str
    first: str
    second: str
    shared_labels: int
    first_value: float | None
    second_value: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Versions:
    """Which version does better, told by labels that both have."""

    comparisons: tuple[VersionComparison, ...]
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class RoleFlow:
    """How far one role has come; `lag` counts records still to be read, None where nobody can say."""

    role: str
    state: Literal["ok", "behind", "stalled", "unknown"]
    lag: int | None
    position: str
    read_until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RejectCount:
    """Records that made no outcome."""

    input: str
    reason: str
    count: int
    last_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SourceState:
    """Whether a source of labels still speaks; `usual_gap_ms` is how long it is silent at most as a rule."""

    source: str
    kind: str
    state: Literal["alive", "late", "silent", "unknown"]
    last_ms: int | None
    usual_gap_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FlowPanel:
    """What comes in, how far it has come, and what was turned away."""

    roles: tuple[RoleFlow, ...]
    rejects: tuple[RejectCount, ...]
    sources: tuple[SourceState, ...]
    sql: str = ""
    note: str = ""
