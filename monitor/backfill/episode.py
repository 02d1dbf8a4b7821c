"""Open backfill episodes: labels that restate the past and are not decided yet.

The same labels and rulings give the same episodes, in whatever order labels were read. An episode that waits for a
ruling keeps its id while it grows, and never disappears by itself.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.backfill.alarm import FlaggedRun
from schemas.events.backfill import Cause, Episode, Ruling, Verdict

__all__ = ["open_episodes"]

_FINGERPRINT_BITS = np.uint64((1 << 63) - 1)
_KEYS = ["definition", "is_declared", "batch_id"]
_POSITION = ["partition", "offset"]

_Trigger = Literal["definition", "declared", "detected", "resent"]
"""How a restatement is recognised. Episodes with different triggers never share a label."""


class _Subject(NamedTuple):
    """Subject of an episode by definition or declaration, at most one of which waits. Detected ones are time ranges."""

    trigger: _Trigger
    definition: str
    batch: str | None


def open_episodes(
    loop: str,
    kind: str,
    definition: str,
    labels: pl.DataFrame,
    runs: Iterable[FlaggedRun],
    rulings: Sequence[Ruling],
) -> list[Episode]:
    """Return the open episodes of a label kind: new ones, and those that wait for a ruling.

    - Declared labels form one episode for each definition and batch, live labels of another definition one for each
      definition. While it is open it takes in all later ones. After its decision, labels that became known later than
      its end open the next one; live labels of a definition that is of record never do.
    - Each run of flagged hours forms one; the part of a run that follows a decision forms another.

    An episode that waits but is no longer found is returned as it was when it was quarantined.

    Args:
        definition: the config's own.
        labels: known_at, definition, is_declared, batch_id, partition, offset of all labels of the kind that are
            declared or not of the own definition; in any order.
        runs: hours with too many live labels that are stale or changed, or with predictions sent again.
        rulings: the latest on each episode so far, of any kind, in their order.

    Returns:
        Sorted by time of the first label, then id.

    >>> columns = {"definition": "late-30", "is_declared": False, "batch_id": None, "partition": 0, "offset": [0, 1]}
    >>> labels = pl.DataFrame({"known_at": [4_000, 5_000], **columns})
    >>> labels = labels.cast({"known_at": pl.Datetime("ms"), "batch_id": pl.String})
    >>> [found] = open_episodes("flights", "late", "late-15", labels, [], [])
    >>> found.definition, found.causes[0].value, found.labels
    ('late-30', 'redefined', 2)
    """
    mine = [one for one in rulings if one.episode.kind == kind]
    waiting = {one.episode.id: one.episode for one in mine if one.verdict is Verdict.QUARANTINED}
    decided = [one for one in mine if one.verdict is not Verdict.QUARANTINED]
    found = [*_of_labels((loop, kind, definition), labels, decided)]
    found += _of_runs((loop, kind, definition), runs, waiting.values(), decided)
    open_ = waiting | {one.id: one for one in found}
    return sorted(open_.values(), key=lambda one: (one.since, one.id))


def _of_labels(names: tuple[str, str, str], labels: pl.DataFrame, decided: Sequence[Ruling]) -> Iterator[Episode]:
    loop, kind, own = names
    counts: dict[_Subject, int] = {}
    untils: dict[_Subject, int] = {}
    for ruling in decided:
        subject = _subject(ruling.episode)
        counts[subject] = counts.get(subject, 0) + 1
        untils[subject] = max(untils.get(subject, 0), ruling.episode.until)
    approved = {one.episode.definition for one in decided if one.verdict.is_of_record} - {own}
    undecided = _undecided(labels, untils)
    starts = np.flatnonzero(undecided.get_column("subject").diff().fill_null(1).to_numpy())
    if not len(starts):
        return
    ends = np.append(starts[1:], undecided.height)
    sums = np.add.reduceat(_hash_pairs(*(undecided.get_column(name).to_numpy() for name in _POSITION)), starts)
    known_ms = undecided.get_column("known_ms").to_numpy()
    firsts = undecided.select(_KEYS)[starts.tolist()].iter_rows()
    for (definition, is_declared, batch), start, end, total in zip(firsts, starts, ends, sums, strict=True):
        if not is_declared and definition in approved:
            continue
        subject = _Subject("declared" if is_declared else "definition", definition, batch if is_declared else None)
        yield Episode(
            id=_id(loop, kind, *subject, counts.get(subject, 0)),
            kind=kind,
            definition=definition,
            batch=subject.batch,
            causes=_causes(is_declared=is_declared, is_other=definition != own),
            since=int(known_ms[start]),
            until=int(known_ms[end - 1]),
            labels=int(end - start),
            fingerprint=int(total & _FINGERPRINT_BITS),
        )


def _undecided(labels: pl.DataFrame, untils: dict[_Subject, int]) -> pl.DataFrame:
    """Return each label that became known after the last decision on its subject, once, sorted by subject and time."""
    rows = [(one.definition, one.trigger == "declared", one.batch, until) for one, until in untils.items()]
    schema = {"definition": pl.String, "is_declared": pl.Boolean, "batch_id": pl.String, "until": pl.Int64}
    until = pl.DataFrame(rows, schema=schema, orient="row")
    batch = pl.when("is_declared").then("batch_id")
    return (
        labels.unique(_POSITION)
        .with_columns(known_ms=pl.col("known_at").dt.epoch("ms"), batch_id=batch)
        .join(until, on=_KEYS, how="left", nulls_equal=True)
        .filter(pl.col("known_ms") > pl.col("until").fill_null(-1))
        .sort(*_KEYS, "known_ms")
        .with_columns(subject=pl.struct(_KEYS).rle_id().cast(pl.Int64))
    )


def _of_runs(
    names: tuple[str, str, str], runs: Iterable[FlaggedRun], waiting: Iterable[Episode], decided: Sequence[Ruling]
) -> Iterator[Episode]:
    loop, kind, own = names
    known = sorted(waiting, key=lambda one: one.since)
    for run in sorted(runs, key=lambda one: one.since_ms):
        trigger = _trigger(run.causes)
        ruled = [one.episode for one in decided if _trigger(one.episode.causes) == trigger]
        for hours, until in _undecided_hours(run, ruled):
            since = hours[0][0]
            overlapping = (one for one in known if one.since <= until and since <= one.until)
            before = next((one for one in overlapping if _trigger(one.causes) == trigger), None)
            if before is not None:
                known.remove(before)
            hour_ms, amount = np.asarray(hours, dtype=np.int64).T
            yield Episode(
                id=_id(loop, kind, trigger, since) if before is None else before.id,
                kind=kind,
                definition=own,
                causes=list(run.causes),
                since=since,
                until=until,
                stale_after_ms=run.stale_after_ms,
                labels=int(amount.sum()),
                fingerprint=int(_hash_pairs(hour_ms, amount).sum() & _FINGERPRINT_BITS),
            )


def _undecided_hours(run: FlaggedRun, ruled: Sequence[Episode]) -> Iterator[tuple[list[tuple[int, int]], int]]:
    """Yield each gapless sequence of a run's hours that are in no decided episode, with its end."""
    hours: list[tuple[int, int]] = []
    for hour_ms, amount in run.hours:
        if not any(one.since <= hour_ms <= one.until for one in ruled):
            hours.append((hour_ms, amount))
        elif hours:
            yield hours, hour_ms - 1
            hours = []
    if hours:
        yield hours, run.until_ms


def _subject(episode: Episode) -> _Subject:
    return _Subject(_trigger(episode.causes), episode.definition, episode.batch)


def _trigger(causes: Sequence[Cause]) -> _Trigger:
    if Cause.DECLARED in causes:
        return "declared"
    if Cause.REDEFINED in causes:
        return "definition"
    return "resent" if Cause.RESENT in causes else "detected"


def _causes(*, is_declared: bool, is_other: bool) -> list[Cause]:
    found = {Cause.REDEFINED: is_other, Cause.DECLARED: is_declared}
    return [cause for cause, is_so in found.items() if is_so]


def _id(*names: str | int | None) -> str:
    """Return an id that depends on these names only, never on times or positions that further reading might change."""
    text = json.dumps(names, ensure_ascii=False, separators=(",", ":"))
    return f"bf-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _hash_pairs(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each pair; their sum identifies a set of pairs in any order.

    Twice the finaliser of SplitMix64. Source: Steele, Lea and Flood (2014).
    """
    found = np.zeros(len(first), dtype=np.uint64)
    for part in (first, second):
        found = found + part.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found = found ^ (found >> np.uint64(31))
    return found
