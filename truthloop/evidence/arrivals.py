"""When labels came, source by source, read from the lake: for the evaluations, and for the page.

Must not judge whether a source lives.
"""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from lake import Lake
from monitor.evaluation import SourceArrivals

__all__ = ["NO_SOURCE", "read_arrivals"]

NO_SOURCE = "labels"
"""Name of labels that name no source."""


def read_arrivals(lake: Lake, kind: str, since: datetime) -> Mapping[str, SourceArrivals]:
    """Return by source when its labels came, to the minute, and when it said that it is complete.

    Args:
        lake: of the loop.
        kind: label kind.
        since: what was known before is left out.
    """
    rows = lake.scan("labels").filter(pl.col("kind") == kind, pl.col("known_at") >= since)
    text = pl.col("label_source").str.replace_all("\0", "", literal=True)  # which no finding can hold
    source = pl.when(text == "").then(None).otherwise(text).fill_null(NO_SOURCE).alias("source")
    minute = (pl.col("known_at").dt.epoch("ms") // 60_000).alias("minute")
    found = rows.filter(pl.col("op") != "heartbeat").select(source, minute).unique().sort("minute").collect()
    beats = rows.filter(pl.col("op") == "heartbeat").select(source, at=pl.col("known_at").dt.epoch("ms")).unique()
    heartbeats: dict[str, list[int]] = {}
    for name, at_ms in beats.sort("at").collect().iter_rows():
        heartbeats.setdefault(name, []).append(at_ms)
    by_source = {str(name): part for (name,), part in found.partition_by("source", as_dict=True).items()}
    names = sorted(set(by_source) | set(heartbeats))
    return {
        name: SourceArrivals(by_source.get(name, found.clear())["minute"].to_numpy(), tuple(heartbeats.get(name, ())))
        for name in names
    }
