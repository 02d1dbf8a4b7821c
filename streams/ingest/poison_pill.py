"""What a worker of ingest has in hand, written down before it looks at it, to find a record that kills the process.

A batch that was begun three times at the same positions and never committed is taken record by record the next time;
the record in hand when the process dies then is known in the next life. Must not judge records.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from schemas.errors import StateError

__all__ = ["STARTS_MAX", "PoisonPillGuard", "RecordPosition"]

log = logging.getLogger("truthloop.ingest")

STARTS_MAX: Final = 3
"""Deployments and machines kill processes, too; three deaths over the same records are no accident."""


class RecordPosition(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


class _Range(msgspec.Struct):
    """Records of one partition that were begun and are not committed, and how often they were begun."""

    topic: str
    partition: int
    first: int
    following: int
    starts: int


class _Written(msgspec.Struct):
    ranges: list[_Range] = []
    in_hand: RecordPosition | None = None
    quarantined: list[RecordPosition] = []


class PoisonPillGuard:
    """The account of one worker.

    Args:
        path: its file; without one nothing was begun.

    Raises:
        StateError: the file can be neither read nor put aside.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        left = self._read()
        self._ranges = {(one.topic, one.partition): one for one in left.ranges}
        self._quarantined = set(left.quarantined)
        if left.in_hand is not None:
            log.error("the process died over topic %s, partition %d, offset %d: it is put aside unread", *left.in_hand)
            self._quarantined.add(left.in_hand)
        self._inherited = dict(self._ranges)

    @property
    def is_careful(self) -> bool:
        """Whether records that killed the process are among those that come next."""
        return any(one.starts >= STARTS_MAX for one in self._inherited.values())

    def keep_only(self, mine: Iterable[tuple[str, int]]) -> None:
        """Forget partitions that other workers have by now."""
        kept = set(mine)
        for ranges in (self._inherited, self._ranges):
            for gone in ranges.keys() - kept:
                del ranges[gone]
        self._quarantined = {one for one in self._quarantined if (one.topic, one.partition) in kept}

    def begin(self, ranges: Iterable[tuple[str, int, int, int]]) -> None:
        """Write down what is in hand: (topic, partition, first offset, offset after the last) of each partition."""
        for topic, partition, first, end in ranges:
            starts, following = 1, end
            before = self._inherited.get((topic, partition))
            if before is not None and before.first <= first < before.following:
                is_again = first == before.first and before.starts < STARTS_MAX
                starts = before.starts + 1 if is_again else before.starts
                following = max(end, before.following)
            self._ranges[topic, partition] = _Range(topic, partition, first, following, starts)
        self._write(None)

    def must_be_alone(self, place: RecordPosition) -> bool:
        """Tell whether a record belongs to a batch that killed the process too often."""
        one = self._inherited.get((place.topic, place.partition))
        return one is not None and one.starts >= STARTS_MAX and one.first <= place.offset < one.following

    def is_quarantined(self, place: RecordPosition) -> bool:
        """Tell whether a record was in hand when the process died."""
        return place in self._quarantined

    def take(self, place: RecordPosition) -> None:
        """Write down which single record is in hand."""
        self._write(place)

    def put_down(self) -> None:
        """Write down that no single record is in hand."""
        self._write(None)

    def committed(self, positions: Iterable[tuple[str, int, int]]) -> None:
        """Note that everything before these positions (topic, partition, offset) is committed."""
        for topic, partition, offset in positions:
            left = self._inherited.get((topic, partition))
            if left is not None and left.starts >= STARTS_MAX and offset < left.following:
                left.first = offset
                self._ranges[topic, partition] = left
            else:
                self._inherited.pop((topic, partition), None)
                self._ranges.pop((topic, partition), None)
            self._quarantined = {one for one in self._quarantined if one[:2] != (topic, partition) or one[2] >= offset}
        if self._ranges or self._quarantined:
            self._write(None)
        else:
            self._path.unlink(missing_ok=True)

    def _read(self) -> _Written:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Written)
        except FileNotFoundError:
            return _Written()
        except msgspec.MsgspecError:  # torn by a machine that died; then nothing was begun
            return _Written()
        except OSError as error:
            raise StateError(f"cannot be read: {error.strerror}", where=str(self._path)) from None

    def _write(self, in_hand: RecordPosition | None) -> None:
        """Replace the file; it has to outlive the process, not the machine."""
        content = _Written(list(self._ranges.values()), in_hand, sorted(self._quarantined))
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(msgspec.json.encode(content))
            part.replace(self._path)
        except OSError as error:
            raise StateError(
                f"cannot be written: {error.strerror}",
                where=str(self._path),
                hint="Ingest notes there what it has in hand; give state.dir room and rights.",
            ) from None
