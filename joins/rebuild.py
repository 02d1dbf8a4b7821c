"""Restores a partition's state from what it had accepted and decided, without deciding anything again.

The checkpoint's cursors tell which records have left, and the revisions tell what was decided of those that stay, so
neither the rules nor the steps under which that happened are needed. The fingerprint proves that the result is the
state that was lost.
"""

from collections.abc import Iterable
from typing import NamedTuple

from joins.checkpoint import Checkpoint
from joins.keyed_state import KeyedState
from joins.partition import Partition
from joins.policy import Policy
from joins.record import DecidedOutcome, LabelRecord, PredictionRecord
from joins.state import FINGERPRINT_MASK, CountedAs
from joins.store import Store

__all__ = ["KeptLabel", "RebuildError", "rebuild"]

PAGE = 10_000
"""Entries read before the store may spill: enough to be found all at once, little to hold (about 10 MB)."""


class RebuildError(Exception):
    """The rebuilt state is not the one that the checkpoint describes."""

    def __init__(self, expected: int, found: int) -> None:
        self.expected = expected
        self.found = found
        super().__init__(f"the rebuilt state has fingerprint {found}, the checkpoint says {expected}")


class KeptLabel(NamedTuple):
    """A label that was accepted; whether it was `stale` when it came, and whether it was withdrawn since."""

    record: LabelRecord
    is_stale: bool
    is_withdrawn: bool = False


def rebuild(
    policy: Policy,
    store: Store,
    checkpoint: Checkpoint,
    predictions: Iterable[PredictionRecord],
    labels: Iterable[KeptLabel],
    outcomes: Iterable[DecidedOutcome],
) -> Partition:
    """Fill an empty store and return the partition as it stood at `checkpoint`.

    Memory stays bounded where the store can spill: records are read one by one, and their iterables may call
    `store.prefetch` and `store.spill` between any two of them; nothing is held of a record that was read.

    Args:
        policy: the rules to go on under; the state may have been made under others.
        store: empty.
        checkpoint: the newest.
        predictions: accepted ones; those older than the checkpoint's `left_ms` may be missing.
        labels: accepted ones, no duplicates, in offset order; at least those from the first on that has not left.
        outcomes: revisions, those of one outcome in the order in which they were made; at least those of the
            predictions, and those by the labels, that have not left. Those of predictions that have left tell which
            waiting labels will leave as `too_late`, and not as `unknown_prediction`.

    Raises:
        RebuildError: the fingerprint is another.
    """
    state = KeyedState(policy, store)
    for prediction in predictions:
        if checkpoint.left_ms is None or prediction[3] >= checkpoint.left_ms:
            state.add_prediction(prediction, 0)
    for record, is_stale, is_withdrawn in labels:
        reach_ms = checkpoint.reach_ms.get(record[2])
        counted_as = CountedAs.WITHDRAWN if is_withdrawn else CountedAs.STALE if is_stale else CountedAs.HEAD
        state.restore_label(record, counted_as, is_kept=reach_ms is None or record[7] >= reach_ms)
    for outcome in outcomes:
        state.restore_outcome(outcome)
    _restore_evictions(state, checkpoint)
    found = state.checkpoint.fingerprint & FINGERPRINT_MASK
    if found != checkpoint.fingerprint:
        raise RebuildError(checkpoint.fingerprint, found)
    return Partition(policy, store, checkpoint)


def _restore_evictions(state: KeyedState, checkpoint: Checkpoint) -> None:
    """Drop labels that have joined nothing and were evicted to free memory."""
    for kind, reached in checkpoint.waiting.items():
        after = None
        while page := state.store.by_label[kind].between(after, reached[0] + 1, PAGE):
            state.store.prefetch(entry[2] for entry in page)
            for known_at_ms, offset, key, name in page:
                if (known_at_ms, offset) <= reached:
                    state.drop_waiting_label(key, name, offset)
            after = page[-1][:2]
            state.store.spill()
