"""The fingerprint of a state by a look at all of it: the check on the running sum that the join keeps."""

from collections.abc import Iterable

from joins.state import FINGERPRINT_MASK, CountedAs, KeyState, chain_part, label_part, name_code, prediction_part

__all__ = ["full_fingerprint"]


def full_fingerprint(states: Iterable[KeyState]) -> int:
    """Return the fingerprint of these keys."""
    total = 0
    for state in states:
        for prediction in state.predictions.values():
            total += prediction_part(prediction)
            for name, chain in prediction.chains.items():
                total += chain_part(prediction.offset, name_code(name), chain)
        for labels in state.labels.values():
            kept = [label for label in labels if label.counted_as != CountedAs.WITHDRAWN]
            total += label_part(kept[-1]) if kept else 0
    return total & FINGERPRINT_MASK
