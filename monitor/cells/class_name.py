"""Class names of a multiclass kind as they appear in the measures of cells, and which classes get measures."""

import json
from collections.abc import Iterable, Mapping

import polars as pl

__all__ = [
    "CLASSES_MAX",
    "OTHER",
    "classes_in",
    "confusion_class",
    "escape_class",
    "newly_admitted",
    "read_confusion",
    "unescape_class",
]

CLASSES_MAX = 50
"""Classes of one kind that are counted separately; all others are pooled in `OTHER`, which bounds the cells."""

OTHER = "*other"
"""The class that pools all beyond the first fifty. Once it is in use, no further class is admitted."""

_ESCAPE = "\\"
_RESERVED = ("*", _ESCAPE)
_CONFUSION = "confusion"


def escape_class(name: str) -> str:
    r"""Return the class text of a real class: a name that begins with `*` or a backslash gets a backslash in front.

    >>> escape_class("landed"), escape_class("*other")
    ('landed', '\\*other')
    """
    return _ESCAPE + name if name.startswith(_RESERVED) else name


def unescape_class(text: str) -> str:
    r"""Return the name of a real class from its text.

    >>> unescape_class("landed"), unescape_class("\\*other")
    ('landed', '*other')
    """
    return text.removeprefix(_ESCAPE)


def confusion_class(truth: str, predicted: str) -> str:
    """Return the class of the measure that counts a pair of class texts.

    >>> confusion_class("late", "landed")
    '["late","landed"]'
    """
    return json.dumps([truth, predicted], ensure_ascii=False, separators=(",", ":"))


def read_confusion(measure: str) -> tuple[str, str] | None:
    """Return the class texts (truth, predicted) that a measure counts, with or without an age; None for other measures.

    >>> read_confusion('confusion@3600000 ["late","landed"]'), read_confusion("labels")
    (('late', 'landed'), None)
    """
    name, _, pair = measure.partition(" ")
    if not pair or name.partition("@")[0] != _CONFUSION:
        return None
    truth, predicted = json.loads(pair)
    return truth, predicted


def classes_in(cells: pl.DataFrame) -> dict[str, frozenset[str]]:
    """Return by kind the class texts that cells count separately.

    >>> cells = pl.DataFrame({"kind": ["status"], "measure": ['confusion ["late","late"]']})
    >>> classes_in(cells)
    {'status': frozenset({'late'})}
    """
    found: dict[str, set[str]] = {}
    named = cells.filter(pl.col("measure").str.starts_with(_CONFUSION)).select("kind", "measure").unique()
    for kind, measure in named.iter_rows():
        if (pair := read_confusion(measure)) is not None:
            found.setdefault(kind, set()).update(pair)
    return {kind: frozenset(texts) for kind, texts in found.items()}


def newly_admitted(first_seen: Mapping[str, int], admitted: Iterable[str]) -> frozenset[str]:
    """Return the unseen classes that are counted separately from now on, oldest first up to `CLASSES_MAX`.

    Args:
        first_seen: class texts with the least prediction time of each.
        admitted: class texts admitted so far. With `OTHER` among them nothing more is admitted: else a correction could
            subtract an outcome from another class than it was added to.

    Returns:
        New classes, and `OTHER` where there is not room for all.

    >>> sorted(newly_admitted({"late": 2, "landed": 1}, ["landed"])), newly_admitted({"late": 2}, [OTHER])
    (['late'], frozenset())
    """
    known = set(admitted)
    if OTHER in known:
        return frozenset()
    unseen = [text for _, text in sorted((time, text) for text, time in first_seen.items() if text not in known)]
    room = max(CLASSES_MAX - len(known), 0)
    return frozenset(unseen[:room]) | (frozenset() if len(unseen) <= room else {OTHER})
