"""The diffs of a loop's backfills, stored in the lake exactly as a person reads them before a ruling."""

import polars as pl

from lake import Claim, Lake, append_records
from schemas.events.backfill_diff import BackfillDiff

__all__ = ["DiffLog"]

TABLE = "diffs"


class DiffLog:
    """The diffs of all label kinds."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def add(self, diff: BackfillDiff, recorded_at_ms: int) -> bool:
        """Store a diff; return False if another process has written meanwhile, so that the log must be read again.

        Raises:
            LakeError: the disk does not take it.
        """
        kind = diff.episode.kind
        app = f"{TABLE}:{kind}"
        number = self._lake.applied(TABLE, app)
        row = {"number": number, "kind": kind, "episode": diff.episode.id, "sha256": diff.sha256()}
        row["document"] = diff.document().decode()
        return append_records(self._lake, TABLE, [row], Claim(app, number, number + 1), recorded_at_ms)

    def find(self, episode: str, sha256: str) -> BackfillDiff | None:
        """Return the diff of an episode with this digest; None if there is none."""
        return self._newest(episode, pl.col("sha256") == sha256)

    def newest(self, episode: str) -> BackfillDiff | None:
        """Return the newest diff of an episode; None if there is none."""
        return self._newest(episode)

    def _newest(self, episode: str, *conditions: pl.Expr) -> BackfillDiff | None:
        own = self._lake.scan(TABLE, {"episode": (episode, episode)})
        rows = own.filter(*conditions).select("number", "document").collect()
        if rows.is_empty():
            return None
        return BackfillDiff.model_validate_json(rows.sort("number")["document"][-1])
