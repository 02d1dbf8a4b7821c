"""Makes views from the lake; thread-safe.

The lake is checked when a page is requested, and read again only if its tables have changed. Estimates, shifts and
comparisons are computed in the background; until they are ready the panels say so.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from threading import Lock

from lake import Lake
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
from truthloop.page.panels.view import EVERY, Choices, Freshness, LoopSummary, PageView, Selection

__all__ = ["Gatherer"]

WAIT_S = 4.0
"""How long a page waits for each value that is computed in the background."""

RECHECK_MS = 2_000
"""The lake is not checked for changes more often: a live lake grows every second."""

_VIEWS_MAX = 64
_ESTIMATED_MAX = 4
"""Number of newest versions that get estimates; the chart has as many lines."""


class Gatherer:
    """Makes the views of one loop.

    Args:
        now_ms: the wall clock.
        roles: progress of the roles as Kafka has it; None: the lake's is shown.
        wait_s: how long a page waits for each value that is computed in the background.
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
        self._lock = Lock()
        self._lake: Lake | None = None
        self._newest: tuple[Snapshot, Choices] | None = None
        self._checked_ms: int | None = None
        self._views: OrderedDict[tuple[tuple[int, ...], Selection], PageView] = OrderedDict()
        # used by the one thread of `BackgroundValues` only
        self._caches: dict[tuple[str, str, str], EstimateCache] = {}

    def choices(self) -> Choices:
        """Return the options that can be selected now.

        Raises:
            TruthloopError: the lake cannot be read.
        """
        return self._current()[1]

    def view(self, selection: Selection) -> PageView:
        """Return everything that is shown for a selection.

        Raises:
            TruthloopError: the lake cannot be read, or the gate's log is invalid.
        """
        snapshot, choices = self._current()
        key = (snapshot.versions, selection)
        with self._lock:
            known = self._views.get(key)
        if known is None:
            known, is_complete = self._make(snapshot, choices, selection)
            if is_complete:
                with self._lock:
                    self._views[key] = known
                    while len(self._views) > _VIEWS_MAX:
                        self._views.popitem(last=False)
        now_ms = self._now_ms()
        flow = flow_panel(self._scope(snapshot, selection), self._roles() if self._roles else (), now_ms)
        return replace(known, freshness=replace(known.freshness, made_at_ms=now_ms), flow=flow)

    def close(self) -> None:
        """Compute nothing more in the background."""
        self._background.close()

    def _current(self) -> tuple[Snapshot, Choices]:
        """Return the newest snapshot and its choices; one thread reads, the others wait for it."""
        with self._lock:
            now_ms = self._now_ms()
            age_ms = None if self._checked_ms is None else now_ms - self._checked_ms
            if self._newest is not None and age_ms is not None and 0 <= age_ms < RECHECK_MS:
                return self._newest
            try:
                self._newest = self._refresh()
            except TruthloopError:
                # the next attempt opens the lake again
                self._lake = None
                raise
            self._checked_ms = now_ms
            return self._newest

    def _refresh(self) -> tuple[Snapshot, Choices]:
        """Return the last snapshot if the lake has not changed, else a new one."""
        if self._lake is None:
            self._lake = Lake.open(self._settings.lake)
        if self._newest is not None and table_versions(self._lake) == self._newest[0].versions:
            return self._newest
        snapshot = read_snapshot(self._settings, self._lake, None if self._newest is None else self._newest[0])
        self._views.clear()
        return snapshot, self._choices_of(snapshot)

    def _choices_of(self, snapshot: Snapshot) -> Choices:
        kinds = tuple(self._settings.config.labels)
        versions: dict[str, None] = {}
        for kind in kinds:
            versions |= dict.fromkeys(self._scope(snapshot, Selection(kind)).versions)
        slices = sorted(set(snapshot.evidence.cells["slice"].unique()) - {EVERY})
        return Choices(kinds, tuple(versions), tuple(slices), available_metrics(snapshot))

    def _scope(self, snapshot: Snapshot, selection: Selection) -> Scope:
        return Scope.of(self._settings.config, snapshot, selection)

    def _make(self, snapshot: Snapshot, choices: Choices, selection: Selection) -> tuple[PageView, bool]:
        """Return the view without `flow`, and whether all its values have been computed."""
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
            verdict=page_verdict([self._scope(snapshot, Selection(kind)) for kind in kinds]),
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
