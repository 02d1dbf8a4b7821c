"""Joins files into a lake without a broker: the nightly job of a team.

Every step is written to the ledger first. A killed run is finished by a run with the same files: it joins the last step
again from its recorded offset ranges, and writes only the tables that lack it. A file that an earlier run has read to
its end is skipped, by its content.

The state is kept once every table holds the last step. A run that does not find it, or finds another one, restores it
from the lake.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl
from filelock import FileLock, Timeout

from joins import Batch, Checkpoint, Effects, Partition, Withdrawal, policy_from
from joins.accounting import Counters
from lake import Lake
from schemas.base.location import Location
from schemas.config.loop import LoopConfig
from schemas.errors import InputError, LakeError, StateError
from streams.ledger.lake_kind import refuse_live
from streams.ledger.row import RunFile, RunRecord
from streams.ledger.rules import check_rules, rules_text
from streams.ledger.table import ReplayLedger, ReplayStep, copy_of
from streams.mapping.mapper import Mapper
from streams.mapping.record_file import RecordFile
from streams.messages.lake_rows import label_rows, outcome_rows, prediction_rows, reject_rows
from streams.messages.records import Projection, label_records, partition_of, prediction_records
from streams.replay.merge import aligned_batches, cut_first, following_offset, window
from streams.replay.sorted_input import SortedInput
from streams.replay.writer import LakeWriter, StepFrames
from streams.state_store.kept import KeptStores, kept_stores
from streams.state_store.restore import restore

if TYPE_CHECKING:
    from streams.state_store.store import RocksStore

__all__ = ["Places", "ReplayProgress", "ReplaySummary", "replay", "withdraw"]


class ReplayProgress:
    """Is told how far a run has come; this one says nothing."""

    def restored(self, rows: int, total: int) -> None:
        """So many rows of the lake have been read again, of all, to restore the state; not called where it was kept."""

    def joined(self, records: int, event_time_ms: int | None) -> None:
        """A step has been taken: so many records of this run have been joined, up to an event time, if it has one."""


_SILENT: Final = ReplayProgress()


@dataclass(frozen=True)
class Places:
    """Where a loop's replays write.

    Attributes:
        lake: folder or bucket; created if it does not exist.
        state: folder in which the join's state is kept for the next run; if it is lost, the next run takes longer.
    """

    lake: Location
    state: Path


KEYS_IN_MEMORY = 4_000_000
"""Keys touched, of all partitions together, before those that have come and gone are forgotten, and if that is not
enough, all states leave memory: some 3.8 GB. They are put into files, and read from there when their keys come again,
at up to twice the price of a record (docs/adr/0024)."""

_ENOUGH_FREED: Final = 0.8
"""Share of `KEYS_IN_MEMORY` that may be left when empty ones were forgotten: with more it would soon be done again."""

log = logging.getLogger("truthloop.replay")


@dataclass(frozen=True)
class ReplaySummary:
    """The result of one run.

    Attributes:
        files: files read by this run, with the counts of their records; empty ones last.
        skipped: names of files that an earlier run has read to their end.
        counters: of the whole lake after the run, all partitions together.
        steps: number of steps of this run.
        redone: the run first finished a step that a killed run had written to some tables only.
    """

    files: list[RunFile]
    skipped: list[str]
    counters: Counters
    steps: int
    redone: bool


def replay(
    places: Places,
    config: LoopConfig,
    files: Sequence[RecordFile],
    *,
    now_ms: int,
    close_at_ms: int | None = None,
    progress: ReplayProgress = _SILENT,
) -> ReplaySummary:
    """Join files and write their outcomes to the lake.

    Args:
        places: of the lake and of the state.
        config: mapping and rules; the rules must be those of earlier runs.
        files: predictions and labels; records of equal time are joined in this order.
        now_ms: wall clock; recorded, and the bound for times in the future.
        close_at_ms: if given, all inputs are complete up to this time: deadlines before it pass.
        progress: is told how far the run has come.

    Raises:
        InputError: a file or the time to close at is unusable, or an earlier run with other files has to be finished
            first.
        LakeError: the lake cannot be written, belongs to a live join, or another replay is running on it.
        StateError: the folder of the state cannot be used.
        ConfigError: the rules differ from those of earlier runs.
    """
    if close_at_ms is not None and close_at_ms > now_ms:
        raise InputError(
            "the time to close at lies in the future",
            where=str(places.lake),
            hint="A closed time is never reopened: all later records before it would be rejected.",
        )
    for file in files:
        Mapper(file, config)  # refuses a file that lacks mapped columns, before anything is written
    with _only_replay(places.lake, config) as lake:
        return _Replay(lake, config, places.state, now_ms, progress).run(files, close_at_ms)


def withdraw(places: Places, config: LoopConfig, labels: Mapping[int, Sequence[Withdrawal]], *, now_ms: int) -> bool:
    """Withdraw labels of earlier runs, in a run of their own that reads no file.

    Args:
        places: of a lake that replays fill, and of the state.
        config: as for `replay`.
        labels: by partition; those that have been withdrawn already, or have left the state, are passed over.
        now_ms: wall clock; recorded.

    Returns:
        False if a run was interrupted: it has to be finished first, and the next run withdraws.

    Raises:
        LakeError, ConfigError, StateError: as `replay` does.
    """
    with _only_replay(places.lake, config) as lake:
        last = ReplayLedger(lake).last
        if last is None or not last.run.finished:
            return False
        _Replay(lake, config, places.state, now_ms).run([], None, labels)
        return True


@contextmanager
def _only_replay(lake_path: Location, config: LoopConfig) -> Iterator[Lake]:
    """Open the lake for one replay at a time.

    Raises:
        LakeError: another replay is running, or a live join writes the lake.
    """
    lake = Lake.create(lake_path, config)
    # in a bucket there are no locks: of two replays, the one that is second to write a step ends
    lock = FileLock(lake_path / "replay.lock", timeout=0) if isinstance(lake_path, Path) else nullcontext()
    try:
        with lock:
            refuse_live(lake)
            yield lake
    except Timeout:
        raise LakeError(
            "another replay is running on this lake", where=str(lake_path), hint="Wait until it has finished."
        ) from None


class _Replay:
    """One run: the partitions' state, and the writer that stores its steps."""

    def __init__(
        self,
        lake: Lake,
        config: LoopConfig,
        state: Path,
        now_ms: int,
        progress: ReplayProgress = _SILENT,
    ) -> None:
        self._lake = lake
        self._config = config
        self._state = state
        self._now_ms = now_ms
        self._progress = progress
        self._policy = policy_from(config)
        self._rules = rules_text(config)
        self._projection = Projection.of(config)
        self._writer = LakeWriter(lake, datetime.fromtimestamp(now_ms / 1000, UTC))
        self._stores: Sequence[RocksStore] = []
        self._partitions: list[Partition] = []
        self._last: ReplayStep | None = None
        self._steps = 0
        self._records = 0

    def run(
        self,
        files: Sequence[RecordFile],
        close_at_ms: int | None,
        withdrawals: Mapping[int, Sequence[Withdrawal]] = MappingProxyType({}),
    ) -> ReplaySummary:
        """Execute the run; see `replay` and `withdraw`."""
        ledger = ReplayLedger(self._lake)
        last = ledger.last
        if last is not None:
            check_rules(self._config, last.policy)
        empty = [RunFile(file.path.name, file.sha256, file.role) for file in files if file.is_empty]
        files = [file for file in files if not file.is_empty]
        _refuse_duplicates(files)
        known = ledger.read_before([file.sha256 for file in files])
        skipped = [file.path.name for file in files if file.sha256 in known]
        new_files = [file for file in files if file.sha256 not in known]
        run = self._resume_or_begin(last, new_files)
        is_torn = last is not None and self._writer.is_torn(last.sequence)
        if (
            last is not None
            and last.run.finished
            and not (is_torn or new_files or withdrawals or close_at_ms is not None)
        ):
            # nothing to do: the counters are in the ledger, and no state is needed
            return ReplaySummary(empty, skipped, self._counters(last.checkpoints), 0, redone=False)
        base = ledger.before_last if is_torn else last
        self._last = base
        with kept_stores(self._state, self._config.partitions, list(self._policy.kinds), _mark(base)) as kept:
            with self._writer:
                self._open(kept)
                self._join(new_files, run, last if is_torn else None, close_at_ms, withdrawals)
            self._keep(kept)
        counters = self._counters([partition.checkpoint for partition in self._partitions])
        return ReplaySummary([*run.files, *empty], skipped, counters, self._steps, is_torn)

    def _open(self, kept: KeptStores) -> None:
        """Take the state after the last step, or restore it."""
        self._stores, last = kept.stores, self._last
        if last is None or not kept.is_kept:
            self._partitions = restore(
                self._lake, self._policy, self._projection, last, kept.stores, self._progress.restored
            )
        else:
            states = zip(kept.stores, last.checkpoints, strict=True)
            self._partitions = [Partition(self._policy, *state) for state in states]

    def _join(
        self,
        files: Sequence[RecordFile],
        run: RunRecord,
        torn: ReplayStep | None,
        close_at_ms: int | None,
        withdrawals: Mapping[int, Sequence[Withdrawal]],
    ) -> None:
        """Take all steps of the run; first the torn one, if there is one."""
        if torn is not None and torn.run.finished:
            self._step(None, None, torn, torn.run)
            torn = None
        if withdrawals:
            run.finished = True
            self._step(None, None, None, run, withdrawals=withdrawals)
        with (
            SortedInput(
                "predictions", _with_role(files, "predictions"), self._config, run.predictions_first
            ) as predictions,
            SortedInput("labels", _with_role(files, "labels"), self._config, run.labels_first) as labels,
        ):
            self._read((predictions, labels), run, torn)
            self._finish((predictions, labels), run, close_at_ms)

    def _keep(self, kept: KeptStores) -> None:
        """Keep the state for the next run: every table holds the last step."""
        mark = _mark(self._last)
        if mark is None:
            return
        try:
            kept.keep(mark)
        except StateError as error:  # the lake has everything
            log.warning("the next run restores the state from the lake, because this one is not kept: %s", error)

    def _counters(self, checkpoints: Sequence[Checkpoint]) -> Counters:
        """Return the counters of all partitions together."""
        return Counters.sum_of(self._policy.kinds, (checkpoint.counters for checkpoint in checkpoints))

    def _resume_or_begin(self, last: ReplayStep | None, new_files: list[RecordFile]) -> RunRecord:
        """Return the interrupted run, or a new one.

        Raises:
            InputError: a run with other files was interrupted and has to be finished first.
        """
        files = [RunFile(file.path.name, file.sha256, file.role) for file in new_files]
        if last is None:
            return RunRecord(0, 0, files)
        if last.run.finished:
            return RunRecord(last.predictions[1], last.labels[1], files)
        if [(file.role, file.sha256) for file in last.run.files] != [(file.role, file.sha256) for file in files]:
            names = " ".join(f"--{file.role} {file.name}" for file in last.run.files)
            raise InputError(
                "an earlier replay was interrupted and has to be finished first",
                where=str(self._lake.path),
                hint=f"Run again with the same files in the same order: truthloop replay {names}",
            )
        return last.run

    def _read(self, logs: tuple[SortedInput, SortedInput], run: RunRecord, torn: ReplayStep | None) -> None:
        """Join the logs from the partitions' checkpoint on; first the torn step, if there is one."""
        batches = aligned_batches(logs[0].slices(), logs[1].slices())
        if torn is not None:
            batches = cut_first(batches, torn.predictions, torn.labels)
        for batch in batches:
            checkpoint = self._partitions[0].checkpoint
            predictions = window(batch[0], checkpoint.predictions_next)
            labels = window(batch[1], checkpoint.labels_next)
            if predictions is not None or labels is not None:
                self._step(predictions, labels, torn, run)
            torn = None

    def _finish(self, logs: tuple[SortedInput, SortedInput], run: RunRecord, close_at_ms: int | None) -> None:
        """Write the mapping's rejects, mark the run as finished, and step until every partition is caught up."""
        self._writer.write_mapping_rejects(run.files, chain(logs[0].rejects(), logs[1].rejects()))
        run.files = [counts for log in logs for counts in log.counts]
        run.finished = True
        is_caught_up = not run.files and close_at_ms is None
        while not is_caught_up:
            self._step(None, None, None, run, close_at_ms)
            is_caught_up = all(partition.is_caught_up for partition in self._partitions)

    def _step(
        self,
        predictions: pl.DataFrame | None,
        labels: pl.DataFrame | None,
        recorded: ReplayStep | None,
        run: RunRecord,
        close_at_ms: int | None = None,
        withdrawals: Mapping[int, Sequence[Withdrawal]] = MappingProxyType({}),
    ) -> None:
        """Join one batch in every partition and queue its rows.

        Args:
            predictions: None for none.
            labels: None for none.
            recorded: the ledger's record of this step, if it is redone: its times are used again.
            run: stored with the step.
            close_at_ms: if given, the inputs are complete up to this time.
            withdrawals: labels to withdraw, by partition.
        """
        withdrawals = withdrawals if recorded is None else recorded.withdrawals
        now_ms = self._now_ms if recorded is None else recorded.now_ms
        close_at_ms = close_at_ms if recorded is None else recorded.close_at_ms
        checkpoint = self._partitions[0].checkpoint
        ranges = (
            (checkpoint.predictions_next, following_offset(predictions, checkpoint.predictions_next)),
            (checkpoint.labels_next, following_offset(labels, checkpoint.labels_next)),
        )
        if predictions is not None:
            predictions = predictions.with_columns(partition_of(predictions["key"], self._config.partitions))
        if labels is not None:
            by_key = partition_of(labels["key"], self._config.partitions)
            labels = labels.with_columns(pl.coalesce("partition", by_key).alias("partition"))
        effects: list[tuple[int, Effects]] = []
        for number, partition in enumerate(self._partitions):
            batch = Batch(
                [] if predictions is None else prediction_records(_of(predictions, number), self._projection),
                [] if labels is None else label_records(_of(labels, number)),
                ranges[0][1],
                ranges[1][1],
                now_ms,
                close_at_ms,
                withdrawals=withdrawals.get(number, ()),
            )
            effects.append((number, partition.step(batch)))
        checkpoints = [copy_of(partition.checkpoint) for partition in self._partitions]
        sequence = 0 if self._last is None else self._last.sequence + 1
        step = self._last = ReplayStep(
            sequence, now_ms, *ranges, close_at_ms, checkpoints, copy_of(run), self._rules, withdrawals
        )
        self._writer.write(step, self._frames(predictions, labels, effects, sequence))
        self._free_memory()
        self._steps += 1
        self._records += sum(following - first for first, following in ranges)
        reached = predictions if predictions is not None else labels
        self._progress.joined(self._records, None if reached is None else reached["order_ms"][-1])

    def _free_memory(self) -> None:
        """Forget keys that have come and gone once many were touched; where that is not enough, put all into files."""
        stores = self._stores
        if sum(store.touched for store in stores) <= KEYS_IN_MEMORY:
            return
        for store in stores:
            store.forget_empty()
        if sum(store.touched for store in stores) > _ENOUGH_FREED * KEYS_IN_MEMORY:
            for store in stores:
                store.spill()

    def _frames(
        self,
        predictions: pl.DataFrame | None,
        labels: pl.DataFrame | None,
        effects: list[tuple[int, Effects]],
        sequence: int,
    ) -> StepFrames:
        step = pl.lit(sequence, dtype=pl.Int64).alias("sequence")
        return StepFrames(
            None if predictions is None else prediction_rows(predictions),
            None if labels is None else label_rows(labels),
            outcome_rows(effects, self._projection).with_columns(step),
            reject_rows(effects, (predictions, labels)).with_columns(step),
        )


def _mark(step: ReplayStep | None) -> bytes | None:
    """Return what tells the state after a step from all others: the fingerprints say what the keys hold."""
    if step is None:
        return None
    fingerprints = [checkpoint.fingerprint for checkpoint in step.checkpoints]
    facts = (step.policy, step.sequence, step.now_ms, step.predictions, step.labels, fingerprints)
    return msgspec.json.encode(facts)


def _refuse_duplicates(files: Sequence[RecordFile]) -> None:
    seen: dict[str, RecordFile] = {}
    for file in files:
        if (other := seen.setdefault(file.sha256, file)) is not file:
            raise InputError(f"has the same content as {other.path}", where=str(file.path), hint="Give it once.")


def _with_role(files: Sequence[RecordFile], role: str) -> list[RecordFile]:
    return [file for file in files if file.role == role]


def _of(frame: pl.DataFrame, partition: int) -> pl.DataFrame:
    return frame.filter(pl.col("partition") == partition)
