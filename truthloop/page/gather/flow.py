"""The panel of the data flow: progress of the roles, sources of labels, and rejects."""

from collections.abc import Sequence

from monitor.coverage.liveness import source_liveness
from truthloop.page.gather.gate import newest_evaluation
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import flow_query
from truthloop.page.panels.model import FlowPanel, RejectCount, RoleFlow, SourceState

__all__ = ["flow_panel"]

_MINUTE_MS = 60_000


def flow_panel(scope: Scope, roles: Sequence[RoleFlow], now_ms: int) -> FlowPanel:
    """Return the panel.

    Args:
        roles: progress known from Kafka; if empty, the lake's is shown.
        now_ms: wall clock; with `clock: event` the time up to which predictions were read is used instead.
    """
    at_ms = scope.snapshot.progress.read_until_ms if scope.config.clock == "event" else now_ms
    names = [(kind, source) for kind, by_source in scope.snapshot.arrivals.items() for source in by_source]
    sources = [_source(scope, kind, source, at_ms) for kind, source in names]
    rejects = scope.snapshot.rejects.select("input", "reason", "amount", "last_ms").iter_rows()
    note = "" if roles else "From the lake alone: records that wait in Kafka are not included."
    return FlowPanel(
        tuple(roles) or tuple(_roles(scope)),
        tuple(RejectCount(*row) for row in rejects),
        tuple(sources),
        flow_query(scope),
        note,
    )


def _source(scope: Scope, kind: str, source: str, at_ms: int | None) -> SourceState:
    arrivals = scope.snapshot.arrivals[kind][source]
    minutes, beats = arrivals.minutes, arrivals.heartbeats_ms
    last_ms = max([*([int(minutes[-1]) * _MINUTE_MS] if len(minutes) else []), *beats], default=None)
    now_ms = max(time_ms for time_ms in (at_ms, last_ms, 0) if time_ms is not None)
    found = source_liveness(minutes, now_ms, scope.config.timezone, max(beats, default=None))
    usual_ms = None if found.allowed_ms is None else -(-found.allowed_ms // _MINUTE_MS) * _MINUTE_MS
    return SourceState(source, kind, found.state, last_ms, usual_ms)


def _roles(scope: Scope) -> list[RoleFlow]:
    progress = scope.snapshot.progress
    if not progress.partitions:
        return []
    evaluated = newest_evaluation(scope.log)
    position = f"{progress.partitions} of {scope.config.partitions} partitions, {progress.steps:,} steps"
    feedback = "nothing evaluated yet" if evaluated is None else f"{len(scope.log):,} entries of the gate's log"
    return [
        RoleFlow("lake", "unknown", None, position, progress.read_until_ms),
        RoleFlow("feedback", "unknown", None, feedback, None if evaluated is None else evaluated.at),
    ]
