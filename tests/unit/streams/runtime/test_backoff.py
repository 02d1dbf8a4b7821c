"""What keeps a role from its work is said until that very work is done, and tried again ever more rarely."""

import pytest

from schemas.errors import LakeError
from streams.runtime.backoff import BACKOFF_S, Backoff
from streams.runtime.health import STALLED_AFTER_S, Health


class Clock:
    """A clock that is advanced by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Return the time that the test has set."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """Return the health of a role that is ready."""
    found = Health("lake", clock)
    found.ready()
    return found


@pytest.fixture
def trouble(health: Health, clock: Clock) -> Backoff:
    """Return a role's trouble: none."""
    return Backoff(health, clock)


def test_attempts_become_rarer_up_to_a_limit(trouble: Backoff, clock: Clock) -> None:
    """A full disk is not hammered, and nobody waits for long once there is room."""
    for wait_s in (*BACKOFF_S, BACKOFF_S[-1]):
        trouble.begin("write", LakeError("full"))
        clock.now_s += wait_s - 0.01
        assert trouble.must_wait
        clock.now_s += 0.02
        assert not trouble.must_wait


def test_it_is_over_when_what_failed_has_worked(trouble: Backoff, health: Health) -> None:
    """Being able to read again does not mean that the disk has room."""
    trouble.begin("write", LakeError("no room"))
    trouble.end("place")
    assert "no room" in health.unready()
    trouble.end("write")
    assert health.unready() == ""
    trouble.begin("write", LakeError("no room"))
    assert trouble.must_wait


def test_a_role_that_can_only_wait_is_not_stalled(trouble: Backoff, health: Health, clock: Clock) -> None:
    """A restart would not make room; without a trouble the same silence is a reason for one."""
    trouble.begin("write", LakeError("no room"))
    clock.now_s += 2 * STALLED_AFTER_S
    trouble.tell(0, 5)
    assert health.stalled() == ""
    trouble.end("write")
    clock.now_s += 2 * STALLED_AFTER_S
    trouble.tell(0, 5)
    assert "no progress" in health.stalled()
