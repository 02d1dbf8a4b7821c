"""The chains of revisions behind outcomes: what each one says now, and what it said before a fold.

This module must not count, and never trusts what an outcome says about the revision before it.
"""

from collections.abc import Iterable

import polars as pl

from monitor.cells.of_record import RANK
from monitor.cells.plan import CellPlan
from schemas.base.status import Status

__all__ = ["FINAL", "LABELLED", "restated_states", "revised_column", "states_of"]

LABELLED = pl.col("status").is_in([Status.JOINED.value, Status.IMPLIED.value])
FINAL = "final"

_CHAIN = ["partition", "prediction_offset", "kind", "definition"]
"""Of one prediction by its position: an id may be used again, and then names another one."""
_SCHEMA: dict[str, pl.DataType] = {
    "partition": pl.Int32(),
    "prediction_offset": pl.Int64(),
    **{name: pl.String() for name in ("kind", "definition", "version", "status")},
    "value": pl.Float64(),
    "value_class": pl.String(),
    "output": pl.Float64(),
    "output_class": pl.String(),
    "predicted_at": pl.Datetime("us", "UTC"),
    "known_at": pl.Datetime("us", "UTC"),
    "revision": pl.Int64(),
    RANK: pl.Int64(),
}


def revised_column(age: int | str) -> str:
    """Return the column of `states_of` that counts revisions after this age (in ms), or after the horizon."""
    return f"revised_{age}"


def states_of(plan: CellPlan, outcomes: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Return what the outcomes of eligible predictions say now, and what is taken back for it.

    Args:
        plan: whose slices are kept, and whose kinds know when an outcome is final.
        outcomes: new revisions, in the lake's columns, of record (`monitor.cells.of_record`). A greater rank is newer.
        earlier: all earlier revisions of the same chains, by the same rulings.

    Returns:
        Of each chain the newest of all revisions with `sign` 1, and the newest of the earlier ones, if there
        is one, with `sign` -1; with the lake's columns that counting needs, and

        - `first_known_at`: when a label was first known since the last retraction; null where there is none.
        - `revised_final`: how often what the metrics see (no label, or its value) changed after the horizon.
        - `revised_AGE`, for each of the plan's `evaluate_at_ms`: how often a label that was known by that age
          changed, or was retracted, after it.
    """
    known = _project(earlier, plan)
    return _signed(plan, pl.concat([known, _project(outcomes, plan)]), known)


def restated_states(plan: CellPlan, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Return what chains say by other rulings, with `sign` 1, and what they said before, with `sign` -1.

    Args:
        plan: as for `states_of`.
        before: all revisions of some chains, of record before.
        after: those of record now.
    """
    return _signed(plan, _project(after, plan), _project(before, plan))


def _signed(plan: CellPlan, after: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    now = _newest(plan, after)
    if before.is_empty():
        return now.with_columns(sign=pl.lit(1, dtype=pl.Int64))
    signed = (now, 1), (_newest(plan, before), -1)
    return pl.concat(rows.with_columns(sign=pl.lit(sign, dtype=pl.Int64)) for rows, sign in signed)


def _project(outcomes: pl.DataFrame, plan: CellPlan) -> pl.DataFrame:
    """Keep what counting needs, of eligible predictions only."""
    schema = {**_SCHEMA, **{f"slice_{name}": pl.String() for name in plan.slices}}
    if outcomes.is_empty():
        return pl.DataFrame(schema=schema)
    columns = [pl.col(name).cast(dtype) for name, dtype in schema.items()]
    return outcomes.lazy().filter("eligible").select(columns).collect()


def _newest(plan: CellPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the newest revision of every chain.

    Most chains have a single revision. A row whose number is like no other's is one of them for certain;
    only the rest, which holds a few chance collisions too, is sorted and compared by its names.
    """
    revised = [revised_column(age) for age in _ages(plan)]
    first_known = pl.when(LABELLED).then("known_at")
    none = [pl.lit(0, dtype=pl.Int64).alias(name) for name in revised]
    alone = rows.select(_mixed(rows).is_unique()).to_series()
    single = rows.filter(alone).with_columns(first_known_at=first_known)
    if single.height == rows.height:
        return single.with_columns(none)
    chained = rows.filter(~alone).sort(*_CHAIN, RANK, "revision")
    starts = pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in _CHAIN).fill_null(value=True)
    retracted = pl.col("status") == Status.RETRACTED.value
    newest = (
        chained.with_columns(chain=starts.cum_sum(), segment=(starts | retracted).cum_sum())
        .with_columns(
            first_known_at=first_known.min().over("segment"),
            known_so_far_at=first_known.cum_min().forward_fill().over("segment"),
        )
        .with_columns(_revised(plan))
        .with_columns(pl.col(revised).sum().over("chain"))
        .filter((pl.col("chain") != pl.col("chain").shift(-1)).fill_null(value=True))
    )
    columns = [*single.columns, *revised]
    return pl.concat([single.with_columns(none).select(columns), newest.select(columns)])


def _mixed(rows: pl.DataFrame) -> pl.Expr:
    """Return one number for a chain's columns: faster than hashing them as one struct. Equal texts add nothing."""
    number = pl.col("prediction_offset") * 1_024 + pl.col("partition")
    for name in ("kind", "definition"):
        texts = rows.get_column(name).unique().sort()
        if len(texts) > 1:
            number = number * len(texts) + pl.col(name).cast(pl.Enum(texts)).to_physical().cast(pl.Int64)
    return number


def _ages(plan: CellPlan) -> Iterable[int | str]:
    return [FINAL, *sorted({age for kind in plan.kinds for age in kind.evaluate_at_ms})]


def _revised(plan: CellPlan) -> list[pl.Expr]:
    """Return, for each revision in the order of its chain, whether it changes what was settled by each age."""
    follows = pl.col("chain") == pl.col("chain").shift(1)
    labelled = LABELLED.fill_null(value=False)
    changes = labelled != labelled.shift(1)
    for name in ("value", "value_class"):
        truth = pl.when(labelled).then(name)
        changes = changes | truth.ne_missing(truth.shift(1))
    age_ms = (pl.col("known_at") - pl.col("predicted_at")).dt.total_microseconds() / 1_000
    known_ms = (pl.col("known_so_far_at").shift(1) - pl.col("predicted_at")).dt.total_microseconds() / 1_000
    horizon_ms = pl.col("kind").replace_strict(
        [kind.name for kind in plan.kinds], [kind.horizon_ms for kind in plan.kinds], default=None
    )
    late = {revised_column(FINAL): age_ms > horizon_ms}
    for age in _ages(plan):
        if isinstance(age, int):
            late[revised_column(age)] = (age_ms > age) & (known_ms <= age)
    return [
        (follows & changes & is_late).fill_null(value=False).cast(pl.Int64).alias(name)
        for name, is_late in late.items()
    ]
