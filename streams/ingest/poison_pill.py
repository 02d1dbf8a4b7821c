"""Finds poison pills, records that kill the process, by writing down which records are mapped before they are mapped.

A batch that was begun `STARTS_MAX` times at the same offsets without a commit is mapped record by record the next
time. The record that is being mapped when the process dies then is the poison pill, and is rejected unread.
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
    """Position of one record in a source topic."""

    topic: str
    partition: int
    offset: int


class _Range(msgspec.Struct):
    """Records of one partition that were begun `starts` times and are not committed."""

    topic: str
    partition: int
    first: int
    following: int
    starts: int


class _GuardFile(msgspec.Struct):
    """Content of the guard's file.

    Attributes:
        ranges: begun and not committed.
        current: the record that is being mapped on its own, if any.
        poison_pills: records that killed the process and are not committed yet.
    """

    ranges: list[_Range] = []
    current: RecordPosition | None = msgspec.field(name="in_hand", default=None)
    poison_pills: list[RecordPosition] = msgspec.field(name="quarantined", default_factory=list)


class PoisonPillGuard:
    """Counts, across restarts of one worker, how often records were begun without being committed.

    Args:
        path: its file; a missing one means that nothing was begun.

    Raises:
        StateError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        left = self._read()
        self._ranges = {(one.topic, one.partition): one for one in left.ranges}
        self._poison_pills = set(left.poison_pills)
        if left.current is not None:
            log.error(
                "the process died while mapping topic %s, partition %d, offset %d: the record is rejected unread",
                *left.current,
            )
            self._poison_pills.add(left.current)
        self._inherited = dict(self._ranges)

    @property
    def is_isolating(self) -> bool:
        """Whether records must be mapped one by one, because the next ones have killed the process too often."""
        return any(one.starts >= STARTS_MAX for one in self._inherited.values())

    def keep_only(self, mine: Iterable[tuple[str, int]]) -> None:
        """Drop all partitions but these (topic, number): other workers have them now."""
        kept = set(mine)
        for ranges in (self._inherited, self._ranges):
            for gone in ranges.keys() - kept:
                del ranges[gone]
        self._poison_pills = {one for one in self._poison_pills if (one.topic, one.partition) in kept}

    def begin(self, ranges: Iterable[tuple[str, int, int, int]]) -> None:
        """Write down a batch: (topic, partition, first offset, offset after the last) of each of its partitions.

        Raises:
            StateError: the file cannot be written.
        """
        for topic, partition, first, end in ranges:
            starts, following = 1, end
            before = self._inherited.get((topic, partition))
            if before is not None and before.first <= first < before.following:
                is_again = first == before.first and before.starts < STARTS_MAX
                starts = before.starts + 1 if is_again else before.starts
                following = max(end, before.following)
            self._ranges[topic, partition] = _Range(topic, partition, first, following, starts)
        self._write(None)

    def is_poison_pill(self, position: RecordPosition) -> bool:
        """Tell whether the process died while mapping a record on its own."""
        return position in self._poison_pills

    def begin_record(self, position: RecordPosition) -> None:
        """Write down a single record that is about to be mapped on its own."""
        self._write(position)

    def end_record(self) -> None:
        """Write down that no record is being mapped on its own any more."""
        self._write(None)

    def survived(self) -> None:
        """Forget a batch that was begun and not committed for a reason outside: the process lives, and reads it again.

        Else a process that is restarted while it waits for a cluster or a registry would seem killed by its records.
        """
        self._ranges = dict(self._inherited)
        self._write_or_remove()

    def committed(self, positions: Iterable[tuple[str, int, int]]) -> None:
        """Drop everything before these committed positions (topic, partition, offset)."""
        for topic, number, offset in positions:
            partition = (topic, number)
            left = self._inherited.get(partition)
            if left is not None and left.starts >= STARTS_MAX and offset < left.following:
                left.first = offset
                self._ranges[partition] = left
            else:
                self._inherited.pop(partition, None)
                self._ranges.pop(partition, None)
            self._poison_pills = {one for one in self._poison_pills if one[:2] != partition or one.offset >= offset}
        self._write_or_remove()

    def _write_or_remove(self) -> None:
        if self._ranges or self._poison_pills:
            self._write(None)
        else:
            self._path.unlink(missing_ok=True)

    def _read(self) -> _GuardFile:
        try:
            return _decode_guard(self._path.read_bytes())
        except FileNotFoundError:
            return _GuardFile()
        except msgspec.MsgspecError:  # torn when the machine died; then nothing was begun
            return _GuardFile()
        except OSError as error:
            raise StateError(f"cannot be read: {error.strerror}", where=str(self._path)) from None

    def _write(self, current: RecordPosition | None) -> None:
        """Replace the file; it has to survive a crash of the process, not of the machine."""
        content = _GuardFile(list(self._ranges.values()), current, sorted(self._poison_pills))
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(msgspec.json.encode(content))
            part.replace(self._path)
        except OSError as error:
            raise StateError(
                f"cannot be written: {error.strerror}",
                where=str(self._path),
                hint="Ingest notes there which records it is mapping; give state.dir free space and write permission.",
            ) from None


_decode_guard = msgspec.json.Decoder(_GuardFile).decode
