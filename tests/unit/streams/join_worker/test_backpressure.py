"""When one input of a partition waits for the other."""

import pytest

from joins import CommitPoint, KindPolicy, Policy
from joins.watermark import PREDICTIONS, Mark
from streams.join_worker.backpressure import Lag, to_hold

POLICY = Policy({"click": KindPolicy("d1", horizon_ms=10, retain_ms=1_000)}, waiting_bytes_max=8_000)
BOTH = Lag(5, 5)


def point(predictions_ms: int | None, labels_ms: int | None, waiting_bytes: int = 0) -> CommitPoint:
    """Return a commit point with these marks."""
    found = CommitPoint.start(["click"])
    found.marks = {PREDICTIONS: Mark(reached_ms=predictions_ms), "click": Mark(reached_ms=labels_ms)}
    found.waiting_bytes = waiting_bytes
    return found


@pytest.mark.parametrize(
    ("stand", "lag", "held", "wanted"),
    [
        (point(100, 200, 2_000), BOTH, None, "labels"),
        (point(100, 200, 1_999), BOTH, None, None),
        (point(100, 200, 1_000), BOTH, "labels", "labels"),
        (point(100, 200, 999), BOTH, "labels", None),
        (point(None, 200, 2_000), BOTH, None, "labels"),
        (point(100, 200, 8_000), Lag(0, 5), "labels", None),  # nothing that could help will come
        (point(300, 200, 8_000), BOTH, None, None),  # their predictions have passed already
        (point(700, 200), BOTH, None, "predictions"),
        (point(699, 200), BOTH, None, None),
        (point(450, 200), BOTH, "predictions", "predictions"),
        (point(449, 200), BOTH, "predictions", None),
        (point(700, 200), Lag(5, 0), "predictions", None),  # labels that are silent hold nobody
        (point(700, None), BOTH, None, None),
        (point(None, None), BOTH, None, None),
    ],
)
def test_what_is_far_ahead_waits_where_there_is_something_to_wait_for(
    stand: CommitPoint, lag: Lag, held: str | None, wanted: str | None
) -> None:
    """And goes on at half of that."""
    assert to_hold(stand, POLICY, lag, held) == wanted
