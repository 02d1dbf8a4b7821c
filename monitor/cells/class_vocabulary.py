"""Whether the classes of labels and those of outputs have any in common: if none, they are named differently."""

from collections import Counter
from typing import Final

import polars as pl

from monitor.cells.class_name import OTHER, read_confusion, unescape_class

__all__ = ["LABELS_MIN", "vocabulary_text", "vocabulary_warning"]

LABELS_MIN: Final = 3
"""With fewer labels a good model may have been wrong each time."""

_SHOWN: Final = 4
_NAME_SHOWN: Final = 40


def vocabulary_warning(cells: pl.DataFrame) -> str | None:
    """Return a sentence if no class of the labels is ever predicted; None if one is, or if nobody can tell.

    Args:
        cells: merged, of one multiclass kind and definition.

    >>> measures = ['confusion ["dog","1"]', 'confusion ["cat","0"]']
    >>> vocabulary_warning(pl.DataFrame({"slice": "", "measure": measures, "amount": [2, 1]}))
    "none of 3 labels has a class that is ever predicted: labels say 'dog', 'cat', predictions say '1', '0'"
    """
    truths: Counter[str] = Counter()
    outputs: Counter[str] = Counter()
    counted = cells.filter(pl.col("slice") == "", pl.col("measure").str.starts_with("confusion "))
    for measure, amount in counted.select("measure", "amount").iter_rows():
        if (pair := read_confusion(measure)) is not None and amount > 0:
            truths[pair[0]] += amount
            outputs[pair[1]] += amount
    if OTHER in truths or OTHER in outputs:
        return None
    named = (Counter({unescape_class(name): count for name, count in side.items()}) for side in (truths, outputs))
    return vocabulary_text(*named)


def vocabulary_text(labels: Counter[str], outputs: Counter[str]) -> str | None:
    """Return the sentence for counted classes of labels and of outputs."""
    if sum(labels.values()) < LABELS_MIN or not outputs or labels.keys() & outputs.keys():
        return None
    said = f"labels say {_listed(labels)}, predictions say {_listed(outputs)}"
    return f"none of {sum(labels.values()):,} labels has a class that is ever predicted: {said}"


def _listed(classes: Counter[str]) -> str:
    names = [repr(name[:_NAME_SHOWN]) for name, _ in classes.most_common(_SHOWN)]
    return ", ".join(names) + (", ..." if len(classes) > _SHOWN else "")
