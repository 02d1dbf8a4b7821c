"""Which input of a partition waits for the other while both catch up, so that neither fills the state.

Labels far ahead of the predictions wait in memory, and the oldest would be dropped; predictions far ahead of the labels
fill the disk. Silence holds nothing back: an input waits only where the other has something to be read. Must not
talk to Kafka.
"""

from dataclasses import dataclass
from typing import Final

from joins import Checkpoint, Policy
from joins.watermark import PREDICTIONS

__all__ = ["LABELS", "Lag", "to_hold"]

LABELS: Final = "labels"

HOLD_LABELS_AT: Final = 4
"""Labels are held from this part of the memory for waiting labels on, and until half of it."""

HOLD_PREDICTIONS_AT: Final = 2
"""Predictions are held from this part of `retain` on that they are ahead, and until half of it."""


@dataclass(frozen=True)
class Lag:
    """Offsets of one partition that are there to be read."""

    predictions: int
    labels: int


def to_hold(checkpoint: Checkpoint, policy: Policy, lag: Lag, held: str | None) -> str | None:
    """Return the input that is to wait: 'predictions', 'labels' or neither.

    Args:
        checkpoint: where the partition stands.
        policy: its rules.
        lag: what there is to be read.
        held: what waits now; it goes on only at half of what made it wait, so that it does not flutter.
    """
    predictions_ms = checkpoint.watermarks[PREDICTIONS].reached_ms
    labels_ms = max(
        (
            watermark.reached_ms
            for name, watermark in checkpoint.watermarks.items()
            if name != PREDICTIONS and watermark.reached_ms
        ),
        default=None,
    )
    if labels_ms is None:
        return None
    is_ahead = predictions_ms is None or labels_ms > predictions_ms
    if is_ahead and lag.predictions:
        most = policy.waiting_bytes_max // (HOLD_LABELS_AT * (2 if held == LABELS else 1))
        return LABELS if checkpoint.waiting_bytes >= most else None
    if predictions_ms is not None and not is_ahead and lag.labels:
        most_ms = policy.retain_ms // (HOLD_PREDICTIONS_AT * (2 if held == PREDICTIONS else 1))
        return PREDICTIONS if predictions_ms - labels_ms >= most_ms else None
    return None
