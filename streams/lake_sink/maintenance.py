"""Maintenance of the lake beside its writer, in a thread of its own that uses a small share of a core.

Several workers may have one lake: the one that has the first partition maintains it. That saves work and nothing else:
where two of them do the same, the lake refuses the second.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge

from lake import Lake
from lake.closed_days import close_days
from lake.failure import is_of_storage
from lake.maintenance.maintainer import Maintainer
from lake.maintenance.sweep import ClockAheadError
from schemas.config.loop import LoopConfig
from schemas.errors import LakeError
from streams.ledger.retention import drop_old_rows
from streams.runtime.worker import Worker

__all__ = ["BackgroundMaintenance", "MaintenanceMetrics"]

log = logging.getLogger("truthloop.lake")

LOOK_EVERY_S = 20.0
"""Between two looks at what is due. A writer that is never idle makes some forty files of a table meanwhile."""

HOURLY_S = 3_600.0
"""Between two looks for what may be deleted, and for days that are closed."""

SHARE = 0.1
"""Share of a core that maintenance takes over time; after a step it rests for the rest of it."""

END_S = 5.0
"""How long the end of the role waits for a step; one that takes longer ends with the process, as if it were killed."""


class MaintenanceMetrics:
    """What the lake role says about maintenance.

    Attributes:
        seconds: CPU time.
        files: rewritten ones, by table.
        left: rows that left the lake because they are older than `retention` says, by table.
        deleted: files that no reader may need any more, by table.
        closed: rows of days that nothing changes any more, written to their table.
        failing: 1 after a failure, 0 after the next success.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Counter(
            "truthloop_lake_maintenance_cpu_seconds", "CPU time of the lake's maintenance", registry=registry
        )
        self.files = Counter(
            "truthloop_lake_rewritten_files",
            "Small files that became parts of larger ones",
            ["table"],
            registry=registry,
        )
        self.deleted = Counter(
            "truthloop_lake_deleted_files",
            "Files that no reader may need any more",
            ["table"],
            registry=registry,
        )
        self.left = Counter(
            "truthloop_lake_left_rows",
            "Rows that left the lake because they are older than its retention",
            ["table"],
            registry=registry,
        )
        self.closed = Counter(
            "truthloop_lake_closed_rows", "Rows of drafts and of closed days that were written", registry=registry
        )
        self.failing = Gauge(
            "truthloop_lake_maintenance_failing",
            "Whether the last attempt to maintain the lake failed",
            registry=registry,
        )


class BackgroundMaintenance:
    """Maintains the lake while the context lasts.

    Args:
        config: of the loop.
        has_turn: tells whether this worker is the one that maintains.
    """

    def __init__(
        self,
        worker: Worker,
        config: LoopConfig,
        has_turn: Callable[[], bool],
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._worker = worker
        self._config = config
        self._has_turn = has_turn
        self._look_every_s = look_every_s
        self._stop = Event()
        self._hourly_at_s = worker.clock()
        self._thread = Thread(target=self._run, name="maintenance", daemon=True)
        self._metrics = MaintenanceMetrics(worker.health.registry)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(END_S)

    def _run(self) -> None:
        maintainer: Maintainer | None = None
        while not self._stop.wait(self._look_every_s):
            if not self._has_turn():
                continue
            try:
                maintainer = maintainer or self._maintainer()
                self._rewrite(maintainer)
                if not self._stop.is_set() and self._worker.clock() >= self._hourly_at_s:
                    self._sweep(maintainer)
                    self._close_days()
                    self._hourly_at_s = self._worker.clock() + HOURLY_S
            except LakeError as error:
                log.warning("the lake could not be maintained, and it is tried again: %s", error)
                self._metrics.failing.set(1)
            except BaseException as error:
                if not is_of_storage(error):
                    raise
                log.exception("the lake could not be maintained, and it is tried again")
                self._metrics.failing.set(1)
            else:
                self._metrics.failing.set(0)

    def _rewrite(self, maintainer: Maintainer) -> None:
        """Rewrite what is due, with a rest after each step, unless a day is about to have too many files."""
        began_s = time.thread_time()
        for step in maintainer.steps(self._worker.now_ms):
            self._metrics.files.labels(step.table).inc(len(step.group.files))
            if not step.group.is_urgent:
                began_s = self._rest(began_s)
            if self._stop.is_set():
                return
        self._rest(began_s)

    def _sweep(self, maintainer: Maintainer) -> None:
        """Delete what no reader may need any more, from time to time."""
        began_s = time.thread_time()
        try:
            for step in maintainer.sweep(self._worker.now_ms()):
                self._metrics.deleted.labels(step.table).inc(step.files)
                began_s = self._rest(began_s)
            opened = Lake.open(self._worker.lake)
            for left in drop_old_rows(maintainer, opened, self._config, self._worker.now_ms):
                self._metrics.left.labels(left.table).inc(left.group.rows)
                began_s = self._rest(began_s)
        except ClockAheadError as error:
            log.info("%s", error)
        self._rest(began_s)

    def _close_days(self) -> None:
        """Write the days that nothing changes any more to their table."""
        began_s = time.thread_time()
        for step in close_days(self._worker.lake, datetime.fromtimestamp(self._worker.now_ms() / 1000, UTC)):
            self._metrics.closed.inc(step.rows)
            began_s = self._rest(began_s)
            if self._stop.is_set():
                return
        self._rest(began_s)

    def _maintainer(self) -> Maintainer:
        return Maintainer(self._worker.lake, self._config.lake.keep_readable, self._worker.crash)

    def _rest(self, began_s: float) -> float:
        """Rest for so long that the CPU time since `began_s` is the share; return the new CPU time."""
        used_s = time.thread_time() - began_s
        self._metrics.seconds.inc(used_s)
        self._stop.wait(used_s * (1 / SHARE - 1))
        return time.thread_time()
