"""The changes of many keys at once, on rows of arrays: faster than `KeyedState`, and the same.

What allows it is a law of the join: within a step keys do not interact. Counters, fingerprint and waiting bytes are
sums, and cursors and floor move at the end of the step. So records are taken in any order, as long as those of one key
stay in theirs: first the first ones of all keys, then their second ones, and so on. A key whose row does not say all,
or that something rare happens to, is left to `KeyedState`, where every rule stands; properties compare the two.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from joins.checkpoint import Checkpoint
from joins.effect import OutcomeRow, RejectRow
from joins.flat_form import PREDICTIONS_MAX, LabelFlag
from joins.keyed_state import Entry, KeyedState, WaitingLabel
from joins.policy import FUTURE_REJECT_MS, Policy
from joins.record import LabelRecord, LabelValue, Op, PredictionRecord
from joins.rows import KeyRows, Places
from joins.state import STATUS_CODE, waiting_bytes
from joins.store import RowStore
from joins.xxh3 import Integers, sum_of_digests
from schemas.base.status import Reason, RejectReason, Status

__all__ = ["ColumnarState"]

RECORDS_LEAST = 64
"""Fewer records, or entries of an index, are taken one by one: arrays have a cost of their own."""

_PENDING, _JOINED, _IMPLIED, _EXPIRED = (
    STATUS_CODE[status] for status in (Status.PENDING, Status.JOINED, Status.IMPLIED, Status.EXPIRED)
)
_STATUSES = np.array(list(Status), object)
_LABEL_REASONS = np.array([Reason.FIRST, Reason.EARLY, Reason.LATE], object)
_EARLY, _LATE = 1, 2
_NO_OFFSET: Final = -1
"""In place of a label's offset in the digest of a chain without a label."""

_UPSERT, _HEARTBEAT = Op.UPSERT, Op.HEARTBEAT
_NUMBERS: Final = {float}
_as_outcome = partial(tuple.__new__, OutcomeRow)

Flags = npt.NDArray[np.bool_]


class _Predictions:
    """Predictions as columns, in the order of their offsets."""

    def __init__(self, records: Sequence[PredictionRecord]) -> None:
        offsets, self.keys, ids, times, digests, eligible, projections = zip(*records, strict=True)
        self.offset = np.array(offsets, np.int64)
        self.time_ms = np.array(times, np.int64)
        self.digest = np.array(digests, np.int64)
        self.eligible = np.array(eligible, np.uint8)
        self.ids = np.fromiter(ids, object, len(ids))
        self.projections = np.fromiter(projections, object, len(ids))


class _Labels:
    """Labels as columns, in the order of their offsets.

    Attributes:
        chain: place of the chain in a row; -1 for whatever is no plain label of the loop's own definition.
        text: values that are texts; None where all are numbers.
    """

    def __init__(self, records: Sequence[LabelRecord], chains: dict[tuple[str, str], int]) -> None:
        offsets, self.keys, kinds, definitions, ops, values, times, known = zip(*records, strict=True)
        self.offset = np.array(offsets, np.int64)
        self.time_ms = np.array(times, np.int64)
        self.known_at_ms = np.array(known, np.int64)
        self.chain = np.array(list(map(chains.get, zip(kinds, definitions, strict=True), repeat(-1))), np.intp)
        self.chain[np.fromiter((op is not _UPSERT for op in ops), bool, len(ops))] = -1
        self.is_heartbeat = np.fromiter((op is _HEARTBEAT for op in ops), bool, len(ops))
        self.text: npt.NDArray[Any] | None = None
        if set(map(type, values)) != _NUMBERS:
            self.text = np.fromiter((v if isinstance(v, str) else None for v in values), object, len(values))
            values = tuple(v if isinstance(v, float) else np.nan for v in values)
        self.value = np.array(values, np.float64)
        has_none = np.isnan(self.value)
        if self.text is not None:
            has_none &= np.array([text is None for text in self.text.tolist()], bool)
        self.chain[has_none] = -1

    def texts(self, at: Places) -> npt.NDArray[Any] | None:
        """Return the texts of some records; None where all are numbers."""
        return None if self.text is None else self.text[at]


class ColumnarState(KeyedState):
    """The keys of one partition in a store that has rows.

    Args:
        policy: the loop's rules.
        store: holds this partition's keys; nobody else may change it.
        checkpoint: where to go on; a new partition starts from nothing. It is changed in place.
    """

    store: RowStore

    def __init__(self, policy: Policy, store: RowStore, checkpoint: Checkpoint | None = None) -> None:
        super().__init__(policy, store, checkpoint)

    def change_policy(self, policy: Policy) -> None:
        """Apply other rules from now on; what was decided stays decided."""
        super().change_policy(policy)
        self._own = [self._rules[kind][of_kind.definition] for kind, of_kind in sorted(policy.kinds.items())]
        self._chain_at = {(rules.kind, rules.definition): at for at, rules in enumerate(self._own)}
        self._kind_at = {rules.kind: at for at, rules in enumerate(self._own)}
        self._retain_ms = np.array([rules.retain_ms for rules in self._own], np.int64)
        self._rows: KeyRows | None = self.store.rows_of([rules.name for rules in self._own])

    def apply_predictions(self, records: Sequence[PredictionRecord], base: int, now_ms: int) -> list[Entry]:
        """Apply predictions: those of one key in the order of their offsets."""
        one_by_one = super().apply_predictions
        rows = self._rows
        if rows is None or len(records) < RECORDS_LEAST:
            return one_by_one(records, base, now_ms)
        batch = _Predictions(records)
        places = self.store.locate(batch.keys)
        too_new_ms, floor_ms, behind_ms = self._bounds(now_ms)
        is_plain = (batch.time_ms <= too_new_ms) & (batch.time_ms >= floor_ms) & rows.is_flat(places)
        behind = one_by_one([records[at] for at in _where(~is_plain).tolist()], base, now_ms)
        waves = _Waves(rows, places, _where(is_plain))
        for wave in waves:
            added, rest = self._add_predictions(rows, batch, places, wave, base)
            self._count_accepted(len(added))
            entries = _entries(batch.time_ms, batch.offset, batch.keys, batch.ids, added)
            self.store.by_prediction.extend(entries)
            behind += [entry for entry in entries if entry[0] <= behind_ms]
            behind += one_by_one([records[at] for at in rest.tolist()], base, now_ms)
        return behind + one_by_one([records[at] for at in waves.rest.tolist()], base, now_ms)

    def _add_predictions(
        self, rows: KeyRows, batch: _Predictions, places: Places, wave: Places, base: int
    ) -> tuple[Places, Places]:
        """Add the predictions of a wave; return those that were added, and those that are left to do."""
        of = places[wave]
        is_flat = rows.is_flat(of)
        count = np.where(is_flat, rows.head["predictions"][of].astype(np.intp), -1)
        is_known = self._refuse_known(rows, batch, of, wave, count)
        added = []
        for number in range(PREDICTIONS_MAX):
            mine = _where((count == number) & ~is_known)
            if mine.size:
                self._set_predictions(rows, batch, number, of[mine], wave[mine], base)
                added.append(wave[mine])
        is_left = ((count == PREDICTIONS_MAX) & ~is_known) | ~is_flat
        return np.concatenate([wave[:0], *added]), wave[is_left]

    def _refuse_known(
        self, rows: KeyRows, batch: _Predictions, of: Places, wave: Places, count: npt.NDArray[Any]
    ) -> Flags:
        """Reject predictions whose id is known, and tell which these are."""
        is_known = np.zeros(len(of), bool)
        rows.open(of[count > 0])
        for number in range(PREDICTIONS_MAX):
            there = _where(count > number)
            again = there[rows.ids[number][of[there]] == batch.ids[wave[there]]]
            is_known[again] = True
            known = rows.predictions[number]["digest"][of[again]]
            for offset, digest, first in zip(
                batch.offset[wave[again]].tolist(), batch.digest[wave[again]].tolist(), known.tolist(), strict=True
            ):
                self._refuse_again(offset, digest, first)
        return is_known

    def _set_predictions(
        self, rows: KeyRows, batch: _Predictions, number: int, of: Places, at: Places, base: int
    ) -> None:
        """Set the first or the second prediction of keys, and join it with the labels that are kept of its key."""
        row, head = rows.predictions[number], rows.head
        offset, time_ms, digest = batch.offset[at], batch.time_ms[at], batch.digest[at]
        row["offset"][of], row["time_ms"][of], row["digest"][of] = offset, time_ms, digest
        row["eligible"][of] = batch.eligible[at]
        rows.set_predictions(number, of, batch.ids[at], batch.projections[at])
        head["predictions"][of] = number + 1
        self.checkpoint.fingerprint += sum_of_digests(offset, time_ms, digest)
        is_kept = rows.is_kept(of)
        if number == 0:
            self.store.count_keys(len(of) - _count(is_kept.any(axis=1)))
        if not is_kept.any():
            return
        if number == 0:
            self._count_waiting(rows, of, -is_kept.sum(axis=1))
        for chain, retain_ms in enumerate(self._retain_ms.tolist()):
            kept = _where(is_kept[:, chain])
            is_near = np.abs(head["label_known_ms"][of[kept], chain] - time_ms[kept]) <= retain_ms
            near, far = kept[is_near], of[kept[~is_near]]
            head["flags"][far, chain] |= LabelFlag.OUT_OF_REACH
            self._join_rows(rows, number, of[near], chain, offset[near] + 1 + base)

    def apply_labels(self, records: Sequence[LabelRecord], base: int, now_ms: int) -> list[WaitingLabel]:
        """Apply labels: those of one key in the order of their offsets."""
        one_by_one = super().apply_labels
        rows = self._rows
        if rows is None or len(records) < RECORDS_LEAST:
            return one_by_one(records, base, now_ms)
        batch = _Labels(records, self._chain_at)
        places = self.store.locate(batch.keys)
        too_new_ms = now_ms + FUTURE_REJECT_MS
        is_plain = (batch.known_at_ms <= too_new_ms) & (batch.time_ms <= too_new_ms) & ~batch.is_heartbeat
        is_plain &= rows.is_flat(places)
        behind = one_by_one([records[at] for at in _where(~is_plain).tolist()], base, now_ms)
        waves = _Waves(rows, places, _where(is_plain))
        for wave in waves:
            waiting, rest = self._add_labels(rows, batch, places, wave, base)
            behind += self._passed(batch, waiting)
            behind += one_by_one([records[at] for at in rest.tolist()], base, now_ms)
        return behind + one_by_one([records[at] for at in waves.rest.tolist()], base, now_ms)

    def _passed(self, batch: _Labels, waiting: Places) -> list[WaitingLabel]:
        """Return those of the waiting labels that the cursor of waiting labels has passed."""
        if not self.checkpoint.waiting:
            return []
        found = []
        for at in waiting.tolist():
            rules = self._own[batch.chain[at]]
            position = (int(batch.known_at_ms[at]), int(batch.offset[at]))
            cursor = self.checkpoint.waiting.get(rules.kind)
            if cursor is not None and position <= cursor:
                found.append((rules.kind, position[1], batch.keys[at], rules.name))
        return found

    def _add_labels(
        self, rows: KeyRows, batch: _Labels, places: Places, wave: Places, base: int
    ) -> tuple[Places, Places]:
        """Add the labels of a wave; return those that wait for a prediction, and those that are left to do."""
        head = rows.head
        is_plain = (batch.chain[wave] >= 0) & rows.is_flat(places[wave])
        plain = wave[is_plain]
        of, chain = places[plain], batch.chain[plain]
        has_label = head["flags"][of, chain] & LabelFlag.KEPT > 0
        for row in rows.predictions:
            has_label |= row["status"][of, chain] == _JOINED
        met = _where(has_label)
        is_same = head["label_time_ms"][of[met], chain[met]] == batch.time_ms[plain[met]]
        is_same &= rows.has_value(of[met], chain[met], batch.value[plain[met]], batch.texts(plain[met]))
        self._refuse_repeated(batch, plain[met[is_same]])
        new = plain[~has_label]
        joined = self._set_labels(rows, batch, places[new], new, base)
        return new[~joined], np.sort(np.concatenate([wave[~is_plain], plain[met[~is_same]]]))

    def _refuse_repeated(self, batch: _Labels, at: Places) -> None:
        """Reject labels whose time and value are those of the label of record."""
        for offset, chain in zip(batch.offset[at].tolist(), batch.chain[at].tolist(), strict=True):
            kind = self._own[chain].kind
            counts = self._label_counts[kind]
            counts.consumed += 1
            counts.duplicate += 1
            self.effects.rejects.append(RejectRow("labels", offset, RejectReason.DUPLICATE, kind))

    def _set_labels(self, rows: KeyRows, batch: _Labels, of: Places, at: Places, base: int) -> Flags:
        """Set the first label of keys' chains and join it with the predictions in reach; tell which have joined."""
        head, store = rows.head, self.store
        chain, offset = batch.chain[at], batch.offset[at]
        time_ms, known_at_ms = batch.time_ms[at], batch.known_at_ms[at]
        has_no_prediction = head["predictions"][of] == 0
        alone = of[has_no_prediction]
        store.count_keys(len(alone) - _count(rows.is_kept(alone).any(axis=1)))
        self._count_waiting(rows, alone, np.ones(len(alone), np.int64))
        head["label_time_ms"][of, chain], head["label_offset"][of, chain] = time_ms, offset
        head["label_known_ms"][of, chain] = known_at_ms
        rows.set_values(0, of, chain, batch.value[at], batch.texts(at))
        head["flags"][of, chain] = LabelFlag.KEPT
        rows.is_changed[of] = True
        self.checkpoint.fingerprint += sum_of_digests(offset, time_ms, known_at_ms)
        joined = np.zeros(len(of), bool)
        for number, row in enumerate(rows.predictions):
            is_near = np.abs(known_at_ms - row["time_ms"][of]) <= self._retain_ms[chain]
            is_near &= head["predictions"][of] > number
            joined |= is_near
            for own in range(len(self._own)):
                near = _where(is_near & (chain == own))
                self._join_rows(rows, number, of[near], own, offset[near] + 1 + base)
        far = ~joined & ~has_no_prediction
        head["flags"][of[far], chain[far]] |= LabelFlag.OUT_OF_REACH
        for own, rules in enumerate(self._own):
            mine = at[chain == own]
            counts = self._label_counts[rules.kind]
            counts.consumed += len(mine)
            counts.heads += len(mine)
            names = repeat(rules.name)
            store.by_label[rules.kind].extend(_entries(batch.known_at_ms, batch.offset, batch.keys, names, mine))
        return joined

    def _join_rows(self, rows: KeyRows, number: int, of: Places, chain: int, revisions: Integers) -> None:
        """Make the kept label of a chain the label of record of one prediction of each key; none has joined one."""
        if not of.size:
            return
        rules, head, row = self._own[chain], rows.head, rows.predictions[number]
        time_ms, known_at_ms = row["time_ms"][of], head["label_known_ms"][of, chain]
        before = row["status"][of, chain]
        previous = self._leave_chains(rows, number, of, chain)
        row["status"][of, chain] = _JOINED
        head["flags"][of, chain] |= LabelFlag.JOINED
        rows.is_changed[of] = True
        label_offset = head["label_offset"][of, chain]
        self.checkpoint.fingerprint += _chain_digests(row["offset"][of], rules.code, label_offset, known_at_ms, _JOINED)
        reason = np.where(known_at_ms > time_ms + rules.horizon_ms, _LATE, np.where(known_at_ms < time_ms, _EARLY, 0))
        self._label_counts[rules.kind].early += _count(reason == _EARLY)
        self.checkpoint.counters.outcomes[rules.kind].move_all(
            {status: int(count) for status, count in zip(Status, np.bincount(before), strict=False)},
            {Status.JOINED: len(of)},
        )
        self._emit(
            rows,
            number,
            of,
            chain,
            status=repeat(Status.JOINED),
            reason=_LABEL_REASONS[reason].tolist(),
            value=rows.values(0, of, chain),
            previous=previous,
            previous_status=_STATUSES[before].tolist(),
            known_at_ms=known_at_ms.tolist(),
            revision=revisions.tolist(),
            label_offset=label_offset.tolist(),
            label_time_ms=head["label_time_ms"][of, chain].tolist(),
        )

    def _leave_chains(self, rows: KeyRows, number: int, of: Places, chain: int) -> list[LabelValue]:
        """Take the chains that have ended without a label out of the fingerprint; return the values of all."""
        row = rows.predictions[number]
        before = row["status"][of, chain]
        previous: list[LabelValue] = [None] * len(of)
        ended = _where(before != _PENDING)
        if ended.size:
            there = of[ended]
            known_at_ms = row["known_ms"][there, chain]
            self.checkpoint.fingerprint -= _chain_digests(
                row["offset"][there], self._own[chain].code, _NO_OFFSET, known_at_ms, before[ended]
            )
            for at, value in zip(ended.tolist(), rows.values(1 + number, there, chain), strict=True):
                previous[at] = value
        return previous

    def time_out_all(self, entries: Sequence[Entry], kind: str, revision: int) -> None:
        """End the pending outcomes of these entries without a label."""
        rows = self._rows
        if rows is None or len(entries) < RECORDS_LEAST:
            super().time_out_all(entries, kind, revision)
            return
        places, offset, others = self._located(rows, entries)
        super().time_out_all([entries[at] for at in others], kind, revision)
        chain = self._kind_at[kind]
        numbers = rows.numbers_of(places, offset)
        for number, row in enumerate(rows.predictions):
            of = places[numbers == number]
            self._end_rows(rows, number, of[row["status"][of, chain] == _PENDING], chain, revision, aged_out=False)

    def _end_rows(self, rows: KeyRows, number: int, of: Places, chain: int, revision: int, *, aged_out: bool) -> None:
        """End pending outcomes of one prediction of each key without a label."""
        if not of.size:
            return
        rules, row = self._own[chain], rows.predictions[number]
        of_kind = self.policy.kinds[rules.kind]
        is_implied = np.zeros(len(of), bool)
        if of_kind.implies and not aged_out:
            is_implied = row["eligible"][of] > 0
        status = np.where(is_implied, _IMPLIED, _EXPIRED)
        known_at_ms = row["time_ms"][of] + of_kind.horizon_ms
        row["status"][of, chain], row["known_ms"][of, chain] = status, known_at_ms
        implied = of_kind.implied
        value = np.where(is_implied, implied if isinstance(implied, int | float) else np.nan, np.nan)
        text = np.array([None, implied], object)[is_implied.astype(int)] if isinstance(implied, str) else None
        rows.set_values(1 + number, of, np.full(len(of), chain), value, text)
        rows.is_changed[of] = True
        self.checkpoint.fingerprint += _chain_digests(row["offset"][of], rules.code, _NO_OFFSET, known_at_ms, status)
        ended: dict[Status | Reason, int] = {Status.IMPLIED: _count(is_implied), Status.EXPIRED: _count(~is_implied)}
        counts = self.checkpoint.counters.outcomes[rules.kind]
        counts.move_all({Status.PENDING: len(of)}, {Reason.AGED_OUT: len(of)} if aged_out else ended)
        self._emit(
            rows,
            number,
            of,
            chain,
            status=_STATUSES[status].tolist(),
            reason=repeat(Reason.AGED_OUT if aged_out else Reason.TIMEOUT),
            value=rows.values(1 + number, of, chain),
            previous=repeat(None),
            previous_status=repeat(Status.PENDING),
            known_at_ms=known_at_ms.tolist(),
            revision=repeat(revision),
            label_offset=repeat(None),
            label_time_ms=repeat(None),
        )

    def age_out_predictions(self, entries: Sequence[Entry], revision: int) -> None:
        """Drop the predictions of these entries; their pending outcomes end as aged out."""
        one_by_one = super().age_out_predictions
        rows = self._rows
        if rows is None or len(entries) < RECORDS_LEAST:
            one_by_one(entries, revision)
            return
        places, offset, others = self._located(rows, entries)
        one_by_one([entries[at] for at in others], revision)
        waves = _Waves(rows, places, _where(rows.is_flat(places)))
        for wave in waves:
            numbers = rows.numbers_of(places[wave], offset[wave])
            for number in range(PREDICTIONS_MAX):
                self._drop_predictions(rows, number, places[wave[numbers == number]], revision)
        one_by_one([entries[at] for at in waves.rest.tolist()], revision)

    def _drop_predictions(self, rows: KeyRows, number: int, of: Places, revision: int) -> None:
        """Drop one prediction of each key."""
        if not of.size:
            return
        row, head = rows.predictions[number], rows.head
        for chain in range(len(self._own)):
            self._end_rows(rows, number, of[row["status"][of, chain] == _PENDING], chain, revision, aged_out=True)
        offset = row["offset"][of]
        checkpoint = self.checkpoint
        checkpoint.fingerprint -= sum_of_digests(offset, row["time_ms"][of], row["digest"][of])
        for chain, rules in enumerate(self._own):
            status = row["status"][of, chain]
            has_joined = status == _JOINED
            label_offset = np.where(has_joined, head["label_offset"][of, chain], _NO_OFFSET)
            known_at_ms = np.where(has_joined, head["label_known_ms"][of, chain], row["known_ms"][of, chain])
            checkpoint.fingerprint -= _chain_digests(offset, rules.code, label_offset, known_at_ms, status)
        rows.drop_prediction(number, of)
        left = of[head["predictions"][of] == 0]
        labels = rows.is_kept(left).sum(axis=1)
        self._count_waiting(rows, left, labels)
        self.store.count_keys(-_count(labels == 0))

    def age_out_labels(self, entries: Sequence[Entry], kind: str) -> None:
        """Drop the labels of these entries, which no prediction to come can reach."""
        rows = self._rows
        if rows is None or len(entries) < RECORDS_LEAST:
            super().age_out_labels(entries, kind)
            return
        places, offset, others = self._located(rows, entries)
        super().age_out_labels([entries[at] for at in others], kind)
        chain, head = self._kind_at[kind], rows.head
        is_there = rows.is_flat(places) & (head["flags"][places, chain] & LabelFlag.KEPT > 0)
        of = places[is_there & (head["label_offset"][places, chain] == offset)]
        flags, label_offset = head["flags"][of, chain], head["label_offset"][of, chain]
        counts = self._label_counts[kind]
        alone = flags & LabelFlag.JOINED == 0
        for one, flag in zip(label_offset[alone].tolist(), flags[alone].tolist(), strict=True):
            is_late = flag & LabelFlag.OUT_OF_REACH
            reason = RejectReason.TOO_LATE if is_late else RejectReason.UNKNOWN_PREDICTION
            self.effects.rejects.append(RejectRow("labels", one, reason, kind))
        counts.heads -= _count(alone)
        counts.aged_out += _count(alone)
        self.checkpoint.fingerprint -= sum_of_digests(
            label_offset, head["label_time_ms"][of, chain], head["label_known_ms"][of, chain]
        )
        head["flags"][of, chain] = 0
        rows.is_changed[of] = True
        left = of[head["predictions"][of] == 0]
        self._count_waiting(rows, left, np.full(len(left), -1))
        self.store.count_keys(-_count(~rows.is_kept(left).any(axis=1)))

    def _located(self, rows: KeyRows, entries: Sequence[Entry]) -> tuple[Places, Integers, list[int]]:
        """Return entries' places, their offsets, and which are those of keys without a row."""
        _, offsets, keys, _ = zip(*entries, strict=True)
        places = self.store.locate(keys)
        return places, np.array(offsets, np.int64), _where(~rows.is_flat(places)).tolist()

    def _count_waiting(self, rows: KeyRows, of: Places, labels: Integers) -> None:
        """Add to the bytes of waiting labels as many labels of each of these keys."""
        bytes_ = map(waiting_bytes, rows.keys[of].tolist())
        self.checkpoint.waiting_bytes += sum(count * size for count, size in zip(labels.tolist(), bytes_, strict=True))

    def _emit(self, rows: KeyRows, number: int, of: Places, chain: int, **columns: Iterable[Any]) -> None:
        """Add revisions of outcomes of one prediction of each key."""
        rows.open(of)
        rules, row = self._own[chain], rows.predictions[number]
        facts = {
            "key": rows.keys[of].tolist(),
            "id": rows.ids[number][of].tolist(),
            "kind": repeat(rules.kind),
            "definition": repeat(rules.definition),
            "predicted_at_ms": row["time_ms"][of].tolist(),
            "prediction_offset": row["offset"][of].tolist(),
            "eligible": row["eligible"][of].astype(bool).tolist(),
            "projection": rows.projections[number][of].tolist(),
        }
        every = facts | columns
        self.effects.outcomes += map(_as_outcome, zip(*(every[name] for name in OutcomeRow._fields), strict=False))


class _Waves:
    """Gives the first records of all keys, then their second ones, and so on, while there are many.

    Args:
        rows: of the keys.
        places: of the key of each record.
        at: the records to give.

    Attributes:
        rest: those that were not given, in their order.
    """

    def __init__(self, rows: KeyRows, places: Places, at: Places) -> None:
        self._places = places
        self._first = np.empty(rows.used, np.intp)
        self.rest = at

    def __iter__(self) -> Iterator[Places]:
        while len(self.rest) >= RECORDS_LEAST:
            of = self._places[self.rest]
            self._first[of[::-1]] = self.rest[::-1]  # of the records of one key, the first is written last
            is_first = self._first[of] == self.rest
            wave, self.rest = self.rest[is_first], self.rest[~is_first]
            yield wave


def _entries(times: Integers, offsets: Integers, keys: Sequence[str], names: Iterable[str], at: Places) -> list[Entry]:
    """Return the index's entries of some records."""
    if not isinstance(names, repeat):
        names = np.asarray(names, object)[at].tolist()
    picked = map(keys.__getitem__, at.tolist())
    return list(zip(times[at].tolist(), offsets[at].tolist(), picked, names, strict=False))


def _where(flags: npt.NDArray[Any]) -> Places:
    """Return where flags are set; for few, `numpy.flatnonzero` takes eight times as long (2.6 and 0.3 us)."""
    return flags.nonzero()[0]


def _count(flags: npt.ArrayLike) -> int:
    return int(np.count_nonzero(flags))


def _chain_digests(
    offset: Integers, code: int, label_offset: Integers | int, known_at_ms: Integers, status: npt.NDArray[Any] | int
) -> int:
    """Return the sum of the fingerprint's parts of chains, of which none is pending."""
    columns = (offset, code, label_offset, known_at_ms, status)
    every = (np.full(len(offset), column, np.int64) if isinstance(column, int) else column for column in columns)
    return sum_of_digests(*every)
