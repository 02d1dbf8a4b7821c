"""The panel of the data flow: progress of the roles, sources of labels, and rejects."""

from collections.abc import Iterator, Mapping, Sequence

from truthloop.evidence.source_states import SourcesNow
from truthloop.page.gather.gate import newest_evaluation
from truthloop.page.gather.scope import Scope
from truthloop.page.gather.sql import flow_query
from truthloop.page.panels.model import FlowPanel, RejectCount, RoleFlow, SourceState

__all__ = ["flow_panel"]

_MINUTE_MS = 60_000


def flow_panel(scope: Scope, roles: Sequence[RoleFlow], sources: Mapping[str, SourcesNow]) -> FlowPanel:
    """Return the panel.

    Args:
        roles: progress known from Kafka; if empty, the lake's is shown.
        sources: by kind, the sources of labels as they are now.
    """
    states = [state for kind, now in sources.items() for state in _states(kind, now)]
    rejects = scope.snapshot.rejects.select("input", "reason", "amount", "last_ms").iter_rows()
    note = "" if roles else "From the lake alone: records that wait in Kafka are not included."
    return FlowPanel(
        tuple(roles) or tuple(_roles(scope)),
        tuple(RejectCount(*row) for row in rejects),
        tuple(states),
        flow_query(scope),
        note,
    )


def _states(kind: str, now: SourcesNow) -> Iterator[SourceState]:
    for found in now.watches:
        liveness = found.liveness
        usual_ms = None if liveness.allowed_ms is None else -(-liveness.allowed_ms // _MINUTE_MS) * _MINUTE_MS
        last_ms = None if liveness.silent_ms is None else now.at_ms - liveness.silent_ms
        state = "silent" if found.source in now.silent else liveness.state
        yield SourceState(found.source, kind, state, last_ms, usual_ms)


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
