"""Sorts frames by their column `order_ms` in bounded memory: sorted runs are put into a folder, and merged from there.

Records of equal time keep the order in which they were added. Knows nothing of what the frames hold.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from schemas.errors import InputError

__all__ = ["ExternalSort", "read_part", "write_part"]

RUN_BYTES = 128 * 1024 * 1024
"""Size of a run. Sorting one takes about three times as much memory; what fits into one run never leaves memory."""

PART_BYTES = 4 * 1024 * 1024
"""A run is read back in parts of this size: the memory that a merge takes for each run that it reads."""

MERGED_MAX = 64
"""Runs that are merged at once, in the memory of two runs. Where more overlap, some are merged into one before."""


class ExternalSort:
    """The frames of one log.

    Args:
        folder: where runs may be written; for this log alone, and removed by the caller.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = count()
        self._runs: list[_Run] = []
        self._frames: list[pl.DataFrame] = []
        self._bytes = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Add records, in any order."""
        if frame.is_empty():
            return
        self._frames.append(frame)
        self._bytes += int(frame.estimated_size())
        if self._bytes >= RUN_BYTES:
            self._runs.append(self._written([self._sorted_frames()]))

    def sorted(self) -> Iterator[pl.DataFrame]:
        """Yield all records in order, once; a frame holds as many as it happens to."""
        if self._frames:
            frame = self._sorted_frames()
            self._runs.append(_Run(frame["order_ms"][0], frame["order_ms"][-1], iter([frame])))
        runs, self._runs = self._runs, []
        while _overlapping(runs) > MERGED_MAX:
            groups = [runs[first : first + MERGED_MAX] for first in range(0, len(runs), MERGED_MAX)]
            runs = [self._written(_merged(group)) for group in groups]
        yield from _merged(runs)

    def _sorted_frames(self) -> pl.DataFrame:
        """Return the frames that are not in a run yet as one."""
        frame = pl.concat(self._frames)
        self._frames.clear()
        self._bytes = 0
        return frame if frame["order_ms"].is_sorted() else frame.sort("order_ms", maintain_order=True)

    def _written(self, frames: Iterator[pl.DataFrame] | Sequence[pl.DataFrame]) -> "_Run":
        """Write sorted frames as a run."""
        paths: list[Path] = []
        first_ms = last_ms = None
        for frame in frames:
            rows = max(1, frame.height * PART_BYTES // max(int(frame.estimated_size()), 1))
            for part in frame.iter_slices(rows):
                paths.append(self._folder / f"{next(self._names)}.arrow")
                write_part(part, paths[-1])
            first_ms = frame["order_ms"][0] if first_ms is None else first_ms
            last_ms = frame["order_ms"][-1]
        return _Run(first_ms or 0, last_ms or 0, map(read_part, paths))


class _Run:
    """Records in order, in parts that are read one by one.

    Attributes:
        first_ms: time of the first record.
        last_ms: time of the last one.
        reached_ms: no record that is still unread is earlier.
        part: what was read and not yet taken.
    """

    def __init__(self, first_ms: int, last_ms: int, parts: Iterator[pl.DataFrame]) -> None:
        self.first_ms, self.last_ms = first_ms, last_ms
        self.reached_ms = first_ms
        self.part: pl.DataFrame | None = None
        self._parts = parts

    def read(self) -> bool:
        """Read the next part; return False at the end."""
        self.part = next(self._parts, None)
        if self.part is None:
            return False
        self.reached_ms = self.part["order_ms"][-1]
        return True

    def take(self, until_ms: int, *, is_inclusive: bool) -> pl.DataFrame | None:
        """Remove and return what was read and lies before a time, or at it."""
        if self.part is None:
            return None
        taken = int(self.part["order_ms"].search_sorted(until_ms, side="right" if is_inclusive else "left"))
        found, rest = self.part[:taken], self.part[taken:]
        self.part = None if rest.is_empty() else rest
        return None if found.is_empty() else found


def _merged(runs: Sequence[_Run]) -> Iterator[pl.DataFrame]:
    """Yield the records of runs in order, those of an earlier run first where times are equal.

    A run is read once its first record may be the next: of runs that follow each other, one at a time is in memory.
    """
    left = [*runs]
    while left:
        # whatever is unread comes after the records that this run, and those before it, have up to here
        least = min(range(len(left)), key=lambda at: (left[at].reached_ms, at))
        run = left[least]
        if run.part is None:
            if not run.read():
                del left[least]
            continue
        taken = [one.take(run.reached_ms, is_inclusive=at <= least) for at, one in enumerate(left)]
        found = [frame for frame in taken if frame is not None]
        yield found[0] if len(found) == 1 else pl.concat(found).sort("order_ms", maintain_order=True)


def _overlapping(runs: Sequence[_Run]) -> int:
    """Return how many runs a merge reads at once, at most."""
    changes = sorted([(run.first_ms, 1) for run in runs] + [(run.last_ms + 1, -1) for run in runs])
    at_once = greatest = 0
    for _, change in changes:
        at_once += change
        greatest = max(greatest, at_once)
    return greatest


def write_part(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame to be read once by `read_part`.

    Raises:
        InputError: the disk refuses.
    """
    try:
        # texts of the newest form would be written with everything that they are a slice of
        frame.write_ipc(path, compression="lz4", compat_level=pl.CompatLevel.oldest())
    except (OSError, PolarsError) as error:
        raise InputError(
            f"records cannot be put aside to be sorted ({error})",
            where=str(path.parent),
            hint="Make room, or name another folder for temporary files (TMPDIR): it takes about as much as the files "
            "without compression.",
        ) from error


def read_part(path: Path) -> pl.DataFrame:
    """Return a frame that was written, and remove its file."""
    frame = pl.read_ipc(path.read_bytes())
    path.unlink()
    return frame
