"""Nothing lost, nothing doubled: roles are killed, stopped and moved under load, and SQL over the topics judges.

`live_case.differences` reads the topics alone and shares no code with the join.
"""

import random
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from live_case import DAY_MS, Loop, Traffic, differences, lake_differences, running

import truthloop
from lake import Lake
from truthloop.conservation import check_conservation
from truthloop.moments import now_ms

PIECES = 8
DEFINITIONS = {"fraud": "chargeback", "click": "clicked"}


def finish(loop: Loop, traffic: Traffic) -> list[str]:
    """Wait for the join to take everything in, close, and return all differences."""
    inputs = ("predictions", "labels")
    loop.wait("the join's end", lambda: loop.lag("join", inputs) == 0)
    closed = loop.command("close", moment(traffic.end_ms))
    assert closed.returncode == 0, closed.stderr
    loop.wait("the close", lambda: loop.lag("join", ("commands",)) == 0)
    loop.wait("a settled join", lambda: not differences(loop, traffic.end_ms))
    return differences(loop, traffic.end_ms)


def moment(time_ms: int) -> str:
    """Return a time as people type it."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()


def traffic_of(seed: int, count: int) -> Traffic:
    """Return traffic of some days ago."""
    return Traffic(seed, count, now_ms() - 4 * DAY_MS)


@pytest.mark.timeout(400)
def test_workers_that_are_killed_at_random_lose_and_double_nothing(kafka: str, tmp_path: Path) -> None:
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
    """Return what a lake says of every prediction in the end."""
    with truthloop.open(lake) as views:
        return views.sql(
            "SELECT key, id, kind, definition, status, value, predicted_at, known_at FROM scored ORDER BY ALL"
        ).fetchall()


def replayed(loop: Loop, traffic: Traffic) -> list[tuple[object, ...]]:
    """Return what the same records say when they are read from files."""
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
@pytest.mark.parametrize("step", ["begun", "sent", "offsets sent", "committed", "store"])
def test_a_crash_at_any_step_of_the_commit_is_harmless(kafka: str, tmp_path: Path, step: str) -> None:
    """The worker ends at the step, twice, and is started again; once on an empty disk."""
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
def test_a_worker_that_was_taken_for_dead_can_do_no_harm_when_it_comes_back(kafka: str, tmp_path: Path) -> None:
    """It is stopped past its session, another takes over and commits, then it goes on."""
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
        inputs = ("predictions", "labels")
        loop.wait("the other worker's end", lambda: loop.lag("join", inputs) == 0)
        first.send_signal(signal.SIGCONT)
        assert finish(loop, traffic) == []
        assert second.poll() is None
