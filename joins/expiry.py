"""What time does to a partition at the end of a step: deadlines pass, and what is out of reach is dropped.

Every pass follows an index from a cursor and stops at the policy's limit, so that a step stays short however far time
has leapt; the next step goes on.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from joins.keyed_state import Entry, KeyedState, WaitingLabel
from joins.record import Idle
from joins.store import EntriesByTime
from joins.watermark import PREDICTIONS, stream_time_ms

__all__ = ["Expiry"]

READ_AHEAD = 1_024
"""States read together while labels are evicted, of which it is not known how many will be."""

OFFSET_MAX = (1 << 62) - 1
"""Greater than every offset: a cursor at (t, OFFSET_MAX) has passed all of time t."""


class Expiry:
    """The passing of time in one step of one partition.

    Args:
        state: of the partition, after the step's records.
        idle: inputs that are left out of stream time.
    """

    def __init__(self, state: KeyedState, idle: Idle) -> None:
        self._state = state
        self._policy = state.policy
        self._checkpoint = state.checkpoint
        self._store = state.store
        self._revision = self._checkpoint.predictions_next + self._checkpoint.labels_next + self._checkpoint.withdrawals
        watermarks = self._checkpoint.watermarks
        self._stream_ms = {
            kind: stream_time_ms(watermarks[PREDICTIONS].reached_ms, watermarks[kind].reached_ms, kind, idle)
            for kind in self._policy.kinds
        }

    def run(self, predictions: Sequence[Entry], labels: Iterable[WaitingLabel]) -> bool:
        """Do everything that the watermarks allow; False if the limit stopped a pass, so that more is left.

        Args:
            predictions: (time, offset, key, id) of this step's that some cursor has passed already.
            labels: of this step's, those that wait and that the cursor of waiting labels has passed already.
        """
        for kind, cursor in self._checkpoint.cursors.items():
            self._state.time_out_all([entry for entry in predictions if entry[:2] <= cursor], kind, self._revision)
        swept = [self._sweep(kind) for kind in self._policy.kinds]
        aged_out = [self._age_out_labels(kind) for kind in self._policy.kinds]
        for kind, offset, key, name in labels:
            self._state.evict_label(key, name, offset, kind)
        self._evict_waiting()
        self._raise_floor()
        return all(swept) and self._age_out_predictions() and all(aged_out)

    def _sweep(self, kind: str) -> bool:
        """Time out what is past its deadline; False if the limit stopped it short.

        The label input's own watermark is the proof that no label came: the idle rule alone times out nothing.
        """
        stream_ms = self._stream_ms[kind]
        proof_ms = self._checkpoint.watermarks[kind].reached_ms
        if stream_ms is None or proof_ms is None:
            return True
        until_ms = min(stream_ms, proof_ms) - self._policy.kinds[kind].horizon_ms
        cursor = self._checkpoint.cursors.get(kind)
        due = self._store.by_prediction.between(cursor, until_ms, self._policy.expiry_limit)
        self._state.time_out_all(due, kind, self._revision)
        complete = len(due) < self._policy.expiry_limit
        reached = (until_ms - 1, OFFSET_MAX) if complete else (due[-1][0], due[-1][1])
        self._checkpoint.cursors[kind] = reached if cursor is None else max(cursor, reached)
        return complete

    def _age_out_labels(self, kind: str) -> bool:
        """Drop labels that no prediction to come can be near enough to; False if the limit stopped it."""
        stream_ms = self._stream_ms[kind]
        if stream_ms is None:
            return True
        reached = self._checkpoint.reach_ms.get(kind)
        until_ms = stream_ms - self._policy.kinds[kind].retain_ms
        taken, reach_ms, complete = self._take(self._store.by_label[kind], reached, until_ms)
        self._state.age_out_labels(taken, kind)
        self._checkpoint.reach_ms[kind] = reach_ms
        return complete

    def _take(
        self, index: EntriesByTime, reached_ms: int | None, until_ms: int
    ) -> tuple[list[tuple[Any, ...]], int, bool]:
        """Take out of an index what leaves; return it, the time before which all has left, and whether that is all.

        What a cursor has passed is gone, without exception, so the cursor alone tells a rebuild what is still there.
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

    def _evict_waiting(self) -> None:
        """Evict the oldest waiting labels until the rest fits its memory; the cursor remembers how far."""
        while self._checkpoint.waiting_bytes > self._policy.waiting_bytes_max:
            oldest = {
                kind: entries
                for kind, index in self._store.by_label.items()
                if (entries := index.between(self._checkpoint.waiting.get(kind), OFFSET_MAX, self._policy.expiry_limit))
            }
            if not oldest:
                return
            kind = min(oldest, key=lambda candidate: oldest[candidate][0])
            for number, (known_at_ms, offset, key, name) in enumerate(oldest[kind]):
                if number % READ_AHEAD == 0:
                    self._store.prefetch(entry[2] for entry in oldest[kind][number : number + READ_AHEAD])
                self._state.evict_label(key, name, offset, kind)
                self._checkpoint.waiting[kind] = (known_at_ms, offset)
                if self._checkpoint.waiting_bytes <= self._policy.waiting_bytes_max:
                    break

    def _raise_floor(self) -> None:
        """Raise the floor to the least stream time less the greatest retain; it never goes back."""
        times_ms = [time for time in self._stream_ms.values() if time is not None]
        if len(times_ms) == len(self._stream_ms):
            floor_ms = min(times_ms) - self._policy.retain_ms
            reached = self._checkpoint.floor_ms
            self._checkpoint.floor_ms = floor_ms if reached is None else max(reached, floor_ms)

    def _age_out_predictions(self) -> bool:
        """Drop predictions below the floor, pending ones as aged out; False if the limit stopped it."""
        floor_ms = self._checkpoint.floor_ms
        if floor_ms is None:
            return True
        taken, left_ms, complete = self._take(self._store.by_prediction, self._checkpoint.left_ms, floor_ms)
        self._state.age_out_predictions(taken, self._revision)
        self._checkpoint.left_ms = left_ms
        return complete
