"""Diff of a backfill: every number against an independent count of its rows.

Through the diff these tests cover `monitor.backfill.balance`, `monitor.backfill.restatement` and
`monitor.backfill.restated_metrics`.
"""

import json
import math
from collections import Counter
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from backfill_case import FIRST_DAY, PLAN, Row, cells_of, diff, episode_of, frames, random_rows
from cell_cases import DAY_MS, HOUR_MS
from jsonschema import Draft202012Validator
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from monitor.backfill.diff import COHORT_SCHEMA, PAIR_SCHEMA, diff_of
from monitor.metrics.table import metrics
from schemas.events.backfill import Cause
from schemas.events.backfill_diff import NO_LABEL, AffectedDecision, BackfillDiff, LabelChange, MetricChange, TimeShift
from schemas.publish import FOLDER

THRESHOLD = 0.3
KINDS = ("late", "fare", "status")
HAND_MADE = [
    Row(None, 1.0),
    Row(None, 0.0),
    Row(0.0, 1.0),
    Row(1.0, 0.0),
    Row(1.0, 0.0),
    Row(1.0, 1.0),
    Row(0.0, None),
    Row(None, None),
    Row(0.0, 1.0, eligible=False),
    Row(1.0, 1.0, touched=False),
    Row(None, None, touched=False),
    Row(0.0, 0.0, touched=False, day=1),
]
"""Two new, three changed, one identical, one taken away, one without a label; one is not eligible."""
PAIRS, COHORTS = frames(HAND_MADE).pairs, frames(HAND_MADE).cohorts


def metric(report: BackfillDiff, scope: str, name: str) -> MetricChange:
    """Return one metric."""
    [found] = [one for one in report.metrics if (one.scope, one.name) == (scope, name)]
    return found


def label(report: BackfillDiff, scope: str, name: str) -> LabelChange:
    """Return one label."""
    [found] = [one for one in report.labels if (one.scope, one.label) == (scope, name)]
    return found


def of_scope(rows: list[Row], scope: str) -> tuple[list[Row], list[Row]]:
    """Return the rows with a label before, and those with one after, that belong to the scope."""
    cohorts = {(row.version, row.day) for row in rows if row.touched and row.eligible}
    mine = [row for row in rows if row.eligible and (row.version, row.day) in cohorts]
    if scope in ("touched", "episode"):
        mine = [row for row in mine if row.touched]
    if scope in ("touched", "paired"):
        mine = [row for row in mine if row.before is not None and row.after is not None]
    return [row for row in mine if row.before is not None], [row for row in mine if row.after is not None]


def test_predictions_are_counted_by_the_change_of_their_label() -> None:
    """Rows that are not eligible have a count of their own."""
    touched = diff(HAND_MADE).touched
    counts = (touched.new, touched.changed, touched.identical, touched.taken_away, touched.unlabelled)
    assert counts == (2, 3, 1, 1, 1)
    assert (touched.predictions, touched.ineligible) == (8, 1)


def test_the_matrix_has_labels_before_down_and_labels_after_across() -> None:
    """The third is "no label"."""
    matrix = diff(HAND_MADE).matrix
    assert matrix.labels == ["0", "1", NO_LABEL]
    assert matrix.counts == [[0, 1, 1], [2, 1, 0], [1, 1, 1]]


def test_days_and_versions_are_those_of_eligible_predictions_touched() -> None:
    """Other cohorts are left out."""
    rows = [*HAND_MADE, Row(1.0, 0.0, version="v2", day=4), Row(1.0, 0.0, version="v3", day=9, eligible=False)]
    report = diff(rows)
    assert (report.first_day, report.last_day, report.days) == ("2013-03-12", "2013-03-16", 2)
    assert (report.versions, report.versions_touched, report.cohorts_touched) == (["v1", "v2"], 2, 2)


def test_coverage_is_that_of_the_whole_cohort() -> None:
    """Untouched predictions and labels count on both sides."""
    total = diff(HAND_MADE).total
    assert (total.predictions, total.touched, total.labelled_before, total.labelled_after) == (10, 8, 6, 7)
    assert (total.coverage_before, total.coverage_after, total.flips) == (0.6, 0.7, 3)
    assert (total.version, total.day, total.is_mature) == (None, None, True)


def test_flips_are_a_share_of_mature_labels_and_of_all_labels() -> None:
    """A cohort that is not mature counts in the second only."""
    rows = [*[Row(1.0, 1.0)] * 9, Row(0.0, 1.0), *[Row(0.0, 1.0, day=1)] * 2, *[Row(0.0, 0.0, day=1)] * 2]
    report = diff(rows, immature_days=[1])
    assert (report.mature_flips, report.mature_labels, report.flip_share_of_mature) == (1, 10, 0.1)
    assert report.flip_share == pytest.approx(3 / 14, rel=1e-8)
    assert diff(rows, immature_days=[0, 1]).flip_share_of_mature is None
    assert not report.total.is_mature


def test_the_cohorts_shown_are_the_worst_sixty() -> None:
    """Those whose coverage falls most are first, then those with most flips; the totals include all."""
    rows = [Row(1.0, 1.0, day=day) for day in range(62)]
    rows += [Row(1.0, 0.0, day=day) for day in (7, 7, 9)] + [Row(1.0, None, day=50), Row(1.0, 1.0, day=50)]
    report = diff(rows)
    days = [str(FIRST_DAY + timedelta(days=day)) for day in (50, 7, 9, 0)]
    assert [one.day for one in report.cohorts][:4] == days
    assert (len(report.cohorts), report.cohorts_touched, report.total.flips) == (60, 62, 3)
    assert report.mature_coverage_fall == pytest.approx(1 / 3, rel=1e-8)


def test_a_fall_of_coverage_counts_in_mature_cohorts_only() -> None:
    """A young day may lose a label; where coverage only rises, the fall is zero."""
    rows = [Row(1.0, None, day=1), Row(None, 1.0, day=0)]
    assert diff(rows, immature_days=[1]).mature_coverage_fall == 0.0
    assert diff(rows).mature_coverage_fall == 1.0


@pytest.mark.parametrize("scope", ["touched", "paired", "cohorts"])
def test_binary_metrics_are_those_of_scikit_learn(scope: str) -> None:
    """Before and after, over exactly the rows of the scope; AUC within its bound."""
    rows = random_rows("late", 400, seed=3)
    report = diff(rows)
    for side, mine in zip(("before", "after"), of_scope(rows, scope), strict=True):
        truth = np.array([getattr(row, side) for row in mine])
        score = np.array([row.output for row in mine], dtype=np.float64)
        wanted = {
            "accuracy": accuracy_score(truth, score >= THRESHOLD),
            "log_loss": log_loss(truth, score),
            "brier": brier_score_loss(truth, score),
        }
        for name, value in wanted.items():
            assert getattr(metric(report, scope, name), side) == pytest.approx(value, rel=1e-8)
        auc = metric(report, scope, "roc_auc")
        assert auc.bound is not None
        assert abs(getattr(auc, side) - roc_auc_score(truth, score)) <= auc.bound + 1e-9 < 0.05
        assert getattr(auc, f"n_{side}") == len(mine)


@pytest.mark.parametrize("scope", ["touched", "paired", "cohorts"])
def test_metrics_of_regression_and_classes_are_those_of_scikit_learn(scope: str) -> None:
    """The same for the other two tasks."""
    fares, statuses = random_rows("fare", 400, seed=3), random_rows("status", 400, seed=3)
    fare, status = diff(fares, "fare"), diff(statuses, "status")
    for side, mine, others in zip(("before", "after"), of_scope(fares, scope), of_scope(statuses, scope), strict=True):
        truth, output = [getattr(row, side) for row in mine], [row.output for row in mine]
        found = {name: getattr(metric(fare, scope, name), side) for name in ("mae", "mse", "r2")}
        assert found["mae"] == pytest.approx(mean_absolute_error(truth, output), rel=1e-6)
        assert found["mse"] == pytest.approx(mean_squared_error(truth, output), rel=1e-6)
        assert found["r2"] == pytest.approx(r2_score(truth, output), rel=1e-6)
        truth, output = [getattr(row, side) for row in others], [row.output for row in others]
        found = {
            name: getattr(metric(status, scope, name), side) for name in ("accuracy", "balanced_accuracy", "macro_f1")
        }
        assert found["accuracy"] == pytest.approx(accuracy_score(truth, output), rel=1e-8)
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, output), rel=1e-8)
        assert found["macro_f1"] == pytest.approx(f1_score(truth, output, average="macro"), rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cohorts_metrics_are_those_of_the_cells_folded_with_the_backfill(kind: str) -> None:
    """The diff shows what approving will give, to its last digit."""
    rows = random_rows(kind, 400, seed=3)
    report = diff(rows, kind)
    for side in ("before", "after"):
        touched = cells_of(tuple(rows), kind, side).filter(pl.col("version") != "v3")
        found = metrics(touched, PLAN, [], {}).filter(pl.col("kind") == kind)
        shown = {one.name: getattr(one, side) for one in report.metrics if one.scope == "cohorts"}
        values = dict(found.select("name", "value").iter_rows())
        assert shown.keys() & values.keys()
        for name in shown.keys() & values.keys():
            assert shown[name] == pytest.approx(values[name], rel=1e-8)


@pytest.mark.parametrize("scope", ["touched", "cohorts"])
def test_prevalence_has_cohens_h(scope: str) -> None:
    """Share of ones among labels before and after, and the effect size of their difference."""
    rows = random_rows("late", 400, seed=3)
    found = label(diff(rows), scope, "1")
    before, after = (
        sum(getattr(row, side) == 1.0 for row in mine) / len(mine)
        for side, mine in zip(("before", "after"), of_scope(rows, scope), strict=True)
    )
    assert (found.before, found.after) == (pytest.approx(before, rel=1e-8), pytest.approx(after, rel=1e-8))
    assert found.effect == pytest.approx(2 * np.arcsin(np.sqrt(after)) - 2 * np.arcsin(np.sqrt(before)), rel=1e-6)


def test_classes_have_a_share_each_and_numbers_a_mean() -> None:
    """Cohen's d is in standard deviations of the labels before."""
    statuses, fares = random_rows("status", 400, seed=3), random_rows("fare", 400, seed=3)
    report = diff(statuses, "status")
    before, after = of_scope(statuses, "cohorts")
    for name in {row.before for row in before}:
        found = label(report, "cohorts", str(name))
        assert found.before == pytest.approx(sum(row.before == name for row in before) / len(before), rel=1e-8)
        assert found.after == pytest.approx(sum(row.after == name for row in after) / len(after), rel=1e-8)
    mean = label(diff(fares, "fare"), "cohorts", "mean")
    first, last = (
        [getattr(row, side) for row in mine]
        for side, mine in zip(("before", "after"), of_scope(fares, "cohorts"), strict=True)
    )
    assert (mean.before, mean.after) == (
        pytest.approx(np.mean(first), rel=1e-6),
        pytest.approx(np.mean(last), rel=1e-6),
    )
    assert mean.effect == pytest.approx((np.mean(last) - np.mean(first)) / np.std(first), rel=1e-4)


def test_the_index_of_labels_is_that_of_the_formula() -> None:
    """Sum of (p - q) ln(p / q) with half a row added to each count, less its mean under chance."""
    rows = [*[Row(0.0, 0.0)] * 70, *[Row(0.0, 1.0)] * 20, *[Row(1.0, 1.0)] * 30, *[Row(None, 1.0)] * 5]
    [found] = [one for one in diff(rows).distributions if (one.scope, one.of) == ("cohorts", "label")]
    assert (found.before, found.after) == (120, 125)
    q, p = [90.5 / 121, 30.5 / 121], [70.5 / 126, 55.5 / 126]
    psi = sum((b - a) * math.log(b / a) for a, b in zip(q, p, strict=True))
    assert found.excess_psi == pytest.approx(psi - (1 / 120 + 1 / 125), rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_of_labelled_predictions_shift_when_only_some_get_labels(kind: str) -> None:
    """New labels for high outputs alone are another population; identical labels are not."""
    low, high = {"late": (0.1, 0.9), "fare": (1.0, 9.0), "status": ("a", "b")}[kind]
    truth: float | str = {"late": 1.0, "fare": 5.0, "status": "a"}[kind]  # type: ignore[assignment] # of each task
    same = [*[Row(truth, truth, low)] * 300, *[Row(truth, truth, high)] * 300]
    moved = [*same, *[Row(None, truth, high)] * 600]
    for rows, least, most in ((same, -1.0, 0.0), (moved, 0.1, 9.0)):
        found = [one.excess_psi for one in diff(rows, kind).distributions if one.of == "output"]
        assert found
        assert all(value is not None and least <= value <= most for value in found)


@pytest.mark.parametrize("kind", KINDS)
def test_ages_of_first_labels_are_reported_without_and_with_the_episode(kind: str) -> None:
    """The least edge of the grid by which so many are known, untouched labels included."""
    rows = random_rows(kind, 400, seed=3)
    report = diff(rows, kind)
    [plan] = [one for one in PLAN.kinds if one.name == kind]
    before, after = of_scope(rows, "cohorts")
    for ages, shown in (
        ([row.age_before_ms for row in before], (report.delays.median_without_ms, report.delays.p95_without_ms)),
        ([row.age_after_ms for row in after], (report.delays.median_with_ms, report.delays.p95_with_ms)),
    ):
        for share, edge in zip((0.5, 0.95), shown, strict=True):
            wanted = sorted(ages)[math.ceil(share * len(ages)) - 1]
            assert edge == min(one for one in plan.age_edges_ms if one >= wanted)


def test_a_stale_backfill_changes_only_the_delays_with_it() -> None:
    """An hour without it, which is an edge of the grid; with it, the tenth that came nine days late."""
    rows = [*[Row(1.0, 1.0)] * 90, *[Row(None, 1.0, age_after_ms=9 * DAY_MS)] * 10]
    delays = diff(rows).delays
    assert (delays.median_without_ms, delays.p95_without_ms, delays.median_with_ms) == (HOUR_MS,) * 3
    assert delays.p95_with_ms is not None
    assert delays.p95_with_ms >= 9 * DAY_MS
    case = frames(rows)
    alone = diff_of(episode_of(), PLAN, case.pairs, case.cohorts).delays
    assert alone == delays.model_copy(update={"scope": "episode"})


def test_slices_with_most_flips_come_first() -> None:
    """Among equals, the value with more predictions; a missing value is null."""
    rows = [*[Row(0.0, 1.0, country="FR")] * 2, Row(0.0, 1.0, country=None), *[Row(0.0, 0.0, country="DE")] * 5]
    found = [(one.name, one.value, one.touched, one.flips) for one in diff(rows).slices]
    assert found == [
        ("role", "champion", 8, 3),
        ("country", "FR", 2, 2),
        ("country", None, 1, 1),
        ("country", "DE", 5, 0),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_neither_the_order_of_rows_nor_a_second_run_changes_a_byte(kind: str) -> None:
    """A ruling is bound to their digest."""
    case = frames(random_rows(kind, 400, seed=3), kind)
    decisions = [AffectedDecision(decision=f"rt-{n:032x}", dataset_uri=f"file:///d/{n}") for n in (2, 1)]
    episode = episode_of(kind)
    first = diff_of(episode, PLAN, case.pairs, case.cohorts, cells=case.before, decisions=decisions)
    shuffled = [frame.sample(fraction=1, shuffle=True, seed=5) for frame in (case.pairs, case.cohorts, case.before)]
    second = diff_of(episode, PLAN, shuffled[0], shuffled[1], cells=shuffled[2], decisions=decisions[::-1])
    assert first.document() == second.document()
    assert first.sha256() == second.sha256()
    assert json.loads(first.document())["task"] == first.task


@pytest.mark.parametrize("kind", KINDS)
def test_the_document_is_valid_by_its_schema_and_reads_back(kind: str) -> None:
    """Parsing the bytes gives the same diff, and the same bytes again."""
    report = diff(random_rows(kind, 400, seed=3), kind)
    assert BackfillDiff.model_validate_json(report.document()) == report
    assert BackfillDiff.model_validate_json(report.document()).document() == report.document()
    schema = json.loads((FOLDER / "backfill_diff.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads(report.document()))


def test_the_document_is_canonical() -> None:
    """Sorted keys, no blanks, unescaped text, and no figure with more digits than all platforms agree on."""
    document = diff([Row("é", "ü", "ü"), Row("ü", "é", "ü"), Row("ü", "ü", "ü")], "status").document().decode()
    figures: list[float] = []

    def read(text: str) -> float:
        figures.append(float(text))
        return float(text)

    def check(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)
        return dict(pairs)

    json.loads(document, parse_float=read, object_pairs_hook=check)
    assert figures
    assert all(figure == float(f"{figure:.9g}") for figure in figures)
    assert not any(figure == 0 and math.copysign(1, figure) < 0 for figure in figures)
    assert "é" in document
    assert '": ' not in document


def test_a_report_without_a_shift_has_the_bytes_of_the_version_before() -> None:
    """A person's ruling is bound to the digest of a report that an earlier version has stored."""
    report = diff([Row(0.0, 1.0)])
    assert "shift" not in json.loads(report.document())
    again = BackfillDiff.model_validate_json(report.document())
    assert (again, again.sha256()) == (report, report.sha256())
    moved = {"median_ms": 1, "least_ms": 1, "greatest_ms": 1}
    shifted = report.model_copy(update={"shift": TimeShift(labels=1, same_value=1, at_median=1, **moved)})
    assert BackfillDiff.model_validate_json(shifted.document()) == shifted
    assert shifted.sha256() != report.sha256()


def test_another_label_gives_another_digest() -> None:
    """With one flip more, an approval of the first diff is not valid for the second."""
    assert diff(HAND_MADE).sha256() != diff([*HAND_MADE, Row(0.0, 1.0)]).sha256()


def test_without_cells_the_change_of_accuracy_is_the_same() -> None:
    """Untouched labels do not change, so the number of the cohorts' labels is enough."""
    rows = random_rows("late", 400, seed=3)
    case = frames(rows)
    whole = diff(rows).random_flips
    alone = diff_of(episode_of(), PLAN, case.pairs, case.cohorts).random_flips
    assert whole is not None
    assert alone is not None
    assert (whole.scope, alone.scope) == ("paired", "touched")
    assert alone.change == pytest.approx(whole.change, rel=1e-6)
    assert alone.flip_share == whole.flip_share
    assert whole.flip_share == pytest.approx(
        sum(row.touched and row.before != row.after for row in of_scope(rows, "paired")[0])
        / len(of_scope(rows, "paired")[0])
    )


def test_a_matrix_of_many_classes_has_the_most_common_twenty_and_the_rest() -> None:
    """No row is lost, and a class named like `*none` is distinct from it."""
    rows = [Row(f"c{n % 30:02}", f"c{(n + 1) % 30:02}", "c00") for n in range(90)]
    rows += [Row("*none", "*other", "*none")] * 9 + [Row("\\x", None, "c00")] * 8
    matrix = diff(rows, "status").matrix
    assert matrix.labels[-2:] == ["*other", "*none"]
    assert {"\\*none", "\\*other", "\\\\x"} <= set(matrix.labels[:20])
    assert len(matrix.labels) == 22
    assert np.sum(matrix.counts) == 107
    at = matrix.labels.index("\\*none"), matrix.labels.index("\\*other")
    assert matrix.counts[at[0]][at[1]] == 9


def test_a_matrix_of_numbers_has_five_ranges_of_the_labels_before() -> None:
    """Each holds a fifth of them."""
    rows = [Row(float(n), float(n) + 20, 1.0) for n in range(100)] + [Row(None, 3.0, 1.0), Row(3.0, None, 1.0)]
    matrix = diff(rows, "fare").matrix
    assert matrix.labels == ["below 19", "19 to 39", "39 to 59", "59 to 79", "from 79", NO_LABEL]
    assert np.sum(matrix.counts) == 102
    assert [sum(row) for row in matrix.counts][:5] == pytest.approx([20] * 5, abs=2)
    assert diff([Row(None, 4.0, 1.0)] * 3, "fare").matrix.labels[-1] == NO_LABEL


def test_predictions_sent_again_restate_nothing() -> None:
    """Their labels are the same on both sides; the sentences state it."""
    case = frames([Row(1.0, 1.0)] * 3)
    report = diff_of(episode_of(causes=[Cause.RESENT]), PLAN, case.pairs, case.cohorts, cells=case.before)
    assert (report.touched.identical, report.total.flips, report.asymmetry) == (3, 0, None)
    assert "the content that was sent first" in report.approving
    assert "the content that was sent first" in report.rejecting


def test_the_sentences_state_what_approving_and_rejecting_do() -> None:
    """With the numbers of labels that change, are new or are removed."""
    report = diff(HAND_MADE)
    assert "late-15min of record for 8 predictions: 3 labels change, 2 are new and 1 are removed" in report.approving
    assert "out of the record" in report.rejecting


def test_an_episode_without_predictions_has_an_empty_diff() -> None:
    """Its labels have no predictions; nothing is divided by zero."""
    report = diff_of(episode_of(), PLAN, PAIR_SCHEMA.to_frame(), COHORT_SCHEMA.to_frame())
    assert (report.touched.predictions, report.first_day, report.flip_share) == (0, None, None)
    assert (report.random_flips, report.total.coverage_before, report.delays.p95_with_ms) == (None, None, None)
    assert not report.total.is_mature


def case_with(**changes: pl.Expr) -> pl.DataFrame:
    """Return the pairs of the hand-made rows with columns changed."""
    return PAIRS.with_columns(**changes)


@pytest.mark.parametrize(
    ("pairs", "cohorts", "message"),
    [
        (case_with(before_value=pl.lit(None, pl.Float64)), COHORTS, "no value in before_value"),
        (case_with(after_value=pl.lit(math.nan)), COHORTS, "no value in after_value"),
        (case_with(), COHORTS.clear(), "one row for each version and day"),
        (case_with(), pl.concat([COHORTS] * 2), "one row for each version and day"),
        (case_with(), COHORTS.with_columns(predictions=pl.lit(7)), "hold less"),
        (case_with(), COHORTS.with_columns(labelled=pl.lit(4)), "hold less"),
        (case_with(), COHORTS.with_columns(positives=pl.lit(2)), "hold less"),
        (case_with(), COHORTS.with_columns(positives=pl.lit(None, pl.Int64)), "hold less"),
    ],
)
def test_inconsistent_frames_are_refused(pairs: pl.DataFrame, cohorts: pl.DataFrame, message: str) -> None:
    """Else a person might approve a diff of frames read at different times."""
    with pytest.raises(ValueError, match=message):
        diff_of(episode_of(), PLAN, pairs, cohorts)


def test_cells_without_the_labels_before_are_refused() -> None:
    """Such as cells after the backfill."""
    case = frames(HAND_MADE)
    with pytest.raises(ValueError, match="cells hold less"):
        diff_of(episode_of(), PLAN, case.pairs, case.cohorts, cells=case.before.clear())


def test_a_kind_that_the_plan_does_not_have_is_refused() -> None:
    """By name."""
    case = frames(HAND_MADE)
    with pytest.raises(ValueError, match="no label kind 'gone'"):
        diff_of(episode_of().model_copy(update={"kind": "gone"}), PLAN, case.pairs, case.cohorts)


def test_counts_agree_with_each_other() -> None:
    """Matrix, cohorts, slices and totals count the same predictions."""
    for kind in KINDS:
        rows = random_rows(kind, 400, seed=3)
        report = diff(rows, kind)
        mine = [row for row in rows if row.touched and row.eligible]
        assert np.sum(report.matrix.counts) == report.touched.predictions == len(mine)
        assert sum(one.flips for one in report.cohorts) == report.touched.changed
        roles = [one for one in report.slices if one.name == "role"]
        assert [(one.touched, one.flips) for one in roles] == [(len(mine), report.touched.changed)]
        by_cohort = Counter((row.version, str(FIRST_DAY + timedelta(days=row.day))) for row in mine)
        assert {(one.version, one.day): one.touched for one in report.cohorts} == by_cohort
