"""Both identities, counted again from the lake's rows by a way that shares nothing with the join's counters.

Every record consumed is in exactly one place. The join keeps count in its ledger; here the rows are counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from joins.accounting import Counters
from lake import Lake
from streams.ledger import RunFile

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


def check_conservation(
    lake: Lake, counters: Counters, definitions: Mapping[str, str], files: list[RunFile]
) -> Conservation:
    """Count the lake's rows and compare them with the ledger's counters and the files' counts.

    Args:
        lake: complete, with nobody writing.
        counters: of all partitions together.
        definitions: the loop's own definition of each kind.
        files: every file of the run, or none where the counts of files do not matter.
    """
    violations = counters.violations()
    predictions = {kind: _count_predictions(lake, kind, name) for kind, name in definitions.items()}
    labels = {kind: _count_labels(lake, kind) for kind in definitions}
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


def _count_predictions(lake: Lake, kind: str, definition: str) -> dict[str, int]:
    consumed = lake.scan("predictions").select(pl.len()).collect().item()
    refused = _reject_counts(lake, "predictions", None)
    newest = (
        lake.scan("outcomes")
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


def _count_labels(lake: Lake, kind: str) -> dict[str, int]:
    rows = lake.scan("labels").filter(pl.col("kind") == kind)
    refused = _reject_counts(lake, "labels", kind)
    rejects = lake.scan("rejects").filter(pl.col("input") == "labels", pl.col("stage") == "join")
    position = ["partition", "offset"]
    kept = rows.filter(pl.col("op") != "heartbeat").join(rejects.select(position), on=position, how="anti")
    waited = ("unknown_prediction", "too_late", "waiting_limit")
    return {
        "consumed": rows.select(pl.len()).collect().item(),
        "kept": kept.select(pl.len()).collect().item(),
        "stale": refused.pop("stale", 0),
        "duplicate": refused.pop("duplicate", 0),
        "aged_out": sum(refused.pop(reason, 0) for reason in waited),
        "rejected": sum(refused.values()),
        "heartbeats": rows.filter(pl.col("op") == "heartbeat").select(pl.len()).collect().item(),
    }


def _reject_counts(lake: Lake, name: str, kind: str | None) -> dict[str, int]:
    rows = lake.scan("rejects").filter(pl.col("stage") == "join", pl.col("input") == name)
    if kind is not None:
        rows = rows.filter(pl.col("kind") == kind)
    return dict(rows.group_by("reason").len().collect().iter_rows())


def _compare(name: str, told: Mapping[str, int], counted: Mapping[str, int]) -> list[str]:
    return [
        f"{name}: the ledger says {count:,} {place}, the rows say {counted[place]:,}"
        for place, count in told.items()
        if counted[place] != count
    ]
