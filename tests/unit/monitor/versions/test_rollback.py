"""Rollback advice: by pairs where both versions predict, else by loss and errors since the change."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from effort import examples
from evaluation_case import Era, Story, day_of, in_one_go, plain_config
from scipy import stats

from monitor.cells.versions import Rollout
from monitor.drift.detection import Detection
from monitor.finding import rollback_finding
from monitor.versions.compare import compare
from monitor.versions.rollback import Rollback, judge_rollback
from schemas.events.evidence import Evaluation, FindingKind, Level

SINCE = day_of(30)
ROLLOUT = Rollout("v2", SINCE, SINCE, "v1")
SCHEMA = {"day": pl.Date, "n": pl.Int64, "loss": pl.Float64, "positives": pl.Int64, "negatives": pl.Int64}


def losses(first: int, until: int, loss: float, seed: int = 1, noise: float = 0.0) -> pl.DataFrame:
    """Return days of 100 labels with a mean loss and a random effect of each day."""
    rng = np.random.default_rng(seed)
    rows = [(day_of(number), 100, 100 * (loss + rng.normal(0, noise)), 40, 60) for number in range(first, until)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def drift(since: date, direction: str = "worse") -> Detection:
    """Return a drift of errors."""
    return Detection(since, since, direction, 0.1, 0.2, 0.1, 1.0, 900)  # type: ignore[arg-type]  # worse or better


def reason(found: Rollback | None) -> str:
    """Return the reason, or an empty text."""
    return "" if found is None else found.reason


def test_sums_by_day_give_what_comparing_every_row_gives() -> None:
    """With days of different size; the oracle is `compare` on rows, with its two-sided bound."""
    rng = np.random.default_rng(2)
    day = np.repeat(np.arange(10), rng.integers(20, 60, 10))
    loss_a = rng.gamma(4, 0.125, day.size)
    loss_b = loss_a + 0.05 + rng.normal(0, 0.02, 10)[day]
    rows = pl.DataFrame({"day": [SINCE + timedelta(days=int(one)) for one in day], "a": loss_a, "b": loss_b})
    by_day = {
        name: rows.group_by("day").agg(n=pl.len().cast(pl.Int64), loss=pl.col(name).sum(), positives=1, negatives=2)
        for name in ("a", "b")
    }
    found = judge_rollback(ROLLOUT, by_day["b"], by_day["a"], day_of(60), None)
    expected = compare(rows.rename({"a": "loss_a", "b": "loss_b"}))
    assert found is not None
    assert expected.interval is not None
    assert found.low == pytest.approx(expected.interval[0])
    assert found.before == pytest.approx(expected.loss_a)
    assert (found.reason, found.days, found.n) == ("paired", 10, day.size)


@pytest.mark.parametrize(
    ("running", "former", "why"),
    [
        (losses(30, 40, 0.6), losses(0, 40, 0.5), "paired"),
        (losses(30, 40, 0.5), losses(0, 40, 0.6), ""),
        (losses(30, 40, 0.505), losses(0, 40, 0.5), ""),  # less than 2 %
        (losses(30, 40, 0.55, 1, 0.3), losses(0, 40, 0.5, 2, 0.3), ""),  # days vary too much
        (losses(30, 37, 0.6), losses(0, 37, 0.5), ""),  # seven days
        (losses(30, 40, 0.6), losses(0, 40, 0.5).with_columns(n=pl.lit(99, pl.Int64)), ""),  # other labels
        (losses(30, 40, 0.6), losses(0, 40, 0.5).with_columns(positives=pl.lit(41, pl.Int64)), ""),
        (losses(20, 40, 0.6), losses(0, 30, 0.5), ""),  # shared only before the change
    ],
)
def test_pairs_decide_where_there_are_enough(running: pl.DataFrame, former: pl.DataFrame, why: str) -> None:
    """On days with equally many labels of each class, since the change; later than a week no other reason applies."""
    assert reason(judge_rollback(ROLLOUT, running, former, day_of(50), None)) == why


def test_a_shadow_that_loses_more_overrides_a_drift_of_both() -> None:
    """Both lose more since the change, and errors have drifted: a rollback would not help."""
    running, former = losses(30, 40, 0.8), pl.concat([losses(0, 30, 0.5), losses(30, 40, 0.9)])
    assert judge_rollback(ROLLOUT, running, former, day_of(39), drift(day_of(32))) is None
    alone = former.filter(pl.col("day") < SINCE)
    assert reason(judge_rollback(ROLLOUT, running, alone, day_of(39), drift(day_of(32)))) == "errors"


@pytest.mark.parametrize(
    ("judged", "loss", "why"),
    [(35, 0.7, ""), (36, 0.7, "loss"), (43, 0.7, "loss"), (44, 0.7, ""), (38, 0.5, "")],
)
def test_without_a_shadow_the_weeks_before_the_change_are_the_reference(judged: int, loss: float, why: str) -> None:
    """From the first whole week of the new version on, until two weeks after the change."""
    running = losses(30, 60, loss, 3, 0.02)
    assert reason(judge_rollback(ROLLOUT, running, losses(0, 30, 0.5, 4, 0.02), day_of(judged), None)) == why


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (drift(day_of(35)), "errors"),
        (drift(day_of(29)), ""),
        (drift(day_of(44)), ""),
        (drift(day_of(35), "better"), ""),
        (None, ""),
    ],
)
def test_a_drift_counts_if_it_began_after_the_change_and_soon(found: Detection | None, why: str) -> None:
    """A drift that began before, or much later, is not attributed to the new version."""
    assert reason(judge_rollback(ROLLOUT, losses(30, 45, 0.5), losses(0, 30, 0.5), day_of(44), found)) == why


def test_the_first_version_cannot_be_rolled_back() -> None:
    """Not even for a drift."""
    only = Rollout("v1", day_of(0), day_of(0), None)
    assert judge_rollback(only, losses(0, 40, 0.9), losses(0, 0, 0.1), day_of(39), drift(day_of(3))) is None


def test_equal_versions_are_advised_against_in_few_cases() -> None:
    """One check of twenty shared days with random day effects."""
    count = examples(800)
    wrong = 0
    for seed in range(count):
        pair = (losses(30, 50, 0.5, 2 * seed, 0.05), losses(30, 50, 0.5, 2 * seed + 1, 0.05))
        wrong += judge_rollback(ROLLOUT, *pair, day_of(49), None) is not None
    assert wrong <= stats.binom.ppf(0.999, count, 0.025)


def test_the_sentence_names_both_versions_and_the_command() -> None:
    """Also where a name is long or needs quoting in a shell."""
    finding = rollback_finding(Rollback("paired", 0.5, 0.6, 0.05, 10, 1_000), ROLLOUT, "log_loss")
    assert (finding.kind, finding.level, finding.value, finding.limit) == (FindingKind.ROLLBACK, Level.WARN, 0.6, 0.5)
    assert finding.text == (
        "v2 does worse than v1: on 1,000 labels of both, log_loss goes from 0.5000 to 0.6000; "
        "consider rolling back to v1; `truthloop affected --version v2` lists its predictions"
    )
    odd = Rollout("v 2; rm", SINCE, SINCE, "x" * 1_000)
    text = rollback_finding(Rollback("errors", 0.1, 0.2, None, 0, 0), odd, "log_loss").text
    assert "`truthloop affected --version 'v 2; rm'`" in text


def advice(evaluations: list[Evaluation]) -> list[str]:
    """Return the texts of the advice, by evaluation."""
    return [next((one.text for one in each.findings if one.kind is FindingKind.ROLLBACK), "") for each in evaluations]


def test_an_evaluation_advises_a_rollback_if_the_former_shadow_does_better() -> None:
    """The story draws rows for each version, so their labels are made equal; a better version gets no advice."""
    for error, is_advised in ((0.3, True), (0.1, False)):
        config = plain_config(labels={"late": {"definition": "late-15min", "horizon": "20d", "retain": "30d"}})
        story = Story(config, [Era("v1", 0, 20, 200), Era("v2", 8, 20, 200, error=lambda _day, one=error: one)])
        story._outcomes = _same_labels(story._outcomes, config.timezone)
        found = advice(in_one_go(story, (8, 19)))
        assert [bool(text) for text in found[:8]] == [False] * 8
        assert [bool(text) for text in found[9:]] == [is_advised] * 3
        if is_advised:
            assert "v2 does worse than v1" in found[-1]


def _same_labels(frame: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """Give v1 the labels of v2, row by row of a day, and flip its score where the label changes."""
    frame = frame.with_columns(
        at=pl.col("predicted_at").dt.convert_time_zone(timezone).dt.date(),
    ).with_columns(row=pl.int_range(pl.len()).over("version", "at"))
    truth = frame.filter(pl.col("version") == "v2").select("at", "row", truth="value")
    joined = frame.join(truth, on=["at", "row"], how="left", maintain_order="left")
    flips = (pl.col("version") == "v1") & (pl.col("truth") != pl.col("value")).fill_null(value=False)
    return joined.with_columns(
        output=pl.when(flips).then(1 - pl.col("output")).otherwise(pl.col("output")),
        value=pl.when(flips).then(pl.col("truth")).otherwise(pl.col("value")),
    ).drop("at", "row", "truth")
