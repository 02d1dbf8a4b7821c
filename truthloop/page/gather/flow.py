"""The panel of what comes in: how far the roles have come, sources of labels, and records that were turned away.

Must not ask Kafka: who can hands in what it says.
"""

from collections.abc import Sequence

from monitor.coverage.liveness import source_liveness
from truthloop.page.gather.gate import newest_evaluation
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import flow_query
from truthloop.page.panels.model import FlowPanel, RejectCount, RoleFlow, SourceState

__all__ = ["flow_of"]

_MINUTE_MS = 60_000


def flow_of(scope: Scope, roles: Sequence[RoleFlow], now_ms: int) -> FlowPanel:
    """Return the panel.

    Args:
        scope: what is chosen.
        roles: what is known from elsewhere; without any the lake tells how far it has come.
        now_ms: the present; where labels are known at their own time, it is the time that predictions have reached.
    """
    at_ms = scope.snapshot.standing.read_until_ms if scope.config.clock == "event" else now_ms
    places = [(kind, source) for kind, by_source in scope.snapshot.arrivals.items() for source in by_source]
    sources = [_source(scope, place, at_ms) for place in places]
    rejects = scope.snapshot.rejects.select("input", "reason", "amount", "last_ms").iter_rows()
    note = "" if roles else "Told by the lake alone: what waits in Kafka is not in it."
    return FlowPanel(
        tuple(roles) or tuple(_roles(scope)),
        tuple(RejectCount(*row) for row in rejects),
        tuple(sources),
        flow_query(scope),
        note,
    )


def _source(scope: Scope, place: tuple[str, str], at_ms: int | None) -> SourceState:
    kind, source = place
    arrivals = scope.snapshot.arrivals[kind][source]
    minutes, beats = arrivals.minutes, arrivals.heartbeats_ms
    last_ms = max([*([int(minutes[-1]) * _MINUTE_MS] if len(minutes) else []), *beats], default=None)
    now_ms = max(one for one in (at_ms, last_ms, 0) if one is not None)
    found = source_liveness(minutes, now_ms, scope.config.timezone, max(beats, default=None))
    usual_ms = None if found.allowed_ms is None else -(-found.allowed_ms // _MINUTE_MS) * _MINUTE_MS
    return SourceState(source, kind, found.state, last_ms, usual_ms)


def _roles(scope: Scope) -> list[RoleFlow]:
    standing = scope.snapshot.standing
    if not standing.partitions:
        return []
    evaluated = newest_evaluation(scope.log)
    position = f"{standing.partitions} of {scope.config.partitions} partitions, {standing.steps:,} steps"
    feedback = "nothing evaluated yet" if evaluated is None else f"{len(scope.log):,} entries of the gate's log"
    return [
        RoleFlow("lake", "unknown", None, position, standing.read_until_ms),
        RoleFlow("feedback", "unknown", None, feedback, None if evaluated is None else evaluated.at),
    ]
