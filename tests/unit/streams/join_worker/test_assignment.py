"""A partition that cannot be restored is shown as stopped, tried again, and let go of with the assignment."""

from collections.abc import Callable, Iterator
from threading import Event

import pytest
from confluent_kafka import TopicPartition
from join_case import live_config

from schemas.errors import BrokerError, ClusterAway, StateError
from streams.join_worker.assignment import AWAY_RETRY_AFTER_MS, RETRY_AFTER_MS, Assignment
from streams.join_worker.committed import CommittedPosition
from streams.join_worker.task import PartitionTask
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics
from streams.runtime.health import Health

CONFIG = live_config("127.0.0.1:1")
TOPICS = Topics.of(CONFIG)


class Group:
    """What a consumer answers: nothing is committed yet. Notes what was assigned."""

    def __init__(self) -> None:
        self.assigned: list[TopicPartition] = []

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Return the partitions without an offset."""
        assert timeout > 0
        return [TopicPartition(one.topic, one.partition, -1001) for one in partitions]

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Note the partitions."""
        self.assigned = partitions

    def unassign(self) -> None:
        """Note that there are none."""
        self.assigned = []


class Restorer:
    """Fails with the error of the test."""

    def __init__(self) -> None:
        self.error: Exception = StateError("the lake lags")
        self.before: Callable[[], object] = lambda: None
        self.calls = 0

    def restore(self, _number: int, _committed: CommittedPosition | None) -> PartitionTask:
        """Fail."""
        error = self.error
        self.calls += 1
        self.before()
        raise error


class Worker:
    """An assignment whose clock, group and restorer the test has."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.group, self.restorer, self.health = Group(), Restorer(), Health("join")
        self.health.set_readiness()
        clients = KafkaClients(CONFIG.kafka, {})  # type: ignore[arg-type]
        self.mine = Assignment(clients, TOPICS, self.restorer, self.health, lambda: self.now_ms)  # type: ignore[arg-type]

    def gets(self, *numbers: int) -> None:
        """Assign partitions, and find out where they stand."""
        self.mine.on_assign(self.group, [TopicPartition(TOPICS.predictions, number) for number in numbers])  # type: ignore[arg-type]
        self.mine.place(self.group)  # type: ignore[arg-type]

    def is_settled(self) -> None:
        """Wait until no partition is being restored."""
        for future in list(self.mine._restoring.values()):
            future.exception()
        self.mine.refresh(self.group)  # type: ignore[arg-type]


@pytest.fixture
def worker() -> Iterator[Worker]:
    """Yield a worker, and close it."""
    made = Worker()
    yield made
    made.mine.close()


def stopped(worker: Worker) -> float | None:
    """Return the metric of stopped partitions."""
    return worker.health.registry.get_sample_value("truthloop_stopped_partitions", {"role": "join"})


def test_a_stopped_partition_shows_until_it_is_another_workers(worker: Worker) -> None:
    """In readiness and in the metric; the group's own questions come with `place` alone."""
    worker.gets(0, 2)
    worker.is_settled()
    assert stopped(worker) == 2
    assert worker.health.unready() == "partition 0 is stopped: the lake lags; partition 2 is stopped: the lake lags"
    worker.mine.on_revoke(worker.group, [])  # type: ignore[arg-type]
    assert stopped(worker) == 0
    assert worker.health.unready() == ""


@pytest.mark.parametrize(
    ("error", "after_ms"),
    [(StateError("the lake lags"), RETRY_AFTER_MS), (ClusterAway("no answer"), AWAY_RETRY_AFTER_MS)],
)
def test_a_stopped_partition_is_tried_again(worker: Worker, error: Exception, after_ms: int) -> None:
    """Sooner where only an answer was missing; its committed position is read anew."""
    worker.restorer.error = error
    worker.gets(0)
    worker.is_settled()
    worker.now_ms = after_ms - 1
    worker.mine.refresh(worker.group)  # type: ignore[arg-type]
    assert not worker.mine.must_place
    worker.now_ms = after_ms
    worker.mine.refresh(worker.group)  # type: ignore[arg-type]
    assert worker.mine.must_place


def test_the_error_of_a_restore_that_another_one_has_followed_is_logged(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody else would hear of it: a rebalance has put another restore in its place."""
    second = BrokerError("the second one")
    worker.restorer.error = BrokerError("the first one")
    may_fail = Event()
    worker.restorer.before = may_fail.wait
    worker.gets(0)
    while worker.restorer.calls == 0:
        may_fail.wait(0.01)
    worker.restorer.error = second
    worker.gets(0)
    may_fail.set()
    worker.is_settled()
    assert "the restore before this one has failed: the first one" in caplog.text
    assert worker.health.unready() == "partition 0 is stopped: the second one"
