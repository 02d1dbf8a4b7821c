"""A snapshot of what the page needs from the lake: read once, shared by all views until the lake changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial

import polars as pl

from lake import Lake
from lake.scan import Bounds
from monitor.coverage.source import SourceArrivals
from retrain.decision_log import DecisionLog
from retrain.gate import Gate, gate_of
from schemas.config.loop import LoopConfig
from schemas.events.evidence import Decision
from streams.ledger.lake_kind import complete_rows
from truthloop.config.settings import Settings
from truthloop.evidence.arrivals import newest_arrivals
from truthloop.evidence.cells import Evidence, read_evidence
from truthloop.evidence.source_states import SourcesNow, predicted_until_ms, sources_now
from truthloop.page.panels.view import DAYS_MAX

__all__ = ["REJECTS_DAYS", "JoinProgress", "Snapshot", "read_snapshot", "table_versions"]

_TABLES = ("rejects", "labels", "predictions", "outcomes", "ledger", "evidence", "decisions", "deliveries")
"""Without the cells, which follow from these."""

REJECTS_DAYS = 90
"""Rejects are counted that were recorded in so many days before the newest one."""


@dataclass(frozen=True)
class JoinProgress:
    """The join's progress, from the ledger.

    Attributes:
        partitions: number of partitions that have read anything.
        steps: of all partitions.
        read_until_ms: greatest watermark of predictions; None before the first.
        labels: by kind, number of labels read.
    """

    partitions: int
    steps: int
    read_until_ms: int | None
    labels: Mapping[str, int]


@dataclass(frozen=True)
class Snapshot:
    """The lake at one time.

    Attributes:
        versions: of the Delta tables.
        logs: by kind, what the gate's log is read with.
        log: by kind, all entries of the gate's log.
        findings: rows of the table `evidence`, of the days that can be shown.
        rejects: input, reason, amount and last_ms, of the newest `REJECTS_DAYS`.
        arrivals: by kind and source, the labels of the time that is looked back on.
    """

    versions: tuple[int, ...]
    evidence: Evidence
    logs: Mapping[str, DecisionLog]
    log: Mapping[str, list[Decision]]
    findings: pl.DataFrame
    rejects: pl.DataFrame
    arrivals: Mapping[str, Mapping[str, SourceArrivals]]
    progress: JoinProgress

    @cached_property
    def gates(self) -> Mapping[str, Gate]:
        """By kind, the gate after its log; folded once, however many views are made.

        Raises:
            IllegalEvent: a log has an event that its state does not allow.
        """
        return {kind: gate_of(entries) for kind, entries in self.log.items()}

    def sources(self, config: LoopConfig, now_ms: int) -> Mapping[str, SourcesNow]:
        """Return by kind the sources of its labels as they are now."""
        return sources_now(config, self.arrivals, self.gates, self.progress.read_until_ms, now_ms)


def table_versions(lake: Lake) -> tuple[int, ...]:
    """Return the versions of the lake's tables; they change if and only if the lake does.

    Raises:
        LakeError: a table cannot be read.
    """
    return tuple(lake.version(table) for table in _TABLES)


def read_snapshot(settings: Settings, lake: Lake, before: Snapshot | None, report: Callable[[str], None]) -> Snapshot:
    """Return a snapshot of the lake; cells that the one before has are not read again.

    Args:
        report: called with what is read next.

    Raises:
        LakeError: there is no lake, or it cannot be read or written.
    """
    versions = table_versions(lake)
    kinds = list(settings.config.labels)
    report("counting predictions and outcomes")
    evidence = read_evidence(settings, None if before is None else before.evidence)
    report("reading evaluations and decisions")
    logs = {kind: DecisionLog(lake, kind) for kind in kinds} if before is None else before.logs
    log = {kind: logs[kind].entries() for kind in kinds}
    findings = lake.remember("evidence", "shown", partial(_findings, lake))
    report("reading rejects")
    rejects = lake.remember("rejects", "newest", partial(_rejects, lake))
    report("reading arrivals of labels")
    arrivals = {kind: newest_arrivals(lake, kind, settings.config.labels[kind], gate_of(log[kind])) for kind in kinds}
    report("reading the progress of the join")
    return Snapshot(versions, evidence, logs, log, findings, rejects, arrivals, _join_progress(lake, kinds))


def _findings(lake: Lake) -> pl.DataFrame:
    rows = lake.scan("evidence", _newest(lake, "evidence", "evidence_at", DAYS_MAX + 1))
    return rows.drop("recorded_on", "recorded_at").collect()


def _newest(lake: Lake, table: str, column: str, days: int) -> dict[str, Bounds]:
    """Return the bounds of the rows that are at most so many days older than the newest one."""
    newest = lake.greatest(table, column)
    return {} if newest is None else {column: (newest - timedelta(days=days), newest)}


def _rejects(lake: Lake) -> pl.DataFrame:
    rows = lake.scan("rejects", _newest(lake, "rejects", "recorded_at", REJECTS_DAYS)).group_by("input", "reason")
    last = pl.col("recorded_at").max().dt.epoch("ms").alias("last_ms")
    found = rows.agg(pl.len().cast(pl.Int64).alias("amount"), last).collect()
    return found.sort("amount", "input", "reason", descending=[True, False, False])


def _join_progress(lake: Lake, kinds: list[str]) -> JoinProgress:
    newest = complete_rows(lake)
    checkpoints = [row.checkpoint for row in newest.values()]
    counters = [checkpoint.counters.labels for checkpoint in checkpoints]
    labels = {kind: sum(by_kind[kind].consumed for by_kind in counters if kind in by_kind) for kind in kinds}
    steps = sum(row.sequence + 1 for row in newest.values())
    return JoinProgress(len(newest), steps, predicted_until_ms(checkpoints), labels)
