"""The gate's log in the lake (`lake.log`): entries are read as written, and of two writers of a number one wins."""

import threading
from pathlib import Path

import pytest
from gate_case import DRIFT, ID, START_MS, entry, episode, ruling_entry
from lake_builder import LakeBuilder
from opened_files import opened_files

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.episode_status import rulings_of
from retrain.gate import gate_of
from schemas.events.backfill import Verdict
from schemas.events.evidence import Condition, Decision, Event, GateState

NOW_MS = START_MS + 1_000


def day(number: int, state: GateState = GateState.IDLE, reason: str = "so") -> Decision:
    """Return the entry of a day's evaluation."""
    return entry(number, Event.EVALUATED, state, number, reason=reason)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """An empty lake."""
    LakeBuilder(tmp_path / "lake")
    return tmp_path / "lake"


def test_entries_are_read_as_written_and_in_order(lake: Path) -> None:
    """Every field, also by another process, and in whatever order files are read."""
    whole = entry(
        1,
        Event.EVALUATED,
        GateState.PREPARING,
        1.5,
        decision=ID,
        findings=[DRIFT],
        conditions=[Condition(name="coverage", value="ok", needed="ok", is_met=True)],
        version="v1",
        detail={"rows": 5, "share": 0.25, "who": "somebody", "nothing": None},
        source="person",
    )
    log = DecisionLog(Lake.open(lake), "late")
    assert log.append([day(0)], NOW_MS)
    assert log.append([whole, entry(2, Event.PREPARED, GateState.REQUESTED, 1.5, decision=ID)], NOW_MS + 5)
    entries = DecisionLog(Lake.open(lake), "late").entries()
    assert entries == log.entries() == [day(0), whole, entry(2, Event.PREPARED, GateState.REQUESTED, 1.5, decision=ID)]
    assert gate_of(entries).state is GateState.REQUESTED


def test_no_entries_make_no_commit(lake: Path) -> None:
    """Not even an empty one."""
    opened = Lake.open(lake)
    before = opened.version("decisions")
    assert DecisionLog(opened, "late").append([], NOW_MS)
    assert opened.version("decisions") == before


@pytest.mark.parametrize("number", [0, 2])
def test_an_entry_of_another_number_than_the_next_is_not_written(lake: Path, number: int) -> None:
    """Neither one that is there already, nor one after a gap."""
    opened = Lake.open(lake)
    log = DecisionLog(opened, "late")
    assert log.append([day(0)], NOW_MS)
    before = opened.version("decisions")
    assert not log.append([day(number, GateState.WATCHING)], NOW_MS)
    assert not log.append([day(number), day(number + 1)], NOW_MS)
    assert (opened.version("decisions"), log.entries()) == (before, [day(0)])


def test_kinds_have_logs_of_their_own(lake: Path) -> None:
    """Each with its own numbers."""
    opened = Lake.open(lake)
    late, fare = DecisionLog(opened, "late"), DecisionLog(opened, "fare")
    assert late.append([day(0), day(1)], NOW_MS)
    assert fare.append([day(0).model_copy(update={"kind": "fare"})], NOW_MS)
    assert (len(late.entries()), len(fare.entries())) == (2, 1)


@pytest.mark.parametrize("seed", range(4))
def test_of_writers_that_race_for_a_number_one_wins(lake: Path, seed: int) -> None:
    """Each on its own handle of the lake; the losers write nothing."""
    logs = [DecisionLog(Lake.open(lake), "late") for _ in range(3)]
    for log in logs:
        assert log.entries() == []
    barrier, won = threading.Barrier(len(logs)), dict[int, bool]()

    def write(index: int) -> None:
        entries = [day(number, reason=f"writer {index}") for number in range(1 + (index + seed) % 3)]
        barrier.wait()
        won[index] = logs[index].append(entries, NOW_MS)

    threads = [threading.Thread(target=write, args=(index,)) for index in range(len(logs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won.values()) == [False, False, True]
    [winner] = [index for index, is_won in won.items() if is_won]
    entries = DecisionLog(Lake.open(lake), "late").entries()
    assert {one.reason for one in entries} == {f"writer {winner}"}
    assert [one.number for one in entries] == list(range(len(entries)))


def test_a_writer_that_read_before_another_wrote_writes_nothing(lake: Path) -> None:
    """It reads the log again, and decides again."""
    first, second = (DecisionLog(Lake.open(lake), "late") for _ in range(2))
    following = gate_of(second.entries()).following
    assert first.append([day(0)], NOW_MS)
    assert not second.append([day(following, GateState.WATCHING)], NOW_MS)
    assert second.append([day(gate_of(second.entries()).following, GateState.WATCHING)], NOW_MS)
    assert [one.state for one in first.entries()] == [GateState.IDLE, GateState.WATCHING]


def test_an_update_builds_again_from_the_log_that_another_writer_has_extended(lake: Path) -> None:
    """As often as it may; then nothing is written."""
    mine, other = (DecisionLog(Lake.open(lake), "late") for _ in range(2))
    seen = []

    def build(entries: list[Decision]) -> list[Decision]:
        seen.append(len(entries))
        if len(entries) < 2:
            assert other.append([day(len(entries))], NOW_MS)
        return [day(len(entries), GateState.WATCHING)]

    assert mine.update(build, lambda: NOW_MS, attempts_max=2) is None
    assert mine.update(build, lambda: NOW_MS) == [day(2, GateState.WATCHING)]
    assert seen == [0, 1, 2]
    assert mine.update(lambda _entries: [], lambda: NOW_MS) == []
    assert [one.state for one in other.entries()] == [GateState.IDLE, GateState.IDLE, GateState.WATCHING]


def test_the_gate_is_folded_from_where_it_was(lake: Path) -> None:
    """It is that of the whole log, also after another process has written."""
    one, other = (DecisionLog(Lake.open(lake), "late") for _ in range(2))
    assert one.gate() == gate_of([])
    for number in range(4):
        assert other.append([day(number, GateState.WATCHING if number % 2 else GateState.IDLE)], NOW_MS)
        assert one.gate() == gate_of(other.entries())
    assert one.gate() is one.gate()


def test_rulings_are_those_of_the_entries_and_no_other_entries_are_read(lake: Path) -> None:
    """At every length of the log, whether it was read before or not."""
    one, other = episode(1), episode(2)
    ruled = [
        ruling_entry(1, Verdict.QUARANTINED, one, GateState.WAITING),
        ruling_entry(3, Verdict.QUARANTINED, other, GateState.WAITING),
        ruling_entry(4, Verdict.APPROVED, one, GateState.IDLE),
        ruling_entry(6, Verdict.REJECTED, other, GateState.IDLE),
        ruling_entry(7, Verdict.REJECTED, one, GateState.IDLE),
    ]
    by_number = {ruling.number: ruling for ruling in ruled}
    opened = Lake.open(lake)
    followed, read, writer = (DecisionLog(opened, "late") for _ in range(3))
    for number in range(9):
        assert writer.append([by_number.get(number) or day(number)], NOW_MS)
        entries = read.entries()
        for until in range(number + 2):
            expected = rulings_of(entries[:until])
            assert followed.rulings(until) == read.rulings(until) == expected
        assert followed.rulings() == rulings_of(entries)
    with opened_files() as files:
        assert len(DecisionLog(opened, "late").rulings()) == 2
    assert files["decisions"] == len(ruled)
    with opened_files() as files:
        followed.rulings()
    assert not files
