"""Label arrivals: which revisions are arrivals, and under which day, hour and age they are counted."""

from dataclasses import replace
from datetime import UTC, date, datetime

import polars as pl
import pytest
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    Prediction,
    Revision,
    config_of,
    outcomes_frame,
    predictions_frame,
)

from monitor.cells.count_again import AGAIN, SENT_AGAIN, TOLD_AGAIN, count_again
from monitor.cells.count_arrivals import read_hourly_arrivals, read_hourly_conflicts
from monitor.cells.fold import fold, restate
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.summary import CellSummary, summarise
from monitor.coverage.table import coverage
from monitor.metrics.table import metrics

PLAN = CellPlan.from_config(config_of())
NONE = outcomes_frame([])
ONE = Prediction("a")


def label(age_ms: int = HOUR_MS, reason: str = "first", prediction: Prediction = ONE, **changes: object) -> Revision:
    """Return a revision made by a label."""
    status = "retracted" if reason == "retraction" else "joined"
    value = None if reason == "retraction" else 1.0
    known_at_ms = prediction.predicted_at_ms + age_ms
    plain = Revision(prediction, status, value, known_at_ms, 1, reason=reason, label_offset=7)
    return replace(plain, **changes)  # type: ignore[arg-type] # a test's own fields


def arrivals_in(*revisions: Revision, **columns: pl.Expr) -> pl.DataFrame:
    """Return the cells of arrivals."""
    outcomes = outcomes_frame(revisions).with_columns(**columns)
    cells = fold(PLAN, predictions_frame([one.prediction for one in revisions]), outcomes, NONE)
    return cells.filter(pl.col("measure").is_in(["arrived", "arrived_corrected"]))


def counted(cells: pl.DataFrame) -> list[tuple[str, str, int, int]]:
    """Return day, measure, bin and amount of cells."""
    return [(str(day), *row) for day, *row in cells.select("day", "measure", "bin", "amount").iter_rows()]


def at(text: str) -> int:
    """Return the milliseconds of a time in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.parametrize("reason", ["first", "late", "early"])
def test_a_first_label_is_counted_under_the_day_and_hour_of_its_arrival_and_by_its_age(reason: str) -> None:
    """Predicted at 08:00 New York time, known two days and three hours later."""
    age_ms = 2 * DAY_MS + 3 * HOUR_MS
    index = min(index for index, edge in enumerate(PLAN.kinds[1].age_edges_ms) if edge >= age_ms)
    cells = arrivals_in(label(age_ms, reason))
    assert counted(cells) == [("2013-03-14", "arrived", 11 * 4096 + index, 1)]
    assert cells.select("version", "slice", "kind", "definition").rows() == [("v1", "", "late", "late-15min")]


def test_an_hour_is_counted_from_the_days_first_instant_on_days_of_25_and_of_23_hours() -> None:
    """In New York clocks go back on 3 November and forward on 10 March 2013."""
    for day, known_at, hour in [
        ("2013-11-03", "2013-11-04T04:30:00", 24),
        ("2013-11-03", "2013-11-03T06:30:00", 2),
        ("2013-03-10", "2013-03-11T03:30:00", 22),
    ]:
        one = Prediction("a", predicted_at_ms=at(known_at) - HOUR_MS)
        [(found, _, bin_, _)] = counted(arrivals_in(label(prediction=one)))
        assert (found, bin_ // 4096) == (day, hour)


@pytest.mark.parametrize(
    ("changes", "amount"),
    [
        ({"reason": "correction", "previous": ("joined", 0.0)}, 1),
        ({"reason": "correction", "previous": ("joined", 1.0)}, 0),
        ({"reason": "retraction", "previous": ("joined", 1.0)}, 1),
        ({"reason": "retraction", "previous": ("implied", 0.0)}, 1),
        ({"reason": "retraction", "previous": ("pending", None)}, 0),
        ({"reason": "retraction", "previous": ("retracted", None)}, 0),
    ],
)
def test_a_label_that_changes_or_retracts_a_value_counts_as_changed_and_a_repeated_value_does_not(
    changes: dict[str, object], amount: int
) -> None:
    """Repetitions are not arrivals."""
    found = counted(arrivals_in(label(**changes)))  # type: ignore[arg-type] # a test's own fields
    assert found == [("2013-03-12", "arrived_corrected", 9, 1)] * amount


def test_only_live_labels_of_eligible_predictions_are_arrivals() -> None:
    """Timeouts, declared backfills and outcomes of ineligible predictions are not."""
    timeout = label(3 * DAY_MS, "timeout", label_offset=None, status="expired", value=None)
    assert arrivals_in(timeout).is_empty()
    assert arrivals_in(label(label_offset=None)).is_empty()
    assert arrivals_in(label(prediction=replace(ONE, eligible=False))).is_empty()
    assert arrivals_in(label(), is_declared=pl.lit(value=True), batch_id=pl.lit("b")).is_empty()
    for live in (pl.lit(value=False), pl.lit(None, dtype=pl.Boolean)):
        assert arrivals_in(label(), is_declared=live, batch_id=pl.lit(None, dtype=pl.String)).height == 1


def test_an_arrival_is_never_subtracted() -> None:
    """A correction and a retraction are further arrivals; the first label keeps its cell."""
    first = label()
    later = [
        label(2 * HOUR_MS, "correction", value=0.0, revision=2, previous=("joined", 1.0)),
        label(3 * HOUR_MS, "retraction", revision=3, previous=("joined", 0.0)),
    ]
    before = fold(PLAN, predictions_frame([ONE]), outcomes_frame([first]), NONE)
    both = merge(before, fold(PLAN, predictions_frame([]), outcomes_frame(later), outcomes_frame([first])))
    found = counted(both.filter(pl.col("measure").is_in(["arrived", "arrived_corrected"])))
    assert [(measure, amount) for _, measure, _, amount in found] == [("arrived", 1), *[("arrived_corrected", 1)] * 2]


def test_a_ruling_changes_no_arrivals() -> None:
    """A restatement changes cells of outcomes only."""
    frame = outcomes_frame([label()])
    assert not restate(PLAN, frame, (), ()).get_column("measure").str.starts_with("arrived").any()


def test_a_day_of_arrivals_is_no_cohort() -> None:
    """The label arrives two days later: coverage and metrics have only the day of the prediction."""
    cells = fold(PLAN, predictions_frame([ONE]), outcomes_frame([label(2 * DAY_MS)]), NONE)
    plain = cells.filter(~pl.col("measure").str.starts_with("arrived"))
    assert cells.height > plain.height
    until = dict.fromkeys(("late", "fare", "status"), EPOCH_MS + 90 * DAY_MS)
    assert coverage(cells, PLAN, until, until).equals(coverage(plain, PLAN, until, until))
    assert metrics(cells, PLAN, ["version", "day"], until).equals(metrics(plain, PLAN, ["version", "day"], until))


def test_hourly_arrivals_have_no_gaps_and_cover_all_versions_of_the_own_definition() -> None:
    """They start with the first day, and span the day of 23 hours on which clocks go forward."""
    early = replace(ONE, predicted_at_ms=at("2013-03-09T12:00:00"))
    other = replace(early, key="b", version="v2")
    known_ms = at("2013-03-11T04:10:00")
    age_ms = known_ms - early.predicted_at_ms
    revisions = [
        label(age_ms, prediction=early),
        label(age_ms, prediction=other),
        label(age_ms, definition="another", prediction=early),
        label(age_ms + HOUR_MS, "correction", previous=("joined", 0.0), prediction=other, revision=2),
    ]
    cells = fold(PLAN, predictions_frame([early, other]), outcomes_frame(revisions), NONE)
    found = read_hourly_arrivals(cells, PLAN, "late")
    assert len(found.hour_ms) == 24 + 23 + 24
    assert set(found.hour_ms[1:] - found.hour_ms[:-1]) == {HOUR_MS}
    assert found.hour_ms[0] == at("2013-03-09T05:00:00")
    assert list(found.hour_of_day[[0, 23, 24, 46, 47]]) == [0, 23, 0, 22, 0]
    hour = 24 + 23
    index = int((found.edges_ms < age_ms).sum())
    assert found.first[hour, index] == found.first.sum() == 2
    assert found.changed[hour + 1] == found.changed.sum() == 1


def again(measure: str, *rows: tuple[int, int], kind: str | None = "late") -> pl.DataFrame:
    """Return the cells of what came again: pairs of a time and a number."""
    times = [at_ms for at_ms, count in rows for _ in range(count)]
    return count_again(PLAN, pl.DataFrame({"measure": measure, "kind": kind, "predicted_at": times}).pipe(_timed))


def _timed(rows: pl.DataFrame) -> pl.DataFrame:
    time = pl.from_epoch("predicted_at", "ms").dt.replace_time_zone("UTC")
    return rows.with_columns(time).cast(dict(AGAIN))


def test_labels_told_again_have_their_hours_though_nothing_else_arrives() -> None:
    """The series goes on to their day; what is older than its first hour is left out."""
    cells = fold(PLAN, predictions_frame([ONE]), outcomes_frame([label()]), NONE)
    first_ms = read_hourly_arrivals(cells, PLAN, "late").hour_ms[0]
    rows = [(first_ms - 1, 7), (first_ms, 2), (first_ms + 2 * HOUR_MS - 1, 3), (first_ms + 9 * DAY_MS + 1, 5)]
    found = read_hourly_arrivals(merge(cells, again(TOLD_AGAIN, *rows)), PLAN, "late")
    assert [int(found.retimed[hour]) for hour in (0, 1, 9 * 24)] == [2, 3, 5]
    assert (found.retimed.sum(), len(found.hour_ms)) == (10, 10 * 24)
    other = again(TOLD_AGAIN, (first_ms, 4), kind="fare")
    assert read_hourly_arrivals(merge(cells, other), PLAN, "late").retimed.sum() == 0


def test_rows_of_one_cell_are_added_up() -> None:
    """Cells as they lie in the files: every fold has its own rows."""
    at_ms = ONE.predicted_at_ms
    changed = label(2 * HOUR_MS, "correction", previous=("joined", 0.0), revision=2)
    once = pl.concat(
        [
            fold(PLAN, predictions_frame([ONE]), outcomes_frame([label(), changed]), NONE),
            again(TOLD_AGAIN, (at_ms, 2)),
            again(SENT_AGAIN, (at_ms, 3), kind=None),
        ]
    )
    twice = pl.concat([once, once])
    assert merge(twice).height == once.height < twice.height
    found, alone = (read_hourly_arrivals(cells, PLAN, "late") for cells in (twice, once))
    for name in ("first", "changed", "retimed"):
        assert getattr(alone, name).sum() > 0
        assert (getattr(found, name) == 2 * getattr(alone, name)).all()
    [(_, conflicts)] = read_hourly_conflicts(twice, PLAN, "late").rows()
    assert conflicts == 6


def test_conflicts_are_of_every_kind_and_need_no_other_cells() -> None:
    """Their hours begin where those of the day do, also on the day of 23 hours; the series of arrivals has none."""
    five, forward = at("2013-03-09T05:10:00"), at("2013-03-10T07:30:00")
    cells = again(SENT_AGAIN, (forward, 3), (five, 1), kind=None)
    rows = [(at("2013-03-09T05:00:00"), 1), (at("2013-03-10T07:00:00"), 3)]
    for kind in PLAN.kinds:
        assert read_hourly_conflicts(cells, PLAN, kind.name).rows() == rows
        assert len(read_hourly_arrivals(cells, PLAN, kind.name).hour_ms) == 0
    nothing = read_hourly_conflicts(merge(), PLAN, "late")
    assert nothing.schema == {"hour_ms": pl.Int64(), "count": pl.Int64()}
    assert nothing.is_empty()


def test_what_came_again_is_in_the_summary_by_day_and_of_no_day_that_has_left() -> None:
    """A reader of the summary sees which days have changed."""
    cells = again(TOLD_AGAIN, (at("2013-03-09T12:00:00"), 2), (at("2013-03-11T12:00:00"), 3))
    more = again(SENT_AGAIN, (at("2013-03-11T13:00:00"), 1), kind=None)
    summary = CellSummary().plus(summarise(merge(cells, more)))
    assert sorted(summary.again("late").rows()) == [
        (date(2013, 3, 9), 2),
        (date(2013, 3, 11), 1),
        (date(2013, 3, 11), 3),
    ]
    assert summary.again("fare").rows() == [(date(2013, 3, 11), 1)]
    assert summary.days("late", "late-15min") is None
    left = replace(PLAN, since=date(2013, 3, 10))
    rows = pl.DataFrame({"measure": TOLD_AGAIN, "kind": "late", "predicted_at": [at("2013-03-09T12:00:00")]})
    assert count_again(left, rows.pipe(_timed)).is_empty()


def test_a_loop_without_cells_has_no_hours_and_an_unknown_kind_is_refused() -> None:
    """The first is an empty series, the second an error."""
    assert len(read_hourly_arrivals(merge(), PLAN, "late").hour_ms) == 0
    told = again(TOLD_AGAIN, (EPOCH_MS, 1))
    assert len(read_hourly_arrivals(told, PLAN, "late").hour_ms) == 0
    with pytest.raises(ValueError, match="no kind 'gone'"):
        read_hourly_arrivals(merge(), PLAN, "gone")
