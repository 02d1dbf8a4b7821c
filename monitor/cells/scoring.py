"""Scores labelled outcomes of one kind: which counter each one increments, and what it adds to exact sums."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.bins import SCORE_BINS
from monitor.cells.class_name import HITS, OTHER, PREDICTED, TRUE, unescape_class
from monitor.cells.exact_sum import FIRST_LIMB, FIRST_LIMBS, Expansion, expand
from monitor.cells.plan import CellPlan, KindPlan

__all__ = [
    "LEAST_PROBABILITY",
    "RANK_BIN",
    "SLICE_RANK_BIN",
    "WEIGHT",
    "WEIGHT_SQUARED",
    "ExactSum",
    "Scoring",
    "Target",
    "by_weight",
    "is_probability",
    "is_scored",
    "label_weight",
    "score_bin",
    "score_labels",
]

LEAST_PROBABILITY = 1e-15
"""Probabilities are clipped to this, as in River's `LogLoss`."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WEIGHT, WEIGHT_SQUARED = "weight", "weight_squared"
"""Names of the exact sums of the weights of scored labels, and of their squares."""
_WEIGHTED = "weighted_"

RANK_BIN, SLICE_RANK_BIN = "rank_bin", "slice_rank_bin"
"""Columns of the rank bins of a score: in the slice of all, and in other slices (`monitor.cells.rank_states`)."""

Target = tuple[str, str | None, int]
"""Name, class and bin of a measure."""

_NO_OUTPUT: Target = ("no_output", None, 0)
_PLACES_MAX = 9
"""Limbs of a product of three floats."""


@dataclass(frozen=True)
class ExactSum:
    """An exact sum over rows (`monitor.cells.exact_sum`), as columns of the rows.

    Attributes:
        name: of the measure.
        factors: columns that hold the first limbs of the numbers that are multiplied, from 0 for `FIRST_LIMB`.
        columns: name by place; the column at place i counts for the limb i places above the first.
    """

    name: str
    factors: tuple[str, ...]
    columns: Mapping[int, str]

    @property
    def limbs_max(self) -> int:
        """How many values `limb` of `limbs` can have."""
        return len(self.factors) * FIRST_LIMBS + _PLACES_MAX

    @property
    def first_limb(self) -> int:
        """The limb for which `limb` of `limbs` is 0."""
        return len(self.factors) * FIRST_LIMB

    def limbs(self, table: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
        """Return the columns as rows of `keys`, `limb` and `amount`; several rows may have one limb."""
        first = pl.sum_horizontal(self.factors)
        parts = [
            table.select(*keys, limb=(first + place).cast(pl.Int64), amount=column)
            for place, column in self.columns.items()
        ]
        empty = table.clear().select(*keys, limb=pl.lit(0, dtype=pl.Int64), amount=pl.lit(0, dtype=pl.Int64))
        return pl.concat([empty, *parts])


@dataclass(frozen=True)
class Scoring:
    """Labelled outcomes with what each adds to the cells.

    Attributes:
        rows: the outcomes, with `counter` (and `slice_counter`, if other slices than that of all are counted
            differently), and the columns of `sums`.
        counters_max: counters are below it. The last one is of rows that metrics cannot use, which add nothing to the
            sums; each of the others also counts as `labelled_scored`.
        targets: the measures (by name, class and bin) to which a row with this counter adds one.
        sums: over the rows that metrics can use.
    """

    rows: pl.DataFrame
    counters_max: int
    targets: Callable[[int], Sequence[Target]]
    sums: Sequence[ExactSum] = ()

    @property
    def is_usable(self) -> pl.Expr:
        """Whether metrics can use a row."""
        return pl.col("counter") != self.counters_max - 1

    @property
    def factors(self) -> dict[str, int]:
        """Columns by which rows must be grouped before `sums` are added up, with the number of their values."""
        return dict.fromkeys((factor for one in self.sums for factor in one.factors), FIRST_LIMBS)

    @property
    def columns(self) -> list[str]:
        """The columns of all sums."""
        return [column for one in self.sums for column in one.columns.values()]

    def counts(self, table: pl.DataFrame) -> tuple[pl.DataFrame, list[Target]]:
        """Return counts by counter as counts by target: each row once for every target of its counter.

        Args:
            table: with `counter`.

        Returns:
            The table with `target` instead of `counter`, and the targets, of which `target` is the index.
        """
        found = table.get_column("counter").unique().sort()
        pairs = [(counter, target) for counter in found for target in self._targets_of(counter)]
        targets = sorted({target for _, target in pairs}, key=repr)
        indexes = {target: index for index, target in enumerate(targets)}
        codes = [(counter, indexes[target]) for counter, target in pairs]
        by_counter = pl.DataFrame(codes, schema={"counter": pl.Int64(), "target": pl.Int64()}, orient="row")
        return table.join(by_counter, on="counter").drop("counter"), targets

    @property
    def weight(self) -> "ExactSum | None":
        """The sum of the weights, if they are counted."""
        return next((one for one in self.sums if one.name == WEIGHT), None)

    def _targets_of(self, counter: int) -> Sequence[Target]:
        return [_NO_OUTPUT] if counter == self.counters_max - 1 else self.targets(counter)


def score_labels(plan: CellPlan, kind: KindPlan, labelled: pl.DataFrame) -> Scoring:
    """Return labelled outcomes of a kind with what each adds to the cells, by the kind's task.

    Args:
        plan: with the admitted classes.
        kind: of all rows.
        labelled: with output, output_class, value and value_class; of a binary kind with its rank bins.
    """
    if kind.task == "binary":
        return _binary(kind, labelled)
    return _multiclass(plan, kind, labelled) if kind.task == "multiclass" else _regression(kind, labelled)


def by_weight(measure: str) -> str:
    """Return the name of the measure that counts the same by weight.

    >>> by_weight("score_1")
    'weighted_score_1'
    """
    return f"{_WEIGHTED}{measure}"


def is_scored() -> pl.Expr:
    """Return whether metrics can use an outcome of a binary kind: a probability and a class, 0 or 1; never null."""
    return is_probability(pl.col("output")) & pl.col("value").is_in([0.0, 1.0]).fill_null(value=False)


def label_weight() -> pl.Expr:
    """Return the weight of a label; one that is missing, below zero or not finite counts as 1."""
    weight = pl.col("weight")
    return pl.when(weight.is_finite() & (weight >= 0.0)).then(weight).otherwise(1.0)


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
    """Count `score_CLASS` by rank bin, and sum both losses; `score_counter` is the class and score bin, for panes."""
    output, value = pl.col("output"), pl.col("value")
    clipped = output.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    log_loss = -pl.when(value == 1.0).then(clipped).otherwise(1 - clipped).log()
    losses = {"log_loss": log_loss, "brier": (output - value) * (output - value)}
    found = labelled.select(pl.when(is_scored()).then(loss).otherwise(0.0).alias(name) for name, loss in losses.items())
    numbers = {name: expand(found.get_column(name).to_numpy()) for name in losses}
    columns = {"counter": RANK_BIN, "slice_counter": SLICE_RANK_BIN}
    bins = pl.concat(labelled.get_column(name).alias("bin") for name in columns.values()).drop_nulls().unique().sort()
    label, size = value.cast(pl.Int64, strict=False), len(bins)
    places = {name: label * size + pl.lit(bins).search_sorted(pl.col(column)) for name, column in columns.items()}
    score_counter = label * SCORE_BINS + score_bin(kind, output)
    rows = labelled.with_columns(
        pl.when(is_scored()).then(score_counter).otherwise(2 * SCORE_BINS).alias("score_counter"),
        *(
            pl.when(is_scored()).then(place).otherwise(2 * size).cast(pl.Int64).alias(name)
            for name, place in places.items()
        ),
    )
    targets = [[(f"score_{truth}", None, bin_)] for truth in (0, 1) for bin_ in bins]
    scoring = Scoring(rows, 2 * size + 1, targets.__getitem__)
    return _with_sums(kind, scoring, numbers, {name: (name,) for name in losses})


def _multiclass(plan: CellPlan, kind: KindPlan, labelled: pl.DataFrame) -> Scoring:
    """Count each class as truth, as prediction, and as both. Two different classes of `OTHER` are no hit."""
    texts = sorted(plan.classes.get(kind.name, frozenset()) | {OTHER})
    other, size = texts.index(OTHER), len(texts)
    truth, predicted = (_class_index(name, texts) for name in ("value_class", "output_class"))
    is_known = pl.col("value_class").is_not_null() & pl.col("output_class").is_not_null()
    differs = (truth == other) & (predicted == other) & (pl.col("value_class") != pl.col("output_class"))
    pair = truth * size + predicted
    counter = pl.when(~is_known).then(size * size + 1).when(differs).then(size * size).otherwise(pair)
    rows = labelled.with_columns(counter=counter)

    def targets(counter: int) -> list[Target]:
        true, predicted = (other, other) if counter == size * size else divmod(counter, size)
        hits = [HITS] if counter == true * size + predicted and true == predicted else []
        return [(TRUE, texts[true], 0), (PREDICTED, texts[predicted], 0), *((name, texts[true], 0) for name in hits)]

    return _with_sums(kind, Scoring(rows, size * size + 2, targets), {}, {})


def _class_index(column: str, texts: Sequence[str]) -> pl.Expr:
    """Return the index of a class among `texts`; that of `OTHER` for a class without a text."""
    indexes = {text: index for index, text in enumerate(texts) if text != OTHER}
    names = [unescape_class(text) for text in indexes]
    series = pl.Series(list(indexes.values()), dtype=pl.Int64)
    index = pl.lit(series).gather(pl.col(column).cast(pl.Enum(names), strict=False).to_physical())
    return index.fill_null(texts.index(OTHER))


def _regression(kind: KindPlan, labelled: pl.DataFrame) -> Scoring:
    """Sum the absolute error and its square, the truth and its square. An error is the difference of two floats."""
    numbers = [pl.col("value"), pl.col("output")]
    is_usable = pl.all_horizontal(number.is_finite().fill_null(value=False) for number in numbers)
    truth, output = (
        labelled.select(pl.when(is_usable).then(number).otherwise(0.0)).to_series().to_numpy() for number in numbers
    )
    rows = labelled.with_columns(counter=pl.when(is_usable).then(0).otherwise(1))
    terms = {
        "absolute_error": ("error",),
        "squared_error": ("error", "error"),
        "truth": ("truth",),
        "squared_truth": ("truth", "truth"),
    }
    factors = {"error": _difference(truth, output).magnitude(), "truth": expand(truth)}
    return _with_sums(kind, Scoring(rows, 2, lambda _: []), factors, terms)


def _difference(truth: Floats, output: Floats) -> Expansion:
    """Return truth minus output; where a float is too small for it, twice the difference of the halves."""
    with np.errstate(over="ignore"):
        error = truth - output
    is_too_large = np.isinf(error)
    return expand(np.where(is_too_large, truth / 2 - output / 2, error), is_too_large.astype(np.int64))


def _with_sums(
    kind: KindPlan, scoring: Scoring, numbers: Mapping[str, Expansion], terms: Mapping[str, tuple[str, ...]]
) -> Scoring:
    """Return a scoring with exact sums of products, and of the same by weight where the kind has metrics by weight.

    Args:
        numbers: by name, one number per row.
        terms: by name of a sum, the names of the numbers that are multiplied.
    """
    if kind.is_weighted:
        weights = scoring.rows.select(label_weight()).to_series().to_numpy()
        weighted = {by_weight(name): (WEIGHT, *factors) for name, factors in terms.items()}
        numbers = {**numbers, WEIGHT: expand(weights)}
        terms = {**terms, WEIGHT: (WEIGHT,), WEIGHT_SQUARED: (WEIGHT, WEIGHT), **weighted}
    columns: dict[str, Ints] = {}
    sums = []
    for name, factors in terms.items():
        number = numbers[factors[0]]
        for factor in factors[1:]:
            number = number.times(numbers[factor])
        limbs = {place: limb for place, limb in enumerate(number.limbs()) if limb.any()}
        columns |= {f"{name}:{place}": limb for place, limb in limbs.items()}
        columns |= {f"first:{factor}": numbers[factor].first - FIRST_LIMB for factor in factors}
        names = {place: f"{name}:{place}" for place in limbs}
        sums.append(ExactSum(name, tuple(f"first:{factor}" for factor in factors), names))
    rows = scoring.rows.with_columns(pl.Series(name, values) for name, values in columns.items())
    return replace(scoring, rows=rows, sums=sums)
