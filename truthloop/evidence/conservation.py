"""Both identities, counted again from the lake's rows by a way that shares nothing with the join's counters.

Every record consumed is in exactly one place. The join keeps count in its ledger, partition by partition; here the
rows are counted, as far as the ledger promises them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from joins.accounting import Counters
from lake import Lake
from streams.ledger.lake_kind import complete_rows
from streams.ledger.table import LedgerRow, RunFile

__all__ = ["Conservation", "check_conservation"]

_PLACES = ("joined", "implied", "expired", "retracted", "aged_out")


@dataclass(frozen=True)
class Conservation:
    """What was counted, and every way in which it does not agree with the ledger.

    Attributes:
        predictions: per kind, place -> count; the places sum to `consumed`.
        labels: per kind, place -> count.
        violations: a sentence each; empty when all is well.
    """

    predictions: Mapping[str, Mapping[str, int]]
    labels: Mapping[str, Mapping[str, int]]
    violations: list[str]

    @property
    def holds(self) -> bool:
        """Whether every record is in exactly one place, by both ways of counting."""
        return not self.violations


def check_conservation(lake: Lake, definitions: Mapping[str, str], files: Iterable[RunFile] = ()) -> Conservation:
    """Count the lake's rows and compare them with the ledger's counters and the files' counts.

    Args:
        lake: whichever way it is filled, and also while it is.
        definitions: the loop's own definition of each kind.
        files: every file of a replay.
    """
    newest = complete_rows(lake)
    counters = Counters.zero(list(definitions))
    for row in newest.values():
        counters.add(row.checkpoint.counters)
    violations = counters.violations()
    rows = _Rows(lake, newest)
    predictions = {kind: _count_predictions(rows, kind, name) for kind, name in definitions.items()}
    labels = {kind: _count_labels(rows, kind) for kind in definitions}
    p = counters.predictions
    for kind, counted in predictions.items():
        o = counters.outcomes[kind]
        told = {place: getattr(o, place) for place in ("pending", *_PLACES)}
        told |= {name: getattr(p, name) for name in ("consumed", "duplicate", "conflict", "rejected")}
        violations += _compare(f"predictions ({kind})", told, counted)
    for kind, counted in labels.items():
        c = counters.labels[kind]
        told = {
            name: getattr(c, name) for name in ("consumed", "stale", "duplicate", "aged_out", "rejected", "heartbeats")
        }
        told["kept"] = c.heads + c.superseded
        violations += _compare(f"labels ({kind})", told, counted)
    for file in files:
        if file.mapped + file.filtered + file.rejected < file.read:
            violations.append(
                f"{file.name}: {file.read} records were read, "
                f"{file.mapped + file.filtered + file.rejected} are accounted for"
            )
    return Conservation(predictions, labels, violations)


class _Rows:
    """The lake's rows up to what the ledger says of each partition."""

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
        """Return what the join refused of an input in those steps."""
        return self._of_steps("rejects").filter(pl.col("stage") == "join", pl.col("input") == name)

    def _of_steps(self, table: str) -> pl.LazyFrame:
        rows = self._lake.scan(table).join(self._ends, on="partition")
        return rows.filter(pl.col("sequence") < pl.col("steps"))


def _count_predictions(rows: _Rows, kind: str, definition: str) -> dict[str, int]:
    consumed = rows.records("predictions").select(pl.len()).collect().item()
    refused = _reject_counts(rows.rejects("predictions"))
    newest = (
        rows.outcomes()
        .filter(pl.col("kind") == kind, pl.col("definition") == definition)
        .sort("revision")
        .group_by("partition", "prediction_offset")
        .agg(pl.col("status", "reason").last())
        .select(pl.when(pl.col("reason") == "aged_out").then(pl.lit("aged_out")).otherwise("status").alias("place"))
        .group_by("place")
        .len()
        .collect()
    )
    places = dict.fromkeys(_PLACES, 0) | dict(newest.iter_rows())
    counted = {
        "consumed": consumed,
        **places,
        "duplicate": refused.pop("duplicate", 0),
        "conflict": refused.pop("conflict", 0),
        "rejected": sum(refused.values()),
    }
    return counted | {"pending": 2 * consumed - sum(counted.values())}


def _count_labels(rows: _Rows, kind: str) -> dict[str, int]:
    labels = rows.records("labels").filter(pl.col("kind") == kind)
    rejects = rows.rejects("labels")
    refused = _reject_counts(rejects.filter(pl.col("kind") == kind))
    position = ["partition", "offset"]
    kept = labels.filter(pl.col("op") != "heartbeat").join(rejects.select(position), on=position, how="anti")
    waited = ("unknown_prediction", "too_late", "waiting_limit")
    return {
        "consumed": labels.select(pl.len()).collect().item(),
        "kept": kept.select(pl.len()).collect().item(),
        "stale": refused.pop("stale", 0),
        "duplicate": refused.pop("duplicate", 0),
        "aged_out": sum(refused.pop(reason, 0) for reason in waited),
        "rejected": sum(refused.values()),
        "heartbeats": labels.filter(pl.col("op") == "heartbeat").select(pl.len()).collect().item(),
    }


def _reject_counts(rejects: pl.LazyFrame) -> dict[str, int]:
    return dict(rejects.group_by("reason").len().collect().iter_rows())


def _compare(name: str, told: Mapping[str, int], counted: Mapping[str, int]) -> list[str]:
    return [
        f"{name}: the ledger says {count:,} {place}, the rows say {counted[place]:,}"
        for place, count in told.items()
        if counted[place] != count
    ]
