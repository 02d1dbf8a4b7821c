"""Selects the rows of a data set: which predictions are in it, in which part, and why others are left out."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import duckdb

from lake.failure import lake_error
from lake.session import connect
from lake.store import Lake
from lake.view import quote_text
from schemas.config.loop import LoopConfig
from schemas.events.dataset_rows import BackfillRows, DatasetRows

__all__ = ["PARTS", "DatasetOrder", "count_rows", "counts_of", "select", "split_ms"]

PARTS = ("train", "holdout")
MEMORY = "1GB"
"""What a selection keeps in memory; the rest goes to disk."""

ROWS_PER_PART = 1_000_000
"""Predictions whose labels are looked up together: the memory of that does not go to disk. Each part reads the labels
that its predictions may have met, which are those of twice the greatest `retain`."""

HOUR_MS = 3_600_000

_AS_WRITTEN = "build_side_probe_side"
"""DuckDB's optimizer that chooses which side of a join is kept in memory. It takes the labels of months for fewer than
the predictions of a part, and puts them on the disk; without it, it is the right side as the views are written."""

_TEMPLATE = Path(__file__).with_name("dataset.sql.template")
_HOURS = """
SELECT epoch_ms(predicted_at) // 3600000 AS of_hour, count(*) FROM truthloop_expected
WHERE predicted_at <= to_timestamp(? / 1000.0) AND kind = ? GROUP BY of_hour ORDER BY of_hour
"""
_PART = "INSERT INTO truthloop_scored_then FROM truthloop_then({since_ms}, {until_ms});\n"
# as if a person approved an episode at a time
_APPROVE = """
INSERT INTO truthloop_ruled
SELECT * REPLACE (
  'approved' AS verdict, true AS of_record, to_timestamp(? / 1000.0) AS evidence_at,
  (SELECT max(number) + 1 FROM truthloop_ruled) AS number
)
FROM truthloop_ruled WHERE kind = ? AND episode = ? QUALIFY row_number() OVER (ORDER BY number DESC) = 1
"""


@dataclass(frozen=True)
class DatasetOrder:
    """Specification of a data set.

    Attributes:
        name: name of its folder; the id of the decision that it belongs to.
        kind: label kind whose values are the target.
        as_of_ms: it contains only what was known by this time.
        at_age_ms: least age of its predictions at that time; None: their outcome is final.
        holdout_ms: length of the newest part of the predictions, which is written to `holdout`.
    """

    name: str
    kind: str
    as_of_ms: int
    at_age_ms: int | None
    holdout_ms: int


def count_rows(lake: Lake, config: LoopConfig, order: DatasetOrder, approving: str | None = None) -> DatasetRows:
    """Count the rows that a data set would have, and write nothing.

    Args:
        approving: id of a backfill that counts as approved at `order.as_of_ms`; None: only what was ruled by then.

    Raises:
        LakeError: the lake cannot be read.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="truthloop-count-") as spill, connect(lake.path) as session:
            if approving is not None:
                session.execute(_APPROVE, [order.as_of_ms, order.kind, approving])
            select(session, config, order, Path(spill))
            return counts_of(session)
    except duckdb.Error as error:
        hint = "Read it again; if that fails, too, check the lake's files."
        raise lake_error("the rows of a data set could not be counted", error, lake.path, hint) from error


def split_ms(config: LoopConfig, order: DatasetOrder) -> int:
    """Return the least time of a prediction of the holdout."""
    return _newest_ms(config, order) - order.holdout_ms


def _newest_ms(config: LoopConfig, order: DatasetOrder) -> int:
    """Return the greatest time of a prediction that is old enough."""
    age_ms = config.labels[order.kind].horizon if order.at_age_ms is None else order.at_age_ms
    return order.as_of_ms - age_ms


def select(session: duckdb.DuckDBPyConnection, config: LoopConfig, order: DatasetOrder, spill: Path) -> None:
    """Make the tables `truthloop_old_enough`, `truthloop_target` and `truthloop_backfilled`.

    Args:
        spill: folder for what does not fit in `MEMORY`; it is made if need be.
    """
    session.execute("SET memory_limit = " + quote_text(MEMORY))
    session.execute("SET temp_directory = " + quote_text(str(spill)))
    session.execute("SET disabled_optimizers = " + quote_text(_AS_WRITTEN))
    parts = _parts(session.execute(_HOURS, [_newest_ms(config, order), order.kind]).fetchall())
    session.execute(
        Template(_TEMPLATE.read_text("utf-8")).substitute(
            split_ms=split_ms(config, order),
            parts="".join(_PART.format(since_ms=since_ms, until_ms=until_ms) for since_ms, until_ms in parts),
            as_of_ms=order.as_of_ms,
            kind=quote_text(order.kind),
            at_age_ms=-1 if order.at_age_ms is None else order.at_age_ms,
        )
    )


def _parts(hours: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the bounds of parts in milliseconds, from pairs of an hour since 1970 and its rows, in order."""
    parts: list[tuple[int, int]] = []
    rows = 0
    for hour, count in hours:
        bounds = (hour * HOUR_MS, (hour + 1) * HOUR_MS)
        if parts and rows + count <= ROWS_PER_PART:
            parts[-1] = (parts[-1][0], bounds[1])
            rows += count
        else:
            parts.append(bounds)
            rows = count
    return parts


def counts_of(session: duckdb.DuckDBPyConnection) -> DatasetRows:
    """Count what was selected."""
    places = session.execute(
        "SELECT place, count(*), count(*) FILTER (in_holdout) FROM truthloop_old_enough GROUP BY place ORDER BY place"
    ).fetchall()
    by_backfill: dict[str, dict[str, int]] = {}
    for episode, place, count in session.execute("FROM truthloop_backfilled ORDER BY episode, place").fetchall():
        by_backfill.setdefault(episode, {})[place] = count
    return DatasetRows(
        **_by_part({place: count for place, count, _ in places}),
        holdout_left_out={place: late for place, _, late in places if place not in PARTS and late},
        backfills=[BackfillRows(episode=episode, **_by_part(counts)) for episode, counts in by_backfill.items()],
    )


def _by_part(counts: Mapping[str, int]) -> dict[str, Any]:
    left_out = {place: count for place, count in counts.items() if place not in PARTS}
    return {"rows": counts.get("train", 0), "holdout_rows": counts.get("holdout", 0), "left_out": left_out}
