"""Live River metrics of each version of the loop: updated with every label, reverted with every correction.

They say what has arrived, no more: how far it can be trusted is for `monitor.metrics.table` to say. This module must
not keep anything between processes (rebuild by applying the lake's outcomes), nor look at slices.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from river import metrics as river

from monitor.cells.bins import SCORE_BINS
from monitor.cells.class_name import OTHER, class_text
from monitor.cells.fixed_point import LIMIT
from monitor.cells.of_record import of_record
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.revisions import LABELLED, states_of
from monitor.cells.scoring import is_probability, score_bin
from schemas.base.metric_name import COMMON_METRICS, METRICS, RARE_METRICS
from schemas.events.backfill import Ruling

__all__ = ["LiveMetrics", "MultiClassMCC"]

Key = tuple[str, str, str]


class MultiClassMCC(river.base.MultiClassMetric):
    """Matthews correlation coefficient of any number of classes (Gorodkin's R_K), over River's confusion matrix.

    River's own is for two classes. 0.0 where one class is all that was seen or said.
    """

    _fmt = ".6f"

    def get(self) -> float:
        """Return the coefficient."""
        matrix, n = self.cm, self.cm.total_weight
        seen, said = ([float(sums[name]) for name in matrix.classes] for sums in (matrix.sum_row, matrix.sum_col))
        margins = [n * n - sum(one * one for one in sums) for sums in (seen, said)]
        if min(margins) <= 0:
            return 0.0
        by_chance = sum(one * another for one, another in zip(seen, said, strict=True))
        return float((matrix.total_true_positives * n - by_chance) / (math.sqrt(margins[0]) * math.sqrt(margins[1])))


def _area() -> Any:  # noqa: ANN401 - River ships no types
    """Return River's area under the curve with a threshold between any two score bins.

    It is fed the place of a score among the bins, which keeps their order: River's own grid of ten thresholds is
    even in the probability, and misses nearly everything where positives are rare. Its price is 65 confusion
    matrices, about 100 kB for a version, and 65 updates for each group of equal records.
    """
    return river.ROCAUC(n_thresholds=SCORE_BINS + 1)  # type: ignore[no-untyped-call] # River leaves it untyped


@dataclass(frozen=True)
class _Recipe:
    """A River metric and the columns it is fed."""

    make: Callable[[], Any]
    truth: str
    said: str


_RECIPES: Mapping[str, Mapping[str, _Recipe]] = {
    "binary": {
        "accuracy": _Recipe(river.Accuracy, "is_true", "is_said"),
        "balanced_accuracy": _Recipe(river.BalancedAccuracy, "is_true", "is_said"),
        "brier": _Recipe(river.MSE, "value", "output"),
        "f1": _Recipe(river.F1, "is_true", "is_said"),
        "log_loss": _Recipe(river.LogLoss, "is_true", "output"),
        "mcc": _Recipe(river.MCC, "is_true", "is_said"),
        "precision": _Recipe(river.Precision, "is_true", "is_said"),
        "recall": _Recipe(river.Recall, "is_true", "is_said"),
        "roc_auc": _Recipe(_area, "is_true", "rank"),
    },
    "multiclass": {
        "accuracy": _Recipe(river.Accuracy, "truth", "answer"),
        "balanced_accuracy": _Recipe(river.BalancedAccuracy, "truth", "answer"),
        "macro_f1": _Recipe(river.MacroF1, "truth", "answer"),
        "weighted_f1": _Recipe(river.WeightedF1, "truth", "answer"),
        "macro_precision": _Recipe(river.MacroPrecision, "truth", "answer"),
        "macro_recall": _Recipe(river.MacroRecall, "truth", "answer"),
        "mcc": _Recipe(MultiClassMCC, "truth", "answer"),
        "cohen_kappa": _Recipe(river.CohenKappa, "truth", "answer"),
    },
    "regression": {
        "mae": _Recipe(river.MAE, "value", "output"),
        "mse": _Recipe(river.MSE, "value", "output"),
        "rmse": _Recipe(river.RMSE, "value", "output"),
        "r2": _Recipe(river.R2, "value", "output"),
    },
}
_BINARY_DEFAULT = tuple(dict.fromkeys((*COMMON_METRICS, *RARE_METRICS)))


@dataclass
class _Standing:
    """The metrics of one version and kind, and how many records they hold."""

    metrics: dict[str, Any]
    records: int = 0
    positives: int = 0


@dataclass
class LiveMetrics:
    """River metrics of every version and kind, each over the labels of the kind's own definition that are there now.

    Which metrics: those of the config; where it lists none, those of the task, and of binary kinds those that are
    shown for common or for rare classes. None of River's rolling metrics and no RMSLE is among them: their `revert` is
    wrong. Values that no metric can use (missing, infinite, probabilities outside 0 to 1) never enter: one of
    them would stay in River's sums for ever.

    Attributes:
        plan: the kinds, their thresholds and metrics.
    """

    plan: CellPlan
    _standings: dict[tuple[str, str], _Standing] = field(default_factory=dict, init=False, repr=False)

    def apply(self, outcomes: pl.DataFrame, earlier: pl.DataFrame, rulings: Sequence[Ruling] = ()) -> None:
        """Update with new revisions, and revert what they replace.

        Equal records go in together, with their number as the weight.

        Args:
            outcomes: new revisions, in the lake's columns.
            earlier: all earlier revisions of the chains in `outcomes`.
            rulings: about backfills, the same every time: when they change, begin anew.
        """
        counting = [of_record(rows, self.plan.definitions, rulings) for rows in (outcomes, earlier)]
        states = states_of(self.plan, *counting).filter(LABELLED)
        self.plan = self.plan.admitting_classes(states)
        for kind in self.plan.kinds:
            own = (pl.col("kind") == kind.name) & (pl.col("definition") == kind.definition)
            rows = _usable(self.plan, kind, states.filter(own))
            for (version,), mine in rows.group_by("version", maintain_order=True):
                self._apply_to(kind, str(version), mine)

    def values(self) -> dict[Key, float | None]:
        """Return {(version, kind, metric): value} of every version that has had a label; None where nothing is known.

        R2 of a single record and the area under the curve with a single class are None too.
        """
        found: dict[Key, float | None] = {}
        for (version, kind), standing in sorted(self._standings.items()):
            one_class = standing.positives in (0, standing.records)
            for name, metric in standing.metrics.items():
                undefined = (name == "roc_auc" and one_class) or (name == "r2" and standing.records < 2)  # noqa: PLR2004 - a spread needs two
                unknown = standing.records == 0 or undefined
                found[version, kind, name] = None if unknown else float(metric.get())
        return found

    def _apply_to(self, kind: KindPlan, version: str, rows: pl.DataFrame) -> None:
        standing = self._standings.setdefault((version, kind.name), _Standing(_fresh(kind)))
        standing.records += int(rows.get_column("sign").sum())
        if kind.task == "binary":
            standing.positives += int(rows.filter("is_true").get_column("sign").sum())
        if standing.records == 0:
            standing.metrics = _fresh(kind)
            return
        for pair, names in _by_columns(kind).items():
            groups = rows.group_by(pair).agg(pl.col("sign").sum()).filter(pl.col("sign") != 0)
            # what is taken back comes last: River's means must not pass through nothing on the way
            for truth, said, weight in groups.sort("sign", *pair, descending=[True, False, False]).iter_rows():
                for name in names:
                    metric = standing.metrics[name]
                    (metric.update if weight > 0 else metric.revert)(truth, said, w=abs(weight))


def _fresh(kind: KindPlan) -> dict[str, Any]:
    names = kind.metrics or (_BINARY_DEFAULT if kind.task == "binary" else METRICS[kind.task])
    return {name: _RECIPES[kind.task][name].make() for name in names}


def _by_columns(kind: KindPlan) -> dict[tuple[str, str], list[str]]:
    """Return the kind's metrics by the columns that they are fed."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in _fresh(kind):
        recipe = _RECIPES[kind.task][name]
        found.setdefault((recipe.truth, recipe.said), []).append(name)
    return found


def _usable(plan: CellPlan, kind: KindPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that metrics can use, with the columns that they are fed."""
    value, output = pl.col("value"), pl.col("output")
    if kind.task == "binary":
        usable = rows.filter(is_probability(output), value.is_in([0.0, 1.0]))
        return usable.with_columns(
            is_true=value == 1.0,
            is_said=output >= kind.threshold,
            rank=(score_bin(kind, output) + 0.5) / SCORE_BINS,
        )
    if kind.task == "regression":
        return rows.filter(pl.all_horizontal(one.is_finite() & (one.abs() < LIMIT) for one in (value, output)))
    known = plan.classes.get(kind.name, frozenset())
    columns = {"truth": "value_class", "answer": "output_class"}
    names = {name for column in columns.values() for name in rows.get_column(column).unique().drop_nulls()}
    texts = {name: text if (text := class_text(name)) in known else OTHER for name in names}
    usable = rows.drop_nulls(list(columns.values()))
    if usable.is_empty():
        return usable.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in columns)
    return usable.with_columns(
        pl.col(column).replace_strict(list(texts), list(texts.values()), return_dtype=pl.String).alias(name)
        for name, column in columns.items()
    )
