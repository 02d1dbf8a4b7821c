"""Canonical fields that predictions and labels share: key and times.

This module must not know the fields of only one of them.
"""

import polars as pl

from schemas.status import RejectReason
from streams.field_plan import Field, Plan
from streams.field_value import Checks, is_bad_text, raw_values
from streams.scalar import to_identity
from streams.times import to_time

__all__ = ["MAX_KEY_BYTES", "identity", "optional_time", "required_time", "short_text"]

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
