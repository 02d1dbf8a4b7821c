"""The join's state, made again from the lake: accepted records from the tables, cursors from the ledger."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from joins import MemoryStore, Partition, Policy, RebuildError, needed_from_ms, rebuild
from joins.record import LabelRecord, PredictionRecord
from lake import Lake
from schemas.errors import LakeError
from schemas.status import RejectReason
from streams.conversion import Projection, label_records, prediction_records
from streams.ledger import LedgerRow, Step
from streams.rocks_store import RocksStore

__all__ = ["restore", "restore_partition"]

RECORDS_BETWEEN_SPILLS = 100_000
"""What is made again need not fit into memory."""


@dataclass(frozen=True)
class _Extent:
    """How far the lake is to be read: all partitions of a replay's step, or one partition of a running join."""

    partition: int | None
    predictions_next: int
    labels_next: int
    sequence: int

    @property
    def rows(self) -> pl.Expr:
        """Rows of the partitions in question."""
        return pl.lit(value=True) if self.partition is None else pl.col("partition") == self.partition


def restore(lake: Lake, policy: Policy, projection: Projection, step: Step | None, partitions: int) -> list[Partition]:
    """Return every partition as it stood after a replay's `step`; fresh ones where there was none.

    Raises:
        LakeError: what the lake holds does not give the state that the ledger describes.
    """
    kinds = list(policy.kinds)
    if step is None:
        return [Partition(policy, MemoryStore(kinds)) for _ in range(partitions)]
    since = [needed_from_ms(policy, point) for point in step.points]
    least = None if None in since else min(ms for ms in since if ms is not None)
    extent = _Extent(None, step.predictions[1], step.labels[1], step.sequence)
    predictions = _accepted_predictions(lake, extent, projection, least)
    labels = _kept_labels(lake, extent, least)
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
            raise _not_the_same(error, partition, step.sequence) from None
    return found


def restore_partition(
    path: Path, policy: Policy, projection: Projection, row: LedgerRow, store: RocksStore
) -> Partition:
    """Return one partition of a running join as it stood at the lake's newest row of it.

    Args:
        path: of the lake.
        policy: the rules that the state was made under.
        projection: of the loop.
        row: the partition's newest in the lake's ledger.
        store: empty; filled piece by piece.

    Raises:
        LakeError: what the lake holds does not give the state that the ledger describes.
    """
    lake = Lake.open(path)
    since = needed_from_ms(policy, row.point)
    extent = _Extent(row.partition, row.predictions[1], row.labels[1], row.sequence)
    predictions = _accepted_predictions(lake, extent, projection, since)
    labels = _kept_labels(lake, extent, since)

    def prediction_pieces() -> Iterator[PredictionRecord]:
        for piece in predictions.iter_slices(RECORDS_BETWEEN_SPILLS):
            store.spill()
            store.prefetch(piece["key"].to_list())
            yield from prediction_records(piece, projection)

    def label_pieces() -> Iterator[LabelRecord]:
        for piece in labels.iter_slices(RECORDS_BETWEEN_SPILLS):
            store.spill()
            store.prefetch(piece["key"].to_list())
            yield from label_records(piece)

    try:
        return rebuild(policy, store, row.point, prediction_pieces(), label_pieces())
    except RebuildError as error:
        raise _not_the_same(error, row.partition, row.sequence) from None


def _not_the_same(error: RebuildError, partition: int, sequence: int) -> LakeError:
    return LakeError(
        f"partition {partition}: {error}",
        where=f"ledger step {sequence}",
        hint="Rows of predictions, labels or rejects were changed or removed since. "
        "Restore the lake from a backup, or read the inputs into a new one.",
    )


def _accepted_predictions(lake: Lake, extent: _Extent, projection: Projection, since_ms: int | None) -> pl.DataFrame:
    time_ms = pl.col("predicted_at").dt.epoch("ms")
    rows = (
        lake.scan("predictions")
        .filter(extent.rows, pl.col("offset") < extent.predictions_next)
        .with_columns(time_ms.alias("time_ms"), time_ms.alias("order_ms"))
    )
    if since_ms is not None:
        rows = rows.filter(pl.col("time_ms") >= since_ms)
    wanted = ("partition", "offset", "key", "id", "time_ms", "order_ms", "digest", "eligible", *projection.columns)
    refused = _refused(lake, extent, "predictions")
    return rows.join(refused, on=["partition", "offset"], how="anti").sort("offset").select(wanted).collect()


def _kept_labels(lake: Lake, extent: _Extent, since_ms: int | None) -> pl.DataFrame:
    rows = (
        lake.scan("labels")
        .filter(extent.rows, pl.col("offset") < extent.labels_next, pl.col("op") != "heartbeat")
        .with_columns(
            pl.col("label_time").dt.epoch("ms").alias("time_ms"),
            pl.col("known_at").dt.epoch("ms").alias("order_ms"),
        )
    )
    if since_ms is not None:
        rows = rows.filter(pl.col("order_ms") >= since_ms)
    refused = _refused(lake, extent, "labels").filter(pl.col("reason") != RejectReason.STALE.value)
    wanted = ("partition", "offset", "key", "kind", "definition", "op", "value", "value_class", "time_ms", "order_ms")
    return rows.join(refused, on=["partition", "offset"], how="anti").sort("offset").select(wanted).collect()


def _refused(lake: Lake, extent: _Extent, name: str) -> pl.LazyFrame:
    return (
        lake.scan("rejects")
        .filter(extent.rows, pl.col("stage") == "join", pl.col("input") == name, pl.col("sequence") <= extent.sequence)
        .select("partition", "offset", "reason")
    )
