"""The lake writer on a real broker: all that the join has committed is in the tables, each row once.

Tests `streams.lake_sink.role` with `streams.lake_sink.commit` and `streams.lake_sink.rows`.
"""

import random
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import pytest
from effort import some
from join_case import JoinCase, live_config, table_of
from kafka_fixture import read_all
from lake_worker import LakeWorkers, RunningRole, wait_until

from lake import Lake
from streams.runtime.crash_point import EXIT_CODE

_RECORDED_AT = datetime(2026, 3, 1, tzinfo=UTC)
STEPS = [
    *("assigned", "cut", "rejects appended", "labels appended", "predictions appended", "outcomes appended"),
    *("ledger appended", "noticed"),
]


@pytest.fixture
def case(kafka: str) -> JoinCase:
    """Return a loop with three partitions."""
    return JoinCase(live_config(kafka))


@pytest.fixture
def workers(case: JoinCase, tmp_path: Path) -> Iterator[LakeWorkers]:
    """Return the loop's lake writers, none of them running."""
    found = LakeWorkers(tmp_path, case.config)
    yield found
    found.stop()


def wait_for_all(case: JoinCase, workers: LakeWorkers) -> Lake:
    """Wait until all that the join has committed is in the lake."""
    wait_until(
        "the lake's ledger", lambda: (lake := workers.opened()) is not None and case.is_written(lake), workers.log
    )
    lake = workers.opened()
    assert lake is not None
    return lake


def test_the_tables_have_what_the_join_has_committed(case: JoinCase, tmp_path: Path) -> None:
    """Rows are compared with those of the records and the pure join; aborted steps are nowhere."""
    lake = Lake.create(tmp_path / "lake", case.config)
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        for number in range(4):
            case.send()
            case.step(share=0.7)
            case.abort()
            case.reject_in_ingest(number % 3, number)
            case.step([0, 2])
        case.step()
        role.wait("the lake's ledger", lambda: case.is_written(lake))
        assert role.health.unready() == ""
    assert case.differences(lake) == []
    # rejects of ingest are visible whether or not the join works
    assert table_of(lake, "rejects")["sequence"].null_count() == 4


def test_every_append_is_announced(case: JoinCase, tmp_path: Path) -> None:
    """A notice names the versions of the tables and the last step of each partition."""
    lake = Lake.create(tmp_path / "lake", case.config)
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        case.send()
        case.step()
        role.wait("the lake's ledger", lambda: case.is_written(lake))
    notices = [
        msgspec.json.decode(message.value())
        for message in read_all(case.config.kafka.bootstrap_servers, case.topics.commits)
    ]
    assert notices[-1]["tables"]["ledger"] == lake.version("ledger")
    seen = {}
    for notice in notices:
        seen |= notice["partitions"]
    assert seen == {"0": 0, "1": 0, "2": 0}
    assert notices[-1].keys() == {"v", "tables", "partitions", "recorded_at"}


def test_a_writer_that_is_killed_at_any_step_is_continued(case: JoinCase, workers: LakeWorkers) -> None:
    """Each process ends at another step, with more to write each time; in the end every row is there once."""
    for step in STEPS:
        case.send(25)
        case.step(share=0.8)
        case.reject_in_ingest(1, STEPS.index(step))
        assert workers.run(TRUTHLOOP_CRASH_AT=f"lake:{step}:1") == EXIT_CODE, workers.log()
        assert case.is_honest(Lake.open(workers.lake))
        case.step([1])
    case.step()
    workers.start()
    assert case.differences(wait_for_all(case, workers)) == []


def test_kills_at_any_moment_neither_lose_nor_duplicate_rows(case: JoinCase, workers: LakeWorkers) -> None:
    """The join works all the time; the writer lives for a random part of some rounds."""
    chance = random.Random(1)
    clock = threading.Event()
    for _ in range(6):
        seen = len(workers.log())
        process = workers.start()
        for _ in range(chance.randrange(1, 5)):
            case.send(10)
            case.step(share=chance.random())
        wait_until("a sign of life", partial(_has_said_more, workers, seen), workers.log)
        clock.wait(chance.random() * 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        lake = workers.opened()
        assert lake is None or case.is_honest(lake)
    case.step()
    workers.start()
    assert case.differences(wait_for_all(case, workers)) == []


def test_writers_come_and_go_while_the_join_works(case: JoinCase, workers: LakeWorkers) -> None:
    """Each rebalance moves partitions; both writers write, and no row is missing or duplicated."""
    first = workers.start("0")
    case.send()
    case.step()
    wait_for_all(case, workers)
    workers.start("1")
    wait_until("the second writer's partitions", lambda: "partitions [2]" in workers.log(), workers.log)
    for _ in range(5):
        case.send(20)
        case.step(share=0.7)
    wait_for_all(case, workers)
    first.terminate()
    assert first.wait(30) == 0
    case.send(20)
    case.step()
    wait_for_all(case, workers)  # once the first one's session has ended
    workers.start("0")
    case.send(20)
    case.step()
    assert case.differences(wait_for_all(case, workers)) == []


@pytest.mark.parametrize("step", some("outcomes appended", "rejects appended"))
def test_a_writer_that_was_stopped_and_continues_does_no_harm(case: JoinCase, workers: LakeWorkers, step: str) -> None:
    """While it is stopped in the middle of a round, another writes the same rows; then it continues."""
    case.send()
    case.step()
    zombie = workers.start("0", FREEZE_AT=step)
    wait_until("the stop", lambda: _is_stopped(zombie.pid), workers.log)
    assert case.is_honest(Lake.open(workers.lake))
    workers.start("1")
    lake = wait_for_all(case, workers)  # once the zombie's session has ended
    case.send()
    case.step()
    wait_for_all(case, workers)
    appended = lake.version("ledger")
    zombie.send_signal(signal.SIGCONT)
    case.send()
    case.step()
    wait_until("its return to the group", lambda: workers.log().count("partitions [") >= 3, workers.log)
    assert case.differences(wait_for_all(case, workers)) == []
    assert lake.version("ledger") > appended
    assert zombie.poll() is None, workers.log()


def test_a_full_disk_is_reported_and_waited_for(case: JoinCase, workers: LakeWorkers) -> None:
    """Three rounds fail and it is said once; nothing is lost or doubled, and the process lives on."""
    case.send()
    case.step()
    process = workers.start(FULL_DISK_FOR="3")
    lake = wait_for_all(case, workers)
    assert process.poll() is None
    assert workers.log().count("Check that the disk has room") == 1
    assert "it works again" in workers.log()
    assert case.differences(lake) == []


def _has_said_more(workers: LakeWorkers, seen: int) -> bool:
    return len(workers.log()) > seen


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
