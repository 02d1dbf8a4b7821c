"""Checks both conservation identities by counting the lake's rows, independently of the join's counters.

Every record consumed ends in exactly one bucket. The join counts the buckets in its ledger, partition by partition;
this module counts the rows of the same steps.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from joins.accounting import Counters
from lake import Lake
from streams.ledger.lake_kind import complete_rows
from streams.ledger.row import LedgerRow, RunFile

__all__ = ["Conservation", "check_conservation"]

_BUCKETS = ("joined", "implied", "expired", "retracted", "aged_out")


@dataclass(frozen=True)
class Conservation:
    """The counts, and every difference from the ledger.

    Attributes:
        predictions: per kind, bucket -> count; the buckets sum to `consumed`.
        labels: per kind, bucket -> count.
        violations: a sentence each; empty if the counts agree.
    """

    predictions: Mapping[str, Mapping[str, int]]
    labels: Mapping[str, Mapping[str, int]]
    violations: list[str]

    @property
    def holds(self) -> bool:
        """Whether every record is in exactly one bucket, by both ways of counting."""
        return not self.violations


def check_conservation(lake: Lake, definitions: Mapping[str, str], files: Iterable[RunFile] = ()) -> Conservation:
    """Count the lake's rows and compare them with the ledger's counters and the files' counts.

    Args:
        lake: of a replay or of running roles; it may be written meanwhile.
        definitions: by kind, the config's definition.
        files: every file of a replay.
    """
    newest = complete_rows(lake)
    counters = Counters.sum_of(definitions, (row.checkpoint.counters for row in newest.values()))
    violations = counters.violations()
    rows = _Rows(lake, newest)
    predictions = {kind: _count_predictions(rows, kind, name) for kind, name in definitions.items()}
    labels = {kind: _count_labels(rows, kind) for kind in definitions}
    for kind, counted in predictions.items():
        outcomes, records = counters.outcomes[kind], counters.predictions
        ledger = {bucket: getattr(outcomes, bucket) for bucket in ("pending", *_BUCKETS)}
        ledger |= {bucket: getattr(records, bucket) for bucket in ("consumed", "duplicate", "conflict", "rejected")}
        violations += _compare(f"predictions ({kind})", ledger, counted)
    for kind, counted in labels.items():
        of_kind = counters.labels[kind]
        buckets = ("consumed", "stale", "withdrawn", "duplicate", "aged_out", "rejected", "heartbeats")
        ledger = {bucket: getattr(of_kind, bucket) for bucket in buckets}
        ledger["kept"] = of_kind.heads + of_kind.superseded
        violations += _compare(f"labels ({kind})", ledger, counted)
    for file in files:
        if file.mapped + file.filtered + file.rejected < file.read:
            violations.append(
                f"{file.name}: {file.read} records were read, "
                f"{file.mapped + file.filtered + file.rejected} are accounted for"
            )
    return Conservation(predictions, labels, violations)


class _Rows:
    """The lake's rows of the steps that the ledger has of each partition."""

    def __init__(self, lake: Lake, newest: Mapping[int, LedgerRow]) -> None:
        schema = {"partition": pl.Int32, "labels": pl.Int64, "predictions": pl.Int64, "steps": pl.Int64}
        ends = [(number, row.labels[1], row.predictions[1], row.sequence + 1) for number, row in newest.items()]
        self._lake = lake
        self._ends = pl.LazyFrame(ends, schema=schema, orient="row")

    def records(self, table: str) -> pl.LazyFrame:
        """Return predictions or labels that were read."""
        rows = self._lake.scan(table).join(self._ends, on="partition")
        return rows.filter(pl.col("offset") < pl.col(table))

    def outcomes(self) -> pl.LazyFrame:
        """Return the revisions of those steps."""
        return self._of_steps("outcomes")

    def rejects(self, name: str) -> pl.LazyFrame:
        """Return what the join rejected of an input in those steps."""
        return self._of_steps("rejects").filter(pl.col("stage") == "join", pl.col("input") == name)

    def _of_steps(self, table: str) -> pl.LazyFrame:
        rows = self._lake.scan(table).join(self._ends, on="partition")
        return rows.filter(pl.col("sequence") < pl.col("steps"))


def _count_predictions(rows: _Rows, kind: str, definition: str) -> dict[str, int]:
    consumed = rows.records("predictions").select(pl.len()).collect().item()
    rejected = _reject_counts(rows.rejects("predictions"))
    newest = (
        rows.outcomes()
        .filter(pl.col("kind") == kind, pl.col("definition") == definition)
        .sort("revision")
        .group_by("partition", "prediction_offset")
        .agg(pl.col("status", "reason").last())
        .filter(pl.col("status") != "pending")
        .select(pl.when(pl.col("reason") == "aged_out").then(pl.lit("aged_out")).otherwise("status").alias("bucket"))
        .group_by("bucket")
        .len()
        .collect()
    )
    outcomes = dict.fromkeys(_BUCKETS, 0) | dict(newest.iter_rows())
    counted = {
        "consumed": consumed,
        **outcomes,
        "duplicate": rejected.pop("duplicate", 0),
        "conflict": rejected.pop("conflict", 0),
        "rejected": sum(rejected.values()),
    }
    return counted | {"pending": 2 * consumed - sum(counted.values())}


def _count_labels(rows: _Rows, kind: str) -> dict[str, int]:
    labels = rows.records("labels").filter(pl.col("kind") == kind)
    # a label that had left before it could be withdrawn is named, and counted where it was
    rejects = rows.rejects("labels").filter(pl.col("reason") != "not_withdrawn")
    position = ["partition", "offset"]
    withdrawn = rejects.filter(pl.col("reason") == "withdrawn")
    # a stale label that was withdrawn has a row of either
    once = rejects.join(withdrawn.select(position), on=position, how="anti").filter(pl.col("kind") == kind)
    rejected = _reject_counts(pl.concat([once, withdrawn.filter(pl.col("kind") == kind)]))
    kept = labels.filter(pl.col("op") != "heartbeat").join(rejects.select(position), on=position, how="anti")
    waited = ("unknown_prediction", "too_late", "waiting_limit")
    return {
        "consumed": labels.select(pl.len()).collect().item(),
        "kept": kept.select(pl.len()).collect().item(),
        "stale": rejected.pop("stale", 0),
        "withdrawn": rejected.pop("withdrawn", 0),
        "duplicate": rejected.pop("duplicate", 0),
        "aged_out": sum(rejected.pop(reason, 0) for reason in waited),
        "rejected": sum(rejected.values()),
        "heartbeats": labels.filter(pl.col("op") == "heartbeat").select(pl.len()).collect().item(),
    }


def _reject_counts(rejects: pl.LazyFrame) -> dict[str, int]:
    return dict(rejects.group_by("reason").len().collect().iter_rows())


def _compare(name: str, ledger: Mapping[str, int], counted: Mapping[str, int]) -> list[str]:
    return [
        f"{name}: the ledger says {count:,} {bucket}, the rows say {counted[bucket]:,}"
        for bucket, count in ledger.items()
        if counted[bucket] != count
    ]
