"""Who types a command, and names that they choose, checked against what the lake holds."""

import getpass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from schemas.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["check_choice", "local_user"]


def check_choice(option: str, chosen: str, available: "pl.Series", why_not: str = "") -> None:
    """Refuse a name that the lake does not hold.

    Args:
        why_not: a better reason than that; empty if there is none.

    Raises:
        ConfigError: lists the names that exist, with the nearest match.
    """
    names = available.unique().drop_nulls().sort().to_list()
    if chosen in names:
        return
    if why_not:
        raise ConfigError(
            why_not, where=option, hint="Add it there, or ask once: truthloop sql 'FROM scored' has it as a column."
        )
    if not names:
        raise ConfigError(
            "the lake holds no predictions yet", where=option, hint="`truthloop replay` or a running loop writes them."
        )
    near = get_close_matches(chosen, names, n=1)
    shown = ", ".join(name for name in names[:8] if name) + (", ..." if len(names) > 8 else "")  # noqa: PLR2004 - one line
    raise ConfigError(
        f"{chosen!r} is not in the lake" + (f"; did you mean {near[0]!r}?" if near else ""),
        where=option,
        hint=f"The lake has: {shown}" if shown else "Only slices in `cohorts.by` of the config are counted by value.",
    )


def local_user() -> str:
    """Return the user name of this process, or `unknown`; the log takes it as an attestation, not as a proof."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
