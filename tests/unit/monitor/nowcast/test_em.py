"""The nowcast of one cohort: identities, a simulator with known truth, and missing inputs."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from monitor.cells.bins import OVERFLOW_AGE_MS, SCORE_BINS, score_edges
from monitor.nowcast.delay import DelayLaw, learn_delay_law
from monitor.nowcast.em import CohortCounts, nowcast, status_of
from monitor.nowcast.expected import EXPECTED_METRICS, Losses
from monitor.nowcast.prior import Prior, learn_prior

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HOUR_MS = 3_600_000
EDGES, POSITIVE_FROM = score_edges(0.5)
GRID = np.round(np.geomspace(60, 400 * 86_400, 128)).astype(np.int64) * 1_000
AGES = np.unique(np.concatenate([[0, 72 * HOUR_MS - 1, 72 * HOUR_MS, OVERFLOW_AGE_MS], GRID]))
MIDDLES = 1 / (1 + np.exp(-(np.arange(SCORE_BINS) * 0.25 - 7.875)))


@dataclass(frozen=True)
class World:
    """Parameters of a simulation; delays in hours."""

    positive_h: float = 6.0
    negative_h: float | None = None  # None: implied by a timeout at 72 h
    error_factor: float = 1.0
    slope: float = 1.0
    level: float = 0.0
    never: float = 0.03


@dataclass(frozen=True)
class Rows:
    """Simulated predictions; `delay_ms` is NaN where no label ever comes."""

    score: Floats
    late: Bools
    delay_ms: Floats

    @property
    def bins(self) -> npt.NDArray[np.int64]:
        """The score bin of every row."""
        return np.searchsorted(EDGES, self.score, side="right")


def draw(world: World, count: int, seed: int) -> Rows:
    """Draw rows; scores are calibrated unless the world's slope and level say otherwise."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.3, 1.4, count)
    late = rng.random(count) < 1 / (1 + np.exp(-(world.level + world.slope * logits)))
    hours = np.exp(rng.normal(0, 0.7, count)) * np.where(late, world.positive_h, world.negative_h or 0)
    hours *= np.where(late != (logits >= 0), world.error_factor, 1.0)
    if world.negative_h is None:
        hours = np.where(late, np.minimum(hours, 71.9), 72.0)
    hours = np.where(rng.random(count) < world.never, np.nan, hours)
    return Rows(1 / (1 + np.exp(-logits)), late, hours * HOUR_MS)


@cache
def history(world: World, *, by_side: bool = True) -> tuple[DelayLaw, Prior]:
    """Learn the law and the prior from 40,000 mature rows of a world."""
    rows = draw(world, 40_000, 7)
    came = np.isfinite(rows.delay_ms)
    labels = np.zeros((1, 2, 2, len(AGES)), dtype=np.int64)
    curve = (0, rows.late[came].astype(int), (rows.bins[came] >= POSITIVE_FROM).astype(int))
    np.add.at(labels, (*curve, np.searchsorted(AGES, rows.delay_ms[came])), 1)
    if not by_side:
        labels = np.repeat(labels.sum(axis=2, keepdims=True), 2, axis=2)
    law = learn_delay_law(labels, np.array([np.sum(~came)]), AGES)
    ones, zeros = (counted(rows.bins, came & (rows.late == label))[:, 0] for label in (True, False))
    prior = learn_prior(ones, zeros, MIDDLES)
    assert law is not None
    assert prior is not None
    return law, prior


def counted(bins: npt.NDArray[np.int64], chosen: Bools) -> npt.NDArray[np.int64]:
    """Count rows by bin, as one pane of one stratum."""
    return np.bincount(bins[chosen], minlength=SCORE_BINS).reshape(1, 1, -1)


def cohort_of(rows: Rows, age_ms: float, closed: Bools | None = None) -> CohortCounts:
    """Return rows predicted at time 0 as known at an age."""
    known = rows.delay_ms <= age_ms
    none = np.zeros(len(rows.score), dtype=bool)
    return CohortCounts(
        predictions=counted(rows.bins, ~none),
        ones=counted(rows.bins, known & rows.late),
        zeros=counted(rows.bins, known & ~rows.late),
        closed=counted(rows.bins, none if closed is None else closed),
        pane_start_ms=np.array([0]),
        pane_end_ms=np.array([0]),
        scores=MIDDLES,
    )


def final_accuracy(rows: Rows) -> float:
    """Return the accuracy over all rows that will have a label."""
    came = np.isfinite(rows.delay_ms)
    return float(np.mean((rows.late == (rows.bins >= POSITIVE_FROM))[came]))


def errors_at(world: World, age_h: float, learned: tuple[DelayLaw, Prior], seeds: int) -> Floats:
    """Return nowcast minus final accuracy for cohorts of 2,000 rows."""
    found = []
    for seed in range(seeds):
        rows = draw(world, 2_000, 1_000 + seed)
        value = nowcast(cohort_of(rows, age_h * HOUR_MS), *learned, round(age_h * HOUR_MS), POSITIVE_FROM)
        accuracy = value.values["accuracy"]
        assert accuracy is not None
        found.append(accuracy - final_accuracy(rows))
    return np.array(found)


def arrived_errors_at(world: World, age_h: float, seeds: int) -> Floats:
    """Return accuracy of arrived labels minus final accuracy."""
    found = []
    for seed in range(seeds):
        rows = draw(world, 2_000, 1_000 + seed)
        known = rows.delay_ms <= age_h * HOUR_MS
        found.append(np.mean((rows.late == (rows.bins >= POSITIVE_FROM))[known]) - final_accuracy(rows))
    return np.array(found)


TIMEOUT = World()
SLOW_ERRORS = World(positive_h=8.0, negative_h=8.0, error_factor=2.0)


def test_at_age_zero_the_nowcast_is_the_estimate_before_labels() -> None:
    """The calibrated confusion matrix, to twelve digits, although some labels will never come."""
    law, prior = history(TIMEOUT)
    rows = draw(TIMEOUT, 2_000, 1)
    found = nowcast(cohort_of(rows, -1), law, prior, 0, POSITIVE_FROM)
    share = prior.share[0][rows.bins]
    positive = rows.bins >= POSITIVE_FROM
    assert found.values["accuracy"] == pytest.approx(np.where(positive, share, 1 - share).mean(), abs=1e-12)
    assert found.values["prevalence"] == pytest.approx(share.mean(), abs=1e-12)
    assert found.values["recall"] == pytest.approx(share[positive].sum() / share.sum(), abs=1e-12)
    assert status_of(found, "accuracy", 0.0, 0.01, alarmed=False) == "estimated"


def test_with_all_labels_the_nowcast_is_the_realised_metric_to_the_bit() -> None:
    """Rows that were closed without a label count nowhere."""
    law, prior = history(TIMEOUT)
    rows = draw(TIMEOUT, 2_000, 2)
    cohort = cohort_of(rows, 72 * HOUR_MS, closed=np.isnan(rows.delay_ms))
    found = nowcast(replace(cohort, losses=Losses(500.0, 125.0)), law, prior, 80 * HOUR_MS, POSITIVE_FROM)
    came = int(np.isfinite(rows.delay_ms).sum())
    assert found.values["accuracy"] == final_accuracy(rows)
    assert (found.values["log_loss"], found.values["brier"]) == (500.0 / came, 125.0 / came)
    assert found.bounds["accuracy"] == (final_accuracy(rows), final_accuracy(rows))
    assert status_of(found, "accuracy", None, 0.01, alarmed=True) == "mature"


def test_negatives_that_are_implied_by_a_timeout_leave_no_bias() -> None:
    """At six hours no negative is known, and arrived labels are off by seven points."""
    errors = errors_at(TIMEOUT, 6, history(TIMEOUT), 50)
    assert abs(errors.mean()) < 0.01
    assert errors.std() < 0.02
    assert arrived_errors_at(TIMEOUT, 6, 50).mean() < -0.05


def test_a_model_that_got_worse_is_seen_before_all_labels_have_arrived() -> None:
    """Scores carry less information than before, and prevalence is higher; the estimate before labels cannot know."""
    worse = World(positive_h=6.0, negative_h=12.0, slope=0.4, level=0.4)
    learned = history(World(positive_h=6.0, negative_h=12.0))
    before = errors_at(worse, 0, learned, 20).mean()
    after = errors_at(worse, 12, learned, 20).mean()
    assert before > 0.08
    assert abs(after) < 0.01


def test_errors_that_are_confirmed_late_need_a_law_by_class_and_side() -> None:
    """A law by class alone mistakes slow errors for fast hits of the other class."""
    by_both = errors_at(SLOW_ERRORS, 12, history(SLOW_ERRORS), 20).mean()
    by_class = errors_at(SLOW_ERRORS, 12, history(SLOW_ERRORS, by_side=False), 20).mean()
    assert abs(by_both) < 0.01
    assert abs(by_class) > 0.02


def test_hard_bounds_hold_whatever_happens() -> None:
    """At every age, for every metric that has them; and they close as labels come."""
    law, prior = history(TIMEOUT)
    for seed in range(10):
        rows = draw(replace(TIMEOUT, negative_h=9.0, never=0.2, slope=-1.0), 300, seed)
        final = nowcast(
            cohort_of(rows, OVERFLOW_AGE_MS, np.isnan(rows.delay_ms)), law, prior, OVERFLOW_AGE_MS, POSITIVE_FROM
        )
        widths = []
        for age_h in (0, 3, 9, 30):
            found = nowcast(cohort_of(rows, age_h * HOUR_MS), law, prior, age_h * HOUR_MS, POSITIVE_FROM)
            for name in ("accuracy", "precision", "recall", "f1", "prevalence"):
                bounds, value = found.bounds[name], final.values[name]
                assert bounds is not None
                assert value is not None
                assert bounds[0] - 1e-12 <= value <= bounds[1] + 1e-12
            accuracy = found.bounds["accuracy"]
            assert accuracy is not None
            widths.append(accuracy[1] - accuracy[0])
        assert widths == sorted(widths, reverse=True)
        assert found.bounds["roc_auc"] is None


def test_rows_that_never_get_a_label_are_not_mistaken_for_slow_ones() -> None:
    """Beyond the age by which every label has arrived, waiting rows count for nothing."""
    law, prior = history(replace(TIMEOUT, never=0.1))
    rows = draw(replace(TIMEOUT, never=0.1), 2_000, 3)
    found = nowcast(cohort_of(rows, 73 * HOUR_MS), law, prior, 80 * HOUR_MS, POSITIVE_FROM)
    assert found.waiting > 100
    assert found.values["accuracy"] == pytest.approx(final_accuracy(rows), abs=1e-3)
    assert found.arrived_share == pytest.approx(1.0, abs=1e-3)


def test_an_empty_cohort_has_no_data() -> None:
    """Null, never 0.0."""
    law, prior = history(TIMEOUT)
    found = nowcast(cohort_of(draw(TIMEOUT, 0, 1), 0), law, prior, 0, POSITIVE_FROM)
    assert set(found.values) == set(EXPECTED_METRICS)
    assert set(found.values.values()) | set(found.bounds.values()) == {None}
    assert status_of(found, "accuracy", 0.0, 0.01, alarmed=False) == "no_data"


def test_a_cohort_of_one_class_has_no_area_under_the_curve() -> None:
    """All labels have arrived, all of them 1: the other metrics are exact."""
    law, prior = history(TIMEOUT)
    rows = replace(draw(TIMEOUT, 200, 4), late=np.ones(200, dtype=bool), delay_ms=np.zeros(200))
    found = nowcast(cohort_of(rows, HOUR_MS), law, prior, HOUR_MS, POSITIVE_FROM)
    assert (found.values["roc_auc"], found.values["prevalence"]) == (None, 1.0)


def test_without_a_law_waiting_rows_are_divided_by_their_scores() -> None:
    """The arrived labels are not used for them: they may be biased."""
    _, prior = history(TIMEOUT)
    rows = draw(TIMEOUT, 500, 5)
    found = nowcast(cohort_of(rows, 6 * HOUR_MS), None, prior, 6 * HOUR_MS, POSITIVE_FROM)
    known = rows.delay_ms <= 6 * HOUR_MS
    ones = known.sum() + prior.share[0][rows.bins[~known]].sum()
    assert found.values["prevalence"] == pytest.approx(ones / 500, abs=1e-12)
    assert not found.is_corrected
    assert status_of(found, "prevalence", 0.0, 1.0, alarmed=False) == "provisional"


def test_without_a_prior_values_are_null_until_nothing_waits() -> None:
    """The hard bounds remain."""
    rows = draw(TIMEOUT, 500, 6)
    young = nowcast(cohort_of(rows, 6 * HOUR_MS), None, None, 6 * HOUR_MS, POSITIVE_FROM)
    assert set(young.values.values()) == {None}
    assert young.bounds["accuracy"] is not None
    old = nowcast(cohort_of(rows, OVERFLOW_AGE_MS, np.isnan(rows.delay_ms)), None, None, OVERFLOW_AGE_MS, POSITIVE_FROM)
    assert old.values["accuracy"] == final_accuracy(rows)


def test_a_pane_that_is_still_filling_is_as_old_as_its_middle_so_far() -> None:
    """A quarter of an hour after the hour began, half of that."""
    none = np.zeros((2, 1, SCORE_BINS), dtype=np.int64)
    starts = np.array([0, HOUR_MS])
    cohort = CohortCounts(none, none, none, none, starts, starts + HOUR_MS, MIDDLES)
    assert list(cohort.ages_ms(HOUR_MS + 900_000)) == [HOUR_MS / 2 + 900_000, 450_000]


def test_more_labels_than_predictions_are_refused() -> None:
    """Such counts are contradictory."""
    cohort = cohort_of(draw(TIMEOUT, 50, 8), OVERFLOW_AGE_MS)
    with pytest.raises(ValueError, match="more labelled and closed rows"):
        nowcast(replace(cohort, closed=cohort.predictions), None, None, 0, POSITIVE_FROM)


@pytest.mark.parametrize(
    ("half_width", "alarmed", "status"),
    [
        (0.005, False, "mature"),
        (0.02, False, "provisional"),
        (None, False, "provisional"),
        (0.005, True, "provisional"),
    ],
)
def test_a_value_is_mature_only_if_every_condition_holds(half_width: float | None, alarmed: bool, status: str) -> None:
    """With nearly all labels, the interval and the delay law decide."""
    law, prior = history(replace(TIMEOUT, never=0.01))
    rows = draw(replace(TIMEOUT, never=0.01), 2_000, 9)
    found = nowcast(cohort_of(rows, 72 * HOUR_MS), law, prior, 80 * HOUR_MS, POSITIVE_FROM)
    assert status_of(found, "accuracy", half_width, 0.01, alarmed=alarmed) == status
    thin = replace(found, rarer_side=29)
    assert status_of(thin, "accuracy", 0.0, 0.01, alarmed=False) == "provisional"
    young = replace(found, arrived_share=0.979)
    assert status_of(young, "accuracy", 0.0, 0.01, alarmed=False) == "provisional"


@pytest.mark.parametrize(("ones", "zeros"), [(99, 0), (100, 0), (0, 100), (50, 49)])
def test_there_is_no_prior_without_a_hundred_labels_of_both_classes(ones: int, zeros: int) -> None:
    """Scores cannot be recalibrated without labels."""
    counts = np.zeros((2, 1, SCORE_BINS), dtype=np.int64)
    counts[0, 0, 30], counts[1, 0, 30] = ones, zeros
    assert learn_prior(counts[0], counts[1], MIDDLES) is None


def test_the_prior_is_recalibrated_and_differs_by_hour() -> None:
    """Overconfident scores are drawn to the middle, and an hour with more positives has a higher prior."""
    rng = np.random.default_rng(3)
    bins = rng.integers(20, 44, 60_000)
    pane = rng.integers(0, 2, 60_000)
    truth = 1 / (1 + np.exp(-(0.5 * np.log(MIDDLES / (1 - MIDDLES))[bins] + np.where(pane == 1, 0.2, -0.2))))
    late = rng.random(60_000) < truth
    ones, zeros = (
        np.stack([np.bincount(bins[(pane == number) & (late == label)], minlength=SCORE_BINS) for number in (0, 1)])
        for label in (True, False)
    )
    prior = learn_prior(ones, zeros, MIDDLES)
    assert prior is not None
    assert np.abs(prior.share[pane, bins] - truth).max() < 0.03
    assert (prior.share > 0).all()
    assert (prior.share < 1).all()
