"""Files through the join into a lake: the whole product without a broker, and the nightly job of a team.

Every step is written ledger first. A run that was killed is finished by giving the same files again: the
last step is taken again from its recorded ranges and only the tables that lack it are written. A file that
was read to its end is skipped, by its content.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from filelock import FileLock, Timeout

from joins import Batch, Effects, Partition, policy_from
from joins.accounting import Counters
from lake import Lake
from schemas.config.loop import LoopConfig
from schemas.errors import InputError, LakeError
from streams.ledger.lake_kind import refuse_live
from streams.ledger.rules import check_rules, rules_text
from streams.ledger.table import Ledger, RunFile, RunRecord, Step, copy_of
from streams.mapping.mapper import Mapper
from streams.mapping.record_file import RecordFile
from streams.messages.records import (
    Projection,
    label_records,
    label_rows,
    mapping_reject_rows,
    outcome_rows,
    partition_of,
    prediction_records,
    prediction_rows,
    reject_rows,
)
from streams.replay.merge import aligned_batches, window
from streams.replay.sorted_input import SortedInput
from streams.replay.writer import LakeWriter, StepFrames
from streams.state_store.restore import restore

__all__ = ["Progress", "ReplaySummary", "replay"]

Progress = Callable[[int, int | None], None]
"""Called with (records joined so far, event time reached in ms or None)."""

_END = 1 << 62
"""Greater than every offset."""


@dataclass(frozen=True)
class ReplaySummary:
    """What one run did.

    Attributes:
        files: read by this run, with the counts of their records.
        skipped: names of files that an earlier run had read to their end.
        counters: of the whole lake, all partitions together, after the run.
        steps: how many this run took.
        redone: whether the run began by finishing a step that a killed run had left half-written.
    """

    files: list[RunFile]
    skipped: list[str]
    counters: Counters
    steps: int
    redone: bool


def replay(
    lake_path: Path,
    config: LoopConfig,
    files: Sequence[RecordFile],
    *,
    now_ms: int,
    close_at_ms: int | None = None,
    progress: Progress = lambda _records, _time_ms: None,
) -> ReplaySummary:
    """Read files to their end and leave their outcomes in the lake.

    Args:
        lake_path: folder of the lake; made if there is none.
        config: the loop's.
        files: predictions and labels, in the order that settles ties.
        now_ms: the wall clock; recorded, and the bound for times in the future.
        close_at_ms: when given, all inputs are complete up to this time: deadlines before it pass.
        progress: told about every step.

    Raises:
        InputError: a file or the time to close at cannot be used, or an earlier run with other files has to be
            finished first.
        LakeError: the lake refuses, is a live join's, or another replay is at work on it.
        ConfigError: the rules differ from those the lake was made under.
    """
    if close_at_ms is not None and close_at_ms > now_ms:
        raise InputError(
            "the time to close at lies in the future",
            where=str(lake_path),
            hint="What is closed is never opened again: all later records before it would be refused.",
        )
    for file in files:
        Mapper(file, config)  # refuses a file that lacks mapped columns, before anything is written
    lake = Lake.create(lake_path, config)
    lock = FileLock(lake_path / "replay.lock", timeout=0)
    try:
        with lock:
            refuse_live(lake)
            return _Replay(lake, config, now_ms, progress).run(files, close_at_ms)
    except Timeout:
        raise LakeError(
            "another replay is at work on this lake", where=str(lake_path), hint="Wait until it has finished."
        ) from None


class _Replay:
    """One run: where it stands, and the writer that follows it."""

    def __init__(self, lake: Lake, config: LoopConfig, now_ms: int, progress: Progress) -> None:
        self._lake = lake
        self._config = config
        self._now_ms = now_ms
        self._progress = progress
        self._policy = policy_from(config)
        self._rules = rules_text(config)
        self._projection = Projection.of(config)
        self._writer = LakeWriter(lake, datetime.fromtimestamp(now_ms / 1000, UTC))
        self._partitions: list[Partition] = []
        self._sequence = 0
        self._steps = 0
        self._records = 0

    def run(self, files: Sequence[RecordFile], close_at_ms: int | None) -> ReplaySummary:
        """Do the whole run; see `replay`."""
        ledger = Ledger(self._lake)
        last = ledger.last
        if last is not None:
            check_rules(self._config, last.policy)
        _refuse_twice(files)
        fresh = [file for file in files if file.sha256 not in ledger.files]
        run = self._take_up(last, fresh)
        torn = last is not None and self._writer.is_torn(last.sequence)
        base = ledger.before_last if torn else last
        self._partitions = restore(self._lake, self._policy, self._projection, base, self._config.partitions)
        self._sequence = 0 if base is None else base.sequence + 1
        with self._writer:
            again = last if torn else None
            if again is not None and again.run.finished:
                self._step(None, None, again, again.run)
                again = None
            logs = [
                SortedInput("predictions", _with_role(fresh, "predictions"), self._config, run.predictions_first),
                SortedInput("labels", _with_role(fresh, "labels"), self._config, run.labels_first),
            ]
            self._read(logs, run, again)
            self._finish(logs, run, close_at_ms)
        counters = Counters.zero(list(self._policy.kinds))
        for partition in self._partitions:
            counters.add(partition.checkpoint.counters)
        skipped = [file.path.name for file in files if file.sha256 in ledger.files]
        return ReplaySummary(run.files, skipped, counters, self._steps, torn)

    def _take_up(self, last: Step | None, fresh: list[RecordFile]) -> RunRecord:
        """Return the run to go on with: the one that was interrupted, or a new one.

        Raises:
            InputError: another run was interrupted and has to be finished first.
        """
        mine = [RunFile(file.path.name, file.sha256, file.role) for file in fresh]
        if last is None:
            return RunRecord(0, 0, mine)
        if last.run.finished:
            return RunRecord(last.predictions[1], last.labels[1], mine)
        if [(file.role, file.sha256) for file in last.run.files] != [(f.role, f.sha256) for f in mine]:
            names = " ".join(f"--{file.role} {file.name}" for file in last.run.files)
            raise InputError(
                "an earlier replay stopped half-way and has to be finished first",
                where=str(self._lake.path),
                hint=f"Run again with its files, in its order: truthloop replay {names}",
            )
        return last.run

    def _read(self, logs: list[SortedInput], run: RunRecord, torn: Step | None) -> None:
        """Step through the logs from where the partitions stand."""
        batches = aligned_batches(logs[0].slices(), logs[1].slices())
        if torn is not None:
            batches = _recut(batches, torn)
        for part in batches:
            at = self._partitions[0].checkpoint
            predictions = window(part[0], at.predictions_next, _END)
            labels = window(part[1], at.labels_next, _END)
            if predictions is not None or labels is not None:
                self._step(predictions, labels, torn, run)
            torn = None

    def _finish(self, logs: list[SortedInput], run: RunRecord, close_at_ms: int | None) -> None:
        """Record that the files were read to their end, pass what time allows, and close if told to."""
        for log in logs:
            for file in log.files:
                rejects = [frame for rejected, frame in log.rejects if rejected is file]
                if rejects:
                    self._writer.write_mapping_rejects(file.sha256, mapping_reject_rows(file, pl.concat(rejects)))
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
        again: Step | None,
        run: RunRecord,
        close_at_ms: int | None = None,
    ) -> None:
        """Join one batch in every partition and queue its rows.

        Args:
            predictions: the batch's, None for none.
            labels: the same.
            again: the step as the ledger has it, when it is taken again.
            run: as it stands.
            close_at_ms: when given, inputs are complete up to this time.
        """
        now_ms = self._now_ms if again is None else again.now_ms
        close_at_ms = close_at_ms if again is None else again.close_at_ms
        at = self._partitions[0].checkpoint
        ranges = (
            (at.predictions_next, _following(predictions, at.predictions_next)),
            (at.labels_next, _following(labels, at.labels_next)),
        )
        if predictions is not None:
            predictions = predictions.with_columns(partition_of(predictions["key"], self._config.partitions))
        if labels is not None:
            placed = partition_of(labels["key"], self._config.partitions)
            labels = labels.with_columns(pl.coalesce("partition", placed).alias("partition"))
        effects: list[tuple[int, Effects]] = []
        for number, partition in enumerate(self._partitions):
            batch = Batch(
                [] if predictions is None else prediction_records(_of(predictions, number), self._projection),
                [] if labels is None else label_records(_of(labels, number)),
                ranges[0][1],
                ranges[1][1],
                now_ms,
                close_at_ms,
            )
            effects.append((number, partition.step(batch)))
        checkpoints = [copy_of(partition.checkpoint) for partition in self._partitions]
        step = Step(self._sequence, now_ms, *ranges, close_at_ms, checkpoints, copy_of(run), self._rules)
        self._writer.write(step, self._frames(predictions, labels, effects))
        self._sequence += 1
        self._steps += 1
        self._records += sum(following - first for first, following in ranges)
        reached = predictions if predictions is not None else labels
        self._progress(self._records, None if reached is None else reached["order_ms"][-1])

    def _frames(
        self,
        predictions: pl.DataFrame | None,
        labels: pl.DataFrame | None,
        effects: list[tuple[int, Effects]],
    ) -> StepFrames:
        sequence = pl.lit(self._sequence, dtype=pl.Int64).alias("sequence")
        return StepFrames(
            None if predictions is None else prediction_rows(predictions),
            None if labels is None else label_rows(labels),
            outcome_rows(effects, self._projection).with_columns(sequence),
            reject_rows(effects, (predictions, labels)).with_columns(sequence),
        )


def _refuse_twice(files: Sequence[RecordFile]) -> None:
    seen: dict[str, RecordFile] = {}
    for file in files:
        if (other := seen.setdefault(file.sha256, file)) is not file:
            raise InputError(f"has the same content as {other.path}", where=str(file.path), hint="Give it once.")


def _recut(
    batches: Iterator[tuple[pl.DataFrame | None, pl.DataFrame | None]], step: Step
) -> Iterator[tuple[pl.DataFrame | None, pl.DataFrame | None]]:
    """Yield first exactly the recorded ranges of `step`, then what follows."""
    held: tuple[list[pl.DataFrame], list[pl.DataFrame]] = ([], [])
    wanted = (step.predictions, step.labels)
    for batch in batches:
        for frames, frame, (first, _) in zip(held, batch, wanted, strict=True):
            if (needed := window(frame, first, _END)) is not None:
                frames.append(needed)
        if all(
            first == following or (frames and _following(frames[-1], 0) >= following)
            for frames, (first, following) in zip(held, wanted, strict=True)
        ):
            break
    whole = [_joined(frames) for frames in held]
    yield window(whole[0], *wanted[0]), window(whole[1], *wanted[1])
    yield window(whole[0], wanted[0][1], _END), window(whole[1], wanted[1][1], _END)
    yield from batches


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame | None:
    return pl.concat(frames) if frames else None


def _following(frame: pl.DataFrame | None, first: int) -> int:
    """Return the offset after a frame's last record, or `first` where there is none."""
    return first if frame is None else int(frame["offset"][-1]) + 1


def _with_role(files: Sequence[RecordFile], role: str) -> list[RecordFile]:
    return [file for file in files if file.role == role]


def _of(frame: pl.DataFrame, partition: int) -> pl.DataFrame:
    return frame.filter(pl.col("partition") == partition)
