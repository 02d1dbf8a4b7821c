"""The expectation from earlier panes: share, season and overdispersion."""

import numpy as np
import numpy.typing as npt
import pytest

from monitor.coverage.expectation import Expectation, History, expect, season_slots

DAY_MS = 86_400_000
PANES, SLOTS, COUNT = 672, 8, 500


def expected_of(share: npt.NDArray[np.float64], rho: float, seed: int = 1) -> Expectation:
    """Return the expectation from panes drawn with these true shares per slot and this correlation."""
    rng = np.random.default_rng(seed)
    slots = np.arange(PANES) % SLOTS
    prior = 1 / rho - 1
    chance = rng.beta(share[slots] * prior, (1 - share[slots]) * prior)
    labelled = rng.binomial(COUNT, chance)[:, np.newaxis].astype(np.int64)
    return expect(History(np.full(PANES, COUNT, np.int64), labelled, slots), SLOTS)


def test_a_real_season_is_kept() -> None:
    """Slots that differ by far more than their panes keep their own shares."""
    truth = np.linspace(0.3, 0.7, SLOTS)
    assert expected_of(truth, 0.01).share[0] == pytest.approx(truth, abs=0.02)


def test_a_season_of_noise_is_shrunk() -> None:
    """The means of equal slots scatter by about 0.012 here; most of it is shrunk away."""
    spreads = [float(np.ptp(expected_of(np.full(SLOTS, 0.5), 0.05, seed).share[0])) for seed in range(20)]
    assert np.mean(spreads) < 0.015


@pytest.mark.parametrize("rho", [0.002, 0.02, 0.1])
def test_overdispersion_is_found_by_moments(rho: float) -> None:
    """The estimate is near the correlation that the beta-binomial panes were drawn with."""
    assert expected_of(np.full(SLOTS, 0.6), rho).rho[0] == pytest.approx(rho, rel=0.15)


@pytest.mark.parametrize(("days", "slots"), [(2, 1), (3, 8), (20, 8), (21, 56)])
def test_a_season_is_modelled_once_history_covers_it_three_times(days: int, slots: int) -> None:
    """The daily season after three days, the weekly one after three weeks."""
    ends_ms = np.arange(1, 24 * 7 + 1) * (DAY_MS // 24)
    found, count = season_slots(ends_ms, days * DAY_MS)
    assert (count, len(np.unique(found))) == (slots, slots)
