"""Names of the files of a Delta table's log, relative to the table's folder. Pure."""

__all__ = ["LAST_CHECKPOINT", "LOG", "checkpoint_path", "commit_path"]

LOG = "_delta_log"

LAST_CHECKPOINT = f"{LOG}/_last_checkpoint"


def commit_path(version: int) -> str:
    """Return the path of a log entry.

    >>> commit_path(7)
    '_delta_log/00000000000000000007.json'
    """
    return f"{LOG}/{version:020d}.json"


def checkpoint_path(version: int) -> str:
    """Return the path of a Delta checkpoint."""
    return f"{LOG}/{version:020d}.checkpoint.parquet"
