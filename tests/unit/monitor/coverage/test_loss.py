"""The test for missing labels: power, false alarms, seasons, files, past outages, and the end of a loss."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from monitor.cells.label_flow import LabelFlow
from monitor.coverage.loss import judge_loss, judge_recovery

PER_DAY = 8
DAYS = 42
BLOCK_MS = 3 * 3_600_000


def flow_of(came: npt.NDArray[np.int64], made: npt.NDArray[np.float64], per_day: int = PER_DAY) -> LabelFlow:
    """Return a flow of labels of one age."""
    number = np.arange(len(came))
    size_ms = 24 * 3_600_000 // per_day
    return LabelFlow((number + 1) * size_ms, number % (7 * per_day), came[:, np.newaxis], made[:, np.newaxis])


def drawn(seed: int, *, rate: float = 40.0, days: int = DAYS, wave: npt.NDArray[np.float64] | None = None) -> LabelFlow:
    """Return Poisson labels; `wave` is a factor on the labels by block of the week."""
    rng = np.random.default_rng(seed)
    made = rng.poisson(rate / 0.9, days * PER_DAY).astype(float)
    factor = np.ones(len(made)) if wave is None else np.resize(wave, len(made))
    return flow_of(rng.poisson(0.9 * rate * factor).astype(np.int64), made)


def losing(flow: LabelFlow, share: float, block: int, seed: int = 1) -> LabelFlow:
    """Return the flow with this share of labels lost from a block on."""
    rng = np.random.default_rng(seed)
    kept = np.where(np.arange(len(flow)) >= block, 1 - share, 1.0)
    return replace(flow, arrived=rng.binomial(flow.arrived, kept[:, np.newaxis]))


def judged(flow: LabelFlow, until: int, per_day: int = PER_DAY) -> bool:
    """Judge the last week of blocks before one, by those before that week."""
    begin = until - 7 * per_day
    return judge_loss(flow[:begin], flow[begin:until], per_day, series=5).is_lost


def blocks_to_find(flow: LabelFlow, block: int, most: int) -> int | None:
    """Return after how many blocks of loss it is found; None if not within so many."""
    return next((number for number in range(1, most + 1) if judged(flow, block + number)), None)


@pytest.mark.parametrize(("share", "most"), [(0.7, 3), (0.3, 16)])
def test_a_loss_is_found_within_hours_at_forty_labels_a_block(share: float, most: int) -> None:
    """Ten seeds; the missing share is estimated, and its beginning."""
    block = 38 * PER_DAY
    for seed in range(10):
        flow = losing(drawn(seed), share, block, seed)
        assert blocks_to_find(flow, block, most) is not None
        found = judge_loss(flow[: 35 * PER_DAY], flow[35 * PER_DAY :], PER_DAY)
        assert abs(found.share - share) < 0.08
        assert abs(found.since + 35 * PER_DAY - block) <= PER_DAY


def test_healthy_labels_are_no_loss() -> None:
    """Five seeds of three weeks, judged after every third block."""
    for seed in range(5):
        flow = drawn(seed, days=63)
        assert not any(judged(flow, until) for until in range(42 * PER_DAY, 63 * PER_DAY, 3))


def test_labels_that_come_in_working_hours_are_no_loss() -> None:
    """Nights and weekends are usual; a loss in working hours is found within a day of work."""
    week = np.concatenate([np.tile([0, 0, 0, 3.0, 3.0, 2.0, 0, 0], 5), np.zeros(16)])
    flow = drawn(2, days=70, wave=week)
    assert not any(judged(flow, until) for until in range(42 * PER_DAY, 70 * PER_DAY))
    monday = 63 * PER_DAY
    assert blocks_to_find(losing(flow, 0.7, monday), monday, 6) is not None


def test_a_file_a_day_that_is_hours_late_is_no_loss() -> None:
    """Blocks scatter, days do not: a source that sends one file a day is judged with less power."""
    rng = np.random.default_rng(3)
    came = np.zeros(70 * PER_DAY, np.int64)
    for day in range(70):
        came[day * PER_DAY + rng.integers(2, 7)] = rng.poisson(300)
    flow = flow_of(came, np.full(len(came), 42.0))
    assert not any(judged(flow, until) for until in range(42 * PER_DAY, 70 * PER_DAY))


def test_an_outage_in_the_reference_does_not_hide_a_loss() -> None:
    """The highest peak of what is usual is ignored."""
    block = 38 * PER_DAY
    flow = losing(drawn(4), 0.7, block)
    flow.arrived[12 * PER_DAY : 12 * PER_DAY + 6] = 0
    assert blocks_to_find(flow, block, 8) is not None


def test_a_past_that_was_loaded_at_once_is_not_usual() -> None:
    """Twenty thousand labels came in one block of the reference: nothing is missing after it, and a loss is found."""
    flow = drawn(7)
    flow.arrived[12 * PER_DAY] += 20_000
    assert not any(judged(flow, until) for until in range(36 * PER_DAY, 42 * PER_DAY))
    block = 38 * PER_DAY
    assert blocks_to_find(losing(flow, 0.7, block), block, 4) is not None


def test_ages_that_the_reference_does_not_know_are_left_out() -> None:
    """A young loop has no labels of old predictions yet, and neither are they missed."""
    young = drawn(5)
    made = np.zeros((len(young), 1))
    made[40 * PER_DAY :] = 100.0
    flow = replace(
        young,
        arrived=np.hstack([young.arrived, np.zeros_like(young.arrived)]),
        exposed=np.hstack([young.exposed, made]),
    )
    assert not judged(flow, len(flow))


def test_a_loss_that_lasts_is_never_over_and_one_that_ends_is_over_soon() -> None:
    """Judged on the newest week, by what was usual before it."""
    block = 35 * PER_DAY
    lasting = losing(drawn(6, days=300), 0.3, block)
    for day in range(42, 300, 3):
        part = lasting[(day - 7) * PER_DAY : day * PER_DAY]
        start, share = judge_recovery(lasting[:block], part, PER_DAY, 0.3)
        assert (start, round(share, 1)) == (None, 0.3)
    is_lost = (np.arange(len(lasting)) < 60 * PER_DAY)[:, np.newaxis]
    ended = replace(lasting, arrived=np.where(is_lost, lasting.arrived, drawn(6, days=300).arrived))
    start, share = judge_recovery(ended[:block], ended[57 * PER_DAY : 65 * PER_DAY], PER_DAY, 0.3)
    assert start is not None
    assert abs(start - 3 * PER_DAY) <= 2 * PER_DAY
    assert abs(share - 0.3) < 0.08


def test_without_labels_or_blocks_nothing_is_missing() -> None:
    """There is no usual."""
    nothing = flow_of(np.zeros(200, np.int64), np.zeros(200))
    found = judge_loss(nothing[:150], nothing[150:], PER_DAY)
    assert (found.is_lost, found.share) == (False, 0.0)
    assert not judge_loss(nothing, nothing[:0], PER_DAY).is_lost
