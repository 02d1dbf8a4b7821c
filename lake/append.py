"""Exactly-once append: rows and the positions of their applications are one Delta commit.

Positions are checked and written on the same table handle, so Delta refuses the commit if another writer of one of the
applications has committed since. A write by URI would open the table again, and both writers would succeed
(`test_two_writers` fails). Writers of different applications do not conflict.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Literal

import polars as pl
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError

from lake.disk import COMMITS_AT_RISK, make_durable
from lake.failure import is_of_storage, lake_error
from lake.log_path import commit_path
from lake.storage.location import delta_options, storage_at
from schemas.base.location import Location
from schemas.errors import LakeConflict, LakeError

__all__ = ["Claim", "TableWriter", "Write", "WriteMode"]

ATTEMPTS_MAX = 20
"""Each failed attempt means that another writer succeeded; this many in a row mean too many writers, not bad luck."""

LOST_ATTEMPTS_MAX = 3
"""Attempts in a row to read or commit where a store does not answer; the client has repeated most requests itself."""

COMMITS_PER_CHECKPOINT = 50
"""Interval of Delta checkpoints: a reader reads one, and fewer log entries than this."""

_DISTINCT_TEXTS = frozenset({"key", "id", "extras", "batch_id"})

WriteMode = Literal["append", "overwrite"]

Write = Callable[[DeltaTable, CommitProperties, PostCommitHookProperties], None]


@dataclass(frozen=True)
class Claim:
    """Range of positions that a write covers; an empty one only sets the application's position.

    Attributes:
        app: id of the writing application, for instance one input's partition.
        first: position that the application must have before the write; None if it does not matter.
        following: position afterwards, the first one that is not written.
    """

    app: str
    first: int | None
    following: int


class TableWriter:
    """Writer of the Delta table in `folder`, with a handle that is opened once and kept up to date.

    Whether there are newer commits is asked of two names: a list of the log takes 14 ms at 20,000 entries.

    Threads may share one: a claim is checked and committed by one of them at a time. Otherwise the commit of another
    moves the handle in between, Delta sees no conflict, and both write the same range.
    """

    def __init__(self, folder: Location) -> None:
        self._folder = folder
        self._storage = storage_at(folder)
        self._lock = RLock()
        self._handle: DeltaTable | None = None
        self._entry: str | None = None
        """That of the handle's version; another one in its place shows a lake that was restored from a backup."""
        self._positions: dict[str, int] = {}
        """Of applications at the handle's version, as far as they were asked for."""
        self._is_asked: bool | None = None
        """Within a look: whether the store was asked for newer commits; else None."""
        self._durable_until = 0
        """All commits before this version are known to be durable."""

    @property
    def handle(self) -> DeltaTable:
        """The table in its current version.

        Raises:
            LakeError: the table cannot be read.
        """
        attempts = 1 if isinstance(self._folder, Path) else LOST_ATTEMPTS_MAX
        while True:
            attempts -= 1
            try:
                with self._lock:
                    return self._newest()
            except BaseException as error:
                self._handle = None
                if not is_of_storage(error):
                    raise
                if not attempts:
                    raise self._unreadable(error) from error

    @property
    def newest_commit(self) -> tuple[int, str | None]:
        """The version of the table and the identity of its log entry, which a lake from a backup has anew."""
        return self.handle.version(), self._entry

    def _newest(self) -> DeltaTable:
        handle = self._handle
        if handle is not None and self._is_asked:
            return handle
        entries = [] if handle is None else self._entries(handle.version(), handle.version() + 1)
        if handle is None or entries[0] != self._entry:
            handle = self._keep(DeltaTable(str(self._folder), storage_options=delta_options(self._folder)))
        elif entries[1] is not None:
            handle.update_incremental()
            self._keep(handle)
        self._is_asked = self._is_asked if self._is_asked is None else True
        return handle

    @contextmanager
    def look(self) -> Iterator[None]:
        """Ask once for newer commits, however often the table is used meanwhile; a commit or a conflict asks again.

        A look within a look is part of it.
        """
        if self._is_asked is not None:
            yield
            return
        self._is_asked = False
        try:
            yield
        finally:
            self._is_asked = None

    def ask_again(self) -> None:
        """Within a look: see newer commits, too."""
        if self._is_asked:
            self._is_asked = False

    def _keep(self, handle: DeltaTable) -> DeltaTable:
        self._handle, self._positions = handle, {}
        [self._entry] = self._entries(handle.version())
        return handle

    def _entries(self, *versions: int) -> Sequence[str | None]:
        return self._storage.identities([commit_path(version) for version in versions])

    def position(self, app: str) -> int:
        """Return the next position of an application; 0 if it has written nothing.

        Raises:
            LakeError: the table cannot be read.
        """
        return self._position(self.handle, app)

    def _position(self, handle: DeltaTable, app: str) -> int:
        if app not in self._positions:
            try:
                self._positions[app] = handle.transaction_version(app) or 0
            except BaseException as error:
                if not is_of_storage(error):
                    raise
                raise self._unreadable(error) from error
        return self._positions[app]

    def _unreadable(self, error: BaseException) -> LakeError:
        if isinstance(self._folder, Path):
            hint = "Restore the lake from a backup if the folder is damaged."
        else:
            hint = "See that the store answers, then run the same command again; roles try again by themselves."
        return lake_error("the table cannot be read", error, self._folder, hint)

    def write(self, rows_for: Callable[[DeltaTable], pl.DataFrame], mode: WriteMode, claims: Sequence[Claim]) -> bool:
        """Commit rows and positions; return False if all ranges are written already.

        Args:
            rows_for: returns the rows with the table's current columns, which may grow between two attempts.
            mode: 'overwrite' removes all other rows.
            claims: one for each application.

        Raises:
            LakeConflict: the applications' positions are neither all at the start nor all past the end of their ranges.
            LakeError: the disk is full, or other writers were first every time.
        """

        def write(handle: DeltaTable, properties: CommitProperties, hooks: PostCommitHookProperties) -> None:
            frame = rows_for(handle)
            write_deltalake(
                handle,
                frame,
                mode=mode,
                writer_properties=_encoding(frame.schema),
                commit_properties=properties,
                post_commithook_properties=hooks,
            )

        # Delta retries by itself. Rows that were appended in between would then survive an overwrite
        # (`test_a_replacement_leaves_nothing_of_another_writer_behind` fails).
        return self.commit(write, claims, retries=0 if mode == "overwrite" else None)

    def commit(self, write: Write, claims: Sequence[Claim], retries: int | None) -> bool:
        """Commit by `write`, again whenever another writer was first; return False if all ranges are written already.

        Args:
            write: commits to a handle, with the properties given.
            claims: one for each application.
            retries: how often Delta tries again by itself; None for its default.
        """
        with self._lock:
            return self._commit_once(write, claims, retries)

    def _commit_once(self, write: Write, claims: Sequence[Claim], retries: int | None) -> bool:
        failure: BaseException | None = None
        mark = None if isinstance(self._folder, Path) else uuid.uuid4().hex
        before = -1
        for attempt in range(1, ATTEMPTS_MAX + 1):
            handle = self.handle
            if failure is not None and mark is not None and self._has_entry(mark, before, handle.version()):
                return True
            if self._are_applied(claims, handle):
                # its writer may have been killed before the commit was durable
                self._make_durable(handle.version())
                return False
            before = handle.version()
            try:
                self._commit(handle, write, _properties(claims, retries, mark))
            except CommitFailedError as error:
                self._handle = None
                failure = error
            except LakeError as error:
                # the answer of a store may be lost, whatever became of the request
                if mark is None or not is_of_storage(error.__cause__) or attempt >= LOST_ATTEMPTS_MAX:
                    raise
                failure = error
            else:
                self._positions |= {claim.app: claim.following for claim in claims}
                self.ask_again()  # a handle does not always know its own commit
                return True
        raise LakeError(
            f"other writers were first {ATTEMPTS_MAX} times: {failure}",
            where=str(self._folder),
            hint="Run one writer per partition.",
        )

    def _has_entry(self, mark: str, before: int, version: int) -> bool:
        """Tell whether an entry of the log after `before` is the one with this mark: its answer was lost."""
        entries = (self._storage.read(commit_path(one)) for one in range(before + 1, version + 1))
        return any(mark.encode() in entry for entry in entries)

    def _commit(self, handle: DeltaTable, write: Write, properties: CommitProperties) -> None:
        # A Delta checkpoint of a commit that is not durable yet could not be undone. To look for old entries of the log
        # after each commit takes 120 ms at 20,000 of them: that is left to the lake's maintenance.
        hooks = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
        try:
            before = handle.version()
            write(handle, properties, hooks)
            version = handle.version()
            known = self._positions if version == before + 1 else {}
            self._keep(handle)
            self._positions = known
            self._make_durable(version)
            if version % COMMITS_PER_CHECKPOINT == 0:
                self._checkpoint(handle)
        except (CommitFailedError, LakeConflict):
            raise
        except BaseException as error:
            self._handle = None
            if not is_of_storage(error):
                raise
            hint = (
                "Check that the disk has room and the folder is writable, then run the same command again: "
                "it continues from the lake's position."
            )
            raise lake_error("could not be written", error, self._folder, hint) from error

    def checkpoint(self) -> None:
        """Write a Delta checkpoint of the current version.

        Raises:
            LakeError: it cannot be written.
        """
        with self._lock:
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        handle = self.handle
        try:
            self._make_durable(handle.version())
            self._checkpoint(handle)
        except BaseException as error:
            self._handle = None
            if not is_of_storage(error):
                raise
            hint = "Check that the disk has room and the folder is writable; it is tried again."
            raise lake_error("no Delta checkpoint could be written", error, self._folder, hint) from error

    def _checkpoint(self, handle: DeltaTable) -> None:
        handle.create_checkpoint()
        # a handle keeps the log entries that it has read; opened again, it starts from the Delta checkpoint
        # (measured at 400 commits: 15-20 ms an append instead of 52)
        self._handle = None

    def _are_applied(self, claims: Sequence[Claim], handle: DeltaTable) -> bool:
        """Tell whether all ranges are written already; False if all are still to be written.

        Raises:
            LakeConflict: neither is so; names the applications whose position is not where their range begins.
        """
        checked = [(claim, self._position(handle, claim.app)) for claim in claims if claim.first is not None]
        if all(position >= claim.following for claim, position in checked):
            return True
        if differing := [(claim, position) for claim, position in checked if position != claim.first]:
            raise LakeConflict(
                "; ".join(
                    f"{claim.app!r} has written up to {position}, and these rows are [{claim.first}, {claim.following})"
                    for claim, position in differing
                ),
                where=self._folder.name,
                hint="Another writer has written them, or the lake was restored from a backup while this one ran: "
                "start it again, so that it reads the lake's position.",
            )
        return False

    def _make_durable(self, version: int) -> None:
        """Make all commits up to `version` durable, whoever wrote them."""
        for at_risk in range(max(self._durable_until, version + 1 - COMMITS_AT_RISK), version + 1):
            make_durable(self._folder, at_risk)
        self._durable_until = version + 1


def _properties(claims: Sequence[Claim], retries: int | None, mark: str | None) -> CommitProperties:
    return CommitProperties(
        app_transactions=[Transaction(claim.app, claim.following) for claim in claims],
        max_commit_retries=retries,
        custom_metadata=None if mark is None else {"truthloop.write": mark},
    )


def _encoding(schema: pl.Schema) -> WriterProperties:
    """Return the Parquet encoding of columns: half the CPU time and half the bytes of the defaults, measured.

    Dictionaries are built for columns whose values repeat; for keys, times and positions they would be discarded.
    """
    plain = ColumnProperties(dictionary_enabled=False)
    distinct = {
        name: plain
        for name, dtype in schema.items()
        if name in _DISTINCT_TEXTS or dtype.is_numeric() or dtype.is_temporal()
    }
    return WriterProperties(compression="ZSTD", compression_level=1, column_properties=distinct)
