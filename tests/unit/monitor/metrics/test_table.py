"""Metrics from cells: which are shown, how rows are grouped, and their maturity status."""

from datetime import date
from typing import Any

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

from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.metrics.table import mature_until_at_age
from monitor.metrics.table import metrics as metrics_of
from schemas.base.metric_name import COMMON_METRICS, RARE_METRICS
from schemas.events.backfill import Cause, Episode, Ruling, Verdict

PLAN = CellPlan.from_config(config_of(metrics={"late": ["recall", "accuracy", "roc_auc"]}))
DAY_END_MS = EPOCH_MS + 16 * HOUR_MS


def metrics(cells: pl.DataFrame, plan: CellPlan, by: Any, until: dict[str, int | None], **more: int) -> pl.DataFrame:
    """Return the metrics of the binary kind alone."""
    return metrics_of(cells, plan, by, until, **more).filter(pl.col("kind") == "late")


def cells_of(predictions: list[Prediction], labels: dict[str, float]) -> pl.DataFrame:
    """Fold predictions, and one label for each of the given keys."""
    known = {one.key: one for one in predictions}
    revisions = [
        Revision(known[key], "joined", value, known[key].predicted_at_ms + HOUR_MS, 1, "late", OWN["late"])
        for key, value in labels.items()
    ]
    return fold(PLAN, predictions_frame(predictions), outcomes_frame(revisions), outcomes_frame([]))


def test_listed_metrics_come_in_the_order_of_the_config_with_threshold_and_bound() -> None:
    """Metrics that need a decision have a threshold, the binned one has a bound."""
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
    """River's own value would be 0.0, which looks like a failure of the model."""
    found = metrics(cells_of([Prediction("a")], {}), PLAN, "day", {"late": DAY_END_MS})
    assert set(found.get_column("value")) == {None}
    assert set(found.get_column("status")) == {"no_data"}


def test_labelled_rows_without_an_output_are_not_in_n() -> None:
    """They count for coverage only."""
    found = metrics(cells_of([Prediction("a", output=None)], {"a": 1.0}), PLAN, [], {"late": DAY_END_MS})
    assert found.select("value", "n", "labelled", "status").rows() == [(None, 0, 1, "no_data")] * 3


@pytest.mark.parametrize(("until_ms", "status"), [(None, "provisional"), (-1, "provisional"), (0, "mature")])
def test_a_value_is_mature_once_the_whole_day_is(until_ms: int | None, status: str) -> None:
    """One millisecond earlier it is provisional."""
    until = None if until_ms is None else DAY_END_MS + until_ms
    found = metrics(cells_of([Prediction("a")], {"a": 1.0}), PLAN, "day", {"late": until})
    assert found.filter(pl.col("name") == "accuracy").get_column("status").to_list() == [status]


def test_a_month_is_mature_only_if_each_of_its_days_is() -> None:
    """One young day makes the whole month provisional, even without labels."""
    rows = [Prediction("a"), Prediction("b", predicted_at_ms=EPOCH_MS + DAY_MS)]
    found = metrics(cells_of(rows, {"a": 1.0}), PLAN, ["month"], {"late": DAY_END_MS})
    accuracy = found.filter(pl.col("name") == "accuracy")
    assert accuracy.select("month", "n", "predictions", "status").rows() == [(date(2013, 3, 1), 1, 2, "provisional")]


def test_grouping_by_slice_has_rows_of_every_slice_and_of_all() -> None:
    """Without `slice` only the slice of all is used, so no row is counted twice."""
    rows = [Prediction("a", version="v1", country="DE"), Prediction("b", version="v2", country="FR")]
    cells = cells_of(rows, {"a": 1.0, "b": 0.0})
    by_slice = metrics(cells, PLAN, "slice", {}).filter(pl.col("name") == "accuracy")
    assert by_slice.select("slice", "n").rows() == [("", 2), ("country=DE", 1), ("country=FR", 1)]
    by_version = metrics(cells, PLAN, "version", {}).filter(pl.col("name") == "accuracy")
    assert by_version.select("version", "n").rows() == [("v1", 1), ("v2", 1)]
    assert set(metrics(cells, PLAN, [], {}).get_column("n")) == {2}


def of_two_definitions(keys: str, verdict: Verdict, *, value: float | None = 0.0) -> pl.DataFrame:
    """Fold predictions a, b and c, labels of a and b, and a backfill of another definition for some keys."""
    rows = {key: Prediction(key) for key in "abc"}
    own = [Revision(rows[key], "joined", 1.0, EPOCH_MS + HOUR_MS, 1) for key in "ab"]
    status = "retracted" if value is None else "joined"
    other = [
        Revision(rows[key], status, value, EPOCH_MS + 9 * DAY_MS, 2, "late", "late-30min", label_offset=1)
        for key in keys
    ]
    about = Episode(
        id=f"bf-{1:032x}",
        kind="late",
        definition="late-30min",
        causes=[Cause.REDEFINED],
        since=EPOCH_MS,
        until=EPOCH_MS + 10 * DAY_MS,
        labels=1,
        fingerprint=1,
    )
    rulings = [Ruling(episode=about, verdict=verdict)]
    none = outcomes_frame([])
    return fold(PLAN, predictions_frame(list(rows.values())), outcomes_frame([*own, *other]), none, rulings)


@pytest.mark.parametrize(
    ("keys", "verdict", "rows"),
    [
        ("b", Verdict.QUARANTINED, [(OWN["late"], 1.0, 2, 3, "mature")]),
        ("b", Verdict.REJECTED, [(OWN["late"], 1.0, 2, 3, "mature")]),
        ("b", Verdict.APPROVED, [(OWN["late"], 1.0, 1, 2, "mature"), ("late-30min", 0.0, 1, 1, "revised")]),
        ("bc", Verdict.APPROVED, [(OWN["late"], 1.0, 1, 1, "mature"), ("late-30min", 0.0, 2, 2, "revised")]),
        ("abc", Verdict.APPROVED, [("late-30min", 0.0, 3, 3, "revised")]),
    ],
)
def test_a_definition_of_record_has_rows_of_its_own_and_no_other_has(
    keys: str, verdict: Verdict, rows: list[tuple[Any, ...]]
) -> None:
    """Its predictions are those whose outcome it has; the kind's own definition has the rest, if there is any."""
    found = metrics(of_two_definitions(keys, verdict), PLAN, "day", {"late": DAY_END_MS})
    accuracy = found.filter(pl.col("name") == "accuracy")
    assert accuracy.select("definition", "value", "labelled", "predictions", "status").rows() == rows
    young = metrics(of_two_definitions(keys, verdict), PLAN, "day", {"late": DAY_END_MS - 1})
    assert set(young.drop_nulls("value")["status"]) == {"provisional"}


def test_a_prediction_whose_label_another_definition_retracts_is_of_that_definition() -> None:
    """It has no label, and is not one of the kind's own definition that waits for one."""
    found = metrics(of_two_definitions("b", Verdict.APPROVED, value=None), PLAN, "day", {"late": DAY_END_MS})
    accuracy = found.filter(pl.col("name") == "accuracy")
    assert accuracy.select("definition", "labelled", "predictions", "status").rows() == [
        (OWN["late"], 1, 2, "mature"),
        ("late-30min", 0, 1, "no_data"),
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
    """Accuracy is useless when one class is rare; without labels a rare class is assumed."""
    plan = CellPlan.from_config(config_of())
    rows = [Prediction(f"k{number}") for number in range(11)]
    labels = {f"k{number}": float(number < positives) for number in range(positives + negatives)}
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


def test_an_unknown_grouping_is_refused_by_name() -> None:
    """The message names the possible ones."""
    with pytest.raises(ValueError, match=r"week.*version, slice, day, month"):
        metrics(cells_of([], {}), PLAN, ["week"], {})


def test_no_cells_make_no_rows() -> None:
    """An empty lake is no error."""
    assert metrics(merge(), PLAN, ["version", "day"], {}).is_empty()


def test_at_an_age_outcomes_count_as_they_were_of_record_then() -> None:
    """A label a second later does not count, nor does a later correction of the value."""
    six_hours = 6 * HOUR_MS
    rows = [Prediction("a", output=0.9), Prediction("b", output=0.9), Prediction("c", output=0.9)]
    revisions = [
        Revision(rows[0], "joined", 0.0, EPOCH_MS + six_hours, 1),
        Revision(rows[0], "joined", 1.0, EPOCH_MS + DAY_MS, 2),
        Revision(rows[1], "joined", 0.0, EPOCH_MS + six_hours + 1000, 1),
    ]
    cells = fold(PLAN, predictions_frame(rows), outcomes_frame(revisions), outcomes_frame([]))
    at_age = metrics(cells, PLAN, "day", {}, at_age_ms=six_hours).filter(pl.col("name") == "accuracy")
    assert at_age.select("value", "n", "labelled", "predictions").rows() == [(0.0, 1, 1, 3)]
    final = metrics(cells, PLAN, "day", {}).filter(pl.col("name") == "accuracy")
    assert final.select("value", "n", "labelled").rows() == [(0.5, 2, 2)]


@pytest.mark.parametrize(("until_ms", "status"), [(-1, "provisional"), (0, "mature")])
def test_at_an_age_a_day_is_mature_once_its_last_prediction_has_reached_it(until_ms: int, status: str) -> None:
    """That is long before the horizon."""
    six_hours = 6 * HOUR_MS
    cells = cells_of([Prediction("a")], {"a": 1.0})
    until = mature_until_at_age({"late": DAY_END_MS + six_hours + until_ms, "fare": None}, six_hours)
    found = metrics(cells, PLAN, "day", until, at_age_ms=six_hours).filter(pl.col("value").is_not_null())
    assert set(found.get_column("status")) == {status}
    assert until["fare"] is None


def test_an_age_that_is_not_counted_is_refused_with_those_that_are() -> None:
    """The message names the possible ones."""
    with pytest.raises(ValueError, match=r"1234 ms.*21600000"):
        metrics(cells_of([], {}), PLAN, "day", {}, at_age_ms=1234)


@pytest.mark.parametrize(
    ("second", "age_ms", "revised", "status"),
    [
        (0.0, 3 * DAY_MS + 1000, 1, "revised"),
        (0.0, 3 * DAY_MS, 0, "mature"),
        (1.0, 3 * DAY_MS + 1000, 0, "mature"),
    ],
)
def test_a_value_that_changed_after_the_horizon_makes_its_group_revised(
    second: float, age_ms: int, revised: int, status: str
) -> None:
    """A correction before it, or one that repeats the value, does not."""
    row = Prediction("a")
    first = Revision(row, "joined", 1.0, EPOCH_MS + HOUR_MS, 1)
    again = Revision(row, "joined", second, EPOCH_MS + age_ms, 2)
    before = fold(PLAN, predictions_frame([row]), outcomes_frame([first]), outcomes_frame([]))
    after = fold(PLAN, predictions_frame([]), outcomes_frame([again]), outcomes_frame([first]))
    found = metrics(merge(before, after), PLAN, "day", {"late": DAY_END_MS}).filter(pl.col("name") == "accuracy")
    assert found.select("revised", "status").rows() == [(revised, status)]
    at_age = metrics(merge(before, after), PLAN, "day", {"late": DAY_END_MS}, at_age_ms=DAY_MS)
    changed = second != 1.0
    assert set(at_age.get_column("revised")) == {int(changed)}


def test_every_task_has_its_own_metrics_by_slice_with_status() -> None:
    """Also multiclass and regression kinds, in the order of the task's metrics."""
    rows = [
        Prediction("a", predicted_class="landed", fare=10.0),
        Prediction("b", predicted_class="late", fare=20.0, country="FR"),
    ]
    revisions = [
        Revision(rows[0], "joined", None, EPOCH_MS, 1, "status", OWN["status"], "landed"),
        Revision(rows[1], "joined", None, EPOCH_MS, 1, "status", OWN["status"], "landed"),
        Revision(rows[0], "joined", 12.0, EPOCH_MS, 1, "fare", OWN["fare"]),
        Revision(rows[1], "joined", 16.0, EPOCH_MS, 1, "fare", OWN["fare"]),
    ]
    cells = fold(PLAN, predictions_frame(rows), outcomes_frame(revisions), outcomes_frame([]))
    found = metrics_of(cells, PLAN, "slice", {"fare": DAY_END_MS})
    values = {(row["slice"], row["name"]): row for row in found.filter(pl.col("kind") != "late").to_dicts()}
    assert values["", "accuracy"]["value"] == 0.5
    assert values["country=FR", "accuracy"]["value"] == 0.0
    assert (values["", "mae"]["value"], values["", "mse"]["value"]) == (3.0, 10.0)
    assert values["", "r2"]["value"] == 1 - 20 / 8
    assert values["country=FR", "r2"]["status"] == "no_data"
    assert (values["", "mae"]["status"], values["", "accuracy"]["status"]) == ("mature", "provisional")
    assert found.filter(pl.col("kind") == "fare", pl.col("slice") == "")["name"].to_list() == [
        "mae",
        "rmse",
        "mse",
        "r2",
    ]


def test_the_spread_of_large_truths_that_differ_little_is_not_lost() -> None:
    """Float sums of squares would lose it: truths of a thousand million with differences of a tenth."""
    truths = [1e9 + number / 8 for number in range(8)]
    rows = [Prediction(f"k{number}", fare=truth + 0.0625) for number, truth in enumerate(truths)]
    revisions = [
        Revision(row, "joined", truth, EPOCH_MS, 1, "fare", OWN["fare"])
        for row, truth in zip(rows, truths, strict=True)
    ]
    cells = fold(PLAN, predictions_frame(rows), outcomes_frame(revisions), outcomes_frame([]))
    found = metrics_of(cells, PLAN, [], {}).filter(pl.col("name") == "r2")
    spread = sum((truth - sum(truths) / 8) ** 2 for truth in truths)
    assert found["value"].to_list() == [pytest.approx(1 - 8 * 0.0625**2 / spread, abs=1e-12)]


def test_sums_of_squares_of_many_days_do_not_overflow() -> None:
    """A thousand million rows with errors of a thousand million, for a year."""
    plan = CellPlan.from_config(config_of())
    row = Prediction("a", fare=-(2.0**29))
    one = fold(
        plan,
        predictions_frame([row]),
        outcomes_frame([Revision(row, "joined", 2.0**29, EPOCH_MS, 1, "fare", OWN["fare"])]),
        outcomes_frame([]),
    )
    days = [one.with_columns(pl.col("amount") * 10**9, pl.col("day").dt.offset_by(f"{day}d")) for day in range(300)]
    found = metrics_of(merge(*days), plan, [], {}).filter(pl.col("name") == "rmse")
    assert found.select("value", "n").rows() == [(2.0**30, 300 * 10**9)]
