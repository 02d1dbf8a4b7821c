"""What the lake holds at one time, as far as the page needs it: read once, and shared by all views until it changes.

Must not judge, and must not be changed by who uses it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from joins.watermark import PREDICTIONS
from lake import Lake
from monitor.evaluation import SourceArrivals
from retrain.decision_log import DecisionLog
from schemas.events.evidence import Decision
from streams.ledger.lake_kind import complete_rows
from truthloop.config.settings import Settings
from truthloop.evidence.arrivals import read_arrivals
from truthloop.evidence.cells import Evidence, read_evidence

__all__ = ["JoinProgress", "Snapshot", "read_snapshot", "table_versions"]

_ARRIVALS_KEPT = timedelta(days=35)
_TABLES = ("rejects", "labels", "predictions", "outcomes", "ledger", "evidence", "decisions", "deliveries")
"""Not the cells: they are made from these."""


@dataclass(frozen=True)
class JoinProgress:
    """How far the join has come, told by the ledger.

    Attributes:
        partitions: those that have read anything.
        steps: of all of them.
        read_until_ms: the furthest that predictions have certainly been read, None before that.
        labels_until_ms: by kind, the same of its labels.
        labels: by kind, how many labels were read.
    """

    partitions: int
    steps: int
    read_until_ms: int | None
    labels_until_ms: Mapping[str, int | None]
    labels: Mapping[str, int]


@dataclass(frozen=True)
class Snapshot:
    """The lake at one time.

    Attributes:
        versions: of its tables.
        evidence: cells, plan and reach.
        log: by kind, every entry of the gate's log.
        findings: rows of the table `evidence`.
        rejects: input, reason, amount and last_ms.
        arrivals: by kind and source, when labels came in the last five weeks.
        standing: how far the join has come.
    """

    versions: tuple[int, ...]
    evidence: Evidence
    log: Mapping[str, list[Decision]]
    findings: pl.DataFrame
    rejects: pl.DataFrame
    arrivals: Mapping[str, Mapping[str, SourceArrivals]]
    standing: JoinProgress


def table_versions(lake: Lake) -> tuple[int, ...]:
    """Return by what one knows whether the lake has anything new.

    Raises:
        LakeError: a table cannot be read.
    """
    return tuple(lake.version(table) for table in _TABLES)


def read_snapshot(settings: Settings, lake: Lake, before: Snapshot | None = None) -> Snapshot:
    """Return what the lake holds now; what an earlier snapshot has of it is not read again.

    Raises:
        LakeError: there is no lake, or it cannot be read or written.
    """
    versions = table_versions(lake)
    kinds = list(settings.config.labels)
    return Snapshot(
        versions,
        read_evidence(settings, None if before is None else before.evidence),
        {kind: DecisionLog(lake, kind).entries() for kind in kinds},
        lake.scan("evidence").drop("recorded_on", "recorded_at").collect(),
        _rejects(lake),
        {kind: _newest_arrivals(lake, kind) for kind in kinds},
        _standing(lake, kinds),
    )


def _rejects(lake: Lake) -> pl.DataFrame:
    rows = lake.scan("rejects").group_by("input", "reason")
    last = pl.col("recorded_at").max().dt.epoch("ms").alias("last_ms")
    found = rows.agg(pl.len().cast(pl.Int64).alias("amount"), last).collect()
    return found.sort("amount", "input", "reason", descending=[True, False, False])


def _newest_arrivals(lake: Lake, kind: str) -> Mapping[str, SourceArrivals]:
    """Return by source when its newest labels came."""
    newest = lake.scan("labels").filter(pl.col("kind") == kind).select(pl.col("known_at").max()).collect().item()
    return {} if newest is None else read_arrivals(lake, kind, newest - _ARRIVALS_KEPT)


def _standing(lake: Lake, kinds: list[str]) -> JoinProgress:
    newest = complete_rows(lake)
    seen = [row.checkpoint for row in newest.values()]

    def furthest(name: str) -> int | None:
        reached = [
            watermark.reached_ms for checkpoint in seen if (watermark := checkpoint.watermarks.get(name)) is not None
        ]
        return max((one for one in reached if one is not None), default=None)

    labels = {
        kind: sum(
            checkpoint.counters.labels[kind].consumed for checkpoint in seen if kind in checkpoint.counters.labels
        )
        for kind in kinds
    }
    steps = sum(row.sequence + 1 for row in newest.values())
    return JoinProgress(len(newest), steps, furthest(PREDICTIONS), {kind: furthest(kind) for kind in kinds}, labels)
