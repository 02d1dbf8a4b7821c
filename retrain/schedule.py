"""Retry schedule of deliveries, computed from the log of their attempts. Pure: no clock, no IO.

The schedule is that of Standard Webhooks (https://www.standardwebhooks.com, "Deliverability and reliability"). Delivery
is at least once: an attempt whose sender died before recording it is made again, under the same id, by which the
receiver deduplicates.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random
from typing import Literal, Protocol

__all__ = [
    "ATTEMPTS_MAX",
    "DELAYS_MS",
    "JITTER_SHARE",
    "RETRY_AFTER_MAX_MS",
    "WINDOW_MS",
    "Attempt",
    "DeliveryLog",
    "DeliveryResult",
    "Due",
    "classify_result",
    "next_attempt",
    "outstanding",
    "parse_retry_after_ms",
]

_SECOND_MS = 1_000
_MINUTE_MS = 60 * _SECOND_MS
_HOUR_MS = 60 * _MINUTE_MS

DELAYS_MS = (
    0,
    5 * _SECOND_MS,
    5 * _MINUTE_MS,
    30 * _MINUTE_MS,
    2 * _HOUR_MS,
    5 * _HOUR_MS,
    10 * _HOUR_MS,
    14 * _HOUR_MS,
    20 * _HOUR_MS,
    24 * _HOUR_MS,
)
"""Delay of each attempt after the previous one; together 75 h 35 min 5 s."""

ATTEMPTS_MAX = len(DELAYS_MS)

JITTER_SHARE = 0.1
"""A delay is shortened by up to this share and never lengthened, so that all attempts stay within the window."""

WINDOW_MS = 76 * _HOUR_MS
"""No attempt is made later than this after the first. A receiver that remembers ids for longer acts once per id."""

RETRY_AFTER_MAX_MS = 24 * _HOUR_MS
"""The longest wait of the schedule; a Retry-After beyond it is cut to this."""

THROTTLED_MS = _MINUTE_MS
"""Least wait after a status of overload without a Retry-After."""

_SUCCESS = range(200, 300)
_GONE = 410
_THROTTLED = frozenset({429, 502, 503, 504})
_SECONDS = re.compile(r"[0-9]{1,10}")
_DATE_LENGTH_MAX = 64

AttemptOutcome = Literal["delivered", "retry", "gave_up", "gone"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery attempt and its outcome: one row of the log.

    Attributes:
        decision: id of the decision.
        number: 1 to 10, without gaps, in order of time.
        at_ms: when it was made.
        outcome: `delivered`; `retry`: failed, another attempt follows; `gave_up`: failed, and was the last one;
            `gone`: the receiver will never accept it (410; from a server also 404).
        status: HTTP status; None without an answer.
        retry_after_ms: from the answer's Retry-After; None without one.
        detail: the failure, for a person, without payload.
    """

    decision: str
    number: int
    at_ms: int
    outcome: AttemptOutcome
    status: int | None = None
    retry_after_ms: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """The next attempt of a delivery.

    Attributes:
        decision: id of the decision.
        number: of the attempt.
        at_ms: earliest time of the attempt.
        not_after_ms: end of the delivery window; None for a first attempt, which opens the window.
    """

    decision: str
    number: int
    at_ms: int
    not_after_ms: int | None


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """A target's answer to one attempt. `status`, `retry_after_ms` and `detail` are those of `Attempt`.

    Attributes:
        verdict: the target's own classification; None: the status decides.
    """

    status: int | None = None
    retry_after_ms: int | None = None
    detail: str = ""
    verdict: Literal["delivered", "gone"] | None = None


class DeliveryLog(Protocol):
    """Append-only log of attempts, written by compare-and-set."""

    def attempts(self, decisions: Collection[str]) -> list[Attempt]:
        """Return the attempts of some decisions, or of more, in any order."""
        ...

    def append(self, attempt: Attempt, expected_number: int) -> bool:
        """Add an attempt if `expected_number` is the next of its decision.

        Returns:
            False if another sender recorded this number first.
        """
        ...


def next_attempt(decision: str, attempts: Sequence[Attempt], decided_at_ms: int, rng: Random) -> Due | None:
    """Return the next attempt of one delivery; None if the delivery has ended.

    Args:
        attempts: of this decision, in any order.
        decided_at_ms: time of the decision, at which the first attempt is due.
        rng: jitter; seeded alike at every call, or the shortest of many draws would win.
    """
    if not attempts:
        return Due(decision, 1, decided_at_ms + DELAYS_MS[0], None)
    last = _last(attempts)
    if last.outcome != "retry":
        return None
    not_after_ms = min(attempt.at_ms for attempt in attempts) + WINDOW_MS
    jittered_ms = round(DELAYS_MS[last.number] * (1 - JITTER_SHARE * rng.random()))
    wait_ms = max(jittered_ms, _requested_wait_ms(last.status, last.retry_after_ms))
    return Due(decision, last.number + 1, last.at_ms + wait_ms, not_after_ms)


def outstanding(decided_at_ms: Mapping[str, int], attempts: Iterable[Attempt]) -> list[Due]:
    """Return the next attempt of every delivery that has not ended, the earliest first.

    The jitter is seeded with decision and attempt number, so that all calls and all senders agree.

    Args:
        decided_at_ms: decision id -> time of the decision, for all decisions to be delivered.
        attempts: the log; rows of other decisions are ignored.
    """
    made: dict[str, list[Attempt]] = {decision: [] for decision in decided_at_ms}
    for attempt in attempts:
        if attempt.decision in made:
            made[attempt.decision].append(attempt)
    found = []
    for decision, own in made.items():
        if own and _last(own).outcome != "retry":
            continue
        rng = Random(f"{decision}/{len(own)}")  # noqa: S311 - spreads attempts in time, keeps no secret
        if (due := next_attempt(decision, own, decided_at_ms[decision], rng)) is not None:
            found.append(due)
    return sorted(found, key=lambda due: (due.at_ms, due.decision))


def classify_result(due: Due, at_ms: int, result: DeliveryResult) -> Attempt:
    """Return the log row of an attempt that was made at `at_ms`: 2xx is delivered, 410 is gone, all else is retried.

    A verdict of the target comes first: of some servers, 409 means that the run exists already.
    """
    if result.verdict is not None:
        outcome: AttemptOutcome = result.verdict
    elif result.status in _SUCCESS:
        outcome = "delivered"
    elif result.status == _GONE:
        outcome = "gone"
    else:
        outcome = "retry" if _has_another(due, at_ms, result) else "gave_up"
    return Attempt(due.decision, due.number, at_ms, outcome, result.status, result.retry_after_ms, result.detail)


def parse_retry_after_ms(text: str, now_ms: int) -> int | None:
    """Return the wait that a Retry-After header asks for (RFC 9110, 10.2.3), at most a day; None if it is malformed.

    Args:
        text: seconds, or a date.
        now_ms: when the answer was received.
    """
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return min(int(text) * _SECOND_MS, RETRY_AFTER_MAX_MS)
    if len(text) > _DATE_LENGTH_MAX:
        return None
    try:
        date = parsedate_to_datetime(text)
        until_ms = round((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1_000)
    except (ValueError, OverflowError, OSError):
        return None
    return min(max(until_ms - now_ms, 0), RETRY_AFTER_MAX_MS)


def _last(attempts: Sequence[Attempt]) -> Attempt:
    return max(attempts, key=lambda attempt: attempt.number)


def _requested_wait_ms(status: int | None, retry_after_ms: int | None) -> int:
    if retry_after_ms is not None:
        return min(max(retry_after_ms, 0), RETRY_AFTER_MAX_MS)
    return THROTTLED_MS if status in _THROTTLED else 0


def _has_another(due: Due, at_ms: int, result: DeliveryResult) -> bool:
    """Tell whether the next attempt, without jitter, still lies in the window."""
    if due.number >= ATTEMPTS_MAX:
        return False
    window_end_ms = at_ms + WINDOW_MS if due.not_after_ms is None else due.not_after_ms
    wait_ms = max(DELAYS_MS[due.number], _requested_wait_ms(result.status, result.retry_after_ms))
    return at_ms + wait_ms <= window_end_ms
