"""One partition of the join: records in, revisions of outcomes out, and a checkpoint to go on from.

The canonical order of a step is predictions, then labels, then time: marks move, deadlines pass, what
waited too long is let go. So what a step does is a function of the state and of the ranges it was given,
and the state itself depends only on what was read and on the cursors (see docs/semantics.md).

No IO, no clock, no randomness: `now` and idleness come with the batch.
"""

from collections.abc import Iterable

from joins.checkpoint import Checkpoint
from joins.effect import Effects, RejectRow
from joins.expiry import Expiry, WaitingLabel
from joins.index import Cursor
from joins.keyed_state import StateWriter, count_labels
from joins.policy import FUTURE_REJECT_MS, FUTURE_WATERMARK_MS, Policy
from joins.record import Batch, LabelRecord, Op, PredictionRecord
from joins.state import (
    FINGERPRINT_MASK,
    Chain,
    ChainName,
    KeyState,
    LabelState,
    PredictionState,
    prediction_part,
    waiting_bytes,
)
from joins.store import Store
from joins.watermark import PREDICTIONS
from schemas.base.status import RejectReason

__all__ = ["Partition"]

# Looking up a member on its enum class costs more than comparing it (0.16 us on CPython 3.11).
_HEARTBEAT = Op.HEARTBEAT

_NEVER_MS = -(1 << 62)
_NEVER: Cursor = (_NEVER_MS, -1)


class Partition(StateWriter):
    """The join of one partition.

    Args:
        policy: the loop's rules.
        store: holds this partition's keys; nobody else may change it.
        checkpoint: where to go on; a new partition starts from nothing.

    Attributes:
        is_caught_up: whether the last step did all that time allows; if not, the next one goes on.
    """

    def __init__(self, policy: Policy, store: Store, checkpoint: Checkpoint | None = None) -> None:
        super().__init__(policy, store, checkpoint)
        self.is_caught_up = True
        self._behind_predictions: list[tuple[int, int, str, str]] = []
        self._behind_labels: list[WaitingLabel] = []

    def change_rules(self, policy: Policy) -> None:
        """Go on under other rules of the same kinds and definitions. What was decided stays decided.

        Where a horizon has become longer, the cursor goes back to the deadlines that were not there before.

        Raises:
            ValueError: the kinds or their definitions are others, which would need outcomes to be counted anew.
        """
        for kind in {*self.policy.kinds, *policy.kinds}:
            old, new = self.policy.kinds.get(kind), policy.kinds.get(kind)
            if old is None or new is None or old.definition != new.definition:
                raise ValueError(f"label kind {kind!r} is not there before and after with the same definition")
            cursor = self.checkpoint.cursors.get(kind)
            longer_ms = new.horizon_ms - old.horizon_ms
            if cursor is not None and longer_ms > 0:
                self.checkpoint.cursors[kind] = (cursor[0] - longer_ms, cursor[1])
        self.policy = policy
        self.forget_rules()

    def step(self, batch: Batch) -> Effects:
        """Read one batch and return what came of it; the checkpoint has then moved behind it.

        Raises:
            ValueError: the batch does not start where the partition stands.
        """
        self._check_range(batch)
        checkpoint = self.checkpoint
        self.effects = Effects([], [])
        checkpoint.counters.predictions.consumed += len(batch.predictions)
        checkpoint.counters.unreadable_predictions += batch.unreadable[0]
        checkpoint.counters.unreadable_labels += batch.unreadable[1]
        self._take_predictions(batch.predictions, checkpoint.labels_next, batch.now_ms)
        self._take_labels(batch.labels, batch.predictions_next, batch.now_ms)
        self._advance_watermarks(batch)
        checkpoint.predictions_next = batch.predictions_next
        checkpoint.labels_next = batch.labels_next
        self.is_caught_up = Expiry(self, batch.idle).run(self._behind_predictions, self._behind_labels)
        self._behind_predictions = []
        self._behind_labels = []
        checkpoint.fingerprint &= FINGERPRINT_MASK
        return self.effects

    def _take_predictions(self, records: Iterable[PredictionRecord], labels_first: int, now_ms: int) -> None:
        """Apply predictions in offset order. A label that waited joins at once."""
        get, put, checkpoint = self.store.get, self.store.put, self.checkpoint
        index = self.store.by_prediction.add
        too_new_ms = now_ms + FUTURE_REJECT_MS
        floor_ms = _NEVER_MS if checkpoint.floor_ms is None else checkpoint.floor_ms
        behind_ms = max((time_ms for time_ms, _ in checkpoint.cursors.values()), default=_NEVER_MS)
        accepted = 0
        for record in records:
            offset, key, id_, time_ms, digest, eligible, projection = record
            if time_ms > too_new_ms or time_ms < floor_ms:
                self.refuse(offset, RejectReason.FUTURE if time_ms > too_new_ms else RejectReason.TOO_OLD)
                continue
            prediction = PredictionState(time_ms, offset, digest, eligible, projection, {})
            state = get(key)
            if state is None:
                put(key, KeyState({id_: prediction}, {}))
            elif (known := state.predictions.get(id_)) is not None:
                self.refuse_again(offset, digest, known)
                continue
            else:
                if not state.predictions:
                    checkpoint.waiting_bytes -= count_labels(state) * waiting_bytes(key)
                state.predictions[id_] = prediction
                if state.labels:
                    self.join_waiting(key, id_, prediction, state, labels_first)
            index((time_ms, offset, key, id_))
            accepted += 1
            checkpoint.fingerprint += prediction_part(prediction)
            if time_ms <= behind_ms:
                self._behind_predictions.append((time_ms, offset, key, id_))
        checkpoint.counters.predictions.accepted += accepted
        for outcomes in checkpoint.counters.outcomes.values():
            outcomes.pending += accepted

    def _take_labels(self, records: Iterable[LabelRecord], predictions_next: int, now_ms: int) -> None:
        """Apply labels in offset order: each to every prediction of its key that it can reach."""
        get, rules_of = self.store.get, self._rules
        index = {kind: by_label.add for kind, by_label in self.store.by_label.items()}
        counts_of, waiting = self.checkpoint.counters.labels, self.checkpoint.waiting
        too_new_ms = now_ms + FUTURE_REJECT_MS
        for offset, key, kind, definition, op, value, time_ms, known_at_ms in records:
            counts = counts_of[kind]
            counts.consumed += 1
            if op is _HEARTBEAT:
                counts.heartbeats += 1
                continue
            if known_at_ms > too_new_ms or time_ms > too_new_ms:
                counts.rejected += 1
                self.effects.rejects.append(RejectRow("labels", offset, RejectReason.FUTURE, kind))
                continue
            rules = rules_of[kind].get(definition) or self.learn_rules(kind, definition)
            if not rules.is_own:
                counts.other_definition += 1
            state = get(key)
            if state is None:
                state = KeyState({}, {})
                self.store.put(key, state)
            label = LabelState(time_ms, offset, value, known_at_ms)
            if _is_duplicate(label, state, rules.name):
                counts.duplicate += 1
                self.effects.rejects.append(RejectRow("labels", offset, RejectReason.DUPLICATE, kind))
                continue
            self.keep(state, rules, label, key)
            for id_, prediction in state.predictions.items():
                if abs(known_at_ms - prediction.time_ms) <= rules.retain_ms:
                    chain = prediction.chains.get(rules.name)
                    if chain is None or _order(chain) < (time_ms, offset):
                        self.join(key, id_, prediction, rules, label, predictions_next + offset + 1)
            if not label.joined:
                label.out_of_reach = bool(state.predictions)
                if waiting and (known_at_ms, offset) <= waiting.get(kind, _NEVER):
                    self._behind_labels.append((kind, offset, key, rules.name))
            index[kind]((known_at_ms, offset, key, rules.name))

    def _advance_watermarks(self, batch: Batch) -> None:
        """Move every input's mark by what was read of it, and by what heartbeats and a close promise."""
        latest_ms = batch.now_ms + FUTURE_WATERMARK_MS
        times: dict[str, list[int]] = {name: [] for name in self.checkpoint.watermarks}
        assured: dict[str, int | None] = dict.fromkeys(times, batch.close_at_ms)
        times[PREDICTIONS] = [record[3] for record in batch.predictions if record[3] <= latest_ms]
        for _, _, kind, _, op, _, time_ms, known_at_ms in batch.labels:
            if op is not _HEARTBEAT:
                if known_at_ms <= latest_ms:
                    times[kind].append(known_at_ms)
            elif time_ms <= latest_ms:
                assured[kind] = max(time_ms, assured[kind] or time_ms)
        for name, watermark in self.checkpoint.watermarks.items():
            self.checkpoint.watermarks[name] = watermark.advance(times[name], assured[name], self.policy.disorder_ms)

    def _check_range(self, batch: Batch) -> None:
        for name, first, records, following in (
            ("predictions", self.checkpoint.predictions_next, batch.predictions, batch.predictions_next),
            ("labels", self.checkpoint.labels_next, batch.labels, batch.labels_next),
        ):
            start = records[0][0] if records else first
            last = records[-1][0] if records else following - 1
            if not first <= start <= last + 1 or last >= following:
                raise ValueError(
                    f"{name} [{start}, {last}] do not lie in the range [{first}, {following}) of this step"
                )


def _order(chain: Chain) -> Cursor:
    """Return where a chain's label stands among labels: a timeout stands before all of them."""
    if chain.label_time_ms is None or chain.label_offset is None:
        return _NEVER
    return (chain.label_time_ms, chain.label_offset)


def _is_duplicate(label: LabelState, state: KeyState, name: ChainName) -> bool:
    """Tell whether a label says again what the label of record of its chain says.

    Where that one has left the state, the chains that it joined still tell its time and value.
    """
    labels = state.labels.get(name)
    if labels is not None:
        return labels[-1].time_ms == label.time_ms and labels[-1].value == label.value
    for prediction in state.predictions.values():
        chain = prediction.chains.get(name) if prediction.chains else None  # mostly there is none yet
        if chain is not None and chain.label_time_ms == label.time_ms and chain.value == label.value:
            return True
    return False
