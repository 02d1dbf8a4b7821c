"""Labels that are withdrawn from a running loop, through a lost state: the oracle reads the list without them.

Tests `streams.messages.command` and `streams.join_worker.task` on a real broker.
"""

import shutil
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from live_case import DAY_MS, Loop, Traffic, finish, lake_differences, running

from joins import Withdrawal
from lake import Lake
from streams.messages.command import Withdraw, decode_command, withdraw_commands
from truthloop.evidence.conservation import check_conservation

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


def test_a_command_is_cut_into_pieces_that_one_step_can_take() -> None:
    """Each piece names its partition; the join reads them as they were."""
    labels = {3: [Withdrawal("fraud", 1_000 + offset, offset) for offset in range(25_000)], 5: []}
    pieces = [*withdraw_commands("bf-1", labels)]
    assert [partition for partition, _ in pieces] == [3, 3, 3]
    assert max(len(value) for _, value in pieces) < 500_000
    commands = [decode_command(value) for _, value in pieces]
    assert [one for command in commands if isinstance(command, Withdraw) for one in command.labels] == labels[3]
