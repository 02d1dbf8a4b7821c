"""Scores labelled outcomes of one kind: which counter each one increments, and its losses as integers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import polars as pl

from monitor.cells.bins import SCORE_BINS
from monitor.cells.class_name import OTHER, confusion_measure, escape_class
from monitor.cells.fixed_point import LIMIT, LINEAR_PARTS, SQUARE_PARTS, split_parts, to_units
from monitor.cells.plan import CellPlan, KindPlan

__all__ = ["LEAST_PROBABILITY", "LOSS_UNIT", "Scoring", "is_probability", "score_bin", "score_labels"]

LOSS_UNIT = 2.0**32
"""Losses are summed as integers in units of 2^-32. A day's cell holds 9.2e18 of them: 62 million rows at the greatest
log loss there is (34.5), four thousand million at 0.5."""

LEAST_PROBABILITY = 1e-15
"""Probabilities are clipped to this, as in River's `LogLoss`."""

_NO_OUTPUT = "no_output"


@dataclass(frozen=True)
class Scoring:
    """Labelled outcomes with what each adds to the cells.

    Attributes:
        rows: the outcomes, with `counter`, an index into `counters`, and one integer column per name in `sums`.
        counters: (measure, bin) of each counter; a row adds one to its counter. The last counter is `no_output`: rows
            that metrics cannot use, whose sums are 0.
        sums: measures that are summed over rows.
    """

    rows: pl.DataFrame
    counters: Sequence[tuple[str, int]]
    sums: Sequence[str]


def score_labels(plan: CellPlan, kind: KindPlan, labelled: pl.DataFrame) -> Scoring:
    """Return labelled outcomes of a kind with what each adds to the cells, by the kind's task.

    Args:
        plan: with the admitted classes.
        kind: of all rows.
        labelled: with output, output_class, value and value_class.
    """
    if kind.task == "binary":
        return _binary(kind, labelled)
    return _multiclass(plan, kind, labelled) if kind.task == "multiclass" else _regression(labelled)


def is_probability(output: pl.Expr) -> pl.Expr:
    """Return whether an output is a number from 0 to 1; never null.

    >>> pl.DataFrame({"output": [0.5, 1.5, None]}).select(is_probability(pl.col("output"))).to_series().to_list()
    [True, False, False]
    """
    return output.is_between(0.0, 1.0).fill_null(value=False)


def score_bin(kind: KindPlan, output: pl.Expr) -> pl.Expr:
    """Return the score bin of a probability: the number of the kind's edges at or below it."""
    edges = pl.lit(pl.Series(kind.score_edges, dtype=pl.Float64))
    return edges.search_sorted(output, side="right").cast(pl.Int64)


def _binary(kind: KindPlan, labelled: pl.DataFrame) -> Scoring:
    """Count `score_CLASS` by score bin, and sum both losses."""
    output, value = pl.col("output"), pl.col("value")
    is_usable = is_probability(output) & value.is_in([0.0, 1.0]).fill_null(value=False)
    clipped = output.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    log_loss = -pl.when(value == 1.0).then(clipped).otherwise(1 - clipped).log()
    losses = {"log_loss": log_loss, "brier": (output - value) ** 2}
    counter = value.cast(pl.Int64, strict=False) * SCORE_BINS + score_bin(kind, output)
    rows = labelled.with_columns(
        pl.when(is_usable).then(counter).otherwise(2 * SCORE_BINS).alias("counter"),
        *(
            pl.when(is_usable)
            .then((loss * LOSS_UNIT).round(mode="half_to_even"))
            .otherwise(0)
            .cast(pl.Int64)
            .alias(name)
            for name, loss in losses.items()
        ),
    )
    counters = [(f"score_{truth}", bin_) for truth in (0, 1) for bin_ in range(SCORE_BINS)]
    return Scoring(rows, [*counters, (_NO_OUTPUT, 0)], tuple(losses))


def _multiclass(plan: CellPlan, kind: KindPlan, labelled: pl.DataFrame) -> Scoring:
    """Count the pair of true and predicted class.

    A pair of `OTHER` is in bin 0 if both are the same class, in bin 1 if not.
    """
    texts = sorted(plan.classes.get(kind.name, frozenset()) | {OTHER})
    other, size = texts.index(OTHER), len(texts)
    truth, predicted = (_class_index(name, texts) for name in ("value_class", "output_class"))
    is_known = pl.col("value_class").is_not_null() & pl.col("output_class").is_not_null()
    differs = (truth == other) & (predicted == other) & (pl.col("value_class") != pl.col("output_class"))
    pair = truth * size + predicted
    counter = pl.when(~is_known).then(size * size + 1).when(differs).then(size * size).otherwise(pair)
    counters = [(confusion_measure(*pair), 0) for pair in product(texts, texts)]
    rows = labelled.with_columns(counter=counter)
    return Scoring(rows, [*counters, (confusion_measure(OTHER, OTHER), 1), (_NO_OUTPUT, 0)], ())


def _class_index(column: str, texts: Sequence[str]) -> pl.Expr:
    """Return the index of a class among `texts`; that of `OTHER` for a class without a text."""
    indexes = {text: index for index, text in enumerate(texts) if text != OTHER}
    names = [text if escape_class(text) == text else text[1:] for text in indexes]
    series = pl.Series(list(indexes.values()), dtype=pl.Int64)
    index = pl.lit(series).gather(pl.col(column).cast(pl.Enum(names), strict=False).to_physical())
    return index.fill_null(texts.index(OTHER))


def _regression(labelled: pl.DataFrame) -> Scoring:
    """Sum the error, its absolute value and square, the truth and its square, exactly in units of 2^-32."""
    value, output = pl.col("value"), pl.col("output")
    is_usable = pl.all_horizontal(
        (number.is_finite() & (number.abs() < LIMIT)).fill_null(value=False) for number in (value, output)
    )
    truth = pl.when(is_usable).then(to_units(pl.when(is_usable).then(value).otherwise(0.0))).otherwise(0)
    predicted = pl.when(is_usable).then(to_units(pl.when(is_usable).then(output).otherwise(0.0))).otherwise(0)
    error, wide_error, wide_truth = pl.col("error"), pl.col("error").cast(pl.Int128), pl.col("truth").cast(pl.Int128)
    sums = {
        **split_parts("error", error, LINEAR_PARTS),
        **split_parts("absolute_error", error.abs(), LINEAR_PARTS),
        **split_parts("squared_error", wide_error * wide_error, SQUARE_PARTS),
        **split_parts("truth", pl.col("truth"), LINEAR_PARTS),
        **split_parts("squared_truth", wide_truth * wide_truth, SQUARE_PARTS),
    }
    counter = pl.when(is_usable).then(0).otherwise(1)
    found = labelled.lazy().with_columns(truth=truth, error=truth - predicted, counter=counter)
    rows = found.with_columns(value.alias(name) for name, value in sums.items()).collect()
    return Scoring(rows, [("labelled_scored", 0), (_NO_OUTPUT, 0)], tuple(sums))
