"""Nothing lost, nothing duplicated: roles are killed, stopped and moved under load, and SQL checks the topics.

`live_case.differences` reads the topics alone and shares no code with the join.

Tests `streams.join_worker.role` with `streams.join_worker.assignment` and `streams.join_worker.recovery`.

Covers `streams.kafka.range`, `streams.ledger.topic`.
"""

import random
import shutil
import signal
from pathlib import Path

import msgspec
import pytest
from effort import some
from kafka_fixture import QUICK_START
from live_case import DAY_MS, Loop, Traffic, finish, lake_differences, moment, running

import truthloop
from lake import Lake
from truthloop.broker.local_broker import LocalBroker
from truthloop.clock import now_ms
from truthloop.evidence.conservation import check_conservation

PIECES = 8
INPUTS = ("predictions", "labels")
DEFINITIONS = {"fraud": "chargeback", "click": "clicked"}


def traffic_of(seed: int, count: int) -> Traffic:
    """Return traffic of some days ago."""
    return Traffic(seed, count, now_ms() - 4 * DAY_MS)


@pytest.mark.timeout(400)
def test_workers_that_are_killed_at_random_lose_and_duplicate_nothing(kafka: str, tmp_path: Path) -> None:
    """Two join workers and a lake writer; after each piece of traffic one of them is killed and started again."""
    seed = 20_261_121
    chance = random.Random(seed)
    traffic = traffic_of(seed, 6_000)
    with running(Loop(tmp_path, kafka)) as loop:
        loop.begin()
        workers = {name: loop.run(*name) for name in (("join", "0"), ("join", "1"), ("lake", "0"))}

        def kill(_sent: int) -> None:
            name = chance.choice(list(workers))
            workers[name].kill()
            workers[name].wait()
            workers[name] = loop.run(*name)

        loop.produce(traffic, kill, PIECES)
        assert finish(loop, traffic) == []
        loop.wait("the lake", lambda: not lake_differences(loop))
        conservation = check_conservation(Lake.open(loop.folder / "lake"), DEFINITIONS)
        assert conservation.violations == []
        assert scored(loop.folder / "lake") == replayed(loop, traffic)


def scored(lake: Path) -> list[tuple[object, ...]]:
    """Return the final outcomes in a lake."""
    with truthloop.open(lake) as views:
        return views.sql(
            "SELECT key, id, kind, definition, status, value, predicted_at, known_at FROM scored ORDER BY ALL"
        ).fetchall()


def replayed(loop: Loop, traffic: Traffic) -> list[tuple[object, ...]]:
    """Return the final outcomes of the same records, replayed from files."""
    words = ["replay", "--close", moment(traffic.end_ms)]
    for topic in ("predictions", "labels"):
        file = loop.folder / f"{topic}.jsonl"
        values = [value for name, _, value, _ in traffic.records if name == topic]
        file.write_bytes(b"\n".join(v if isinstance(v, bytes) else msgspec.json.encode(v) for v in values) + b"\n")
        words += [f"--{topic}", str(file)]
    done = loop.command(*words, TRUTHLOOP_LAKE__URI=str(loop.folder / "replayed"))
    assert done.returncode == 0, done.stderr
    return scored(loop.folder / "replayed")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("step", some("committed", "sent", "begun", "offsets sent", "store", at_least=2))
def test_a_crash_at_any_step_of_the_commit_is_harmless(kafka: str, tmp_path: Path, step: str) -> None:
    """The worker ends at the step, twice, and is started again; once without its state."""
    traffic = traffic_of(7, 2_000)
    with running(Loop(tmp_path, kafka)) as loop:
        loop.begin()

        def crash(_sent: int) -> None:
            assert loop.run("join", TRUTHLOOP_CRASH_AT=f"join:{step}:1").wait(120) == 137

        loop.produce(traffic, crash, pieces=2)
        shutil.rmtree(loop.folder / "state" / loop.name)
        loop.run("join")
        assert finish(loop, traffic) == []


@pytest.mark.timeout(400)
def test_a_worker_that_continues_after_its_session_has_ended_does_no_harm(kafka: str, tmp_path: Path) -> None:
    """It is stopped until its session ends, another worker takes over and commits, then it continues."""
    traffic = traffic_of(11, 4_000)
    with running(Loop(tmp_path, kafka, session_ms=6_000)) as loop:
        loop.begin()
        first = loop.run("join", "0")
        half = len(traffic.records) // 2
        rest, traffic.records = traffic.records, traffic.records[:half]
        loop.produce(traffic)
        loop.wait("some steps", lambda: loop.rows("ledger") != [])
        first.send_signal(signal.SIGSTOP)
        second = loop.run("join", "1")
        traffic.records = rest[half:]
        loop.produce(traffic)
        traffic.records = rest
        loop.wait("the other worker's end", lambda: loop.lag("join", INPUTS) == 0)
        first.send_signal(signal.SIGCONT)
        assert finish(loop, traffic) == []
        assert second.poll() is None


@pytest.mark.timeout(400)
def test_a_lost_state_is_restored_from_lake_and_topics_while_others_work(kafka: str, tmp_path: Path) -> None:
    """One of two workers loses its disk; the lake has a part of its state, the topics have the rest."""
    traffic = traffic_of(13, 4_000)
    with running(Loop(tmp_path, kafka)) as loop:
        loop.begin()
        join = loop.run("join", "0")
        lake = loop.run("lake", "0")
        records, third = traffic.records, len(traffic.records) // 3
        traffic.records = records[:third]
        loop.produce(traffic)
        loop.wait("the first third", lambda: loop.lag("join", INPUTS) == 0 and not lake_differences(loop))
        lake.kill()
        lake.wait()
        traffic.records = records[third : 2 * third]
        loop.produce(traffic)
        loop.wait("the second third", lambda: loop.lag("join", INPUTS) == 0)
        join.kill()
        join.wait()
        shutil.rmtree(loop.folder / "state" / loop.name / "join-0")
        loop.run("join", "0")
        loop.run("join", "1")

        def logs() -> str:
            return loop.log("join", "0") + loop.log("join", "1")

        # before the lake goes on: nothing would be left to redo
        loop.wait("the restore", lambda: "steps are redone from the ledger" in logs())
        loop.run("lake", "0")
        traffic.records = records[2 * third :]
        loop.produce(traffic)
        traffic.records = records
        assert finish(loop, traffic) == []
        loop.wait("the lake", lambda: not lake_differences(loop))
        assert "the state is restored from the lake" in logs()


@pytest.mark.timeout(400)
def test_a_broker_that_dies_under_load_costs_nothing(tmp_path: Path) -> None:
    """It is killed and started again twice; the roles continue by themselves."""
    traffic = traffic_of(17, 4_000)
    with (
        LocalBroker(tmp_path / "kafka", java_options=QUICK_START) as broker,
        running(Loop(tmp_path, broker.bootstrap_servers)) as loop,
    ):
        loop.begin()
        roles = [loop.run("join"), loop.run("lake")]
        left = [True, True]

        def die(_sent: int) -> None:
            if left and left.pop():
                broker.kill()
                broker.start()

        loop.produce(traffic, die, pieces=3)
        assert finish(loop, traffic) == []
        loop.wait("the lake", lambda: not lake_differences(loop))
        assert [role.poll() for role in roles] == [None, None]
