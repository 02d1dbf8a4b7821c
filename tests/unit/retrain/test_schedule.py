"""Retry schedule: when each attempt is made, and what ends a delivery."""

from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import accumulate
from random import Random

import pytest

from retrain.schedule import (
    ATTEMPTS_MAX,
    DELAYS_MS,
    WINDOW_MS,
    Attempt,
    DeliveryResult,
    Due,
    classify_result,
    next_attempt,
    outstanding,
    parse_retry_after_ms,
)

ID = "rt-" + "0" * 32
DECIDED_MS = 1_700_000_000_000
SECOND_MS = 1_000
HOUR_MS = 3_600 * SECOND_MS
DAY_MS = 24 * HOUR_MS


class Unjittered(Random):
    """Leaves every delay as it is."""

    def random(self) -> float:
        """Return the least."""
        return 0.0


class MostJittered(Random):
    """Shortens every delay as far as possible."""

    def random(self) -> float:
        """Return nearly the most."""
        return 1.0 - 2**-53


def attempts_with(*results: DeliveryResult, rng: Random | None = None, late_ms: int = 0) -> list[Attempt]:
    """Run a delivery to its end, repeating the last result; every attempt is made `late_ms` after it is due."""
    attempts: list[Attempt] = []
    while (due := next_attempt(ID, attempts, DECIDED_MS, rng or Unjittered())) is not None:
        result = results[min(len(attempts), len(results) - 1)]
        attempts.append(classify_result(due, due.at_ms + late_ms, result))
    return attempts


def test_a_receiver_that_is_never_there_is_tried_ten_times_in_three_days() -> None:
    """The schedule of Standard Webhooks, to the millisecond."""
    attempts = attempts_with(DeliveryResult())
    hours = [0, 5 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24]
    assert [attempt.at_ms - DECIDED_MS for attempt in attempts] == [round(t * HOUR_MS) for t in accumulate(hours)]
    assert [attempt.number for attempt in attempts] == list(range(1, 11))
    assert [attempt.outcome for attempt in attempts] == ["retry"] * 9 + ["gave_up"]
    assert attempts[-1].at_ms - DECIDED_MS == 75 * HOUR_MS + 35 * 60 * SECOND_MS + 5 * SECOND_MS


def test_jitter_only_shortens_and_by_a_tenth_at_most() -> None:
    """So that all attempts stay within the window, whatever is drawn."""
    for seed in range(200):
        times = [attempt.at_ms for attempt in attempts_with(DeliveryResult(), rng=Random(seed))]
        assert len(times) == ATTEMPTS_MAX
        for number, delay_ms in enumerate(DELAYS_MS[1:], 1):
            assert 0.9 * delay_ms <= times[number] - times[number - 1] <= delay_ms
        assert times[-1] - times[0] <= WINDOW_MS
    assert attempts_with(DeliveryResult(), rng=MostJittered())[1].at_ms == DECIDED_MS + 4_500


FINAL = {410: "gone", **dict.fromkeys(range(200, 300), "delivered")}


@pytest.mark.parametrize("status", [None, *range(100, 600)])
def test_every_status_at_every_attempt_has_its_outcome(status: int | None) -> None:
    """2xx is delivered, 410 is gone, and everything else is retried until the last attempt."""
    for number in range(1, ATTEMPTS_MAX + 1):
        due = Due(ID, number, DECIDED_MS, None if number == 1 else DECIDED_MS + WINDOW_MS)
        attempt = classify_result(due, DECIDED_MS + 7, DeliveryResult(status, detail="why"))
        otherwise = "retry" if number < ATTEMPTS_MAX else "gave_up"
        assert attempt.outcome == FINAL.get(status or 0, otherwise)
        assert attempt == Attempt(ID, number, DECIDED_MS + 7, attempt.outcome, status, None, "why")
        following = next_attempt(ID, [attempt], DECIDED_MS, Unjittered())
        assert (following is None) == (attempt.outcome != "retry")


@pytest.mark.parametrize(
    ("status", "retry_after_ms", "wait_ms"),
    [
        (None, None, 5 * SECOND_MS),
        (500, None, 5 * SECOND_MS),
        (500, HOUR_MS, HOUR_MS),
        (401, None, 5 * SECOND_MS),
        *((status, None, 60 * SECOND_MS) for status in (429, 502, 503, 504)),
        *((status, 0, 5 * SECOND_MS) for status in (429, 502, 503, 504)),
        *((status, HOUR_MS, HOUR_MS) for status in (429, 502, 503, 504)),
        (429, DAY_MS, DAY_MS),
        (429, 900 * DAY_MS, DAY_MS),
        (429, -5, 5 * SECOND_MS),
    ],
)
def test_retry_after_lengthens_the_wait(status: int | None, retry_after_ms: int | None, wait_ms: int) -> None:
    """Up to a day, and never below the schedule's delay."""
    [first, second, *_] = attempts_with(DeliveryResult(status, retry_after_ms), DeliveryResult(204))
    assert second.at_ms - first.at_ms == wait_ms
    jittered = attempts_with(DeliveryResult(status, retry_after_ms), DeliveryResult(204), rng=MostJittered())
    asked_ms = min(max(retry_after_ms or 0, 0), DAY_MS)
    assert jittered[1].at_ms - jittered[0].at_ms >= asked_ms


@pytest.mark.parametrize("late_ms", [0, SECOND_MS, HOUR_MS, 10 * HOUR_MS, 80 * HOUR_MS])
@pytest.mark.parametrize("retry_after_ms", [None, HOUR_MS, DAY_MS])
def test_no_attempt_is_planned_after_the_window(late_ms: int, retry_after_ms: int | None) -> None:
    """Receivers remember ids for as long, so a later attempt could have a second effect."""
    for seed in range(20):
        attempts = attempts_with(DeliveryResult(429, retry_after_ms), rng=Random(seed), late_ms=late_ms)
        assert attempts[-1].outcome == "gave_up"
        assert [attempt.number for attempt in attempts] == list(range(1, len(attempts) + 1))
        for attempt in attempts[:-1]:
            due = next_attempt(ID, attempts[: attempt.number], DECIDED_MS, Random(seed))
            assert due is not None
            assert due.not_after_ms == attempts[0].at_ms + WINDOW_MS
            assert due.at_ms <= due.not_after_ms


def test_the_first_attempt_is_due_when_it_was_decided_however_long_ago() -> None:
    """A loop that was stopped sends late, and the window begins with its first attempt."""
    assert next_attempt(ID, [], DECIDED_MS, Unjittered()) == Due(ID, 1, DECIDED_MS, None)
    late = Attempt(ID, 1, DECIDED_MS + 900 * DAY_MS, "retry")
    assert next_attempt(ID, [late], DECIDED_MS, Unjittered()) == Due(
        ID, 2, late.at_ms + 5 * SECOND_MS, late.at_ms + WINDOW_MS
    )


def test_the_order_of_the_log_does_not_matter() -> None:
    """Rows of a table have no order."""
    attempts = attempts_with(DeliveryResult())[:4]
    expected = next_attempt(ID, attempts, DECIDED_MS, Unjittered())
    for seed in range(10):
        shuffled = Random(seed).sample(attempts, len(attempts))
        assert next_attempt(ID, shuffled, DECIDED_MS, Unjittered()) == expected


def test_outstanding_deliveries_are_those_that_have_not_ended() -> None:
    """The earliest first, with the same times for all senders; rows of other decisions are ignored."""
    ids = [f"rt-{number:032x}" for number in range(5)]
    decided = {id_: DECIDED_MS + number for number, id_ in enumerate(ids)}
    log = [
        Attempt(ids[0], 1, DECIDED_MS, "retry", 500),
        Attempt(ids[1], 1, DECIDED_MS, "delivered", 200),
        Attempt(ids[2], 1, DECIDED_MS, "retry", None),
        Attempt(ids[2], 2, DECIDED_MS + 9_000, "gone", 410),
        Attempt("rt-of-another-target", 1, DECIDED_MS, "retry"),
    ]
    found = outstanding(decided, log)
    assert [(due.decision, due.number) for due in found] == [(ids[3], 1), (ids[4], 1), (ids[0], 2)]
    assert outstanding(dict(reversed(decided.items())), reversed(log)) == found
    times = {outstanding({id_: 0}, [replace(log[0], decision=id_)])[0].at_ms for id_ in ids}
    assert len(times) == len(ids), "all are tried again at the same moment"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("120", 120_000),
        (" 120 ", 120_000),
        ("86400", DAY_MS),
        ("86401", DAY_MS),
        ("9999999999", DAY_MS),
        (format_datetime(datetime.fromtimestamp(DECIDED_MS / 1000 + 90, UTC), usegmt=True), 90_000),
        (format_datetime(datetime.fromtimestamp(DECIDED_MS / 1000 - 90, UTC), usegmt=True), 0),
        (format_datetime(datetime.fromtimestamp(DECIDED_MS / 1000 + 1e7, UTC), usegmt=True), DAY_MS),
        ("Tue Nov 14 22:14:50 2023", 90_000),
        *((text, None) for text in ("", "-1", "1.5", "1e3", "soon", "9" * 5_000, "Tue, 99 Foo 2023 25:61:61 GMT")),
        *((text, None) for text in ("\N{ARABIC-INDIC DIGIT ONE}", "x" * 10_000, "Fri, 31 Dec 99999 23:59:59 GMT")),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_anything_else_is_ignored(text: str, expected: int | None) -> None:
    """It is cut to a day; no text raises an error."""
    assert parse_retry_after_ms(text, DECIDED_MS) == expected
