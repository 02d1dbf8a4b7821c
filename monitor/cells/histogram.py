"""The fixed bins that the values of one input are counted in: a feature of the contract, or the model's output.

Bins follow from the config alone, never from data, so that counts of any two days can be added and compared.
This module must not count, nor compare.
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
from schemas.config.loop import FeatureConfig, OutputConfig

__all__ = ["ABOVE", "BELOW", "COUNT_SCHEMA", "EQUAL_BINS", "HASH_BINS", "MISSING", "NOT_FINITE", "UNSEEN", "Histogram"]

BELOW = -1
"""A number below the contract's min, or a score below 0."""
ABOVE = -2
"""A number above the contract's max, or a score above 1."""
MISSING = -3
"""No value."""
UNSEEN = -4
"""A text that is none of the contract's categories."""
NOT_FINITE = -5
"""Not a number, or infinite."""

COUNT_SCHEMA = pl.Schema({"input": pl.String(), "day": pl.Date(), "bin": pl.Int64(), "amount": pl.Int64()})
"""What the counts of one model version look like: of each input and day, how many values fell into each bin."""

EQUAL_BINS = 128
HASH_BINS = 64
"""Enough that one text's share is seen by itself, and few enough to be kept for every day."""

_FORMAT = 1
"""Grows when the same values would fall into other bins under the same config."""
_THRESHOLD = 0.5
_GROWTH = 1.02
"""Each logarithmic bin is 2 % wider than the one before it."""
_LEAST_SIZE, _GREATEST_SIZE = 1e-9, 1e15
"""Sizes beyond these share the last bins, so that there is an end to bins."""
_HAIR = 1e-9
"""Moves logarithmic edges off the numbers that people write, where the last bit of a platform's `log` decides."""

_LEAST_STEP = math.ceil(math.log(_LEAST_SIZE) / math.log(_GROWTH) - _HAIR)
_GREATEST_STEP = math.ceil(math.log(_GREATEST_SIZE) / math.log(_GROWTH) - _HAIR)
_SIDE = _GREATEST_STEP - _LEAST_STEP + 1
"""Logarithmic bins on either side of zero; zero itself has this number."""
_TEXTS_REPEAT = 4
"""From this many rows for each distinct text, finding the distinct ones pays."""

Scale = Literal["equal", "logarithmic", "score", "category", "hash", "flag"]


@dataclass(frozen=True)
class Histogram:
    """How the values of one input fall into bins: numbers from 0 in their order, negative ones for special bins.

    Make one with `Histogram.from_feature` or `Histogram.from_output`. The scales:

    - `equal`: a number with both limits: 128 equally wide bins between them, the limits included.
    - `logarithmic`: any other number: bins growing by 2 % on either side of zero, zero by itself. Values that
      differ by less than 2 % of their size are one value here; a contract with both limits sees more.
    - `score`: the output of a binary kind: the 64 bins of `monitor.cells.bins.score_edges`.
    - `category`: the place among the contract's categories. `flag`: 0 for false, 1 for true.
    - `hash`: any other text: one of 64 bins by XXH3, the same on every machine.

    Attributes:
        name: of the input.
        scale: see above.
        low: the least value of the contract, -inf where there is none.
        high: the greatest value of the contract, inf where there is none.
        edges: inner edges of the score bins; empty for other scales.
        categories: empty for other scales.
    """

    name: str
    scale: Scale
    low: float = -math.inf
    high: float = math.inf
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @classmethod
    def from_feature(cls, name: str, config: FeatureConfig) -> "Histogram":
        """Return the bins of a feature, as its contract has it."""
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
        """Return the bins of what the model says about one label kind."""
        if config.task == "binary":
            edges, _ = score_edges(_THRESHOLD if config.threshold is None else config.threshold)
            return cls(name, "score", low=0.0, high=1.0, edges=edges)
        return cls(name, "logarithmic" if config.task == "regression" else "hash")

    @property
    def is_numeric(self) -> bool:
        """Whether values are numbers: bins are ordered, have centres, and `NOT_FINITE` can occur."""
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
        """A text that changes when counts in these bins could not be added to those counted before."""
        limits = [repr(self.low), repr(self.high)]
        document = json.dumps([_FORMAT, self.scale, limits, self.edges, self.categories])
        return hashlib.sha256(document.encode()).hexdigest()[:32]

    def bin_expr(self, column: str) -> pl.Expr:
        """Return the bins of a column, as Int64 without nulls; see `bins_of` for what values may be."""
        value = pl.col(column)
        if self.is_numeric:
            return self._numeric(value.cast(pl.Float64))
        if self.scale == "flag":
            return value.cast(pl.Boolean).cast(pl.Int64).fill_null(MISSING)
        text = value.cast(pl.String)
        if self.scale == "hash":
            return text.map_batches(_hashed, return_dtype=pl.Int64, is_elementwise=True)
        place = text.cast(pl.Enum(self.categories), strict=False).to_physical().cast(pl.Int64)
        return pl.when(text.is_null()).then(MISSING).otherwise(place.fill_null(UNSEEN))

    def bins_of(self, values: pl.Series) -> pl.Series:
        """Return the bin of each value, as Int64 without nulls.

        Args:
            values: of the contract's type: numbers, texts (also categorical) or booleans, with nulls.
        """
        return values.alias(self.name).to_frame().select(self.bin_expr(self.name)).to_series()

    def centres(self, bins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the middle of each bin, in the input's unit; not a number for special bins.

        Raises:
            ValueError: the input is not numeric.
        """
        if not self.is_numeric:
            raise ValueError(f"{self.name} has no centres: its bins are of scale {self.scale}")
        if self.scale == "equal":
            middles = self.low + (bins + 0.5) * ((self.high - self.low) / EQUAL_BINS)
        elif self.scale == "score":
            edges = np.asarray([0.0, *self.edges, 1.0])
            places = np.clip(bins, 0, SCORE_BINS - 1)
            middles = (edges[places] + edges[places + 1]) / 2
        else:
            steps = np.abs(bins - _SIDE) + _LEAST_STEP - 1
            sizes = np.power(_GROWTH, steps.astype(np.float64)) * ((1 + 1 / _GROWTH) / 2)
            middles = np.sign(bins - _SIDE) * sizes
        return np.where(bins < 0, np.nan, middles)

    def _numeric(self, value: pl.Expr) -> pl.Expr:
        if self.scale == "equal":
            place = _equal(value, self.low, self.high)
        elif self.scale == "score":
            place = pl.lit(pl.Series(self.edges, dtype=pl.Float64)).search_sorted(value, side="right").cast(pl.Int64)
        else:
            place = _logarithmic(value)
        return (
            pl.when(value.is_null())
            .then(MISSING)
            .when(~value.is_finite())
            .then(NOT_FINITE)
            .when(value < self.low)
            .then(BELOW)
            .when(value > self.high)
            .then(ABOVE)
            .otherwise(place)
            .cast(pl.Int64)
        )


def _equal(value: pl.Expr, low: float, high: float) -> pl.Expr:
    """Return the place between the limits; where they are one number, all that equals it is in bin 0."""
    if high == low:
        return pl.lit(0)
    return _whole((value - low) / (high - low) * EQUAL_BINS, 0, EQUAL_BINS - 1)


def _logarithmic(value: pl.Expr) -> pl.Expr:
    size = value.abs().clip(_LEAST_SIZE, _GREATEST_SIZE)
    step = _whole((size.log() / math.log(_GROWTH) - _HAIR).ceil(), _LEAST_STEP, _GREATEST_STEP)
    return value.sign().cast(pl.Int64, strict=False) * (step - (_LEAST_STEP - 1)) + _SIDE


def _whole(number: pl.Expr, least: int, greatest: int) -> pl.Expr:
    """Round towards zero, within limits; what is not finite becomes null, and has a bin of its own elsewhere."""
    return number.clip(least, greatest).cast(pl.Int64, strict=False)


def _hashed(texts: pl.Series) -> pl.Series:
    """Hash each distinct text once, or all where most are: polars' own hash is faster, and changes with its version."""
    distinct = texts.unique().drop_nulls()
    if len(distinct) * _TEXTS_REPEAT > len(texts):
        return _digests(texts).zip_with(texts.is_not_null(), pl.Series([MISSING], dtype=pl.Int64))
    if distinct.is_empty():
        return pl.Series(texts.name, [MISSING] * len(texts), dtype=pl.Int64)
    return texts.replace_strict(distinct, _digests(distinct), default=MISSING, return_dtype=pl.Int64)


def _digests(texts: pl.Series) -> pl.Series:
    """Return the bin of each text; of a null as of an empty text."""
    numbers = map(xxh3_64_intdigest, texts.cast(pl.Binary).fill_null(b"").to_list())
    return (pl.Series(numbers, dtype=pl.UInt64) % HASH_BINS).cast(pl.Int64)
