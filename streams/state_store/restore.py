"""Restores the join's state from the lake: accepted records, the outcomes decided of them, and the ledger's checkpoint.

Only records that the state still holds at the checkpoint are read, from files that may hold some, and no outcome is
decided again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final

import polars as pl

from joins import Checkpoint, DecidedOutcome, KeptLabel, Op, Partition, Policy, RebuildError, rebuild
from joins.watermark import PREDICTIONS
from lake import Lake
from schemas.base.instant import MOMENT_MAX_MS
from schemas.base.location import Location
from schemas.base.status import NEVER_KEPT, RejectReason, Status
from schemas.errors import LakeError
from streams.ledger.row import LedgerRow
from streams.ledger.table import ReplayStep
from streams.messages.records import Projection, label_records, label_values, prediction_records
from streams.state_store.store import RocksStore

__all__ = ["restore", "restore_partition"]

RECORDS_BETWEEN_SPILLS = 100_000
"""The state that is restored need not fit into memory."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET_MAX: Final = (1 << 63) - 1

_Times = Mapping[str, tuple[datetime, datetime]]
_Offsets = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class _Extent:
    """Where reading the lake stops: at a step of all partitions of a replay, or of one partition of a live join."""

    partition: int | None
    predictions_next: int
    labels_next: int
    sequence: int

    @property
    def rows(self) -> pl.Expr:
        """Condition for rows of the partitions to restore."""
        return pl.lit(value=True) if self.partition is None else pl.col("partition") == self.partition


@dataclass(frozen=True)
class _Kept:
    """The lake's rows of records that the state still holds, and of the outcomes decided of them."""

    predictions: pl.DataFrame
    labels: pl.DataFrame
    decisions: pl.DataFrame

    @property
    def rows(self) -> int:
        """The number of all rows."""
        return self.predictions.height + self.labels.height + self.decisions.height

    def of(self, partition: int) -> "_Kept":
        """Return the rows of one partition."""
        is_mine = pl.col("partition") == partition
        return _Kept(self.predictions.filter(is_mine), self.labels.filter(is_mine), self.decisions.filter(is_mine))


def restore(
    lake: Lake,
    policy: Policy,
    projection: Projection,
    step: ReplayStep | None,
    stores: Sequence[RocksStore],
    restoring: Callable[[int, int], None],
) -> list[Partition]:
    """Return every partition with its state after a replay's `step`; empty ones where there was none.

    Args:
        lake: the replay's.
        policy: the rules to continue under.
        projection: columns that outcomes repeat of their predictions.
        step: a step of the ledger.
        stores: an empty store for each partition.
        restoring: called now and then with the number of rows read so far, and of all that are to be read.

    Raises:
        LakeError: the state restored from the lake differs from the one that the ledger describes.
    """
    if step is None:
        return [Partition(policy, store) for store in stores]
    extent = _Extent(None, step.predictions[1], step.labels[1], step.sequence)
    kept = _read(lake, extent, projection, step.checkpoints, policy.retain_ms)
    rebuilt = _Rebuilt(policy, projection, step.sequence, _RowCount(kept.rows, restoring))
    return [
        rebuilt.partition(number, checkpoint, kept.of(number), store)
        for number, (checkpoint, store) in enumerate(zip(step.checkpoints, stores, strict=True))
    ]


def restore_partition(
    path: Location, policy: Policy, projection: Projection, row: LedgerRow, store: RocksStore
) -> Partition:
    """Return one partition of a live join with its state at the lake's newest ledger row.

    Args:
        path: folder of the lake.
        policy: the rules to continue under.
        projection: columns that outcomes repeat of their predictions.
        row: the partition's newest ledger row in the lake.
        store: an empty store to fill.

    Raises:
        LakeError: the state restored from the lake differs from the one that the ledger describes.
    """
    extent = _Extent(row.partition, row.predictions[1], row.labels[1], row.sequence)
    kept = _read(Lake.open(path), extent, projection, [row.checkpoint], policy.retain_ms)
    rows = _RowCount(kept.rows, lambda _rows, _total: None)
    return _Rebuilt(policy, projection, row.sequence, rows).partition(row.partition, row.checkpoint, kept, store)


@dataclass
class _RowCount:
    """Counts the rows that were read of all."""

    total: int
    report: Callable[[int, int], None]
    read: int = 0

    def add(self, rows: int) -> None:
        self.read += rows
        self.report(self.read, self.total)


@dataclass(frozen=True)
class _Rebuilt:
    """How partitions are rebuilt from rows, as they were after the step `sequence`."""

    policy: Policy
    projection: Projection
    sequence: int
    rows: _RowCount

    def partition(self, number: int, checkpoint: Checkpoint, kept: _Kept, store: RocksStore) -> Partition:
        def in_pieces(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
            for piece in frame.iter_slices(RECORDS_BETWEEN_SPILLS):
                store.spill()
                store.prefetch(piece["key"].to_list())
                yield piece
                self.rows.add(piece.height)

        predictions = (prediction_records(piece, self.projection) for piece in in_pieces(kept.predictions))
        labels = map(_kept_labels, in_pieces(kept.labels))
        decisions = map(_decisions, in_pieces(kept.decisions))
        chained = chain.from_iterable
        try:
            return rebuild(self.policy, store, checkpoint, chained(predictions), chained(labels), chained(decisions))
        except RebuildError as error:
            raise _mismatch(error, number, self.sequence) from None


def _mismatch(error: RebuildError, partition: int, sequence: int) -> LakeError:
    return LakeError(
        f"partition {partition}: {error}",
        where=f"ledger step {sequence}",
        hint="Rows of predictions, labels, outcomes or rejects were changed or removed since. "
        "Restore the lake from a backup, or read the inputs into a new one.",
    )


def _read(
    lake: Lake, extent: _Extent, projection: Projection, checkpoints: Sequence[Checkpoint], retain_ms: int
) -> _Kept:
    """Read the rows that a rebuild needs: predictions and labels still in the state, and decisions about either."""
    left = [checkpoint.left_ms for checkpoint in checkpoints]
    since_ms = None if None in left else min(ms for ms in left if ms is not None)
    predictions = _accepted_predictions(lake, extent, projection, since_ms)
    labels = _accepted_labels(lake, extent, checkpoints)
    first = labels["offset"].min()
    is_needed = pl.lit(value=since_ms is None)
    if since_ms is not None:
        is_needed |= _ms("predicted_at") >= since_ms
    if first is not None:
        is_needed |= pl.col("label_offset") >= first
    times: _Times = {}
    if first is not None and since_ms is not None:
        # these tell which waiting labels will end as `too_late`, and not as `unknown_prediction`
        left_ms = since_ms - 2 * retain_ms
        has_left = _ms("predicted_at").is_between(left_ms, since_ms)
        is_needed |= has_left & pl.col("key").is_in(labels["key"].unique().implode())
        # no label joins a prediction further away than `retain`
        times = _from("predicted_at", min(left_ms, labels.select(pl.col("order_ms").min()).item() - retain_ms))
    elif since_ms is not None:
        times = _from("predicted_at", since_ms)
    columns = ("partition", "key", "id", "kind", "definition", "status", "value", "value_class", "known_at_ms")
    decisions = (
        lake.scan("outcomes", times)
        .filter(extent.rows, pl.col("sequence") <= extent.sequence, is_needed)
        .with_columns(_ms("known_at").alias("known_at_ms"), _ms("label_time").alias("label_time_ms"))
        .sort("revision")
        .select(*columns, "prediction_offset", "label_offset", "label_time_ms")
        .collect()
    )
    return _Kept(predictions, labels, decisions)


def _accepted_predictions(lake: Lake, extent: _Extent, projection: Projection, since_ms: int | None) -> pl.DataFrame:
    columns = ("partition", "offset", "key", "id", "time_ms", "digest", "eligible", *projection.columns)
    rows = (
        lake.scan("predictions", {} if since_ms is None else _from("predicted_at", since_ms))
        .filter(extent.rows, pl.col("offset") < extent.predictions_next)
        .with_columns(_ms("predicted_at").alias("time_ms"))
        .select(columns)
        .collect()
    )
    first = rows.select(pl.col("offset").min()).item()
    refused = _refused(lake, extent, "predictions", _OFFSET_MAX if first is None else first).collect()
    return rows.join(refused, on=["partition", "offset"], how="anti").sort("offset")


def _accepted_labels(lake: Lake, extent: _Extent, checkpoints: Sequence[Checkpoint]) -> pl.DataFrame:
    """Return the accepted labels from the first one that some partition's state still holds.

    Older labels have no effect; a later one has, even if it has left the state, where it superseded one that has not.
    """

    def read(within: _Times | _Offsets) -> pl.LazyFrame:
        return (
            lake.scan("labels", within)
            .filter(extent.rows, pl.col("offset") < extent.labels_next, pl.col("op") != Op.HEARTBEAT.value)
            .with_columns(_ms("label_time").alias("time_ms"), _ms("known_at").alias("order_ms"))
        )

    first = 0
    reached = [
        [checkpoint.reach_ms.get(kind) for checkpoint in checkpoints]
        for kind in checkpoints[0].watermarks
        if kind != PREDICTIONS
    ]
    if all(None not in of_kind for of_kind in reached):
        since_ms = min(ms for of_kind in reached for ms in of_kind if ms is not None)
        found = read(_from("known_at", since_ms)).select(pl.col("offset").min()).collect().item()
        first = _OFFSET_MAX if found is None else found
    rows = read({"offset": (first, _OFFSET_MAX)})
    refused = _refused(lake, extent, "labels", first)
    never_kept = refused.filter(pl.col("reason").is_in([reason.value for reason in NEVER_KEPT]))
    position = ["partition", "offset"]
    columns = ("key", "kind", "definition", "op", "value", "value_class", "time_ms", "order_ms")
    rows = rows.join(never_kept, on=position, how="anti")
    for reason in (RejectReason.STALE.value, RejectReason.WITHDRAWN.value):
        flagged = refused.filter(pl.col("reason") == reason).select(*position, pl.lit(value=True).alias(reason))
        rows = rows.join(flagged, on=position, how="left")
    return rows.sort("offset").select(*position, *columns, "stale", "withdrawn").collect()


def _kept_labels(frame: pl.DataFrame) -> list[KeptLabel]:
    return [
        KeptLabel(record, bool(is_stale), bool(is_withdrawn))
        for record, is_stale, is_withdrawn in zip(
            label_records(frame), frame["stale"].to_list(), frame["withdrawn"].to_list(), strict=True
        )
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


def _refused(lake: Lake, extent: _Extent, name: str, first: int) -> pl.LazyFrame:
    """Return the rejects of the records of an input, from the offset `first` on."""
    return (
        lake.scan("rejects", {"input": (name, name), "offset": (first, _OFFSET_MAX)})
        .filter(extent.rows, pl.col("stage") == "join", pl.col("sequence") <= extent.sequence)
        .select("partition", "offset", "reason")
    )


def _from(column: str, since_ms: int) -> _Times:
    """Return the bounds of a column of times; records have none before 1970, whatever `retain` reaches back to."""
    return {column: (_at(max(since_ms, 0)), _at(MOMENT_MAX_MS))}


def _at(time_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=time_ms)


def _ms(column: str) -> pl.Expr:
    return pl.col(column).dt.epoch("ms")
