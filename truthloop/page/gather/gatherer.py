"""Makes views from the lake; thread-safe.

The lake is checked when a page is requested, and read again only if its tables have changed. If that takes longer than
a reader should wait, the page shows the snapshot before. Estimates, shifts and comparisons are computed in the
background; until they are ready the panels say so.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from threading import Lock

from lake import Lake
from lake.failure import store_errors_told
from monitor.nowcast.estimator import Estimate, EstimateCache
from schemas.errors import TruthloopError
from truthloop.config.settings import Settings
from truthloop.page.gather.backfills import backfills_panel
from truthloop.page.gather.background import BackgroundValues
from truthloop.page.gather.coverage import coverage_panel, expected_shares
from truthloop.page.gather.drift import count_inputs, drift_panel, judge_shift
from truthloop.page.gather.estimates import can_estimate, estimate_days, young_days
from truthloop.page.gather.flow import flow_panel
from truthloop.page.gather.gate import gate_panel, newest_evaluation
from truthloop.page.gather.maturity import maturity_panel
from truthloop.page.gather.metric import available_metrics, metric_panel
from truthloop.page.gather.quality import quality_panel
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.snapshot import Snapshot, read_snapshot, table_versions
from truthloop.page.gather.sql import comparison_query
from truthloop.page.gather.verdict import page_verdict
from truthloop.page.gather.versions import compare_versions, newest_pair, versions_panel
from truthloop.page.panels.model import FlowPanel, RoleFlow
from truthloop.page.panels.view import Choices, Freshness, LoopSummary, PageVerdict, PageView, Selection
from truthloop.text.slices import uncounted_slices

__all__ = ["Gatherer"]

WAIT_S = 4.0
"""How long a page waits for each value that is computed in the background, and for the lake to be read again."""

RECHECK_MS = 2_000
"""The lake is not checked for changes more often: a live lake grows every second."""

_VIEWS_MAX = 64
_ESTIMATED_MAX = 4
"""Number of newest versions that get estimates; the chart has as many lines."""


@dataclass(frozen=True)
class _Current:
    """A snapshot, its choices, and when the lake was last seen to be in this state."""

    snapshot: Snapshot
    choices: Choices
    checked_ms: int


class Gatherer:
    """Makes the views of one loop.

    Args:
        now_ms: the wall clock.
        roles: progress of the roles as Kafka has it; None: the lake's is shown.
        wait_s: how long a page waits for each value that is computed in the background, and for the lake to be read
            again; for the first snapshot it waits as long as that takes.
    """

    def __init__(
        self,
        settings: Settings,
        now_ms: Callable[[], int],
        roles: Callable[[], Sequence[RoleFlow]] | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._roles = roles
        self._background = BackgroundValues(wait_s)
        self._wait_s = wait_s
        self._lock = Lock()
        self._lake: Lake | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._refreshing: Future[_Current] | None = None
        self._newest: _Current | None = None
        self._doing = ("waiting for its first reader", now_ms())
        self._views: OrderedDict[tuple[tuple[int, ...], Selection], PageView] = OrderedDict()
        # used by the one thread of `BackgroundValues` only
        self._caches: dict[tuple[str, str, str], EstimateCache] = {}

    def choices(self) -> Choices:
        """Return the options that can be selected now.

        Raises:
            TruthloopError: the lake cannot be read.
        """
        return self._current().choices

    def progress(self) -> str:
        """Return what is being done for the page, and for how long already; any thread may ask."""
        what, since_ms = self._doing
        return f"{what}, for {max(self._now_ms() - since_ms, 0) // 1000} s"

    def view(self, selection: Selection) -> PageView:
        """Return everything that is shown for a selection.

        Raises:
            TruthloopError: the lake cannot be read, or the gate's log is invalid.
        """
        current = self._current()
        snapshot, choices = current.snapshot, current.choices
        key = (snapshot.versions, selection)
        with self._lock:
            known = self._views.get(key)
        if known is None:
            self._report("making the panels")
            known, is_complete = self._make(snapshot, choices, selection)
            if is_complete:
                with self._lock:
                    self._views[key] = known
                    while len(self._views) > _VIEWS_MAX:
                        self._views.popitem(last=False)
        sources = snapshot.sources(self._settings.config, self._now_ms())
        flow = flow_panel(self._scope(snapshot, selection), self._roles() if self._roles else (), sources)
        verdict = page_verdict([self._scope(snapshot, Selection(kind)) for kind in choices.kinds], sources)
        freshness = replace(known.freshness, made_at_ms=current.checked_ms)
        return replace(known, verdict=verdict, freshness=freshness, flow=flow)

    def close(self) -> None:
        """Compute nothing more in the background."""
        self._background.close()
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _current(self) -> "_Current":
        """Return the newest snapshot; one thread reads the lake, and requests wait for it."""
        now_ms = self._now_ms()
        with self._lock:
            newest = self._newest
            if newest is not None and 0 <= now_ms - newest.checked_ms < RECHECK_MS:
                return newest
            if self._refreshing is None:
                self._refreshing = self._reader.submit(self._refresh, newest, now_ms)
            refreshing = self._refreshing
        try:
            return refreshing.result(None if newest is None else self._wait_s)
        except TimeoutError:
            if newest is None or refreshing.done():
                raise
            return newest

    def _refresh(self, newest: "_Current | None", now_ms: int) -> "_Current":
        """Return the last snapshot if the lake has not changed, else a new one."""
        found = None
        try:
            found = self._read(newest, now_ms)
        except TruthloopError:
            # the next attempt opens the lake again
            self._lake = None
            raise
        finally:
            with self._lock:
                self._refreshing = None
                if found is not None:
                    if newest is None or found.snapshot is not newest.snapshot:
                        self._views.clear()
                    self._newest = found
        return found

    @store_errors_told()
    def _read(self, newest: "_Current | None", now_ms: int) -> "_Current":
        self._report("opening the lake")
        if self._lake is None:
            self._lake = Lake.open(self._settings.lake)
        if newest is not None and table_versions(self._lake) == newest.snapshot.versions:
            return replace(newest, checked_ms=now_ms)
        before = None if newest is None else newest.snapshot
        snapshot = read_snapshot(self._settings, self._lake, before, self._report)
        return _Current(snapshot, self._choices_of(snapshot), now_ms)

    def _report(self, what: str) -> None:
        self._doing = (what, self._now_ms())

    def _choices_of(self, snapshot: Snapshot) -> Choices:
        kinds = tuple(self._settings.config.labels)
        versions: dict[str, None] = {}
        for kind in kinds:
            versions |= dict.fromkeys(self._scope(snapshot, Selection(kind)).versions)
        uncounted = uncounted_slices(self._settings.config)
        return Choices(
            kinds,
            tuple(versions),
            tuple(snapshot.evidence.cells.summary.slices),
            available_metrics(snapshot),
            uncounted=uncounted,
        )

    def _scope(self, snapshot: Snapshot, selection: Selection) -> Scope:
        return Scope.of(self._settings.config, snapshot, selection)

    def _make(self, snapshot: Snapshot, choices: Choices, selection: Selection) -> tuple[PageView, bool]:
        """Return the view without `flow` and `verdict`, and whether all its values have been computed."""
        scope = self._scope(snapshot, selection)
        estimates = self._estimates(scope)
        counts = count_inputs(scope)
        verdicts = None
        if counts is not None:
            digest = (counts.height, int(counts.hash_rows(seed=1).sum()))
            key = ("shift", scope.kind.name, scope.running, digest)
            verdicts = self._background.get(key, partial(judge_shift, scope, counts))
        pair = newest_pair(scope)
        comparison = None
        if pair is not None:
            query = comparison_query(scope, *pair)
            pair = pair if query else None
            compute = partial(compare_versions, self._settings, query)
            comparison = self._background.get(("comparison", snapshot.versions, query), compute) if query else None
        newest, expected = newest_evaluation(scope.log), expected_shares(scope)
        kinds = tuple(self._settings.config.labels)
        view = PageView(
            loop=LoopSummary(self._settings.config.loop, self._settings.config.timezone, kinds, choices.versions),
            verdict=PageVerdict("WATCH", "", "none"),
            freshness=Freshness(0, None if newest is None else newest.at, scope.observed_ms),
            choices=choices,
            selection=selection,
            coverage=coverage_panel(scope, expected),
            maturity=maturity_panel(scope, expected),
            metric=metric_panel(scope, estimates),
            drift=drift_panel(scope, counts, verdicts),
            quality=quality_panel(scope, counts),
            gate=gate_panel(scope),
            backfills=backfills_panel(scope),
            versions=versions_panel(scope, pair, comparison),
            flow=FlowPanel((), (), ()),
        )
        is_pending = (counts is not None and verdicts is None) or (pair is not None and comparison is None)
        return view, not is_pending and None not in estimates.values()

    def _estimates(self, scope: Scope) -> dict[str, Mapping[date, Estimate] | None]:
        """Return by version the estimates of young days; None where they are being computed."""
        if not can_estimate(scope):
            return {}
        found: dict[str, Mapping[date, Estimate] | None] = {}
        for version in scope.versions[-_ESTIMATED_MAX:]:
            if not young_days(scope, version):
                continue
            of = (scope.kind.name, version, scope.selection.slice)
            key = ("estimates", scope.snapshot.versions, of, scope.selection.days)
            found[version] = self._background.get(key, partial(self._estimate, scope, version, of))
        return found

    def _estimate(self, scope: Scope, version: str, of: tuple[str, str, str]) -> Mapping[date, Estimate]:
        return estimate_days(scope, version, self._caches.setdefault(of, EstimateCache()))
