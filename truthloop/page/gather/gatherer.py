"""The gatherer: from the lake to a view, for several threads at once.

The lake is looked at when a page is asked for, and read again only if its tables have changed. What takes long is
made behind the page, which says so until it is there. Must not keep anything that cannot be made again.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from threading import Lock

from lake import Lake
from monitor.nowcast.estimator import Estimate, Memory
from schemas.errors import TruthloopError
from truthloop.config.settings import Settings
from truthloop.page.gather.backfills import backfills_panel
from truthloop.page.gather.background import BackgroundValues
from truthloop.page.gather.coverage import coverage_of, expected_shares
from truthloop.page.gather.drift import counts_of, drift_of, shift_of
from truthloop.page.gather.estimates import can_estimate, estimates_of, young_days
from truthloop.page.gather.flow import flow_of
from truthloop.page.gather.gate import gate_panel, newest_evaluation
from truthloop.page.gather.maturity import maturity_of
from truthloop.page.gather.metric import metric_of, offered_metrics
from truthloop.page.gather.quality import quality_of
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.snapshot import Snapshot, read_snapshot, table_versions
from truthloop.page.gather.sql import comparison_query
from truthloop.page.gather.verdict import verdict_of
from truthloop.page.gather.versions import compared, newest_pair, versions_of
from truthloop.page.panels.model import FlowPanel, RoleFlow
from truthloop.page.panels.view import EVERY, Freshness, Loop, Offer, Selection, View

__all__ = ["Gatherer"]

PATIENCE_S = 4.0
"""A page goes without what takes longer, and says so."""

LOOK_AGAIN_MS = 2_000
"""A snapshot is not compared with the lake more often: a live lake grows every second."""

_VIEWS_MAX = 64
_ESTIMATED_MAX = 4
"""Versions that get estimates: so many lines the chart has."""


class Gatherer:
    """What the page of one loop shows.

    Args:
        settings: of the loop.
        now_ms: the present.
        roles: how far each role has come, where somebody knows; without it the lake tells.
        patience_s: how long a page waits for each thing that takes long.
    """

    def __init__(
        self,
        settings: Settings,
        now_ms: Callable[[], int],
        roles: Callable[[], Sequence[RoleFlow]] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._roles = roles
        self._later = BackgroundValues(patience_s)
        self._lock = Lock()
        self._lake: Lake | None = None
        self._read: tuple[Snapshot, Offer] | None = None
        self._looked_ms: int | None = None
        self._views: OrderedDict[tuple[tuple[int, ...], Selection], View] = OrderedDict()
        # used by the one thread of `BackgroundValues` alone
        self._memories: dict[tuple[str, str, str], Memory] = {}

    def offer(self) -> Offer:
        """Return what can be chosen now.

        Raises:
            TruthloopError: the lake cannot be read.
        """
        return self._current()[1]

    def view(self, selection: Selection) -> View:
        """Return everything that is shown for a selection of the offer.

        Raises:
            TruthloopError: the lake cannot be read, or the gate's log is broken.
        """
        snapshot, offer = self._current()
        key = (snapshot.versions, selection)
        with self._lock:
            known = self._views.get(key)
        if known is None:
            known, is_whole = self._make(snapshot, offer, selection)
            if is_whole:
                with self._lock:
                    self._views[key] = known
                    while len(self._views) > _VIEWS_MAX:
                        self._views.popitem(last=False)
        now_ms = self._now_ms()
        flow = flow_of(self._scope(snapshot, selection), self._roles() if self._roles else (), now_ms)
        return replace(known, freshness=replace(known.freshness, made_at_ms=now_ms), flow=flow)

    def close(self) -> None:
        """Make nothing more behind the page."""
        self._later.close()

    def _current(self) -> tuple[Snapshot, Offer]:
        """Return the lake's newest snapshot; one thread reads, the others wait for it."""
        with self._lock:
            now_ms = self._now_ms()
            fresh_ms = None if self._looked_ms is None else now_ms - self._looked_ms
            if self._read is not None and fresh_ms is not None and 0 <= fresh_ms < LOOK_AGAIN_MS:
                return self._read
            try:
                self._read = self._look()
            except TruthloopError:
                # whatever comes back in its place is opened anew
                self._lake = None
                raise
            self._looked_ms = now_ms
            return self._read

    def _look(self) -> tuple[Snapshot, Offer]:
        """Return what was read last if the lake has nothing new, else what it holds now."""
        if self._lake is None:
            self._lake = Lake.open(self._settings.lake)
        if self._read is not None and table_versions(self._lake) == self._read[0].versions:
            return self._read
        snapshot = read_snapshot(self._settings, self._lake, None if self._read is None else self._read[0])
        self._views.clear()
        return snapshot, self._offer_of(snapshot)

    def _offer_of(self, snapshot: Snapshot) -> Offer:
        kinds = tuple(self._settings.config.labels)
        versions: dict[str, None] = {}
        for kind in kinds:
            versions |= dict.fromkeys(self._scope(snapshot, Selection(kind)).versions)
        slices = sorted(set(snapshot.evidence.cells["slice"].unique()) - {EVERY})
        return Offer(kinds, tuple(versions), tuple(slices), offered_metrics(snapshot))

    def _scope(self, snapshot: Snapshot, selection: Selection) -> Scope:
        return Scope.of(self._settings.config, snapshot, selection)

    def _make(self, snapshot: Snapshot, offer: Offer, selection: Selection) -> tuple[View, bool]:
        """Return the view, and whether nothing of it is still being made."""
        scope = self._scope(snapshot, selection)
        estimates = self._estimates(scope)
        counts = counts_of(scope)
        verdicts = None
        if counts is not None:
            digest = (counts.height, int(counts.hash_rows(seed=1).sum()))
            key = ("shift", scope.kind.name, scope.running, digest)
            verdicts = self._later.get(key, partial(shift_of, scope, counts))
        pair = newest_pair(scope)
        comparison = None
        if pair is not None:
            query = comparison_query(scope, *pair)
            pair = pair if query else None
            work = partial(compared, self._settings, query)
            comparison = self._later.get(("compared", snapshot.versions, query), work) if query else None
        newest, expected = newest_evaluation(scope.log), expected_shares(scope)
        kinds = tuple(self._settings.config.labels)
        view = View(
            loop=Loop(self._settings.config.loop, self._settings.config.timezone, kinds, offer.versions),
            verdict=verdict_of([self._scope(snapshot, Selection(kind)) for kind in kinds]),
            freshness=Freshness(0, None if newest is None else newest.at, scope.observed_ms),
            offer=offer,
            selection=selection,
            coverage=coverage_of(scope, expected),
            maturity=maturity_of(scope, expected),
            metric=metric_of(scope, estimates),
            drift=drift_of(scope, counts, verdicts),
            quality=quality_of(scope, counts),
            gate=gate_panel(scope),
            backfills=backfills_panel(scope),
            versions=versions_of(scope, pair, comparison),
            flow=FlowPanel((), (), ()),
        )
        is_waiting = (counts is not None and verdicts is None) or (pair is not None and comparison is None)
        return view, not is_waiting and None not in estimates.values()

    def _estimates(self, scope: Scope) -> dict[str, Mapping[date, Estimate] | None]:
        """Return by version the estimates of young days; None where they are still being made."""
        if not can_estimate(scope):
            return {}
        found: dict[str, Mapping[date, Estimate] | None] = {}
        for version in scope.versions[-_ESTIMATED_MAX:]:
            if not young_days(scope, version):
                continue
            place = (scope.kind.name, version, scope.selection.slice)
            key = ("estimates", scope.snapshot.versions, place, scope.selection.days)
            found[version] = self._later.get(key, partial(self._estimate, scope, place))
        return found

    def _estimate(self, scope: Scope, place: tuple[str, str, str]) -> Mapping[date, Estimate]:
        return estimates_of(scope, place[1], self._memories.setdefault(place, Memory()))
