"""Check that labels and predictions of a multiclass kind name their classes alike."""

from collections import Counter
from collections.abc import Iterator, Sequence

import polars as pl

from monitor.cells.class_spelling import like_the_others
from monitor.cells.class_vocabulary import vocabulary_text
from truthloop.onboarding.check.issue import Issue, issue
from truthloop.onboarding.trial.mapped import MappedSource

__all__ = ["check_classes"]


def check_classes(kind: str, predictions: Sequence[MappedSource], labels: Sequence[MappedSource]) -> Iterator[Issue]:
    """Yield an issue if no class of the sampled labels is ever predicted.

    Args:
        kind: multiclass.
        predictions: sources of predictions.
        labels: sources of labels of any kind.
    """
    outputs = _counted([source.frame[f"output_{kind}"] for source in predictions])
    truths = _counted(
        [source.frame.filter((pl.col("kind") == kind) & (pl.col("op") == "upsert"))["value_class"] for source in labels]
    )
    text = vocabulary_text(like_the_others(truths, outputs), like_the_others(outputs, truths))
    if text is not None:
        yield issue("other_classes", f"kind {kind}, classes", text)


def _counted(columns: Sequence[pl.Series]) -> Counter[str]:
    return Counter(name for column in columns for name in column.drop_nulls().to_list())
