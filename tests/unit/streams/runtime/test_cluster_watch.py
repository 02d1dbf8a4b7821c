"""An outage is reported once when it begins and once when it ends; a role that waits is alive and unready."""

import logging

import pytest

from schemas.errors import BrokerError, ClusterAway, TruthloopError
from streams.runtime.backoff import BACKOFF_S, Backoff
from streams.runtime.cluster_watch import REPEATED_AFTER_S, ClusterWatch
from streams.runtime.health import STALLED_AFTER_S, Health

AWAY = ClusterAway("cannot be reached: connection refused", where="kafka a:1")


class Cluster:
    """A cluster whose answers, and a clock whose time, the test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.error: TruthloopError | None = None
        self.health = Health("join", self.time_s)
        self.health.set_readiness()
        self.watch = ClusterWatch(self.ask, self.health, self.time_s)

    def time_s(self) -> float:
        """Return the time of the test."""
        return self.now_s

    def ask(self) -> None:
        """Answer, or not."""
        if self.error is not None:
            raise self.error


@pytest.fixture
def cluster() -> Cluster:
    """Return a cluster that answers."""
    return Cluster()


def test_a_role_is_alive_and_unready_while_the_cluster_is_away(cluster: Cluster) -> None:
    """Whatever its own thread is doing; once the cluster is back it has the usual time to get on."""
    cluster.health.report_progress(0, lag=5)
    cluster.error = AWAY
    cluster.watch.look()
    cluster.now_s += 10 * STALLED_AFTER_S
    assert cluster.health.stalled() == ""
    assert "cannot be reached" in cluster.health.unready()
    cluster.error = None
    cluster.watch.look()
    assert cluster.health.unready() == ""
    cluster.now_s += STALLED_AFTER_S - 1
    assert cluster.health.stalled() == ""
    cluster.now_s += 2
    assert "no progress" in cluster.health.stalled()


def test_an_outage_is_two_lines_and_a_long_one_a_few_more(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Repeated after ten minutes, then after twenty, then after forty."""
    caplog.set_level(logging.INFO)
    for _ in range(3):
        cluster.watch.look()
    cluster.error = AWAY
    for _ in range(20):
        cluster.watch.look()
        cluster.now_s += 5
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    for _ in range(12):
        cluster.now_s += REPEATED_AFTER_S / 2
        cluster.watch.look()
    assert len(caplog.records) == 3
    cluster.error = None
    for _ in range(3):
        cluster.watch.look()
    assert [one.getMessage().split(",")[0] for one in caplog.records[3:]] == ["the cluster answers again"]


def test_a_role_waits_for_the_first_answer_and_not_for_credentials_to_become_right(cluster: Cluster) -> None:
    """Nor after it was told to stop."""
    cluster.error = AWAY
    cluster.watch.look()
    assert not cluster.watch.wait(lambda: True)
    cluster.error = None
    cluster.watch.look()
    assert cluster.watch.wait(lambda: False)
    refused = Cluster()
    refused.error = BrokerError("authentication failed")
    refused.watch.look()
    with pytest.raises(BrokerError, match="authentication failed"):
        refused.watch.wait(lambda: False)


def test_failures_of_an_outage_are_not_logged_and_waited_for_no_longer_than_it(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The watch has said it; and the role goes on as soon as the cluster answers, not at the end of its back-off."""
    backoff = Backoff(cluster.health, cluster.time_s)
    cluster.error = AWAY
    cluster.watch.look()
    caplog.clear()
    for _ in BACKOFF_S:
        backoff.failed("place", AWAY)
    assert caplog.records == []
    assert backoff.must_wait
    cluster.error = None
    cluster.watch.look()
    assert not backoff.must_wait
    backoff.failed("place", AWAY)
    assert backoff.must_wait
    assert "cannot be reached" in caplog.text
