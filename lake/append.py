"""The exactly-once append: how far applications have written is checked and moved on one table handle.

Law: the positions and the rows are one commit. The check is worth something only because the write goes
through the same handle: Delta then refuses it if another writer of one of the applications came between.
Written by URI instead, the table is opened again and both writers succeed (`test_two_writers` fails).
Writers of other applications do not get in each other's way: both commits stand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
from deltalake.exceptions import CommitFailedError, DeltaError

from lake.disk import COMMITS_AT_RISK, make_durable
from schemas.errors import LakeConflict, LakeError

__all__ = ["Claim", "TableWriter", "WriteMode"]

ATTEMPTS_MAX = 20
"""Every lost attempt is another writer's success, so this many in a row is a crowd, not bad luck."""

COMMITS_PER_CHECKPOINT = 50
"""A reader reads at most this many log entries beside the checkpoint."""

_DISTINCT_TEXTS = frozenset({"key", "id", "extras", "batch_id"})

WriteMode = Literal["append", "overwrite"]


@dataclass(frozen=True)
class Claim:
    """The range of positions that a write stands for; an empty one only says where the application stands.

    Attributes:
        app: who writes, for instance one input's partition.
        first: where the application must stand before.
        following: where it stands afterwards, the first position that is not written.
    """

    app: str
    first: int
    following: int


class TableWriter:
    """One Delta table, opened once and kept up to date.

    Args:
        folder: the table's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: DeltaTable | None = None
        self._durable_until = 0
        """No commit before this version is at risk any more, as far as this writer has seen to it."""

    @property
    def handle(self) -> DeltaTable:
        """The table as it stands now.

        Raises:
            LakeError: the table cannot be read.
        """
        try:
            if self._handle is None:
                self._handle = DeltaTable(str(self._folder))
            else:
                self._handle.update_incremental()
        except (DeltaError, OSError) as error:
            self._handle = None
            raise LakeError(
                f"the table cannot be read: {error}",
                where=str(self._folder),
                hint="Bring the lake back from its backup if the folder is damaged.",
            ) from error
        return self._handle

    def write(self, rows_for: Callable[[DeltaTable], pl.DataFrame], mode: WriteMode, claims: Sequence[Claim]) -> bool:
        """Commit rows and positions; False if all ranges were there already.

        Args:
            rows_for: gives the rows in the columns that the table has now; they may grow between two attempts.
            mode: 'overwrite' takes all other rows away.
            claims: one for each application.

        Raises:
            LakeConflict: the applications stand neither all before nor all behind their ranges.
            LakeError: the disk is full, or other writers never let this one through.
        """
        refused: CommitFailedError | None = None
        for _ in range(ATTEMPTS_MAX):
            handle = self.handle
            if _are_applied(claims, self._folder.name, handle):
                # its writer may have been killed before the rows were safe from a power cut
                self._make_durable(handle.version())
                return False
            try:
                self._commit(handle, rows_for(handle), mode, claims)
            except CommitFailedError as error:
                self._handle = None
                refused = error
            else:
                return True
        raise LakeError(
            f"other writers came first {ATTEMPTS_MAX} times: {refused}",
            where=str(self._folder),
            hint="Run one writer per partition.",
        )

    def _commit(self, handle: DeltaTable, frame: pl.DataFrame, mode: WriteMode, claims: Sequence[Claim]) -> None:
        properties = CommitProperties(
            app_transactions=[Transaction(claim.app, claim.following) for claim in claims],
            # Delta tries again by itself. Rows that came between would then stand beside those that replace all
            # rows (`test_a_replacement_leaves_nothing_of_another_writer_behind` fails).
            max_commit_retries=0 if mode == "overwrite" else None,
        )
        options: dict[str, Any] = {
            "commit_properties": properties,
            # a checkpoint of a commit that is not durable yet could not be taken back
            "post_commithook_properties": PostCommitHookProperties(create_checkpoint=False),
        }
        try:
            write_deltalake(handle, frame, mode=mode, writer_properties=_encoding(frame.schema), **options)
            version = handle.version()
            self._make_durable(version)
            if version % COMMITS_PER_CHECKPOINT == 0:
                handle.create_checkpoint()
                handle.cleanup_metadata()
                # a handle goes on carrying the commits it was opened before: opened again, it starts from
                # the checkpoint (measured at 400 commits: 15-20 ms an append instead of 52)
                self._handle = None
        except CommitFailedError:
            raise
        except (DeltaError, OSError) as error:
            self._handle = None
            raise LakeError(
                f"could not be written: {error}",
                where=str(self._folder),
                hint="See that the disk has room and the folder is writable, then run the same command "
                "again: it goes on where the lake stands.",
            ) from error

    def _make_durable(self, version: int) -> None:
        """Return only when no commit up to `version` is at risk, whoever wrote it."""
        for at_risk in range(max(self._durable_until, version + 1 - COMMITS_AT_RISK), version + 1):
            make_durable(self._folder, at_risk)
        self._durable_until = version + 1


def _are_applied(claims: Sequence[Claim], table: str, handle: DeltaTable) -> bool:
    """Tell whether all ranges are there already; False if all are still to come.

    Raises:
        LakeConflict: anything else; says which applications do not stand where their range begins.
    """
    standing = {claim.app: handle.transaction_version(claim.app) or 0 for claim in claims}
    if all(standing[claim.app] >= claim.following for claim in claims):
        return True
    if differing := [claim for claim in claims if standing[claim.app] != claim.first]:
        raise LakeConflict(
            "; ".join(
                f"{claim.app!r} has written up to {standing[claim.app]}, "
                f"and these rows are [{claim.first}, {claim.following})"
                for claim in differing
            ),
            where=table,
            hint="Another writer was here, or this one remembers a lake that was put back: "
            "start it again, so that it reads where the lake stands.",
        )
    return False


def _encoding(schema: pl.Schema) -> WriterProperties:
    """Return how columns are written: half the CPU time and half the bytes of the defaults, measured.

    A dictionary is built only where values repeat; of keys, times and positions it would be thrown away again.
    """
    plain = ColumnProperties(dictionary_enabled=False)
    distinct = {
        name: plain
        for name, dtype in schema.items()
        if name in _DISTINCT_TEXTS or dtype.is_numeric() or dtype.is_temporal()
    }
    return WriterProperties(compression="ZSTD", compression_level=1, column_properties=distinct)
