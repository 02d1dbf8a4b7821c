"""Folds: which cell counts a row, at the edges of bins, days, slices and chains."""

import math
from dataclasses import replace
from datetime import date
from itertools import pairwise

import polars as pl
import pytest
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    Prediction,
    Revision,
    amounts,
    bins_of,
    config_of,
    outcomes_frame,
    predictions_frame,
    renumbered,
)

from monitor.cells.bins import OVERFLOW_AGE_MS, age_edges_ms, score_edges
from monitor.cells.class_name import CLASSES_MAX, escape_class
from monitor.cells.cohort import day_ends, read_slice
from monitor.cells.fold import fold
from monitor.cells.measure import read_measures
from monitor.cells.packing import CELL_SCHEMA, merge, sum_by
from monitor.cells.plan import CellPlan
from monitor.cells.slots import SLOTS_MAX
from monitor.metrics.table import metrics

PLAN = CellPlan.from_config(config_of())
NONE = outcomes_frame([])
NO_PREDICTIONS = predictions_frame([])


def cells_of(revisions: list[Revision], earlier: list[Revision] | None = None) -> pl.DataFrame:
    """Fold revisions without their predictions."""
    return fold(PLAN, NO_PREDICTIONS, outcomes_frame(revisions), outcomes_frame(earlier or []))


@pytest.mark.parametrize("threshold", [0.0, 1e-9, 0.0001, 0.01, 0.3, 0.5, 0.55, 0.97, 0.9999, 1 - 1e-9, 1.0])
def test_the_threshold_is_an_edge_to_the_bit_and_edges_grow(threshold: float) -> None:
    """63 edges make 64 bins, and the first positive bin begins at the threshold."""
    edges, positive_from = score_edges(threshold)
    assert len(edges) == 63
    assert list(edges) == sorted(set(edges))
    assert edges[positive_from - 1] == threshold


def test_the_default_threshold_shifts_nothing() -> None:
    """0.5 is the logit 0, which is an edge of the unshifted grid from -8 to 8."""
    edges, positive_from = score_edges(0.5)
    assert positive_from == 32
    assert edges[0] == pytest.approx(1 / (1 + 2.718281828459045**7.75))
    assert edges[31] == 0.5


def test_a_shifted_grid_keeps_its_bins_equally_wide_and_moves_by_half_a_bin_at_most() -> None:
    """The threshold 0.3 shifts all edges by the same amount."""
    edges, _ = score_edges(0.3)
    logits = [math.log(edge / (1 - edge)) for edge in edges]
    assert [after - before for before, after in pairwise(logits)] == pytest.approx([0.25] * 62, abs=1e-6)
    assert abs(logits[0] + 7.75) <= 0.125


def test_age_edges_increase_from_zero_to_the_overflow_and_include_the_extra_ages() -> None:
    """The grid is fixed, and the config's ages are added to it."""
    edges = age_edges_ms([DAY_MS, 3 * DAY_MS, DAY_MS])
    assert edges[:2] == (0, 60_000)
    assert edges[-2:] == (400 * DAY_MS, OVERFLOW_AGE_MS)
    assert {DAY_MS, 3 * DAY_MS} < set(edges)
    assert len(edges) == 128 + 4


@pytest.mark.parametrize(
    ("age_ms", "edge_ms"),
    [
        (-HOUR_MS, 0),
        (0, 0),
        (1, 60_000),
        (60_000, 60_000),
        (60_001, 67_000),
        (HOUR_MS, HOUR_MS),
        (3 * DAY_MS, 3 * DAY_MS),
        (OVERFLOW_AGE_MS * 2, OVERFLOW_AGE_MS),
    ],
)
def test_an_age_on_an_edge_belongs_to_that_edge(age_ms: int, edge_ms: int) -> None:
    """Labels known by an age include those of exactly that age."""
    one = Revision(Prediction("a", predicted_at_ms=0), "joined", 1.0, age_ms, 1)
    cells = cells_of([one])
    assert amounts(cells, "labels") == {edge_ms: 1}
    assert amounts(cells, "early") == ({0: 1} if age_ms < 0 else {})


@pytest.mark.parametrize(("output", "is_positive"), [(0.29999999999999993, False), (0.3, True)])
def test_a_score_on_the_threshold_is_positive(output: float, is_positive: bool) -> None:
    """0.3 and the float below it are in different bins."""
    kind = next(kind for kind in PLAN.kinds if kind.name == "late")
    cells = fold(PLAN, predictions_frame([Prediction("a", output=output)]), NONE, NONE)
    [bin_] = amounts(cells, "score")
    assert (bin_ >= kind.positive_from) is is_positive


@pytest.mark.parametrize("output", [None, float("nan"), float("inf"), -0.01, 1.01])
def test_an_output_that_is_no_probability_is_counted_but_not_scored(output: float | None) -> None:
    """It has no loss and no score bin, so it cannot spoil a sum."""
    prediction = Prediction("a", output=output)
    outcome = Revision(prediction, "joined", 1.0, EPOCH_MS, 1)
    cells = fold(PLAN, predictions_frame([prediction]), outcomes_frame([outcome]), NONE)
    late = cells.filter(pl.col("kind") == "late", pl.col("slice") == "country=DE")
    found = {measure.partition("@")[0] for measure in late.get_column("measure")}
    assert found == {"labels", "no_output", "predictions", "pane_labels", "pane_predictions", "predicted_block"}


def test_ineligible_predictions_have_their_own_measure_and_their_outcomes_none() -> None:
    """They are outside coverage and metrics; their features and outputs still count for drift."""
    prediction = Prediction("a", eligible=False)
    outcome = Revision(prediction, "joined", 1.0, EPOCH_MS, 1)
    cells = fold(PLAN, predictions_frame([prediction]), outcomes_frame([outcome]), NONE)
    assert set(cells.get_column("measure")) == {"ineligible", "output", "input:amount", "input:device"}


def test_a_correction_takes_the_old_class_out_and_keeps_the_age() -> None:
    """The previous value comes from the chain's rows, not from the correction's columns about it."""
    first = Revision(Prediction("a"), "joined", 0.0, EPOCH_MS + HOUR_MS, 1)
    second = Revision(Prediction("a"), "joined", 1.0, EPOCH_MS + DAY_MS, 2)
    delta = cells_of([second], [first])
    assert sum(amounts(delta, "score_0").values()) == -1
    assert sum(amounts(delta, "score_1").values()) == 1
    assert amounts(delta, "labels") == {}
    assert amounts(merge(cells_of([first]), delta), "labels") == {HOUR_MS: 1}


def test_a_retraction_restarts_the_label_age() -> None:
    """Labels before a retraction no longer count as known."""
    one = Prediction("a")
    steps = [("joined", 0.0, HOUR_MS), ("retracted", None, 2 * HOUR_MS), ("joined", 1.0, DAY_MS)]
    chain = renumbered(Revision(one, status, value, EPOCH_MS + age, 0) for status, value, age in steps)
    assert amounts(cells_of(chain[:2]), "retracted") == {0: 1}
    assert amounts(cells_of(chain[:2]), "labels") == {}
    assert amounts(cells_of(chain), "labels") == {DAY_MS: 1}


@pytest.mark.parametrize(("timeout", "edge_ms"), [("expired", 10 * DAY_MS), ("implied", 3 * DAY_MS)])
def test_a_label_after_the_deadline_has_the_age_at_which_something_was_first_known(timeout: str, edge_ms: int) -> None:
    """An implied outcome was known at the horizon; an expired one was not known."""
    implied = 0.0 if timeout == "implied" else None
    steps = [(timeout, implied, 3 * DAY_MS), ("joined", 1.0, 10 * DAY_MS)]
    chain = renumbered(Revision(Prediction("a"), status, value, EPOCH_MS + age, 0) for status, value, age in steps)
    late = merge(cells_of(chain[:1]), cells_of(chain[1:], chain[:1]))
    assert amounts(late, "labels") == {edge_ms: 1}
    assert amounts(late, "expired") == {}
    assert sum(amounts(late, "score_1").values()) == 1


def test_a_kind_that_the_config_does_not_have_is_left_out() -> None:
    """The lake may hold it from before a change of the config."""
    assert cells_of([Revision(Prediction("a"), "joined", 1.0, EPOCH_MS, 1, "gone", "gone-1")]).is_empty()


def test_a_day_is_one_of_the_loops_time_zone() -> None:
    """Four hours before midnight in UTC it is evening in New York, in summer."""
    midnight_utc = 1_363_132_800_000
    times = {"a": midnight_utc + 4 * HOUR_MS - 1, "b": midnight_utc + 4 * HOUR_MS}
    rows = [Prediction(key, predicted_at_ms=time) for key, time in times.items()]
    cells = fold(PLAN, predictions_frame(rows), NONE, NONE)
    assert set(cells.get_column("day")) == {date(2013, 3, 12), date(2013, 3, 13)}


@pytest.mark.parametrize(
    ("zone", "day", "end_ms"),
    [
        ("UTC", date(2013, 3, 10), 1_362_960_000_000),
        ("America/New_York", date(2013, 3, 9), 1_362_891_600_000),
        ("America/New_York", date(2013, 3, 10), 1_362_891_600_000 + 23 * HOUR_MS),
        ("America/New_York", date(2013, 11, 3), 1_383_541_200_000),
        ("America/Sao_Paulo", date(2013, 10, 19), 1_382_238_000_000),
        ("America/Havana", date(2013, 11, 2), 1_383_451_200_000),
    ],
)
def test_a_day_ends_when_the_next_one_starts_whatever_the_clocks_do(zone: str, day: date, end_ms: int) -> None:
    """Days of 23 and 25 hours; Brazil's clocks skipped midnight, Cuba's went back to it."""
    assert day_ends([day], zone).rows() == [(day, end_ms)]


@pytest.mark.parametrize("value", ["∅", "*other", "\\*other", "a=b", "", "*", "DE"])
def test_no_real_value_is_taken_for_missing_or_other(value: str) -> None:
    """The slice's text reads back as the value."""
    cells = fold(PLAN, predictions_frame([Prediction("a", country=value)]), NONE, NONE)
    [text] = set(cells.get_column("slice")) - {""}
    assert read_slice(text) == ("country", value)
    assert text not in ("country=∅", "country=*other")


def test_a_missing_slice_value_has_a_slice_of_its_own() -> None:
    """It is not left out."""
    cells = fold(PLAN, predictions_frame([Prediction("a", country=None)]), NONE, NONE)
    assert set(cells.get_column("slice")) == {"", "country=∅"}


def test_a_hundred_values_get_slices_at_once_and_those_of_a_later_day_are_other() -> None:
    """Values of the day on which there are too many have no slice yet, whatever the order of the rows."""
    rows = [Prediction(f"k{n}", predicted_at_ms=EPOCH_MS, country=f"c{n}") for n in range(SLOTS_MAX)]
    later = [Prediction(f"l{n}", predicted_at_ms=EPOCH_MS + DAY_MS, country=f"d{n}") for n in range(3)]
    cells = fold(PLAN, predictions_frame([*later, *rows]), NONE, NONE)
    slices = set(cells.get_column("slice"))
    assert slices == {"", "country=*other"} | {f"country=c{n}" for n in range(SLOTS_MAX)}
    assert amounts(cells.filter(pl.col("kind") == "late"), "predictions", slice_="country=*other") == {0: 3}


def test_outcomes_are_counted_in_the_slice_of_their_prediction_folds_later() -> None:
    """The plan takes the slots from the cells: outcomes of other values are in `other`."""
    rows = [Prediction(f"k{n}", predicted_at_ms=EPOCH_MS, country=f"c{n}") for n in range(SLOTS_MAX)]
    rows.append(Prediction("last", predicted_at_ms=EPOCH_MS + DAY_MS, country="late"))
    cells = fold(PLAN, predictions_frame(rows), NONE, NONE)
    outcomes = [Revision(rows[n], "joined", 1.0, EPOCH_MS + DAY_MS, 1) for n in (0, SLOTS_MAX)]
    new = fold(PLAN.with_admitted(cells), NO_PREDICTIONS, outcomes_frame(outcomes), NONE)
    assert set(new.get_column("slice")) == {"", "country=c0", "country=*other"}


def test_merging_drops_zeros_and_columns_of_the_lake() -> None:
    """Columns that the lake adds, such as the plan, are not part of a cell."""
    cells = fold(PLAN, predictions_frame([Prediction("a")]), NONE, NONE)
    assert merge(cells.with_columns(plan=pl.lit("p"))).schema == CELL_SCHEMA
    assert merge().schema == CELL_SCHEMA


@pytest.mark.parametrize(
    "changes",
    [
        {"timezone": "UTC"},
        {"cohorts": {"by": ["version", "country", "role"], "ages": ["1h", "1d"]}},
        {"cohorts": {"by": ["version", "country"], "ages": ["1h", "2d"]}},
        {"evaluate_at": ["6h", "final"]},
        {"coverage": [{"label": "late", "age": "2d", "min": 0.5}]},
        {
            "predictions": {
                "outputs": {
                    "late": {"task": "binary"},
                    "fare": {"task": "regression"},
                    "status": {"task": "multiclass"},
                },
                "slices": ["country"],
            }
        },
    ],
)
def test_the_digest_changes_with_whatever_changes_cells(changes: dict[str, object]) -> None:
    """Time zone, slices, ages, threshold: the lake's cells must be recreated."""
    assert CellPlan.from_config(config_of(**changes)).digest != PLAN.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {"late": ["f1"]}},
        {"coverage": [{"label": "late", "age": "1d", "min": 0.9}]},
        {"partitions": 2},
        {"cohorts": {"by": ["country", "version"], "ages": ["1h", "1d"]}},
    ],
)
def test_the_digest_stays_when_only_the_evaluation_of_cells_changes(changes: dict[str, object]) -> None:
    """Metrics shown, height of goals and order of names do not change cells."""
    assert CellPlan.from_config(config_of(**changes)).digest == PLAN.digest


def test_the_digest_does_not_depend_on_admitted_values() -> None:
    """An admitted slice value does not change the plan."""
    cells = fold(PLAN, predictions_frame([Prediction("a")]), NONE, NONE)
    assert PLAN.with_admitted(cells).digest == PLAN.digest


def labelled_as(number: int, truth: str, predicted: str) -> Revision:
    """Return a multiclass label; the number orders the predictions in time."""
    prediction = Prediction(f"k{number}", EPOCH_MS + number, predicted_class=predicted)
    return Revision(prediction, "joined", None, EPOCH_MS + DAY_MS, 1, "status", "status-1", truth)


def test_classes_beyond_the_limit_are_pooled_and_metrics_that_need_them_are_null() -> None:
    """The earliest by time of prediction are counted separately; two different other classes are no hit."""
    revisions = [labelled_as(n, f"c{n:04d}", f"c{n:04d}") for n in range(CLASSES_MAX + 2)]
    wrong = labelled_as(CLASSES_MAX + 9, f"c{CLASSES_MAX}", f"c{CLASSES_MAX + 1}")
    cells = cells_of([*revisions, wrong])
    pooled = {name: amounts(cells, f"class_{name} *other") for name in ("true", "predicted", "hit")}
    assert pooled == {"true": {0: 3}, "predicted": {0: 3}, "hit": {0: 2}}
    assert amounts(cells, f"class_hit c{CLASSES_MAX - 1}") == {0: 1}
    assert amounts(cells, f"class_hit c{CLASSES_MAX}") == {}
    found = metrics(cells, PLAN, [], {}).filter(pl.col("kind") == "status")
    values = dict(found.select("name", "value").iter_rows())
    assert values.pop("accuracy") == pytest.approx((CLASSES_MAX + 2) / (CLASSES_MAX + 3))
    assert set(values.values()) == {None}


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_thousand_classes_are_counted_exactly_in_any_order(is_reversed: bool) -> None:
    """The classes that are always wrong come first, or last."""
    half = 600
    wrong = [labelled_as(n, f"a{n:03d}", "b") for n in range(half)]
    right = [labelled_as(half + n, f"c{n:03d}", f"c{n:03d}") for n in range(half)]
    order = [*reversed(right), *wrong] if is_reversed else [*wrong, *right]
    cells = merge()
    for step in (order[:half], order[half:]):
        cells = merge(cells, fold(PLAN.with_admitted(cells), NO_PREDICTIONS, outcomes_frame(step), NONE))
    found = metrics(cells, PLAN, [], {}).filter(pl.col("kind") == "status")
    values = dict(found.select("name", "value").iter_rows())
    assert values["balanced_accuracy"] == pytest.approx(0.5)
    assert values["macro_f1"] == pytest.approx(half / (2 * half + 1))


def test_with_other_in_use_no_class_is_admitted_and_retractions_leave_nothing() -> None:
    """An outcome is subtracted from the class that it was added to, even if classes were retracted meanwhile."""
    revisions = [labelled_as(n, f"c{n:04d}", "c0000") for n in range(CLASSES_MAX + 1)]
    first = cells_of(revisions)
    gone = [replace(one, status="retracted", value_class=None, revision=2) for one in revisions]
    second = fold(PLAN.with_admitted(first), NO_PREDICTIONS, outcomes_frame(gone[1:4]), outcomes_frame(revisions[1:4]))
    some = merge(first, second)
    newer = labelled_as(CLASSES_MAX + 900, "brand new", "c0000")
    third = fold(PLAN.with_admitted(some), NO_PREDICTIONS, outcomes_frame([newer]), NONE)
    assert amounts(third, "class_true *other") == amounts(third, "class_predicted c0000") == {0: 1}
    last = [*gone[:1], *gone[4:], replace(newer, status="retracted", value_class=None, revision=2)]
    known = PLAN.with_admitted(merge(some, third))
    fourth = fold(known, NO_PREDICTIONS, outcomes_frame(last), outcomes_frame([*revisions[:1], *revisions[4:], newer]))
    left = merge(some, third, fourth)
    assert left.filter(pl.col("measure").str.starts_with("class_")).is_empty()
    assert left.filter(pl.col("amount") < 0).is_empty()


@pytest.mark.parametrize("name", ["*other", "\\", "*", 'a"b', "a@1 b", ""])
def test_no_real_class_is_taken_for_other(name: str) -> None:
    """A class of any name has its own measure, also at a fixed age."""
    cells = cells_of([labelled_as(1, name, name)])
    parts = read_measures(cells.filter(pl.col("measure").str.starts_with("class_")))
    assert set(parts.get_column("class")) == {escape_class(name)}
    assert escape_class(name) != "*other"
    found = metrics(cells, PLAN, [], {}, at_age_ms=DAY_MS).filter(pl.col("kind") == "status")
    assert found.filter(pl.col("name") == "accuracy")["value"].to_list() == [1.0]


def test_inputs_are_counted_by_their_fixed_bins_and_personal_data_is_not() -> None:
    """Missing values, NaN and values beyond the contract have special bins."""
    values = [None, math.nan, -1.0, 101.0, 0.0, 50.0, 100.0]
    rows = [Prediction(f"k{n}", amount=value, eligible=n > 2) for n, value in enumerate(values)]
    cells = fold(PLAN, predictions_frame(rows), NONE, NONE)
    inputs = cells.filter(pl.col("kind") == "")
    assert set(inputs.get_column("measure")) == {"input:amount", "input:device"}
    assert set(inputs.get_column("definition")) == {""}
    [histogram] = [one for one in PLAN.inputs if one.name == "amount"]
    expected = bins_of(histogram, pl.Series(values, dtype=pl.Float64)).value_counts()
    assert amounts(cells, "input:amount") == dict(expected.iter_rows())
    assert amounts(cells.filter(pl.col("kind") == ""), "input:device") == {0: 7}


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [(math.nan, 1.0), (1.0, math.inf), (-math.inf, 1.0), (None, 1.0), (1.0, None)],
)
def test_numbers_that_metrics_cannot_use_are_not_summed(truth: float | None, predicted: float | None) -> None:
    """They spoil no sum, and a retraction subtracts them again."""
    row = Prediction("a", fare=predicted)
    bad = Revision(row, "joined", truth, EPOCH_MS, 1, "fare", "fare-1")
    cells = cells_of([bad])
    assert amounts(cells, "no_output") == {0: 1}
    assert not cells.get_column("measure").str.contains("error|truth|labelled_scored").any()
    delta = cells_of([replace(bad, status="retracted", value=None, revision=2)], [bad])
    assert amounts(delta, "no_output") == {0: -1}


def test_a_hundred_thousand_slice_values_make_no_more_slices_than_the_limit() -> None:
    """All are of its first day, so none is known to be frequent: they are pooled as "other"."""
    count = 100_000
    one = predictions_frame([Prediction("a")])
    numbers = pl.int_range(count, eager=True)
    rows = one.select(pl.all().repeat_by(count).explode()).with_columns(
        offset=numbers, key=numbers.cast(pl.String), slice_country=pl.lit("c") + numbers.cast(pl.String)
    )
    plan = CellPlan.from_config(config_of())
    cells = fold(plan, rows, NONE, NONE)
    assert cells.get_column("slice").unique().sort().to_list() == ["", "country=*other"]
    late = cells.filter(pl.col("kind") == "late")
    assert amounts(late, "predictions", slice_="country=*other") == {0: count}
    assert amounts(late, "predictions") == {0: count}


def test_keys_that_do_not_fit_into_one_integer_are_grouped_by_their_columns() -> None:
    """The sums are the same, without overflow."""
    rows = pl.DataFrame({"a": [5, 5, 7], "b": [1, 1, 2], "amount": [1, 2, 4]})
    for size in (10, 2**40):
        found = sum_by(rows, {"a": size, "b": size}, ["amount"]).collect().sort("a")
        assert found.select("a", "b", "amount").rows() == [(5, 1, 3), (7, 2, 4)]
