"""A partition's state made again from what it had accepted, without deciding anything again.

Accepted predictions and labels say what is known; the commit point's cursors say which deadlines have
passed. The fingerprint proves that the result is the state that was lost.
"""

from collections.abc import Iterable
from typing import Any

from joins.commit import CommitPoint
from joins.effect import Effects
from joins.partition import Partition
from joins.policy import Policy
from joins.record import LabelRecord, PredictionRecord
from joins.state import FINGERPRINT_MASK
from joins.store import Store

__all__ = ["RebuildError", "needed_from_ms", "rebuild"]

_NEVER_FUTURE_MS = 1 << 61
_NEVER_PAST_MS = -_NEVER_FUTURE_MS

PAGE = 10_000
"""Entries looked at before the store may spill: enough to be found all at once, little to hold (about 10 MB)."""


class RebuildError(Exception):
    """The rebuilt state is not the one the commit point describes."""

    def __init__(self, expected: int, found: int) -> None:
        self.expected = expected
        self.found = found
        super().__init__(f"the rebuilt state has fingerprint {found}, the commit point says {expected}")


def needed_from_ms(policy: Policy, point: CommitPoint) -> int | None:
    """Return the time from which predictions and labels are needed to rebuild; None: all of them.

    A label that is still kept may have joined a prediction that has left, up to one retain earlier.
    """
    if point.left_ms is None:
        return None
    return min(point.left_ms, *point.reach_ms.values()) - policy.retain_ms


def rebuild(
    policy: Policy,
    store: Store,
    point: CommitPoint,
    predictions: Iterable[PredictionRecord],
    labels: Iterable[LabelRecord],
) -> Partition:
    """Fill an empty store and return the partition as it stood at `point`.

    Memory stays bounded where the store can spill: records are read one by one, and their iterables may call
    `store.prefetch` and `store.spill` between any two of them; nothing is held of a record that was read.

    Args:
        policy: the rules that the lost state was made under.
        store: empty.
        point: the newest commit point.
        predictions: accepted ones made at `needed_from_ms` or later, in offset order.
        labels: known at `needed_from_ms` or later, without refused ones, duplicates, and ones that were
            let go before they joined; in offset order.

    Raises:
        RebuildError: the fingerprint is another.
    """
    partition = Partition(policy, store)
    # The first two takes are those of a running partition; what they emit was emitted long ago.
    partition.effects = Effects(_Unheard(), _Unheard())
    partition.take_predictions(predictions, 0, _NEVER_FUTURE_MS)
    partition.take_labels(labels, 0, _NEVER_FUTURE_MS, known_new=True)
    _pass_deadlines(partition, point)
    _let_go(partition, point)
    found = partition.point.fingerprint & FINGERPRINT_MASK
    if found != point.fingerprint:
        raise RebuildError(point.fingerprint, found)
    partition.effects = Effects([], [])
    partition.point = point
    return partition


class _Unheard(list[Any]):
    """A list that stays empty: millions of rows that nobody will read are not kept."""

    def append(self, _: object) -> None:
        """Forget it."""


def _pass_deadlines(partition: Partition, point: CommitPoint) -> None:
    """Time out what is pending behind each cursor."""
    store = partition.store
    after, until_ms = None, max((time_ms + 1 for time_ms, _ in point.cursors.values()), default=_NEVER_PAST_MS)
    while page := store.by_prediction.between(after, until_ms, PAGE):
        store.prefetch(key for _, _, key, _ in page)
        for time_ms, offset, key, id_ in page:
            state = store.get(key)
            prediction = None if state is None else state.predictions.get(id_)
            if prediction is not None:
                for kind, cursor in point.cursors.items():
                    if (time_ms, offset) <= cursor:
                        partition.time_out(key, id_, prediction, kind, 0)
        after = page[-1][:2]
        store.spill()


def _let_go(partition: Partition, point: CommitPoint) -> None:
    """Drop what was needed only to know what had joined."""
    store = partition.store
    for kind, reach_ms in point.reach_ms.items():
        while page := store.by_label[kind].take(reach_ms, PAGE):
            store.prefetch(key for _, _, key, _ in page)
            for _, offset, key, name in page:
                state = store.get(key)
                label = None if state is None else state.label_at(name, offset)
                if state is not None and label is not None:
                    partition.drop_label(key, state, name, label)
            store.spill()
    if point.left_ms is not None:
        while page := store.by_prediction.take(point.left_ms, PAGE):
            store.prefetch(key for _, _, key, _ in page)
            for _, _, key, id_ in page:
                state = store.get(key)
                if state is not None:
                    partition.drop_prediction(key, state, id_)
            store.spill()
