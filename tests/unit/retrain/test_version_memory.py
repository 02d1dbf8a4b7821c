"""What the log remembers of a version: the newest entry says it, with the windows of a year."""

from datetime import date, timedelta
from typing import Any

from gate_case import entry

from monitor.version_watch import for_restated_labels
from retrain.version_memory import memories_of
from schemas.events.evidence import Decision, Event, GateState
from schemas.events.memory import ErrorChange, OpenErrorChange, ShiftWindow, VersionMemory

FIRST = date(2024, 1, 1)
CHANGE = ErrorChange(day=FIRST, since=FIRST, error_before=0.1, error_after=0.2, n=900)


def day_of(number: int) -> date:
    """Return the day so many days after the first."""
    return FIRST + timedelta(days=number)


def window(input_: str, number: int) -> ShiftWindow:
    """Return a window of one day."""
    figures = {"psi": 0.01, "threshold": 0.1, "w1": None, "w1_threshold": None, "flagged": False, "level": "ok"}
    return ShiftWindow(input=input_, since=day_of(number), day=day_of(number), **figures)


def memory(number: int, version: str = "v1", **changes: Any) -> VersionMemory:
    """Return what is found on a day: a window of a feature and of the label."""
    usual = {
        "basis": "own",
        "day": day_of(number),
        "judged": day_of(number),
        "labels": number * 100,
        "positives": number * 40,
        "negatives": number * 60,
        "is_worse": True,
        "changes": [CHANGE],
        "open_change": OpenErrorChange(found=CHANGE, wrong=10, labels=100),
        "kept_on": day_of(1),
        "windows": [window("amount", number), window("label", number)],
    }
    return VersionMemory(version=version, **(usual | changes))


def log(*memories: VersionMemory | None, restated: int = -1) -> list[Decision]:
    """Return a log of evaluations, one of them after a ruling."""
    return [
        entry(number, Event.RESTATED if number == restated else Event.EVALUATED, GateState.IDLE, number, memory=one)
        for number, one in enumerate(memories)
    ]


def windows_of(found: VersionMemory) -> list[tuple[str, int]]:
    """Return input and number of the day of each window."""
    return [(one.input, (one.day - FIRST).days) for one in found.windows]


def test_the_newest_entry_of_each_version_counts_with_the_windows_of_all() -> None:
    """Versions take turns; an entry without a memory, as versions before this one wrote them, says nothing."""
    found = memories_of(log(None, memory(1), memory(2), memory(3, "v2"), memory(4)))
    assert {version: one.labels for version, one in found.items()} == {"v1": 400, "v2": 300}
    assert windows_of(found["v1"]) == [(name, day) for day in (1, 2, 4) for name in ("amount", "label")]
    assert memories_of(log(None)) == {}


def test_windows_are_kept_for_a_year_and_so_is_a_version_that_does_not_run() -> None:
    """A day longer is too long; the page may want more."""
    entries = log(memory(0), memory(1), memory(366))
    assert windows_of(memories_of(entries)["v1"])[::2] == [("amount", 1), ("amount", 366)]
    assert windows_of(memories_of(entries, FIRST)["v1"])[::2] == [("amount", 0), ("amount", 1), ("amount", 366)]
    assert set(memories_of(log(memory(0, "v0"), memory(365)))) == {"v0", "v1"}
    assert set(memories_of(log(memory(0, "v0"), memory(366)))) == {"v1"}


def test_what_another_basis_counts_is_not_gone_on_from() -> None:
    """Another age, threshold or definition: windows of before are not compared with those of after."""
    found = memories_of(log(memory(1), memory(2, basis="other")))
    assert windows_of(found["v1"]) == [("amount", 2), ("label", 2)]


def test_a_restatement_forgets_what_labels_had_shown_of_every_version() -> None:
    """What it has found itself counts; of other versions only their inputs are known, and no day is judged."""
    found = memories_of(log(memory(1), memory(1, "v2"), memory(2), memory(2, windows=[window("label", 1)]), restated=3))
    assert windows_of(found["v1"]) == [("amount", 1), ("amount", 2), ("label", 1)]
    assert found["v1"].labels == 200
    assert found["v2"] == for_restated_labels(memory(1, "v2"))
    assert (found["v2"].judged, found["v2"].labels, found["v2"].changes, found["v2"].open_change) == (None, 0, [], None)
    assert (found["v2"].day, found["v2"].kept_on, windows_of(found["v2"])) == (day_of(1), day_of(1), [("amount", 1)])
