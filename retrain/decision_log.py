"""The append-only log of the gate, in the lake: read whole, written by compare-and-set.

Two processes that would decide at the same time cannot both: an entry has a number, and the lake takes each number
once. Must not decide.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl

from lake import Claim, Lake, append_records
from schemas.events.evidence import Decision

__all__ = ["DecisionLog"]

TABLE = "decisions"


class DecisionLog:
    """The log of one label kind; what was read of it is remembered, because it only grows.

    Args:
        lake: of the loop.
        kind: label kind.
    """

    def __init__(self, lake: Lake, kind: str) -> None:
        self._lake = lake
        self._kind = kind
        self._app = f"{TABLE}:{kind}"
        self._known: list[Decision] = []

    def entries(self) -> list[Decision]:
        """Return every entry, in order."""
        following = self._lake.applied(TABLE, self._app)
        if following < len(self._known):  # the lake was put back
            self._known = []
        if following > len(self._known):
            new = {"number": (len(self._known), following - 1)}
            rows = self._lake.scan(TABLE, new).filter(pl.col("kind") == self._kind).sort("number")
            documents = rows.select("document").collect()["document"]
            self._known = [*self._known, *map(Decision.model_validate_json, documents)]
        return [*self._known]

    def append(self, entries: Sequence[Decision], recorded_at_ms: int) -> bool:
        """Write entries behind the log's end.

        Args:
            entries: numbered from the log's end, without gaps.
            recorded_at_ms: of the wall clock; for people, nothing depends on it.

        Returns:
            False if somebody else wrote one of the numbers first: read again, and decide again.

        Raises:
            LakeError: the disk does not take them.
        """
        if not entries:
            return True
        first, following = entries[0].number, entries[-1].number + 1
        claim = Claim(self._app, first, following)
        return append_records(self._lake, TABLE, [_row(entry) for entry in entries], claim, recorded_at_ms)


def _row(entry: Decision) -> dict[str, object]:
    return {
        "number": entry.number,
        "kind": entry.kind,
        "evidence_at": datetime.fromtimestamp(entry.at / 1000, UTC),
        "event": entry.event.value,
        "state": entry.state.value,
        "decision": entry.decision,
        "reason": entry.reason,
        "version": entry.version,
        "document": entry.model_dump_json(),
    }
