"""One spelling of a class that labels and outputs write differently: `3.0` and `3`.

A column of whole numbers with gaps becomes one of floats in a data frame, and its CSV says 3.0. Labels and outputs are
stored as they came; here a trailing `.0` is dropped where the other side of the pair is a whole number, for all that
compares them. The views of the lake do the same (`truthloop_class`).
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

import polars as pl

__all__ = ["like_the_others", "with_one_spelling", "with_outputs_alike"]

_WHOLE: Final = r"^-?(?:0|[1-9][0-9]*)$"
_WHOLE_AS_FLOAT: Final = r"^(-?(?:0|[1-9][0-9]*))\.0+$"


def with_one_spelling(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return outcomes whose classes are spelled alike.

    Args:
        outcomes: with value_class, previous_class and output_class.

    >>> columns = {"value_class": ["3.0", "3.0", "1.10"], "previous_class": [None, None, "x"]}
    >>> outcomes = pl.DataFrame(columns | {"output_class": ["4", "4.0", "1"]})
    >>> with_one_spelling(outcomes)["value_class"].to_list()
    ['3', '3.0', '1.10']
    """
    if outcomes.get_column("output_class").null_count() == outcomes.height:
        return outcomes
    truth, output = pl.col("value_class"), pl.col("output_class")
    return outcomes.with_columns(
        _like(truth, output),
        _like(pl.col("previous_class"), output),
        _like(output, pl.coalesce(truth, "previous_class")),
    )


def with_outputs_alike(rows: pl.DataFrame, truth: str, outputs: Sequence[str]) -> pl.DataFrame:
    """Return rows whose true class and outputs of several versions are spelled alike.

    >>> rows = pl.DataFrame({"truth": ["3.0", "4.0"], "running": ["3.0", "4.0"], "candidate": ["3", "4.0"]})
    >>> with_outputs_alike(rows, "truth", ["running", "candidate"]).rows()
    [('3', '3', '3'), ('4.0', '4.0', '4.0')]
    """
    true = pl.col(truth)
    rows = rows.with_columns(
        pl.coalesce(_stripped(true, pl.col(name)) for name in outputs).fill_null(true).alias(truth)
    )
    return rows.with_columns(_like(pl.col(name), true) for name in outputs)


def _like(text: pl.Expr, other: pl.Expr) -> pl.Expr:
    return _stripped(text, other).fill_null(text)


def _stripped(text: pl.Expr, other: pl.Expr) -> pl.Expr:
    """Return a whole number without its trailing `.0` where the other class is a whole number; else null."""
    return pl.when(other.str.contains(_WHOLE)).then(text.str.extract(_WHOLE_AS_FLOAT))


def like_the_others(names: Counter[str], others: Collection[str]) -> Counter[str]:
    """Return counted class names of one side, spelled as the other side spells whole numbers.

    >>> like_the_others(Counter({"3.0": 2, "x": 1}), ["3", "4"])
    Counter({'3': 2, 'x': 1})
    """
    is_whole = any(re.search(_WHOLE, other) for other in others)
    found: Counter[str] = Counter()
    for name, count in names.items():
        found[re.sub(_WHOLE_AS_FLOAT, r"\1", name) if is_whole else name] += count
    return found
