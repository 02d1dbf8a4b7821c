"""The bin of a value, and the centre of a bin."""

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from cell_cases import bins_of
from xxhash import xxh3_64_intdigest

from monitor.cells.bins import score_edges
from monitor.cells.histogram import ABOVE, BELOW, MISSING, NOT_FINITE, UNSEEN, Histogram
from schemas.config.prediction import FeatureConfig, OutputConfig

INF, NAN = math.inf, math.nan


def numbers(least: float | None = None, greatest: float | None = None) -> Histogram:
    """Return the bins of a number with these limits."""
    return Histogram.from_feature("x", FeatureConfig(type="float", min=least, max=greatest))


def bins(histogram: Histogram, values: Sequence[object], dtype: type[pl.DataType] | None = None) -> list[int]:
    """Return the bins of some values, as Int64 without nulls."""
    found = bins_of(histogram, pl.Series(values, dtype=dtype))
    assert found.dtype == pl.Int64
    assert found.null_count() == 0
    return found.to_list()


def test_a_number_with_both_limits_falls_into_128_equal_bins_the_limits_included() -> None:
    """Values beyond them, missing values, NaN and infinities have special bins."""
    values = [0.0, 0.999, 1.0, 127.99, 128.0, -1e-9, 128.001, None, NAN, INF, -INF]
    expected = [0, 0, 1, 127, 127, BELOW, ABOVE, MISSING, NOT_FINITE, NOT_FINITE, NOT_FINITE]
    assert bins(numbers(0.0, 128.0), values) == expected


def test_whole_numbers_are_counted_as_numbers() -> None:
    """A feature of type int has Int64 values."""
    histogram = Histogram.from_feature("x", FeatureConfig(type="int", min=1, max=12))
    assert bins(histogram, [1, 12, 0, 13, None]) == [0, 127, BELOW, ABOVE, MISSING]
    assert len(set(bins(histogram, list(range(1, 13))))) == 12


def test_limits_that_are_one_number_make_one_bin() -> None:
    """There is no division by zero."""
    assert bins(numbers(5.0, 5.0), [5.0, 4.9, 5.1, None]) == [0, BELOW, ABOVE, MISSING]


def test_limits_whose_difference_overflows_get_logarithmic_bins() -> None:
    """Their difference is infinite, and so would be the width of a bin."""
    histogram = numbers(-1.5e308, 1.5e308)
    assert histogram.scale == "logarithmic"
    assert bins(histogram, [-1.6e308, 1.6e308]) == [BELOW, ABOVE]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_centre_of_a_logarithmic_bin_is_within_one_percent_of_its_values(sign: int) -> None:
    """Bins widen by 2 %."""
    values = sign * np.exp(np.random.default_rng(1).uniform(np.log(1e-9), np.log(1e15), 5_000))
    found = np.array(bins(numbers(), values.tolist()))
    assert np.abs(numbers().centres(found) / values - 1).max() < 0.01001


def test_logarithmic_bins_are_in_the_order_of_values_with_zero_in_the_middle() -> None:
    """Also where absolute values are beyond the outermost bins."""
    values = [-1e300, -1e15, -2.0, -1.0, -1e-9, 0.0, 1e-9, 1.0, 1.03, 1e15, 1e300]
    found = bins(numbers(), values)
    assert found == sorted(found)
    assert found[0] == 0
    assert numbers().centres(np.array(found[5:6])).tolist() == [0.0]
    assert bins(numbers(), [-0.0, 5e-324, None, NAN, INF]) == [found[5], found[6], MISSING, NOT_FINITE, NOT_FINITE]


def test_values_beyond_a_single_limit_have_a_special_bin() -> None:
    """Bins are logarithmic then, and the limit still marks what is out of range."""
    assert bins(numbers(least=0.0), [-0.5, 0.0, 7.0])[0] == BELOW
    assert bins(numbers(greatest=10.0), [10.0, 10.5])[1] == ABOVE
    assert numbers(least=0.0).special_bins == (BELOW, MISSING, NOT_FINITE)


def test_categories_have_their_index_and_others_are_unseen() -> None:
    """Also where values are stored as polars categories."""
    histogram = Histogram.from_feature("x", FeatureConfig(type="string", categories=["b", "a", ""]))
    assert bins(histogram, ["a", "b", "", "c", None]) == [1, 0, 2, UNSEEN, MISSING]
    assert bins(histogram, ["a", "c", None], pl.Categorical) == [1, UNSEEN, MISSING]


@pytest.mark.parametrize("repeats", [1, 100])
def test_other_texts_have_the_bin_of_their_hash_whether_they_repeat_or_not(repeats: int) -> None:
    """The two ways of hashing agree, and with the published function."""
    histogram = Histogram.from_feature("x", FeatureConfig(type="string"))
    texts = [*(f"text {number}" for number in range(300)), "", "ü", None]
    expected = [MISSING if text is None else xxh3_64_intdigest(text.encode()) % 64 for text in texts]
    assert bins(histogram, texts * repeats) == expected * repeats


def test_the_hash_of_a_text_never_changes() -> None:
    """Counts in the lake were made with it."""
    assert bins(Histogram("x", "hash"), ["DE", "FR", "JFK"]) == [43, 44, 47]


def test_booleans_are_0_and_1() -> None:
    """A null is missing."""
    histogram = Histogram.from_feature("x", FeatureConfig(type="bool"))
    assert bins(histogram, [False, True, None]) == [0, 1, MISSING]


@pytest.mark.parametrize("threshold", [None, 0.2])
def test_probabilities_fall_into_the_bins_of_the_cells(threshold: float | None) -> None:
    """The bin is the number of edges at or below the score."""
    histogram = Histogram.from_output("output", OutputConfig(task="binary", threshold=threshold))
    edges, _ = score_edges(0.5 if threshold is None else threshold)
    scores = np.random.default_rng(2).random(500).tolist()
    assert bins(histogram, scores) == [bisect_right(edges, score) for score in scores]
    assert bins(histogram, [0.0, 1.0, -0.1, 1.1, None, NAN]) == [0, 63, BELOW, ABOVE, MISSING, NOT_FINITE]


def test_other_outputs_are_counted_like_features_without_a_contract() -> None:
    """A number gets a logarithmic bin, a class a hash bin."""
    assert Histogram.from_output("output", OutputConfig(task="regression")).scale == "logarithmic"
    assert Histogram.from_output("output", OutputConfig(task="multiclass")).scale == "hash"


@pytest.mark.parametrize(
    ("histogram", "low", "high"),
    [
        (numbers(-5.0, 5.0), -5.0, 5.0),
        (numbers(), -50.0, 50.0),
        (Histogram.from_output("x", OutputConfig(task="binary")), 0.0, 1.0),
    ],
    ids=["equal", "logarithmic", "score"],
)
def test_the_middle_of_a_bin_is_in_the_bin(histogram: Histogram, low: float, high: float) -> None:
    """The bin of a centre is the bin it was computed for; special bins have none."""
    values = np.random.default_rng(3).uniform(low, high, 300)
    found = np.array(bins(histogram, values.tolist()))
    assert bins(histogram, histogram.centres(found).tolist()) == found.tolist()
    assert np.isnan(histogram.centres(np.array(histogram.special_bins))).all()


def test_unordered_inputs_have_no_centres() -> None:
    """A category has no middle."""
    with pytest.raises(ValueError, match="no centres"):
        Histogram("x", "hash").centres(np.array([1]))


@pytest.mark.parametrize("scale", ["equal", "logarithmic", "score", "category", "hash", "flag"])
def test_columns_that_are_all_null_or_empty_are_counted(scale: str) -> None:
    """Whatever dtype polars gives them."""
    histogram = Histogram("x", scale, low=0.0, high=1.0, edges=(0.5,), categories=("a",))  # type: ignore[arg-type]  # a parameter is a str
    assert bins(histogram, [None, None]) == [MISSING, MISSING]
    assert bins_of(histogram, pl.Series([None], dtype=pl.Null).head(0)).to_list() == []


def test_special_bins_are_those_that_can_occur() -> None:
    """A category is never out of range, a boolean is never unseen."""
    assert numbers(0.0, 1.0).special_bins == (BELOW, ABOVE, MISSING, NOT_FINITE)
    assert numbers().special_bins == (MISSING, NOT_FINITE)
    assert Histogram("x", "category", categories=("a",)).special_bins == (MISSING, UNSEEN)
    assert Histogram("x", "flag").special_bins == (MISSING,)


def test_the_digest_depends_on_the_bins_and_not_on_the_name() -> None:
    """Counts with equal digests may be added."""
    assert numbers(0.0, 1.0).digest == Histogram("y", "equal", low=0.0, high=1.0).digest
    different = [numbers(0.0, 1.0), numbers(0.0, 2.0), numbers(), numbers(least=0.0)]
    categories = [Histogram("x", "category", categories=names) for names in [("a", "b"), ("b", "a")]]
    assert len({histogram.digest for histogram in [*different, *categories]}) == 6


def test_an_expression_counts_a_frame_lazily() -> None:
    """As in a fold."""
    frame = pl.LazyFrame({"x": [0.1, 0.1, None], "y": ["a", "b", "a"]})
    counted = frame.group_by(numbers(0.0, 1.0).bin_expr("x").alias("bin")).agg(pl.len()).sort("bin").collect()
    assert counted.rows() == [(MISSING, 1), (12, 2)]
    assert len(frame.select(Histogram("y", "hash").bin_expr("y")).collect()) == 3
