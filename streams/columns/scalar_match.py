"""Compares raw columns with scalars of the config; the type of the config's scalar decides how.

- A boolean equals what reads as one: true, t, yes, y and 1, or false, f, no, n and 0, in any case.
- A number equals equal numbers and plain numeric text (without leading zeros); compared as decimals, 10.40 is 10.4.
- Text equals the same text, and a typed number or boolean that it reads as: '10.40' is 10.4 in a column of numbers.

True and 1, and false and 0, are equal wherever both sides are typed.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cached_property
from typing import Final

import polars as pl

from schemas.config.mapping import Scalar
from streams.columns.scalar import NON_SCALAR, TEXT_BOOLS, to_bool, to_text

__all__ = ["IS_TEXT", "ScalarMatch", "condition_met", "mixed_values", "plain_values", "unread_condition"]

_TEXT: Final = "text"
IS_TEXT: Final = "is_text"
_PLAIN_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_DIGITS_MAX: Final = 400
"""No number of a config is longer (`truthloop.config.yaml_source`), so a longer one equals none."""
_PATH_SHOWN: Final = 80

_Reading = tuple[str, object]
"""What a value can be compared as: text, a number or boolean that text reads as, a typed number or boolean."""


class ScalarMatch:
    """Some scalars of the config, to be found in columns.

    Args:
        scalars: of several that equal a value, the first counts.
    """

    def __init__(self, scalars: Iterable[Scalar]) -> None:
        self.scalars = tuple(scalars)
        self._indexes: dict[_Reading, int] = {}
        for index, scalar in enumerate(self.scalars):
            for reading in _accepted(scalar):
                self._indexes.setdefault(reading, index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScalarMatch) and list(map(repr, self.scalars)) == list(map(repr, other.scalars))

    def __hash__(self) -> int:
        return hash(self.scalars)

    @cached_property
    def is_boolean(self) -> bool:
        """Whether all scalars are booleans, so that a value is expected to read as one."""
        return all(isinstance(scalar, bool) for scalar in self.scalars)

    def test(self, values: pl.Series) -> pl.Series:
        """Return whether each value equals one of the scalars.

        Null where a value is missing; and where it reads as no boolean, if all scalars are booleans.

        >>> ScalarMatch([True]).test(pl.Series(["T", "no", "maybe", None])).to_list()
        [True, False, None, None]
        >>> ScalarMatch([10.4, "10.50"]).test(pl.Series(["10.40", "10.50", "10.5", "010.4"])).to_list()
        [True, True, False, False]
        """
        plain = plain_values(values)
        is_known = to_bool(plain).is_not_null() if self.is_boolean else plain.is_not_null()
        found = self.find(values).is_not_null()
        return pl.DataFrame({"v": found, "known": is_known}).select(pl.when("known").then("v")).to_series()

    def find(self, values: pl.Series) -> pl.Series:
        """Return the index of the scalar that each value equals; null where it equals none.

        Args:
            values: tidied, or from `mixed_values`.
        """
        if isinstance(values.dtype, pl.Struct):
            texts, is_text = values.struct.field(_TEXT), values.struct.field(IS_TEXT).fill_null(value=True)
            none = pl.Series([None], dtype=pl.String)
            as_text = self._find(texts.zip_with(is_text, none), is_text=True)
            return as_text.zip_with(is_text, self._find(none.zip_with(is_text, texts), is_text=False))
        is_typed = values.dtype == pl.Boolean or values.dtype.is_numeric()
        return self._find(to_text(values), is_text=not is_typed)

    def _find(self, texts: pl.Series, *, is_text: bool) -> pl.Series:
        """Return the index of each text; computed once for each different one."""
        found: dict[str, int] = {}
        for text in texts.unique().drop_nulls().to_list():
            offered = _offered(text) if is_text else _offered_typed(text)
            index = next((self._indexes[reading] for reading in offered if reading in self._indexes), None)
            if index is not None:
                found[text] = index
        return texts.replace_strict(list(found), list(found.values()), default=None, return_dtype=pl.Int64)


def condition_met(wanted: ScalarMatch, values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return which records a `where` condition takes, and for which it has no answer: booleans that read as none."""
    answers = wanted.test(values)
    return answers.fill_null(value=False), plain_values(values).is_not_null() & answers.is_null()


def unread_condition(path: str) -> str:
    """Return the detail of a reject for which the condition at `path` has no answer."""
    return f"where {path[:_PATH_SHOWN]}: reads neither as true nor as false"


def mixed_values(texts: pl.Series, is_text: pl.Series) -> pl.Series:
    """Return values of several types as one column: their text, and whether each was text before."""
    return pl.DataFrame({_TEXT: texts, IS_TEXT: is_text}).to_struct()


def plain_values(values: pl.Series) -> pl.Series:
    """Return a tidied column as it is, and mixed values as text."""
    return values.struct.field(_TEXT) if isinstance(values.dtype, pl.Struct) else values


def _accepted(scalar: Scalar) -> Iterator[_Reading]:
    """Yield what a value may be compared as, to equal the scalar."""
    if isinstance(scalar, bool):
        yield from (("text as boolean", scalar), ("boolean", scalar), ("number", int(scalar)))
    elif isinstance(scalar, str):
        yield "text", scalar
        if (number := _number(scalar)) is not None:
            yield "number", number
        if (answer := _boolean(scalar)) is not None:
            yield "boolean", answer
    else:
        number = Decimal(repr(scalar))
        yield from (("text as number", number), ("number", number))
        if number in (0, 1):
            yield "boolean", bool(number)


def _offered(text: str) -> Iterator[_Reading]:
    """Yield what a text is compared as, the closest first."""
    if text.startswith(NON_SCALAR):
        return
    yield "text", text
    if (number := _number(text)) is not None:
        yield "text as number", number
    if (answer := _boolean(text)) is not None:
        yield "text as boolean", answer


def _offered_typed(text: str) -> Iterator[_Reading]:
    """Yield what a number or boolean with this text is compared as; nothing for lists and objects."""
    if text in ("true", "false"):
        yield "boolean", text == "true"
    elif not text.startswith(NON_SCALAR) and len(text) <= _DIGITS_MAX:
        yield "number", Decimal(text)


def _number(text: str) -> Decimal | None:
    return Decimal(text) if len(text) <= _DIGITS_MAX and _PLAIN_NUMBER.fullmatch(text) else None


def _boolean(text: str) -> bool | None:
    number = _number(text)
    return TEXT_BOOLS.get(text.lower()) if number is None else bool(number) if number in (0, 1) else None
