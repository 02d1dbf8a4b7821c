"""History of retrains, read from a gate's log: when each was decided, why, and its state. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from retrain.gate import gate_of
from schemas.events.evidence import Decision, Event, GateState

__all__ = ["Retrain", "approved_before", "retrains_of"]

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
        is_overdue: there has been no answer for too long.
        reason: why it was decided.
        version: model version that was running then.
        following_version: version whose predictions ended it; None if it ended otherwise.
        ended_ms: evidence time of its end; None while it is open.
        rows: training rows of the data set; None until it is written.
        holdout_rows: its holdout rows; None until it is written, and if a version that did not count them wrote it.
        dataset: URI of the data set; None until it is written.
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
    holdout_rows: int | None
    dataset: str | None

    def document(self) -> dict[str, object]:
        """Return it as a JSON document."""
        return asdict(self)


_NOTES = frozenset({Event.JUDGED, Event.REFUSED})
"""Events that name a retrain, even one that has ended, and never change its state."""


def retrains_of(entries: Iterable[Decision]) -> list[Retrain]:
    """Return the retrains of a log, in order."""
    by_id: dict[str, list[Decision]] = {}
    for entry in entries:
        if entry.decision is not None and entry.event not in _NOTES:
            by_id.setdefault(entry.decision, []).append(entry)
    return [_retrain(mine) for mine in by_id.values()]


def approved_before(entries: Sequence[Decision], decision: str) -> tuple[str, ...]:
    """Return the ids of the backfills that were approved between the retrain before and this one.

    Args:
        entries: the whole log.
        decision: id of a retrain in it.
    """
    begun = next(entry for entry in entries if entry.decision == decision)
    return gate_of(entries[: begun.number]).approved


def _retrain(entries: list[Decision]) -> Retrain:
    first, last = entries[0], entries[-1]
    is_open = last.state is not GateState.COOLING
    written = next((entry.detail for entry in entries if entry.event is Event.PREPARED), {})
    rows, holdout_rows, dataset = (written.get(name) for name in ("rows", "holdout_rows", "dataset"))
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
        holdout_rows=None if holdout_rows is None else int(holdout_rows),
        dataset=None if dataset is None else str(dataset),
    )
