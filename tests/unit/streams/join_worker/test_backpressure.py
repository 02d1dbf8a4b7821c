"""Which input of a partition is paused, and when it is resumed."""

import pytest

from joins import Checkpoint, KindPolicy, Policy
from joins.watermark import PREDICTIONS, Watermark
from streams.join_worker.backpressure import Lag, input_to_pause

POLICY = Policy({"click": KindPolicy("d1", horizon_ms=10, retain_ms=1_000)}, waiting_bytes_max=8_000)
BOTH = Lag(5, 5)


def checkpoint(predictions_ms: int | None, labels_ms: int | None, waiting_bytes: int = 0) -> Checkpoint:
    """Return a checkpoint with these watermarks."""
    found = Checkpoint.start(["click"])
    found.watermarks = {PREDICTIONS: Watermark(reached_ms=predictions_ms), "click": Watermark(reached_ms=labels_ms)}
    found.waiting_bytes = waiting_bytes
    return found


@pytest.mark.parametrize(
    ("reached", "lag", "paused", "wanted"),
    [
        (checkpoint(100, 200, 2_000), BOTH, None, "labels"),
        (checkpoint(100, 200, 1_999), BOTH, None, None),
        (checkpoint(100, 200, 1_000), BOTH, "labels", "labels"),
        (checkpoint(100, 200, 999), BOTH, "labels", None),
        (checkpoint(None, 200, 2_000), BOTH, None, "labels"),
        (checkpoint(100, 200, 8_000), Lag(0, 5), "labels", None),  # no prediction to read would help
        (checkpoint(300, 200, 8_000), BOTH, None, None),  # their predictions have passed already
        (checkpoint(700, 200), BOTH, None, "predictions"),
        (checkpoint(699, 200), BOTH, None, None),
        (checkpoint(450, 200), BOTH, "predictions", "predictions"),
        (checkpoint(449, 200), BOTH, "predictions", None),
        (checkpoint(700, 200), Lag(5, 0), "predictions", None),  # silent labels pause nothing
        (checkpoint(700, None), BOTH, None, None),
        (checkpoint(None, None), BOTH, None, None),
    ],
)
def test_an_input_far_ahead_is_paused_while_the_other_has_records_to_read(
    reached: Checkpoint, lag: Lag, paused: str | None, wanted: str | None
) -> None:
    """And resumed at half of its limit."""
    assert input_to_pause(reached, POLICY, lag, paused) == wanted
