"""From a query string to a selection: what a reader may choose, and what is said when it is something else.

Every value has to be one that is offered, so that nothing else reaches who fills the view. Must not know HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from truthloop.page.panels.view import EVERY, Offer, Selection
from truthloop.text.format import name

__all__ = ["PARAMETERS", "REFRESH_S", "NotOfferedError", "chosen", "refresh_of"]

REFRESH_S: Final = (30, 60, 300)
"""How often the page may load itself again; only when a reader asks for it, since it would cut a screen reader off."""

PARAMETERS: Final = ("kind", "version", "slice", "metric", "days", "refresh")
"""What an address may name; `refresh` is the page's alone."""

DAYS_USUAL = 60

_SHOWN_MAX = 8
_DIGITS_MAX = 6


class NotOfferedError(ValueError):
    """A parameter or value that is not offered; the message names what is."""


def chosen(query: Sequence[tuple[str, str]], offer: Offer) -> Selection:
    """Return what a query selects; what it leaves out is the first that is offered, and all versions and slices.

    Args:
        query: names and values, decoded.
        offer: what there is.

    Raises:
        NotOfferedError: an unknown name, a name twice, or a value that is not offered.
    """
    given = _once(query)
    kind = _one_of("kind", given, offer.kinds)
    # a metric that the kind has not was chosen for another kind: the form sends both
    metrics = offer.metrics_of(kind)
    known = {metric for _, names in offer.metrics for metric in names}
    metric = _one_of("metric", given, (*metrics, *sorted(known - set(metrics)), ""))
    return Selection(
        kind,
        _one_of("version", given, (EVERY, *offer.versions)),
        _one_of("slice", given, (EVERY, *offer.slices)),
        metric if metric in metrics else next(iter(metrics), ""),
        _days(given, offer.days_max),
    )


def refresh_of(query: Sequence[tuple[str, str]]) -> int:
    """Return after how many seconds the page is to load itself again; 0: never.

    Raises:
        NotOfferedError: not a number of seconds that is offered.
    """
    return int(_one_of("refresh", _once(query), ("0", *map(str, REFRESH_S))))


def _once(query: Sequence[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for parameter, value in query:
        if parameter not in PARAMETERS:
            raise NotOfferedError(f"unknown parameter {name(parameter)!r}; known are {', '.join(PARAMETERS)}")
        if parameter in given:
            raise NotOfferedError(f"{parameter} is given twice")
        given[parameter] = value
    return given


def _one_of(parameter: str, given: Mapping[str, str], offered: Sequence[str]) -> str:
    value = given.get(parameter)
    if value is None:
        return next(iter(offered), "")
    if value not in offered:
        some = ", ".join(name(one) or "(empty: all)" for one in offered[:_SHOWN_MAX])
        rest = f" and {len(offered) - _SHOWN_MAX} more" if len(offered) > _SHOWN_MAX else ""
        raise NotOfferedError(f"{parameter} cannot be {name(value)!r}; it is one of {some or '(nothing yet)'}{rest}")
    return value


def _days(given: Mapping[str, str], days_max: int) -> int:
    text = given.get("days", str(min(DAYS_USUAL, days_max)))
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
    if not is_number or not 1 <= int(text) <= days_max:
        raise NotOfferedError(f"days cannot be {name(text)!r}; it is a whole number from 1 to {days_max}")
    return int(text)
