"""Histogram bins of one input: a feature of the contract, or the model's output.

Bins follow from the config alone, never from data, so counts of any two days can be added and compared.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from xxhash import xxh3_64_intdigest

from monitor.cells.bins import SCORE_BINS, score_edges
from schemas.config.prediction import FeatureConfig, OutputConfig

__all__ = ["ABOVE", "BELOW", "COUNT_SCHEMA", "MISSING", "NOT_FINITE", "UNSEEN", "Histogram"]

BELOW = -1
"""A number below the contract's min, or a score below 0."""
ABOVE = -2
"""A number above the contract's max, or a score above 1."""
MISSING = -3
"""No value."""
UNSEEN = -4
"""A text that is not among the contract's categories."""
NOT_FINITE = -5
"""NaN or infinite."""

COUNT_SCHEMA = pl.Schema({"input": pl.String(), "day": pl.Date(), "bin": pl.Int64(), "amount": pl.Int64()})
"""Counts of one model version: for each input, day and bin, how many values fell into it."""

_EQUAL_BINS = 128
_HASH_BINS = 64
"""Enough to see the share of a single text, and few enough to keep for every day."""

_FORMAT = 1
"""Incremented when the same values would fall into other bins under the same config."""
_THRESHOLD = 0.5
_GROWTH = 1.02
"""Each logarithmic bin is 2 % wider than the one before it."""
_SIZE_MIN, _SIZE_MAX = 1e-9, 1e15
"""Absolute values beyond these share the outermost bins, which bounds the number of bins."""
_EPSILON = 1e-9
"""Moves logarithmic edges off round numbers, which the last bit of a platform's `log` would put into either bin."""

_STEP_MIN = math.ceil(math.log(_SIZE_MIN) / math.log(_GROWTH) - _EPSILON)
_STEP_MAX = math.ceil(math.log(_SIZE_MAX) / math.log(_GROWTH) - _EPSILON)
_SIDE = _STEP_MAX - _STEP_MIN + 1
"""Logarithmic bins on either side of zero; also the number of the bin of zero."""
_TEXTS_REPEAT = 4
"""Rows per distinct text from which hashing only the distinct texts is faster."""

Scale = Literal["equal", "logarithmic", "score", "category", "hash", "flag"]


@dataclass(frozen=True)
class Histogram:
    """Maps the values of one input to bins: numbered from 0 in the order of values, negative for special bins.

    Make one with `Histogram.from_feature` or `Histogram.from_output`. The scales:

    - `equal`: a number with both limits: 128 bins of equal width between them, the limits included.
    - `logarithmic`: any other number: bins that widen by 2 % on either side of zero, and one for zero. Values that
      differ by less than 2 % may share a bin; a contract with both limits gives a finer view.
    - `score`: the output of a binary kind: the 64 bins of `monitor.cells.bins.score_edges`.
    - `category`: the index among the contract's categories. `flag`: 0 for false, 1 for true.
    - `hash`: any other text: one of 64 bins by XXH3, the same on every machine.

    Attributes:
        name: of the input.
        scale: see above.
        low: minimum of the contract, -inf without one.
        high: maximum of the contract, inf without one.
        edges: inner edges of the score bins; empty for other scales.
        categories: of the contract; empty for other scales.

    >>> amount = Histogram("amount", "equal", low=0.0, high=128.0)
    >>> rows = pl.DataFrame({"amount": [0.5, 64.0, 500.0, None]})
    >>> rows.select(amount.bin_expr("amount")).to_series().to_list() == [0, 64, ABOVE, MISSING]
    True
    """

    name: str
    scale: Scale
    low: float = -math.inf
    high: float = math.inf
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @classmethod
    def from_feature(cls, name: str, config: FeatureConfig) -> "Histogram":
        """Return the bins of a feature, by its type and limits in the contract."""
        if config.type == "bool":
            return cls(name, "flag")
        if config.type == "string":
            categories = tuple(config.categories or ())
            return cls(name, "category" if categories else "hash", categories=categories)
        low = -math.inf if config.min is None else config.min
        high = math.inf if config.max is None else config.max
        return cls(name, "equal" if math.isfinite(high - low) else "logarithmic", low=low, high=high)

    @classmethod
    def from_output(cls, name: str, config: OutputConfig) -> "Histogram":
        """Return the bins of the model's output for one label kind."""
        if config.task == "binary":
            edges, _ = score_edges(_THRESHOLD if config.threshold is None else config.threshold)
            return cls(name, "score", low=0.0, high=1.0, edges=edges)
        return cls(name, "logarithmic" if config.task == "regression" else "hash")

    @property
    def is_numeric(self) -> bool:
        """Whether values are numbers: their bins are ordered and have centres, and `NOT_FINITE` can occur."""
        return self.scale in {"equal", "logarithmic", "score"}

    @property
    def special_bins(self) -> tuple[int, ...]:
        """The special bins that values of this input can fall into."""
        if not self.is_numeric:
            return (MISSING, UNSEEN) if self.scale == "category" else (MISSING,)
        below = (BELOW,) if math.isfinite(self.low) else ()
        above = (ABOVE,) if math.isfinite(self.high) else ()
        return (*below, *above, MISSING, NOT_FINITE)

    @property
    def digest(self) -> str:
        """A digest that changes when counts in these bins can no longer be added to those counted before."""
        limits = [repr(self.low), repr(self.high)]
        document = json.dumps([_FORMAT, self.scale, limits, self.edges, self.categories])
        return hashlib.sha256(document.encode()).hexdigest()[:32]

    def bin_expr(self, column: str) -> pl.Expr:
        """Return the bin of each value of a column, as Int64 without nulls.

        The column has the contract's type: numbers, texts (also categorical) or booleans, with nulls.
        """
        value = pl.col(column)
        if self.is_numeric:
            return self._numeric(value.cast(pl.Float64))
        if self.scale == "flag":
            return value.cast(pl.Boolean).cast(pl.Int64).fill_null(MISSING)
        text = value.cast(pl.String)
        if self.scale == "hash":
            return text.map_batches(_hashed, return_dtype=pl.Int64, is_elementwise=True)
        index = text.cast(pl.Enum(self.categories), strict=False).to_physical().cast(pl.Int64)
        return pl.when(text.is_null()).then(MISSING).otherwise(index.fill_null(UNSEEN))

    def centres(self, bins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the middle of each bin, in the input's unit; NaN for special bins.

        Raises:
            ValueError: the input is not numeric.

        >>> Histogram("amount", "equal", low=0.0, high=128.0).centres(np.array([0, 127, MISSING]))
        array([  0.5, 127.5,   nan])
        """
        if not self.is_numeric:
            raise ValueError(f"{self.name} has no centres: its bins are of scale {self.scale}")
        if self.scale == "equal":
            middles = self.low + (bins + 0.5) * ((self.high - self.low) / _EQUAL_BINS)
        elif self.scale == "score":
            edges = np.asarray([0.0, *self.edges, 1.0])
            inner = np.clip(bins, 0, SCORE_BINS - 1)
            middles = (edges[inner] + edges[inner + 1]) / 2
        else:
            steps = np.abs(bins - _SIDE) + _STEP_MIN - 1
            sizes = np.power(_GROWTH, steps.astype(np.float64)) * ((1 + 1 / _GROWTH) / 2)
            middles = np.sign(bins - _SIDE) * sizes
        return np.where(bins < 0, np.nan, middles)

    def _numeric(self, value: pl.Expr) -> pl.Expr:
        if self.scale == "equal":
            bin_ = _equal(value, self.low, self.high)
        elif self.scale == "score":
            bin_ = pl.lit(pl.Series(self.edges, dtype=pl.Float64)).search_sorted(value, side="right").cast(pl.Int64)
        else:
            bin_ = _logarithmic(value)
        return (
            pl.when(value.is_null())
            .then(MISSING)
            .when(~value.is_finite())
            .then(NOT_FINITE)
            .when(value < self.low)
            .then(BELOW)
            .when(value > self.high)
            .then(ABOVE)
            .otherwise(bin_)
            .cast(pl.Int64)
        )


def _equal(value: pl.Expr, low: float, high: float) -> pl.Expr:
    """Return the bin of equal width between the limits; with equal limits, all values are in bin 0."""
    if high == low:
        return pl.lit(0)
    return _whole((value - low) / (high - low) * _EQUAL_BINS, 0, _EQUAL_BINS - 1)


def _logarithmic(value: pl.Expr) -> pl.Expr:
    size = value.abs().clip(_SIZE_MIN, _SIZE_MAX)
    step = _whole((size.log() / math.log(_GROWTH) - _EPSILON).ceil(), _STEP_MIN, _STEP_MAX)
    return value.sign().cast(pl.Int64, strict=False) * (step - (_STEP_MIN - 1)) + _SIDE


def _whole(number: pl.Expr, least: int, greatest: int) -> pl.Expr:
    """Round towards zero, within limits; NaN and infinities become null, and the caller gives them their own bin."""
    return number.clip(least, greatest).cast(pl.Int64, strict=False)


def _hashed(texts: pl.Series) -> pl.Series:
    """Return the bin of each text. Polars' own hash would be faster, but changes between its versions."""
    distinct = texts.unique().drop_nulls()
    if len(distinct) * _TEXTS_REPEAT > len(texts):
        return _hash_bins(texts).zip_with(texts.is_not_null(), pl.Series([MISSING], dtype=pl.Int64))
    if distinct.is_empty():
        return pl.Series(texts.name, [MISSING] * len(texts), dtype=pl.Int64)
    return texts.replace_strict(distinct, _hash_bins(distinct), default=MISSING, return_dtype=pl.Int64)


def _hash_bins(texts: pl.Series) -> pl.Series:
    """Return the bin of each text; a null gets the bin of an empty text."""
    numbers = map(xxh3_64_intdigest, texts.cast(pl.Binary).fill_null(b"").to_list())
    return (pl.Series(numbers, dtype=pl.UInt64) % _HASH_BINS).cast(pl.Int64)
