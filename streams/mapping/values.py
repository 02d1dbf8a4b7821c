"""One canonical field's raw values: paths joined, constants filled in, values mapped, predicates answered.

This module must not know what a field means; types and limits are checked by who asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from schemas.base.status import RejectReason
from streams.columns.plan import Field, Plan
from streams.columns.raw import AT, ROW
from streams.columns.scalar import MARK, tidy, to_identity, to_text
from streams.columns.times import to_time

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_TEXT_BYTES",
    "Checks",
    "Rejected",
    "identity",
    "is_bad_text",
    "optional_time",
    "raw_values",
    "required_time",
    "scaled",
    "short_text",
]

MAX_TEXT_BYTES: Final = 200
"""Versions, slices, classes, definitions: names that people group by, not documents."""


def raw_values(frame: pl.DataFrame, field: Field | None) -> pl.Series:
    """Return the field's values as a tidied column; null where a record has none.

    With `in` the answer is Boolean (null stays null); with `values` it is text, null where not listed.
    """
    if field is None:
        return pl.repeat(None, frame.height, dtype=pl.String, eager=True)
    if not field.slots:
        values = tidy(pl.Series([field.constant]).new_from_index(0, frame.height))
    else:
        values = _at(frame, field.slots)
    if field.otherwise:
        values = _filled(values, _at(frame, field.otherwise), is_composite=len(field.slots) > 1)
    if field.values is not None:
        values = to_text(values).replace_strict(
            list(field.values), list(field.values.values()), default=None, return_dtype=pl.String
        )
    if field.allowed is not None:
        values = to_text(values).is_in(list(field.allowed))
    return values


def scaled(numbers: pl.Series, field: Field | None) -> pl.Series:
    """Return numbers times the field's scale; null where that leaves the finite ones."""
    if field is None or field.scale is None:
        return numbers
    product = (numbers * field.scale).alias("v").to_frame()
    return product.select(pl.when(pl.col("v").is_finite()).then("v")).to_series()


def is_bad_text(texts: pl.Series, limit_bytes: int) -> pl.Series:
    """Tell where a text is empty, longer than its limit, or holds a NUL; false where it is missing."""
    size = texts.str.len_bytes()
    bad = (size == 0) | (size > limit_bytes) | texts.str.contains(MARK, literal=True)
    return bad.fill_null(value=False)


def _at(frame: pl.DataFrame, slots: Sequence[str]) -> pl.Series:
    if len(slots) == 1:
        return _slot(frame, slots[0])
    return _composite([to_identity(_slot(frame, slot)) for slot in slots])


def _filled(values: pl.Series, others: pl.Series, *, is_composite: bool) -> pl.Series:
    """Return the values, and the others where there is none; of a composite, where it has no whole one."""
    is_there = values != "" if is_composite else values.is_not_null()
    if is_there.all():
        return values
    if values.dtype != others.dtype:  # a value means what its text means
        values, others = _as_text(values), _as_text(others)
    return values.zip_with(is_there, others)


def _as_text(values: pl.Series) -> pl.Series:
    return values.dt.to_string("iso:strict") if values.dtype == pl.Datetime else to_text(values)


def _slot(frame: pl.DataFrame, slot: str) -> pl.Series:
    if slot in frame.columns:
        return frame.get_column(slot)
    return pl.repeat(None, frame.height, dtype=pl.String, eager=True)


def _composite(parts: list[pl.Series]) -> pl.Series:
    """Join parts with '|', their own '|' and backslashes escaped; a missing or empty part spoils all."""
    frame = pl.DataFrame([part.alias(f"p{index}") for index, part in enumerate(parts)])
    escaped = [
        pl.col(name).str.replace_all("\\", "\\\\", literal=True).str.replace_all("|", "\\|", literal=True)
        for name in frame.columns
    ]
    is_whole = pl.all_horizontal(pl.all().fill_null("") != "")
    return frame.select(pl.when(is_whole).then(pl.concat_str(escaped, separator="|")).otherwise(pl.lit(""))).to_series()


@dataclass(frozen=True, slots=True)
class Rejected:
    """Records of a chunk that are rejected.

    Attributes:
        frame: `row`, `at`, `reason`, `detail` of each.
        is_good: Boolean, one a record of the chunk: it stays.
    """

    frame: pl.DataFrame
    is_good: pl.Series


class Checks:
    """Collects what is wrong with the records of one chunk: faults that reject, and flags that do not."""

    def __init__(self, height: int) -> None:
        self._height = height
        self._faults: list[tuple[pl.Series, RejectReason, str]] = []
        self._flags: list[tuple[pl.Series, str]] = []

    def reject(self, mask: pl.Series, reason: RejectReason, detail: str) -> None:
        """Reject where the mask is true. The first fault of a record is the one it is rejected for."""
        if mask.any():
            self._faults.append((mask, reason, detail))

    def flag(self, mask: pl.Series, name: str) -> None:
        """Flag where the mask is true."""
        if mask.any():
            self._flags.append((mask, name))

    def flags(self) -> pl.Series:
        """Return each record's flags as a list, in the order in which they were raised."""
        if not self._flags:
            return pl.Series([[]], dtype=pl.List(pl.String)).new_from_index(0, self._height)
        frame = pl.DataFrame([mask.alias(f"f{index}") for index, (mask, _) in enumerate(self._flags)])
        names = [pl.when(f"f{index}").then(pl.lit(name)) for index, (_, name) in enumerate(self._flags)]
        # names of flags are built of plain identifiers, so a comma separates them
        joined = frame.select(pl.concat_str(names, separator=",", ignore_nulls=True).alias("v"))
        none = pl.lit([], dtype=pl.List(pl.String))
        return joined.select(pl.when(pl.col("v") == "").then(none).otherwise(pl.col("v").str.split(","))).to_series()

    def rejected(self, rows: pl.DataFrame) -> Rejected | None:
        """Return the rejected records, or None where all are good.

        Args:
            rows: the raw frame's `row` and `at`.
        """
        if not self._faults:
            return None
        columns = list(rows.get_columns())
        reasons, details = [], []
        for index, (mask, reason, detail) in enumerate(self._faults):
            columns.append(mask.fill_null(value=False).alias(f"m{index}"))
            reasons.append(pl.when(f"m{index}").then(pl.lit(str(reason))))
            details.append(pl.when(f"m{index}").then(pl.lit(detail)))
        judged = pl.DataFrame(columns).select(
            ROW, AT, pl.coalesce(reasons).alias("reason"), pl.coalesce(details).alias("detail")
        )
        is_bad = judged.get_column("reason").is_not_null()
        return Rejected(judged.filter(is_bad), ~is_bad)


MAX_KEY_BYTES = 1_024
"""Keys are stored once for each waiting record; longer ones are documents put into the wrong field."""


def identity(
    values: pl.Series, checks: Checks, name: str, reason: RejectReason, must: pl.Series | None = None
) -> pl.Series:
    """Return values as an identity and reject records where it is missing or none.

    Args:
        values: raw values.
        checks: takes the faults.
        name: of the field, for the detail.
        reason: of the rejects.
        must: where the identity is needed; everywhere when left out.
    """
    texts = to_identity(values)
    missing, bad = texts.is_null(), is_bad_text(texts, MAX_KEY_BYTES)
    if must is not None:
        missing, bad = missing & must, bad & must
    checks.reject(missing, reason, f"{name}: missing")
    checks.reject(bad, reason, f"{name}: neither text of 1 to {MAX_KEY_BYTES:,} bytes without NUL nor a whole number")
    return texts


def required_time(frame: pl.DataFrame, plan: Plan, checks: Checks) -> pl.Series:
    """Return the record's time in milliseconds, and reject records whose time cannot be told."""
    field = plan.fields.get("time", Field())
    values = raw_values(frame, plan.fields.get("time"))
    times = to_time(values, field.unit, field.zone)
    checks.reject(values.is_null(), RejectReason.BAD_TIME, "time: missing")
    for reason, detail in _time_faults(field).items():
        checks.reject((times.fault == reason).fill_null(value=False), reason, f"time: {detail}")
    checks.flag(times.is_ambiguous, "ambiguous_time")
    return times.ms


def optional_time(frame: pl.DataFrame, plan: Plan, checks: Checks, name: str) -> pl.Series:
    """Return a time that may be missing; one that cannot be told becomes null with a flag."""
    field = plan.fields.get(name)
    if field is None:
        return pl.repeat(None, frame.height, dtype=pl.Int64, eager=True)
    times = to_time(raw_values(frame, field), field.unit, field.zone)
    checks.flag(times.fault.is_not_null(), f"{name}:invalid")
    checks.flag(times.is_ambiguous, f"{name}:ambiguous_time")
    return times.ms


def short_text(texts: pl.Series, checks: Checks, name: str, limit_bytes: int) -> pl.Series:
    """Return a text that only describes: none becomes null, too long a one is cut, both with a flag."""
    size = texts.str.len_bytes()
    broken = texts.str.contains("\x00", literal=True).fill_null(value=False)
    long = (size > limit_bytes).fill_null(value=False) & ~broken
    checks.flag(broken, f"{name}:invalid")
    checks.flag(long, f"{name}:cut")
    if broken.any():
        texts = pl.select(pl.when(~broken).then(texts)).to_series()
    if long.any():
        # few and rare; an encoded cut may leave half a character, which is dropped
        cut = [text.encode()[:limit_bytes].decode(errors="ignore") for text in texts.filter(long)]
        texts = texts.scatter(long.arg_true(), pl.Series(cut, dtype=pl.String))
    return texts


def _time_faults(field: Field) -> dict[RejectReason, str]:
    forms = "neither ISO 8601 nor a number" if field.unit else "not ISO 8601, and no unit is given for numbers"
    return {
        RejectReason.BAD_TIME: f"{forms}, or outside the years 1970 to 9999",
        RejectReason.NAIVE_TIME: "has no offset, and no zone is given",
        RejectReason.NONEXISTENT_TIME: "does not exist in its zone (clocks were put forward)",
    }
