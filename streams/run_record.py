"""What the ledger remembers of a run of `truthloop replay`: its files, and how far it came."""

import msgspec

__all__ = ["RunFile", "RunRecord"]


class RunFile(msgspec.Struct):
    """One file of a run and what became of its records; the counts are zero until the run has finished.

    Attributes:
        name: of the file, without folders.
        sha256: of its content, hex.
        role: 'predictions' or 'labels'.
        read: records in the file = mapped + filtered + rejected, where no list makes several of one.
        mapped: canonical records made of them.
        filtered: records that the config's `where` leaves out.
        rejected: records that could not be mapped.
        reasons: why, with counts.
        flags: what was out of the contract and kept, with counts.
    """

    name: str
    sha256: str
    role: str
    read: int = 0
    mapped: int = 0
    filtered: int = 0
    rejected: int = 0
    reasons: dict[str, int] = {}
    flags: dict[str, int] = {}


class RunRecord(msgspec.Struct):
    """One run of `truthloop replay`: enough to tell whether another is the same one, going on.

    Attributes:
        predictions_first: offset of the run's first prediction.
        labels_first: the same of the labels.
        files: in argument order.
        finished: whether every record has been read; set by the run's last step.
    """

    predictions_first: int
    labels_first: int
    files: list[RunFile]
    finished: bool = False
