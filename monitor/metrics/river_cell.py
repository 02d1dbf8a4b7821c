"""A cell behind River's interface: update, revert, get, and a true merge, all in whole numbers.

This module must not see frames of outcomes; it takes one record at a time, as River does. Where speed counts, fold.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import polars as pl
from river import base
from river import metrics as river

from monitor.cells.class_name import class_text, confusion_measure
from monitor.cells.fixed_point import LIMIT, LINEAR_PARTS, SQUARE_PARTS, parts_of, units_of
from monitor.cells.plan import KindPlan
from monitor.cells.scoring import LEAST_PROBABILITY, LOSS_UNIT, NO_OUTPUT
from monitor.metrics.binary import binary_values
from monitor.metrics.multiclass import multiclass_values
from monitor.metrics.regression import regression_values
from schemas.base.metric_name import METRICS

__all__ = ["CellMetric", "amounts_of"]

Amounts = dict[tuple[str, int], int]

_SMALLER_IS_BETTER = {"brier", "log_loss", "mae", "mse", "rmse"}
_VALUES = {"binary": binary_values, "multiclass": multiclass_values, "regression": regression_values}


def amounts_of(kind: KindPlan, truth: Any, said: Any) -> Amounts:  # noqa: ANN401 - River's labels are of any type
    """Return what one labelled outcome adds to the cells, as {(measure, bin): amount}; the same as `fold` counts.

    Args:
        kind: with the task, the threshold and the bins.
        truth: 0 or 1, a bool, a number, or a class, by the task.
        said: a probability, a number or a class; or probabilities by class, as River's models give them.
    """
    if kind.task == "multiclass":
        answer = max(said, key=lambda one: float(said[one]), default=None) if isinstance(said, Mapping) else said
        if truth is None or answer is None:
            return {(NO_OUTPUT, 0): 1}
        pair = confusion_measure(class_text(str(truth)), class_text(str(answer)))
        return {("labelled_scored", 0): 1, (pair, 0): 1}
    number = said.get(True, 0.0) if isinstance(said, Mapping) else said
    if truth is None or number is None:
        return {(NO_OUTPUT, 0): 1}
    of = _binary if kind.task == "binary" else _regression
    return of(kind, float(truth), float(number))


def _binary(kind: KindPlan, truth: float, score: float) -> Amounts:
    if not 0.0 <= score <= 1.0 or truth not in (0.0, 1.0):
        return {(NO_OUTPUT, 0): 1}
    clipped = min(max(score, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
    loss = -math.log(clipped if truth else 1 - clipped)
    place = sum(edge <= score for edge in kind.score_edges)
    return {
        ("labelled_scored", 0): 1,
        (f"score_{int(truth)}", place): 1,
        ("log_loss", 0): round(loss * LOSS_UNIT),
        ("brier", 0): round((score - truth) ** 2 * LOSS_UNIT),
    }


def _regression(_kind: KindPlan, truth: float, said: float) -> Amounts:
    if not (abs(truth) < LIMIT and abs(said) < LIMIT):
        return {(NO_OUTPUT, 0): 1}
    true_units = units_of(truth)
    error = true_units - units_of(said)
    sums = {
        **parts_of("error", error, LINEAR_PARTS),
        **parts_of("absolute_error", abs(error), LINEAR_PARTS),
        **parts_of("squared_error", error * error, SQUARE_PARTS),
        **parts_of("truth", true_units, LINEAR_PARTS),
        **parts_of("squared_truth", true_units * true_units, SQUARE_PARTS),
    }
    return {("labelled_scored", 0): 1, **{(name, 0): amount for name, amount in sums.items()}}


class CellMetric(river.base.Metric):
    """One metric of one kind over a cell of whole numbers, as a River metric.

    It differs from River's metric of the same name where River's would mislead: without a usable record `get` is
    not-a-number (River: 0.0), so is `roc_auc` while one class is absent, and R2 of a single record. What is not usable
    (a missing or infinite number, a probability outside 0 to 1) is counted as `no_output`, and can be reverted, but
    never enters the metric. Reverting everything leaves nothing behind. `roc_auc` treats scores of one bin as equal.
    Classes are compared as texts; `fold` tells fifty of them apart, this metric all.

    Attributes:
        kind: the kind, with its task, threshold and bins.
        name: one of the task's metrics.
        amounts: what has been counted, as {(measure, bin): amount}, without zeros.
    """

    _fmt = ".6f"

    def __init__(self, kind: KindPlan, name: str) -> None:
        if name not in METRICS[kind.task]:
            raise ValueError(f"{name!r} is no metric of a {kind.task} kind; it has {', '.join(METRICS[kind.task])}")
        self.kind = kind
        self.name = name
        self.amounts: Counter[tuple[str, int]] = Counter()

    def update(self, y_true: Any, y_pred: Any, w: float = 1) -> None:  # noqa: ANN401 - River's labels are of any type
        """Count one record, or `w` equal ones.

        Raises:
            ValueError: the weight is no whole number.
        """
        self._add(y_true, y_pred, w, 1)

    def revert(self, y_true: Any, y_pred: Any, w: float = 1) -> None:  # noqa: ANN401 - River's labels are of any type
        """Take one record back, or `w` equal ones: to the bit as if it had never been counted.

        Raises:
            ValueError: the weight is no whole number.
        """
        self._add(y_true, y_pred, w, -1)

    def get(self) -> float:
        """Return the metric's value; not-a-number where there is none."""
        rows = [
            (self.kind.name, measure, place, amount, self.kind.positive_from)
            for (measure, place), amount in self.amounts.items()
        ]
        schema = {
            "kind": pl.String,
            "measure": pl.String,
            "bin": pl.Int64,
            "amount": pl.Int64,
            "positive_from": pl.Int64,
        }
        values = _VALUES[self.kind.task](pl.DataFrame(rows, schema=schema, orient="row"), ["kind"])
        value = values.get_column(self.name)[0] if values.height else None
        return math.nan if value is None else float(value)

    def merge(self, other: Self) -> None:
        """Add what another metric has counted to this one.

        Raises:
            ValueError: the other one counts another kind, or the same with other bins.
        """
        if other.kind != self.kind:
            raise ValueError(f"cannot merge counts of {other.kind.name!r} into those of {self.kind.name!r}")
        for place, amount in other.amounts.items():
            self._grow(place, amount)

    def __add__(self, other: Any) -> Any:  # noqa: ANN401 - River's own signature
        """Return the merged metric of two of the same kind and name; of others River's container of both."""
        if isinstance(other, CellMetric) and (other.kind, other.name) == (self.kind, self.name):
            merged = type(self)(self.kind, self.name)
            merged.merge(self)
            merged.merge(other)
            return merged
        return river.base.Metrics([self, other])  # type: ignore[no-untyped-call] # River leaves it untyped

    @property
    def bigger_is_better(self) -> bool:
        """Whether a greater value is a better one."""
        return self.name not in _SMALLER_IS_BETTER

    @property
    def requires_labels(self) -> bool:
        """Whether River's tools hand in the class said, and not probabilities."""
        return self.kind.task != "binary"

    def works_with(self, model: object) -> bool:
        """Return whether River's tools may use the metric for a model."""
        return isinstance(model, base.Regressor if self.kind.task == "regression" else base.Classifier)

    def _add(self, truth: Any, said: Any, weight: float, sign: int) -> None:  # noqa: ANN401 - as `update`
        if weight != int(weight):
            raise ValueError(f"a cell holds whole numbers, and the weight is {weight}")
        for place, amount in amounts_of(self.kind, truth, said).items():
            self._grow(place, amount * int(weight) * sign)

    def _grow(self, place: tuple[str, int], amount: int) -> None:
        self.amounts[place] += amount
        if not self.amounts[place]:
            del self.amounts[place]
