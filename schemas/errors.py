"""All errors that Truthloop raises on purpose.

    TruthloopError
    ├── ConfigError        the loop's config is invalid (exit code 2)
    ├── InputError         an input file cannot be used (exit code 2)
    ├── BrokerError        the Kafka cluster cannot be reached, refuses a request, or cannot be started (exit code 4)
    │   └── ClusterAway    it does not answer; a role waits for it
    ├── RegistryAway       the schema registry does not answer; ingest waits for it (exit code 4)
    ├── StateError         the join's local state cannot be used (exit code 1)
    └── LakeError          the lake cannot be read or written (exit code 1)
        ├── LakeConflict   another writer wrote the same range first
        └── LakeTooNew     the lake was written by a newer Truthloop

Bad *data* is never an exception: it is a `Rejection` or a flag (see `schemas.events.messages`). This module imports no
other of ours, so that every package can import it.
"""

__all__ = [
    "BrokerError",
    "ClusterAway",
    "ConfigError",
    "InputError",
    "LakeConflict",
    "LakeError",
    "LakeTooNew",
    "RegistryAway",
    "StateError",
    "TruthloopError",
]


class TruthloopError(Exception):
    """What happened, where, and what to do next.

    Args:
        what: one sentence on what happened.
        where: file and line, or topic, partition and offset; empty if that is obvious.
        hint: the next step, as a sentence or a command.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        hint = f"\n  {self.hint}" if self.hint else ""
        return f"{where}{self.what}{hint}"


class ConfigError(TruthloopError):
    """The config cannot be used; nothing was read or written."""

    exit_code = 2


class InputError(TruthloopError):
    """An input file cannot be used; nothing of it was written."""

    exit_code = 2


class BrokerError(TruthloopError):
    """The Kafka cluster cannot be reached, refuses a request, or cannot be started."""

    exit_code = 4


class ClusterAway(BrokerError):  # noqa: N818 - the tree above names what it is; the suffix adds nothing
    """The Kafka cluster does not answer, or not in time: the same request may work later."""


class RegistryAway(TruthloopError):  # noqa: N818 - the same
    """The schema registry does not answer, or does not know a schema yet: the same request may work later."""

    exit_code = 4


class StateError(TruthloopError):
    """The join's local state cannot be opened or written, or does not match the ledger.

    Args:
        what: as for every error.
        where: folder of the state.
        hint: as for every error.
        must_rebuild: the stored state is unusable, and has to be moved away and rebuilt.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "", must_rebuild: bool = False) -> None:
        super().__init__(what, where=where, hint=hint)
        self.must_rebuild = must_rebuild


class LakeError(TruthloopError):
    """The lake cannot be read, written or used for this request."""


class LakeConflict(LakeError):  # noqa: N818 - the same
    """Another writer wrote the range, or the writer's position in the lake is not where the range begins."""


class LakeTooNew(LakeError):  # noqa: N818 - the same
    """The lake was written by a newer Truthloop; this one has to be upgraded."""
