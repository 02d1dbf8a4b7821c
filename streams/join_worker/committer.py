"""Sends the results of a turn's steps and commits them with the positions of what they read, in one transaction.

The commit is waited for in a thread of its own, because it is a fifth of a turn and needs no processor: meanwhile the
role polls and takes the next steps. Memory is then at most one turn ahead of what is committed.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from confluent_kafka import TopicPartition

from streams.join_worker.committed import CommittedPosition
from streams.join_worker.task import StepResult, join_rejects
from streams.kafka.topics import Topics
from streams.kafka.transaction import Transactions
from streams.messages.outcome import OutcomeWire
from streams.runtime.health import Health

__all__ = ["StepCommitter"]


class StepCommitter:
    """One worker's transactions; only `wait` may be called while one is under way.

    Args:
        crash: called with the name of each step; tests end the process there.

    Attributes:
        steps: those whose commit is under way.
    """

    def __init__(
        self,
        transactions: Transactions,
        topics: Topics,
        wire: OutcomeWire,
        health: Health,
        crash: Callable[[str], None],
    ) -> None:
        self._transactions = transactions
        self._topics = topics
        self._wire = wire
        self._health = health
        self._crash = crash
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._commit: Future[None] | None = None
        self._sent_s = 0.0
        self.steps: Sequence[StepResult] = ()

    def open(self) -> None:
        """Free the offsets that a transaction of this worker's last run holds.

        Raises:
            BrokerError: the cluster does not answer, or refuses.
        """
        self._transactions.open()

    def send(self, steps: Sequence[StepResult], metadata: Any) -> None:  # noqa: ANN401 - opaque in the library
        """Send the results of steps, and begin to commit them; `wait` tells how that ended.

        Args:
            steps: as long as their state is the newest one.
            metadata: membership of the consumer when it read their records.

        Raises:
            TransactionUndoneError: the transaction failed.
            BrokerError: the cluster does not answer, or another worker has this slot.
        """
        self._sent_s = time.monotonic()
        self._transactions.begin()
        offsets: list[TopicPartition] = []
        for step in steps:
            record, number = step.record, step.record.partition
            revisions = step.effects.outcomes
            values = self._wire.encode(number, record.sequence, revisions)
            outcomes = list(zip(self._wire.keys(revisions), values, strict=True))
            rejects = [(None, value) for value in join_rejects(step, self._topics, record.now)]
            for topic, messages in (
                (self._topics.outcomes, outcomes),
                (self._topics.rejects, rejects),
                (self._topics.ledger, [(None, record.encode())]),
            ):
                if messages:
                    self._transactions.send(topic, messages, number)
            committed = CommittedPosition.after(record)
            offsets += [
                TopicPartition(topic, number, position, metadata=committed.metadata() if at == 0 else "")
                for at, (topic, position) in enumerate(zip(self._topics.inputs, committed.positions, strict=True))
            ]
        self.steps = steps
        self._commit = self._pool.submit(self._transactions.commit, offsets, metadata)

    def wait(self) -> None:
        """Return once the commit under way, if there is one, has ended.

        Raises:
            TransactionUndoneError: the transaction failed, or its commit is in doubt.
            BrokerError: another worker has this slot.
        """
        if self._commit is None:
            return
        commit, self._commit, self.steps = self._commit, None, ()
        commit.result()
        self._health.seconds.labels("join").observe(time.monotonic() - self._sent_s)
        self._crash("store")

    def abandon(self) -> None:
        """Abort an open transaction that is not being committed."""
        self._transactions.abandon()

    def close(self) -> None:
        """End the thread, which waits for nothing any more."""
        self._pool.shutdown()
        self._transactions.abandon()
