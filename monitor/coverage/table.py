"""Tables of coverage: the share of a cohort's eligible predictions that has a label by an age, goals, expected curve.

A young cohort is not a bad cohort: a share is null until the whole day has reached the age.
"""

from collections.abc import Mapping

import polars as pl

from monitor.cells.cohort import ALL, day_ends
from monitor.cells.plan import CellPlan, KindPlan

__all__ = ["IS_OF_COVERAGE", "coverage", "expected_curve", "judge_goals"]

IS_OF_COVERAGE = pl.col("measure").is_in(["predictions", "ineligible", "labels"])
"""Whether coverage uses a cell: of its counts, or of a cohort that has none."""

_COHORT = ["version", "slice", "day"]
_CURVE_SCHEMA = pl.Schema(
    {
        "version": pl.String(),
        "kind": pl.String(),
        "age_ms": pl.Int64(),
        "predictions": pl.Int64(),
        "expected": pl.Float64(),
    }
)
_SCHEMA = pl.Schema(
    {
        "version": pl.String(),
        "slice": pl.String(),
        "day": pl.Date(),
        "kind": pl.String(),
        "age_ms": pl.Int64(),
        "predictions": pl.Int64(),
        "labelled": pl.Int64(),
        "coverage": pl.Float64(),
        "due": pl.Boolean(),
        "is_mature": pl.Boolean(),
        "so_far": pl.Float64(),
    }
)


def coverage(
    cells: pl.DataFrame,
    plan: CellPlan,
    observed_until_ms: Mapping[str, int | None],
    matured_until_ms: Mapping[str, int | None],
) -> pl.DataFrame:
    """Return the coverage of each cohort, kind and age of the config, one row each.

    Implied outcomes count as labelled at the age of the horizon; expired and retracted outcomes are unlabelled.
    Labels of all definitions of record count.

    Args:
        cells: merged cells, at least those of `IS_OF_COVERAGE`.
        plan: the plan the cells were folded with.
        observed_until_ms: by kind, the watermark of its labels.
        matured_until_ms: by kind, the prediction time before which every outcome is final. In both, None or a missing
            kind means that no time is known.

    Returns:
        Sorted rows of version, slice, day, kind, age_ms, and
        `predictions`: eligible ones; `labelled`: those with a label known by that age, among the labels read;
        `coverage`: labelled / predictions, null until due, and without predictions;
        `due`: the watermark has passed the end of the day plus the age;
        `is_mature`: the whole day is final; `so_far`: the share labelled at any age, due or not.
    """
    parts = [_SCHEMA.to_frame()]
    for kind in plan.kinds:
        rows = _by_age(cells, plan, kind, kind.ages_ms)
        due = _has_passed(pl.col("day_end_ms") + pl.col("age_ms"), observed_until_ms.get(kind.name))
        some = pl.col("predictions") > 0
        parts.append(
            rows.with_columns(
                kind=pl.lit(kind.name),
                due=due,
                is_mature=_has_passed(pl.col("day_end_ms"), matured_until_ms.get(kind.name)),
                coverage=pl.when(due & some).then(pl.col("labelled") / pl.col("predictions")),
                so_far=pl.when(some).then(pl.col("labels") / pl.col("predictions")),
            ).select(_SCHEMA.names())
        )
    return pl.concat(parts).sort("kind", *_COHORT, "age_ms")


def judge_goals(coverage_rows: pl.DataFrame, plan: CellPlan) -> pl.DataFrame:
    """Return one row per cohort and coverage goal of the config, judged once it is due.

    Args:
        coverage_rows: what `coverage` returned for the same plan.
        plan: the plan with the goals.

    Returns:
        Rows of version, slice, day, kind, age_ms, predictions, coverage, `min` (the goal) and `verdict`:
        `ok`, `missed` or `not_due`. Cohorts without eligible predictions are left out.
    """
    goals = [(kind.name, age_ms, least) for kind in plan.kinds for age_ms, least in kind.goals]
    schema = {"kind": pl.String, "age_ms": pl.Int64, "min": pl.Float64}
    wanted = pl.DataFrame(goals, schema=schema, orient="row")
    reached = pl.when(pl.col("coverage") >= pl.col("min")).then(pl.lit("ok")).otherwise(pl.lit("missed"))
    verdict = pl.when("due").then(reached).otherwise(pl.lit("not_due"))
    judged = coverage_rows.filter(pl.col("predictions") > 0).join(wanted, on=["kind", "age_ms"])
    columns = [*_COHORT, "kind", "age_ms", "predictions", "coverage", "min"]
    return judged.select(*columns, verdict.alias("verdict")).sort("kind", *_COHORT, "age_ms", "min")


def expected_curve(cells: pl.DataFrame, plan: CellPlan, observed_until_ms: Mapping[str, int | None]) -> pl.DataFrame:
    """Return by version and kind the expected coverage at each edge of the age grid.

    It is one minus the Kaplan-Meier curve of label age (as in `monitor.coverage.label_age`), pooled over days: the step
    to an edge is estimated from the days that are due there, so young days contribute to young ages and old days to
    all. Where every day is due it is labelled / predictions.

    Args:
        cells: merged cells.
        plan: the plan the cells were folded with.
        observed_until_ms: as for `coverage`.

    Returns:
        Sorted rows of version, kind, age_ms, `predictions` (of the days due at that age) and `expected` (null where no
        day is due).
    """
    parts = [_CURVE_SCHEMA.to_frame()]
    for kind in plan.kinds:
        rows = _by_age(cells.filter(pl.col("slice") == ALL), plan, kind, kind.age_edges_ms[:-1])
        before = pl.col("labelled").shift(1, fill_value=0).over(_COHORT, order_by="age_ms")
        due = _has_passed(pl.col("day_end_ms") + pl.col("age_ms"), observed_until_ms.get(kind.name))
        steps = (
            rows.with_columns(before=before, due=due)
            .group_by("version", "age_ms")
            .agg(
                predictions=pl.col("predictions").filter("due").sum(),
                at_risk=(pl.col("predictions") - pl.col("before")).filter("due").sum(),
                events=(pl.col("labelled") - pl.col("before")).filter("due").sum(),
            )
            .sort("version", "age_ms")
        )
        survival = pl.when(pl.col("at_risk") > 0).then(1 - pl.col("events") / pl.col("at_risk")).otherwise(1.0)
        expected = pl.when(pl.col("predictions") > 0).then(1 - survival.cum_prod().over("version"))
        parts.append(steps.with_columns(kind=pl.lit(kind.name), expected=expected).select(_CURVE_SCHEMA.names()))
    return pl.concat(parts).sort("kind", "version", "age_ms")


def _by_age(cells: pl.DataFrame, plan: CellPlan, kind: KindPlan, ages_ms: tuple[int, ...]) -> pl.DataFrame:
    """Return by cohort and age: day_end_ms, predictions, labels (at any age), labelled (by that age)."""
    # arrivals are counted under the day of arrival, which need not be a cohort
    is_cohort = ~pl.col("measure").str.starts_with("arrived")
    own = cells.filter(pl.col("kind") == kind.name, is_cohort)
    label = pl.col("measure") == "labels"
    by_age = [pl.col("amount").filter(label, pl.col("bin") <= age).sum().alias(str(age)) for age in ages_ms]
    totals = [
        pl.col("amount").filter(pl.col("measure") == measure).sum().alias(measure)
        for measure in ("predictions", "labels")
    ]
    wide = own.group_by(_COHORT).agg(*totals, *by_age)
    long = wide.unpivot(
        on=[str(age) for age in ages_ms],
        index=[*_COHORT, "predictions", "labels"],
        variable_name="age_ms",
        value_name="labelled",
    )
    ends = day_ends(own.get_column("day"), plan.timezone)
    return long.with_columns(pl.col("age_ms").cast(pl.Int64)).join(ends, on="day")


def _has_passed(instant: pl.Expr, until_ms: int | None) -> pl.Expr:
    return pl.lit(value=False) if until_ms is None else instant <= until_ms
