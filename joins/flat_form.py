"""The flat form of a key's state: numbers in fixed places, so that arrays of many keys are read and written at once.

Most keys fit: at most two predictions, and of each label kind at most one label, which was never corrected. All others
stay `KeyState` (`FlatForm.encode` says which). The two forms mean the same; nothing that the join decides depends on
which of them a key has.

A row is a head, a row for each of two predictions (the second is stored only where there is one), and a tail of
MessagePack: ids and projections, then the texts among the values, if there are any.
"""

from collections.abc import Sequence
from math import isnan
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from joins.record import LabelValue
from joins.state import STATUS_CODE, Chain, ChainName, CountedAs, KeyState, LabelState, PredictionState
from schemas.base.status import Status

__all__ = ["FLAT", "PREDICTIONS_MAX", "FlatForm", "LabelFlag", "Parts"]

FLAT: Final = 0xC1
"""First byte of a row; no MessagePack value begins with it."""

PREDICTIONS_MAX: Final = 2
"""Predictions of a row: the champion's and a challenger's under one key."""

_PENDING, _JOINED = STATUS_CODE[Status.PENDING], STATUS_CODE[Status.JOINED]
_ENDED = (STATUS_CODE[Status.IMPLIED], STATUS_CODE[Status.EXPIRED])
_STATUS = tuple(Status)
_NAN: Final = float("nan")
_FLAGS_AT: Final = 7
"""Where the labels' flags begin in a head."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode
_decode_texts = msgspec.msgpack.Decoder(list[list[str | None]]).decode


class LabelFlag:
    """What is known of the label of a kind, as bits."""

    KEPT = 1
    JOINED = 2
    OUT_OF_REACH = 4


class Parts(NamedTuple):
    """A row outside of arrays.

    Attributes:
        head: its bytes.
        predictions: bytes of the predictions.
        ids: of the predictions.
        projections: of the predictions.
        texts: values that are texts: of the label, of the first and of the second prediction's chain, each by kind.
    """

    head: bytes
    predictions: list[bytes]
    ids: list[str]
    projections: list[Any]
    texts: list[list[str | None]]


class FlatForm:
    """The flat form for some chains.

    Args:
        names: of the chains that have a place in it, in this order; of one kind one.

    Attributes:
        head_type: of the head. `flags`, `label_time_ms`, `label_offset`, `label_known_ms` and `label_value` have an
            item for each chain. The fields of a label that is not kept are those of the label that a chain has joined.
        prediction_type: of a prediction. `status`, `known_ms` and `value` have an item for each chain: its status,
            and where it has ended without a label also its other fields.
    """

    def __init__(self, names: Sequence[ChainName]) -> None:
        self.names = tuple(names)
        kinds = len(self.names)
        self.head_type = np.dtype(
            [
                ("form", "u1"),
                ("predictions", "u1"),
                ("has_texts", "u1"),
                ("tail_bytes", "<u4"),
                ("flags", "u1", (kinds,)),
                ("label_time_ms", "<i8", (kinds,)),
                ("label_offset", "<i8", (kinds,)),
                ("label_known_ms", "<i8", (kinds,)),
                ("label_value", "<f8", (kinds,)),
            ]
        )
        self.prediction_type = np.dtype(
            [
                ("time_ms", "<i8"),
                ("offset", "<i8"),
                ("digest", "<i8"),
                ("eligible", "u1"),
                ("status", "u1", (kinds,)),
                ("known_ms", "<i8", (kinds,)),
                ("value", "<f8", (kinds,)),
            ]
        )
        self.head_bytes, self.prediction_bytes = self.head_type.itemsize, self.prediction_type.itemsize
        self._kinds = kinds
        self._place = {name: place for place, name in enumerate(self.names)}
        self._head = Struct(f"<BBBI{kinds}B{3 * kinds}q{kinds}d")
        self._prediction = Struct(f"<qqqB{kinds}B{kinds}q{kinds}d")
        self._no_prediction = bytes(self.prediction_bytes)

    def decode(self, key: str, raw: bytes) -> KeyState:
        """Return the state of a stored row."""
        first = self.head_bytes + self.prediction_bytes
        predictions = [raw[self.head_bytes : first], raw[first : first + self.prediction_bytes]][: raw[1]]
        start = self.head_bytes + self.prediction_bytes * max(1, raw[1])
        end = start + int.from_bytes(raw[3:_FLAGS_AT], "little")
        texts = self.texts_of(raw[end:]) if raw[2] else self.no_texts()
        return self.unpack(Parts(raw[: self.head_bytes], predictions, *self.split_tail(key, raw[start:end]), texts))

    def encode(self, key: str, state: KeyState) -> bytes | None:
        """Return a state as a row to store; None if it does not fit."""
        try:
            parts = self._pack(state)
        except (_UnfitError, KeyError, StructError):  # of a chain without a place, and of a number that is too great
            return None
        [tail] = self.tails([key], [[id_] for id_ in parts.ids], [[one] for one in parts.projections])
        head = parts.head[:3] + len(tail).to_bytes(4, "little") + parts.head[_FLAGS_AT:]
        rows = parts.predictions or [self._no_prediction]
        return b"".join([head, *rows, tail, self.texts(parts.texts) if parts.head[2] else b""])

    def tails(
        self, keys: Sequence[str], ids: Sequence[Sequence[str]], projections: Sequence[Sequence[Any]]
    ) -> list[bytes]:
        """Return ids and projections of keys as bytes; an id that is the key takes none.

        Args:
            keys: of all.
            ids: of the first and of the second prediction of each key, as many as each of them has.
            projections: the same.
        """
        if not ids:
            return [b""] * len(keys)
        if len(ids) == 1:
            return [
                _encode((None if id_ == key else id_, projection))
                for key, id_, projection in zip(keys, *ids, *projections, strict=True)
            ]
        return [
            _encode((*(None if id_ == key else id_ for id_ in both), *projected))
            for key, both, projected in zip(keys, zip(*ids, strict=True), zip(*projections, strict=True), strict=True)
        ]

    def split_tail(self, key: str, tail: bytes) -> tuple[list[str], list[Any]]:
        """Return the ids and projections of a tail."""
        items = _decode(tail) if tail else []
        count = len(items) // 2
        return [key if id_ is None else id_ for id_ in items[:count]], items[count:]

    def texts(self, texts: list[list[str | None]]) -> bytes:
        """Return texts as bytes."""
        return _encode(texts)

    def texts_of(self, raw: bytes) -> list[list[str | None]]:
        """Return texts from bytes."""
        return _decode_texts(raw)

    def no_texts(self) -> list[list[str | None]]:
        """Return the texts of a row that has none."""
        return [[None] * self._kinds for _ in range(1 + PREDICTIONS_MAX)]

    def is_held(self, head: bytes) -> bool:
        """Tell whether a head's row has a prediction or a label."""
        return head[1] > 0 or any(flags & LabelFlag.KEPT for flags in head[_FLAGS_AT : _FLAGS_AT + self._kinds])

    def unpack(self, parts: Parts) -> KeyState:
        """Return the state of a row."""
        kinds, head, texts = self._kinds, self._head.unpack(parts.head)[4:], parts.texts
        flags, times, offsets, known, numbers = (head[at * kinds : (at + 1) * kinds] for at in range(5))
        values = list(map(_value, numbers, texts[0]))
        predictions = {}
        for at, (id_, projection) in enumerate(zip(parts.ids, parts.projections, strict=True)):
            time_ms, offset, digest, eligible, *rest = self._prediction.unpack(parts.predictions[at])
            chains = {}
            for place, status in enumerate(rest[:kinds]):
                name = self.names[place]
                if status == _JOINED:
                    chains[name] = Chain(Status.JOINED, values[place], known[place], times[place], offsets[place])
                elif status != _PENDING:
                    value = _value(rest[2 * kinds + place], texts[1 + at][place])
                    chains[name] = Chain(_STATUS[status], value, rest[kinds + place])
            predictions[id_] = PredictionState(time_ms, offset, digest, bool(eligible), projection, chains)
        labels = {
            name: [
                LabelState(
                    times[place],
                    offsets[place],
                    values[place],
                    known[place],
                    joined=bool(flags[place] & LabelFlag.JOINED),
                    out_of_reach=bool(flags[place] & LabelFlag.OUT_OF_REACH),
                )
            ]
            for place, name in enumerate(self.names)
            if flags[place] & LabelFlag.KEPT
        }
        return KeyState(predictions, labels)

    def _pack(self, state: KeyState) -> Parts:
        """Return a state as a row.

        Raises:
            _UnfitError: it does not fit; KeyError and `struct.error` mean the same.
        """
        if not (state.predictions or state.labels) or len(state.predictions) > PREDICTIONS_MAX:
            raise _UnfitError
        kinds, texts = self._kinds, self.no_texts()
        labels: list[_Label] = [_NO_LABEL] * kinds
        for name, kept in state.labels.items():
            labels[self._place[name]] = _Label.kept(kept)
        rows = [
            self._pack_prediction(prediction, labels, texts[number])
            for number, prediction in enumerate(state.predictions.values(), 1)
        ]
        times, offsets, known, values, flags = zip(*labels, strict=True) if kinds else [()] * 5
        numbers = [_number_and_text(value)[0] for value in values]
        texts[0] = [_number_and_text(value)[1] for value in values]
        has_texts = any(text is not None for of_kinds in texts for text in of_kinds)
        head = self._head.pack(FLAT, len(rows), has_texts, 0, *flags, *times, *offsets, *known, *numbers)
        projections = [prediction.projection for prediction in state.predictions.values()]
        return Parts(head, rows, list(state.predictions), projections, texts)

    def _pack_prediction(self, prediction: PredictionState, labels: list["_Label"], texts: list[str | None]) -> bytes:
        """Return a prediction's row; add the labels that it has joined, and the texts of its chains."""
        kinds = self._kinds
        statuses, known, numbers = [_PENDING] * kinds, [0] * kinds, [0.0] * kinds
        for name, chain in prediction.chains.items():
            place = self._place[name]
            statuses[place] = STATUS_CODE[chain.status]
            if statuses[place] == _JOINED:
                joined = _Label.joined(chain)
                if labels[place] is _NO_LABEL:
                    labels[place] = joined
                elif labels[place][:4] != joined[:4]:
                    raise _UnfitError
            elif statuses[place] in _ENDED and chain.label_time_ms is None and chain.label_offset is None:
                known[place] = chain.known_at_ms
                numbers[place], texts[place] = _number_and_text(chain.value)
            else:
                raise _UnfitError
        fixed = (prediction.time_ms, prediction.offset, prediction.digest, prediction.eligible)
        return self._prediction.pack(*fixed, *statuses, *known, *numbers)


class _UnfitError(Exception):
    """A state does not fit the flat form."""


class _Label(NamedTuple):
    """The label of a kind, kept or only joined."""

    time_ms: int
    offset: int
    known_at_ms: int
    value: float | str
    flags: int

    @classmethod
    def kept(cls, labels: list[LabelState]) -> "_Label":
        """Return a label that is kept, if it was neither corrected nor withdrawn nor stale."""
        label = labels[0]
        is_plain = label.counted_as == CountedAs.HEAD and label.superseded_by is None
        if len(labels) > 1 or not is_plain or label.value is None:
            raise _UnfitError
        flags = LabelFlag.KEPT
        if label.joined:
            flags |= LabelFlag.JOINED
        if label.out_of_reach:
            flags |= LabelFlag.OUT_OF_REACH
        return cls(label.time_ms, label.offset, label.known_at_ms, label.value, flags)

    @classmethod
    def joined(cls, chain: Chain) -> "_Label":
        """Return the label that a chain has joined."""
        if chain.value is None or chain.label_time_ms is None or chain.label_offset is None:
            raise _UnfitError
        return cls(chain.label_time_ms, chain.label_offset, chain.known_at_ms, chain.value, 0)


_NO_LABEL = _Label(0, 0, 0, 0.0, 0)


def _value(number: float, text: str | None) -> LabelValue:
    """Return the value that is stored as a number, which is none for a text and for nothing, and as a text."""
    if text is not None:
        return text
    return None if isnan(number) else number


def _number_and_text(value: LabelValue) -> tuple[float, str | None]:
    """Return the two for a value."""
    if isinstance(value, str):
        return _NAN, value
    if value is not None and isnan(value):
        raise _UnfitError
    return (_NAN if value is None else value), None
