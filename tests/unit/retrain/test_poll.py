"""When a run is polled, and the callback that its state stands for."""

from random import Random

import pytest
from gate_case import ID

from retrain.poll import POLL_MAX_MS, POLL_MS, Poll, callback_of, poll_id
from retrain.target.exchange import RunState

AT_MS = 1_700_000_000_000
RUNNING = RunState("running")
SILENT = RunState(detail="500")


class Unjittered(Random):
    """Leaves every wait as it is."""

    def random(self) -> float:
        """Return the least value."""
        return 0.0


def test_a_server_that_answers_is_polled_every_half_minute() -> None:
    """Whatever the status; the first time at once."""
    poll = Poll()
    assert poll.due_ms == 0
    for _ in range(3):
        poll = poll.after(RUNNING, AT_MS, Unjittered())
        assert poll == Poll(AT_MS + POLL_MS, 0)


def test_a_server_that_does_not_answer_is_polled_less_and_less() -> None:
    """Up to half an hour; at the usual interval again once it answers."""
    poll, waits = Poll(), []
    for _ in range(40):
        poll = poll.after(SILENT, AT_MS, Unjittered())
        waits.append(poll.due_ms - AT_MS)
    assert waits[:6] == [60_000, 120_000, 240_000, 480_000, 960_000, POLL_MAX_MS]
    assert set(waits[6:]) == {POLL_MAX_MS}
    assert poll.after(RUNNING, AT_MS, Unjittered()) == Poll(AT_MS + POLL_MS, 0)


def test_retry_after_is_kept_to_for_a_day_at_most() -> None:
    """A longer one is cut to a day; none shortens the wait."""
    for asked_ms, wait_ms in ((3_600_000, 3_600_000), (10**12, 86_400_000), (0, 60_000), (-5, 60_000)):
        state = RunState(retry_after_ms=asked_ms, detail="429")
        assert Poll().after(state, AT_MS, Unjittered()).due_ms == AT_MS + wait_ms


def test_jitter_only_shortens_a_wait() -> None:
    """By a tenth at most."""
    rng = Random(1)
    for _ in range(200):
        assert 0.9 * POLL_MS <= Poll().after(RUNNING, AT_MS, rng).due_ms - AT_MS <= POLL_MS


@pytest.mark.parametrize("status", ["accepted", "running", "succeeded", "failed"])
def test_a_state_is_a_callback_with_an_id_of_its_own(status: str) -> None:
    """So each status of a decision is taken once."""
    callback = callback_of(ID, RunState(status, "so"))  # type: ignore[arg-type] # the four words
    assert callback is not None
    assert (callback.decision, callback.status, callback.message) == (ID, status, "so")
    assert poll_id(ID, status) != poll_id(ID, "other")


def test_an_unknown_state_is_no_callback() -> None:
    """A failed poll is not an answer."""
    assert callback_of(ID, SILENT) is None
