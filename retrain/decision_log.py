"""The append-only log of the gate, in the lake: read whole, written by compare-and-set.

Two processes that would decide at the same time cannot both: an entry has a number, and the lake takes each number
once. Must not decide.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl

from lake import Claim, Lake
from schemas.errors import LakeConflict
from schemas.evidence import Decision

__all__ = ["DecisionLog"]

TABLE = "decisions"


class DecisionLog:
    """The log of one label kind.

    Args:
        lake: of the loop.
        kind: label kind.
    """

    def __init__(self, lake: Lake, kind: str) -> None:
        self._lake = lake
        self._kind = kind
        self._app = f"{TABLE}:{kind}"

    def entries(self) -> list[Decision]:
        """Return every entry, in order."""
        rows = self._lake.scan(TABLE).filter(pl.col("kind") == self._kind).sort("number").select("document").collect()
        return [Decision.model_validate_json(text) for text in rows["document"]]

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
        rows = pl.DataFrame(
            [_row(entry) for entry in entries],
            schema={
                name: dtype for name, dtype in self._lake.schema(TABLE).items() if not name.startswith("recorded_")
            },
            orient="row",
        )
        if self._lake.applied(TABLE, self._app) != first:
            return False
        try:
            return self._lake.append(
                TABLE,
                rows,
                [Claim(self._app, first, following)],
                recorded_at=datetime.fromtimestamp(recorded_at_ms / 1000, UTC),
            )
        except LakeConflict:
            return False


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
