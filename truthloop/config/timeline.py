"""A label kind's ages on one line, drawn to scale: from before the prediction to the end of retain.

Pure: from a config and a width to lines of text. This module must not print or know a terminal.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from schemas.base.duration import format_duration
from schemas.config.loop import LabelConfig

__all__ = ["WIDTH_MAX", "WIDTH_MIN", "draw_timeline", "in_ascii"]

WIDTH_MIN = 60
WIDTH_MAX = 120

_COLUMNS_MIN = 2
"""The smallest age gets at least so many columns to itself, else the scale becomes logarithmic."""

_WAITING, _OPEN, _LATE, _BEYOND = "┄", "━", "─", " "
_TICKS = {  # of the line: with a mark below, with an age above, with both
    _WAITING: ("┬", "┴", "┼"),
    _OPEN: ("┯", "┷", "┿"),
    _LATE: ("┬", "┴", "┼"),
    _BEYOND: ("╷", "╵", "│"),
}
_ASCII = str.maketrans("┄━─┬┴┼┯┷┿╷╵│├┤└┘", ".=-+++++++||++++")


_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Mark:
    """Something at a column of the line, with the texts that can be put beside it."""

    column: int
    text: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """From ages to columns.

    Attributes:
        unit_ms: ages well above it are logarithmic; 0 for a linear scale.
        zero: column of the prediction.
        per_step: columns per millisecond, or per step of the logarithm.
    """

    unit_ms: int
    zero: int
    per_step: float

    def column(self, age_ms: int) -> int:
        offset = round(_steps(abs(age_ms), self.unit_ms) * self.per_step)
        return self.zero + (max(offset, 0) if age_ms >= 0 else -max(offset, 1))


def draw_timeline(
    label: LabelConfig, ages_ms: Sequence[int], width: int, seen_ms: Mapping[str, int] = _NOTHING
) -> list[str]:
    """Draw one label kind's time line.

    Above the line stand the cohort ages, below it `early` (how long a label may wait for its prediction,
    so it lies before 0), the prediction at 0, expected_delay, horizon and retain. Texts that would collide
    stand in further rows, tied to their column.

    Args:
        label: the kind.
        ages_ms: ages at which coverage is looked at.
        width: columns to draw in; at least 60 and at most 120 are used.
        seen_ms: ages that were observed, by name; they stand below the line, as the config's do.

    Returns:
        Lines without trailing spaces, none longer than the width: the scale in words, ages, line, marks,
        legend.
    """
    width = min(max(width, WIDTH_MIN), WIDTH_MAX)
    ages = sorted({age for age in ages_ms if age > 0})
    scale = _scale_for(label, ages, width, seen_ms.values())
    marks = _named_marks(label, scale)
    marks += [_Mark(scale.column(age), f"{name} {format_duration(age)}") for name, age in seen_ms.items()]
    marks.sort(key=lambda mark: mark.column)
    age_marks = [_Mark(scale.column(age), format_duration(age)) for age in ages]
    above = _rows_above(age_marks, width)
    below = _rows_below(marks, width)
    line = _line(label, scale, width, {mark.column for mark in marks}, {mark.column for mark in age_marks})
    lines = [_scale_in_words(scale, bool(ages)), *reversed(above), line, *below, *_legend(label)]
    return [text.rstrip() for text in lines]


def in_ascii(lines: Sequence[str]) -> list[str]:
    """Return the same lines for terminals that have nothing but ASCII."""
    return [line.translate(_ASCII).encode("ascii", "backslashreplace").decode() for line in lines]


def _steps(age_ms: int, unit_ms: int) -> float:
    return math.log1p(age_ms / unit_ms) if unit_ms else float(age_ms)


def _scale_for(label: LabelConfig, ages: Sequence[int], width: int, seen: Iterable[int]) -> _Scale:
    """Choose linear where the smallest age keeps its columns, else logarithmic."""
    seen = list(seen)
    positive = [age for age in (label.expected_delay, label.horizon, label.retain, *ages, *seen) if age and age > 0]
    greatest, smallest = max(positive), min(positive)
    before = max(label.early, *(-age for age in seen), 0)
    linear = smallest * (width - 1) >= _COLUMNS_MIN * (greatest + before)
    unit_ms = 0 if linear else smallest
    left, right = _steps(before, unit_ms), _steps(greatest, unit_ms)
    zero = min(max(1, round((width - 1) * left / (left + right))), width // 2) if before else 0
    per_step = (width - 1 - zero) / right
    if before and left * per_step > zero:
        per_step = min(per_step, zero / left)
    return _Scale(unit_ms, zero, per_step)


def _named_marks(label: LabelConfig, scale: _Scale) -> list[_Mark]:
    marks = [_Mark(scale.zero, "prediction 0")]
    if label.early:
        marks.insert(0, _Mark(scale.column(-label.early), f"early {format_duration(-label.early)}"))
    if label.expected_delay:
        delay = f"expected_delay {format_duration(label.expected_delay)}"
        marks.append(_Mark(scale.column(label.expected_delay), delay))
    marks.append(_Mark(scale.column(label.horizon), f"horizon {format_duration(label.horizon)}"))
    marks.append(_Mark(scale.column(label.retain), f"retain {format_duration(label.retain)}"))
    return marks


def _line(label: LabelConfig, scale: _Scale, width: int, marked: set[int], aged: set[int]) -> str:
    """Draw the line itself: waiting before 0, open to the horizon, late to retain."""
    start = scale.column(-label.early) if label.early else scale.zero
    horizon, retain = scale.column(label.horizon), scale.column(label.retain)
    drawn = []
    for column in range(width):
        if column < start or column > retain:
            kind = _BEYOND
        elif column < scale.zero:
            kind = _WAITING
        else:
            kind = _OPEN if column <= horizon else _LATE
        below, above, both = _TICKS[kind]
        if column in marked:
            drawn.append(both if column in aged else below)
        else:
            drawn.append(above if column in aged else kind)
    return "".join(drawn)


def _rows_above(marks: Sequence[_Mark], width: int) -> list[str]:
    """Put ages over their columns, in as many rows as it takes, the row next to the line first."""
    rows = []
    pending = list(marks)
    while pending:
        row: list[tuple[int, str]] = []
        left: list[_Mark] = []
        for mark in pending:
            start = min(max(mark.column - len(mark.text) // 2, 0), width - len(mark.text))
            if row and start <= row[-1][0] + len(row[-1][1]):
                left.append(mark)
            else:
                row.append((start, mark.text))
        rows.append(_write(row, width, left))
        pending = left
    return rows


def _rows_below(marks: Sequence[_Mark], width: int) -> list[str]:
    """Put names below the line: each beside its column, tied to it, with nothing crossing if possible."""
    pending = list(marks)
    rows = []
    while pending:
        row: list[tuple[int, str]] = []
        placed: list[_Mark] = []
        for mark in pending:
            others = [other for other in pending if other is not mark]
            text = _place(mark, others, placed, row, width)
            if text is not None:
                row.append(text)
                placed.append(mark)
        if not placed:  # every name would cross a tie: the first one does
            mark = pending[0]
            row = [_beside(mark, pending[1:], width)[0]]
            placed = [mark]
        pending = [mark for mark in pending if mark not in placed]
        rows.append(_write(row, width, pending))
    return rows


def _beside(mark: _Mark, others: Sequence[_Mark], width: int) -> list[tuple[int, str]]:
    """Return where a name can stand, as (column, text): to the right of its column, or to the left.

    A very long one in the middle has room on neither side, and stands across.
    """
    goes_on = any(other.column == mark.column for other in others)
    right = (mark.column, f"{'├' if goes_on else '└'} {mark.text}")
    left_text = f"{mark.text} {'┤' if goes_on else '┘'}"
    left = (mark.column - len(left_text) + 1, left_text)
    across = (min(mark.column, width - len(mark.text)), mark.text)
    return [(at, text) for at, text in (right, left) if at >= 0 and at + len(text) <= width] or [across]


def _place(
    mark: _Mark,
    others: Sequence[_Mark],
    placed: Sequence[_Mark],
    row: Sequence[tuple[int, str]],
    width: int,
) -> tuple[int, str] | None:
    """Return a place for a name in this row that covers neither another name nor another mark's tie."""
    if any(other.column == mark.column for other in placed):
        return None
    waiting = [other for other in others if other not in placed]
    for at, text in _beside(mark, waiting, width):
        end = at + len(text)
        rightwards = at == mark.column and text != mark.text
        first, last = (at, end) if rightwards else (at - 1, end - 1)  # with a blank beside the text
        ties = any(first <= other.column <= last and other.column != mark.column for other in others)
        names = any(at <= start + len(name) and start <= end for start, name in row)
        if not ties and not names:
            return at, text
    return None


def _write(texts: Sequence[tuple[int, str]], width: int, tied: Sequence[_Mark]) -> str:
    """Return one row: texts, and where they leave room, the ties of marks that stand further away."""
    columns = {mark.column for mark in tied}
    cells = ["│" if column in columns else " " for column in range(width)]
    for start, text in texts:
        cells[start : start + len(text)] = text
    return "".join(cells)


def _scale_in_words(scale: _Scale, has_ages: bool) -> str:
    if scale.unit_ms:
        words = "log scale (equal steps, equal factors)"
    else:
        words = f"to scale, one column is {_about(1 / scale.per_step)}"
    return f"{words}{'; cohort ages above' if has_ages else ''}"


def _about(ms: float) -> str:
    """Return a duration to about two digits: a column's length is no round number."""
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")):
        if ms >= size:
            return f"{ms / size:.2g}{unit}"
    return f"{ms:.2g}ms"


def _legend(label: LabelConfig) -> list[str]:
    waits = [f"{_WAITING} label waits for prediction"] if label.early else []
    late = [f"{_LATE} late, still joins"] if label.retain > label.horizon else []
    return ["   ".join([*waits, f"{_OPEN} open", *late])]
