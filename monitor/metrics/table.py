"""The table of metrics from cells, under River's names, each with its maturity status.

River itself is not used here: tests compare the values with River's.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from monitor.cells.class_name import CLASSES_MAX
from monitor.cells.cohort import ALL, day_ends
from monitor.cells.measure import NOT_SCORED, read_measures
from monitor.cells.plan import CellPlan
from monitor.metrics.binary import binary_values
from monitor.metrics.multiclass import multiclass_values
from monitor.metrics.regression import regression_values
from monitor.metrics.weights import effective_rows, weights_of
from schemas.base.metric_name import COMMON_METRICS, METRICS, RARE_METRICS, REGRESSION_METRICS, weighted_name

__all__ = ["IS_OF_METRICS", "Dimension", "mature_until_at_age", "metrics"]

IS_OF_METRICS = ~pl.col("measure").str.contains(NOT_SCORED)
"""Whether metrics use a cell."""

Dimension = Literal["version", "slice", "day", "month"]
Until = Mapping[str, int | None]

_DIMENSIONS = ("version", "slice", "day", "month")
_AT_THRESHOLD = ("accuracy", "balanced_accuracy", "f1", "mcc", "precision", "recall")
_RARE_SHARE = 0.2
"""Below this share of the rarer class accuracy is left out: a model that always predicts the other class gets 80 %."""
_NAMES = sorted({name for names in METRICS.values() for name in names})
_COLUMNS = (
    *("name", "value", "bound", "n", "n_effective", "labelled", "predictions", "coverage", "status", "reason"),
    *("threshold", "revised"),
)
_OF_ANY_AGE = ("predictions", "ineligible", "labels", "early", "expired", "retracted")
"""Names of measures that are not counted again at fixed ages."""


def metrics(
    cells: pl.DataFrame,
    plan: CellPlan,
    by: Dimension | Sequence[Dimension],
    mature_until_ms: Until,
    *,
    at_age_ms: int | None = None,
) -> pl.DataFrame:
    """Return the metrics of every kind and definition of record, one row per group and metric.

    A row rests on labels of one definition, and its predictions are those whose outcome of record is of that
    definition; those without a label are of the kind's own. So the rows of a group add up to all of its predictions. A
    definition that is not of record has no row.

    The metrics are those that the config lists for the kind, in its order, or else those of its task; of a binary task,
    those that suit the share of the rarer class among all labels in `cells` (without labels, those for a rare class).

    Values equal River's for the same `n` rows, except `roc_auc`. As in River, precision is 0.0 where nothing was
    predicted positive, recall and F1 are 0.0 where nothing was positive, MCC is 0.0 where truths or predictions are all
    of one class, and balanced accuracy is the mean over the classes that occur as truth. Without any row a value is
    null, where River has 0.0. Losses and errors are exact sums of floats.

    `roc_auc` is computed from rank bins, which follow the scores of each version. The exact value of these rows is
    within `value` plus or minus `bound`, which is 0.0 where every distinct score has a bin. It is null while one class
    is absent.

    With `at_age_ms` outcomes count as they were of record at that age: by the newest of the labels known by then, or
    the value implied at the deadline. So days can be compared long before they are final.

    Args:
        cells: merged cells, at least those of `IS_OF_METRICS`; without `slice` in `by`, only those of the slice of all.
        plan: the plan the cells were folded with.
        by: columns to group by; all others are pooled. Without `slice`, the slice of all is used; with it there are
            rows of every slice, the slice of all (`''`) included.
        mature_until_ms: by kind, the prediction time before which every outcome is final; with `at_age_ms`, the one
            before which every label known by that age has been read (`mature_until_at_age`). With None, or without the
            kind, nothing is final.
        at_age_ms: one of the config's `evaluate_at`; None for all labels.

    Returns:
        Sorted rows of the `by` columns (`month` is its first day), kind, definition, name, value, bound (of `roc_auc`),
        n (labelled rows with an output), n_effective (of metrics by weight: how many rows of equal weight are as sure),
        labelled, predictions (eligible), coverage (labelled / predictions, so far),
        status, reason (a sentence why the value is null), threshold (of metrics that need a decision) and revised (how
        often the counted labels changed after they were final, or after the age). Status is `no_data` where the value
        is null; where every day of the group is final, `revised` if labels changed afterwards, else `mature`; else
        `provisional`.

    Raises:
        ValueError: `by` has an unknown column, or the age is not among the plan's.
    """
    dimensions = (by,) if isinstance(by, str) else tuple(by)
    if unknown := set(dimensions) - set(_DIMENSIONS):
        raise ValueError(f"cannot group by {sorted(unknown)}; by is one or several of {', '.join(_DIMENSIONS)}")
    ages = {age for kind in plan.kinds for age in kind.evaluate_at_ms}
    if at_age_ms is not None and at_age_ms not in ages:
        raise ValueError(f"nothing is counted at the age of {at_age_ms} ms; evaluate_at has {sorted(ages)}")
    rows = _rows(_counted(cells, at_age_ms), plan, mature_until_ms)
    chosen = _chosen(rows, plan)
    if "slice" not in dimensions:
        rows = rows.filter(pl.col("slice") == ALL)
    keys = [*dimensions, "kind", "definition"]
    groups = _groups(rows, [*dimensions], is_at_age=at_age_ms is not None)
    plain = groups.join(_values(rows, keys), on=keys, nulls_equal=True)
    nothing = [pl.lit(None, dtype=pl.Float64).alias(name) for name in ("weight", "n_effective")]
    parts = [_one_row_per_metric(plain.with_columns(nothing), keys)]
    if any(kind.is_weighted for kind in plan.kinds):
        weighted = _values(rows, keys, is_by_weight=True).drop("n")
        found = groups.join(weighted, on=keys, how="left", nulls_equal=True)
        found = found.join(plain.select(*keys, "n"), on=keys, nulls_equal=True)
        found = found.join(effective_rows(rows, keys), on=keys, how="left", nulls_equal=True)
        found = found.with_columns(pl.col("weight").fill_null(0.0))
        long = _one_row_per_metric(found, keys)
        parts.append(
            long.with_columns(name=pl.col("name").replace_strict(_NAMES, [weighted_name(name) for name in _NAMES]))
        )
    long = pl.concat(part.select(*keys, *_COLUMNS) for part in parts)
    return long.join(chosen, on=["kind", "name"]).sort(*keys, "position").select(*keys, *_COLUMNS)


def _values(rows: pl.DataFrame, keys: list[str], *, is_by_weight: bool = False) -> pl.DataFrame:
    """Return one row per group and one column per metric of every task."""
    weights = weights_of(rows) if is_by_weight else rows
    values = [
        binary_values(weights.filter(pl.col("task") == "binary"), keys),
        multiclass_values(weights.filter(pl.col("task") == "multiclass"), keys),
        regression_values(rows.filter(pl.col("task") == "regression"), keys, is_by_weight=is_by_weight),
    ]
    return pl.concat([one.with_columns(pl.col("n").cast(pl.Int64)) for one in values], how="diagonal")


def mature_until_at_age(observed_until_ms: Until, at_age_ms: int) -> dict[str, int | None]:
    """Return by kind the prediction time before which every label known by an age has been read.

    Args:
        observed_until_ms: by kind, the watermark of its labels; None where there is none.
        at_age_ms: the age.

    >>> mature_until_at_age({"late": 10_000, "fare": None}, 4_000)
    {'late': 6000, 'fare': None}
    """
    return {kind: None if until is None else until - at_age_ms for kind, until in observed_until_ms.items()}


def _counted(cells: pl.DataFrame, at_age_ms: int | None) -> pl.DataFrame:
    """Return the cells that metrics use, of all labels or of those known by a fixed age, by the parts of measures."""
    rows = read_measures(cells.filter(IS_OF_METRICS))
    age_ms = pl.col("age_ms")
    if at_age_ms is None:
        return rows.filter(age_ms.is_null())
    is_of_any_age = pl.col("name").is_in(_OF_ANY_AGE)
    return rows.filter((age_ms == at_age_ms).fill_null(is_of_any_age))


def _rows(cells: pl.DataFrame, plan: CellPlan, mature_until_ms: Until) -> pl.DataFrame:
    """Return the cells of kinds with month, task, positive_from, threshold, is_own and is_mature added."""
    kinds = pl.DataFrame(
        [
            (kind.name, kind.definition, kind.task, kind.positive_rank, kind.threshold, mature_until_ms.get(kind.name))
            for kind in plan.kinds
        ],
        schema={
            "kind": pl.String,
            "own": pl.String,
            "task": pl.String,
            "positive_from": pl.Int64,
            "threshold": pl.Float64,
            "mature_until_ms": pl.Int64,
        },
        orient="row",
    )
    rows = cells.join(kinds, on="kind").join(day_ends(cells.get_column("day"), plan.timezone), on="day")
    return rows.with_columns(
        month=pl.col("day").dt.month_start(),
        is_own=pl.col("definition") == pl.col("own"),
        is_mature=(pl.col("day_end_ms") <= pl.col("mature_until_ms")).fill_null(value=False),
    )


def _chosen(rows: pl.DataFrame, plan: CellPlan) -> pl.DataFrame:
    """Return kind, name and position of every metric to be shown."""
    of_all = rows.filter(pl.col("slice") == ALL)
    classes = {
        name: dict(of_all.filter(pl.col("name") == name).group_by("kind").agg(pl.col("amount").sum()).iter_rows())
        for name in ("score_0", "score_1")
    }
    chosen: list[tuple[str, str, int]] = []
    for kind in plan.kinds:
        negatives, positives = classes["score_0"].get(kind.name, 0), classes["score_1"].get(kind.name, 0)
        common = min(negatives, positives) > 0 and min(negatives, positives) >= _RARE_SHARE * (negatives + positives)
        suitable = (COMMON_METRICS if common else RARE_METRICS) if kind.task == "binary" else METRICS[kind.task]
        chosen.extend((kind.name, name, position) for position, name in enumerate(kind.metrics or suitable))
    return pl.DataFrame(chosen, schema={"kind": pl.String, "name": pl.String, "position": pl.Int64}, orient="row")


def _groups(rows: pl.DataFrame, by: list[str], *, is_at_age: bool) -> pl.DataFrame:
    """Return the labelled, revised and eligible counts of every group, and whether it is mature.

    Predictions are counted under the kind's own definition: those whose outcome is of another one are moved there. At a
    fixed age only labels have a definition.
    """

    def total(measure: str) -> pl.Expr:
        return pl.col("amount").filter(pl.col("name") == measure).sum()

    groups = rows.group_by(*by, "kind", "definition").agg(
        labelled=total("labelled_scored") + total("no_output"),
        revised=total("revised"),
        closed=pl.lit(0) if is_at_age else total("expired") + total("retracted"),
        is_mature=pl.col("is_mature").all(),
        threshold=pl.col("threshold").first(),
        is_own=pl.col("is_own").first(),
    )
    moved = pl.when("is_own").then(0).otherwise(pl.col("labelled") + pl.col("closed"))
    every = rows.group_by(*by, "kind").agg(every=total("predictions"))
    found = groups.with_columns(moved=moved).join(every, on=[*by, "kind"], nulls_equal=True)
    all_moved = pl.col("moved").sum().over(*by, "kind")
    found = found.with_columns(
        predictions=pl.when("is_own").then(pl.col("every") - all_moved).otherwise("moved"), all_moved=all_moved
    )
    # where every prediction was moved, nothing of the kind's own definition is left
    is_left = (pl.col("predictions") > 0) | (pl.col("is_own") & (pl.col("all_moved") == 0))
    return found.filter(is_left).drop("closed", "is_own", "moved", "every", "all_moved")


def _one_row_per_metric(groups: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    coverage = pl.when(pl.col("predictions") > 0).then(pl.col("labelled") / pl.col("predictions"))
    counts = ["bound", "n", "labelled", "predictions", "coverage", "threshold", "is_mature", "revised"]
    counts += ["weight", "n_effective"]
    long = groups.with_columns(coverage=coverage).unpivot(
        on=_NAMES, index=[*keys, *counts], variable_name="name", value_name="value"
    )
    final = pl.when(pl.col("revised") > 0).then(pl.lit("revised")).otherwise(pl.lit("mature"))
    maturity = pl.when("is_mature").then(final).otherwise(pl.lit("provisional"))
    status = pl.when(pl.col("value").is_null()).then(pl.lit("no_data")).otherwise(maturity)
    return long.with_columns(
        status=status,
        reason=pl.when(pl.col("value").is_null()).then(_reason()),
        bound=pl.when(pl.col("name") == "roc_auc", pl.col("value").is_not_null()).then("bound"),
        threshold=pl.when(pl.col("name").is_in(_AT_THRESHOLD)).then("threshold"),
    )


def _reason() -> pl.Expr:
    """Return why a metric has no value."""
    name = pl.col("name")
    return (
        pl.when(pl.col("labelled") <= 0)
        .then(pl.lit("no labels yet"))
        .when(pl.col("n").fill_null(0) <= 0)
        .then(pl.lit("no label with an output and a value that metrics can use"))
        .when(pl.col("weight") <= 0)
        .then(pl.lit("weights add up to 0"))
        .when(name == "roc_auc")
        .then(pl.lit("all labels are of one class"))
        .when(name == "r2", pl.col("n") < 2)  # noqa: PLR2004 - a spread needs two
        .then(pl.lit("fewer than two labels"))
        .when(name.is_in(REGRESSION_METRICS))
        .then(pl.lit("beyond the largest number"))
        .otherwise(pl.lit(f"more than {CLASSES_MAX:,} classes"))
    )
