"""A question to a cluster that does not answer ends in an error of ours, whoever asks, and never in Python's own."""

from collections.abc import Callable

import pytest
from ingest_case import loop_with

from schemas.config.connection import KafkaConfig
from schemas.errors import ClusterAway
from streams.ingest import assignment, offsets, preflight
from streams.ingest.assignment import UnassignedPartitions
from streams.ingest.offsets import SourcePositions
from streams.kafka import client, sample, topics
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics

CONFIG = loop_with({"topic": "a", "as": "labels", "kind": "fraud", "map": {"key": "k", "time": "t", "value": "v"}})
OWN = Topics.of(CONFIG)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> KafkaClients:
    """Return clients of a port where nobody listens, with little patience."""
    for module in (assignment, offsets, preflight, client, sample, topics):
        monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", 0.2)
    return KafkaClients(KafkaConfig(bootstrap_servers="127.0.0.1:1"), {})


@pytest.mark.parametrize(
    "ask",
    [
        lambda clients: clients.check_reachable(),
        lambda clients: SourcePositions(clients, CONFIG).refresh_ids(),
        lambda clients: topics.partition_counts(clients, ["a"]),
        lambda clients: topics.create_topics(clients, OWN),
        lambda clients: preflight.check_destinations(clients, OWN, 1),
    ],
    ids=["check_reachable", "refresh_ids", "partition_counts", "create_topics", "check_destinations"],
)
def test_no_answer_is_an_error_that_says_so(clients: KafkaClients, ask: Callable[[KafkaClients], object]) -> None:
    """The caller waits for the cluster, or the command reports it."""
    with pytest.raises(ClusterAway, match=r"127\.0\.0\.1:1"):
        ask(clients)


def test_what_is_not_needed_is_left_out(clients: KafkaClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the topics, or whether every partition has a reader: the work goes on without."""
    assert list(preflight._size_limits(clients, OWN)) == []
    assert sample._settings(clients, ["a"]) == {}
    assert not UnassignedPartitions(clients, OWN, ["a"]).must_rebalance(0)
    monkeypatch.setattr(topics, "partition_counts", lambda *_: dict.fromkeys(OWN.all[1:], 4))
    with pytest.raises(ClusterAway, match=r"commands|predictions|cannot be created"):
        topics.create_topics(clients, OWN)
