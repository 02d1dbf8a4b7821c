"""The figures that the demo shows, queried from the lake's views and cells."""

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import duckdb
import polars as pl

from monitor.metrics.table import IS_OF_METRICS, metrics
from monitor.versions.compare import compare
from truthloop.evidence.cells import Evidence

__all__ = ["DemoComparison", "LabelAge", "StormDay", "Summary", "summarise"]

AGES_H = (3, 6, 12)
STORM_DAYS = (date(2013, 2, 8), date(2013, 2, 9))

_BY_AGE = """
SELECT
  count(*) AS predictions,
  count(*) FILTER (label_age_ms <= $age_ms) AS labelled,
  avg(value) FILTER (label_age_ms <= $age_ms) AS arrived_share,
  avg(value) AS final_share
FROM (
  -- a flight that two models scored counts once
  FROM scored WHERE eligible QUALIFY row_number() OVER (PARTITION BY key ORDER BY predicted_at, version) = 1
)
"""
_BY_DAY = """
SELECT "day", count(*) AS predictions, count(*) FILTER (status = 'joined') AS labelled
FROM scored WHERE "day" IN ($first, $second) GROUP BY "day" ORDER BY "day"
"""
_GROUNDED = """
SELECT min(key) FROM scored WHERE "day" = $day AND status = 'expired'
"""
_VERSIONS = """
SELECT version FROM scored GROUP BY version ORDER BY min(predicted_at), version
"""
_SHARED = """
SELECT a."day" AS "day", a.loss AS loss_a, b.loss AS loss_b
FROM (
  SELECT key, definition, "day", -ln(greatest(1e-15, least(1 - 1e-15, if(value = 1, "output", 1 - "output")))) AS loss
  FROM scored WHERE version = $first AND status = 'joined' AND eligible
) AS a
INNER JOIN (
  SELECT key, definition, -ln(greatest(1e-15, least(1 - 1e-15, if(value = 1, "output", 1 - "output")))) AS loss
  FROM scored WHERE version = $second AND status = 'joined' AND eligible
) AS b USING (key, definition)
ORDER BY a."day", key
"""
_USUAL = """
SELECT median(share) FROM (
  SELECT count(*) FILTER (status = 'joined') / count(*) AS share FROM scored GROUP BY "day"
)
"""


@dataclass(frozen=True)
class LabelAge:
    """Coverage and label shares at an age. Shares are from 0 to 1.

    Attributes:
        age_h: hours since the prediction.
        coverage: share of predictions whose label was known.
        arrived_share: share of late flights among these labels, as a naive dashboard shows it; None without labels.
        final_share: share of late flights among all labels in the end.
    """

    age_h: int
    coverage: float
    arrived_share: float | None
    final_share: float


@dataclass(frozen=True)
class StormDay:
    """Coverage, from 0 to 1, of a day on which many flights were cancelled."""

    day: str
    predictions: int
    coverage: float


@dataclass(frozen=True)
class DemoComparison:
    """Log loss of two versions on the flights that both scored.

    Attributes:
        first: the version before.
        second: the version after it.
        labels: flights that both scored and whose label is known.
        first_loss: mean log loss.
        second_loss: mean log loss.
        difference: second minus first; negative if the second is better.
        low: lower end of the difference's 95 % interval, with days as independent units; None with too few days.
        high: its upper end.
    """

    first: str
    second: str
    labels: int
    first_loss: float
    second_loss: float
    difference: float
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True)
class Summary:
    """The figures that the demo shows.

    Attributes:
        ages: at 3, 6 and 12 hours.
        storm: 8 and 9 February.
        grounded: key of a cancelled flight on 9 February.
        usual_coverage: final coverage of the median day, from 0 to 1.
        months: metrics by month, as `monitor.metrics` returns them.
        compared: every version with the one before it.
    """

    ages: list[LabelAge]
    storm: list[StormDay]
    grounded: str
    usual_coverage: float
    months: pl.DataFrame
    compared: list[DemoComparison]


def summarise(views: duckdb.DuckDBPyConnection, evidence: Evidence) -> Summary:
    """Query the demo's figures.

    Args:
        views: a connection with the lake's views.
        evidence: the same lake's cells.
    """
    ages = [_at_age(views, age_h) for age_h in AGES_H]
    first, second = STORM_DAYS
    rows = views.execute(_BY_DAY, {"first": first, "second": second}).fetchall()
    storm = [StormDay(str(day), count, labelled / count) for day, count, labelled in rows]
    (usual,) = _row(views.execute(_USUAL))
    months = metrics(
        evidence.cells.whole(IS_OF_METRICS, pl.col("slice") == ""),
        evidence.plan,
        "month",
        evidence.reach.matured_until_ms,
    )
    grounded = views.execute(_GROUNDED, {"day": second}).fetchone()
    return Summary(ages, storm, "" if grounded is None else grounded[0], usual, months, _compared(views))


def _compared(views: duckdb.DuckDBPyConnection) -> list[DemoComparison]:
    names = [name for (name,) in views.execute(_VERSIONS).fetchall()]
    found = []
    for first, second in pairwise(names):
        rows = views.sql(_SHARED, params={"first": first, "second": second}).pl()
        if rows.is_empty():
            continue
        result = compare(rows)
        low, high = result.interval or (None, None)
        before, after = rows.select(pl.col("loss_a", "loss_b").mean()).row(0)
        verdict = result.verdict.replace("_", " ")
        found.append(DemoComparison(first, second, result.n, before, after, after - before, low, high, verdict))
    return found


def _at_age(views: duckdb.DuckDBPyConnection, age_h: int) -> LabelAge:
    count, labelled, arrived, final = _row(views.execute(_BY_AGE, {"age_ms": age_h * 3_600_000}))
    return LabelAge(age_h, labelled / count, arrived, final)


def _row(result: duckdb.DuckDBPyConnection) -> tuple[float, ...]:
    row = result.fetchone()
    if row is None:
        raise ValueError("the query returned no row")
    return row
