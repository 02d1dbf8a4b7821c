"""Adds the timeouts that the join did not have to write, so that outcomes do not depend on how inputs were cut.

Read night by night, a prediction times out at its deadline and a late label replaces the timeout. Read in one run, the
late label comes first, and the join writes no timeout. What was known at an age is the same in both: so a chain that a
label has changed gets its timeout here, once the deadline is proven. Nothing is added to what the join timed out
itself, nor to what it dropped while it was pending (`aged_out`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from monitor.cells.of_record import is_counted, of_record, with_declarations
from monitor.cells.plan import CellPlan
from schemas.base.status import Reason, Status
from schemas.events.backfill import Ruling

__all__ = ["CURSOR_SCHEMA", "Proof", "before_and_after", "is_without_timely_label", "revisions_of_record"]

CURSOR_SCHEMA = pl.Schema(
    {"partition": pl.Int32(), "kind": pl.String(), "cursor_ms": pl.Int64(), "cursor_offset": pl.Int64()}
)
"""The join's cursors: by partition and kind the last prediction, by (time, offset), whose deadline is proven."""

_BEFORE_ALL = -1
"""Revision of an added timeout: every label outranks a timeout."""

_TIMEOUTS = [Status.EXPIRED.value, Status.IMPLIED.value]
_OUTCOME = ["partition", "prediction_offset", "kind"]


@dataclass(frozen=True, eq=False)
class Proof:
    """Up to which predictions the deadlines were proven before some rows were added to the lake, and after.

    Attributes:
        before: in the columns of `CURSOR_SCHEMA`; without a row nothing is proven.
        after: the same.
    """

    before: pl.DataFrame = field(default_factory=CURSOR_SCHEMA.to_frame)
    after: pl.DataFrame = field(default_factory=CURSOR_SCHEMA.to_frame)


def revisions_of_record(
    plan: CellPlan, outcomes: pl.DataFrame, rulings: Sequence[Ruling], cursors: pl.DataFrame
) -> pl.DataFrame:
    """Return the revisions of record of some outcomes (`monitor.cells.of_record`), timeouts included.

    Args:
        plan: with definitions, horizons and implied values.
        outcomes: all revisions of these outcomes up to some step.
        rulings: about backfills, in their order.
        cursors: those after that step.
    """
    return of_record(_with_timeouts(plan, outcomes, rulings, cursors), plan.definitions, rulings)


def before_and_after(
    plan: CellPlan,
    outcomes: pl.DataFrame,
    earlier: pl.DataFrame,
    rulings: Sequence[Ruling],
    proof: Proof | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the revisions of record of some chains before new revisions and after them.

    Args:
        plan: as for `revisions_of_record`.
        outcomes: the new revisions.
        earlier: all earlier revisions of the chains in `outcomes`.
        rulings: about backfills, in their order.
        proof: up to where deadlines were proven before, and are after; None: none is.
    """
    proof = proof or Proof()
    every = pl.concat([earlier, outcomes], how="diagonal")
    before = revisions_of_record(plan, earlier, rulings, proof.before)
    return before, revisions_of_record(plan, every, rulings, proof.after)


def _with_timeouts(
    plan: CellPlan, outcomes: pl.DataFrame, rulings: Sequence[Ruling], cursors: pl.DataFrame
) -> pl.DataFrame:
    """Return all revisions of some outcomes, and the timeouts that the join did not have to write.

    A timeout is added to the chain of a kind's own definition whose deadline is proven, unless a label of record was
    known by then, which would outrank it at every later time. It is implied or expired as the config says.

    Args:
        plan: with definitions, horizons and implied values.
        outcomes: in the lake's columns, and those of `monitor.cells.of_record.BACKFILL_COLUMNS`.
        rulings: about backfills: a label that is not of record cannot prevent a timeout.
        cursors: in the columns of `CURSOR_SCHEMA`.
    """
    rows = with_declarations(outcomes)
    if cursors.is_empty() or rows.is_empty():
        return rows
    is_own = pl.col("definition") == pl.col("kind").replace_strict(plan.definitions, default=None)
    written = rows.lazy().filter(is_own, pl.col("status").is_in(_TIMEOUTS)).select(_OUTCOME)
    predicted_ms, passed_ms = pl.col("predicted_at").dt.epoch("ms"), pl.col("cursor_ms")
    is_proven = (predicted_ms < passed_ms) | (
        (predicted_ms == passed_ms) & (pl.col("prediction_offset") <= pl.col("cursor_offset"))
    )
    added = (
        rows.lazy()
        .filter(is_own, is_without_timely_label(plan, rulings))
        .join(cursors.lazy(), on=["partition", "kind"])
        .filter(is_proven)
        .unique(_OUTCOME)
        .join(written, on=_OUTCOME, how="anti")
        .with_columns(_timeout(plan))
        .select(rows.columns)
    )
    return pl.concat([rows.lazy(), added]).collect()


def is_without_timely_label(plan: CellPlan, rulings: Sequence[Ruling]) -> pl.Expr:
    """Return whether a revision was made by a label that was known after the deadline, or is not of record."""
    is_late = pl.col("known_at") > _deadline(plan)
    return pl.col("label_offset").is_not_null() & (is_late | ~is_counted(rulings))


def _timeout(plan: CellPlan) -> list[pl.Expr]:
    """Return the columns in which a timeout differs from a label's revision."""
    kind = pl.col("kind")
    implied = {one.name: one.implied for one in plan.kinds}
    implies = pl.col("eligible") & kind.is_in([name for name, value in implied.items() if value is not None])
    numbers = {name: value for name, value in implied.items() if isinstance(value, float)}
    classes = {name: value for name, value in implied.items() if isinstance(value, str)}
    return [
        pl.when(implies).then(pl.lit(Status.IMPLIED.value)).otherwise(pl.lit(Status.EXPIRED.value)).alias("status"),
        pl.lit(Reason.TIMEOUT.value).alias("reason"),
        pl.when(implies).then(kind.replace_strict(numbers, default=None, return_dtype=pl.Float64)).alias("value"),
        pl.when(implies).then(kind.replace_strict(classes, default=None, return_dtype=pl.String)).alias("value_class"),
        _deadline(plan).alias("known_at"),
        pl.lit(_BEFORE_ALL, dtype=pl.Int64).alias("revision"),
        *(pl.lit(None).alias(name) for name in ("label_offset", "is_declared", "batch_id")),
    ]


def _deadline(plan: CellPlan) -> pl.Expr:
    horizon_ms = {kind.name: kind.horizon_ms for kind in plan.kinds}
    after = pl.col("kind").replace_strict(horizon_ms, default=None, return_dtype=pl.Int64)
    return pl.col("predicted_at") + pl.duration(milliseconds=after)
