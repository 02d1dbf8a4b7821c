"""The panels of the page, as frozen values of builtin types.

Days are ISO dates in the loop's time zone, instants are milliseconds since 1970 in UTC, shares are from 0 to 1, and
None means unknown, which is never the same as 0. Field names are the keys of the JSON that people download. Every
panel has the SQL that reads the same numbers from the lake (empty if no view has them), and a note that the page
shows first: why the panel is empty, or a caveat.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "CoverageCell",
    "CoverageCohort",
    "CoveragePanel",
    "DriftCell",
    "DriftLane",
    "DriftPanel",
    "DriftState",
    "FlowPanel",
    "MaturityCurve",
    "MaturityPanel",
    "MetricPanel",
    "MetricPoint",
    "MetricSeries",
    "MetricStatus",
    "NowcastSeries",
    "QualityCount",
    "QualityPanel",
    "RejectCount",
    "RoleFlow",
    "SourceState",
    "VersionComparison",
    "VersionsPanel",
]

MetricStatus = Literal["no_data", "estimated", "provisional", "mature", "revised"]
DriftState = Literal["no_data", "calibrating", "ok", "warn", "critical", "alarm"]


@dataclass(frozen=True, slots=True)
class CoverageCell:
    """The share of a cohort that was labelled by an age; `due` once the whole day has reached the age."""

    share: float | None
    due: bool
    expected: float | None = None
    is_missed: bool = False
    is_alert: bool = False


@dataclass(frozen=True, slots=True)
class CoverageCohort:
    """The predictions of one version on one day.

    Attributes:
        so_far: share labelled at any age, due or not.
        cells: in the order of the panel's ages.
    """

    day: str
    version: str
    predictions: int
    so_far: float | None
    is_mature: bool
    cells: tuple[CoverageCell, ...]


@dataclass(frozen=True, slots=True)
class CoveragePanel:
    """Cohorts by label age, oldest day first; `goals` are pairs of an age and its minimum share."""

    ages_ms: tuple[int, ...]
    cohorts: tuple[CoverageCohort, ...]
    goals: tuple[tuple[int, float], ...] = ()
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class MaturityCurve:
    """The share of labels known by age, as pairs of age in milliseconds and share."""

    name: str
    points: tuple[tuple[int, float | None], ...]


@dataclass(frozen=True, slots=True)
class MaturityPanel:
    """The usual curve, and those of the newest cohorts.

    `arrived_by_now` and `expected_by_now` are shares of the newest cohort, by the ages that it has reached.
    """

    expected: MaturityCurve
    cohorts: tuple[MaturityCurve, ...]
    arrived_by_now: float | None = None
    expected_by_now: float | None = None
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """A metric on one day.

    Attributes:
        low: lower end of the prediction interval of the final value.
        high: its upper end.
        least: lower bound of the final value, whatever the missing labels are; drawn if there is no interval.
        most: its upper bound.
        bound: greatest error of the value, if it is computed from bins; None: it is exact, or an estimate.
        n: labelled predictions that the value rests on: those with a usable output and label.
    """

    day: str
    status: MetricStatus
    value: float | None
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None
    bound: float | None = None
    n: int = 0
    labelled: int = 0
    predictions: int = 0


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """A metric of one version by labels of one definition, oldest day first; `is_own`: the config's definition."""

    version: str
    points: tuple[MetricPoint, ...]
    definition: str = ""
    is_own: bool = True

    @property
    def name(self) -> str:
        """The version, and the definition if it is another one than the config's."""
        return self.version if self.is_own else f"{self.version} ({self.definition})"


@dataclass(frozen=True, slots=True)
class NowcastSeries:
    """The nowcast of the running day's final value; `arrived` is the value of the arrived labels alone."""

    day: str
    version: str
    estimate: float | None
    low: float | None = None
    high: float | None = None
    arrived: float | None = None


@dataclass(frozen=True, slots=True)
class MetricPanel:
    """One metric by version, definition and day."""

    name: str
    series: tuple[MetricSeries, ...]
    running: tuple[NowcastSeries, ...] = ()
    is_higher_better: bool = True
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class DriftCell:
    """The state of one input on one day; `detail` is one line with a measure and its value."""

    state: DriftState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DriftLane:
    """One input, or the error, by day; as many cells as the panel has days."""

    name: str
    group: Literal["error", "output", "label", "feature"]
    cells: tuple[DriftCell, ...]


@dataclass(frozen=True, slots=True)
class DriftPanel:
    """Lanes over the same days, oldest first."""

    days: tuple[str, ...]
    lanes: tuple[DriftLane, ...]
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class QualityCount:
    """The number of a field's values with a problem, and their share of all its values."""

    field: str
    problem: str
    count: int
    share: float | None
    state: DriftState = "ok"


@dataclass(frozen=True, slots=True)
class QualityPanel:
    """Values with a problem; they were kept and counted."""

    counts: tuple[QualityCount, ...]
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Two versions on the same labels; `difference` is the second's value minus the first's."""

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
class VersionsPanel:
    """Comparisons of versions on the labels that they share."""

    comparisons: tuple[VersionComparison, ...]
    sql: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class RoleFlow:
    """The progress of one role; `lag` is the number of records still to be read, None if unknown."""

    role: str
    state: Literal["ok", "behind", "stalled", "unknown"]
    lag: int | None
    position: str
    read_until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RejectCount:
    """The number of records rejected for one reason."""

    input: str
    reason: str
    count: int
    last_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SourceState:
    """The liveness of a source of labels; `usual_gap_ms` is its longest usual time without labels."""

    source: str
    kind: str
    state: Literal["alive", "late", "silent", "unknown"]
    last_ms: int | None
    usual_gap_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FlowPanel:
    """Progress of the roles, sources of labels, and rejects."""

    roles: tuple[RoleFlow, ...]
    rejects: tuple[RejectCount, ...]
    sources: tuple[SourceState, ...]
    sql: str = ""
    note: str = ""
