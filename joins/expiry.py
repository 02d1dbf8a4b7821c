"""What time does to a partition at the end of a step: deadlines pass, and what is out of reach leaves.

Every pass goes along an index from a cursor and stops at the policy's limit, so a step stays short
however far time leapt; the next step goes on. Must not read records.
"""

from collections.abc import Iterable
from typing import Any

from joins.effect import RejectRow
from joins.keyed_state import StateWriter
from joins.record import Idle
from joins.state import ChainName, CountedAs, LabelState
from joins.store import EntriesByTime
from joins.watermark import PREDICTIONS, stream_time_ms
from schemas.base.status import RejectReason

__all__ = ["Expiry", "WaitingLabel"]

WaitingLabel = tuple[str, int, str, ChainName]
"""(kind, offset, key, chain name)."""

OFFSET_MAX = (1 << 62) - 1
"""Greater than every offset: a cursor at (t, OFFSET_MAX) has dealt with all of time t."""


class Expiry:
    """One step's settling of one partition.

    Args:
        state: what is settled; its effects receive the rows.
        idle: inputs that are left out of stream time.
    """

    def __init__(self, state: StateWriter, idle: Idle) -> None:
        self._state = state
        self._policy = state.policy
        self._checkpoint = state.checkpoint
        self._store = state.store
        self._revision = self._checkpoint.predictions_next + self._checkpoint.labels_next
        watermarks = self._checkpoint.watermarks
        self._stream_ms = {
            kind: stream_time_ms(watermarks[PREDICTIONS].reached_ms, watermarks[kind].reached_ms, kind, idle)
            for kind in self._policy.kinds
        }

    def run(self, predictions: Iterable[tuple[int, int, str, str]], labels: Iterable[WaitingLabel]) -> bool:
        """Settle everything that the marks allow; False if the limit stopped a pass, so that more is left.

        Args:
            predictions: (time, offset, key, id) of this step's that came behind some cursor.
            labels: (kind, offset, key, chain name) of this step's that wait and came behind the waiting cursor.
        """
        for kind, cursor in self._checkpoint.cursors.items():
            for time_ms, offset, key, id_ in predictions:
                if (time_ms, offset) <= cursor:
                    self._time_out(key, id_, kind)
        swept = [self._sweep(kind) for kind in self._policy.kinds]
        labels_gone = [self._let_labels_go(kind) for kind in self._policy.kinds]
        for kind, offset, key, name in labels:
            self._drop_waiting(key, kind, name, offset)
        self._keep_waiting_bounded()
        self._raise_floor()
        return all(swept) and self._let_predictions_go() and all(labels_gone)

    def _sweep(self, kind: str) -> bool:
        """Time out what is past its deadline; False if the limit stopped it short.

        The label input's own mark is the proof that no label came: the idle rule alone times out nothing.
        """
        stream_ms = self._stream_ms[kind]
        proof_ms = self._checkpoint.watermarks[kind].reached_ms
        if stream_ms is None or proof_ms is None:
            return True
        until_ms = min(stream_ms, proof_ms) - self._policy.kinds[kind].horizon_ms
        cursor = self._checkpoint.cursors.get(kind)
        due = self._store.by_prediction.between(cursor, until_ms, self._policy.expiry_limit)
        for _, _, key, id_ in due:
            self._time_out(key, id_, kind)
        complete = len(due) < self._policy.expiry_limit
        reached = (until_ms - 1, OFFSET_MAX) if complete else (due[-1][0], due[-1][1])
        self._checkpoint.cursors[kind] = reached if cursor is None else max(cursor, reached)
        return complete

    def _time_out(self, key: str, id_: str, kind: str) -> None:
        state = self._store.get(key)
        prediction = None if state is None else state.predictions.get(id_)
        if prediction is not None:
            self._state.time_out(key, id_, prediction, kind, self._revision)

    def _let_labels_go(self, kind: str) -> bool:
        """Forget labels that no prediction to come can be near enough to; False if the limit stopped it."""
        stream_ms = self._stream_ms[kind]
        if stream_ms is None:
            return True
        reached = self._checkpoint.reach_ms.get(kind)
        until_ms = stream_ms - self._policy.kinds[kind].retain_ms
        taken, reach_ms, complete = self._leaving(self._store.by_label[kind], reached, until_ms)
        for _, offset, key, name in taken:
            state = self._store.get(key)
            label = None if state is None else state.label_at(name, offset)
            if state is None or label is None:
                continue
            if not label.joined:
                late = RejectReason.TOO_LATE if label.out_of_reach else RejectReason.UNKNOWN_PREDICTION
                self._age_out(label, kind, late)
            self._state.drop_label(key, state, name, label)
        self._checkpoint.reach_ms[kind] = reach_ms
        return complete

    def _leaving(
        self, index: EntriesByTime, reached_ms: int | None, until_ms: int
    ) -> tuple[list[tuple[Any, ...]], int, bool]:
        """Take out of an index what leaves; return it, the time before which all has left, and whether that is all.

        What one cursor has passed is gone, without exception: so the cursor alone tells a rebuild what is there.
        Therefore what came behind it, and what has the time at which the limit stopped, goes too.
        """
        limit = self._policy.expiry_limit
        reach_ms = until_ms if reached_ms is None else max(until_ms, reached_ms)
        taken = index.take(reach_ms, limit)
        if len(taken) < limit:
            return taken, reach_ms, True
        passed_ms = taken[-1][0] + 1
        reach_ms = passed_ms if reached_ms is None else max(passed_ms, reached_ms)
        return taken + index.take(reach_ms, OFFSET_MAX), reach_ms, False

    def _keep_waiting_bounded(self) -> None:
        """Let the oldest waiting labels go until the rest fits its memory; the cursor remembers how far."""
        while self._checkpoint.waiting_bytes > self._policy.waiting_bytes_max:
            oldest = {
                kind: entries
                for kind, index in self._store.by_label.items()
                if (entries := index.between(self._checkpoint.waiting.get(kind), OFFSET_MAX, self._policy.expiry_limit))
            }
            if not oldest:
                return
            kind = min(oldest, key=lambda candidate: oldest[candidate][0])
            for known_at_ms, offset, key, name in oldest[kind]:
                self._drop_waiting(key, kind, name, offset)
                self._checkpoint.waiting[kind] = (known_at_ms, offset)
                if self._checkpoint.waiting_bytes <= self._policy.waiting_bytes_max:
                    break

    def _drop_waiting(self, key: str, kind: str, name: ChainName, offset: int) -> None:
        state = self._store.get(key)
        label = None if state is None else state.label_at(name, offset)
        if state is not None and label is not None and not label.joined:
            self._age_out(label, kind, RejectReason.WAITING_LIMIT)
            self._state.drop_label(key, state, name, label)

    def _age_out(self, label: LabelState, kind: str, reason: RejectReason) -> None:
        """Count a label of record that leaves without having joined; others are placed already."""
        if label.place == CountedAs.HEAD:
            counts = self._checkpoint.counters.labels[kind]
            counts.heads -= 1
            counts.aged_out += 1
            self._state.effects.rejects.append(RejectRow("labels", label.offset, reason, kind))

    def _raise_floor(self) -> None:
        """Raise the floor to the least stream time less the greatest retain; it never goes back."""
        times_ms = [time for time in self._stream_ms.values() if time is not None]
        if len(times_ms) == len(self._stream_ms):
            floor_ms = min(times_ms) - self._policy.retain_ms
            reached = self._checkpoint.floor_ms
            self._checkpoint.floor_ms = floor_ms if reached is None else max(reached, floor_ms)

    def _let_predictions_go(self) -> bool:
        """Forget predictions below the floor, pending ones as aged out; False if the limit stopped it."""
        floor_ms = self._checkpoint.floor_ms
        if floor_ms is None:
            return True
        taken, left_ms, complete = self._leaving(self._store.by_prediction, self._checkpoint.left_ms, floor_ms)
        for _, _, key, id_ in taken:
            state = self._store.get(key)
            prediction = None if state is None else state.predictions.get(id_)
            if state is None or prediction is None:
                continue
            for kind in self._policy.kinds:
                self._state.time_out(key, id_, prediction, kind, self._revision, aged_out=True)
            self._state.drop_prediction(key, state, id_)
        self._checkpoint.left_ms = left_ms
        return complete
