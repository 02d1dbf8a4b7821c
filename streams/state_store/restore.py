"""The join's state, made again from the lake: what was accepted, what was decided of it, and the ledger's cursors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import polars as pl

from joins import Checkpoint, DecidedOutcome, KeptLabel, MemoryStore, Op, Partition, Policy, RebuildError, rebuild
from joins.watermark import PREDICTIONS
from lake import Lake
from schemas.base.status import RejectReason, Status
from schemas.errors import LakeError
from streams.ledger.table import LedgerRow, Step
from streams.messages.records import Projection, label_records, label_values, prediction_records
from streams.state_store.store import RocksStore

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


@dataclass(frozen=True)
class _Kept:
    """What the lake has of records that have not left, and of what was decided of them."""

    predictions: pl.DataFrame
    labels: pl.DataFrame
    decisions: pl.DataFrame

    def of(self, partition: int) -> "_Kept":
        """Return one partition's part."""
        mine = pl.col("partition") == partition
        return _Kept(self.predictions.filter(mine), self.labels.filter(mine), self.decisions.filter(mine))


def restore(lake: Lake, policy: Policy, projection: Projection, step: Step | None, partitions: int) -> list[Partition]:
    """Return every partition as it stood after a replay's `step`; fresh ones where there was none.

    Raises:
        LakeError: what the lake holds does not give the state that the ledger describes.
    """
    kinds = list(policy.kinds)
    if step is None:
        return [Partition(policy, MemoryStore(kinds)) for _ in range(partitions)]
    extent = _Extent(None, step.predictions[1], step.labels[1], step.sequence)
    all_kept = _read(lake, extent, projection, step.checkpoints, policy.retain_ms)
    found = []
    for partition, checkpoint in enumerate(step.checkpoints):
        kept = all_kept.of(partition)
        try:
            found.append(
                rebuild(
                    policy,
                    MemoryStore(kinds),
                    checkpoint,
                    prediction_records(kept.predictions, projection),
                    _kept_labels(kept.labels),
                    _decisions(kept.decisions),
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
        policy: the rules to go on under.
        projection: of the loop.
        row: the partition's newest in the lake's ledger.
        store: empty; filled piece by piece.

    Raises:
        LakeError: what the lake holds does not give the state that the ledger describes.
    """
    extent = _Extent(row.partition, row.predictions[1], row.labels[1], row.sequence)
    kept = _read(Lake.open(path), extent, projection, [row.checkpoint], policy.retain_ms)

    def in_pieces(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        for piece in frame.iter_slices(RECORDS_BETWEEN_SPILLS):
            store.spill()
            store.prefetch(piece["key"].to_list())
            yield piece

    predictions = (prediction_records(piece, projection) for piece in in_pieces(kept.predictions))
    labels = map(_kept_labels, in_pieces(kept.labels))
    decisions = map(_decisions, in_pieces(kept.decisions))
    chained = chain.from_iterable
    try:
        return rebuild(policy, store, row.checkpoint, chained(predictions), chained(labels), chained(decisions))
    except RebuildError as error:
        raise _not_the_same(error, row.partition, row.sequence) from None


def _not_the_same(error: RebuildError, partition: int, sequence: int) -> LakeError:
    return LakeError(
        f"partition {partition}: {error}",
        where=f"ledger step {sequence}",
        hint="Rows of predictions, labels, outcomes or rejects were changed or removed since. "
        "Restore the lake from a backup, or read the inputs into a new one.",
    )


def _read(
    lake: Lake, extent: _Extent, projection: Projection, checkpoints: Sequence[Checkpoint], retain_ms: int
) -> _Kept:
    """Read what a rebuild needs: predictions and labels that have not left, and decisions about either."""
    left = [checkpoint.left_ms for checkpoint in checkpoints]
    since_ms = None if None in left else min(ms for ms in left if ms is not None)
    predictions = _accepted_predictions(lake, extent, projection, since_ms)
    labels = _accepted_labels(lake, extent, checkpoints)
    first = labels["offset"].min()
    wanted = pl.lit(value=since_ms is None)
    if since_ms is not None:
        wanted |= _ms("predicted_at") >= since_ms
    if first is not None:
        wanted |= pl.col("label_offset") >= first
    if first is not None and since_ms is not None:
        has_left = _ms("predicted_at").is_between(since_ms - 2 * retain_ms, since_ms)
        wanted |= has_left & pl.col("key").is_in(labels["key"].unique().implode())
    names = ("partition", "key", "id", "kind", "definition", "status", "value", "value_class", "known_at_ms")
    decisions = (
        lake.scan("outcomes")
        .filter(extent.rows, pl.col("sequence") <= extent.sequence, wanted)
        .with_columns(_ms("known_at").alias("known_at_ms"), _ms("label_time").alias("label_time_ms"))
        .sort("revision")
        .select(*names, "prediction_offset", "label_offset", "label_time_ms")
        .collect()
    )
    return _Kept(predictions, labels, decisions)


def _accepted_predictions(lake: Lake, extent: _Extent, projection: Projection, since_ms: int | None) -> pl.DataFrame:
    rows = (
        lake.scan("predictions")
        .filter(extent.rows, pl.col("offset") < extent.predictions_next)
        .with_columns(_ms("predicted_at").alias("time_ms"))
    )
    if since_ms is not None:
        rows = rows.filter(pl.col("time_ms") >= since_ms)
    wanted = ("partition", "offset", "key", "id", "time_ms", "digest", "eligible", *projection.columns)
    refused = _refused(lake, extent, "predictions")
    return rows.join(refused, on=["partition", "offset"], how="anti").sort("offset").select(wanted).collect()


def _accepted_labels(lake: Lake, extent: _Extent, checkpoints: Sequence[Checkpoint]) -> pl.DataFrame:
    """Return the labels that were accepted, from the first on that has not left in some partition.

    Older ones are of no use; later ones that have left may have superseded one that has not.
    """
    rows = (
        lake.scan("labels")
        .filter(extent.rows, pl.col("offset") < extent.labels_next, pl.col("op") != Op.HEARTBEAT.value)
        .with_columns(_ms("label_time").alias("time_ms"), _ms("known_at").alias("order_ms"))
    )
    reached = [
        [checkpoint.reach_ms.get(kind) for checkpoint in checkpoints]
        for kind in checkpoints[0].watermarks
        if kind != PREDICTIONS
    ]
    if all(None not in of_kind for of_kind in reached):
        since_ms = min(ms for of_kind in reached for ms in of_kind if ms is not None)
        first = rows.filter(pl.col("order_ms") >= since_ms).select(pl.col("offset").min()).collect().item()
        rows = rows.filter(pl.lit(value=False) if first is None else pl.col("offset") >= first)
    refused = _refused(lake, extent, "labels")
    at_once = refused.filter(pl.col("reason").is_in([RejectReason.DUPLICATE.value, RejectReason.FUTURE.value]))
    stale = refused.filter(pl.col("reason") == RejectReason.STALE.value)
    place = ["partition", "offset"]
    wanted = ("key", "kind", "definition", "op", "value", "value_class", "time_ms", "order_ms", "is_stale")
    return (
        rows.join(at_once, on=place, how="anti")
        .join(stale.select(*place, pl.lit(value=True).alias("is_stale")), on=place, how="left")
        .sort("offset")
        .select(*place, *wanted)
        .collect()
    )


def _kept_labels(frame: pl.DataFrame) -> list[KeptLabel]:
    return [
        KeptLabel(record, bool(is_stale))
        for record, is_stale in zip(label_records(frame), frame["is_stale"].to_list(), strict=True)
    ]


def _decisions(frame: pl.DataFrame) -> list[DecidedOutcome]:
    names = ("key", "id", "kind", "definition")
    statuses = {status.value: status for status in Status}
    columns = (
        *(frame[name].to_list() for name in names),
        [statuses[status] for status in frame["status"].to_list()],
        label_values(frame),
        *(frame[name].to_list() for name in ("known_at_ms", "prediction_offset", "label_offset", "label_time_ms")),
    )
    return [DecidedOutcome(*row) for row in zip(*columns, strict=True)]


def _refused(lake: Lake, extent: _Extent, name: str) -> pl.LazyFrame:
    return (
        lake.scan("rejects")
        .filter(extent.rows, pl.col("stage") == "join", pl.col("input") == name, pl.col("sequence") <= extent.sequence)
        .select("partition", "offset", "reason")
    )


def _ms(column: str) -> pl.Expr:
    return pl.col(column).dt.epoch("ms")
