"""Checks of keys, times and texts that predictions and labels share; `Checks` collects the faults of each record."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from schemas.base.status import RejectReason
from streams.columns.plan import MESSAGE_VERSION, Field, Plan
from streams.columns.raw import POSITION, ROW
from streams.columns.scalar import NON_SCALAR, to_identity, to_int, to_number
from streams.columns.times import to_time
from streams.mapping.field_values import raw_values, whole_text

__all__ = [
    "LIKE_A_FLOAT",
    "MAX_KEY_BYTES",
    "MAX_TEXT_BYTES",
    "Checks",
    "Rejected",
    "check_message_version",
    "identity",
    "is_bad_text",
    "keep_where",
    "optional_time",
    "required_time",
    "scaled",
    "short_text",
]

MAX_KEY_BYTES: Final = 1_024
"""A key is stored once per waiting record; a longer one is a document in the wrong field."""

MAX_TEXT_BYTES: Final = 200
"""Versions, slices, classes, definitions: names that people group by, not documents."""


LIKE_A_FLOAT: Final = "like_a_float"
"""Flag of a key or id such as 101.0: probably a whole number, which the other side spells 101 (`type: int`)."""

_WHOLE_AS_FLOAT: Final = r"^-?[0-9]+\.0+$"


@dataclass(frozen=True, slots=True)
class Rejected:
    """The rejected records of a chunk.

    Attributes:
        frame: their `row`, `position`, `reason` and `detail`.
        is_good: Boolean, one per record of the chunk; false where it is rejected.
    """

    frame: pl.DataFrame
    is_good: pl.Series


class Checks:
    """Collects what is wrong with the records of one chunk: faults reject a record, flags only describe it."""

    def __init__(self, height: int) -> None:
        self._height = height
        self._faults: list[tuple[pl.Series, RejectReason, str]] = []
        self._flags: list[tuple[pl.Series, str]] = []

    def reject(self, mask: pl.Series, reason: RejectReason, detail: str) -> None:
        """Reject the records where the mask is true; a record keeps the reason of its first fault."""
        if mask.any():
            self._faults.append((mask, reason, detail))

    def flag(self, mask: pl.Series, name: str) -> None:
        """Flag the records where the mask is true."""
        if mask.any():
            self._flags.append((mask, name))

    def flags(self) -> pl.Series:
        """Return each record's flags as a list, in the order of the calls of `flag`."""
        if not self._flags:
            return pl.Series([[]], dtype=pl.List(pl.String)).new_from_index(0, self._height)
        frame = pl.DataFrame([mask.alias(f"f{index}") for index, (mask, _) in enumerate(self._flags)])
        names = [pl.when(f"f{index}").then(pl.lit(name)) for index, (_, name) in enumerate(self._flags)]
        # flag names are built of plain identifiers, so a comma separates them
        joined = frame.select(pl.concat_str(names, separator=",", ignore_nulls=True).alias("v"))
        none = pl.lit([], dtype=pl.List(pl.String))
        return joined.select(pl.when(pl.col("v") == "").then(none).otherwise(pl.col("v").str.split(","))).to_series()

    def rejected(self, raw: pl.DataFrame) -> Rejected | None:
        """Return the rejected records of the raw frame, or None if there are none."""
        if not self._faults:
            return None
        columns = [raw.get_column(ROW), raw.get_column(POSITION)]
        reasons, details = [], []
        for index, (mask, reason, detail) in enumerate(self._faults):
            columns.append(mask.fill_null(value=False).alias(f"m{index}"))
            reasons.append(pl.when(f"m{index}").then(pl.lit(str(reason))))
            details.append(pl.when(f"m{index}").then(pl.lit(detail)))
        checked = pl.DataFrame(columns).select(
            ROW, POSITION, pl.coalesce(reasons).alias("reason"), pl.coalesce(details).alias("detail")
        )
        is_bad = checked.get_column("reason").is_not_null()
        return Rejected(checked.filter(is_bad), ~is_bad)


def keep_where(values: pl.Series, mask: pl.Series) -> pl.Series:
    """Return the values where the mask is true, and null elsewhere."""
    return pl.DataFrame([values.alias("v"), mask.alias("m")]).select(pl.when("m").then("v")).to_series()


def scaled(numbers: pl.Series, field: Field | None) -> pl.Series:
    """Return numbers multiplied by the field's scale; null where the product is not finite."""
    if field is None or field.scale is None:
        return numbers
    product = numbers * field.scale
    return keep_where(product, product.is_finite())


def identity(
    given: pl.Series, field: Field, checks: Checks, name: str, is_required: pl.Series | None = None
) -> pl.Series:
    """Return the values of `key` or `id`; reject records where one is missing or no identity.

    Args:
        given: the field's values, from `raw_values`.
        field: of the source's plan.
        checks: receives the faults.
        name: of the field.
        is_required: true for the records that are checked; all by default.
    """
    reason = RejectReason(f"bad_{name}")
    texts = to_identity(given)
    if len(field.slots) < 2:  # noqa: PLR2004 - the parts of a composite are read one by one
        texts = whole_text(texts, field)
    missing, bad = texts.is_null(), is_bad_text(texts, MAX_KEY_BYTES)
    if is_required is not None:
        missing, bad = missing & is_required, bad & is_required
    wanted = (
        "a whole number" if field.is_whole else f"text of 1 to {MAX_KEY_BYTES:,} bytes without NUL nor a whole number"
    )
    checks.reject(missing, reason, f"{name}: missing")
    checks.reject(bad, reason, f"{name}: {'not' if field.is_whole else 'neither'} {wanted}")
    checks.flag(texts.str.contains(_WHOLE_AS_FLOAT).fill_null(value=False), f"{name}:{LIKE_A_FLOAT}")
    return texts


def check_message_version(raw: pl.DataFrame, plan: Plan, checks: Checks) -> None:
    """Reject canonical records of another version of the message format than 1; an empty cell of a table is 1."""
    if not plan.is_canonical:
        return
    given = raw_values(raw, plan.fields[MESSAGE_VERSION])
    is_other = given.is_not_null() & (to_number(given) != 1).fill_null(value=True)
    checks.reject(is_other, RejectReason.UNSUPPORTED_VERSION, "v: not 1, the only version of the message format")


def required_time(raw: pl.DataFrame, plan: Plan, checks: Checks) -> pl.Series:
    """Return the records' times in milliseconds; reject records whose time is missing or invalid."""
    field = plan.fields.get("time", Field())
    values = raw_values(raw, plan.fields.get("time"))
    times = to_time(_without_decimals(values), field.unit, field.zone)
    checks.reject(values.is_null(), RejectReason.BAD_TIME, "time: missing")
    checks.reject(times.is_early, RejectReason.BAD_TIME, f"time: in 1970, {_LOOKS_LIKE[field.unit]}")
    for reason, detail in _time_faults(field, is_canonical=plan.is_canonical).items():
        checks.reject((times.fault == reason).fill_null(value=False), reason, f"time: {detail}")
    checks.flag(times.is_ambiguous, "ambiguous_time")
    return times.ms


def optional_time(raw: pl.DataFrame, plan: Plan, checks: Checks, name: str) -> pl.Series:
    """Return a time that may be missing; an invalid one becomes null with a flag."""
    field = plan.fields.get(name)
    if field is None:
        return pl.repeat(None, raw.height, dtype=pl.Int64, eager=True)
    times = to_time(_without_decimals(raw_values(raw, field)), field.unit, field.zone)
    checks.flag(times.fault.is_not_null(), f"{name}:invalid")
    checks.flag(times.is_ambiguous, f"{name}:ambiguous_time")
    return times.ms


def short_text(texts: pl.Series, checks: Checks, name: str, limit_bytes: int) -> pl.Series:
    """Return a descriptive text: an invalid one becomes null, one that is too long is cut, both with a flag."""
    size = texts.str.len_bytes()
    invalid = texts.str.contains("\x00", literal=True).fill_null(value=False)
    long = (size > limit_bytes).fill_null(value=False) & ~invalid
    checks.flag(invalid, f"{name}:invalid")
    checks.flag(long, f"{name}:cut")
    if invalid.any():
        texts = keep_where(texts, ~invalid)
    if long.any():
        # few and rare; a cut in the middle of an encoded character drops the rest of it
        cut = [text.encode()[:limit_bytes].decode(errors="ignore") for text in texts.filter(long)]
        texts = texts.scatter(long.arg_true(), pl.Series(cut, dtype=pl.String))
    return texts


def is_bad_text(texts: pl.Series, limit_bytes: int) -> pl.Series:
    """Return where a text is empty, longer than its limit, or contains a NUL; false where it is missing."""
    size = texts.str.len_bytes()
    bad = (size == 0) | (size > limit_bytes) | texts.str.contains(NON_SCALAR, literal=True)
    return bad.fill_null(value=False)


def _without_decimals(values: pl.Series) -> pl.Series:
    """Return decimals as integers where they have no fraction, else as floats."""
    if not values.dtype.is_decimal():
        return values
    whole = to_int(values)
    return whole if whole.null_count() == values.null_count() else to_number(values)


_LOOKS_LIKE: Final = {
    None: "looks like seconds that were taken for milliseconds",
    "s": "although the unit is seconds",
    "ms": "looks like seconds, and the unit is ms",
    "us": "looks like seconds or milliseconds, and the unit is us",
    "ns": "looks like seconds, milliseconds or microseconds, and the unit is ns",
}


def _time_faults(field: Field, *, is_canonical: bool) -> dict[RejectReason, str]:
    forms = "neither ISO 8601 nor a number" if field.unit else "not ISO 8601, and no unit is given for numbers"
    if is_canonical:
        forms = "neither text of ISO 8601 nor a number of milliseconds"
    return {
        RejectReason.BAD_TIME: f"{forms}, or outside the years 1971 to 9999",
        RejectReason.NAIVE_TIME: "has no offset, and no zone is given",
        RejectReason.NONEXISTENT_TIME: "does not exist in its zone (clocks were put forward)",
    }
