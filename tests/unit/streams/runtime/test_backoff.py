"""A role's failures are reported until the stage that failed has worked, and retried after longer and longer waits."""

import pytest

from schemas.errors import LakeError
from streams.runtime.backoff import BACKOFF_S, Backoff
from streams.runtime.health import STALLED_AFTER_S, Health


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Return the time of the test."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """Return the health of a role that is ready."""
    found = Health("lake", clock)
    found.set_readiness()
    return found


@pytest.fixture
def backoff(health: Health, clock: Clock) -> Backoff:
    """Return the back-off of a role without failures."""
    return Backoff(health, clock)


def test_attempts_become_rarer_up_to_a_limit(backoff: Backoff, clock: Clock) -> None:
    """A full disk is not hammered, and nobody waits for long once there is room."""
    for wait_s in (*BACKOFF_S, BACKOFF_S[-1]):
        backoff.failed("write", LakeError("full"))
        clock.now_s += wait_s - 0.01
        assert backoff.must_wait
        clock.now_s += 0.02
        assert not backoff.must_wait


def test_a_failure_is_logged_once_and_its_end_once(backoff: Backoff, caplog: pytest.LogCaptureFixture) -> None:
    """Another failure is another line."""
    caplog.set_level("INFO")
    for _ in range(20):
        backoff.failed("write", LakeError("no room"))
    backoff.failed("write", LakeError("no right"))
    backoff.succeeded("write")
    backoff.succeeded("write")
    assert [one.getMessage().split(";")[0] for one in caplog.records] == ["no room", "no right", "it works again"]


def test_it_ends_when_the_failed_stage_has_worked(backoff: Backoff, health: Health) -> None:
    """Being able to read again does not mean that the disk has room."""
    backoff.failed("write", LakeError("no room"))
    backoff.succeeded("place")
    assert "no room" in health.unready()
    backoff.succeeded("write")
    assert health.unready() == ""
    backoff.failed("write", LakeError("no room"))
    assert backoff.must_wait


def test_a_role_that_can_only_wait_is_not_stalled(backoff: Backoff, health: Health, clock: Clock) -> None:
    """A restart would not make room; without a failure the same silence is a reason for one."""
    backoff.failed("write", LakeError("no room"))
    clock.now_s += 2 * STALLED_AFTER_S
    backoff.report_progress(0, 5)
    assert health.stalled() == ""
    backoff.succeeded("write")
    clock.now_s += 2 * STALLED_AFTER_S
    backoff.report_progress(0, 5)
    assert "no progress" in health.stalled()
