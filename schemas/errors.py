"""Every error that Truthloop raises on purpose, in one tree.

    TruthloopError
    ├── ConfigError        the loop's config is wrong (exit code 2)
    ├── InputError         a file that was given cannot be used (exit code 2)
    ├── BrokerError        the cluster cannot be reached, refuses, or cannot be started (exit code 4)
    ├── StateError         the join's local state cannot be used (exit code 1)
    └── LakeError          the lake refuses (exit code 1)
        ├── LakeConflict   somebody else wrote the same range first
        └── LakeTooNew     written by a newer Truthloop

Bad *data* is never an exception: it is a `Rejection` or a flag (see `schemas.events.messages`).
This module must not import any other of ours, so that everything may import it.
"""

__all__ = [
    "BrokerError",
    "ConfigError",
    "InputError",
    "LakeConflict",
    "LakeError",
    "LakeTooNew",
    "StateError",
    "TruthloopError",
]


class TruthloopError(Exception):
    """What happened, where, and what to do next.

    Args:
        what: one sentence on what happened.
        where: file and line, or topic, partition and offset; empty when the place is plain.
        hint: the next step, as a sentence or a command.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  {self.hint}" if self.hint else ""
        return f"{place}{self.what}{advice}"


class ConfigError(TruthloopError):
    """The config cannot be used; nothing was read or written."""

    exit_code = 2


class InputError(TruthloopError):
    """A file cannot be used as it is; nothing of it was written."""

    exit_code = 2


class BrokerError(TruthloopError):
    """The Kafka cluster cannot be reached, refuses what was asked, or cannot be started."""

    exit_code = 4


class StateError(TruthloopError):
    """The join's local state cannot be opened or written, or is not what the ledger describes.

    Args:
        what: as for every error.
        where: the state's folder.
        hint: as for every error.
        must_rebuild: what is stored is of no more use: it has to be moved away and made again.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "", must_rebuild: bool = False) -> None:
        super().__init__(what, where=where, hint=hint)
        self.must_rebuild = must_rebuild


class LakeError(TruthloopError):
    """The lake refuses what was asked."""


class LakeConflict(LakeError):  # noqa: N818 - the tree above names what it is; the suffix adds nothing
    """The range was written by another writer, or the writer stands at another position."""


class LakeTooNew(LakeError):  # noqa: N818 - the same
    """The lake was written by a newer Truthloop. Operator action: upgrade this one."""
