"""A partition's state made again from what it had accepted and decided, without deciding anything again.

The checkpoint's cursors say which records have left, the revisions say what was decided of those that stay: so
neither the rules nor the steps under which that happened are needed. The fingerprint proves that the result is the
state that was lost.
"""

from collections.abc import Iterable
from typing import NamedTuple

from joins.checkpoint import Checkpoint
from joins.partition import Partition
from joins.policy import LABELS_PER_CHAIN_MAX, Policy
from joins.record import LabelRecord, LabelValue, PredictionRecord
from joins.state import (
    FINGERPRINT_MASK,
    Chain,
    CountedAs,
    KeyState,
    LabelState,
    PredictionState,
    chain_name,
    chain_part,
    label_part,
    name_code,
    prediction_part,
)
from joins.store import Store
from schemas.base.status import Status

__all__ = ["DecidedOutcome", "KeptLabel", "RebuildError", "rebuild"]

PAGE = 10_000
"""Entries looked at before the store may spill: enough to be found all at once, little to hold (about 10 MB)."""


class RebuildError(Exception):
    """The rebuilt state is not the one the checkpoint describes."""

    def __init__(self, expected: int, found: int) -> None:
        self.expected = expected
        self.found = found
        super().__init__(f"the rebuilt state has fingerprint {found}, the checkpoint says {expected}")


class KeptLabel(NamedTuple):
    """A label that was accepted, and whether it was `stale` when it came."""

    record: LabelRecord
    is_stale: bool


class DecidedOutcome(NamedTuple):
    """What a revision says of one outcome; the fields mean what those of `joins.OutcomeRow` mean."""

    key: str
    id: str
    kind: str
    definition: str
    status: Status
    value: LabelValue
    known_at_ms: int
    prediction_offset: int
    label_offset: int | None
    label_time_ms: int | None


def rebuild(
    policy: Policy,
    store: Store,
    checkpoint: Checkpoint,
    predictions: Iterable[PredictionRecord],
    labels: Iterable[KeptLabel],
    decisions: Iterable[DecidedOutcome],
) -> Partition:
    """Fill an empty store and return the partition as it stood at `checkpoint`.

    Memory stays bounded where the store can spill: records are read one by one, and their iterables may call
    `store.prefetch` and `store.spill` between any two of them; nothing is held of a record that was read.

    Args:
        policy: the rules to go on under; the state may have been made under others.
        store: empty.
        checkpoint: the newest checkpoint.
        predictions: accepted ones; those older than the point's `left_ms` may be missing.
        labels: accepted ones, no duplicates, in offset order; at least those from the first on that has not left.
        decisions: revisions, those of one outcome in the order in which they were made; at least those of the
            predictions, and those by the labels, that have not left. Those of predictions that have left tell which
            waiting labels will leave as `too_late`, and not as `unknown_prediction`.

    Raises:
        RebuildError: the fingerprint is another.
    """
    filling = _Filling(store, checkpoint)
    for prediction in predictions:
        filling.add_prediction(prediction)
    for label in labels:
        filling.add_label(*label)
    for decision in decisions:
        filling.decide(decision)
    filling.drop_what_waited_too_much()
    found = filling.fingerprint & FINGERPRINT_MASK
    if found != checkpoint.fingerprint:
        raise RebuildError(checkpoint.fingerprint, found)
    return Partition(policy, store, checkpoint)


class _Filling:
    """A store that is filled with what has not left at a checkpoint."""

    def __init__(self, store: Store, checkpoint: Checkpoint) -> None:
        self._store = store
        self._checkpoint = checkpoint
        self.fingerprint = 0

    def add_prediction(self, record: PredictionRecord) -> None:
        offset, key, id_, time_ms, digest, eligible, projection = record
        if self._checkpoint.left_ms is not None and time_ms < self._checkpoint.left_ms:
            return
        prediction = PredictionState(time_ms, offset, digest, eligible, projection, {})
        state = self._store.get(key)
        if state is None:
            self._store.put(key, KeyState({id_: prediction}, {}))
        else:
            state.predictions[id_] = prediction
        self._store.by_prediction.add((time_ms, offset, key, id_))
        self.fingerprint += prediction_part(prediction)

    def add_label(self, record: LabelRecord, is_stale: bool) -> None:  # noqa: FBT001 - the fields of a KeptLabel
        offset, key, kind, definition, _, value, time_ms, known_at_ms = record
        name = chain_name(kind, definition)
        state = self._store.get(key)
        kept = [] if state is None else state.labels.get(name, [])
        if not is_stale:
            for label in kept:
                if label.place == CountedAs.HEAD and label.time_ms <= time_ms:
                    label.place = CountedAs.SUPERSEDED
        reached_ms = self._checkpoint.reach_ms.get(kind)
        if reached_ms is not None and known_at_ms < reached_ms:
            return
        label = LabelState(time_ms, offset, value, known_at_ms, CountedAs.STALE if is_stale else CountedAs.HEAD)
        if state is None:
            state = KeyState({}, {})
            self._store.put(key, state)
        label.out_of_reach = bool(state.predictions)
        if kept:
            self.fingerprint -= label_part(kept[-1])
            kept.append(label)
            kept.sort(key=lambda one: (one.time_ms, one.offset))
            del kept[:-LABELS_PER_CHAIN_MAX]
        else:
            kept = state.labels[name] = [label]
        self.fingerprint += label_part(kept[-1])
        self._store.by_label[kind].add((known_at_ms, offset, key, name))

    def decide(self, decision: DecidedOutcome) -> None:
        state = self._store.get(decision.key)
        if state is None:
            return
        name = chain_name(decision.kind, decision.definition)
        if decision.label_offset is not None:
            label = state.label_at(name, decision.label_offset)
            if label is not None:
                label.joined, label.out_of_reach = True, False
        prediction = state.predictions.get(decision.id)
        if prediction is None or prediction.offset != decision.prediction_offset:
            for labels in state.labels.values():
                for label in labels:
                    label.out_of_reach = not label.joined
            return
        chain = Chain(
            decision.status, decision.value, decision.known_at_ms, decision.label_time_ms, decision.label_offset
        )
        before = prediction.chains.get(name)
        if before is not None:
            self.fingerprint -= chain_part(prediction.offset, name_code(name), before)
        prediction.chains[name] = chain
        self.fingerprint += chain_part(prediction.offset, name_code(name), chain)

    def drop_what_waited_too_much(self) -> None:
        """Drop labels that have joined nothing and were let go to save memory."""
        for kind, reached in self._checkpoint.waiting.items():
            after = None
            while page := self._store.by_label[kind].between(after, reached[0] + 1, PAGE):
                self._store.prefetch(entry[2] for entry in page)
                for known_at_ms, offset, key, name in page:
                    if (known_at_ms, offset) <= reached:
                        self._drop_waiting(key, name, offset)
                after = page[-1][:2]
                self._store.spill()

    def _drop_waiting(self, key: str, name: str, offset: int) -> None:
        state = self._store.get(key)
        label = None if state is None else state.label_at(name, offset)
        if state is None or label is None or label.joined:
            return
        labels = state.labels[name]
        self.fingerprint -= label_part(labels[-1])
        labels.remove(label)
        if labels:
            self.fingerprint += label_part(labels[-1])
        else:
            del state.labels[name]
        if not state.predictions and not state.labels:
            self._store.delete(key)
