"""When a server is asked how a run gets on, and what its answer is as a pipeline's. Pure: no clock, no IO.

A run is asked for every half minute while the server answers, and less and less often while it does not, as deliveries
are repeated. An answer that says nothing is no answer: the run stays where it was, and may become overdue.
"""

from dataclasses import dataclass
from random import Random

from retrain.schedule import JITTER_SHARE, RETRY_AFTER_MAX_MS
from retrain.target.exchange import RunState
from schemas.events.retrain_request import RetrainCallback

__all__ = ["POLL_MAX_MS", "POLL_MS", "Poll", "callback_of", "poll_id"]

POLL_MS = 30_000
"""Training takes minutes at least, and a server that serves many should not notice one who asks."""

POLL_MAX_MS = 30 * 60_000
"""A server that is back is heard of within half an hour."""

_DOUBLINGS_MAX = 10


@dataclass(frozen=True, slots=True)
class Poll:
    """When one run is asked for next.

    Attributes:
        due_ms: not before; 0: at once, as after a start.
        failures: how often in a row nothing was learned.
    """

    due_ms: int = 0
    failures: int = 0

    def after(self, state: RunState, at_ms: int, rng: Random) -> "Poll":
        """Return when to ask again.

        Args:
            state: what was learned.
            at_ms: when it was asked for.
            rng: jitter.
        """
        failures = 0 if state.status is not None else self.failures + 1
        wait_ms = min(POLL_MS * 2 ** min(failures, _DOUBLINGS_MAX), POLL_MAX_MS)
        jittered_ms = round(wait_ms * (1 - JITTER_SHARE * rng.random()))
        asked_ms = min(max(state.retry_after_ms or 0, 0), RETRY_AFTER_MAX_MS)
        return Poll(at_ms + max(jittered_ms, asked_ms), failures)


def callback_of(decision: str, state: RunState) -> RetrainCallback | None:
    """Return a state as the callback that a pipeline would have sent; None where nothing is known."""
    if state.status is None:
        return None
    return RetrainCallback(decision=decision, status=state.status, message=state.message or None)


def poll_id(decision: str, status: str) -> str:
    """Return the id by which an answer is known again: each status of a decision is taken once."""
    return f"poll-{decision}-{status}"
