"""Query strings: parsed to a selection, every value of which must be one of the choices, and written from one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final
from urllib.parse import urlencode

from truthloop.page.panels.view import EVERY, Choices, Selection
from truthloop.text.format import name
from truthloop.text.slices import uncounted_text

__all__ = ["PARAMETERS", "REFRESH_S", "InvalidChoiceError", "parse_refresh", "parse_selection", "query_of"]

REFRESH_S: Final = (30, 60, 300)
"""Seconds after which the page can reload itself; off by default, since a reload interrupts a screen reader."""

PARAMETERS: Final = ("kind", "version", "slice", "metric", "days", "refresh")
"""Names in a query string; `refresh` is used by the page only."""

DAYS_DEFAULT = 60

_SHOWN_MAX = 8
_DIGITS_MAX = 6


class InvalidChoiceError(ValueError):
    """A parameter or value that is not one of the choices; the message names them."""


def parse_selection(query: Sequence[tuple[str, str]], choices: Choices) -> Selection:
    """Return the selection of a query; a missing name selects its default.

    Args:
        query: names and values, decoded.

    Raises:
        InvalidChoiceError: an unknown name, a name twice, or a value that is not one of the choices.
    """
    given = _once(query)
    kind = _one_of("kind", given, choices.kinds)
    # the form sends kind and metric together: after a change of the kind the metric may be one of another kind
    metrics = choices.metrics_of(kind)
    known = {metric for _, names in choices.metrics for metric in names}
    metric = _one_of("metric", given, (*metrics, *sorted(known - set(metrics)), ""))
    return Selection(
        kind,
        _one_of("version", given, (EVERY, *choices.versions)),
        _slice(given, choices),
        metric if metric in metrics else next(iter(metrics), ""),
        _days(given, choices.days_max),
    )


def parse_refresh(query: Sequence[tuple[str, str]]) -> int:
    """Return after how many seconds the page reloads itself; 0: never.

    Raises:
        InvalidChoiceError: not one of `REFRESH_S`.
    """
    return int(_one_of("refresh", _once(query), ("0", *map(str, REFRESH_S))))


def query_of(selection: Selection) -> str:
    """Return the query string of a selection."""
    return urlencode(asdict(selection))


def _once(query: Sequence[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for parameter, value in query:
        if parameter not in PARAMETERS:
            raise InvalidChoiceError(f"unknown parameter {name(parameter)!r}; known are {', '.join(PARAMETERS)}")
        if parameter in given:
            raise InvalidChoiceError(f"{parameter} is given twice")
        given[parameter] = value
    return given


def _one_of(parameter: str, given: Mapping[str, str], allowed: Sequence[str]) -> str:
    value = given.get(parameter)
    if value is None:
        return next(iter(allowed), "")
    if value not in allowed:
        some = ", ".join(name(one) or "(empty: all)" for one in allowed[:_SHOWN_MAX])
        rest = f" and {len(allowed) - _SHOWN_MAX} more" if len(allowed) > _SHOWN_MAX else ""
        raise InvalidChoiceError(f"{parameter} cannot be {name(value)!r}; it is one of {some or '(nothing yet)'}{rest}")
    return value


def _slice(given: Mapping[str, str], choices: Choices) -> str:
    chosen = given.get("slice", EVERY)
    if chosen not in choices.slices and (why_not := uncounted_text(chosen, choices.uncounted)):
        raise InvalidChoiceError(why_not)
    return _one_of("slice", given, (EVERY, *choices.slices))


def _days(given: Mapping[str, str], days_max: int) -> int:
    text = given.get("days", str(min(DAYS_DEFAULT, days_max)))
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
    if not is_number or not 1 <= int(text) <= days_max:
        raise InvalidChoiceError(f"days cannot be {name(text)!r}; it is a whole number from 1 to {days_max}")
    return int(text)
