"""The join's state, made again from the lake: accepted records from the tables, cursors from the ledger."""

import polars as pl

from joins import MemoryStore, Partition, Policy, RebuildError, needed_from_ms, rebuild
from lake import Lake
from schemas.errors import LakeError
from schemas.status import RejectReason
from streams.conversion import Projection, label_records, prediction_records
from streams.ledger import Step

__all__ = ["restore"]


def restore(lake: Lake, policy: Policy, projection: Projection, step: Step | None, partitions: int) -> list[Partition]:
    """Return every partition as it stood after `step`; fresh ones where there was none.

    Raises:
        LakeError: what the lake holds does not give the state that the ledger describes.
    """
    kinds = list(policy.kinds)
    if step is None:
        return [Partition(policy, MemoryStore(kinds)) for _ in range(partitions)]
    since = [needed_from_ms(policy, point) for point in step.points]
    least = None if None in since else min(ms for ms in since if ms is not None)
    predictions = _accepted_predictions(lake, step, least)
    labels = _kept_labels(lake, step, least)
    found = []
    for partition, point in enumerate(step.points):
        mine = pl.col("partition") == partition
        needed = pl.lit(value=True) if since[partition] is None else pl.col("order_ms") >= since[partition]
        try:
            found.append(
                rebuild(
                    policy,
                    MemoryStore(kinds),
                    point,
                    prediction_records(predictions.filter(mine & needed), projection),
                    label_records(labels.filter(mine & needed)),
                )
            )
        except RebuildError as error:
            raise LakeError(
                f"partition {partition}: {error}",
                where=f"ledger step {step.sequence}",
                hint="Rows of predictions, labels or rejects were changed or removed since. "
                "Restore the lake from a backup, or replay the files into a new one.",
            ) from None
    return found


def _accepted_predictions(lake: Lake, step: Step, since_ms: int | None) -> pl.DataFrame:
    time_ms = pl.col("predicted_at").dt.epoch("ms")
    refused = _refused(lake, step, "predictions")
    rows = (
        lake.scan("predictions")
        .filter(pl.col("offset") < step.predictions[1])
        .with_columns(time_ms.alias("time_ms"), time_ms.alias("order_ms"))
    )
    if since_ms is not None:
        rows = rows.filter(pl.col("time_ms") >= since_ms)
    return rows.join(refused, on=["partition", "offset"], how="anti").sort("offset").collect()


def _kept_labels(lake: Lake, step: Step, since_ms: int | None) -> pl.DataFrame:
    refused = _refused(lake, step, "labels").filter(pl.col("reason") != RejectReason.STALE.value)
    rows = (
        lake.scan("labels")
        .filter(pl.col("offset") < step.labels[1], pl.col("op") != "heartbeat")
        .with_columns(
            pl.col("label_time").dt.epoch("ms").alias("time_ms"),
            pl.col("known_at").dt.epoch("ms").alias("order_ms"),
        )
    )
    if since_ms is not None:
        rows = rows.filter(pl.col("order_ms") >= since_ms)
    return rows.join(refused, on=["partition", "offset"], how="anti").sort("offset").collect()


def _refused(lake: Lake, step: Step, name: str) -> pl.LazyFrame:
    return (
        lake.scan("rejects")
        .filter(
            pl.col("stage") == "join",
            pl.col("input") == name,
            pl.col("sequence") <= step.sequence,
        )
        .select("partition", "offset", "reason")
    )
