"""Which revisions of outcomes count: those of record. What a backfill says stands beside until it was ruled to count.

Laws: another definition never overwrites by itself; a declared backfill counts only where a ruling says so; live labels
count unless a ruling says otherwise. This module must not rule.
"""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from schemas.events.backfill import Cause, Episode, Ruling

__all__ = ["BACKFILL_COLUMNS", "RANK", "approved_definitions", "changed_rulings", "is_member", "of_record"]

RANK = "rank"
"""Column: 0 for a kind's own definition; the last definition that was approved has the greatest."""

BACKFILL_COLUMNS: Mapping[str, pl.DataType] = {"is_declared": pl.Boolean(), "batch_id": pl.String()}
"""What is looked at beside the lake's columns: whether the label that made a revision was declared as a backfill."""

_FIRST = ("first", "late", "early")
_CHANGES = ("correction", "retraction")


def of_record(outcomes: pl.DataFrame, definitions: Mapping[str, str], rulings: Sequence[Ruling] = ()) -> pl.DataFrame:
    """Return the revisions that count, for chains of a kind's own definition, and every other chain as it is.

    A revision of an approved definition is there twice: in its own chain, and with a rank in that of the kind's own
    definition, whose revisions it outranks.

    Args:
        outcomes: revisions in the lake's columns, and `BACKFILL_COLUMNS`; where these are missing nothing is declared.
        definitions: each kind's own definition.
        rulings: in their order, all about kinds of `definitions`.

    Returns:
        The same columns, and `rank`.
    """
    rows = outcomes
    if "is_declared" not in rows.columns:
        none = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in BACKFILL_COLUMNS.items()]
        rows = rows.with_columns(none)
    if not rulings and not rows.get_column("is_declared").any():
        return rows.with_columns(pl.lit(0, dtype=pl.Int64).alias(RANK))
    own = pl.col("definition") == pl.col("kind").replace_strict(definitions, default=None, return_dtype=pl.String)
    declared = pl.col("is_declared").fill_null(value=False)
    counts = ~declared | _any(
        one for one in rulings if one.verdict.is_of_record and Cause.DECLARED in one.episode.causes
    )
    undeclared = [one for one in rulings if Cause.DECLARED not in one.episode.causes]
    beside = _any(one for one in undeclared if not one.verdict.is_of_record)
    kept = rows.filter(~own | (counts & ~beside)).with_columns(pl.lit(0, dtype=pl.Int64).alias(RANK))
    ranked = [kept]
    for kind, approved in approved_definitions(definitions, rulings).items():
        ranked += [
            rows.filter(pl.col("kind") == kind, pl.col("definition") == definition, counts & ~beside).with_columns(
                pl.lit(definitions[kind]).alias("definition"), pl.lit(rank, dtype=pl.Int64).alias(RANK)
            )
            for rank, definition in enumerate(approved, start=1)
        ]
    return pl.concat(ranked)


def approved_definitions(definitions: Mapping[str, str], rulings: Sequence[Ruling]) -> dict[str, list[str]]:
    """Return, for each kind, the other definitions that are of record, the last one that was approved at the end."""
    found: dict[str, list[str]] = {}
    for one in rulings:
        kind, definition = one.episode.kind, one.episode.definition
        if one.verdict.is_of_record and definition != definitions.get(kind, definition):
            ranked = found.setdefault(kind, [])
            if definition in ranked:
                ranked.remove(definition)
            ranked.append(definition)
    return found


def changed_rulings(before: Sequence[Ruling], after: Sequence[Ruling]) -> list[Ruling]:
    """Return the rulings, of either time, by which other labels count: the rest stand beside either way."""
    texts = [{one.model_dump_json() for one in rulings} for rulings in (before, after)]
    found = [one for one in (*before, *after) if one.model_dump_json() not in texts[0] & texts[1]]
    by_default = (Cause.DECLARED, Cause.REDEFINED)
    changed = [one for one in found if one.verdict.is_of_record or not set(by_default) & set(one.episode.causes)]
    ranks = [_ranked(before), _ranked(after)]
    common = [[one for one in ranked if one in other] for ranked, other in zip(ranks, reversed(ranks), strict=True)]
    if common[0] != common[1]:  # the same definitions outrank each other otherwise
        changed += [one for one in after if one.verdict.is_of_record and one not in changed]
    return changed


def _ranked(rulings: Sequence[Ruling]) -> list[tuple[str, str]]:
    """Return the kinds and definitions of record, the last one that was ruled about at the end."""
    found: dict[tuple[str, str], None] = {}
    for one in rulings:
        if one.verdict.is_of_record:
            found.pop((one.episode.kind, one.episode.definition), None)
            found[one.episode.kind, one.episode.definition] = None
    return list(found)


def is_member(episode: Episode) -> pl.Expr:
    """Return the condition that an outcome's revision was made by a label of the episode.

    Over the lake's columns of outcomes and `BACKFILL_COLUMNS`.
    """
    known_ms = pl.col("known_at").dt.epoch("ms")
    declared = pl.col("is_declared").fill_null(value=False)
    common = (pl.col("kind") == episode.kind) & (pl.col("definition") == episode.definition)
    common &= pl.col("label_offset").is_not_null() & known_ms.is_between(episode.since, episode.until)
    if Cause.DECLARED in episode.causes:
        return common & declared & pl.col("batch_id").eq_missing(pl.lit(episode.batch, dtype=pl.String))
    if Cause.REDEFINED in episode.causes:
        return common & ~declared
    causes = pl.lit(value=False)
    if Cause.CORRECTED in episode.causes:
        causes |= pl.col("reason").is_in(_CHANGES)
    if Cause.STALE in episode.causes and episode.stale_after_ms is not None:
        age_ms = known_ms - pl.col("predicted_at").dt.epoch("ms")
        causes |= pl.col("reason").is_in(_FIRST) & (age_ms > episode.stale_after_ms)
    return common & ~declared & causes


def _any(rulings: Iterable[Ruling]) -> pl.Expr:
    condition = pl.lit(value=False)
    for one in rulings:
        condition |= is_member(one.episode)
    return condition
