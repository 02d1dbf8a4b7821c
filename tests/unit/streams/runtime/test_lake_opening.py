"""A role that starts while its lake cannot be reached waits; one whose lake is not its own ends."""

from itertools import count

import pytest

from lake.failure import lake_error
from schemas.errors import LakeError
from streams.runtime.backoff import Backoff
from streams.runtime.health import Health
from streams.runtime.lake_opening import opened


def of_storage() -> LakeError:
    """Return what is raised while a store is away."""
    cause = OSError("connection refused")
    error = lake_error("cannot be read", cause, "s3://b/x", "")
    error.__cause__ = cause
    return error


def waiting() -> tuple[Health, Backoff]:
    """Return a back-off whose waits are over at once."""
    clock = count(step=100.0)
    health = Health("lake")
    return health, Backoff(health, lambda: next(clock))


def test_it_is_opened_once_the_store_answers() -> None:
    """However often that fails, errors of a frame that is read late included; then the role is ready."""
    health, backoff = waiting()
    failures: list[Exception] = [of_storage(), OSError("object-store error: 503 (path: s3://b/x)"), of_storage()]

    def open_lake() -> str:
        if failures:
            raise failures.pop()
        return "opened"

    assert opened(open_lake, backoff, lambda: False) == "opened"
    assert (failures, health.unready()) == ([], "")


def test_a_lake_that_is_another_loops_ends_the_role() -> None:
    """Waiting would not help."""

    def open_lake() -> None:
        raise LakeError("this is the lake of another loop")

    with pytest.raises(LakeError, match="another loop"):
        opened(open_lake, waiting()[1], lambda: False)


def test_a_role_that_is_to_stop_does_not_wait() -> None:
    """It stops during the wait, not after it."""
    attempts = []

    def open_lake() -> None:
        attempts.append(1)
        raise of_storage()

    backoff = Backoff(Health("lake"), lambda: 0.0)
    assert opened(open_lake, backoff, lambda: len(attempts) > 0) is None
    assert len(attempts) == 1
