"""Labels that tell the past anew by their own words: of another definition, or declared as a backfill.

Read once each, and kept: there are few. Must not judge.
"""

from collections.abc import Mapping

import polars as pl

from lake import Lake

__all__ = ["LabelLog"]

_REFUSED_AT_ONCE = ("future", "duplicate", "stale")
"""Of the join's rejections those that are made when a label is read. Labels that leave later, because no prediction
came, stay: else what is found would depend on when it was looked for."""

_COLUMNS = ("known_at", "definition", "is_declared", "batch_id", "partition", "offset")


class LabelLog:
    """Follows the labels of one kind.

    Args:
        lake: read from.
        kind: label kind.
        definition: the config's own.
    """

    def __init__(self, lake: Lake, kind: str, definition: str) -> None:
        self._lake = lake
        self._is_told = (pl.col("kind") == kind) & (pl.col("op") != "heartbeat")
        self._is_told &= (pl.col("definition") != definition) | (pl.col("origin") == "backfill")
        self._following: dict[int, int] = {}
        self._known: list[pl.DataFrame] = []

    def read(self, steps: Mapping[int, int]) -> pl.DataFrame:
        """Return all of them, as far as steps of the ledger reach: `open_episodes` wants them so.

        Args:
            steps: by partition, how many of its first steps are looked at.
        """
        following = self._ends_of(steps)
        if any(following.get(number, 0) < end for number, end in self._following.items()):  # the lake was put back
            self._following, self._known = {}, []
        new = {n: (self._following.get(n, 0), end) for n, end in following.items() if end > self._following.get(n, 0)}
        if new or not self._known:
            self._known.append(self._between(new))
            self._following |= {number: end for number, (_, end) in new.items()}
        return pl.concat(self._known)

    def _ends_of(self, steps: Mapping[int, int]) -> dict[int, int]:
        """Return where the labels of these steps end, by partition."""
        last = {number: count - 1 for number, count in steps.items() if count}
        if not last:
            return {}
        schema = {"partition": pl.Int32, "sequence": pl.Int64}
        place = pl.LazyFrame({"partition": list(last), "sequence": list(last.values())}, schema=schema)
        rows = (
            self._lake.scan("ledger", {"sequence": (min(last.values()), max(last.values()))})
            .select("partition", "sequence", "labels_next")
            .join(place, on=["partition", "sequence"], how="semi")
            .select("partition", "labels_next")
            .collect()
        )
        return dict(rows.iter_rows())

    def _between(self, bounds: Mapping[int, tuple[int, int]]) -> pl.DataFrame:
        place = {"partition": list(bounds), "first": [one for one, _ in bounds.values()]}
        place["end"] = [end for _, end in bounds.values()]
        schema = {"partition": pl.Int32, "first": pl.Int64, "end": pl.Int64}
        least, greatest = min(place["first"], default=0), max(place["end"], default=0)
        around = {"offset": (least, greatest)}
        refused = self._lake.scan("rejects", around).filter(
            pl.col("input") == "labels", pl.col("stage") == "join", pl.col("reason").is_in(_REFUSED_AT_ONCE)
        )
        return (
            self._lake.scan("labels", around)
            .filter(self._is_told)
            .with_columns(is_declared=pl.col("origin") == "backfill")
            .select(_COLUMNS)
            .join(pl.LazyFrame(place, schema=schema), on="partition")
            .filter(pl.col("offset") >= pl.col("first"), pl.col("offset") < pl.col("end"))
            .join(refused.select("partition", "offset"), on=["partition", "offset"], how="anti")
            .select(_COLUMNS)
            .collect()
        )
