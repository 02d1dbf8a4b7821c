"""One partition of the join: records in, revisions of outcomes out, and a checkpoint to go on from.

A step applies predictions, then labels, then withdrawals, then time: watermarks advance, deadlines pass, what waited
too long is dropped. So what a step does is a function of the state and of the ranges it was given, and the state itself
depends only on what was read and on the cursors (docs/semantics.md). The wall clock and idleness come with the batch.
"""

from joins.checkpoint import Checkpoint
from joins.columnar_state import ColumnarState
from joins.effect import Effects
from joins.expiry import Expiry
from joins.keyed_state import KeyedState
from joins.policy import FUTURE_WATERMARK_MS, Policy
from joins.record import Batch, Op
from joins.store import RowStore, Store
from joins.watermark import PREDICTIONS

__all__ = ["Partition"]

# Looking up a member on its enum class costs more than comparing it (0.16 us on CPython 3.11).
_HEARTBEAT = Op.HEARTBEAT


class Partition:
    """The join of one partition.

    Args:
        policy: the loop's rules.
        store: holds this partition's keys; nobody else may change it.
        checkpoint: where to go on; a new partition starts from nothing.

    Attributes:
        is_caught_up: whether the last step did all that time allows; if not, the next one goes on.

    Example:
        >>> from joins import Batch, KindPolicy, LabelRecord, MemoryStore, Op, Policy, PredictionRecord
        >>> policy = Policy({"click": KindPolicy("within-a-day", horizon_ms=100, retain_ms=200)})
        >>> partition = Partition(policy, MemoryStore(["click"]))
        >>> prediction = PredictionRecord(0, "ad-7", "v1", 1_000, 0, eligible=True, projection=None)
        >>> label = LabelRecord(0, "ad-7", "click", "within-a-day", Op.UPSERT, 1.0, 1_050, 1_050)
        >>> [outcome] = partition.step(Batch([prediction], [label], 1, 1, now_ms=2_000)).outcomes
        >>> str(outcome.status), outcome.value, outcome.known_at_ms
        ('joined', 1.0, 1050)
    """

    def __init__(self, policy: Policy, store: Store, checkpoint: Checkpoint | None = None) -> None:
        self._state = (
            ColumnarState(policy, store, checkpoint)
            if isinstance(store, RowStore)
            else KeyedState(policy, store, checkpoint)
        )
        self.is_caught_up = True

    @property
    def policy(self) -> Policy:
        """The rules in force."""
        return self._state.policy

    @property
    def store(self) -> Store:
        """Where the partition's keys are, to look at them."""
        return self._state.store

    @property
    def checkpoint(self) -> Checkpoint:
        """Where the last step left everything."""
        return self._state.checkpoint

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
        self._state.change_policy(policy)

    def step(self, batch: Batch) -> Effects:
        """Apply one batch, advance the checkpoint behind it, and return what came of it.

        Raises:
            ValueError: the batch does not start at the checkpoint.
        """
        self._check_range(batch)
        state, checkpoint = self._state, self.checkpoint
        state.begin_step()
        state.count_consumed(len(batch.predictions), batch.unreadable)
        late_predictions = state.apply_predictions(
            batch.predictions, checkpoint.labels_next + checkpoint.withdrawals, batch.now_ms
        )
        late_labels = state.apply_labels(batch.labels, batch.predictions_next + checkpoint.withdrawals, batch.now_ms)
        if batch.withdrawals:
            self._withdraw(batch)
        self._advance_watermarks(batch)
        checkpoint.predictions_next = batch.predictions_next
        checkpoint.labels_next = batch.labels_next
        self.is_caught_up = Expiry(state, batch.idle).run(late_predictions, late_labels)
        return state.end_step()

    def _withdraw(self, batch: Batch) -> None:
        """Withdraw labels that are still there, chain by chain; those that have left are named in a row each."""
        checkpoint, store = self.checkpoint, self.store
        by_chain: dict[tuple[str, str], set[int]] = {}
        for kind, known_at_ms, offset in batch.withdrawals:
            index = store.by_label.get(kind)
            entries = [] if index is None else index.between((known_at_ms, offset - 1), known_at_ms + 1, 1)
            if entries and entries[0][1] == offset:
                _, _, key, name = entries[0]
                by_chain.setdefault((key, name), set()).add(offset)
            else:
                self._state.refuse_withdrawal(offset, kind)
        checkpoint.withdrawals += 2
        revision = batch.predictions_next + batch.labels_next + checkpoint.withdrawals - 1
        store.prefetch({key for key, _ in by_chain})
        for (key, name), offsets in by_chain.items():
            self._state.withdraw_labels(key, name, offsets, revision)

    def _advance_watermarks(self, batch: Batch) -> None:
        """Advance every input's watermark by its records, its heartbeats and a close."""
        latest_ms = batch.now_ms + FUTURE_WATERMARK_MS
        times: dict[str, list[int]] = {name: [] for name in self.checkpoint.watermarks}
        assured: dict[str, int | None] = dict.fromkeys(times, batch.close_at_ms)
        times[PREDICTIONS] = [record[3] for record in batch.predictions if record[3] <= latest_ms]
        for _, _, kind, _, op, _, time_ms, known_at_ms in batch.labels:
            if op is not _HEARTBEAT:
                if known_at_ms <= latest_ms:
                    times[kind].append(known_at_ms)
            elif time_ms <= latest_ms:
                known = assured[kind]
                assured[kind] = time_ms if known is None else max(time_ms, known)
        for name, watermark in self.checkpoint.watermarks.items():
            advanced = watermark.advance(times[name], assured[name], self.policy.disorder_ms)
            self.checkpoint.watermarks[name] = advanced

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
