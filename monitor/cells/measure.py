"""The text of a measure: its name, then where they apply the limb of an exact sum, a label age, a class.

`brier:-2@3600000` is the limb -2 of the sum of Brier losses of labels known by an hour.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from monitor.cells.exact_sum import limb_value, whole

__all__ = ["NOT_SCORED", "measure_text", "read_measures", "sums_by", "whole_sums"]

_INPUT = "input:"

NOT_SCORED = r"^(pane_|arrived|output$|score$|input:|score_grid$)"
"""Pattern of the measures that neither metrics nor losses use; they are most of all cells."""

_PARTS = pl.Schema({"name": pl.String(), "limb": pl.Int64(), "age_ms": pl.Int64(), "class": pl.String()})
"""Parts of a measure; those that do not apply are null."""


def measure_text(name: str, *, limb: int | None = None, age_ms: int | None = None, of_class: str | None = None) -> str:
    """Return the text of a measure.

    Args:
        name: without colon, `@` and space.
        limb: of an exact sum (`monitor.cells.exact_sum`).
        age_ms: what was of record at this age; None: what is now.
        of_class: class text (`monitor.cells.class_name.escape_class`).

    >>> measure_text("brier", limb=-2, age_ms=3_600_000), measure_text("class_true", of_class="not seen")
    ('brier:-2@3600000', 'class_true not seen')
    """
    text = name if limb is None else f"{name}:{limb}"
    text = text if age_ms is None else f"{text}@{age_ms}"
    return text if of_class is None else f"{text} {of_class}"


def read_measures(cells: pl.DataFrame) -> pl.DataFrame:
    """Return cells with name, limb, age_ms and class of their measure added; an input's measure is a name as a whole.

    >>> cells = pl.DataFrame({"measure": ["brier:-2@60000", "class_true a b", "input:a b"]})
    >>> read_measures(cells).select("name", "limb", "age_ms", "class").rows()
    [('brier', -2, 60000, None), ('class_true', None, None, 'a b'), ('input:a b', None, None, None)]
    """
    texts = cells.get_column("measure").unique()
    rows = [(text, *_parts(text)) for text in texts]
    parts = pl.DataFrame(rows, schema={"measure": pl.String(), **_PARTS}, orient="row")
    return cells.join(parts, on="measure", how="left", maintain_order="left")


def sums_by(rows: pl.DataFrame, keys: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
    """Return exact sums of numbers that are not negative, as floats: one row per group, one column per name.

    Args:
        rows: as `read_measures` returns them.
        keys: columns to group by.
        names: of sums.
    """
    value = limb_value(pl.col("amount"), pl.col("limb"))
    parts = rows.filter(pl.col("name").is_in(list(names)), pl.col("limb").is_not_null()).sort("limb")
    return parts.group_by(keys, maintain_order=True).agg(
        value.filter(pl.col("name") == name).sum().alias(name) for name in names
    )


def whole_sums(rows: pl.DataFrame, keys: Sequence[str], names: Sequence[str]) -> dict[str, dict[tuple[Any, ...], int]]:
    """Return exact sums, as integers in the units of `monitor.cells.exact_sum.whole`, by name and group.

    Args:
        rows: as `read_measures` returns them.
        keys: columns to group by.
        names: of sums.
    """
    parts = rows.filter(pl.col("name").is_in(list(names)), pl.col("limb").is_not_null())
    limbs: dict[tuple[Any, ...], dict[int, int]] = {}
    for *group, limb, amount in parts.select("name", *keys, "limb", "amount").iter_rows():
        sums = limbs.setdefault(tuple(group), {})
        sums[limb] = sums.get(limb, 0) + amount
    found: dict[str, dict[tuple[Any, ...], int]] = {name: {} for name in names}
    for (name, *group), sums in limbs.items():
        found[name][tuple(group)] = whole(sums)
    return found


def _parts(text: str) -> tuple[str, int | None, int | None, str | None]:
    if text.startswith(_INPUT):
        return text, None, None, None
    head, space, of_class = text.partition(" ")
    head, _, age_ms = head.partition("@")
    name, _, limb = head.partition(":")
    return name, int(limb) if limb else None, int(age_ms) if age_ms else None, of_class if space else None
