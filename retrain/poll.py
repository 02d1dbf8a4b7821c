"""Schedule of polls for the status of a run, with exponential back-off, and the callback for a status. Pure.

A run is polled every 30 seconds while the server reports its status, and less and less often while it does not. Without
a status the run stays where it was, and may become overdue.
"""

from dataclasses import dataclass
from random import Random

from retrain.schedule import JITTER_SHARE, RETRY_AFTER_MAX_MS
from retrain.target.exchange import RunState
from schemas.events.retrain_request import RetrainCallback

__all__ = ["POLL_MAX_MS", "POLL_MS", "Poll", "callback_of", "poll_id"]

POLL_MS = 30_000
"""Training takes minutes at least, and the load of one poller should not be noticed by a shared server."""

POLL_MAX_MS = 30 * 60_000
"""A server that has recovered is noticed within half an hour."""

_DOUBLINGS_MAX = 10


@dataclass(frozen=True, slots=True)
class Poll:
    """When a run is polled next.

    Attributes:
        due_ms: not before this time; 0: at once, as after a start.
        failures: number of polls in a row without a status.
    """

    due_ms: int = 0
    failures: int = 0

    def after(self, state: RunState, at_ms: int, rng: Random) -> "Poll":
        """Return the next poll after one at `at_ms`, with jitter from `rng`."""
        failures = 0 if state.status is not None else self.failures + 1
        wait_ms = min(POLL_MS * 2 ** min(failures, _DOUBLINGS_MAX), POLL_MAX_MS)
        jittered_ms = round(wait_ms * (1 - JITTER_SHARE * rng.random()))
        asked_ms = min(max(state.retry_after_ms or 0, 0), RETRY_AFTER_MAX_MS)
        return Poll(at_ms + max(jittered_ms, asked_ms), failures)


def callback_of(decision: str, state: RunState) -> RetrainCallback | None:
    """Return the callback that a pipeline would have sent for a state; None if the status is unknown."""
    if state.status is None:
        return None
    return RetrainCallback(decision=decision, status=state.status, message=state.message or None)


def poll_id(decision: str, status: str) -> str:
    """Return the callback id of a polled status: each status of a decision is taken once."""
    return f"poll-{decision}-{status}"
