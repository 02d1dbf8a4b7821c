"""The join takes the next steps while those before them are committed: whatever becomes of that commit, none is lost.

Covers `streams.join_worker.committer`, `streams.join_worker.role`.
"""

import threading
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from join_thread import joining
from live_case import DAY_MS, Loop, Traffic, finish, running

from streams.join_worker import role as join_role
from streams.join_worker import task as join_task
from streams.join_worker.committed import CommittedPosition
from streams.join_worker.committer import StepCommitter
from streams.join_worker.task import Incoming, PartitionTask, StepResult
from streams.kafka.topics import Topics
from streams.kafka.transaction import Transactions, TransactionUndoneError
from truthloop.clock import now_ms
from truthloop.config.settings import load_settings

EVERY = 6
"""Of so many commits one ends as the test wants."""


class Watched:
    """The role's commits, some of which wait for a step to be taken meanwhile and then end as is wanted.

    They do not wait where the role takes none, because it waits for them.

    Args:
        ending: "committed", "undone" or "in doubt".
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ending: str, topics: Topics) -> None:
        self.overlaps, self.flushes, self.faults = 0, 0, list[str]()
        self._ending, self._topics, self._calls = ending, topics, 0
        self._changed = threading.Condition()
        self._steps, self._steps_sent, self._is_awaited = 0, 0, False
        self._committed: dict[int, int] = {}
        self._begin, self._commit, self._wait = Transactions.begin, Transactions.commit, StepCommitter.wait
        self._step, self._flush = PartitionTask.step, PartitionTask.flush
        for owner, name, watcher in (
            (Transactions, "begin", self.begin),
            (Transactions, "commit", self.commit),
            (StepCommitter, "wait", self.wait),
            (PartitionTask, "step", self.step),
            (PartitionTask, "flush", self.flush),
        ):
            monkeypatch.setattr(owner, name, partialmethod(_passed_to, watcher))

    def begin(self, transactions: Transactions) -> None:
        """Begin, after the steps that are to be committed."""
        self._steps_sent = self._steps
        self._begin(transactions)

    def commit(self, transactions: Transactions, offsets: list[TopicPartition], metadata: Any) -> None:
        """Commit, or not."""
        self._calls += 1
        is_chosen = self._calls % EVERY == 0
        if is_chosen:
            with self._changed:
                self._changed.wait_for(lambda: self._is_awaited or self._steps > self._steps_sent)
            self.overlaps += self._steps > self._steps_sent
        if not (is_chosen and self._ending == "undone"):
            self._commit(transactions, offsets, metadata)
            for number in {one.partition for one in offsets}:
                position = CommittedPosition.of(self._topics, [one for one in offsets if one.partition == number])
                assert position is not None
                self._committed[number] = position.sequence
        if is_chosen and self._ending != "committed":
            raise TransactionUndoneError(f"this commit is {self._ending}")

    def wait(self, committer: StepCommitter) -> None:
        """Wait for the commit under way."""
        self._change(is_awaited=True)
        try:
            self._wait(committer)
        finally:
            self._change(is_awaited=False)

    def step(self, task: PartitionTask, incoming: Incoming, *others: Any) -> StepResult:
        """Take a step."""
        taken = self._step(task, incoming, *others)
        self._steps += 1
        self._change(is_awaited=False)
        return taken

    def _change(self, *, is_awaited: bool) -> None:
        with self._changed:
            self._is_awaited = is_awaited
            self._changed.notify_all()

    def flush(self, task: PartitionTask) -> None:
        """Flush what is committed, and nothing else."""
        self.flushes += 1
        if task.sequence != self._committed.get(task.number, 0):
            self.faults.append(f"partition {task.number} is flushed at {task.sequence}, not {self._committed}")
        self._flush(task)


def _passed_to(owner: Any, watcher: Callable[..., Any], *args: Any) -> Any:
    return watcher(owner, *args)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("ending", ["committed", "undone", "in doubt"])
def test_steps_taken_during_a_commit_are_kept_with_it_and_dropped_with_it(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """No outcome is lost or doubled, and no state is flushed that is not committed."""
    traffic = Traffic(29, 1_500, now_ms() - 4 * DAY_MS)
    monkeypatch.setattr(join_role, "BATCH_MESSAGES", 100)
    monkeypatch.setattr(join_task, "FLUSH_KEYS", 300)
    with running(Loop(tmp_path, kafka)) as loop:
        loop.begin()
        loop.produce(traffic)
        watched = Watched(monkeypatch, ending, Topics.of(load_settings(loop.config).config))
        with joining(loop):
            assert finish(loop, traffic) == []
        assert watched.faults == []
        assert watched.overlaps >= 2
        assert watched.flushes >= 2
