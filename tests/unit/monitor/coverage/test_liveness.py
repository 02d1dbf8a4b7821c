"""Silences of a source: at night, at weekends, when clocks change, and outages."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pytest

from monitor.coverage.liveness import Liveness, source_liveness

ZONE = "America/New_York"
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MONDAY = datetime(2013, 6, 3, tzinfo=ZoneInfo(ZONE))


def at_ms(day: int, hour: int = 0, minute: int = 0, *, start: datetime = MONDAY) -> int:
    """Return a local time, on a day counted from the start."""
    there = (start + timedelta(days=day)).replace(hour=hour, minute=minute)
    return round(there.timestamp()) * 1_000


def minutes_of(
    works: Callable[[datetime], float], days: int = 28, *, start: datetime = MONDAY, seed: int = 1
) -> npt.NDArray[np.int64]:
    """Return the minutes with labels over some days; `works` gives the probability of one, by local time."""
    rng = np.random.default_rng(seed)
    first, last = (at_ms(day, start=start) // MINUTE_MS for day in (0, days))
    chance = np.repeat(
        [
            works(datetime.fromtimestamp(quarter * 60, UTC).astimezone(ZoneInfo(ZONE)))
            for quarter in range(first, last, 15)
        ],
        15,
    )
    return first + np.flatnonzero(rng.random(last - first) < chance)


def by_day(when: datetime) -> float:
    """Labels every other minute from 6 to 22:30, and none at night."""
    return 0.5 * (6 <= when.hour + when.minute / 60 < 22.5)


def on_workdays(when: datetime) -> float:
    """The same, from Monday to Friday."""
    return by_day(when) * (when.weekday() < 5)


def always(_when: datetime) -> float:
    """Labels every other minute, day and night."""
    return 0.5


def judged(minutes: npt.NDArray[np.int64], now_ms: int, heartbeat_ms: int | None = None) -> Liveness:
    """Judge the labels that had arrived by then."""
    return source_liveness(minutes[minutes * MINUTE_MS < now_ms], now_ms, ZONE, heartbeat_ms)


def alarms(minutes: npt.NDArray[np.int64], start_ms: int, end_ms: int, every_ms: int = 3 * HOUR_MS // 2) -> list[int]:
    """Return the instants at which the source was silent."""
    instants = range(start_ms, end_ms, every_ms)
    return [now_ms for now_ms in instants if judged(minutes, now_ms).state == "silent"]


@pytest.mark.parametrize("works", [by_day, on_workdays, always])
def test_nights_and_weekends_that_were_always_silent_are_no_alarm(works: Callable[[datetime], float]) -> None:
    """A fifth week like the four before it, checked 16 times a day."""
    minutes = minutes_of(works, 35)
    assert alarms(minutes, at_ms(28), at_ms(35)) == []


def test_the_second_weekend_is_allowed_because_there_was_a_first() -> None:
    """One week of history is enough for the silences in it."""
    assert alarms(minutes_of(on_workdays, 14), at_ms(11), at_ms(14)) == []


def test_an_outage_by_day_is_detected_within_half_an_hour() -> None:
    """Labels stop on a Wednesday at 14:00."""
    minutes = minutes_of(by_day, 31)
    minutes = minutes[minutes * MINUTE_MS < at_ms(30, 14)]
    assert judged(minutes, at_ms(30, 14, 5)).state == "alive"
    found = judged(minutes, at_ms(30, 14, 30))
    assert found.state == "silent"
    assert found.allowed_ms is not None
    assert found.allowed_ms < 30 * MINUTE_MS
    assert found.sentence.startswith("No label or heartbeat for 3")
    assert "on Wednesdays at 14:00" in found.sentence


def test_a_source_that_does_not_resume_in_the_morning_is_detected() -> None:
    """The night's silence is allowed until its usual end."""
    minutes = minutes_of(by_day, 30)
    assert judged(minutes, at_ms(30, 5)).state == "alive"
    assert judged(minutes, at_ms(30, 9)).state == "silent"


def test_the_weekends_allowance_ends_on_monday() -> None:
    """Silence on Sunday is normal; on Monday at noon it is not."""
    minutes = minutes_of(on_workdays, 28)
    assert judged(minutes, at_ms(27, 12)).state == "alive"
    assert judged(minutes, at_ms(28, 12)).state == "silent"


def test_one_past_outage_does_not_make_the_next_one_normal() -> None:
    """Six hours were missing eight days before; an hour is still too long."""
    minutes = minutes_of(always, 29)
    hole = (minutes * MINUTE_MS >= at_ms(20, 10)) & (minutes * MINUTE_MS < at_ms(20, 16))
    minutes = minutes[~hole & (minutes * MINUTE_MS < at_ms(28, 12))]
    assert judged(minutes, at_ms(28, 13)).state == "silent"


def test_a_heartbeat_counts_like_a_label() -> None:
    """It counts where it is newer than the last label."""
    minutes = minutes_of(always, 28)
    now_ms = at_ms(28, 6)
    assert judged(minutes, now_ms).state == "silent"
    alive = judged(minutes, now_ms, heartbeat_ms=now_ms - MINUTE_MS)
    assert (alive.state, alive.silent_ms) == ("alive", MINUTE_MS)
    assert judged(minutes, now_ms, heartbeat_ms=at_ms(20)) == judged(minutes, now_ms)
    assert judged(minutes, now_ms, heartbeat_ms=now_ms + HOUR_MS).silent_ms == 0


@pytest.mark.parametrize(("month", "day"), [(3, 10), (11, 3)])
def test_the_night_in_which_clocks_change_is_a_night_like_others(month: int, day: int) -> None:
    """Labels resume at six by the local clock, after a night that is an hour shorter or longer."""
    start = datetime(2013, month, day, tzinfo=ZoneInfo(ZONE)) - timedelta(days=28)
    minutes = minutes_of(by_day, 31, start=start)
    assert alarms(minutes, at_ms(27, 20, start=start), at_ms(31, start=start)) == []


def test_a_silence_over_the_change_of_clocks_may_last_longer_by_it() -> None:
    """At 2:00 it is 1:00 again: a source that follows the local clock may be silent for an hour longer, once."""
    start = datetime(2013, 11, 3, tzinfo=ZoneInfo(ZONE)) - timedelta(days=28)
    minutes = minutes_of(always, 29, start=start)
    change_ms = 1_383_458_400_000
    over = judged(minutes[minutes * MINUTE_MS < change_ms - 5 * MINUTE_MS], change_ms + 40 * MINUTE_MS)
    after = judged(minutes[minutes * MINUTE_MS < change_ms + 5 * MINUTE_MS], change_ms + 50 * MINUTE_MS)
    assert (over.state, after.state) == ("alive", "silent")


def test_labels_once_a_day_are_missed_on_the_day_they_do_not_come() -> None:
    """A batch at about 6:00 is missing at nine, and only late before."""
    rng = np.random.default_rng(2)
    minutes = np.array([at_ms(day, 6) // MINUTE_MS + int(rng.integers(-4, 5)) for day in range(28)])
    assert judged(minutes, at_ms(28, 5, 59)).state == "alive"
    assert judged(minutes, at_ms(28, 6, 20)).state == "alive"
    assert judged(minutes, at_ms(28, 9)).state == "silent"


@pytest.mark.parametrize("rate", [0.9, 0.2, 0.02])
def test_a_source_with_random_arrivals_is_not_silent(rate: float) -> None:
    """Frequent or rare ones, over a week checked 16 times a day."""
    minutes = minutes_of(lambda _when: rate, 35, seed=3)
    assert alarms(minutes, at_ms(28), at_ms(35)) == []


def test_with_less_than_a_week_of_labels_the_state_is_unknown() -> None:
    """It is neither alive nor silent."""
    found = judged(minutes_of(by_day, 6), at_ms(8))
    assert (found.state, found.allowed_ms) == ("unknown", None)
    assert "7 days" in found.sentence
    assert source_liveness(np.array([], np.int64), at_ms(8), ZONE) == Liveness(
        "unknown", None, None, "No label has ever arrived, so the usual silence is unknown."
    )
    only_heartbeat = source_liveness(np.array([], np.int64), at_ms(8), ZONE, at_ms(7))
    assert (only_heartbeat.state, only_heartbeat.silent_ms) == ("unknown", DAY_MS)


def test_minutes_older_than_four_weeks_or_after_now_are_ignored() -> None:
    """The result equals that of the window alone."""
    minutes = minutes_of(always, 40)
    now_ms = at_ms(39)
    window = (minutes > now_ms // MINUTE_MS - 28 * 1_440) & (minutes <= now_ms // MINUTE_MS)
    assert source_liveness(minutes, now_ms, ZONE) == source_liveness(minutes[window], now_ms, ZONE)


def test_minutes_out_of_order_are_refused() -> None:
    """Gaps need sorted minutes."""
    with pytest.raises(ValueError, match="sorted"):
        source_liveness(np.array([3, 2]), at_ms(0), ZONE)
