"""The Kaplan-Meier estimate of label age, compared with lifelines."""

import numpy as np
import pytest
from lifelines import KaplanMeierFitter

from monitor.coverage.label_age import kaplan_meier

PANES, AGES = 12, 8


@pytest.mark.parametrize("seed", range(20))
def test_the_estimate_is_that_of_lifelines(seed: int) -> None:
    """A prediction without a label by the last age that its pane has reached is censored there."""
    rng = np.random.default_rng(seed)
    predictions = rng.integers(0, 30, PANES)
    chances = np.append(rng.dirichlet(np.ones(AGES)) * 0.8, 0.2)
    labels = np.array([rng.multinomial(count, chances)[:AGES] for count in predictions])
    last = rng.integers(-1, AGES, PANES)
    found = kaplan_meier(labels, predictions, np.arange(AGES) <= last[:, np.newaxis])

    durations, events = [], []
    for pane in np.flatnonzero((last >= 0) & (predictions > 0)):
        known = np.repeat(np.arange(last[pane] + 1), labels[pane, : last[pane] + 1])
        waiting = predictions[pane] - len(known)
        durations += [*known, *[last[pane]] * waiting]
        events += [*[1] * len(known), *[0] * waiting]
    curve = KaplanMeierFitter().fit(np.array(durations) + 1, events)
    oldest = int(max(durations))
    expected = 1 - curve.survival_function_at_times(np.arange(oldest + 1) + 1).to_numpy()
    reached = int(last[predictions > 0].max())
    assert found[: oldest + 1] == pytest.approx(expected)
    assert found[oldest : reached + 1] == pytest.approx(found[oldest])
    assert np.isnan(found[reached + 1 :]).all()


def test_without_censoring_it_is_the_share_of_labels() -> None:
    """Every pane has reached every age."""
    labels = np.array([[1, 0, 2], [0, 3, 0]])
    found = kaplan_meier(labels, np.array([5, 5]), np.ones((2, 3), dtype=bool))
    assert found == pytest.approx([0.1, 0.4, 0.6])


def test_an_age_that_no_pane_with_predictions_has_reached_has_no_share() -> None:
    """An empty pane that has reached it makes no difference."""
    found = kaplan_meier(np.array([[1, 1], [0, 0]]), np.array([2, 0]), np.array([[True, False], [True, True]]))
    assert found[0] == 0.5
    assert np.isnan(found[1])
