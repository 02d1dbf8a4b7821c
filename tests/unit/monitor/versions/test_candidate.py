"""Candidate judgement: the verdict against the formula, its error rates, and the additional checks."""

import json
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from effort import examples
from scipy import stats

from monitor.versions.candidate import CandidateLimits, judge_candidate
from schemas.events.candidate import CandidateCheck, CandidateJudgement

FIRST = date(2013, 3, 4)


def drawn(seed: int, *, days: int = 21, rows: int = 200, worse: float = 0.0, noise: float = 0.1) -> pl.DataFrame:
    """Return rows of a binary kind: the candidate's logit is off by `worse`, and by a random effect of each day."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), rows)
    logit = rng.normal(-1, 1, day.size)
    truth = rng.random(day.size) < 1 / (1 + np.exp(-logit))
    own, other = rng.normal(0, noise, days)[day], rng.normal(0, noise, days)[day] + worse
    logits = {"running": logit + own, "candidate": logit + other}
    return pl.DataFrame(
        {
            "day": [FIRST + timedelta(days=int(number)) for number in day],
            "truth": truth.astype(np.float64),
            **{name: 1 / (1 + np.exp(-value)) for name, value in logits.items()},
            "slice_country": rng.choice(["DE", "FR", "IT"], day.size),
        }
    )


def check(found: CandidateJudgement, name: str) -> CandidateCheck:
    """Return the check of a name."""
    return next(one for one in found.checks if one.name == name)


def failed(found: CandidateJudgement) -> list[str]:
    """Return the names of failed checks."""
    return [one.name for one in found.checks if one.passed is False]


def test_the_bounds_are_one_sided() -> None:
    """Log losses, their difference and its error with days as clusters, computed with NumPy and SciPy."""
    rows = drawn(1, worse=0.2)
    truth = rows["truth"].to_numpy()
    losses = [-np.log(np.where(truth == 1, score, 1 - score)) for score in (rows["running"], rows["candidate"])]
    delta = losses[1] - losses[0]
    sums = np.array([(delta - delta.mean())[rows["day"] == day].sum() for day in rows["day"].unique()])
    error = np.sqrt(21 / 20 * (sums**2).sum()) / len(delta)
    found = judge_candidate(rows, "binary")
    half = stats.t.ppf(0.95, 20) * error
    assert (found.lower, found.upper) == pytest.approx((delta.mean() - half, delta.mean() + half))
    assert (found.running_loss, found.candidate_loss) == pytest.approx((losses[0].mean(), losses[1].mean()))
    assert found.margin == pytest.approx(0.02 * losses[0].mean())
    assert (found.labels, found.days, found.loss) == (4_200, 21, "log_loss")


@pytest.mark.parametrize(
    ("worse", "verdict"),
    [(0.0, "non_inferior"), (1.0, "inferior")],
)
def test_a_clear_case_has_a_clear_verdict_and_survives_json(worse: float, verdict: str) -> None:
    """Written and read again."""
    found = judge_candidate(drawn(2, worse=worse, noise=0.02), "binary", ["country"])
    assert found.verdict == verdict
    assert found.may_ship == (verdict == "non_inferior")
    assert CandidateJudgement.model_validate_json(json.dumps(found.model_dump(mode="json"))) == found


def test_an_interval_across_the_margin_is_undecided_and_stated() -> None:
    """The candidate is neither significantly worse nor within the margin."""
    found = judge_candidate(drawn(3, worse=0.25, noise=0.5), "binary")
    assert (found.verdict, found.may_ship) == ("undecided", False)
    assert found.lower is not None
    assert found.upper is not None
    assert found.margin is not None
    assert found.lower < 0 < found.margin < found.upper
    assert "more days are needed" in found.text


@pytest.mark.parametrize(
    ("rows", "lacking"),
    [
        (drawn(4, days=13), "13 of 14 days"),
        (drawn(4, rows=30), "630 of 1,000 labels"),
        (drawn(4).filter(pl.col("truth") == 0), "0 of 100 labels of the rarer class"),
        (drawn(4).clear(), "0 of 14 days, 0 of 1,000 labels, 0 of 100 labels of the rarer class"),
        (drawn(4).with_columns(candidate=pl.lit(None, pl.Float64)), "0 of 1,000 labels"),
        (drawn(4).with_columns(candidate=pl.lit(1.5)), "0 of 1,000 labels"),
    ],
)
def test_with_too_little_data_the_text_states_what_is_lacking(rows: pl.DataFrame, lacking: str) -> None:
    """Outputs that are no probability do not count."""
    found = judge_candidate(rows, "binary", ["country"])
    assert found.verdict == "undecided"
    assert lacking in found.text
    assert found.checks == []


def test_a_version_at_the_margin_is_passed_in_one_case_of_twenty_at_most() -> None:
    """And an equal one is called inferior as rarely, with random day effects."""
    count = examples(800)
    rng = np.random.default_rng(5)
    wrong = {"at the margin": 0, "equal": 0, "half as good": 0}
    for _ in range(count):
        day = np.repeat(np.arange(15), 80)
        loss = rng.gamma(4, 0.125, day.size)
        noise = rng.normal(0, 0.015, 15)[day] + rng.normal(0, 0.05, day.size)
        for name, verdict, effect in (
            ("at the margin", "non_inferior", 0.01),
            ("equal", "inferior", 0.0),
            ("half as good", "inferior", 0.04),
        ):
            rows = pl.DataFrame({"day": day, "truth": 0.0, "running": loss, "candidate": loss + effect + noise})
            rows = rows.with_columns(pl.lit(FIRST) + pl.duration(days="day").alias("day"))
            rows = rows.select(pl.col("literal").alias("day"), "truth", "running", "candidate")
            wrong[name] += judge_candidate(rows, "regression").verdict == verdict
    limit = stats.binom.ppf(0.999, count, 0.06)
    assert wrong["at the margin"] <= limit
    assert wrong["equal"] <= limit
    assert wrong["half as good"] >= 0.95 * count


def test_equal_versions_fail_a_check_in_few_cases() -> None:
    """Segments and weeks are tested at 5 % each, beyond a margin; calibration needs a significant growth."""
    count = examples(200)
    failures = [failed(judge_candidate(drawn(seed, rows=100), "binary", ["country"])) for seed in range(count)]
    assert sum(bool(names) for names in failures) <= stats.binom.ppf(0.999, count, 0.08)


def test_a_segment_that_loses_is_named_though_the_whole_does_not() -> None:
    """One country of three gets worse, the others better."""
    rows = drawn(7, noise=0.02)
    shift = pl.when(pl.col("slice_country") == "FR").then(0.3).otherwise(0.0)
    mixed = pl.col("running") + (0.5 - pl.col("running")) * 2 * shift
    better = pl.when(pl.col("truth") == 1).then(pl.col("running") + 0.1).otherwise(pl.col("running") - 0.1)
    score = pl.when(shift > 0).then(mixed).otherwise(better.clip(0.01, 0.99))
    found = judge_candidate(rows.with_columns(candidate=score), "binary", ["country"])
    assert found.verdict == "non_inferior"
    assert check(found, "segments").value == 1
    assert check(found, "segment country=FR").passed is False
    assert not found.may_ship


def test_small_segments_are_not_judged() -> None:
    """A country with few labels cannot fail a check."""
    rows = drawn(8).with_columns(slice_country=pl.lit("DE"))
    few = rows.head(150).with_columns(slice_country=pl.lit("XX"), candidate=pl.lit(0.5))
    found = judge_candidate(pl.concat([rows, few]), "binary", ["country"])
    assert check(found, "segments").text.startswith("0 of 1 segments")


def test_holms_correction_keeps_many_segments_from_failing_by_chance() -> None:
    """Two hundred segments exactly at the margin: tested one by one, ten of them would fail."""
    rng = np.random.default_rng(9)
    day = np.tile(np.arange(14), 200 * 15)
    loss = rng.gamma(4, 0.125, day.size)
    rows = pl.DataFrame(
        {
            "day": [FIRST + timedelta(days=int(one)) for one in day],
            "truth": np.zeros(day.size),
            "running": loss,
            "candidate": 1.05 * loss + rng.normal(0, 0.05, day.size),
            "slice_shop": np.repeat([f"s{number}" for number in range(200)], 14 * 15),
        }
    )
    found = judge_candidate(rows, "regression", ["shop"])
    assert check(found, "segments").text == "0 of 200 segments lose more than 5.0 %"


def test_an_overconfident_version_fails_calibration() -> None:
    """Though its mean loss is within a wide margin."""
    rows = drawn(10, noise=0.0).with_columns(logit=(pl.col("running") / (1 - pl.col("running"))).log())
    sharp = rows.with_columns(candidate=1 / (1 + (-2 * pl.col("logit")).exp()))
    found = judge_candidate(sharp, "binary", limits=CandidateLimits(margin=0.5))
    assert found.verdict == "non_inferior"
    assert failed(found)[-1] == "calibration"
    assert check(judge_candidate(rows, "binary"), "calibration").value == 0.0


def test_weeks_find_a_version_that_loses_steadily_or_in_a_single_week() -> None:
    """Six weeks slightly worse, or one week much worse."""
    rows = drawn(11, days=42, noise=0.0)
    worse = pl.when(pl.col("truth") == 1).then(pl.col("running") * 0.995).otherwise(pl.col("running"))
    steady = judge_candidate(rows.with_columns(candidate=worse), "binary")
    assert (steady.verdict, check(steady, "weeks").value, failed(steady)) == ("non_inferior", 1.0, ["weeks"])
    in_week = pl.col("day").is_between(FIRST + timedelta(days=14), FIRST + timedelta(days=20))
    once = rows.with_columns(candidate=pl.when(in_week).then(0.5).otherwise(pl.col("running")))
    found = judge_candidate(once, "binary", limits=CandidateLimits(margin=0.2))
    assert "worst_week" in failed(found)
    assert "week 3" in check(found, "worst_week").text
    assert check(judge_candidate(drawn(12), "binary"), "weeks").passed is None


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_the_losses_of_other_tasks_are_wrong_classes_and_absolute_errors(task: str) -> None:
    """Rows without a truth, or with an output of one version only, are left out."""
    day = [FIRST + timedelta(days=number % 20) for number in range(2_000)]
    wrong = np.arange(2_000) % 10 == 0
    if task == "multiclass":
        truth, good, bad = ["a"] * 2_000, np.where(wrong, "b", "a"), np.full(2_000, "b")
    else:
        truth, good, bad = [1.0] * 2_000, np.where(wrong, 2.0, 1.0), np.full(2_000, 2.0)
    rows = pl.DataFrame({"day": day, "truth": truth, "running": good, "candidate": bad})
    gaps = rows.head(3).with_columns(candidate=None, running=None).cast(dict(rows.schema))
    found = judge_candidate(pl.concat([rows, gaps]), task, [])
    assert (found.running_loss, found.candidate_loss, found.labels) == (pytest.approx(0.1), 1.0, 2_000)
    assert found.verdict == "inferior"
    assert "calibration" not in [one.name for one in found.checks]


def test_the_order_of_rows_does_not_matter() -> None:
    """Partitions come in any order."""
    rows = drawn(13)
    one, other = (
        judge_candidate(each, "binary", ["country"]) for each in (rows, rows.sample(fraction=1, shuffle=True))
    )
    assert (one.verdict, one.lower, one.upper) == (other.verdict, other.lower, other.upper)
    assert [each.name for each in one.checks] == [each.name for each in other.checks]
