"""Whether the classes of labels and those of outputs have any in common: if none, they are named differently."""

from collections import Counter
from typing import Final

import polars as pl

from monitor.cells.class_name import OTHER, PREDICTED, TRUE, unescape_class
from monitor.cells.measure import read_measures

__all__ = ["LABELS_MIN", "vocabulary_text", "vocabulary_warning"]

LABELS_MIN: Final = 3
"""With fewer labels a good model may have been wrong each time."""

_SHOWN: Final = 4
_NAME_SHOWN: Final = 40


def vocabulary_warning(cells: pl.DataFrame) -> str | None:
    """Return a sentence if no class of the labels is ever predicted; None if one is, or if nobody can tell.

    Args:
        cells: merged, of one multiclass kind.

    >>> amounts = {"class_true dog": 2, "class_true cat": 1, "class_predicted 1": 2, "class_predicted 0": 1}
    >>> cells = pl.DataFrame({"slice": "", "measure": list(amounts), "amount": list(amounts.values())})
    >>> vocabulary_warning(cells)
    "none of 3 labels has a class that is ever predicted: labels say 'dog', 'cat', predictions say '1', '0'"
    """
    of_all = cells.filter(pl.col("slice") == "", pl.col("measure").str.contains(f"^({TRUE}|{PREDICTED}) "))
    counts = read_measures(of_all).group_by("name", "class").agg(pl.col("amount").sum()).filter(pl.col("amount") > 0)
    truths, outputs = (
        Counter(dict(counts.filter(pl.col("name") == name).select("class", "amount").iter_rows()))
        for name in (TRUE, PREDICTED)
    )
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
