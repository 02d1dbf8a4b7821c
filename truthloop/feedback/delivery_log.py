"""The log of delivery attempts, in the lake."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime

import polars as pl

from lake import Claim, Lake, append_records
from retrain.schedule import Attempt

__all__ = ["LakeDeliveryLog"]

TABLE = "deliveries"


class LakeDeliveryLog:
    """The attempts of a loop's decisions; read from the lake again only after a change.

    Args:
        now_ms: the wall clock, used for the time of recording only.
    """

    def __init__(self, lake: Lake, now_ms: Callable[[], int]) -> None:
        self._lake = lake
        self._now_ms = now_ms
        self._known: tuple[tuple[int, frozenset[str]], list[Attempt]] | None = None

    def attempts(self, decisions: Collection[str]) -> list[Attempt]:
        """Return the attempts of some decisions, in order."""
        wanted = self._lake.version(TABLE), frozenset(decisions)
        if self._known is None or self._known[0] != wanted:
            self._known = wanted, self._read(wanted[1])
        return [*self._known[1]]

    def append(self, attempt: Attempt, expected_number: int) -> bool:
        """Append an attempt if `expected_number` is its decision's next; return False if another sender was first."""
        row = {
            "number": self._lake.version(TABLE),
            "decision": attempt.decision,
            "attempt": attempt.number,
            "attempted_at": datetime.fromtimestamp(attempt.at_ms / 1000, UTC),
            "outcome": attempt.outcome,
            "http_status": attempt.status,
            "retry_after_ms": attempt.retry_after_ms,
            "detail": attempt.detail,
        }
        claim = Claim(f"{TABLE}:{attempt.decision}", expected_number - 1, expected_number)
        return append_records(self._lake, TABLE, [row], claim, self._now_ms())

    def _read(self, decisions: frozenset[str]) -> list[Attempt]:
        if not decisions:
            return []
        within = {"decision": (min(decisions), max(decisions))}
        is_wanted = pl.col("decision").is_in(sorted(decisions))
        rows = self._lake.scan(TABLE, within).filter(is_wanted).sort("number").collect()
        return [
            Attempt(
                decision=row["decision"],
                number=row["attempt"],
                at_ms=round(row["attempted_at"].timestamp() * 1000),
                outcome=row["outcome"],
                status=row["http_status"],
                retry_after_ms=row["retry_after_ms"],
                detail=row["detail"] or "",
            )
            for row in rows.iter_rows(named=True)
        ]
