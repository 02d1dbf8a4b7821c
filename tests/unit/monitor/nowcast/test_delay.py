"""The delay law: learned curves against known distributions, and when the alarm rejects a law."""

import numpy as np
import numpy.typing as npt
import pytest

from monitor.cells.bins import OVERFLOW_AGE_MS
from monitor.nowcast.delay import DelayCounts, DelayLaw, law_alarm, learn_delay_law

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HOUR_MS = 3_600_000
GRID = np.round(np.geomspace(60, 400 * 86_400, 128)).astype(np.int64) * 1_000
EDGES = np.unique(np.concatenate([[0, OVERFLOW_AGE_MS], GRID]))
CLASSES = [(label, side) for label in (0, 1) for side in (0, 1)]
NO_PAST = np.array([])


def delays(rng: np.random.Generator, count: int, scale_h: float) -> Floats:
    """Draw label ages."""
    return np.asarray(np.exp(rng.normal(0, 0.7, count)) * scale_h * HOUR_MS)


def by_age(ages_ms: Floats) -> Ints:
    """Count ages by upper edge."""
    return np.bincount(np.searchsorted(EDGES, ages_ms), minlength=len(EDGES))


def law_of(counts: dict[tuple[int, int, int], Ints], closed: list[int]) -> DelayLaw:
    """Learn a law from counts by (stratum, class, side)."""
    labels = np.zeros((len(closed), 2, 2, len(EDGES)), dtype=np.int64)
    for curve, ages in counts.items():
        labels[curve] = ages
    law = learn_delay_law(labels, np.array(closed), EDGES)
    assert law is not None
    return law


def usual_law() -> DelayLaw:
    """Learn class 0 at 4 h and class 1 at 8 h, on both sides, from 20,000 labels each."""
    rng = np.random.default_rng(11)
    return law_of({(0, *one): by_age(delays(rng, 20_000, 4.0 * 2 ** one[0])) for one in CLASSES}, [0])


def arrived_labels(seed: int, *, speed: float = 1.0, positives: float = 0.5, errors: float = 0.5) -> DelayCounts:
    """Simulate 600 predictions in each of six hours, seen at the end of the sixth."""
    rng = np.random.default_rng(seed)
    counted, by_pane = np.zeros((2, 2, len(EDGES)), dtype=np.int64), np.zeros((6, 1, 2, 2), dtype=np.int64)
    for pane in range(6):
        predicted_ms = (pane + rng.random(600)) * HOUR_MS
        label = (rng.random(600) < positives).astype(np.int64)
        side = np.where(rng.random(600) < errors, 1 - label, label)
        took = delays(rng, 600, 4.0) * 2.0**label / speed
        known = predicted_ms + took <= 6 * HOUR_MS
        np.add.at(counted, (label[known], side[known], np.searchsorted(EDGES, took[known])), 1)
        np.add.at(by_pane, (pane, 0, label[known], side[known]), 1)
    return DelayCounts(counted, by_pane, (5.5 - np.arange(6)) * HOUR_MS)


def test_the_law_is_the_distribution_that_delays_were_drawn_from() -> None:
    """Within a percent of the truth, also between two edges."""
    rng = np.random.default_rng(1)
    law = usual_law()
    ages_ms = np.array([0.9, 2.3, 5.0, 11.1, 30.0]) * HOUR_MS
    for label, side in CLASSES:
        truth = np.mean(delays(rng, 400_000, 4.0 * 2**label)[:, None] > ages_ms, axis=0)
        assert np.abs(law.waiting(ages_ms)[0, label, side] - truth).max() < 0.01


def test_at_age_zero_every_label_still_waits_and_at_the_end_none() -> None:
    """Also where labels were known before their prediction: nothing was known at its first instant."""
    law = law_of({(0, 1, 1): by_age(np.array([0.0, -5.0, HOUR_MS, HOUR_MS]))}, [0])
    assert (law.waiting(np.array([-1.0, 0.0])) == 1.0).all()
    assert np.abs(law.waiting(np.array([float(OVERFLOW_AGE_MS), 2.0 * OVERFLOW_AGE_MS]))).max() < 1e-12


def test_survival_never_rises() -> None:
    """Neither at the edges nor between them."""
    rng = np.random.default_rng(2)
    law = law_of({(0, 0, 0): by_age(delays(rng, 30, 5.0)), (0, 1, 0): by_age(delays(rng, 3, 50.0))}, [4])
    waiting = law.waiting(np.linspace(0, 100 * HOUR_MS, 5_000))
    assert (np.diff(waiting, axis=-1) <= 1e-12).all()
    assert (np.diff(law.survival, axis=-1) <= 1e-12).all()


def test_a_small_stratum_is_shrunk_to_all_strata_and_a_large_one_is_not() -> None:
    """Two labels change little; twenty thousand decide."""
    rng = np.random.default_rng(3)
    large, small = delays(rng, 20_000, 4.0), delays(rng, 2, 40.0)
    law = law_of({(0, 0, 0): by_age(large), (1, 0, 0): by_age(small)}, [100, 1])
    at_4h = law.waiting(np.array([4.0 * HOUR_MS]))[:, 0, 0, 0]
    assert at_4h[0] == pytest.approx(0.5, abs=0.02)
    assert at_4h[1] == pytest.approx(0.5, abs=0.08)
    assert law.never[0] == pytest.approx(100 / 20_100, rel=0.01)
    assert 100 / 20_100 < law.never[1] < 1 / 3


def test_a_class_that_was_never_seen_takes_the_pooled_curve() -> None:
    """All that is known about labels here."""
    rng = np.random.default_rng(4)
    law = law_of({(0, 0, 0): by_age(delays(rng, 5_000, 4.0))}, [0])
    assert law.survival[0, 1, 1] == pytest.approx(law.survival[0, 0, 0], abs=1e-12)
    assert law.labels[0, 1, 1] == 0


def test_without_labels_there_is_no_law() -> None:
    """None; shapes that do not fit are refused."""
    none = np.zeros((1, 2, 2, len(EDGES)), dtype=np.int64)
    assert learn_delay_law(none, np.array([9]), EDGES) is None
    with pytest.raises(ValueError, match="do not fit"):
        learn_delay_law(none, np.array([9, 9]), EDGES)


def test_usual_delays_raise_no_alarm() -> None:
    """Sixty healthy cohorts, one false alarm at most."""
    law = usual_law()
    checks = [law_alarm(arrived_labels(seed), law, NO_PAST) for seed in range(60)]
    assert sum(check.alarmed for check in checks) <= 1
    assert all(check.statistic is not None for check in checks)


@pytest.mark.parametrize("speed", [2.0, 0.5])
def test_delays_twice_as_fast_or_slow_raise_the_alarm_on_the_same_day(speed: float) -> None:
    """From labels that arrived by an age of three hours on average."""
    law = usual_law()
    assert all(law_alarm(arrived_labels(seed, speed=speed), law, NO_PAST).alarmed for seed in range(20))


@pytest.mark.parametrize(("positives", "errors"), [(0.9, 0.5), (0.1, 0.5), (0.5, 0.9), (0.5, 0.1)])
def test_another_prevalence_or_error_rate_is_no_alarm(positives: float, errors: float) -> None:
    """The law says how long labels take, not how many of each there are."""
    law = usual_law()
    checks = [law_alarm(arrived_labels(seed, positives=positives, errors=errors), law, NO_PAST) for seed in range(20)]
    assert sum(check.alarmed for check in checks) <= 1


def test_the_limit_is_raised_by_the_statistics_of_past_days() -> None:
    """Where healthy days reach 9, a 5 is no alarm; with fewer than twenty past days the limit is that of chance."""
    law = usual_law()
    arrived = arrived_labels(1, speed=1.3)
    alone = law_alarm(arrived, law, np.full(19, 9.0))
    among = law_alarm(arrived, law, np.full(20, 9.0))
    assert (alone.alarmed, alone.limit) == (True, 1.63)
    assert (among.alarmed, among.limit) == (False, 9.0)
    assert alone.statistic == among.statistic


def test_with_few_labels_there_is_no_statistic() -> None:
    """No alarm, and no division by zero."""
    none = np.zeros((2, 2, len(EDGES)), dtype=np.int64)
    check = law_alarm(DelayCounts(none, np.zeros((3, 1, 2, 2), dtype=np.int64), np.zeros(3)), usual_law(), NO_PAST)
    assert (check.statistic, check.alarmed) == (None, False)


def test_labels_that_are_impossible_under_the_law_raise_the_alarm() -> None:
    """It has none before a day, and fifty arrive after an hour."""
    law = law_of({(0, 1, 1): by_age(np.full(500, 24.0 * HOUR_MS))}, [0])
    counted, by_pane = np.zeros((2, 2, len(EDGES)), dtype=np.int64), np.zeros((1, 1, 2, 2), dtype=np.int64)
    counted[1, 1], by_pane[0, 0, 1, 1] = by_age(np.full(50, 1.0 * HOUR_MS)), 50
    assert law_alarm(DelayCounts(counted, by_pane, np.array([6.0 * HOUR_MS])), law, NO_PAST).alarmed
