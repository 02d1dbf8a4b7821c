"""Values of canonical fields from raw columns: resolves a field's paths, constants, value map and conditions.

`streams.mapping.values` checks what comes out.
"""

from collections.abc import Sequence

import polars as pl

from streams.columns.plan import Field
from streams.columns.scalar import tidy, to_bool, to_identity, to_text, to_whole_text
from streams.columns.scalar_match import mixed_values, plain_values

__all__ = ["answers", "raw_values", "unanswered", "whole_text"]


def raw_values(raw: pl.DataFrame, field: Field | None) -> pl.Series:
    """Return the field's values as a tidied column; null where a record has none.

    With `values` it is text, null where a value is not listed. `in` is not applied (see `answers`), nor `type` to a
    single path (see `whole_text`).
    """
    return plain_values(_mapped(_given(raw, field), field))


def answers(raw: pl.DataFrame, field: Field) -> tuple[pl.Series, pl.Series]:
    """Return the field as booleans (null where missing or unreadable), and where a value reads as no boolean.

    With `in`, it is whether a value equals one of those listed.
    """
    values = _mapped(_given(raw, field), field)
    plain = plain_values(values)
    found = to_bool(plain) if field.allowed is None else field.allowed.test(values)
    return found, (plain.is_not_null() & found.is_null()) | unanswered(raw, field)


def unanswered(raw: pl.DataFrame, field: Field | None) -> pl.Series:
    """Return where a value reads as no boolean, though `values` lists nothing but booleans.

    Other values that are not listed count as missing.
    """
    if field is None or field.matched is None or not field.matched.is_boolean:
        return pl.repeat(value=False, n=raw.height, eager=True)
    given = plain_values(_given(raw, field))
    return given.is_not_null() & to_bool(given).is_null()


def _given(raw: pl.DataFrame, field: Field | None) -> pl.Series:
    """Return the values at the field's paths, or its constant."""
    if field is None:
        return pl.repeat(None, raw.height, dtype=pl.String, eager=True)
    if not field.slots:
        return tidy(pl.Series([field.constant]).new_from_index(0, raw.height))
    values = _slot_values(raw, field.slots, field)
    if field.otherwise:
        others = _slot_values(raw, field.otherwise, field)
        if field.is_identity:  # as text, a boolean would be one
            values, others = to_identity(values), to_identity(others)
        values = _filled(values, others, is_composite=len(field.slots) > 1)
    return values


def _mapped(given: pl.Series, field: Field | None) -> pl.Series:
    """Return what `values` makes of the given ones."""
    if field is None or field.matched is None:
        return given
    texts = dict(enumerate(field.values))
    return field.matched.find(given).replace_strict(texts, default=None, return_dtype=pl.String)


def whole_text(texts: pl.Series, field: Field | None) -> pl.Series:
    """Return keys, ids or classes as the field's `type` wants them: with `int`, empty where one is no whole number."""
    return to_whole_text(texts) if field is not None and field.is_whole else texts


def _slot_values(raw: pl.DataFrame, slots: Sequence[str], field: Field) -> pl.Series:
    if len(slots) == 1:
        return _slot_column(raw, slots[0])
    return _composite([whole_text(to_identity(_slot_column(raw, slot)), field) for slot in slots])


def _slot_column(raw: pl.DataFrame, slot: str) -> pl.Series:
    found = raw.get_column(slot, default=None)
    return pl.repeat(None, raw.height, dtype=pl.String, eager=True) if found is None else found


def _composite(parts: list[pl.Series]) -> pl.Series:
    """Join parts with '|', their own '|' and backslashes escaped; a missing or empty part empties the whole."""
    frame = pl.DataFrame([part.alias(f"p{index}") for index, part in enumerate(parts)])
    escaped = [
        pl.col(name).str.replace_all("\\", "\\\\", literal=True).str.replace_all("|", "\\|", literal=True)
        for name in frame.columns
    ]
    is_whole = pl.all_horizontal(pl.all().fill_null("") != "")
    return frame.select(pl.when(is_whole).then(pl.concat_str(escaped, separator="|")).otherwise(pl.lit(""))).to_series()


def _filled(values: pl.Series, others: pl.Series, *, is_composite: bool) -> pl.Series:
    """Return the values, and the others where a value is missing (a composite: incomplete)."""
    is_present = values != "" if is_composite else plain_values(values).is_not_null()
    if is_present.all():
        return values
    if values.dtype != others.dtype:  # columns of different types are combined as text
        values, others = _as_mixed(values), _as_mixed(others)
    return values.zip_with(is_present, others)


def _as_mixed(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Struct):
        return values
    is_text = pl.repeat(values.dtype in (pl.String, pl.Datetime), len(values), eager=True)
    return mixed_values(values.dt.to_string("iso:strict") if values.dtype == pl.Datetime else to_text(values), is_text)
