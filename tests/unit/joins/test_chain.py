"""The life of one outcome, walked through completely."""

import pytest

from joins.chain import TRANSITIONS, ChainEvent, IllegalEventError, follow, reason_of_label
from schemas.base.status import Reason, Status

P, J, M, X, R = Status.PENDING, Status.JOINED, Status.IMPLIED, Status.EXPIRED, Status.RETRACTED
TABLE = {
    #                label retraction expire imply age_out withdraw
    P: (J, R, X, M, X, None),
    J: (J, R, None, None, None, P),
    M: (J, R, None, None, None, None),
    X: (J, R, None, None, None, None),
    R: (J, R, None, None, None, P),
}


@pytest.mark.parametrize("event", list(ChainEvent))
@pytest.mark.parametrize("status", list(Status))
def test_every_pair_of_status_and_event_is_a_known_transition_or_an_error(status: Status, event: ChainEvent) -> None:
    """Walk the whole table; what is not in it raises and leaves the table as it was."""
    expected = TABLE[status][list(ChainEvent).index(event)]
    before = {name: dict(events) for name, events in TRANSITIONS.items()}
    if expected is None:
        with pytest.raises(IllegalEventError, match=f"{status} cannot {event}"):
            follow(status, event)
    else:
        assert follow(status, event) is expected
    assert before == TRANSITIONS


@pytest.mark.parametrize(
    ("before", "known_at_ms", "reason"),
    [
        (P, 1_000, Reason.FIRST),
        (P, 999, Reason.EARLY),
        (P, 1_500, Reason.FIRST),
        (P, 1_501, Reason.LATE),
        (X, 1_500, Reason.FIRST),
        (X, 1_501, Reason.LATE),
        (M, 1_501, Reason.LATE),
        (R, 1_200, Reason.FIRST),
        (J, 1_200, Reason.CORRECTION),
        (J, 1_501, Reason.CORRECTION),
        (J, 999, Reason.CORRECTION),
    ],
)
def test_the_reason_of_a_label_is_correction_before_late_before_early_before_first(
    before: Status, known_at_ms: int, reason: Reason
) -> None:
    """Lateness is judged by known_at against prediction 1,000 plus horizon 500, never by the sweep."""
    assert reason_of_label(before, 1_000, known_at_ms, 500) is reason
