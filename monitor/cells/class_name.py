"""Class names of a multiclass kind as they appear in the measures of cells, and which classes get measures."""

from collections.abc import Iterable, Mapping

import polars as pl

__all__ = [
    "CLASSES_MAX",
    "HITS",
    "IS_OF_CLASS",
    "OTHER",
    "PREDICTED",
    "TRUE",
    "classes_in",
    "escape_class",
    "newly_admitted",
    "unescape_class",
]

TRUE, PREDICTED, HITS = "class_true", "class_predicted", "class_hit"
"""Names of the measures of a class: labelled outcomes of it, predictions of it, and those that are both."""

IS_OF_CLASS = rf"^({TRUE}|{PREDICTED})(@\d+)? "
"""Matches the measures of which every class with a cell has one."""

CLASSES_MAX = 5_000
"""Classes of one kind that are counted separately; all others are pooled in `OTHER`, which bounds the cells."""

OTHER = "*other"
"""The class that pools all beyond the first `CLASSES_MAX`. Once it is in use, no further class is admitted."""

_ESCAPE = "\\"
_RESERVED = ("*", _ESCAPE)


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


def classes_in(cells: pl.DataFrame) -> dict[str, frozenset[str]]:
    """Return by kind the class texts that cells count separately.

    >>> cells = pl.DataFrame({"kind": ["status"], "measure": ["class_true@60000 late"]})
    >>> classes_in(cells)
    {'status': frozenset({'late'})}
    """
    is_of_class = pl.col("measure").str.contains(IS_OF_CLASS)
    named = cells.filter(is_of_class).select("kind", pl.col("measure").str.splitn(" ", 2).struct[1]).unique()
    found: dict[str, set[str]] = {}
    for kind, text in named.iter_rows():
        found.setdefault(kind, set()).add(text)
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
