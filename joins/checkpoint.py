"""The checkpoint of a partition: what a step leaves behind, and the next step, a redo or a rebuild goes on from."""

import msgspec

from joins.accounting import Counters
from joins.index import Cursor
from joins.watermark import PREDICTIONS, Watermark

__all__ = ["Checkpoint"]


class Checkpoint(msgspec.Struct):
    """How far one partition has come. Its JSON in the ledger calls `watermarks` "marks".

    Attributes:
        predictions_next: the next offset to read of the predictions.
        labels_next: the next offset to read of the labels.
        watermarks: per input, 'predictions' or a label kind.
        cursors: per kind, the last (prediction time, offset) whose deadline has passed.
        reach_ms: per kind; labels known before this have been dropped, because no prediction to come can reach them.
        waiting: per kind, the last (known_at, offset) up to which labels that had joined nothing were evicted.
        floor_ms: a prediction older than this is rejected; None until time is known.
        left_ms: predictions older than this have been dropped; never ahead of the floor.
        waiting_bytes: estimated size of the labels of keys without a prediction.
        fingerprint: sum of the fingerprints of all keys, modulo 2**63.
        counters: where every record ended.
        withdrawals: twice the number of steps that withdrew labels. Positions do not move in such a step, so this is
            what makes its revisions, and those of the deadlines that follow, greater than those before.
    """

    predictions_next: int
    labels_next: int
    watermarks: dict[str, Watermark] = msgspec.field(name="marks")
    cursors: dict[str, Cursor]
    reach_ms: dict[str, int]
    waiting: dict[str, Cursor]
    floor_ms: int | None
    left_ms: int | None
    waiting_bytes: int
    fingerprint: int
    counters: Counters
    withdrawals: int = 0

    @classmethod
    def start(cls, kinds: list[str]) -> "Checkpoint":
        """Return the checkpoint of a partition that has read nothing."""
        watermarks = {name: Watermark() for name in (PREDICTIONS, *kinds)}
        return cls(0, 0, watermarks, {}, {}, {}, None, None, 0, 0, Counters.zero(kinds))
