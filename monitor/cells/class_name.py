"""The classes of a multiclass kind, as the measures of cells name them.

This module must not count anything.
"""

import json
from collections.abc import Iterable, Mapping

import polars as pl

__all__ = ["CLASSES_MAX", "OTHER", "class_text", "classes_in", "confusion_measure", "newcomers", "read_confusion"]

CLASSES_MAX = 50
"""Classes of one kind that are told apart; all others are "other", so that there is an end to cells."""

OTHER = "*other"
"""All classes beyond the first fifty. Once there are any, no new class is told apart."""

_ESCAPE = "\\"
_RESERVED = ("*", _ESCAPE)
_CONFUSION = "confusion"


def class_text(name: str) -> str:
    """Return the text of a real class: one that begins with `*` or a backslash gets a backslash before it."""
    return _ESCAPE + name if name.startswith(_RESERVED) else name


def confusion_measure(truth: str, said: str) -> str:
    """Return the measure that counts this pair of class texts: `confusion ["truth","said"]`."""
    return f"{_CONFUSION} {json.dumps([truth, said], ensure_ascii=False, separators=(',', ':'))}"


def read_confusion(measure: str) -> tuple[str, str] | None:
    """Return the pair of class texts that a measure counts, at whatever age; None for other measures."""
    name, _, pair = measure.partition(" ")
    if not pair or name.partition("@")[0] != _CONFUSION:
        return None
    truth, said = json.loads(pair)
    return truth, said


def classes_in(cells: pl.DataFrame) -> dict[str, frozenset[str]]:
    """Return the class texts that cells tell apart, by kind."""
    found: dict[str, set[str]] = {}
    named = cells.filter(pl.col("measure").str.starts_with(_CONFUSION)).select("kind", "measure").unique()
    for kind, measure in named.iter_rows():
        if (pair := read_confusion(measure)) is not None:
            found.setdefault(kind, set()).update(pair)
    return {kind: frozenset(texts) for kind, texts in found.items()}


def newcomers(first_seen: Mapping[str, int], known: Iterable[str]) -> frozenset[str]:
    """Return the classes that are told apart from now on.

    Args:
        first_seen: new class texts, and the least prediction time of each: first come, first admitted.
        known: the class texts told apart so far. Where `OTHER` is among them nobody comes in any more, or
            an outcome could be taken out of another class than it was counted in.

    Returns:
        Those for which there is room; and `OTHER` where there is not room for all.
    """
    told_apart = set(known)
    new = [text for _, text in sorted((time, text) for text, time in first_seen.items() if text not in told_apart)]
    if OTHER in told_apart:
        return frozenset()
    room = max(CLASSES_MAX - len(told_apart), 0)
    return frozenset(new[:room]) | (frozenset() if len(new) <= room else {OTHER})
