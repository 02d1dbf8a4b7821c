"""Who sits at this machine, as far as it can say: an attestation for the log, never a proof."""

import getpass

__all__ = ["local_user"]


def local_user() -> str:
    """Return the name of the user that the process runs as; `unknown` where the machine has no name for it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
