"""The chains of revisions of outcomes: the states of each chain, before and after a change.

States come from the revisions themselves, never from the columns in which a revision repeats the previous one.
"""

from collections.abc import Iterable

import polars as pl

from monitor.cells.of_record import RANK
from monitor.cells.plan import CellPlan
from schemas.base.status import Status

__all__ = ["FINAL", "LABELLED", "revised_column", "states_between"]

LABELLED = pl.col("status").is_in([Status.JOINED.value, Status.IMPLIED.value])
FINAL = "final"

_CHAIN = ["partition", "prediction_offset", "kind"]
"""Key of a chain. It holds the prediction's position, because an id may be used again for another prediction.

The definition is not part of it: of record is one of them at a time."""
_TIME = pl.Datetime("us", "UTC")
_SCHEMA: dict[str, pl.DataType] = {
    "partition": pl.Int32(),
    "prediction_offset": pl.Int64(),
    **{name: pl.String() for name in ("kind", "definition", "version", "status")},
    "value": pl.Float64(),
    "value_class": pl.String(),
    "output": pl.Float64(),
    "output_class": pl.String(),
    "predicted_at": _TIME,
    "known_at": _TIME,
    "revision": pl.Int64(),
    RANK: pl.Int64(),
}


def revised_column(age: int | str) -> str:
    """Return the column of `states_between` that counts changes after this age (in ms), or after the horizon.

    >>> revised_column(FINAL), revised_column(3_600_000)
    ('revised_final', 'revised_3600000')
    """
    return f"revised_{age}"


def states_between(plan: CellPlan, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Return the states of eligible predictions' outcomes after a change, to be added, and those before it.

    A chain has one state for each revision that was of record at its end or at one of the fixed ages. Of record at an
    age is the newest revision among those known by then: what became known later does not count, whenever it was read.

    Args:
        plan: with the slices to keep, the horizons and the fixed ages.
        before: all revisions of record (`monitor.cells.of_record`) of some chains before the change, in the lake's
            columns. A greater rank is newer.
        after: those of the same chains after it: with new revisions, under other rulings, or with timeouts proven.

    Returns:
        The states of `after` with `sign` 1, and those of `before` with `sign` -1; with the lake's columns that counting
        needs, and

        - `replaced_at`: when a newer revision was first known; null for the newest. The columns below are of the
          newest.
        - `first_known_at`: when a label was first known since the last one was retracted, or withdrawn without another;
          null without a label.
        - `revised_final`: how often the truth that metrics use (no label, or its value) changed after the horizon; 0
          but for the newest state.
        - `revised_AGE`, for each of the plan's `evaluate_at_ms`: how often a label that was known by that age changed,
          or was retracted, after it; 0 but for the state that was of record at that age, or the newest where no label
          was.
    """
    signed = [(_states(plan, _project(after, plan)), 1), (_states(plan, _project(before, plan)), -1)]
    return pl.concat(rows.with_columns(sign=pl.lit(sign, dtype=pl.Int64)) for rows, sign in signed)


def _project(outcomes: pl.DataFrame, plan: CellPlan) -> pl.DataFrame:
    """Return the columns that counting needs, of eligible predictions only."""
    schema = {**_SCHEMA, **{f"slice_{name}": pl.String() for name in plan.slices}}
    if any(kind.is_weighted for kind in plan.kinds):
        schema["weight"] = pl.Float64()
    if outcomes.is_empty():
        return pl.DataFrame(schema=schema)
    columns = [pl.col(name).cast(dtype) for name, dtype in schema.items()]
    return outcomes.lazy().filter("eligible").select(columns).collect()


def _states(plan: CellPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the states of every chain.

    Most chains have a single revision. A row whose chain hash is unique is one of them for certain; only the rest, with
    a few chance collisions, is sorted and compared by the full key.
    """
    revised = [revised_column(age) for age in _ages(plan)]
    first_known = pl.when(LABELLED).then("known_at")
    none = [pl.lit(0, dtype=pl.Int64).alias(name) for name in revised]
    alone = rows.select(_chain_hash(rows).is_unique()).to_series()
    single = rows.filter(alone).with_columns(first_known_at=first_known, replaced_at=pl.lit(None, dtype=_TIME))
    if single.height == rows.height:
        return single.with_columns(none)
    chained = rows.filter(~alone).sort(*_CHAIN, RANK, "revision")
    starts = pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in _CHAIN).fill_null(value=True)
    # without a label again: it was retracted, or withdrawn and nothing remained
    is_cleared = pl.col("status").is_in([Status.RETRACTED.value, Status.PENDING.value])
    is_newest = (pl.col("chain") != pl.col("chain").shift(-1)).fill_null(value=True)
    states = (
        chained.with_columns(chain=starts.cum_sum(), segment=(starts | is_cleared).cum_sum())
        .with_columns(
            first_known_at=first_known.min().over("segment"),
            known_so_far_at=first_known.cum_min().forward_fill().over("segment"),
            replaced_at=pl.col("known_at").cum_min(reverse=True).shift(-1).over("chain"),
        )
        .with_columns(_revised(plan))
        .with_columns(is_newest=is_newest)
        .with_columns(_revised_once(plan))
        .filter(
            pl.col("is_newest") | (LABELLED & pl.any_horizontal(pl.lit(value=False), *_is_of_record(plan).values()))
        )
    )
    columns = [*single.columns, *revised]
    return pl.concat([single.with_columns(none).select(columns), states.select(columns)])


def _is_of_record(plan: CellPlan) -> dict[int, pl.Expr]:
    """Return by fixed age whether a revision was the newest one known at that age."""
    known_ms, replaced_ms = (
        (pl.col(name) - pl.col("predicted_at")).dt.total_microseconds() / 1_000 for name in ("known_at", "replaced_at")
    )
    is_newest = replaced_ms.is_null()
    return {age: (known_ms <= age) & (is_newest | (replaced_ms > age)) for age in _ages(plan) if isinstance(age, int)}


def _revised_once(plan: CellPlan) -> list[pl.Expr]:
    """Return the changes of each chain by age, on the state that was of record at the age, or else on the newest."""
    found = [pl.when("is_newest").then(pl.col(revised_column(FINAL)).sum().over("chain")).otherwise(0)]
    for age, is_of_record in _is_of_record(plan).items():
        is_it = (LABELLED & is_of_record).fill_null(value=False)
        is_kept = is_it | (pl.col("is_newest") & ~is_it.any().over("chain"))
        found.append(pl.when(is_kept).then(pl.col(revised_column(age)).sum().over("chain")).otherwise(0))
    return found


def _chain_hash(rows: pl.DataFrame) -> pl.Expr:
    """Return one number for a chain's key: faster than hashing a struct. A single kind is left out."""
    number = pl.col("prediction_offset") * 1_024 + pl.col("partition")
    kinds = rows.get_column("kind").unique().sort()
    if len(kinds) > 1:
        number = number * len(kinds) + pl.col("kind").cast(pl.Enum(kinds)).to_physical().cast(pl.Int64)
    return number


def _ages(plan: CellPlan) -> Iterable[int | str]:
    return [FINAL, *sorted({age for kind in plan.kinds for age in kind.evaluate_at_ms})]


def _revised(plan: CellPlan) -> list[pl.Expr]:
    """Return one column per age: 1 where a revision changes a truth that was fixed by that age; rows in chain order."""
    is_next = pl.col("chain") == pl.col("chain").shift(1)
    is_labelled = LABELLED.fill_null(value=False)
    is_change = is_labelled != is_labelled.shift(1)
    for name in ("value", "value_class"):
        truth = pl.when(is_labelled).then(name)
        is_change = is_change | truth.ne_missing(truth.shift(1))
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
        (is_next & is_change & is_late).fill_null(value=False).cast(pl.Int64).alias(name)
        for name, is_late in late.items()
    ]
