"""Known sources: a silence that was found lasts until labels come again or a person retires the source."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pytest

from monitor.coverage.lookback import lookback_ms
from monitor.coverage.source import LabelMemory, SourceArrivals, SourceWatch, newly_missing, watch_sources
from schemas.events.evidence import LabelFault

DAY_MS = 86_400_000
DAY_MINUTES = 1_440
START = round(datetime(2013, 6, 3, tzinfo=UTC).timestamp()) // 60
"""A Monday, in minutes."""

Minutes = npt.NDArray[np.int64]


def at(day: float) -> int:
    """Return the milliseconds of a time, in days from the start."""
    return (START + round(day * DAY_MINUTES)) * 60_000


def every(minutes: int, days: float, first: float = 0) -> Minutes:
    """Return minutes with labels, at equal distances."""
    return np.arange(START + round(first * DAY_MINUTES), START + round(days * DAY_MINUTES), minutes)


def by_day(days: int) -> Minutes:
    """Return minutes with labels from six to ten in the evening."""
    minutes = every(2, days)
    return minutes[(minutes % DAY_MINUTES >= 360) & (minutes % DAY_MINUTES < 1_320)]


def remembering(states: list[SourceWatch], before: LabelMemory) -> LabelMemory:
    """Return the memory after an evaluation, as the gate's log keeps it."""
    learned = {one.source for one in states if one.is_new}
    faults = tuple(one.fault for one in states if one.fault is not None)
    return replace(before, sources=before.sources | learned, faults=faults, room=before.room - len(learned))


def lived(
    labels: dict[str, Minutes], days: npt.ArrayLike, *, horizon_days: int = 1, memory: LabelMemory | None = None
) -> tuple[list[dict[str, SourceWatch]], LabelMemory]:
    """Evaluate at these times, each with the labels of the look back alone, and what was remembered."""
    memory = memory or LabelMemory()
    found = []
    for day in np.asarray(days, float).tolist():
        since = at(day) - lookback_ms(horizon_days * DAY_MS)
        read = {name: SourceArrivals(minutes).between(since, at(day)) for name, minutes in labels.items()}
        read = {name: one for name, one in read.items() if len(one.minutes)}
        for name in newly_missing(read, memory):
            read[name] = SourceArrivals(labels[name]).between(0, at(day))
        states = [*watch_sources(read, memory, at(day), "UTC")]
        memory = remembering(states, memory)
        found.append({one.source: one for one in states})
    return found, memory


def is_silent(one: SourceWatch) -> bool:
    """Tell whether a silence is open."""
    return one.fault is not None and one.fault.until is None


@pytest.mark.parametrize("gap", [7, 600, 7 * DAY_MINUTES], ids=["minutes", "hours", "a week"])
def test_a_source_that_stopped_is_silent_until_the_end_of_time(gap: int) -> None:
    """Long after its last label has left the time that is looked back on; its neighbour lives."""
    labels = {"card": every(gap, 100), "desk": every(gap, 600)}
    found, memory = lived(labels, range(1, 600), horizon_days=120)
    silent = [is_silent(each["card"]) for each in found if "card" in each]
    first = silent.index(True)
    assert all(silent[first:])
    patience = 1 if gap < 60 else 4 if gap < DAY_MINUTES else 24
    assert 100 <= first + 1 <= 100 + patience
    assert not any(is_silent(each["desk"]) for each in found if "desk" in each)
    [fault] = memory.faults
    assert (fault.subject, fault.since) == ("card", (int(labels["card"][-1]) + 1) * 60_000)
    assert found[-1]["card"].liveness.silent_ms == at(599) - fault.since
    assert found[-1]["card"].liveness.sentence.startswith("No label or heartbeat for ")


def test_a_silence_that_was_found_by_day_is_not_forgotten_at_night() -> None:
    """At night the same silence would be usual."""
    minutes = by_day(30)
    minutes = minutes[minutes < at(29.5) // 60_000]
    found, _ = lived({"desk": minutes}, [20, 29.6, 29.99, 30.1])
    assert [is_silent(each["desk"]) for each in found] == [False, True, True, True]


def test_labels_end_a_silence_and_it_never_becomes_usual() -> None:
    """The source comes back after fifty days, and stops again after three: that is found within hours, too."""
    minutes = np.concatenate([every(10, 60), every(10, 113, first=110)])
    found, memory = lived({"desk": minutes}, [40, 60.5, 109, 110.5, 112.9, 113.3, 160])
    assert [is_silent(each["desk"]) for each in found] == [False, True, True, False, False, True, True]
    ended = found[3]["desk"].fault
    assert ended is not None
    assert ended.until == at(110)
    assert memory.faults[0].since == (int(minutes[-1]) + 1) * 60_000
    _, memory = lived({"desk": every(10, 60)}, [40, 61])
    back = SourceArrivals(every(10, 130, first=110))
    [after] = watch_sources({"desk": back}, memory, at(130), "UTC")
    assert (after.liveness.state, is_silent(after)) == ("alive", False)


def test_a_source_is_known_from_seven_days_of_history_on() -> None:
    """Before, its silence is no alarm."""
    found, memory = lived({"short": every(30, 6.9), "long": every(30, 7.1)}, [5, 6.95, 8, 20])
    assert [{name for name, one in each.items() if one.is_new} for each in found] == [set(), set(), {"long"}, set()]
    assert memory.sources == {"long"}
    assert {name for name, one in found[-1].items() if is_silent(one)} == {"long"}


def test_a_retired_source_is_no_alarm_and_later_labels_start_it_anew() -> None:
    """It is known again after seven days of labels that came after its retirement."""
    minutes = np.concatenate([every(10, 30), every(10, 60, first=50)])
    _, memory = lived({"desk": minutes}, [20, 31])
    assert memory.faults
    retired = LabelMemory(retired_ms={"desk": at(30)})
    found, memory = lived({"desk": minutes}, [31, 45, 53, 58, 60.5], memory=retired)
    assert [each["desk"].is_known if "desk" in each else None for each in found] == [False, False, False, True, True]
    assert [is_silent(each["desk"]) for each in found] == [False, False, False, False, True]
    assert memory.faults[0].since >= at(59.9)


def test_files_that_come_once_a_week_are_no_alarm() -> None:
    """A history that is short for their gaps has no outage to ignore: the next file may be three hours late."""
    late = np.array([0, 3, -2, 5, 1, 0, 4, -3, 2, 6, 0, 3]) * 60
    minutes = START + np.arange(12) * 7 * DAY_MINUTES + 600 + late
    found, _ = lived({"file": minutes}, np.arange(1, 82, 0.25), horizon_days=30)
    assert not any(is_silent(each["file"]) for each in found if "file" in each)


def test_heartbeats_keep_a_source_alive() -> None:
    """And one after a silence ends it."""
    labels = every(5, 30)
    silent = [*watch_sources({"desk": SourceArrivals(labels)}, LabelMemory(), at(31), "UTC")]
    memory = remembering(silent, LabelMemory())
    assert is_silent(silent[0])
    [one] = watch_sources({"desk": SourceArrivals(labels, (at(31.5),))}, memory, at(31.5) + 1, "UTC")
    assert (is_silent(one), one.fault and one.fault.until) == (False, at(31.5))


def test_a_known_source_without_any_label_in_the_lake_is_silent() -> None:
    """The log knows of it; its labels may be gone from the lake."""
    [one] = watch_sources({}, LabelMemory(sources=frozenset({"gone"})), at(5), "UTC")
    assert one.fault == LabelFault(check="silence", scope="source", subject="gone", since=at(5))


def test_at_most_so_many_sources_become_known() -> None:
    """The others stay unknown, and their state says that they could be."""
    labels = {f"s{number}": SourceArrivals(every(60, 10)) for number in range(3)}
    states = [*watch_sources(labels, LabelMemory(room=2), at(10), "UTC")]
    assert [(one.is_known, one.liveness.state) for one in states] == [
        (True, "alive"),
        (True, "alive"),
        (False, "alive"),
    ]


@pytest.mark.parametrize(
    ("has", "missing"), [(every(60, 10), False), (every(60, 6), True), (np.zeros(0, np.int64), True)]
)
def test_a_known_source_with_too_little_history_is_looked_for_further_back(has: Minutes, missing: bool) -> None:
    """Unless its silence is known."""
    memory = LabelMemory(sources=frozenset({"desk"}))
    assert newly_missing({"desk": SourceArrivals(has)}, memory) == ({"desk"} if missing else set())
    fault = LabelFault(check="silence", scope="source", subject="desk", since=at(1))
    assert newly_missing({"desk": SourceArrivals(has)}, replace(memory, faults=(fault,))) == set()


def test_what_comes_later_than_the_evaluation_is_ignored() -> None:
    """A day that is evaluated late has the same result as in time."""
    early = [*watch_sources({"desk": SourceArrivals(every(10, 20))}, LabelMemory(), at(20), "UTC")]
    late = [*watch_sources({"desk": SourceArrivals(every(10, 40))}, LabelMemory(), at(20), "UTC")]
    assert early == late
