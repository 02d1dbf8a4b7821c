"""Checks what people choose on the command line against what the lake holds."""

from difflib import get_close_matches

import polars as pl

from schemas.errors import ConfigError

__all__ = ["check_choice"]


def check_choice(option: str, chosen: str, available: pl.Series) -> None:
    """Refuse a name that the lake does not hold.

    Raises:
        ConfigError: names what there is, and the nearest right name.
    """
    names = available.unique().drop_nulls().sort().to_list()
    if chosen in names:
        return
    if not names:
        raise ConfigError("the lake holds no predictions yet", where=option, hint="truthloop replay brings them in.")
    near = get_close_matches(chosen, names, n=1)
    shown = ", ".join(name for name in names[:8] if name) + (", ..." if len(names) > 8 else "")  # noqa: PLR2004 - one line
    raise ConfigError(
        f"{chosen!r} is not in the lake" + (f"; did you mean {near[0]!r}?" if near else ""),
        where=option,
        hint=f"There is: {shown}" if shown else "Only names in `cohorts.by` of the config are counted by value.",
    )
