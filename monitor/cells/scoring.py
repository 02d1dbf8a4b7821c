"""What a labelled outcome says of the model: the measure it adds one to, and losses as whole numbers.

This module must not look at cohorts, ages or slices; it sees one kind's rows at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from monitor.cells.bins import SCORE_BINS
from monitor.cells.class_name import OTHER, class_text, confusion_measure
from monitor.cells.fixed_point import LIMIT, LINEAR_PARTS, SQUARE_PARTS, parts, units
from monitor.cells.plan import CellPlan, KindPlan

__all__ = ["LEAST_PROBABILITY", "LOSS_UNIT", "NO_OUTPUT", "Scoring", "is_probability", "score_bin", "scored"]

LOSS_UNIT = 2.0**32
"""Losses are summed as whole numbers of 2^-32. A day's cell holds 9.2e18 of them: 62 million rows at the
greatest log loss there is (34.5), four thousand million at 0.5."""

NO_OUTPUT = "no_output"
LEAST_PROBABILITY = 1e-15
"""River clips probabilities so in `LogLoss`."""


@dataclass(frozen=True)
class Scoring:
    """Labelled outcomes with what they add to the cells.

    Attributes:
        rows: the outcomes, with `point`, a place in `points`, and one column of whole numbers per name in `sums`.
        points: measure and bin that a row of this point adds one to. The last is (`NO_OUTPUT`, 0): rows outside
            the metrics, whose sums are 0.
        sums: measures that are summed.
    """

    rows: pl.DataFrame
    points: Sequence[tuple[str, int]]
    sums: Sequence[str]


def scored(plan: CellPlan, kind: KindPlan, labelled: pl.DataFrame) -> Scoring:
    """Return what labelled outcomes of a kind add, by its task.

    Args:
        plan: with the classes that are told apart.
        kind: of all rows.
        labelled: with output, output_class, value and value_class.
    """
    if kind.task == "binary":
        return _binary(kind, labelled)
    return _multiclass(plan, kind, labelled) if kind.task == "multiclass" else _regression(labelled)


def is_probability(output: pl.Expr) -> pl.Expr:
    """Return whether an output is a number from 0 to 1; never null."""
    return output.is_between(0.0, 1.0).fill_null(value=False)


def score_bin(kind: KindPlan, output: pl.Expr) -> pl.Expr:
    """Return the score bin of a probability."""
    edges = pl.lit(pl.Series(kind.score_edges, dtype=pl.Float64))
    return edges.search_sorted(output, side="right").cast(pl.Int64)


def _binary(kind: KindPlan, labelled: pl.DataFrame) -> Scoring:
    """Add one to `score_CLASS` in its bin, and both losses."""
    output, value = pl.col("output"), pl.col("value")
    usable = is_probability(output) & value.is_in([0.0, 1.0]).fill_null(value=False)
    clipped = output.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    log_loss = -pl.when(value == 1.0).then(clipped).otherwise(1 - clipped).log()
    losses = {"log_loss": log_loss, "brier": (output - value) ** 2}
    place = value.cast(pl.Int64, strict=False) * SCORE_BINS + score_bin(kind, output)
    rows = labelled.with_columns(
        pl.when(usable).then(place).otherwise(2 * SCORE_BINS).alias("point"),
        *(
            pl.when(usable).then((loss * LOSS_UNIT).round(mode="half_to_even")).otherwise(0).cast(pl.Int64).alias(name)
            for name, loss in losses.items()
        ),
    )
    points = [(f"score_{truth}", place) for truth in (0, 1) for place in range(SCORE_BINS)]
    return Scoring(rows, [*points, (NO_OUTPUT, 0)], tuple(losses))


def _multiclass(plan: CellPlan, kind: KindPlan, labelled: pl.DataFrame) -> Scoring:
    """Add one to the pair of true and said class.

    Two classes that are both "other" are in bin 0 if they are the same class, in bin 1 if not.
    """
    texts = sorted(plan.classes.get(kind.name, frozenset()) | {OTHER})
    other, size = texts.index(OTHER), len(texts)
    truth, said = (_class_number(name, texts) for name in ("value_class", "output_class"))
    is_known = pl.col("value_class").is_not_null() & pl.col("output_class").is_not_null()
    differs = (truth == other) & (said == other) & (pl.col("value_class") != pl.col("output_class"))
    point = pl.when(~is_known).then(size * size + 1).when(differs).then(size * size).otherwise(truth * size + said)
    points = [(confusion_measure(one, another), 0) for one in texts for another in texts]
    rows = labelled.with_columns(point=point)
    return Scoring(rows, [*points, (confusion_measure(OTHER, OTHER), 1), (NO_OUTPUT, 0)], ())


def _class_number(column: str, texts: Sequence[str]) -> pl.Expr:
    """Return the place of a class among `texts`, that of `OTHER` where it is none of them."""
    names = {text: place for place, text in enumerate(texts) if text != OTHER}
    real = [text if class_text(text) == text else text[1:] for text in names]
    places = pl.Series(list(names.values()), dtype=pl.Int64)
    number = pl.lit(places).gather(pl.col(column).cast(pl.Enum(real), strict=False).to_physical())
    return number.fill_null(texts.index(OTHER))


def _regression(labelled: pl.DataFrame) -> Scoring:
    """Add the error, its size and square, the truth and its square, to the last bit of 2^-32."""
    value, output = pl.col("value"), pl.col("output")
    usable = pl.all_horizontal(
        (one.is_finite() & (one.abs() < LIMIT)).fill_null(value=False) for one in (value, output)
    )
    truth = pl.when(usable).then(units(pl.when(usable).then(value).otherwise(0.0))).otherwise(0)
    said = pl.when(usable).then(units(pl.when(usable).then(output).otherwise(0.0))).otherwise(0)
    error, wide_error, wide_truth = pl.col("error"), pl.col("error").cast(pl.Int128), pl.col("truth").cast(pl.Int128)
    sums = {
        **parts("error", error, LINEAR_PARTS),
        **parts("absolute_error", error.abs(), LINEAR_PARTS),
        **parts("squared_error", wide_error * wide_error, SQUARE_PARTS),
        **parts("truth", pl.col("truth"), LINEAR_PARTS),
        **parts("squared_truth", wide_truth * wide_truth, SQUARE_PARTS),
    }
    found = labelled.lazy().with_columns(truth=truth, error=truth - said, point=pl.when(usable).then(0).otherwise(1))
    rows = found.with_columns(value.alias(name) for name, value in sums.items()).collect()
    return Scoring(rows, [("labelled_scored", 0), (NO_OUTPUT, 0)], tuple(sums))
