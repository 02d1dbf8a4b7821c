"""The ages of each label kind as a table of plain text, for `truthloop check`."""

from collections.abc import Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final

from schemas.base.duration import format_duration
from schemas.config.loop import LoopConfig

__all__ = ["age_table"]

_NO_SAMPLE: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType({})


def age_table(config: LoopConfig, seen_ms: Mapping[str, Mapping[str, int]] = _NO_SAMPLE) -> Iterator[str]:
    """Yield the lines of a table with a row for each label kind.

    kind   early  expected delay  horizon  retain  seen p50  cohort ages
    fraud  1d     30d             120d     200d    12d       1d 7d 30d

    A column that is empty for every kind is left out.

    Args:
        config: valid.
        seen_ms: delays of sampled labels, by kind and column title.
    """
    labels = config.labels.values()
    columns = {
        "kind": list(config.labels),
        "early": [_text(label.early or None) for label in labels],
        "expected delay": [_text(label.expected_delay) for label in labels],
        "horizon": [_text(label.horizon) for label in labels],
        "retain": [_text(label.retain) for label in labels],
    }
    for title in dict.fromkeys(chain.from_iterable(seen_ms.values())):
        columns[title] = [_text(seen_ms.get(kind, {}).get(title)) for kind in config.labels]
    columns["cohort ages"] = [" ".join(map(_text, config.cohorts.ages))] * len(labels)
    padded = []
    for title, texts in columns.items():
        if any(texts):
            width = max(map(len, (title, *texts)))
            padded.append([text.ljust(width) for text in (title, *texts)])
    for row in zip(*padded, strict=True):
        yield "  ".join(row).rstrip()


def _text(age_ms: int | None) -> str:
    return "" if age_ms is None else format_duration(age_ms)
