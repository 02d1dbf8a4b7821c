"""A role raises its own limit of open files as far as it may, and does not start where that is too low."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
soft, hard = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from truthloop.run.descriptor_limit import raise_descriptor_limit
raise_descriptor_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def run(soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    """Raise the limit of a process with these limits."""
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("soft", "hard", "after"), [(200, 256, 256), (200, 1_000, 1_000), (900, 1_000, 1_000)])
def test_the_soft_limit_becomes_the_hard_one(soft: int, hard: int, after: int) -> None:
    """Whatever a shell or a container has set."""
    assert run(soft, hard).stdout.split() == [str(after), str(hard)]


def test_a_limit_that_is_too_low_is_refused() -> None:
    """With what to raise."""
    done = run(200, 255)
    assert "this process may open 255 files, and a role needs 256" in done.stderr
    assert "LimitNOFILE=" in done.stderr
