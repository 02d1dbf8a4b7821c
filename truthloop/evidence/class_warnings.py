"""Warnings about kinds whose labels and predictions name their classes differently."""

from monitor.cells.class_vocabulary import vocabulary_warning
from truthloop.evidence.cells import Evidence

__all__ = ["class_warnings"]


def class_warnings(evidence: Evidence, kind: str | None = None) -> list[str]:
    """Return a sentence for each multiclass kind (or the given one) of whose labels no class is ever predicted."""
    found = []
    for one in evidence.plan.kinds:
        if one.task != "multiclass" or kind not in (None, one.name):
            continue
        if (warning := vocabulary_warning(evidence.cells.summary.measures(one.name))) is not None:
            found.append(f"kind {one.name}: {warning}")
    return found
