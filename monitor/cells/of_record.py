"""Selects the revisions of outcomes that are of record, that is, counted.

Live labels are of record unless a ruling says otherwise. A declared backfill, or a definition other than the kind's
own, is of record only where a ruling says so.
"""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from schemas.base.status import Status
from schemas.events.backfill import Cause, Episode, Ruling

__all__ = [
    "BACKFILL_COLUMNS",
    "RANK",
    "approved_definitions",
    "changed_rulings",
    "is_counted",
    "is_member",
    "of_record",
    "with_declarations",
]

RANK = "rank"
"""Column: 0 for a kind's own definition; the definition approved last has the greatest rank."""

BACKFILL_COLUMNS: Mapping[str, pl.DataType] = {"is_declared": pl.Boolean(), "batch_id": pl.String()}
"""Columns beyond the lake's: whether the label that made a revision was declared as a backfill, and of which batch."""

_FIRST = ("first", "late", "early")
_CHANGES = ("correction", "retraction")


def of_record(outcomes: pl.DataFrame, definitions: Mapping[str, str], rulings: Sequence[Ruling] = ()) -> pl.DataFrame:
    """Return the revisions of record: of each kind's own definition, and of those that are approved.

    They make one chain for each prediction and kind, in which each revision keeps its own definition, and one of an
    approved definition outranks those of the kind's own. A definition that is not of record has no revision in it.

    Args:
        outcomes: revisions in the lake's columns, and `BACKFILL_COLUMNS`; without these nothing is declared.
        definitions: each kind's own definition.
        rulings: in their order, all about kinds of `definitions`.

    Returns:
        The same columns, and `rank`.
    """
    rows = with_declarations(outcomes)
    approved = approved_definitions(definitions, rulings)
    rank = pl.lit(None, dtype=pl.Int64)
    for kind, own in definitions.items():
        for number, definition in enumerate([own, *approved.get(kind, [])]):
            is_it = (pl.col("kind") == kind) & (pl.col("definition") == definition)
            rank = pl.when(is_it).then(pl.lit(number, dtype=pl.Int64)).otherwise(rank)
    ranked = rows.with_columns(rank.alias(RANK)).filter(pl.col(RANK).is_not_null())
    if not rulings and not rows.get_column("is_declared").any():
        return ranked
    # an outcome of another definition whose label was withdrawn is pending, and outranks nothing
    is_outranked = (pl.col(RANK) > 0) & (pl.col("status") == Status.PENDING.value)
    return ranked.filter(is_counted(rulings) & ~is_outranked)


def is_counted(rulings: Sequence[Ruling]) -> pl.Expr:
    """Return whether a revision is of record if its definition is; it reads the columns of `is_member`."""
    is_declared = pl.col("is_declared").fill_null(value=False)
    declared = [ruling for ruling in rulings if Cause.DECLARED in ruling.episode.causes]
    undeclared = [ruling for ruling in rulings if Cause.DECLARED not in ruling.episode.causes]
    is_accepted = ~is_declared | _is_member_of(ruling for ruling in declared if ruling.verdict.is_of_record)
    is_excluded = _is_member_of(ruling for ruling in undeclared if not ruling.verdict.is_of_record)
    return is_accepted & ~is_excluded


def with_declarations(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return revisions with `BACKFILL_COLUMNS`; without them nothing is declared."""
    missing = {name: dtype for name, dtype in BACKFILL_COLUMNS.items() if name not in outcomes.columns}
    return outcomes.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in missing.items())


def approved_definitions(definitions: Mapping[str, str], rulings: Sequence[Ruling]) -> dict[str, list[str]]:
    """Return by kind the other definitions that are of record, the one approved last at the end."""
    found: dict[str, list[str]] = {}
    for kind, definition in _approved(rulings):
        if definition != definitions.get(kind, definition):
            found.setdefault(kind, []).append(definition)
    return found


def changed_rulings(before: Sequence[Ruling], after: Sequence[Ruling]) -> list[Ruling]:
    """Return the rulings, of either time, that change which revisions are of record.

    A ruling that confirms the default (a declared or redefined backfill is not of record) changes nothing.
    """
    texts = [{ruling.model_dump_json() for ruling in rulings} for rulings in (before, after)]
    found = [ruling for ruling in (*before, *after) if ruling.model_dump_json() not in texts[0] & texts[1]]
    excluded_by_default = {Cause.DECLARED, Cause.REDEFINED}
    changed = [
        ruling
        for ruling in found
        if ruling.verdict.is_of_record or not excluded_by_default & set(ruling.episode.causes)
    ]
    ranks = [_approved(before), _approved(after)]
    common = [[pair for pair in ranked if pair in other] for ranked, other in zip(ranks, reversed(ranks), strict=True)]
    if common[0] != common[1]:  # the order in which definitions outrank each other has changed
        changed += [ruling for ruling in after if ruling.verdict.is_of_record and ruling not in changed]
    return changed


def is_member(episode: Episode) -> pl.Expr:
    """Return the condition that a revision was made by a label of the episode.

    It reads the lake's columns of outcomes and `BACKFILL_COLUMNS`.
    """
    known_ms = pl.col("known_at").dt.epoch("ms")
    is_declared = pl.col("is_declared").fill_null(value=False)
    common = (pl.col("kind") == episode.kind) & (pl.col("definition") == episode.definition)
    common &= pl.col("label_offset").is_not_null() & known_ms.is_between(episode.since, episode.until)
    if Cause.DECLARED in episode.causes:
        return common & is_declared & pl.col("batch_id").eq_missing(pl.lit(episode.batch, dtype=pl.String))
    if Cause.REDEFINED in episode.causes:
        return common & ~is_declared
    causes = pl.lit(value=False)
    if not {Cause.CORRECTED, Cause.RETIMED}.isdisjoint(episode.causes):
        causes |= pl.col("reason").is_in(_CHANGES)
    if Cause.STALE in episode.causes and episode.stale_after_ms is not None:
        age_ms = known_ms - pl.col("predicted_at").dt.epoch("ms")
        causes |= pl.col("reason").is_in(_FIRST) & (age_ms > episode.stale_after_ms)
    return common & ~is_declared & causes


def _is_member_of(rulings: Iterable[Ruling]) -> pl.Expr:
    """Return the condition that a revision belongs to the episode of any of the rulings."""
    condition = pl.lit(value=False)
    for ruling in rulings:
        condition |= is_member(ruling.episode)
    return condition


def _approved(rulings: Sequence[Ruling]) -> list[tuple[str, str]]:
    """Return (kind, definition) of every episode of record, the one approved last at the end."""
    found: dict[tuple[str, str], None] = {}
    for ruling in rulings:
        if ruling.verdict.is_of_record:
            found.pop((ruling.episode.kind, ruling.episode.definition), None)
            found[ruling.episode.kind, ruling.episode.definition] = None
    return list(found)
