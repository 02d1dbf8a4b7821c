"""Every change of a partition's state, with what goes along: counts, fingerprint, and the rows that tell of it.

Law: nothing else changes a key's state, so what is counted and what is summed cannot drift from what is kept.
Must not decide when something happens: `joins.partition` reads records and `joins.expiry` knows time.
"""

from joins.chain import ChainEvent, follow, reason_of_label
from joins.checkpoint import Checkpoint
from joins.effect import Effects, RejectRow
from joins.policy import LABELS_PER_CHAIN_MAX, ChainRules, Policy
from joins.state import (
    Chain,
    ChainName,
    CountedAs,
    KeyState,
    LabelState,
    PredictionState,
    chain_part,
    kind_and_definition,
    label_part,
    name_code,
    prediction_part,
    waiting_bytes,
)
from joins.store import Store
from joins.watermark import PREDICTIONS
from schemas.base.status import Reason, RejectReason, Status

__all__ = ["StateWriter", "count_labels"]

CONTRACT_SHIFT = 48
"""The bits of a digest above this stand for the contract: another contract is never a conflict."""

DEFINITIONS_REMEMBERED = 1_000
"""Definitions of a kind whose rules are remembered; a source that invents more costs a look-up each."""

# Looking up a member on its enum class costs more than comparing it (0.16 us on CPython 3.11).
_PENDING = Status.PENDING
_LABEL, _RETRACTION = ChainEvent.LABEL, ChainEvent.RETRACTION
_EARLY = Reason.EARLY


class StateWriter:
    """The state of one partition, and the only way to change it.

    Args:
        policy: the loop's rules.
        store: holds this partition's keys; nobody else may change it.
        checkpoint: where to go on; a new partition starts from nothing.

    Attributes:
        effects: what the step under way has produced so far.
    """

    def __init__(self, policy: Policy, store: Store, checkpoint: Checkpoint | None = None) -> None:
        self.policy = policy
        self.store = store
        self.checkpoint = checkpoint or Checkpoint.start(list(policy.kinds))
        self.effects = Effects([], [])
        self._rules: dict[str, dict[str, ChainRules]] = {}
        self.forget_rules()

    def drop_label(self, key: str, state: KeyState, name: ChainName, label: LabelState) -> None:
        """Take one label out of its key's state, and the key out of the store if nothing is left."""
        labels = state.labels[name]
        if label is labels[-1]:
            self.checkpoint.fingerprint -= label_part(label)
            if len(labels) == 1:
                del state.labels[name]
            else:
                labels.pop()
                self.checkpoint.fingerprint += label_part(labels[-1])
        else:
            labels.remove(label)
        if not state.predictions:
            self.checkpoint.waiting_bytes -= waiting_bytes(key)
            if not state.labels:
                self.store.delete(key)

    def drop_prediction(self, key: str, state: KeyState, id_: str) -> None:
        """Take one prediction out of its key's state, and the key out of the store if nothing is left."""
        prediction = state.predictions.pop(id_)
        self.checkpoint.fingerprint -= prediction_part(prediction)
        for name, chain in prediction.chains.items():
            self.checkpoint.fingerprint -= chain_part(prediction.offset, name_code(name), chain)
        if state.predictions:
            return
        if state.labels:
            self.checkpoint.waiting_bytes += count_labels(state) * waiting_bytes(key)
        else:
            self.store.delete(key)

    def time_out(
        self, key: str, id_: str, prediction: PredictionState, kind: str, revision: int, *, aged_out: bool = False
    ) -> None:
        """Let a pending outcome of the loop's own definition end without a label, if it is pending."""
        of_kind = self.policy.kinds[kind]
        rules = self._rules[kind].get(of_kind.definition) or self.learn_rules(kind, of_kind.definition)
        if rules.name in prediction.chains:
            return
        implies = of_kind.implies and prediction.eligible and not aged_out
        event = ChainEvent.AGE_OUT if aged_out else ChainEvent.IMPLY if implies else ChainEvent.EXPIRE
        status = follow(Status.PENDING, event)
        value = of_kind.implied if implies else None
        chain = Chain(status, value, prediction.time_ms + of_kind.horizon_ms)
        reason = Reason.AGED_OUT if aged_out else Reason.TIMEOUT
        self._revise(key, id_, prediction, rules, (None, chain, reason, revision))

    def join(
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
                self.checkpoint.counters.labels[rules.kind].early += 1
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
        checkpoint = self.checkpoint
        prediction.chains[rules.name] = chain
        checkpoint.fingerprint += chain_part(prediction.offset, rules.code, chain)
        if before is None:
            previous, previous_status = None, _PENDING
        else:
            previous, previous_status = before.value, before.status
            checkpoint.fingerprint -= chain_part(prediction.offset, rules.code, before)
        if rules.is_own:
            checkpoint.counters.outcomes[rules.kind].move(previous_status, chain.status, reason)
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

    def learn_rules(self, kind: str, definition: str) -> ChainRules:
        """Look up what applies to a kind and definition, and remember it for the next label."""
        known = self._rules[kind]
        if len(known) >= DEFINITIONS_REMEMBERED:
            known.clear()
        rules = known[definition] = self.policy.rules_of(kind, definition)
        return rules

    def forget_rules(self) -> None:
        """Look up again what applies to each kind and definition: the policy is another."""
        self._rules = {kind: {} for kind in self.policy.kinds}

    def join_waiting(self, key: str, id_: str, prediction: PredictionState, state: KeyState, base: int) -> None:
        """Join a new prediction with the greatest label in reach of each chain of its key."""
        for name, labels in state.labels.items():
            kind, definition = kind_and_definition(name)
            rules = self._rules[kind].get(definition) or self.learn_rules(kind, definition)
            label = _label_in_reach(labels, prediction.time_ms, rules.retain_ms)
            if label is not None:
                self.join(key, id_, prediction, rules, label, prediction.offset + 1 + base)

    def keep(self, state: KeyState, rules: ChainRules, label: LabelState, key: str) -> None:
        """Put a label among those of its chain, in order, and count it."""
        counts = self.checkpoint.counters.labels[rules.kind]
        labels = state.labels.get(rules.name)
        if labels is None:
            state.labels[rules.name] = [label]
            counts.heads += 1
            self.checkpoint.fingerprint += label_part(label)
        else:
            head = labels[-1]
            labels.append(label)
            if label.time_ms >= head.time_ms:
                if head.place == CountedAs.HEAD:
                    head.place = CountedAs.SUPERSEDED
                    counts.heads -= 1
                    counts.superseded += 1
                counts.heads += 1
                self.checkpoint.fingerprint += label_part(label) - label_part(head)
            else:
                label.place = CountedAs.STALE
                counts.stale += 1
                self.effects.rejects.append(RejectRow("labels", label.offset, RejectReason.STALE, rules.kind))
                labels.sort(key=lambda kept: (kept.time_ms, kept.offset))
        if not state.predictions:
            self.checkpoint.waiting_bytes += waiting_bytes(key)
        if labels is not None and len(labels) > LABELS_PER_CHAIN_MAX:
            self.drop_label(key, state, rules.name, labels[0])

    def refuse(self, offset: int, reason: RejectReason) -> None:
        """Refuse a prediction that is out of bounds."""
        self.checkpoint.counters.predictions.rejected += 1
        self.effects.rejects.append(RejectRow(PREDICTIONS, offset, reason))

    def refuse_again(self, offset: int, digest: int, known: PredictionState) -> None:
        """Refuse a prediction whose (key, id) is known: the first stands."""
        counts = self.checkpoint.counters.predictions
        another_contract = (digest ^ known.digest) >> CONTRACT_SHIFT != 0
        if digest == known.digest or another_contract:
            counts.duplicate += 1
            reason = RejectReason.DUPLICATE
        else:
            counts.conflict += 1
            reason = RejectReason.CONFLICT
        self.effects.rejects.append(RejectRow(PREDICTIONS, offset, reason))


def _label_in_reach(labels: list[LabelState], time_ms: int, retain_ms: int) -> LabelState | None:
    """Return the greatest label that reaches a prediction made at `time_ms`, or None."""
    for label in reversed(labels):
        if abs(label.known_at_ms - time_ms) <= retain_ms:
            return label
        label.out_of_reach = True
    return None


def count_labels(state: KeyState) -> int:
    """Return how many labels a key keeps, of all chains."""
    count = 0
    for labels in state.labels.values():
        count += len(labels)
    return count
