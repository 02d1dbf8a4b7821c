"""Reads up to which predictions the join has proven that deadlines passed, and the outcomes that this changes."""

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from lake import Lake
from monitor.cells.plan import CellPlan
from monitor.cells.timeouts import CURSOR_SCHEMA, Proof, is_without_timely_label
from schemas.events.backfill import Ruling
from streams.ledger.table import rows_of
from truthloop.evidence.outcomes import OUTCOME, with_backfill_columns

__all__ = ["newly_proven", "read_cursors"]

_COLUMNS = (
    *("partition", "prediction_offset", "kind", "definition", "predicted_at", "known_at"),
    *("label_offset", "reason", "sequence"),
)


_NEVER_MS = -62_135_596_800_000
"""1 January of the year 1: no prediction is older."""


def read_cursors(lake: Lake, steps: Mapping[int, int]) -> pl.DataFrame:
    """Return the join's cursors as they stood after some steps, in the columns of `CURSOR_SCHEMA`.

    Args:
        lake: whose ledger has a row that ends with the last of these steps.
        steps: by partition, the number of its first steps.
    """
    last = {number: count - 1 for number, count in steps.items() if count}
    rows = rows_of(lake, last).select("partition", "cursors")
    found = [
        (number, kind, time_ms, offset)
        for number, text in rows.iter_rows()
        for kind, (time_ms, offset) in msgspec.json.decode(text, type=dict[str, tuple[int, int]]).items()
    ]
    return pl.DataFrame(found, schema=CURSOR_SCHEMA, orient="row")


def newly_proven(
    lake: Lake, plan: CellPlan, rulings: Sequence[Ruling], proof: Proof, firsts: Mapping[int, int]
) -> pl.DataFrame:
    """Return partition, prediction_offset and kind of outcomes whose timeout was proven by some steps.

    Only outcomes without a label in time are returned, which had a label before these steps. Where a longer horizon
    moved a cursor back, the timeouts between are no longer proven; these outcomes are returned, too.

    Args:
        plan: with the horizons.
        rulings: those that the cells follow.
        proof: the cursors before these steps and after them.
        firsts: by partition, the first of these steps.
    """
    key = ["partition", "kind"]
    before = proof.before.filter(pl.col("partition").is_in(list(firsts)))
    after = proof.after.filter(pl.col("partition").is_in(list(firsts)))
    moved = (
        after.join(before, on=key, how="left", suffix="_before")
        .with_columns(pl.col("cursor_ms_before").fill_null(_NEVER_MS))
        .filter(pl.col("cursor_ms") != pl.col("cursor_ms_before"))
        .select(
            *key,
            least=_instant(pl.min_horizontal("cursor_ms", "cursor_ms_before")),
            greatest=_instant(pl.max_horizontal("cursor_ms", "cursor_ms_before")),
        )
    )
    if moved.is_empty():
        return pl.DataFrame(schema={name: lake.schema("outcomes")[name] for name in OUTCOME})
    first = pl.LazyFrame(
        {"partition": list(firsts), "first": list(firsts.values())}, {"partition": pl.Int32, "first": pl.Int64}
    )
    first_made, last_made = moved.select(pl.col("least").min(), pl.col("greatest").max()).row(0)
    rows = (
        lake.scan("outcomes", {"predicted_at": (first_made, last_made)})
        .select(_COLUMNS)
        .filter(pl.col("label_offset").is_not_null())
        .join(moved.lazy(), on=key)
        .join(first, on="partition")
        .filter(pl.col("predicted_at").is_between("least", "greatest"), pl.col("sequence") < pl.col("first"))
        .collect()
    )
    return with_backfill_columns(lake, rows).filter(is_without_timely_label(plan, rulings)).select(OUTCOME).unique()


def _instant(ms: pl.Expr) -> pl.Expr:
    return pl.from_epoch(ms, "ms").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
