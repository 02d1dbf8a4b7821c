"""The state of one partition, key by key, and every change of it.

Only `KeyedState`, and for many keys at once `ColumnarState`, change a key's state, the counters, the fingerprint and
the bytes of waiting labels, so none of them can drift from the others (`tests/unit/joins/test_keyed_state.py` checks
that no other module does). When something changes is decided elsewhere: `joins.partition` has the order of a step,
`joins.expiry` follows time, `joins.rebuild` restores.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter, itemgetter

from joins.chain import ChainEvent, follow, reason_of_label
from joins.checkpoint import Checkpoint
from joins.effect import Effects, OutcomeRow, RejectRow
from joins.policy import FUTURE_REJECT_MS, LABELS_PER_CHAIN_MAX, ChainRules, KindRules, Policy
from joins.record import DecidedOutcome, LabelRecord, Op, PredictionRecord
from joins.state import (
    FINGERPRINT_MASK,
    Chain,
    ChainName,
    CountedAs,
    KeyState,
    LabelState,
    PredictionState,
    chain_name,
    chain_part,
    kind_and_definition,
    label_of_record,
    label_part,
    name_code,
    prediction_part,
    waiting_bytes,
)
from joins.store import Store
from joins.watermark import PREDICTIONS
from schemas.base.status import Reason, RejectReason, Status

__all__ = ["Entry", "KeyedState", "WaitingLabel"]

Entry = tuple[int, int, str, str]
"""(time in ms, offset, key, id or chain name), as the store's indexes keep it."""

WaitingLabel = tuple[str, int, str, ChainName]
"""(kind, offset, key, chain name)."""

CONTRACT_SHIFT = 48
"""The bits of a digest above this identify the contract: a change of contract is never a conflict."""

# Looking up a member on its enum class costs more than comparing it (0.16 us on CPython 3.11), and a named tuple made
# by its class costs three times one made by `tuple` (0.30 and 0.12 us).
_PENDING = Status.PENDING
_LABEL, _RETRACTION, _WITHDRAW = ChainEvent.LABEL, ChainEvent.RETRACTION, ChainEvent.WITHDRAW
_EARLY = Reason.EARLY
_HEAD, _SUPERSEDED, _STALE, _WITHDRAWN = CountedAs.HEAD, CountedAs.SUPERSEDED, CountedAs.STALE, CountedAs.WITHDRAWN
_DELETE, _HEARTBEAT = Op.DELETE, Op.HEARTBEAT
_new_tuple = tuple.__new__

_NEVER_MS = -(1 << 62)
_NEVER = (_NEVER_MS, -1)

_decision = itemgetter(
    *(OutcomeRow._fields.index(name) for name in ("revision", "prediction_offset", "kind", "definition"))
)
_position = attrgetter("input", "offset")
_key, _key_of_entry = itemgetter(1), itemgetter(2)


class KeyedState:
    """The keys of one partition with their predictions, outcomes and labels, and what is counted of them.

    Args:
        policy: the loop's rules.
        store: holds this partition's keys; nobody else may change it.
        checkpoint: where to go on; a new partition starts from nothing. It is changed in place.

    Attributes:
        effects: what the step under way has produced so far.
    """

    def __init__(self, policy: Policy, store: Store, checkpoint: Checkpoint | None = None) -> None:
        self.store = store
        self.checkpoint = checkpoint or Checkpoint.start(list(policy.kinds))
        self.change_policy(policy)
        self.begin_step()

    def change_policy(self, policy: Policy) -> None:
        """Apply other rules from now on; what was decided stays decided."""
        self.policy = policy
        self._rules = {kind: KindRules(policy, kind) for kind in policy.kinds}

    def begin_step(self) -> None:
        """Start with empty effects."""
        self.effects = Effects([], [])
        # looked up once a step, not once a record
        self._get = self.store.get
        self._index_prediction = self.store.by_prediction.add
        self._index_label = {kind: by_label.add for kind, by_label in self.store.by_label.items()}
        self._label_counts = self.checkpoint.counters.labels

    def end_step(self) -> Effects:
        """Bring the fingerprint into its range and the effects into their order, and return them."""
        self.checkpoint.fingerprint &= FINGERPRINT_MASK
        self.effects.outcomes.sort(key=_decision)
        self.effects.rejects.sort(key=_position)
        return self.effects

    def count_consumed(self, predictions: int, unreadable: tuple[int, int]) -> None:
        """Count the predictions of a batch, and its unreadable predictions and labels."""
        counters = self.checkpoint.counters
        counters.predictions.consumed += predictions
        counters.unreadable_predictions += unreadable[0]
        counters.unreadable_labels += unreadable[1]

    def refuse_prediction(self, offset: int, reason: RejectReason) -> None:
        """Reject a prediction that is out of bounds."""
        self.checkpoint.counters.predictions.rejected += 1
        self.effects.rejects.append(RejectRow(PREDICTIONS, offset, reason))

    def apply_predictions(self, records: Sequence[PredictionRecord], base: int, now_ms: int) -> list[Entry]:
        """Apply predictions in offset order.

        Args:
            records: of the step.
            base: the next offset of the labels, and the withdrawals so far; makes revisions grow.
            now_ms: the wall clock.

        Returns:
            The index's entries of those that some cursor has passed already.
        """
        if not records:
            return []
        self.store.prefetch(map(_key, records))
        too_new_ms, floor_ms, behind_ms = self._bounds(now_ms)
        behind = []
        accepted = 0
        for record in records:
            offset, key, id_, time_ms, _, _, _ = record
            if time_ms > too_new_ms or time_ms < floor_ms:
                self.refuse_prediction(offset, RejectReason.FUTURE if time_ms > too_new_ms else RejectReason.TOO_OLD)
            elif self.add_prediction(record, base):
                accepted += 1
                if time_ms <= behind_ms:
                    behind.append((time_ms, offset, key, id_))
        self._count_accepted(accepted)
        return behind

    def apply_labels(self, records: Sequence[LabelRecord], base: int, now_ms: int) -> list[WaitingLabel]:
        """Apply labels in offset order.

        Args:
            records: of the step.
            base: the next offset of the predictions, and the withdrawals so far; makes revisions grow.
            now_ms: the wall clock.

        Returns:
            Those that wait and that the cursor of waiting labels has passed already.
        """
        if not records:
            return []
        self.store.prefetch(map(_key, records))
        waiting, too_new_ms = self.checkpoint.waiting, now_ms + FUTURE_REJECT_MS
        behind = []
        for record in records:
            offset, key, kind, _, op, _, time_ms, known_at_ms = record
            if op is _HEARTBEAT:
                self.count_heartbeat(kind)
            elif known_at_ms > too_new_ms or time_ms > too_new_ms:
                self.refuse_label(offset, kind)
            else:
                name = self.add_label(record, base)
                if waiting and name is not None and (known_at_ms, offset) <= waiting.get(kind, _NEVER):
                    behind.append((kind, offset, key, name))
        return behind

    def _bounds(self, now_ms: int) -> tuple[int, int, int]:
        """Return the greatest and the least time of a prediction, and the time that some cursor has passed."""
        floor_ms = _NEVER_MS if self.checkpoint.floor_ms is None else self.checkpoint.floor_ms
        behind_ms = max((time_ms for time_ms, _ in self.checkpoint.cursors.values()), default=_NEVER_MS)
        return now_ms + FUTURE_REJECT_MS, floor_ms, behind_ms

    def add_prediction(self, record: PredictionRecord, base: int) -> bool:
        """Keep a prediction and join it with labels that wait; False if its (key, id) is known: the first stands.

        Args:
            record: within the bounds of time.
            base: the next offset of the labels, and the withdrawals so far; makes revisions grow.
        """
        offset, key, id_, time_ms, digest, eligible, projection = record
        checkpoint = self.checkpoint
        prediction = PredictionState(time_ms, offset, digest, eligible, projection, {})
        state = self._get(key)
        if state is None:
            self.store.put(key, KeyState({id_: prediction}, {}))
        elif (known := state.predictions.get(id_)) is not None:
            self._refuse_again(offset, digest, known.digest)
            return False
        else:
            if not state.predictions:
                checkpoint.waiting_bytes -= state.label_count * waiting_bytes(key)
            state.predictions[id_] = prediction
            if state.labels:
                self._join_waiting(key, id_, prediction, state, base)
        self._index_prediction((time_ms, offset, key, id_))
        checkpoint.fingerprint += prediction_part(prediction)
        return True

    def _count_accepted(self, predictions: int) -> None:
        """Count predictions that were kept: each is pending for every kind."""
        counters = self.checkpoint.counters
        counters.predictions.accepted += predictions
        for outcomes in counters.outcomes.values():
            outcomes.pending += predictions

    def time_out(self, key: str, id_: str, kind: str, revision: int, *, aged_out: bool = False) -> None:
        """End a pending outcome of the loop's own definition without a label; do nothing if it is not pending."""
        state = self._get(key)
        prediction = None if state is None else state.predictions.get(id_)
        if prediction is None:
            return
        rules = self._rules[kind][self.policy.kinds[kind].definition]
        if rules.name in prediction.chains:
            return
        chain = self._ended(prediction, kind, aged_out=aged_out)
        reason = Reason.AGED_OUT if aged_out else Reason.TIMEOUT
        self._revise(key, id_, prediction, rules, (None, chain, reason, revision))

    def time_out_all(self, entries: Sequence[Entry], kind: str, revision: int) -> None:
        """End the pending outcomes of these entries without a label."""
        self.store.prefetch(map(_key_of_entry, entries))
        for _, _, key, id_ in entries:
            self.time_out(key, id_, kind, revision)

    def age_out_predictions(self, entries: Sequence[Entry], revision: int) -> None:
        """Drop the predictions of these entries, which the floor has passed; pending outcomes end as aged out."""
        self.store.prefetch(map(_key_of_entry, entries))
        for _, _, key, id_ in entries:
            self.age_out_prediction(key, id_, revision)

    def age_out_labels(self, entries: Sequence[Entry], kind: str) -> None:
        """Drop the labels of these entries, which no prediction to come can reach."""
        self.store.prefetch(map(_key_of_entry, entries))
        for _, offset, key, name in entries:
            self.age_out_label(key, name, offset, kind)

    def _ended(self, prediction: PredictionState, kind: str, *, aged_out: bool = False) -> Chain:
        """Return the chain of a pending outcome that ends without a label."""
        of_kind = self.policy.kinds[kind]
        implies = of_kind.implies and prediction.eligible and not aged_out
        event = ChainEvent.AGE_OUT if aged_out else ChainEvent.IMPLY if implies else ChainEvent.EXPIRE
        value = of_kind.implied if implies else None
        return Chain(follow(_PENDING, event), value, prediction.time_ms + of_kind.horizon_ms)

    def age_out_prediction(self, key: str, id_: str, revision: int) -> None:
        """Drop a prediction that the floor has passed; its pending outcomes end as aged out."""
        state = self._get(key)
        if state is None or id_ not in state.predictions:
            return
        for kind in self.policy.kinds:
            self.time_out(key, id_, kind, revision, aged_out=True)
        prediction = state.predictions.pop(id_)
        self.checkpoint.fingerprint -= prediction_part(prediction)
        for name, chain in prediction.chains.items():
            self.checkpoint.fingerprint -= chain_part(prediction.offset, name_code(name), chain)
        if state.predictions:
            return
        if state.labels:
            self.checkpoint.waiting_bytes += state.label_count * waiting_bytes(key)
        else:
            self.store.delete(key)

    def count_heartbeat(self, kind: str) -> None:
        """Count a label of a batch that was a heartbeat."""
        counts = self._label_counts[kind]
        counts.consumed += 1
        counts.heartbeats += 1

    def refuse_label(self, offset: int, kind: str) -> None:
        """Reject a label whose time is too far ahead."""
        counts = self._label_counts[kind]
        counts.consumed += 1
        counts.rejected += 1
        self.effects.rejects.append(RejectRow("labels", offset, RejectReason.FUTURE, kind))

    def add_label(self, record: LabelRecord, base: int) -> ChainName | None:
        """Keep a label and join it with every prediction of its key in reach.

        Args:
            record: no heartbeat, and within the bounds of time.
            base: the next offset of the predictions, and the withdrawals so far; makes revisions grow.

        Returns:
            The name of its chains if it waits: it has joined nothing. None if it has joined, or is not kept.
        """
        offset, key, kind, definition, op, value, time_ms, known_at_ms = record
        counts = self._label_counts[kind]
        counts.consumed += 1
        rules = self._rules[kind][definition]
        if not rules.is_own:
            counts.other_definition += 1
        state = self._get(key)
        if op is _DELETE and self._refuse_deletion(state, rules, offset):
            return None
        if state is None:
            state = KeyState({}, {})
            self.store.put(key, state)
        label = LabelState(time_ms, offset, value, known_at_ms)
        labels = state.labels.get(rules.name)
        of_record = None if labels is None else label_of_record(labels)
        if state.repeats(rules.name, of_record, time_ms, value):
            counts.duplicate += 1
            self.effects.rejects.append(RejectRow("labels", offset, RejectReason.DUPLICATE, kind))
            return None
        if labels is None or of_record is None:
            counts.heads += 1
        elif time_ms >= of_record.time_ms:
            counts.heads += 1
            self._supersede(labels, label, kind)
        else:
            label.counted_as = _STALE
            counts.stale += 1
            self.effects.rejects.append(RejectRow("labels", offset, RejectReason.STALE, kind))
        self._insert(key, state, rules.name, labels, label)
        for id_, prediction in state.predictions.items():
            if abs(known_at_ms - prediction.time_ms) <= rules.retain_ms:
                chain = prediction.chains.get(rules.name)
                if chain is None or chain.is_before(time_ms, offset):
                    self._join(key, id_, prediction, rules, label, base + offset + 1)
        self._index_label[kind]((known_at_ms, offset, key, rules.name))
        if label.joined:
            return None
        label.out_of_reach = bool(state.predictions)
        return rules.name

    def withdraw_labels(self, key: str, name: ChainName, offsets: AbstractSet[int], revision: int) -> None:
        """Withdraw labels of a chain; every prediction that had joined one falls back to what remains in its reach.

        Args:
            revision: greater than all before it.
        """
        state = self._get(key)
        labels = [] if state is None else state.labels.get(name, [])
        kind, definition = kind_and_definition(name)
        for offset in sorted(offsets - {label.offset for label in labels}):
            self.refuse_withdrawal(offset, kind)
        withdrawn = [label for label in labels if label.offset in offsets and label.counted_as != _WITHDRAWN]
        if state is None or not withdrawn:
            return
        rules = self._rules[kind][definition]
        before = label_part(label_of_record(labels))
        for label in withdrawn:
            self._count_withdrawn(label, labels, kind)
        self.checkpoint.fingerprint += label_part(label_of_record(labels)) - before
        gone = {label.offset for label in withdrawn}
        for id_, prediction in state.predictions.items():
            chain = prediction.chains.get(name)
            if chain is not None and chain.label_offset in gone:
                label_left = state.label_in_reach(name, prediction.time_ms, rules.retain_ms)
                left = self._what_remains(prediction, rules, chain, label_left)
                self._revise(key, id_, prediction, rules, (chain, left, Reason.WITHDRAWAL, revision))

    def refuse_withdrawal(self, offset: int, kind: str) -> None:
        """Name a label that has left the state, so that what it made stays; it is counted as before."""
        self.effects.rejects.append(RejectRow("labels", offset, RejectReason.NOT_WITHDRAWN, kind))

    def _what_remains(
        self, prediction: PredictionState, rules: ChainRules, chain: Chain, label: LabelState | None
    ) -> Chain:
        """Return the chain of an outcome whose label was withdrawn: by another label, by its deadline, or pending."""
        if label is not None:
            label.joined = True
            status = follow(chain.status, _RETRACTION if label.value is None else _LABEL)
            return Chain(status, label.value, label.known_at_ms, label.time_ms, label.offset)
        cursor = self.checkpoint.cursors.get(rules.kind)
        if rules.is_own and cursor is not None and (prediction.time_ms, prediction.offset) <= cursor:
            return self._ended(prediction, rules.kind)
        return Chain(follow(chain.status, _WITHDRAW), None, prediction.time_ms)

    def _count_withdrawn(self, label: LabelState, labels: Iterable[LabelState], kind: str) -> None:
        """Mark a label as withdrawn and count it so; what it had superseded is superseded by its own superseder."""
        counts = self._label_counts[kind]
        for kept in labels:
            if kept.superseded_by == label.offset:
                kept.superseded_by = label.superseded_by
                if label.superseded_by is None:
                    kept.counted_as = _HEAD
                    counts.superseded -= 1
                    counts.heads += 1
        if label.counted_as == _HEAD:
            counts.heads -= 1
        elif label.counted_as == _SUPERSEDED:
            counts.superseded -= 1
        else:
            counts.stale -= 1
        counts.withdrawn += 1
        label.counted_as, label.superseded_by = _WITHDRAWN, None
        self.effects.rejects.append(RejectRow("labels", label.offset, RejectReason.WITHDRAWN, kind))

    def age_out_label(self, key: str, name: ChainName, offset: int, kind: str) -> None:
        """Drop a label that no prediction to come can reach; one that has joined nothing is rejected."""
        found = self._find(key, name, offset)
        if found is not None:
            state, label = found
            if not label.joined:
                late = RejectReason.TOO_LATE if label.out_of_reach else RejectReason.UNKNOWN_PREDICTION
                self._count_aged_out(label, kind, late)
            self._drop_label(key, state, name, label)

    def evict_label(self, key: str, name: ChainName, offset: int, kind: str) -> None:
        """Drop a label that has joined nothing, to free memory; it is rejected."""
        label = self.drop_waiting_label(key, name, offset)
        if label is not None:
            self._count_aged_out(label, kind, RejectReason.WAITING_LIMIT)

    def drop_waiting_label(self, key: str, name: ChainName, offset: int) -> LabelState | None:
        """Drop a label that has joined nothing, and return it; None if it has joined, or is not there."""
        found = self._find(key, name, offset)
        if found is None or found[1].joined:
            return None
        state, label = found
        self._drop_label(key, state, name, label)
        return label

    def restore_label(self, record: LabelRecord, counted_as: int, *, is_kept: bool) -> None:
        """Keep a label as it was accepted before; one that has left since (not `is_kept`) only supersedes others."""
        offset, key, kind, definition, _, value, time_ms, known_at_ms = record
        name = chain_name(kind, definition)
        label = LabelState(time_ms, offset, value, known_at_ms, counted_as)
        state = self._get(key)
        labels = None if state is None else state.labels.get(name)
        if labels is not None and counted_as == _HEAD:
            self._supersede(labels, label, kind)
        if not is_kept:
            return
        if state is None:
            state = KeyState({}, {})
            self.store.put(key, state)
        label.out_of_reach = bool(state.predictions)
        self._insert(key, state, name, labels, label)
        self._index_label[kind]((known_at_ms, offset, key, name))

    def restore_outcome(self, outcome: DecidedOutcome) -> None:
        """Set what was decided of an outcome, unless its prediction has left since."""
        state = self._get(outcome.key)
        if state is None:
            return
        name = chain_name(outcome.kind, outcome.definition)
        if outcome.label_offset is not None:
            label = state.label_at(name, outcome.label_offset)
            if label is not None:
                label.joined, label.out_of_reach = True, False
        prediction = state.predictions.get(outcome.id)
        if prediction is None or prediction.offset != outcome.prediction_offset:
            for labels in state.labels.values():
                for label in labels:
                    label.out_of_reach = not label.joined
            return
        before = prediction.chains.pop(name, None)
        if before is not None:
            self.checkpoint.fingerprint -= chain_part(prediction.offset, name_code(name), before)
        if outcome.status is _PENDING:  # its only label was withdrawn
            return
        chain = Chain(outcome.status, outcome.value, outcome.known_at_ms, outcome.label_time_ms, outcome.label_offset)
        prediction.chains[name] = chain
        self.checkpoint.fingerprint += chain_part(prediction.offset, name_code(name), chain)

    def _join_waiting(self, key: str, id_: str, prediction: PredictionState, state: KeyState, base: int) -> None:
        """Join a new prediction with the greatest label in reach of each chain of its key."""
        for name in state.labels:
            kind, definition = kind_and_definition(name)
            rules = self._rules[kind][definition]
            label = state.label_in_reach(name, prediction.time_ms, rules.retain_ms)
            if label is not None:
                self._join(key, id_, prediction, rules, label, prediction.offset + 1 + base)

    def _join(
        self, key: str, id_: str, prediction: PredictionState, rules: ChainRules, label: LabelState, revision: int
    ) -> None:
        """Make `label` the label of record of one prediction."""
        before = prediction.chains.get(rules.name)
        status = _PENDING if before is None else before.status
        known_at_ms = label.known_at_ms
        if label.value is None:
            event, reason = _RETRACTION, Reason.RETRACTION
        else:
            event = _LABEL
            reason = reason_of_label(status, prediction.time_ms, known_at_ms, rules.horizon_ms)
            if reason is _EARLY:
                self._label_counts[rules.kind].early += 1
        label.joined = True
        chain = Chain(follow(status, event), label.value, known_at_ms, label.time_ms, label.offset)
        self._revise(key, id_, prediction, rules, (before, chain, reason, revision))

    def _revise(
        self,
        key: str,
        id_: str,
        prediction: PredictionState,
        rules: ChainRules,
        change: tuple[Chain | None, Chain, Reason, int],
    ) -> None:
        """Replace an outcome's chain (None: it was pending), count the change and emit the revision."""
        before, chain, reason, revision = change
        if chain.status is _PENDING:
            del prediction.chains[rules.name]
        else:
            prediction.chains[rules.name] = chain
            self.checkpoint.fingerprint += chain_part(prediction.offset, rules.code, chain)
        previous, previous_status = None, _PENDING
        if before is not None:
            previous, previous_status = before.value, before.status
            self.checkpoint.fingerprint -= chain_part(prediction.offset, rules.code, before)
        if rules.is_own:
            self.checkpoint.counters.outcomes[rules.kind].move(previous_status, chain.status, reason)
        row = (
            key,
            id_,
            rules.kind,
            rules.definition,
            chain.status,
            reason,
            chain.value,
            previous,
            previous_status,
            prediction.time_ms,
            chain.known_at_ms,
            revision,
            prediction.offset,
            chain.label_offset,
            chain.label_time_ms,
            prediction.eligible,
            prediction.projection,
        )
        self.effects.outcomes.append(_new_tuple(OutcomeRow, row))

    def _insert(
        self, key: str, state: KeyState, name: ChainName, labels: list[LabelState] | None, label: LabelState
    ) -> None:
        """Put a label among those of its chain, in order of (time, offset), and push out the oldest of too many."""
        checkpoint = self.checkpoint
        if labels is None:
            state.labels[name] = [label]
            checkpoint.fingerprint += label_part(label_of_record([label]))
        else:
            last, before = labels[-1], label_of_record(labels)
            labels.append(label)
            if label.time_ms < last.time_ms:
                labels.sort(key=attrgetter("time_ms", "offset"))
            after = label_of_record(labels)
            if after is not before:
                checkpoint.fingerprint += label_part(after) - label_part(before)
        if not state.predictions:
            checkpoint.waiting_bytes += waiting_bytes(key)
        if labels is not None and len(labels) > LABELS_PER_CHAIN_MAX:
            self._drop_label(key, state, name, labels[0])

    def _supersede(self, labels: Iterable[LabelState], label: LabelState, kind: str) -> None:
        """Count the head among these as superseded by a label of a later or equal time."""
        for kept in labels:
            if kept.counted_as == _HEAD and kept.time_ms <= label.time_ms:
                kept.counted_as, kept.superseded_by = _SUPERSEDED, label.offset
                counts = self._label_counts[kind]
                counts.heads -= 1
                counts.superseded += 1

    def _count_aged_out(self, label: LabelState, kind: str, reason: RejectReason) -> None:
        """Count a label of record that leaves without having joined; others are counted already."""
        if label.counted_as == _HEAD:
            counts = self._label_counts[kind]
            counts.heads -= 1
            counts.aged_out += 1
            self.effects.rejects.append(RejectRow("labels", label.offset, reason, kind))

    def _find(self, key: str, name: ChainName, offset: int) -> tuple[KeyState, LabelState] | None:
        """Return a key's state and one of its labels, if both are still there."""
        state = self._get(key)
        label = None if state is None else state.label_at(name, offset)
        return None if state is None or label is None else (state, label)

    def _drop_label(self, key: str, state: KeyState, name: ChainName, label: LabelState) -> None:
        """Take one label out of its key's state, and the key out of the store if nothing is left."""
        labels = state.labels[name]
        before = label_part(label_of_record(labels))
        labels.remove(label)
        self.checkpoint.fingerprint += label_part(label_of_record(labels)) - before
        if not labels:
            del state.labels[name]
        if not state.predictions:
            self.checkpoint.waiting_bytes -= waiting_bytes(key)
            if not state.labels:
                self.store.delete(key)

    def _refuse_deletion(self, state: KeyState | None, rules: ChainRules, offset: int) -> bool:
        """Reject a deletion where there is no label, or a retracted one; return whether it is rejected."""
        has_value = None if state is None else state.has_value(rules.name)
        if has_value:
            return False
        counts = self._label_counts[rules.kind]
        if has_value is None:
            counts.rejected += 1
            reason = RejectReason.NOTHING_TO_RETRACT
        else:
            counts.duplicate += 1
            reason = RejectReason.DUPLICATE
        self.effects.rejects.append(RejectRow("labels", offset, reason, rules.kind))
        return True

    def _refuse_again(self, offset: int, digest: int, known: int) -> None:
        """Reject a prediction whose (key, id) is known, with the digest `known`: the first stands."""
        counts = self.checkpoint.counters.predictions
        is_another_contract = (digest ^ known) >> CONTRACT_SHIFT != 0
        if digest == known or is_another_contract:
            counts.duplicate += 1
            reason = RejectReason.DUPLICATE
        else:
            counts.conflict += 1
            reason = RejectReason.CONFLICT
        self.effects.rejects.append(RejectRow(PREDICTIONS, offset, reason))
