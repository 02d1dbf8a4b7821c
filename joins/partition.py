"""One partition of the join: records in, revisions of outcomes out, and a commit point to go on from.

The canonical order of a step is predictions, then labels, then time: marks move, deadlines pass, what
waited too long is let go. So what a step does is a function of the state and of the ranges it was given,
and the state itself depends only on what was read and on the cursors (see docs/semantics.md).

No IO, no clock, no randomness: `now` and idleness come with the batch.
"""

from collections.abc import Iterable

from joins.chain import Event, follow, reason_of_label
from joins.commit import CommitPoint
from joins.effect import Effects, RejectRow
from joins.index import Cursor
from joins.mark import PREDICTIONS
from joins.policy import FUTURE_MARK_MS, FUTURE_REJECT_MS, LABELS_PER_CHAIN_MAX, ChainRules, Policy
from joins.record import Batch, LabelRecord, Op, PredictionRecord
from joins.settle import Settlement
from joins.state import (
    FINGERPRINT_MASK,
    Chain,
    ChainName,
    KeyState,
    LabelState,
    Place,
    PredictionState,
    chain_part,
    kind_and_definition,
    label_part,
    name_code,
    prediction_part,
    waiting_bytes,
)
from joins.store import Store
from schemas.status import Reason, RejectReason, Status

__all__ = ["Partition"]

CONTRACT_SHIFT = 48
"""The bits of a digest above this stand for the contract: another contract is never a conflict."""

DEFINITIONS_REMEMBERED = 1_000
"""Definitions of a kind whose rules are remembered; a source that invents more costs a look-up each."""

# Looking up a member on its enum class costs more than comparing it (0.16 us on CPython 3.11).
_HEARTBEAT = Op.HEARTBEAT
_PENDING = Status.PENDING
_LABEL, _RETRACTION = Event.LABEL, Event.RETRACTION
_EARLY = Reason.EARLY

_NEVER_MS = -(1 << 62)


class Partition:
    """The join of one partition.

    Args:
        policy: the loop's rules.
        store: holds this partition's keys; nobody else may change it.
        point: where to go on; a new partition starts from nothing.

    Attributes:
        settled: whether the last step did all that time allows; if not, the next one goes on.
    """

    def __init__(self, policy: Policy, store: Store, point: CommitPoint | None = None) -> None:
        self.policy = policy
        self.store = store
        self.point = point or CommitPoint.start(list(policy.kinds))
        self.settled = True
        self.effects = Effects([], [])
        self.behind_predictions: list[tuple[int, int, str, str]] = []
        self.behind_labels: list[tuple[str, int, str, str]] = []
        self._rules: dict[str, dict[str, ChainRules]] = {kind: {} for kind in policy.kinds}

    def step(self, batch: Batch) -> Effects:
        """Read one batch and return what came of it; the commit point has then moved behind it.

        Raises:
            ValueError: the batch does not start where the partition stands.
        """
        self._check_range(batch)
        point = self.point
        self.effects = Effects([], [])
        point.counters.predictions.consumed += len(batch.predictions)
        self.take_predictions(batch.predictions, point.labels_next, batch.now_ms)
        self.take_labels(batch.labels, batch.predictions_next, batch.now_ms)
        self._advance_marks(batch)
        point.predictions_next = batch.predictions_next
        point.labels_next = batch.labels_next
        self.settled = Settlement(self, batch.idle).run()
        self.behind_predictions = []
        self.behind_labels = []
        point.fingerprint &= FINGERPRINT_MASK
        return self.effects

    def take_predictions(self, records: Iterable[PredictionRecord], labels_first: int, now_ms: int) -> None:
        """Apply predictions in offset order. A label that waited joins at once."""
        get, put, point = self.store.get, self.store.put, self.point
        index = self.store.by_prediction.add
        too_new_ms = now_ms + FUTURE_REJECT_MS
        floor_ms = _NEVER_MS if point.floor_ms is None else point.floor_ms
        behind_ms = max((time_ms for time_ms, _ in point.cursors.values()), default=_NEVER_MS)
        accepted = 0
        for record in records:
            offset, key, id_, time_ms, digest, eligible, projection = record
            if time_ms > too_new_ms or time_ms < floor_ms:
                self._refuse(offset, RejectReason.FUTURE if time_ms > too_new_ms else RejectReason.TOO_OLD)
                continue
            prediction = PredictionState(time_ms, offset, digest, eligible, projection, {})
            state = get(key)
            if state is None:
                put(key, KeyState({id_: prediction}, {}))
            elif (known := state.predictions.get(id_)) is not None:
                self._refuse_again(offset, digest, known)
                continue
            else:
                if not state.predictions:
                    point.waiting_bytes -= _count_labels(state) * waiting_bytes(key)
                state.predictions[id_] = prediction
                if state.labels:
                    self._join_waiting(key, id_, prediction, state, labels_first)
            index((time_ms, offset, key, id_))
            accepted += 1
            point.fingerprint += prediction_part(prediction)
            if time_ms <= behind_ms:
                self.behind_predictions.append((time_ms, offset, key, id_))
        point.counters.predictions.accepted += accepted
        for outcomes in point.counters.outcomes.values():
            outcomes.pending += accepted

    def take_labels(
        self, records: Iterable[LabelRecord], predictions_next: int, now_ms: int, *, known_new: bool = False
    ) -> None:
        """Apply labels in offset order: each to every prediction of its key that it can reach.

        With `known_new` none is taken for a duplicate: that was decided when they first came, beside labels
        that may have left since.
        """
        get, rules_of = self.store.get, self._rules
        index = {kind: by_label.add for kind, by_label in self.store.by_label.items()}
        counts_of, waiting_ms = self.point.counters.labels, self.point.waiting_ms
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
            rules = rules_of[kind].get(definition) or self._learn_rules(kind, definition)
            if not rules.is_own:
                counts.other_definition += 1
            state = get(key)
            if state is None:
                state = KeyState({}, {})
                self.store.put(key, state)
            label = LabelState(time_ms, offset, value, known_at_ms)
            if not known_new and _is_duplicate(label, state, rules.name):
                counts.duplicate += 1
                self.effects.rejects.append(RejectRow("labels", offset, RejectReason.DUPLICATE, kind))
                continue
            self._keep(state, rules, label, key)
            for id_, prediction in state.predictions.items():
                if abs(known_at_ms - prediction.time_ms) <= rules.retain_ms:
                    chain = prediction.chains.get(rules.name)
                    if chain is None or _order(chain) < (time_ms, offset):
                        self._join(key, id_, prediction, rules, label, predictions_next + offset + 1)
            if not label.joined:
                label.out_of_reach = bool(state.predictions)
                if waiting_ms and known_at_ms <= waiting_ms.get(kind, _NEVER_MS):
                    self.behind_labels.append((kind, offset, key, rules.name))
            index[kind]((known_at_ms, offset, key, rules.name))

    def drop_label(self, key: str, state: KeyState, name: ChainName, label: LabelState) -> None:
        """Take one label out of its key's state, and the key out of the store if nothing is left."""
        labels = state.labels[name]
        if label is labels[-1]:
            self.point.fingerprint -= label_part(label)
            if len(labels) == 1:
                del state.labels[name]
            else:
                labels.pop()
                self.point.fingerprint += label_part(labels[-1])
        else:
            labels.remove(label)
        if not state.predictions:
            self.point.waiting_bytes -= waiting_bytes(key)
            if not state.labels:
                self.store.delete(key)

    def drop_prediction(self, key: str, state: KeyState, id_: str) -> None:
        """Take one prediction out of its key's state, and the key out of the store if nothing is left."""
        prediction = state.predictions.pop(id_)
        self.point.fingerprint -= prediction_part(prediction)
        for name, chain in prediction.chains.items():
            self.point.fingerprint -= chain_part(prediction.offset, name_code(name), chain)
        if state.predictions:
            return
        if state.labels:
            self.point.waiting_bytes += _count_labels(state) * waiting_bytes(key)
        else:
            self.store.delete(key)

    def time_out(
        self, key: str, id_: str, prediction: PredictionState, kind: str, revision: int, *, aged_out: bool = False
    ) -> None:
        """Let a pending outcome of the loop's own definition end without a label, if it is pending."""
        of_kind = self.policy.kinds[kind]
        rules = self._rules[kind].get(of_kind.definition) or self._learn_rules(kind, of_kind.definition)
        if rules.name in prediction.chains:
            return
        implies = of_kind.implies and prediction.eligible and not aged_out
        event = Event.AGE_OUT if aged_out else Event.IMPLY if implies else Event.EXPIRE
        status = follow(Status.PENDING, event)
        value = of_kind.implied if implies else None
        chain = Chain(status, value, prediction.time_ms + of_kind.horizon_ms)
        reason = Reason.AGED_OUT if aged_out else Reason.TIMEOUT
        self._revise(key, id_, prediction, rules, (None, chain, reason, revision))

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
                self.point.counters.labels[rules.kind].early += 1
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
        """Replace a chain (None: it was pending), count the change and emit the revision."""
        before, chain, reason, revision = change
        point = self.point
        prediction.chains[rules.name] = chain
        point.fingerprint += chain_part(prediction.offset, rules.code, chain)
        if before is None:
            previous, previous_status = None, _PENDING
        else:
            previous, previous_status = before.value, before.status
            point.fingerprint -= chain_part(prediction.offset, rules.code, before)
        if rules.is_own:
            point.counters.outcomes[rules.kind].move(previous_status, chain.status, reason)
        self.effects.revisions.append(
            (
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
        )

    def _learn_rules(self, kind: str, definition: str) -> ChainRules:
        """Look up what applies to a kind and definition, and remember it for the next label."""
        known = self._rules[kind]
        if len(known) >= DEFINITIONS_REMEMBERED:
            known.clear()
        rules = known[definition] = self.policy.rules_of(kind, definition)
        return rules

    def _join_waiting(self, key: str, id_: str, prediction: PredictionState, state: KeyState, base: int) -> None:
        """Join a new prediction with the greatest label in reach of each chain of its key."""
        for name, labels in state.labels.items():
            kind, definition = kind_and_definition(name)
            rules = self._rules[kind].get(definition) or self._learn_rules(kind, definition)
            label = _label_in_reach(labels, prediction.time_ms, rules.retain_ms)
            if label is not None:
                self._join(key, id_, prediction, rules, label, prediction.offset + 1 + base)

    def _keep(self, state: KeyState, rules: ChainRules, label: LabelState, key: str) -> None:
        """Put a label among those of its chain, in order, and count it."""
        counts = self.point.counters.labels[rules.kind]
        labels = state.labels.get(rules.name)
        if labels is None:
            state.labels[rules.name] = [label]
            counts.heads += 1
            self.point.fingerprint += label_part(label)
        else:
            head = labels[-1]
            labels.append(label)
            if label.time_ms >= head.time_ms:
                if head.place == Place.HEAD:
                    head.place = Place.SUPERSEDED
                    counts.heads -= 1
                    counts.superseded += 1
                counts.heads += 1
                self.point.fingerprint += label_part(label) - label_part(head)
            else:
                label.place = Place.STALE
                counts.stale += 1
                self.effects.rejects.append(RejectRow("labels", label.offset, RejectReason.STALE, rules.kind))
                labels.sort(key=lambda kept: (kept.time_ms, kept.offset))
        if not state.predictions:
            self.point.waiting_bytes += waiting_bytes(key)
        if labels is not None and len(labels) > LABELS_PER_CHAIN_MAX:
            self.drop_label(key, state, rules.name, labels[0])

    def _refuse(self, offset: int, reason: RejectReason) -> None:
        self.point.counters.predictions.rejected += 1
        self.effects.rejects.append(RejectRow(PREDICTIONS, offset, reason))

    def _refuse_again(self, offset: int, digest: int, known: PredictionState) -> None:
        """Refuse a prediction whose (key, id) is known: the first stands."""
        counts = self.point.counters.predictions
        another_contract = (digest ^ known.digest) >> CONTRACT_SHIFT != 0
        if digest == known.digest or another_contract:
            counts.duplicate += 1
            reason = RejectReason.DUPLICATE
        else:
            counts.conflict += 1
            reason = RejectReason.CONFLICT
        self.effects.rejects.append(RejectRow(PREDICTIONS, offset, reason))

    def _advance_marks(self, batch: Batch) -> None:
        """Move every input's mark by what was read of it, and by what heartbeats and a close promise."""
        latest_ms = batch.now_ms + FUTURE_MARK_MS
        times: dict[str, list[int]] = {name: [] for name in self.point.marks}
        assured: dict[str, int | None] = dict.fromkeys(times, batch.close_at_ms)
        times[PREDICTIONS] = [record[3] for record in batch.predictions if record[3] <= latest_ms]
        for _, _, kind, _, op, _, time_ms, known_at_ms in batch.labels:
            if op is not _HEARTBEAT:
                if known_at_ms <= latest_ms:
                    times[kind].append(known_at_ms)
            elif time_ms <= latest_ms:
                assured[kind] = max(time_ms, assured[kind] or time_ms)
        for name, mark in self.point.marks.items():
            self.point.marks[name] = mark.advance(times[name], assured[name], self.policy.disorder_ms)

    def _check_range(self, batch: Batch) -> None:
        for name, first, records, following in (
            ("predictions", self.point.predictions_next, batch.predictions, batch.predictions_next),
            ("labels", self.point.labels_next, batch.labels, batch.labels_next),
        ):
            start = records[0][0] if records else first
            last = records[-1][0] if records else following - 1
            if not first <= start <= last + 1 or last >= following:
                raise ValueError(
                    f"{name} [{start}, {last}] do not lie in the range [{first}, {following}) of this step"
                )


def _label_in_reach(labels: list[LabelState], time_ms: int, retain_ms: int) -> LabelState | None:
    """Return the greatest label that reaches a prediction made at `time_ms`, or None."""
    for label in reversed(labels):
        if abs(label.known_at_ms - time_ms) <= retain_ms:
            return label
        label.out_of_reach = True
    return None


def _order(chain: Chain) -> Cursor:
    """Return where a chain's label stands among labels: a timeout stands before all of them."""
    if chain.label_time_ms is None or chain.label_offset is None:
        return (_NEVER_MS, -1)
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


def _count_labels(state: KeyState) -> int:
    return sum(len(labels) for labels in state.labels.values())
