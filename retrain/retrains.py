"""The retrains of a log, one by one: when each was decided, why, and how far it has come. Pure."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from schemas.events.evidence import Decision, Event, GateState

__all__ = ["Retrain", "retrains_of"]

_ENDS = {
    Event.DEPLOYED: "deployed",
    Event.SUCCEEDED: "succeeded",
    Event.FAILED: "failed",
    Event.UNDELIVERABLE: "undeliverable",
    Event.RESOLVED: "resolved",
}


@dataclass(frozen=True)
class Retrain:
    """One retrain.

    Attributes:
        id: of the decision.
        kind: label kind.
        decided_ms: evidence time of the decision.
        state: `preparing`, `requested`, `running`, or how it ended.
        is_open: whether it has not ended.
        is_overdue: nobody has answered for too long.
        reason: why it was decided.
        version: the version that ran then.
        following_version: the version that ended it by its predictions; None otherwise.
        ended_ms: evidence time of its end; None while it is open.
        rows: of the data set; None until it is written.
        dataset: where the data set is; None until it is written.
    """

    id: str
    kind: str
    decided_ms: int
    state: str
    is_open: bool
    is_overdue: bool
    reason: str
    version: str | None
    following_version: str | None
    ended_ms: int | None
    rows: int | None
    dataset: str | None

    def document(self) -> dict[str, object]:
        """Return it as a JSON document."""
        return asdict(self)


_BESIDE = frozenset({Event.JUDGED, Event.REFUSED})
"""What is said of a retrain and moves it nowhere, even when it has ended."""


def retrains_of(entries: Iterable[Decision]) -> list[Retrain]:
    """Return the retrains of a log, in order."""
    by_id: dict[str, list[Decision]] = {}
    for entry in entries:
        if entry.decision is not None and entry.event not in _BESIDE:
            by_id.setdefault(entry.decision, []).append(entry)
    return [_retrain(mine) for mine in by_id.values()]


def _retrain(entries: list[Decision]) -> Retrain:
    first, last = entries[0], entries[-1]
    is_open = last.state is not GateState.COOLING
    written = next((entry.detail for entry in entries if entry.event is Event.PREPARED), {})
    rows, dataset = written.get("rows"), written.get("dataset")
    return Retrain(
        id=first.decision or "",
        kind=first.kind,
        decided_ms=first.at,
        state=last.state.value if is_open else _ENDS[last.event],
        is_open=is_open,
        is_overdue=is_open and any(entry.event is Event.OVERDUE for entry in entries),
        reason=first.reason,
        version=first.version,
        following_version=last.version if last.event is Event.DEPLOYED else None,
        ended_ms=None if is_open else last.at,
        rows=None if rows is None else int(rows),
        dataset=None if dataset is None else str(dataset),
    )
