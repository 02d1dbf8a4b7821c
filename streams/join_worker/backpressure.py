"""Which input of a partition is paused while both catch up, so that neither fills the state.

Labels far ahead of the predictions wait in memory, and the oldest would be evicted; predictions far ahead of the labels
fill the disk. An input is paused only while the other one has records to read: a silent input pauses nothing.
"""

from dataclasses import dataclass
from typing import Final

from joins import Checkpoint, Policy
from joins.watermark import PREDICTIONS

__all__ = ["LABELS", "Lag", "input_to_pause"]

LABELS: Final = "labels"

LABELS_PAUSED_AT: Final = 4
"""Labels are paused at this fraction (a quarter) of the memory for waiting labels, and resumed at half of that."""

PREDICTIONS_PAUSED_AT: Final = 2
"""Predictions are paused when this fraction (half) of `retain` ahead of the labels, and resumed at half of that."""


@dataclass(frozen=True)
class Lag:
    """Offsets of one partition that are still to be read."""

    predictions: int
    labels: int


def input_to_pause(checkpoint: Checkpoint, policy: Policy, lag: Lag, paused: str | None) -> str | None:
    """Return the input to pause: 'predictions', 'labels' or None.

    Args:
        paused: the input that is paused now; it is resumed only at half of its limit, so that it does not flap.
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
        limit = policy.waiting_bytes_max // (LABELS_PAUSED_AT * (2 if paused == LABELS else 1))
        return LABELS if checkpoint.waiting_bytes >= limit else None
    if predictions_ms is not None and not is_ahead and lag.labels:
        limit_ms = policy.retain_ms // (PREDICTIONS_PAUSED_AT * (2 if paused == PREDICTIONS else 1))
        return PREDICTIONS if predictions_ms - labels_ms >= limit_ms else None
    return None
