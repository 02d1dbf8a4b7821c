"""The states of many keys as rows of arrays, each key at a place of its own.

A key that does not fit `joins.flat_form` has no row, and whoever owns the rows keeps its state elsewhere. Nothing is
decided here.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from joins.flat_form import FLAT, PREDICTIONS_MAX, FlatForm, LabelFlag, Parts
from joins.record import LabelValue
from joins.state import ChainName, KeyState

__all__ = ["NO_ROW", "KeyRows", "Places"]

Places = npt.NDArray[np.intp]
"""Places of keys."""

OTHER: Final = 0
"""In `head["form"]` in place of `FLAT`."""

NO_ROW: Final = 0
"""Place of every key that has a state of its own; its form is `OTHER`."""

_CAPACITY: Final = 1_024
"""Places at the start; doubled as often as needed."""


class KeyRows:
    """Rows of keys in memory.

    Args:
        names: of the chains that have a place in a row.

    Attributes:
        form: of the rows.
        used: places that are taken, from `NO_ROW` on.
        keys: of each place.
        head: of each place, as `FlatForm.head_type`.
        predictions: of each place the first and the second, as `FlatForm.prediction_type`.
        ids: of each place those of both predictions; only of places that were opened. So are the next two.
        projections: of both predictions.
        texts: of each place those of `Parts.texts`, where `has_texts` of the head says that there is one.
        is_changed: whether a place was changed since it was loaded or taken.
        is_stored: whether something is stored of the key.
    """

    def __init__(self, names: Sequence[ChainName]) -> None:
        self.form = FlatForm(names)
        self.used = NO_ROW + 1
        self._make(_CAPACITY)

    def take(self, keys: Sequence[str]) -> Places:
        """Return new places for keys, of which nothing is known."""
        first = self.used
        self.used += len(keys)
        while self.used > len(self.keys):
            self._grow()
        self.keys[first : self.used] = keys
        return np.arange(first, self.used)

    def load(self, places: Places, raws: Sequence[bytes]) -> None:
        """Set places to what is stored of their keys as rows."""
        form = self.form
        head_bytes, prediction_bytes = form.head_bytes, form.prediction_bytes
        first = head_bytes + prediction_bytes
        blob = b"".join([raw[:first] for raw in raws])
        both = np.frombuffer(blob, np.uint8).reshape(len(raws), first)
        self.head[places] = _as_rows(both[:, :head_bytes], form.head_type)
        self.predictions[0][places] = _as_rows(both[:, head_bytes:], form.prediction_type)
        has_second = self.head["predictions"][places] == PREDICTIONS_MAX
        if has_second.any():
            blob = b"".join([raws[at][first : first + prediction_bytes] for at in np.flatnonzero(has_second).tolist()])
            self.predictions[1][places[has_second]] = np.frombuffer(blob, form.prediction_type)
        starts = np.where(has_second, first + prediction_bytes, first)
        ends = starts + self.head["tail_bytes"][places]
        tails = [raw[start:end] for raw, start, end in zip(raws, starts.tolist(), ends.tolist(), strict=True)]
        self._tails[places] = _objects(tails)
        self.is_stored[places] = True
        self._is_closed[places] = True
        for at in np.flatnonzero(self.head["has_texts"][places]).tolist():
            self.texts[places[at]] = form.texts_of(raws[at][ends[at] :])

    def open(self, places: Places) -> None:
        """Read the ids and projections of places that were loaded, where that was not done yet."""
        closed = places[self._is_closed[places]]
        if not closed.size:
            return
        self._is_closed[closed] = False
        split = self.form.split_tail
        keys, tails = self.keys[closed].tolist(), self._tails[closed].tolist()
        for place, key, tail in zip(closed.tolist(), keys, tails, strict=True):
            for number, (id_, projection) in enumerate(zip(*split(key, tail), strict=True)):
                self.ids[number][place] = id_
                self.projections[number][place] = projection

    def set_predictions(
        self, number: int, places: Places, ids: npt.NDArray[Any], projections: npt.NDArray[Any]
    ) -> None:
        """Set the id and the projection of a prediction of each place; those that have another one are open."""
        self.ids[number][places] = ids
        self.projections[number][places] = projections
        self._tails[places] = None
        self._is_closed[places] = False
        self.is_changed[places] = True

    def drop_prediction(self, number: int, places: Places) -> None:
        """Remove a prediction of each place; the second, where there is one, becomes the first."""
        self.open(places)
        first, second = self.predictions
        if number == 0:
            first[places] = second[places]
            self.ids[0][places], self.projections[0][places] = self.ids[1][places], self.projections[1][places]
            self.texts[places, 1] = self.texts[places, 2]
        second[places] = np.zeros(1, second.dtype)[0]
        self.ids[1][places] = self.projections[1][places] = None
        self.texts[places, 2] = None
        self.head["predictions"][places] -= 1
        self._tails[places] = None
        self.is_changed[places] = True

    def state(self, place: int) -> KeyState | None:
        """Return the state of a flat row; None if there is nothing in it."""
        head = self.head[place].tobytes()
        if not self.form.is_held(head):
            return None
        if self._is_closed[place]:
            self.open(np.array([place]))
        count = head[1]
        return self.form.unpack(
            Parts(
                head,
                [of_all[place].tobytes() for of_all in self.predictions[:count]],
                [of_all[place] for of_all in self.ids[:count]],
                [of_all[place] for of_all in self.projections[:count]],
                self.texts[place].tolist() if head[2] else self.form.no_texts(),
            )
        )

    def stored(self, places: Places) -> list[bytes]:
        """Return flat rows as they are stored."""
        form = self.form
        self._encode_tails(places)
        tails = self._tails[places].tolist()
        self.head["tail_bytes"][places] = list(map(len, tails))
        width = form.head_bytes + form.prediction_bytes
        rows = np.empty((len(places), width), np.uint8)
        rows[:, : form.head_bytes] = _as_bytes(self.head[places])
        rows[:, form.head_bytes :] = _as_bytes(self.predictions[0][places])
        blob = rows.tobytes()
        found = [blob[at : at + width] for at in range(0, len(blob), width)]
        for at in np.flatnonzero(self.head["predictions"][places] == PREDICTIONS_MAX).tolist():
            found[at] += self.predictions[1][places[at]].tobytes()
        found = [row + tail for row, tail in zip(found, tails, strict=True)]
        for at in np.flatnonzero(self.head["has_texts"][places]).tolist():
            found[at] += form.texts(self.texts[places[at]].tolist())
        return found

    def _encode_tails(self, places: Places) -> None:
        """Encode the ids and projections that were set since they were last encoded."""
        missing = places[[tail is None for tail in self._tails[places].tolist()]]
        counts = self.head["predictions"][missing]
        for count in range(1 + PREDICTIONS_MAX):
            some = missing[counts == count]
            ids = [of_all[some].tolist() for of_all in self.ids[:count]]
            projections = [of_all[some].tolist() for of_all in self.projections[:count]]
            self._tails[some] = _objects(self.form.tails(self.keys[some].tolist(), ids, projections))

    def is_flat(self, places: Places) -> npt.NDArray[np.bool_]:
        """Tell whether the key of a place has a row; it may have lost it since."""
        return np.asarray(self.head["form"][places] == FLAT, bool)

    def is_kept(self, places: Places) -> npt.NDArray[np.bool_]:
        """Tell for each flat row and chain whether its label is kept."""
        return np.asarray(self.head["flags"][places] & LabelFlag.KEPT > 0, bool)

    def numbers_of(self, places: Places, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """Return which prediction of a row came at an offset; -1 if none did, or there is no row."""
        found = np.full(len(places), -1)
        count = np.where(self.is_flat(places), self.head["predictions"][places], 0)
        for number, of_all in enumerate(self.predictions):
            found[(count > number) & (of_all["offset"][places] == offsets)] = number
        return found

    def values(self, group: int, places: Places, chain: int) -> list[LabelValue]:
        """Return values of a chain: of the label (group 0), or of the first or the second prediction's chain (1, 2)."""
        numbers = self._numbers(group)[places, chain]
        values: list[LabelValue] = numbers.tolist()
        for at in np.flatnonzero(np.isnan(numbers)).tolist():
            place = places[at]
            values[at] = self.texts[place, group, chain] if self.head["has_texts"][place] else None
        return values

    def has_value(
        self, places: Places, chains: Places, numbers: npt.NDArray[np.float64], texts: npt.NDArray[Any] | None
    ) -> npt.NDArray[np.bool_]:
        """Tell of labels whether they have these values."""
        found = np.asarray(self.head["label_value"][places, chains] == numbers, bool)
        if texts is not None:
            is_text = np.array([text is not None for text in texts.tolist()], bool)
            is_text &= self.head["has_texts"][places] > 0
            found |= is_text & (self.texts[places, 0, chains] == texts)
        return found

    def set_values(
        self,
        group: int,
        places: Places,
        chains: Places,
        numbers: npt.NDArray[np.float64],
        texts: npt.NDArray[Any] | None,
    ) -> None:
        """Set values of chains; groups as above."""
        self._numbers(group)[places, chains] = numbers
        if texts is not None:
            self.texts[places, group, chains] = texts
            self.head["has_texts"][places] = 1

    def _numbers(self, group: int) -> npt.NDArray[np.float64]:
        of_all: npt.NDArray[np.float64] = (
            self.head["label_value"] if group == 0 else self.predictions[group - 1]["value"]
        )
        return of_all

    def is_held(self, places: Places) -> npt.NDArray[np.bool_]:
        """Tell of flat rows whether there is anything in them."""
        head = self.head[places]
        return np.asarray((head["predictions"] > 0) | (head["flags"] & LabelFlag.KEPT > 0).any(axis=1), bool)

    def release(self, place: int) -> None:
        """Forget a key that has a state of its own from now on; its place is not used again before `keep`."""
        self.head["form"][place] = OTHER
        self.is_changed[place] = False

    def to_store(self) -> tuple[Places, Places]:
        """Return the rows that were changed, and those that were stored and have nothing in them any more."""
        changed = np.flatnonzero(self.is_changed[: self.used])
        is_held = self.is_held(changed)
        return changed[is_held], changed[~is_held & self.is_stored[changed]]

    def keep(self, count: int) -> bool:
        """Note that everything that was changed is stored, and forget rows if there are more than twice `count`.

        Then as many are kept, of those that were changed since the rows were last forgotten, those taken last.

        Returns:
            Whether rows were forgotten, so that all have other places.
        """
        used = self.used
        changed = np.flatnonzero(self.is_changed[:used])
        self.is_stored[changed] = self.is_held(changed)
        self._was_changed[changed] = True
        self.is_changed[:used] = False
        if used <= 2 * count:
            return False
        is_flat = self.head["form"][:used] == FLAT
        places = np.flatnonzero(is_flat & self._was_changed[:used])
        self._keep_only(places[self.is_held(places)][-count:])
        return True

    def forget_empty(self) -> Places:
        """Forget rows with nothing in them of which nothing is stored, so that all have other places.

        Returns:
            The places that the others had, in the order in which they follow each other now.
        """
        places = np.flatnonzero(self.head["form"][: self.used] == FLAT)
        places = places[self.is_held(places) | self.is_stored[places]]
        self._keep_only(places)
        return places

    def _keep_only(self, places: Places) -> None:
        """Move these rows to the first places, and forget all others."""
        used, first, end = self.used, NO_ROW + 1, NO_ROW + 1 + len(places)
        for array in self._arrays():
            kept = array[places]
            if array.dtype == object:
                array[first:used] = None
            else:
                array[first:used].view(np.uint8)[:] = 0
            array[first:end] = kept
        self.head["form"][first:used] = FLAT
        self.used = end

    def places(self) -> dict[str, int]:
        """Return the place of each key."""
        first = NO_ROW + 1
        return dict(zip(self.keys[first : self.used].tolist(), range(first, self.used), strict=True))

    def _arrays(self) -> list[npt.NDArray[Any]]:
        return [
            *(self.keys, self.head, *self.predictions, *self.ids, *self.projections, self.texts),
            *(self.is_changed, self.is_stored, self._was_changed, self._is_closed, self._tails),
        ]

    def _make(self, capacity: int) -> None:
        kinds = len(self.form.names)
        self.keys = np.full(capacity, None, object)
        self.head = np.zeros(capacity, self.form.head_type)
        self.head["form"][NO_ROW + 1 :] = FLAT
        self.predictions = [np.zeros(capacity, self.form.prediction_type) for _ in range(PREDICTIONS_MAX)]
        self.ids = [np.full(capacity, None, object) for _ in range(PREDICTIONS_MAX)]
        self.projections = [np.full(capacity, None, object) for _ in range(PREDICTIONS_MAX)]
        self.texts = np.full((capacity, 1 + PREDICTIONS_MAX, kinds), None, object)
        self.is_changed = np.zeros(capacity, bool)
        self.is_stored = np.zeros(capacity, bool)
        self._was_changed = np.zeros(capacity, bool)
        self._tails = np.full(capacity, None, object)
        self._is_closed = np.zeros(capacity, bool)

    def _grow(self) -> None:
        before = self._arrays()
        self._make(2 * len(self.keys))
        for old, new in zip(before, self._arrays(), strict=True):
            new[: len(old)] = old


def _as_rows(bytes_: npt.NDArray[np.uint8], row_type: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return rows of bytes as rows of a type."""
    return np.ascontiguousarray(bytes_).view(row_type)[:, 0]


def _as_bytes(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return rows of a type as rows of bytes."""
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), rows.dtype.itemsize)


def _objects(items: Sequence[Any]) -> npt.NDArray[Any]:
    """Return objects as an array, whatever they are."""
    return np.fromiter(items, object, len(items))
