"""Writes steps into the lake, one behind the other, while the next ones are joined.

The ledger's row goes first: whatever is missing after a crash can be made again from it. Must not join.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import polars as pl

from lake import Claim, Lake
from schemas.errors import LakeError
from streams.ledger.table import APP, TABLES, Step

__all__ = ["LakeWriter", "StepFrames"]

WRITES_AHEAD = 2
"""Steps that may wait to be written; more would only hold memory."""


@dataclass(frozen=True)
class StepFrames:
    """The rows of one step in the lake's columns; None stands for no rows."""

    predictions: pl.DataFrame | None
    labels: pl.DataFrame | None
    outcomes: pl.DataFrame
    rejects: pl.DataFrame


class LakeWriter:
    """Appends steps in order, each exactly once. Use it as a context manager: leaving waits for the rest.

    Args:
        lake: written to.
        recorded_at: time of recording of all rows; UTC.
    """

    def __init__(self, lake: Lake, recorded_at: datetime) -> None:
        self._lake = lake
        self._recorded_at = recorded_at
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lake-writer")
        self._waiting: deque[Future[None]] = deque()
        self._has_failed = False

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
        """Tell whether some table lacks the step that the ledger has written last.

        Raises:
            LakeError: a table lacks more than that: rows were removed.
        """
        applied = {table: self._lake.applied(table, APP) for table in TABLES}
        for table, steps in applied.items():
            if steps not in (sequence, sequence + 1):
                raise LakeError(
                    f"holds {steps} steps where the ledger has {sequence + 1}",
                    where=f"table {table}",
                    hint="The table was restored or replaced without the ledger. Restore the whole lake.",
                )
        return any(steps == sequence for steps in applied.values())

    def write(self, step: Step, frames: StepFrames) -> None:
        """Queue a step; blocks while too many wait, and raises what went wrong with an earlier one."""
        self._wait_until_fewer_than(WRITES_AHEAD)
        self._waiting.append(self._pool.submit(self._write, step, frames))

    def write_mapping_rejects(self, sha256: str, rejects: pl.DataFrame) -> None:
        """Append what one file could not deliver, once per file however often it is replayed."""
        self._wait_until_fewer_than(1)
        self._append("rejects", rejects, f"mapping:{sha256}", 0)

    def _write(self, step: Step, frames: StepFrames) -> None:
        if self._has_failed:  # a step is never written behind one that is not whole
            return
        self._has_failed = True
        self._append("ledger", step.rows(), APP, step.sequence)
        rows = (frames.rejects, frames.labels, frames.predictions, frames.outcomes)
        for table, frame in zip(TABLES, rows, strict=True):
            self._append(
                table,
                pl.DataFrame(schema=self._lake.schema(table)) if frame is None else frame,
                APP,
                step.sequence,
            )
        self._has_failed = False

    def _append(self, table: str, frame: pl.DataFrame, app: str, sequence: int) -> None:
        self._lake.append(table, frame, [Claim(app, sequence, sequence + 1)], recorded_at=self._recorded_at)

    def _wait_until_fewer_than(self, count: int) -> None:
        while len(self._waiting) >= count:
            self._waiting.popleft().result()
