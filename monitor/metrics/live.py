"""Live River metrics of each version: updated with every label, reverted with every correction.

They cover the labels that have arrived, without a maturity status (`monitor.metrics.table` has one), and live in memory
only: rebuild them by applying the lake's outcomes.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from river import metrics as river

from monitor.cells.class_name import OTHER, escape_class
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.revisions import LABELLED, states_between
from monitor.cells.scoring import is_scored, label_weight
from monitor.cells.timeouts import Proof, before_and_after
from monitor.metrics.rank_auc import RankAUC
from schemas.base.metric_name import COMMON_METRICS, METRICS, RARE_METRICS, is_by_weight, plain_name
from schemas.events.backfill import Ruling

__all__ = ["LiveMetrics", "MultiClassMCC"]

Key = tuple[str, str, str, str]


class MultiClassMCC(river.base.MultiClassMetric):
    """Matthews correlation coefficient of any number of classes (Gorodkin's R_K, 2004), over River's confusion matrix.

    River's own MCC is for two classes. It is 0.0 where truths or predictions are all of one class.

    >>> metric = MultiClassMCC()
    >>> for truth, prediction in [("a", "a"), ("b", "b"), ("c", "b"), ("c", "c")]:
    ...     metric.update(truth, prediction)
    >>> round(metric.get(), 3)
    0.7
    """

    _fmt = ".6f"

    def get(self) -> float:
        """Return the coefficient."""
        matrix, n = self.cm, self.cm.total_weight
        true, predicted = ([float(sums[name]) for name in matrix.classes] for sums in (matrix.sum_row, matrix.sum_col))
        margins = [n * n - sum(count * count for count in sums) for sums in (true, predicted)]
        if min(margins) <= 0:
            return 0.0
        by_chance = sum(map(operator.mul, true, predicted))
        return float((matrix.total_true_positives * n - by_chance) / (math.sqrt(margins[0]) * math.sqrt(margins[1])))


@dataclass(frozen=True)
class _Recipe:
    """A River metric and the columns that it is updated with."""

    make: Callable[[], Any]
    truth: str
    prediction: str


_RECIPES: Mapping[str, Mapping[str, _Recipe]] = {
    "binary": {
        "accuracy": _Recipe(river.Accuracy, "is_true", "is_predicted"),
        "balanced_accuracy": _Recipe(river.BalancedAccuracy, "is_true", "is_predicted"),
        "brier": _Recipe(river.MSE, "value", "output"),
        "f1": _Recipe(river.F1, "is_true", "is_predicted"),
        "log_loss": _Recipe(river.LogLoss, "is_true", "output"),
        "mcc": _Recipe(river.MCC, "is_true", "is_predicted"),
        "precision": _Recipe(river.Precision, "is_true", "is_predicted"),
        "recall": _Recipe(river.Recall, "is_true", "is_predicted"),
        "roc_auc": _Recipe(RankAUC, "is_true", "output"),
    },
    "multiclass": {
        "accuracy": _Recipe(river.Accuracy, "true_class", "predicted_class"),
        "balanced_accuracy": _Recipe(river.BalancedAccuracy, "true_class", "predicted_class"),
        "macro_f1": _Recipe(river.MacroF1, "true_class", "predicted_class"),
        "weighted_f1": _Recipe(river.WeightedF1, "true_class", "predicted_class"),
        "macro_precision": _Recipe(river.MacroPrecision, "true_class", "predicted_class"),
        "macro_recall": _Recipe(river.MacroRecall, "true_class", "predicted_class"),
        "mcc": _Recipe(MultiClassMCC, "true_class", "predicted_class"),
        "cohen_kappa": _Recipe(river.CohenKappa, "true_class", "predicted_class"),
    },
    "regression": {
        "mae": _Recipe(river.MAE, "value", "output"),
        "mse": _Recipe(river.MSE, "value", "output"),
        "rmse": _Recipe(river.RMSE, "value", "output"),
        "r2": _Recipe(river.R2, "value", "output"),
    },
}
_LARGEST = 2.0**500
"""Larger numbers are skipped: the square of an error would be infinite, and River would never lose it again."""
_ANOTHER = "*another"
"""A class that is not counted separately, where the truth is another such class."""
_BINARY_DEFAULT = tuple(dict.fromkeys((*COMMON_METRICS, *RARE_METRICS)))


@dataclass
class _VersionMetrics:
    """The metrics of one version, kind and definition, and the number of records in them."""

    metrics: dict[str, Any]
    records: int = 0
    positives: int = 0
    weight: float = 0.0


@dataclass
class LiveMetrics:
    """River metrics of every version, kind and definition, over the current labels of record.

    The metrics are those of the config, or else those of the task (of binary kinds, those shown for common and for rare
    classes). River's rolling metrics and RMSLE are not among them, because their `revert` is wrong. Values that no
    metric can use (missing, infinite, probabilities outside 0 to 1) are skipped: River's sums would never lose them.

    Attributes:
        plan: the kinds, their thresholds and metrics, and the admitted classes.
    """

    plan: CellPlan
    _states: dict[tuple[str, str, str], _VersionMetrics] = field(default_factory=dict, init=False, repr=False)

    def apply(
        self,
        outcomes: pl.DataFrame,
        earlier: pl.DataFrame,
        rulings: Sequence[Ruling] = (),
        proof: Proof | None = None,
    ) -> None:
        """Update with new revisions, and revert the ones they replace.

        Equal records are one update, with their number as the weight.

        Args:
            outcomes: new revisions, in the lake's columns.
            earlier: all earlier revisions, as `monitor.cells.fold` takes them.
            rulings: about backfills, the same in every call: when they change, recreate the metrics.
            proof: as `monitor.cells.fold` takes it.
        """
        states = states_between(self.plan, *before_and_after(self.plan, outcomes, earlier, rulings, proof))
        states = states.filter(LABELLED, pl.col("replaced_at").is_null())
        self.plan = self.plan.admit_classes(states)
        for kind in self.plan.kinds:
            rows = _usable(self.plan, kind, states.filter(pl.col("kind") == kind.name))
            for (version, definition), mine in rows.group_by("version", "definition", maintain_order=True):
                self._apply_to(kind, str(version), str(definition), mine)

    def values(self) -> dict[Key, float | None]:
        """Return {(version, kind, definition, metric): value} of every version and definition that has had a label.

        A value is None without records; so are R2 of a single record, the area under the curve of a single class, and
        all but the accuracy of a kind with more classes than are counted separately.
        """
        found: dict[Key, float | None] = {}
        for (version, kind, definition), state in sorted(self._states.items()):
            one_class = state.positives in (0, state.records)
            for shown, metric in state.metrics.items():
                name = plain_name(shown)
                undefined = (name == "roc_auc" and one_class) or (name == "r2" and state.records < 2)  # noqa: PLR2004 - a spread needs two
                pooled = name != "accuracy" and OTHER in self.plan.classes.get(kind, ())
                weightless = is_by_weight(shown) and state.weight <= 0
                unknown = state.records == 0 or undefined or pooled or weightless
                found[version, kind, definition, shown] = None if unknown else float(metric.get())
        return found

    def _apply_to(self, kind: KindPlan, version: str, definition: str, rows: pl.DataFrame) -> None:
        state = self._states.setdefault((version, kind.name, definition), _VersionMetrics(_fresh(kind)))
        state.records += int(rows.get_column("sign").sum())
        if kind.task == "binary":
            state.positives += int(rows.filter("is_true").get_column("sign").sum())
        if state.records == 0:
            state.metrics, state.weight = _fresh(kind), 0.0
            return
        weighted = rows.with_columns(weight=label_weight() if kind.is_weighted else pl.lit(1.0))
        state.weight += float(weighted.select((pl.col("weight") * pl.col("sign")).sum()).item())
        for (*pair, by_weight), names in _by_columns(kind).items():
            counted = weighted if by_weight else weighted.with_columns(weight=pl.lit(1.0))
            groups = counted.group_by(*pair, "weight").agg(pl.col("sign").sum()).filter(pl.col("sign") != 0)
            # reverts come last: River's means would break if they passed through zero records on the way
            order = groups.sort("sign", *pair, "weight", descending=[True, False, False, False])
            for truth, prediction, each, count in order.filter(pl.col("weight") > 0).iter_rows():
                for name in names:
                    metric = state.metrics[name]
                    (metric.update if count > 0 else metric.revert)(truth, prediction, w=each * abs(count))


def _fresh(kind: KindPlan) -> dict[str, Any]:
    names = kind.metrics or (_BINARY_DEFAULT if kind.task == "binary" else METRICS[kind.task])
    return {name: _RECIPES[kind.task][plain_name(name)].make() for name in names}


def _by_columns(kind: KindPlan) -> dict[tuple[str, str, bool], list[str]]:
    """Return the kind's metrics by the pair of columns that they are updated with, and whether by weight."""
    found: dict[tuple[str, str, bool], list[str]] = {}
    for name in _fresh(kind):
        recipe = _RECIPES[kind.task][plain_name(name)]
        found.setdefault((recipe.truth, recipe.prediction, is_by_weight(name)), []).append(name)
    return found


def _usable(plan: CellPlan, kind: KindPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that metrics can use, with the columns that they are updated with."""
    value, output = pl.col("value"), pl.col("output")
    if kind.task == "binary":
        usable = rows.filter(is_scored())
        return usable.with_columns(
            is_true=value == 1.0,
            is_predicted=output >= kind.threshold,
        )
    if kind.task == "regression":
        return rows.filter(
            pl.all_horizontal(number.is_finite() & (number.abs() < _LARGEST) for number in (value, output))
        )
    known = plan.classes.get(kind.name, frozenset())
    columns = {"true_class": "value_class", "predicted_class": "output_class"}
    names = {name for column in columns.values() for name in rows.get_column(column).unique().drop_nulls()}
    texts = {name: text if (text := escape_class(name)) in known else OTHER for name in names}
    usable = rows.drop_nulls(list(columns.values()))
    if usable.is_empty():
        return usable.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in columns)
    known_classes = usable.with_columns(
        pl.col(column).replace_strict(list(texts), list(texts.values()), return_dtype=pl.String).alias(name)
        for name, column in columns.items()
    )
    is_hit = pl.col("value_class") == pl.col("output_class")
    is_pooled = (pl.col("true_class") == OTHER) & (pl.col("predicted_class") == OTHER)
    predicted = pl.when(is_pooled, ~is_hit).then(pl.lit(_ANOTHER)).otherwise("predicted_class")
    return known_classes.with_columns(predicted_class=predicted)
