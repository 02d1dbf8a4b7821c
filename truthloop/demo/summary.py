"""What the demo shows at the end: numbers for somebody who sees this for the first time.

Reads the lake only through its views and cells, as anybody could. Must not write.
"""

from dataclasses import dataclass
from datetime import date

import duckdb
import polars as pl

from monitor import metrics
from truthloop.evidence import Evidence

__all__ = ["LabelAge", "StormDay", "Summary", "summarise"]

AGES_H = (3, 6, 12)
STORM_DAYS = (date(2013, 2, 8), date(2013, 2, 9))

_BY_AGE = """
SELECT
  count(*) AS predictions,
  count(*) FILTER (label_age_ms <= $age_ms) AS labelled,
  avg(value) FILTER (label_age_ms <= $age_ms) AS arrived_share,
  avg(value) AS final_share
FROM scored WHERE eligible
"""
_BY_DAY = """
SELECT "day", count(*) AS predictions, count(*) FILTER (status = 'joined') AS labelled
FROM scored WHERE "day" IN ($first, $second) GROUP BY "day" ORDER BY "day"
"""
_GROUNDED = """
SELECT min(key) FROM scored WHERE "day" = $day AND status = 'expired'
"""
_USUAL = """
SELECT median(share) FROM (
  SELECT count(*) FILTER (status = 'joined') / count(*) AS share FROM scored GROUP BY "day"
)
"""


@dataclass(frozen=True)
class LabelAge:
    """What one would believe at an age.

    Attributes:
        age_h: hours since the prediction.
        coverage: share of predictions whose label was known by then.
        arrived_share: late share among those labels; what a naive dashboard shows. None without labels.
        final_share: late share among all labels that ever came.
    """

    age_h: int
    coverage: float
    arrived_share: float | None
    final_share: float


@dataclass(frozen=True)
class StormDay:
    """A day on which many flights never arrived."""

    day: str
    predictions: int
    coverage: float


@dataclass(frozen=True)
class Summary:
    """Everything that is shown.

    Attributes:
        ages: at 3, 6 and 12 hours.
        storm: 8 and 9 February.
        grounded: key of a flight that never left on the second of them.
        usual_coverage: the median day's share of predictions that ever got a label.
        months: metrics by month, as `monitor.metrics` returns them.
    """

    ages: list[LabelAge]
    storm: list[StormDay]
    grounded: str
    usual_coverage: float
    months: pl.DataFrame


def summarise(views: duckdb.DuckDBPyConnection, evidence: Evidence) -> Summary:
    """Return the demo's numbers.

    Args:
        views: a connection with the lake's views.
        evidence: the same lake's cells.
    """
    ages = [_at_age(views, age_h) for age_h in AGES_H]
    first, second = STORM_DAYS
    rows = views.execute(_BY_DAY, {"first": first, "second": second}).fetchall()
    storm = [StormDay(str(day), count, labelled / count) for day, count, labelled in rows]
    (usual,) = _row(views.execute(_USUAL))
    months = metrics(evidence.cells, evidence.plan, "month", evidence.reach.matured_until_ms)
    grounded = views.execute(_GROUNDED, {"day": second}).fetchone()
    return Summary(ages, storm, "" if grounded is None else grounded[0], usual, months)


def _at_age(views: duckdb.DuckDBPyConnection, age_h: int) -> LabelAge:
    count, labelled, arrived, final = _row(views.execute(_BY_AGE, {"age_ms": age_h * 3_600_000}))
    return LabelAge(age_h, labelled / count, arrived, final)


def _row(result: duckdb.DuckDBPyConnection) -> tuple[float, ...]:
    row = result.fetchone()
    if row is None:
        raise ValueError("the query returned no row")
    return row
