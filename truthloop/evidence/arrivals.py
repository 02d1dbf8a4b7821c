"""Arrival times of labels by source, read from the lake; `monitor` judges from them whether a source is alive."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from lake import Lake
from monitor.cells.source_name import SOURCES_MAX, source_name
from monitor.coverage.lookback import lookback_ms
from monitor.coverage.source import LabelMemory, SourceArrivals, newly_missing
from retrain.gate import Gate
from schemas.config.label import LabelConfig

__all__ = ["arrivals_to_evaluate", "label_memory", "newest_arrivals", "read_arrivals", "recent_arrivals"]

_FURTHER = timedelta(days=400)
"""How much further back the labels of a known source are read if the usual time shows too few of them."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


def label_memory(gates: Mapping[str, Gate], kind: str) -> LabelMemory:
    """Return what the log of a kind remembers of its labels.

    Args:
        gates: of all kinds, because the number of known sources is limited in a loop.
        kind: one of them.
    """
    gate = gates[kind]
    room = SOURCES_MAX - sum(len(one.sources or ()) for one in gates.values())
    return LabelMemory(frozenset(gate.sources or ()), gate.retired_ms, gate.faults, max(room, 0))


def arrivals_to_evaluate(
    lake: Lake, kind: str, label: LabelConfig, gate: Gate, at_ms: int
) -> Mapping[str, SourceArrivals]:
    """Return the arrivals that evaluations from a time on need: those of `recent_arrivals`.

    A log that knows of no sources yet, because it was begun by a version that had none, learns them from all labels,
    once.
    """
    return (
        read_arrivals(lake, kind, _BEGINNING)
        if gate.sources is None
        else recent_arrivals(lake, kind, label, gate, at_ms)
    )


def recent_arrivals(lake: Lake, kind: str, label: LabelConfig, gate: Gate, at_ms: int) -> Mapping[str, SourceArrivals]:
    """Return the arrivals of the usual look back, and longer ones of the known sources of which it shows too little.

    Args:
        label: the kind's config.
        gate: of the kind.
        at_ms: the time that is looked back from; later arrivals are included.
    """
    since = datetime.fromtimestamp((at_ms - lookback_ms(label.horizon)) / 1000, UTC) - timedelta(days=1)
    found = dict(read_arrivals(lake, kind, since))
    missing = newly_missing(found, label_memory({kind: gate}, kind))
    if missing:
        found |= read_arrivals(lake, kind, since - _FURTHER, missing)
    return found


def newest_arrivals(lake: Lake, kind: str, label: LabelConfig, gate: Gate) -> Mapping[str, SourceArrivals]:
    """Return the arrivals of `recent_arrivals`, looked back from the newest label of any kind."""
    newest = lake.greatest("labels", "known_at")
    return {} if newest is None else recent_arrivals(lake, kind, label, gate, round(newest.timestamp() * 1_000))


def read_arrivals(
    lake: Lake, kind: str, since: datetime, sources: Collection[str] | None = None
) -> Mapping[str, SourceArrivals]:
    """Return by source the minutes in which its labels arrived, and the times of its heartbeats.

    Args:
        since: labels known before are left out, and files that hold only such are not opened.
        sources: the sources to read; None for all.
    """
    rows = (
        lake.scan("labels", {"known_at": (since, _NEVER)})
        .filter(pl.col("kind") == kind)
        .select(source_name("label_source"), "known_at", is_beat=pl.col("op") == "heartbeat")
    )
    if sources is not None:
        rows = rows.filter(pl.col("source").is_in(list(sources)))
    minute = (pl.col("known_at").dt.epoch("ms") // 60_000).alias("minute")
    found = rows.filter(~pl.col("is_beat")).select("source", minute).unique().sort("minute").collect()
    beats = rows.filter("is_beat").select("source", at=pl.col("known_at").dt.epoch("ms")).unique()
    heartbeats: dict[str, list[int]] = {}
    for name, at_ms in beats.sort("at").collect().iter_rows():
        heartbeats.setdefault(name, []).append(at_ms)
    by_source = {
        str(name): part["minute"].to_numpy() for (name,), part in found.partition_by("source", as_dict=True).items()
    }
    nothing = np.zeros(0, np.int64)
    names = sorted({*by_source, *heartbeats})
    return {name: SourceArrivals(by_source.get(name, nothing), tuple(heartbeats.get(name, ()))) for name in names}
