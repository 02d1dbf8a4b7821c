"""What the join remembers of a key. Plain data, changed by `joins.keyed_state` alone.

A partition's fingerprint is the sum of the parts below over its predictions, chains and labels of record, modulo
2**63. A sum has no order, so it follows every change at a constant cost, and equal sums prove equal states. Positions
stand for contents: what is at an offset never changes.

The structs are stored as arrays (half the size of objects with names), so the order of their fields is the form
stored on disk: a change of it raises `STATE_FORMAT`, and stores of the form before are rebuilt.
"""

from struct import Struct
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

from joins.record import LabelValue
from schemas.base.status import Status

__all__ = [
    "FINGERPRINT_MASK",
    "STATE_FORMAT",
    "STATUS_CODE",
    "Chain",
    "ChainName",
    "CountedAs",
    "KeyState",
    "LabelState",
    "PredictionState",
    "chain_name",
    "chain_part",
    "kind_and_definition",
    "label_of_record",
    "label_part",
    "name_code",
    "prediction_part",
    "waiting_bytes",
]

ChainName = str
"""A kind and a definition as one text: dictionaries find it twice as fast as a pair."""

FINGERPRINT_MASK = (1 << 63) - 1
"""Fingerprints are added modulo 2**63, so that they fit a signed column."""

STATE_FORMAT = 3
"""The stored form of the structs below and of `joins.flat_form`; a store of another form is rebuilt."""

WAITING_LABEL_BYTES = 400
"""Estimated memory of one label of a key without a prediction, without the key itself."""

_pack_three = Struct("<qqq").pack
_pack_five = Struct("<qqqqq").pack
_NO_LABEL = -1
STATUS_CODE = {status: code for code, status in enumerate(Status)}


class CountedAs:
    """Which counter of `joins.accounting` a label is in. Small integers, because millions are kept."""

    HEAD = 0
    SUPERSEDED = 1
    STALE = 2
    WITHDRAWN = 3


class Chain(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The state of one outcome: of one kind and definition of one prediction. A pending one has none.

    Attributes:
        value: of the label of record, or implied.
        known_at_ms: of the label of record, or the deadline.
        label_time_ms: of the label of record; None after a timeout.
        label_offset: of the label of record; None after a timeout.
    """

    status: Status
    value: LabelValue
    known_at_ms: int
    label_time_ms: int | None = None
    label_offset: int | None = None

    def is_before(self, time_ms: int, offset: int) -> bool:
        """Tell whether a label at (time, offset) is newer than the one that made this; a timeout is before all."""
        if self.label_time_ms is None or self.label_offset is None:
            return True
        return (self.label_time_ms, self.label_offset) < (time_ms, offset)


class PredictionState(msgspec.Struct, gc=False, array_like=True):
    """One prediction and its outcomes. `projection` is repeated in every revision."""

    time_ms: int
    offset: int
    digest: int
    eligible: bool
    projection: Any
    chains: dict[ChainName, Chain]


class LabelState(msgspec.Struct, gc=False, array_like=True):
    """One label that is kept.

    Attributes:
        time_ms: orders labels, together with the offset.
        value: None for a retraction.
        counted_as: its counter, one of `CountedAs`.
        joined: whether it has been the label of record of some prediction.
        out_of_reach: whether its key had a prediction, made more than `retain` away.
        superseded_by: offset of the label that superseded it; if that one is withdrawn, this is the head again.
    """

    time_ms: int
    offset: int
    value: LabelValue
    known_at_ms: int
    counted_as: int = CountedAs.HEAD
    joined: bool = False
    out_of_reach: bool = False
    superseded_by: int | None = None


class KeyState(msgspec.Struct, gc=False, array_like=True):
    """Everything remembered of one key.

    Attributes:
        predictions: by id.
        labels: per chain, in growing order of (time, offset); the label of record is the last that is not withdrawn.
            Withdrawn ones keep their place until they age out, so that what else is kept does not depend on when they
            were withdrawn.
    """

    predictions: dict[str, PredictionState]
    labels: dict[ChainName, list[LabelState]]

    @property
    def label_count(self) -> int:
        """How many labels are kept, of all chains."""
        count = 0
        for labels in self.labels.values():
            count += len(labels)
        return count

    def repeats(self, name: ChainName, record: LabelState | None, time_ms: int, value: LabelValue) -> bool:
        """Tell whether the label of record of a chain has this time and value.

        Where it has left the state (None), the chains that it joined still have them.
        """
        if record is not None:
            return record.time_ms == time_ms and record.value == value
        for prediction in self.predictions.values():
            chain = prediction.chains.get(name) if prediction.chains else None  # mostly there is none yet
            if chain is not None and chain.label_time_ms == time_ms and chain.value == value:
                return True
        return False

    def has_value(self, name: ChainName) -> bool | None:
        """Tell whether the label of record of a chain has a value and no retraction; None if there is no label.

        Where it has left the state, the chains that it joined still have its value.
        """
        record = label_of_record(self.labels.get(name, []))
        if record is not None:
            return record.value is not None
        chains = [prediction.chains[name] for prediction in self.predictions.values() if name in prediction.chains]
        joined = [chain.value is not None for chain in chains if chain.label_offset is not None]
        return any(joined) if joined else None

    def label_in_reach(self, name: ChainName, time_ms: int, retain_ms: int) -> LabelState | None:
        """Return a chain's greatest label in reach of a prediction made at `time_ms`; mark those that are not."""
        for label in reversed(self.labels[name]):
            if label.counted_as == CountedAs.WITHDRAWN:
                continue
            if abs(label.known_at_ms - time_ms) <= retain_ms:
                return label
            label.out_of_reach = True
        return None

    def label_at(self, name: ChainName, offset: int) -> LabelState | None:
        """Return the label of a chain that came at `offset`, if it is still kept."""
        for label in self.labels.get(name, ()):
            if label.offset == offset:
                return label
        return None


def prediction_part(prediction: PredictionState) -> int:
    """Return a prediction's part of the fingerprint."""
    return xxh3_64_intdigest(_pack_three(prediction.offset, prediction.time_ms, prediction.digest))


def chain_part(prediction_offset: int, name_code: int, chain: Chain) -> int:
    """Return a chain's part of the fingerprint; `name_code` stands for its kind and definition."""
    label_offset = _NO_LABEL if chain.label_offset is None else chain.label_offset
    code = STATUS_CODE[chain.status]
    return xxh3_64_intdigest(_pack_five(prediction_offset, name_code, label_offset, chain.known_at_ms, code))


def label_of_record(labels: list[LabelState]) -> LabelState | None:
    """Return the label of record of a chain's labels; None if all are withdrawn."""
    for label in reversed(labels):
        if label.counted_as != CountedAs.WITHDRAWN:
            return label
    return None


def label_part(label: LabelState | None) -> int:
    """Return a label of record's part of the fingerprint; where there is none, nothing."""
    if label is None:
        return 0
    return xxh3_64_intdigest(_pack_three(label.offset, label.time_ms, label.known_at_ms))


def chain_name(kind: str, definition: str) -> ChainName:
    """Return the name of the chains of this kind and definition."""
    return f"{kind}\0{definition}"


def kind_and_definition(name: ChainName) -> tuple[str, str]:
    """Return the kind and definition that a chain's name was made of."""
    kind, _, definition = name.partition("\0")
    return kind, definition


def name_code(name: ChainName) -> int:
    """Return a number that stands for a kind and definition."""
    return xxh3_64_intdigest(name.encode()) & FINGERPRINT_MASK


def waiting_bytes(key: str) -> int:
    """Return the estimated memory of one label of a key that has no prediction."""
    return WAITING_LABEL_BYTES + len(key)
