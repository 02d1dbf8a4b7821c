"""The chains of revisions of outcomes: the newest state of each chain, now and before a fold.

States come from the revisions themselves, never from the columns in which a revision repeats the previous one.
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
"""Key of a chain. It holds the prediction's position, because an id may be used again for another prediction."""
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
    """Return the column of `states_of` that counts changes after this age (in ms), or after the horizon.

    >>> revised_column(FINAL), revised_column(3_600_000)
    ('revised_final', 'revised_3600000')
    """
    return f"revised_{age}"


def states_of(plan: CellPlan, outcomes: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Return the new states of outcomes of eligible predictions, to be added, and the states they replace.

    Args:
        plan: with the slices to keep, the horizons and the fixed ages.
        outcomes: new revisions of record (`monitor.cells.of_record`), in the lake's columns. A greater rank is newer.
        earlier: all earlier revisions of the same chains, by the same rulings.

    Returns:
        Of each chain the newest of all revisions with `sign` 1, and the newest of the earlier revisions, if there is
        one, with `sign` -1; with the lake's columns that counting needs, and

        - `first_known_at`: when a label was first known since the last one was retracted, or withdrawn without another;
          null without a label.
        - `revised_final`: how often the truth that metrics use (no label, or its value) changed after the horizon.
        - `revised_AGE`, for each of the plan's `evaluate_at_ms`: how often a label that was known by that age changed,
          or was retracted, after it.
    """
    known = _project(earlier, plan)
    return _signed(plan, pl.concat([known, _project(outcomes, plan)]), known)


def restated_states(plan: CellPlan, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Return the states of chains after a change of rulings, with `sign` 1, and those before it, with `sign` -1.

    Args:
        plan: as for `states_of`.
        before: all revisions of some chains that were of record before.
        after: those that are of record now.
    """
    return _signed(plan, _project(after, plan), _project(before, plan))


def _signed(plan: CellPlan, after: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Return the newest revisions of `after` with `sign` 1, and those of `before` with `sign` -1."""
    now = _newest(plan, after)
    if before.is_empty():
        return now.with_columns(sign=pl.lit(1, dtype=pl.Int64))
    signed = (now, 1), (_newest(plan, before), -1)
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


def _newest(plan: CellPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the newest revision of every chain.

    Most chains have a single revision. A row whose chain hash is unique is one of them for certain; only the rest, with
    a few chance collisions, is sorted and compared by the full key.
    """
    revised = [revised_column(age) for age in _ages(plan)]
    first_known = pl.when(LABELLED).then("known_at")
    none = [pl.lit(0, dtype=pl.Int64).alias(name) for name in revised]
    alone = rows.select(_chain_hash(rows).is_unique()).to_series()
    single = rows.filter(alone).with_columns(first_known_at=first_known)
    if single.height == rows.height:
        return single.with_columns(none)
    chained = rows.filter(~alone).sort(*_CHAIN, RANK, "revision")
    starts = pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in _CHAIN).fill_null(value=True)
    # without a label again: it was retracted, or withdrawn and nothing remained
    is_cleared = pl.col("status").is_in([Status.RETRACTED.value, Status.PENDING.value])
    newest = (
        chained.with_columns(chain=starts.cum_sum(), segment=(starts | is_cleared).cum_sum())
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


def _chain_hash(rows: pl.DataFrame) -> pl.Expr:
    """Return one number for a chain's key: faster than hashing a struct. A column with a single text is left out."""
    number = pl.col("prediction_offset") * 1_024 + pl.col("partition")
    for name in ("kind", "definition"):
        texts = rows.get_column(name).unique().sort()
        if len(texts) > 1:
            number = number * len(texts) + pl.col(name).cast(pl.Enum(texts)).to_physical().cast(pl.Int64)
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
