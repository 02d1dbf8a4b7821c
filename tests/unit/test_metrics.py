"""Which metrics are shown for whom, and how far they say they can be trusted."""

from datetime import date

import polars as pl
import pytest
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    OWN,
    Prediction,
    Revision,
    config_of,
    outcomes_frame,
    predictions_frame,
)

from monitor import CellPlan, fold, merge, metrics
from schemas.config import COMMON_METRICS, RARE_METRICS

PLAN = CellPlan.from_config(config_of(metrics={"late": ["recall", "accuracy", "roc_auc"]}))
DAY_END_MS = EPOCH_MS + 16 * HOUR_MS


def cells_of(predictions: list[Prediction], labels: dict[str, float], *, definition: str = OWN["late"]) -> pl.DataFrame:
    """Fold predictions and one label each for the keys named."""
    known = {one.key: one for one in predictions}
    revisions = [
        Revision(known[key], "joined", value, known[key].predicted_at_ms + HOUR_MS, 1, "late", definition)
        for key, value in labels.items()
    ]
    return fold(PLAN, predictions_frame(predictions), outcomes_frame(revisions), outcomes_frame([]))


def test_listed_metrics_come_in_the_order_of_the_config_with_threshold_and_bound() -> None:
    """A threshold stands where a decision was needed, a bound where bins were."""
    rows = [Prediction("a", output=0.9), Prediction("b", output=0.1), Prediction("c", output=0.4)]
    found = metrics(cells_of(rows, {"a": 1.0, "b": 0.0}), PLAN, [], {})
    columns = ["name", "value", "bound", "n", "labelled", "predictions", "threshold"]
    assert found.select(columns).rows() == [
        ("recall", 1.0, None, 2, 2, 3, 0.3),
        ("accuracy", 1.0, None, 2, 2, 3, 0.3),
        ("roc_auc", 1.0, 0.0, 2, 2, 3, None),
    ]
    assert found.get_column("coverage").to_list() == [pytest.approx(2 / 3)] * 3


def test_without_labels_values_are_null_and_never_zero() -> None:
    """River's own answer would be 0.0, which reads like an outage of the model."""
    found = metrics(cells_of([Prediction("a")], {}), PLAN, "day", {"late": DAY_END_MS})
    assert set(found.get_column("value")) == {None}
    assert set(found.get_column("status")) == {"no_data"}


def test_labelled_rows_without_an_output_are_not_in_n() -> None:
    """They are covered, and outside the metrics."""
    found = metrics(cells_of([Prediction("a", output=None)], {"a": 1.0}), PLAN, [], {"late": DAY_END_MS})
    assert found.select("value", "n", "labelled", "status").rows() == [(None, 0, 1, "no_data")] * 3


@pytest.mark.parametrize(("until_ms", "status"), [(None, "provisional"), (-1, "provisional"), (0, "mature")])
def test_a_value_is_mature_once_the_whole_day_is(until_ms: int | None, status: str) -> None:
    """One millisecond earlier it was not."""
    until = None if until_ms is None else DAY_END_MS + until_ms
    found = metrics(cells_of([Prediction("a")], {"a": 1.0}), PLAN, "day", {"late": until})
    assert found.filter(pl.col("name") == "accuracy").get_column("status").to_list() == [status]


def test_a_month_is_mature_only_if_each_of_its_days_is() -> None:
    """One young day keeps the whole month provisional, labelled or not."""
    rows = [Prediction("a"), Prediction("b", predicted_at_ms=EPOCH_MS + DAY_MS)]
    found = metrics(cells_of(rows, {"a": 1.0}), PLAN, ["month"], {"late": DAY_END_MS})
    accuracy = found.filter(pl.col("name") == "accuracy")
    assert accuracy.select("month", "n", "predictions", "status").rows() == [(date(2013, 3, 1), 1, 2, "provisional")]


def test_grouping_by_slice_shows_every_slice_and_all_and_pools_what_is_not_named() -> None:
    """Without `slice` nothing is counted twice."""
    rows = [Prediction("a", version="v1", country="DE"), Prediction("b", version="v2", country="FR")]
    cells = cells_of(rows, {"a": 1.0, "b": 0.0})
    by_slice = metrics(cells, PLAN, "slice", {}).filter(pl.col("name") == "accuracy")
    assert by_slice.select("slice", "n").rows() == [("", 2), ("country=DE", 1), ("country=FR", 1)]
    by_version = metrics(cells, PLAN, "version", {}).filter(pl.col("name") == "accuracy")
    assert by_version.select("version", "n").rows() == [("v1", 1), ("v2", 1)]
    assert set(metrics(cells, PLAN, [], {}).get_column("n")) == {2}


def test_another_definition_stands_beside_and_never_matures() -> None:
    """No deadline closes it, but its predictions are the same ones."""
    cells = cells_of([Prediction("a"), Prediction("b")], {"a": 1.0, "b": 1.0})
    other = cells_of([Prediction("a"), Prediction("b")], {"a": 0.0}, definition="late-30min")
    labels_only = other.filter(pl.col("definition") == "late-30min")
    found = metrics(merge(cells, labels_only), PLAN, "day", {"late": DAY_END_MS})
    accuracy = found.filter(pl.col("name") == "accuracy")
    assert accuracy.select("definition", "value", "coverage", "status").rows() == [
        (OWN["late"], 1.0, 1.0, "mature"),
        ("late-30min", 0.0, 0.5, "provisional"),
    ]


@pytest.mark.parametrize(
    ("positives", "negatives", "names"),
    [
        (2, 8, COMMON_METRICS),
        (8, 2, COMMON_METRICS),
        (1, 9, RARE_METRICS),
        (10, 0, RARE_METRICS),
        (0, 0, RARE_METRICS),
    ],
)
def test_metrics_left_out_of_the_config_suit_the_rarer_class(
    positives: int, negatives: int, names: tuple[str, ...]
) -> None:
    """Accuracy says little when one class is rare, and nothing is known before the first label."""
    plan = CellPlan.from_config(config_of())
    rows = [Prediction(f"k{place}") for place in range(11)]
    labels = {f"k{place}": float(place < positives) for place in range(positives + negatives)}
    assert tuple(metrics(cells_of(rows, labels), plan, [], {}).get_column("name")) == names


def test_losses_of_thousands_of_millions_of_rows_do_not_overflow() -> None:
    """A day's sum fits 64 bits; a year of such days does not."""
    plan = CellPlan.from_config(config_of(metrics={"late": ["log_loss"]}))
    one = cells_of([Prediction("a", output=0.0)], {"a": 1.0})
    huge = one.with_columns(pl.col("amount") * 60_000_000)
    days = [huge.with_columns(pl.col("day").dt.offset_by(f"{day}d")) for day in range(300)]
    [(value, n)] = metrics(merge(*days), plan, [], {}).select("value", "n").rows()
    assert n == 300 * 60_000_000
    assert value == pytest.approx(34.538776394910684)


def test_grouping_by_something_else_is_refused_by_name() -> None:
    """The message names what there is."""
    with pytest.raises(ValueError, match=r"week.*version, slice, day, month"):
        metrics(cells_of([], {}), PLAN, ["week"], {})  # type: ignore[list-item]


def test_no_cells_make_no_rows() -> None:
    """An empty lake is no error."""
    assert metrics(merge(), PLAN, ["version", "day"], {}).is_empty()
