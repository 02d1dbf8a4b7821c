"""Rank bins: areas under the curve of many scores of any distribution, exact within a small bound.

Tests monitor.cells.rank_bin and monitor.cells.rank_states through `fold`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from cell_cases import EPOCH_MS, HOUR_MS, Prediction, Revision, config_of, outcomes_frame, predictions_frame
from polars.testing import assert_frame_equal
from sklearn.metrics import roc_auc_score

from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.rank_bin import GRID, atom, bin_numbers, bin_starts, middle_scores, score_integers
from monitor.metrics.table import metrics

Floats = npt.NDArray[np.float64]
PLAN = CellPlan.from_config(config_of(metrics={"late": ["roc_auc", "accuracy"]}))
ROWS = 12_000
ENOUGH = 0.002
"""Bound below which a value needs no bound beside it."""


DRAWS: dict[str, Callable[[np.random.Generator], Floats]] = {
    "uniform": lambda rng: rng.random(ROWS),
    "click rates": lambda rng: rng.normal(0.0112, 0.0004, ROWS),
    "skewed": lambda rng: rng.beta(0.05, 8, ROWS),
    "saturated": lambda rng: 1 / (1 + np.exp(-rng.normal(0, 40, ROWS))),
    "rounded": lambda rng: np.round(rng.beta(2, 5, ROWS), 4),
    "heavy atoms": lambda rng: np.where(rng.random(ROWS) < 0.6, rng.choice([0.0, 0.1, 1.0], ROWS), rng.random(ROWS)),
}


def frame_of(scores: Floats, labels: npt.NDArray[np.bool_], version: str = "v1", first: int = 0) -> pl.DataFrame:
    """Return one joined outcome for each score, in the lake's columns."""
    one = outcomes_frame([Revision(Prediction("a", version=version), "joined", 1.0, EPOCH_MS + HOUR_MS, 1)])
    count = len(scores)
    return one.select(pl.all().repeat_by(count).explode()).with_columns(
        output=pl.Series(scores),
        value=pl.Series(labels.astype(np.float64)),
        prediction_offset=pl.Series(np.arange(first, first + count)),
        slice_country=pl.Series(np.where(np.arange(count) % 3 > 0, "DE", "FR")),
    )


def folded(frames: Sequence[pl.DataFrame], earlier: pl.DataFrame | None = None) -> pl.DataFrame:
    """Fold the frames one after another."""
    none, cells = outcomes_frame([]), merge()
    for frame in frames:
        before = none if earlier is None else earlier
        cells = merge(cells, fold(PLAN.with_admitted(cells), predictions_frame([]), frame, before))
    return cells


def area(cells: pl.DataFrame, by: Sequence[str] = ("version",)) -> tuple[float, float]:
    """Return value and bound of the only group."""
    row = metrics(cells, PLAN, by, {}).filter(pl.col("name") == "roc_auc").row(0, named=True)  # type: ignore[arg-type]
    return row["value"], row["bound"]


def labelled(scores: Floats, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw labels that agree with the ranks of scores to some degree."""
    ranks = scores.argsort().argsort() / len(scores)
    return rng.random(len(scores)) < 0.05 + 0.5 * ranks


@pytest.mark.parametrize("distribution", list(DRAWS))
def test_the_bound_is_negligible_whatever_the_distribution_of_the_scores(distribution: str) -> None:
    """The grid is decided by half of the labels; the exact area is within the bound."""
    rng = np.random.default_rng(7)
    scores = DRAWS[distribution](rng)
    labels = labelled(scores, rng)
    half = ROWS // 2
    parts = [frame_of(scores[:half], labels[:half]), frame_of(scores[half:], labels[half:], first=half)]
    cells = folded(parts)
    value, bound = area(cells)
    exact = roc_auc_score(labels, scores)
    assert abs(value - exact) <= bound + 1e-12
    assert bound <= ENOUGH
    accuracy = metrics(cells, PLAN, "version", {}).filter(pl.col("name") == "accuracy")["value"][0]
    assert accuracy == pytest.approx(float(((scores >= 0.3) == labels).mean()))


def test_labels_that_were_counted_before_the_grid_are_moved_into_it() -> None:
    """Later corrections and retractions take them out again: nothing is left but the grid."""
    rng = np.random.default_rng(8)
    scores = DRAWS["uniform"](rng)
    labels = scores > 0.5
    few, many = frame_of(scores[:500], labels[:500]), frame_of(scores[500:], labels[500:], first=500)
    cells = folded([few, many])
    assert cells.filter(pl.col("measure") == GRID).height > 400
    assert cells.filter(pl.col("amount") < 0).is_empty()
    assert cells.filter(pl.col("measure").is_in(["score_0", "score_1"]), pl.col("bin") % 2 == 1).height < 20
    every = pl.concat([few, many])
    gone = every.with_columns(status=pl.lit("retracted"), value=None, revision=pl.lit(2, dtype=pl.Int64))
    delta = fold(PLAN.with_admitted(cells), predictions_frame([]), gone, every)
    left = merge(cells, delta).filter(pl.col("measure").str.contains("^(score_|log_loss|brier|labelled)"))
    assert set(left.get_column("measure")) == {GRID}


def test_with_the_grid_known_parts_sum_to_the_whole_in_any_order() -> None:
    """To the bit: a grid is decided once."""
    rng = np.random.default_rng(9)
    scores = DRAWS["skewed"](rng)
    labels = labelled(scores, rng)
    plan = PLAN.with_admitted(folded([frame_of(scores, labels)]))
    more = frame_of(DRAWS["skewed"](rng), labels, first=ROWS)
    none, parts = outcomes_frame([]), [more[:5_000], more[5_000:]]
    cells = [fold(plan, predictions_frame([]), part, none) for part in parts]
    whole = fold(plan, predictions_frame([]), more, none)
    assert_frame_equal(merge(*cells), whole, check_exact=True)
    assert_frame_equal(merge(*reversed(cells)), whole, check_exact=True)


def test_slices_have_a_coarser_grid_and_an_honest_bound() -> None:
    """The bound is larger there, and holds."""
    rng = np.random.default_rng(10)
    scores = DRAWS["click rates"](rng)
    labels = labelled(scores, rng)
    cells = folded([frame_of(scores, labels)])
    found = metrics(cells, PLAN, ["version", "slice"], {}).filter(pl.col("name") == "roc_auc")
    by_slice = {row["slice"]: row for row in found.iter_rows(named=True)}
    german = np.arange(ROWS) % 3 > 0
    exact = roc_auc_score(labels[german], scores[german])
    assert abs(by_slice["country=DE"]["value"] - exact) <= by_slice["country=DE"]["bound"] < 0.02
    assert by_slice[""]["bound"] <= ENOUGH
    rows = cells.filter(pl.col("measure") == "score_0", pl.col("slice") == "country=DE")
    assert rows.height < 130


def test_versions_with_other_grids_are_pooled_within_the_bound() -> None:
    """An interval of one grid may contain bins of the other, whose pairs count in the bound."""
    rng = np.random.default_rng(11)
    scores, others = DRAWS["uniform"](rng), rng.beta(20, 20, ROWS)
    labels, other_labels = labelled(scores, rng), labelled(others, rng)
    cells = folded([frame_of(scores, labels), frame_of(others, other_labels, "v2", ROWS)])
    value, bound = area(cells, ("month",))
    exact = roc_auc_score(np.concatenate([labels, other_labels]), np.concatenate([scores, others]))
    assert abs(value - exact) <= bound < 0.01


def test_bins_keep_the_order_of_scores_and_know_their_interval() -> None:
    """Also at 0, at 1, and between neighbouring floats."""
    scores = np.array([0.0, 5e-324, 0.1, np.nextafter(0.1, 1), 0.5, np.nextafter(1.0, 0), 1.0])
    integers = score_integers(scores)
    assert (np.diff(integers) > 0).all()
    atoms = bin_numbers(integers, None)
    assert atoms.tolist() == [atom(score) for score in scores]
    assert middle_scores(atoms).tolist() == scores.tolist()
    starts = np.array([0, 1 << 61, 1 << 61 | 1 << 60], dtype=np.int64)
    bins = bin_numbers(np.array([0, (1 << 61) - 1, 1 << 61, (1 << 62) - 1]), starts)
    assert [part.tolist() for part in bin_starts(bins)] == [
        [0, 0, 1 << 61, 1 << 61 | 1 << 60],
        [1 << 61, 1 << 61, 1 << 60, 1 << 60],
    ]
