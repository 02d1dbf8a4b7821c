"""Writes a replay's steps to the lake in order, in a thread, while the next steps are joined.

The ledger's rows are written first: after a crash, any missing rows can be computed again from them.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import polars as pl

from lake import Claim, Lake
from schemas.errors import LakeConflict, LakeError
from streams.ledger.row import RunFile
from streams.ledger.table import REPLAY_APP, STEP_TABLES, ReplayStep

__all__ = ["LakeWriter", "StepFrames"]

ROWS_PER_PIECE = 100_000
"""Rejects of mapping in one append, at least, so that many small files do not make as many commits."""

WRITES_AHEAD = 2
"""Steps that may be queued; more would only take memory."""


@dataclass(frozen=True)
class StepFrames:
    """The rows of one step in the lake's columns; None for no rows."""

    predictions: pl.DataFrame | None
    labels: pl.DataFrame | None
    outcomes: pl.DataFrame
    rejects: pl.DataFrame


class LakeWriter:
    """Appends steps in order, each exactly once. Use it as a context manager: its end waits for the queued steps."""

    def __init__(self, lake: Lake, recorded_at: datetime) -> None:
        self._lake = lake
        self._recorded_at = recorded_at
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lake-writer")
        self._waiting: deque[Future[None]] = deque()
        self._has_failed = False
        self._torn: int | None = None
        """Step whose row the ledger has already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._wait_until_fewer_than(1)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def is_torn(self, sequence: int) -> bool:
        """Return whether some table lacks the newest step of the ledger.

        Raises:
            LakeError: a table lacks more than this step: rows were removed.
        """
        applied = {table: self._lake.applied(table, REPLAY_APP) for table in STEP_TABLES}
        for table, steps in applied.items():
            if steps not in (sequence, sequence + 1):
                raise LakeError(
                    f"holds {steps} steps where the ledger has {sequence + 1}",
                    where=f"table {table}",
                    hint="The table was restored or replaced without the ledger. Restore the whole lake.",
                )
        is_torn = any(steps == sequence for steps in applied.values())
        self._torn = sequence if is_torn else None
        return is_torn

    def write(self, step: ReplayStep, frames: StepFrames) -> None:
        """Queue a step; blocks while the queue is full, and raises the error of an earlier step."""
        self._wait_until_fewer_than(WRITES_AHEAD)
        self._waiting.append(self._pool.submit(self._write, step, frames))

    def write_mapping_rejects(self, files: Sequence[RunFile], rejects: Iterable[pl.DataFrame]) -> None:
        """Append the rejects of a run's mapping, once however often the run is taken up again.

        Args:
            files: of the run.
            rejects: in order; the same each time.
        """
        self._wait_until_fewer_than(1)
        run = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()
        for number, rows in enumerate(_grouped(rejects)):
            if number >= self._lake.applied("rejects", f"mapping:{run}"):
                self._append("rejects", rows, f"mapping:{run}", number)

    def _write(self, step: ReplayStep, frames: StepFrames) -> None:
        if self._has_failed:  # a step is never written after an incomplete one
            return
        self._has_failed = True
        if not self._append("ledger", step.rows(), REPLAY_APP, step.sequence) and step.sequence != self._torn:
            raise LakeConflict(
                f"another replay has written step {step.sequence}",
                hint="Wait until it has finished, then run the same command again: it goes on where the lake stands.",
            )
        rows = (frames.rejects, frames.labels, frames.predictions, frames.outcomes)
        for table, frame in zip(STEP_TABLES, rows, strict=True):
            appended = pl.DataFrame(schema=self._lake.schema(table)) if frame is None else frame
            self._append(table, appended, REPLAY_APP, step.sequence)
        self._has_failed = False

    def _append(self, table: str, frame: pl.DataFrame, app: str, sequence: int) -> bool:
        return self._lake.append(table, frame, [Claim(app, sequence, sequence + 1)], recorded_at=self._recorded_at)

    def _wait_until_fewer_than(self, count: int) -> None:
        while len(self._waiting) >= count:
            self._waiting.popleft().result()


def _grouped(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the rows of frames in fewer frames."""
    pending: list[pl.DataFrame] = []
    rows = 0
    for frame in frames:
        pending.append(frame)
        rows += frame.height
        if rows >= ROWS_PER_PIECE:
            yield pl.concat(pending)
            pending, rows = [], 0
    if pending:
        yield pl.concat(pending)
