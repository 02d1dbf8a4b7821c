"""Labels that are withdrawn from a running loop, through a lost state: the oracle reads the list without them.

Tests `streams.messages.command`, `streams.join_worker.task` and `truthloop.feedback.withdrawal_commands` on a real
broker.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Producer
from kafka_fixture import read_all
from live_case import DAY_MS, HOUR_MS, Loop, Traffic, finish, lake_differences, running

from joins import Withdrawal
from lake import Lake
from retrain.episode_status import EpisodeStatus
from streams.messages.command import Withdraw, decode_command, withdraw_commands
from truthloop.broker.node import free_ports
from truthloop.clock import now_ms
from truthloop.config.settings import load_settings
from truthloop.evidence.approvals import open_approvals
from truthloop.evidence.conservation import check_conservation
from truthloop.evidence.withdrawals import WithdrawalProgress, progress_of

OWN = {"fraud": "chargeback", "click": "clicked"}


class WithdrawnLoop(Loop):
    """A loop whose oracle reads the labels without those that were withdrawn."""

    withdrawn: frozenset[tuple[int, int]] = frozenset()

    def rows(self, topic: str, *, committed: bool = True) -> list[dict[str, Any]]:
        """Return the records of a topic; of labels, those that count."""
        found = super().rows(topic, committed=committed)
        if topic != "labels":
            return found
        return [row for row in found if (row["_partition"], row["_offset"]) not in self.withdrawn]


KILLED = """
import os, sys
from truthloop.feedback.withdrawal_commands import WithdrawalCommands
from truthloop.__main__ import main

def note_sent(commands):
    if any(commands._due.values()):
        os._exit(137)

WithdrawalCommands.note_sent = note_sent
sys.exit(main())
"""
"""A role that is killed when its commands are written, before it remembers that."""

ROLE = "import sys; from truthloop.__main__ import main; sys.exit(main())"


class Feedback:
    """A process of the feedback role."""

    def __init__(self, loop: Loop, program: str) -> None:
        [self._port] = free_ports(1)
        words = ["run", "feedback", "--slot", "0", "--port", str(self._port), "--config", str(loop.config)]
        with (loop.folder / "feedback-0.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | loop.environ,
            )
        loop.processes.append(self.process)

    def looks(self) -> int:
        """Return how often it has looked at the lake."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=30) as answer:
                text = answer.read().decode()
        except OSError:
            return 0
        found = re.search(r'^truthloop_batch_seconds_count\{[^}]*"feedback"[^}]*\} (\S+)$', text, re.MULTILINE)
        return 0 if found is None else int(float(found[1]))


def send_backfill(loop: Loop, batch: str, part: int) -> None:
    """Send a batch of labels for a third of the keys: all frauds, and later than any other label."""
    producer = Producer(loop.client | {"partitioner": "murmur2_random"})
    times = {row["key"]: row["time"] for row in loop.rows("predictions") if "broken" not in row}
    for key, time_ms in times.items():
        if sum(key.encode()) % 3 == part:
            value = {"v": 1, "key": key, "kind": "fraud", "value": 1, "time": time_ms + 21 * HOUR_MS}
            raw = msgspec.json.encode(value | {"origin": "backfill", "batch_id": batch})
            producer.produce(f"{loop.name}.labels", value=raw, key=key)
    assert producer.flush(30) == 0


def positions(loop: Loop, batch: str) -> set[tuple[int, int]]:
    """Return partition and offset of a batch's labels."""
    rows = Loop.rows(loop, "labels")
    return {(row["_partition"], row["_offset"]) for row in rows if row.get("batch_id") == batch}


def rejected(loop: Loop, batch: str) -> EpisodeStatus:
    """Wait until the whole batch waits for a ruling, reject it as a person does, and return it."""
    settings, labels = load_settings(loop.config, {}), len(positions(loop, batch))
    assert labels > 20

    def status() -> EpisodeStatus | None:
        found = open_approvals(settings, now_ms).statuses()
        return next((one for one in found if (one.episode.batch, one.episode.labels) == (batch, labels)), None)

    loop.wait(f"an episode of {batch}", lambda: status() is not None)
    found = status()
    assert found is not None
    assert found.is_waiting, found.why
    words = ["backfill", "reject", found.episode.id, "--diff", found.diff_sha256, "--reason", "of another system"]
    done = loop.command(*words)
    assert done.returncode == 0, done.stderr
    return found


def withdrawn_by(loop: Loop, episode: str) -> list[tuple[int, int]]:
    """Return partition and offset of every label in the messages on `<loop>.commands` that withdraw an episode."""
    return [
        (message.partition() or 0, label.offset)
        for message in read_all(loop.servers, f"{loop.name}.commands")
        if isinstance(command := decode_command(message.value()), Withdraw) and command.episode == episode
        for label in command.labels
    ]


def newest_of_some_keys(loop: Loop) -> dict[int, list[Withdrawal]]:
    """Return by partition the newest label of every third key and kind, with its copies."""
    newest: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in loop.rows("labels"):
        if "broken" in row or row.get("definition", "") == "other" or sum(row["key"].encode()) % 3:
            continue
        chain = newest.setdefault((row["key"], row["kind"]), [])
        if chain and row["time"] > chain[0]["time"]:
            chain.clear()
        if not chain or row["time"] == chain[0]["time"]:
            chain.append(row)
    found: dict[int, list[Withdrawal]] = {}
    for row in (row for chain in newest.values() for row in chain):
        found.setdefault(row["_partition"], []).append(Withdrawal(row["kind"], row["time"], row["_offset"]))
    return {partition: sorted(labels, key=lambda one: one.offset) for partition, labels in found.items()}


def test_a_running_join_withdraws_and_a_lost_state_comes_back_without_them(kafka: str, tmp_path: Path) -> None:
    """Half of the traffic comes after; the commands are sent twice; the state is lost, and steps are redone."""
    traffic = Traffic(11, 600, int(time.time() * 1000) - 4 * DAY_MS)
    with running(WithdrawnLoop(tmp_path, kafka)) as loop:
        loop.begin()
        worker = loop.run("join")
        loop.run("lake")
        producer = Producer(loop.client)

        def withdraw(sent: int) -> None:
            if sent >= len(traffic.records):
                return
            loop.wait("the first half", lambda: loop.lag("join", ("predictions", "labels")) == 0)
            labels = newest_of_some_keys(loop)
            loop.withdrawn = frozenset((number, one.offset) for number, some in labels.items() for one in some)
            assert len(loop.withdrawn) > 100
            for partition, value in [*withdraw_commands("bf-1", labels)] * 2:
                producer.produce(f"{loop.name}.commands", value=value, partition=partition)
            assert producer.flush(30) == 0
            loop.wait("the commands", lambda: loop.lag("join", ("commands",)) == 0)
            worker.kill()
            worker.wait()
            shutil.rmtree(loop.folder / "state" / loop.name)
            loop.run("join")

        loop.produce(traffic, withdraw, pieces=2)
        assert finish(loop, traffic) == []
        rejects = [row for row in loop.rows("rejects") if row["reason"] == "withdrawn"]
        assert {(row["partition"], row["offset"]) for row in rejects} <= loop.withdrawn
        assert len(rejects) == len({(row["partition"], row["offset"]) for row in rejects}) > 100
        loop.wait("the lake", lambda: not lake_differences(loop))
        loop.wait("the rejects", lambda: check_conservation(Lake.open(tmp_path / "lake"), OWN).violations == [])


def test_the_feedback_role_hands_a_rejected_backfill_over_to_the_join_once(kafka: str, tmp_path: Path) -> None:
    """Also if it is killed between writing and remembering, and if it looks again before the join has read it."""
    traffic = Traffic(12, 300, int(time.time() * 1000) - 2 * DAY_MS)
    with running(WithdrawnLoop(tmp_path, kafka)) as loop:
        loop.begin()
        join = loop.run("join")
        loop.run("lake")
        loop.produce(traffic)
        lake = Lake.open(tmp_path / "lake")

        first = Feedback(loop, KILLED)
        send_backfill(loop, "first", 0)
        one = rejected(loop, "first")
        loop.wait("the end of the role", lambda: first.process.poll() is not None)
        assert first.process.returncode == 137, loop.log("feedback")
        found = withdrawn_by(loop, one.episode.id)
        assert sorted(found) == sorted(positions(loop, "first"))
        loop.wait("the withdrawal", lambda: progress_of(lake, one.episode) == WithdrawalProgress(len(found), 0, 0))

        role = Feedback(loop, ROLE)
        loop.wait("a look of the next process", lambda: role.looks() > 0)
        send_backfill(loop, "second", 1)
        second = positions(loop, "second")
        loop.wait("the second batch", lambda: second <= read_of(lake))
        join.terminate()
        assert join.wait(60) == 0, loop.log("join")
        two = rejected(loop, "second")
        loop.wait("the second command", lambda: len(withdrawn_by(loop, two.episode.id)) > 0)
        looks = role.looks()
        loop.wait("two more looks", lambda: role.looks() >= looks + 2)
        assert sorted(withdrawn_by(loop, two.episode.id)) == sorted(second)
        loop.run("join")
        expected = WithdrawalProgress(len(second), 0, 0)
        loop.wait("the second withdrawal", lambda: progress_of(lake, two.episode) == expected)

        loop.withdrawn = frozenset(found) | second
        assert finish(loop, traffic) == []
        assert withdrawn_by(loop, one.episode.id) == found
        assert sorted(withdrawn_by(loop, two.episode.id)) == sorted(second)
        rejects = [row for row in loop.rows("rejects") if row["reason"] in ("withdrawn", "not_withdrawn")]
        assert sorted((row["partition"], row["offset"]) for row in rejects) == sorted(loop.withdrawn)
        assert {row["reason"] for row in rejects} == {"withdrawn"}


def read_of(lake: Lake) -> set[tuple[int, int]]:
    """Return partition and offset of the labels in the lake."""
    return set(lake.scan("labels").select("partition", "offset").collect().rows())


def test_a_command_is_cut_into_pieces_that_one_step_can_take() -> None:
    """Each piece names its partition; the join reads them as they were."""
    labels = {3: [Withdrawal("fraud", 1_000 + offset, offset) for offset in range(25_000)], 5: []}
    pieces = [*withdraw_commands("bf-1", labels)]
    assert [partition for partition, _ in pieces] == [3, 3, 3]
    assert max(len(value) for _, value in pieces) < 500_000
    commands = [decode_command(value) for _, value in pieces]
    assert [one for command in commands if isinstance(command, Withdraw) for one in command.labels] == labels[3]
