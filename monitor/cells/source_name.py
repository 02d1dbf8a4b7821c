"""Names of label sources: what a label gives as its source, and which of them are counted separately."""

from collections.abc import Mapping

import polars as pl

__all__ = ["NO_SOURCE", "SOURCES_MAX", "SOURCE_MEASURE", "newest_sources", "source_name", "sources_in"]

NO_SOURCE = "labels"
"""Stands in for the source of labels that name none."""

SOURCES_MAX = 1_000
"""Label sources that are known in a loop, over all kinds. Further ones are not watched, and a finding says so."""

SOURCE_MEASURE = "arrived_from "
"""Begins the measure of a source; the source's name follows."""


def source_name(column: str) -> pl.Expr:
    """Return the name of a label's source. A finding cannot hold NUL, and an empty text names nobody.

    >>> pl.DataFrame({"label_source": ["desk", "", None]}).select(source_name("label_source"))["source"].to_list()
    ['desk', 'labels', 'labels']
    """
    text = pl.col(column).str.replace_all("\0", "", literal=True)
    return pl.when(text == "").then(None).otherwise(text).fill_null(NO_SOURCE).alias("source")


def sources_in(cells: pl.DataFrame) -> dict[str, frozenset[str]]:
    """Return by kind the sources that cells count separately.

    >>> sources_in(pl.DataFrame({"kind": ["late", "late"], "measure": ["arrived_from desk", "labels"]}))
    {'late': frozenset({'desk'})}
    """
    named = cells.filter(pl.col("measure").str.starts_with(SOURCE_MEASURE)).select("kind", "measure").unique()
    found: dict[str, set[str]] = {}
    for kind, measure in named.iter_rows():
        found.setdefault(kind, set()).add(measure.removeprefix(SOURCE_MEASURE))
    return {kind: frozenset(names) for kind, names in found.items()}


def newest_sources(known: Mapping[str, frozenset[str]], arrivals: pl.DataFrame) -> dict[str, frozenset[str]]:
    """Return the known sources and those of arrivals, up to `SOURCES_MAX` in all, the earliest first.

    Args:
        known: by kind.
        arrivals: kind, source, and predicted_at (which holds the time of arrival).
    """
    found = dict(known)
    room = SOURCES_MAX - sum(map(len, known.values()))
    first = arrivals.group_by("kind", "source").agg(pl.col("predicted_at").min()).sort("predicted_at", "kind", "source")
    for kind, source, _ in first.iter_rows():
        if room > 0 and source not in found.get(kind, ()):
            found[kind] = found.get(kind, frozenset()) | {source}
            room -= 1
    return found
