"""What is to be sent when: the deliveries of decisions, as told by the log of their attempts.

The schedule is that of Standard Webhooks (https://www.standardwebhooks.com, "Deliverability and reliability").
An attempt that was made and not recorded, because the sender died, is made again under the same id; the
receiver knows it by that. So nothing here has to be exact about crashes.

Pure: no clock, no IO; must not know how anything is sent.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
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
    "judge",
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
"""How long after the attempt before it each attempt is made; together 75 h 35 min 5 s."""

ATTEMPTS_MAX = len(DELAYS_MS)

JITTER_SHARE = 0.1
"""A delay is shortened by up to this share, never lengthened: all attempts stay within the window."""

WINDOW_MS = 76 * _HOUR_MS
"""No attempt is made later than this after the first. Receivers that keep ids for longer act once per id."""

RETRY_AFTER_MAX_MS = 24 * _HOUR_MS
"""The longest wait of the schedule: a receiver that asks for more is asked again all the same."""

THROTTLED_MS = _MINUTE_MS
"""The least wait after an answer that speaks of overload without saying for how long."""

_SUCCESS = range(200, 300)
_GONE = 410
_THROTTLED = frozenset({429, 502, 503, 504})
_SECONDS = re.compile(r"[0-9]{1,10}")
_DATE_LENGTH_MAX = 64

Outcome = Literal["delivered", "retry", "gave_up", "gone"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a delivery and what came of it: one row of the log.

    Attributes:
        decision: id of the decision.
        number: 1 to 10, dense; in the order of time.
        at_ms: when it was made.
        outcome: `delivered`; `retry`: failed, and there will be another; `gave_up`: failed, and was the last;
            `gone`: the receiver will never take it (410; of a server, also 404).
        status: of the HTTP answer; None where there was none.
        retry_after_ms: how long the receiver wants to be left alone; None where it did not say.
        detail: what went wrong, for a person, without payload.
    """

    decision: str
    number: int
    at_ms: int
    outcome: Outcome
    status: int | None = None
    retry_after_ms: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """The next attempt at a delivery.

    Attributes:
        decision: id of the decision.
        number: of the attempt.
        at_ms: when it is to be made; later if nobody is there to make it.
        not_after_ms: the end of its window, after which it is given up; None for a first attempt.
    """

    decision: str
    number: int
    at_ms: int
    not_after_ms: int | None


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of one attempt.

    Attributes:
        status: of the HTTP answer; None where there was none.
        retry_after_ms: as in `Attempt`.
        detail: as in `Attempt`.
        verdict: what the target makes of it; None: the status alone decides.
    """

    status: int | None = None
    retry_after_ms: int | None = None
    detail: str = ""
    verdict: Literal["delivered", "gone"] | None = None


class DeliveryLog(Protocol):
    """Where attempts are kept: append-only, and written by compare-and-set."""

    def attempts(self) -> list[Attempt]:
        """Return all attempts of all decisions, in any order."""
        ...

    def append(self, attempt: Attempt, expected_number: int) -> bool:
        """Add an attempt if `expected_number` is the next of its decision.

        Returns:
            Whether it was added; False: another sender was there first.
        """
        ...


def next_attempt(decision: str, attempts: Sequence[Attempt], decided_at_ms: int, rng: Random) -> Due | None:
    """Return the next attempt at one delivery, or None when it has ended.

    Args:
        decision: id of the decision.
        attempts: those of this decision, in any order.
        decided_at_ms: when it was decided; the first attempt is due at once.
        rng: jitter; the same one at every look, or the earliest of many looks would count.
    """
    if not attempts:
        return Due(decision, 1, decided_at_ms + DELAYS_MS[0], None)
    last = _last(attempts)
    if last.outcome != "retry":
        return None
    not_after_ms = min(attempt.at_ms for attempt in attempts) + WINDOW_MS
    jittered_ms = round(DELAYS_MS[last.number] * (1 - JITTER_SHARE * rng.random()))
    wait_ms = max(jittered_ms, _asked_ms(last.status, last.retry_after_ms))
    return Due(decision, last.number + 1, last.at_ms + wait_ms, not_after_ms)


def outstanding(decided_at_ms: Mapping[str, int], attempts: Iterable[Attempt]) -> list[Due]:
    """Return the next attempt of every delivery that has not ended, the earliest first.

    The jitter of an attempt comes from its decision and number, so that every look and every sender agree.

    Args:
        decided_at_ms: id -> when it was decided, of all decisions that are to be delivered.
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


def judge(due: Due, at_ms: int, result: DeliveryResult) -> Attempt:
    """Return the row of the log for an attempt. 2xx is success, 410 ends it, all else is tried again.

    A target that knows better says so by its verdict: a 409 may mean that the run is there already.

    Args:
        due: the attempt.
        at_ms: when it was made.
        result: what became of it.
    """
    if result.verdict is not None:
        outcome: Outcome = result.verdict
    elif result.status in _SUCCESS:
        outcome = "delivered"
    elif result.status == _GONE:
        outcome = "gone"
    else:
        outcome = "retry" if _has_another(due, at_ms, result) else "gave_up"
    return Attempt(due.decision, due.number, at_ms, outcome, result.status, result.retry_after_ms, result.detail)


def parse_retry_after_ms(text: str, now_ms: int) -> int | None:
    """Return how long a Retry-After header asks to wait (RFC 9110, 10.2.3), at most a day; None if it is malformed.

    Args:
        text: seconds, or a date.
        now_ms: when the answer came.
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


def _asked_ms(status: int | None, retry_after_ms: int | None) -> int:
    if retry_after_ms is not None:
        return min(max(retry_after_ms, 0), RETRY_AFTER_MAX_MS)
    return THROTTLED_MS if status in _THROTTLED else 0


def _has_another(due: Due, at_ms: int, result: DeliveryResult) -> bool:
    """Tell whether the next attempt, unjittered, still lies in the window."""
    if due.number >= ATTEMPTS_MAX:
        return False
    window_end_ms = at_ms + WINDOW_MS if due.not_after_ms is None else due.not_after_ms
    wait_ms = max(DELAYS_MS[due.number], _asked_ms(result.status, result.retry_after_ms))
    return at_ms + wait_ms <= window_end_ms
