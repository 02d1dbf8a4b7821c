"""The limit of open files of a role's process: raised to what the system allows, refused where that is too low.

Where it is reached, delta-rs and Polars panic while they start threads, and nobody can connect to the page.
"""

import resource
from typing import Final

from schemas.errors import ConfigError

__all__ = ["raise_descriptor_limit"]

DESCRIPTORS_MIN: Final = 256
"""A role holds some 60 (measured); a commit of many partitions and a state of some gigabytes hold as many again."""

DESCRIPTORS_MAX: Final = 65_536
"""More is of no use; a limit without end costs memory and time where a library goes through all of them."""


def raise_descriptor_limit() -> None:
    """Raise this process's soft limit of open files, of sockets too, to its hard limit.

    Raises:
        ConfigError: the hard limit is too low to work with.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if most < DESCRIPTORS_MIN:
        raise ConfigError(
            f"this process may open {most} files, and a role needs {DESCRIPTORS_MIN}",
            where="limit of open files",
            hint="Raise it to 1,024 or more: ulimit -n, LimitNOFILE= of systemd, ulimits of a container.",
        )
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
