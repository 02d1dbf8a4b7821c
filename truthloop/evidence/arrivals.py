"""Arrival times of labels by source, read from the lake; `monitor` judges from them whether a source is alive."""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from lake import Lake
from monitor.evaluation import SourceArrivals

__all__ = ["NO_SOURCE", "read_arrivals"]

NO_SOURCE = "labels"
"""Stands in for the source of labels that name none."""


def read_arrivals(lake: Lake, kind: str, since: datetime) -> Mapping[str, SourceArrivals]:
    """Return by source the minutes in which its labels arrived, and the times of its heartbeats.

    Args:
        since: labels known before are left out.
    """
    rows = lake.scan("labels").filter(pl.col("kind") == kind, pl.col("known_at") >= since)
    text = pl.col("label_source").str.replace_all("\0", "", literal=True)  # a finding cannot hold NUL
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
