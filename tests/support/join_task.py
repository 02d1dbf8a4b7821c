"""A task of the join on a store of its own, without a broker."""

from pathlib import Path

from joins import Partition
from schemas.config.loop import LoopConfig
from streams.join_worker.task import PartitionTask, StoredCheckpoint
from streams.ledger.rules import read_rules, rules_text
from streams.state_store.store import RocksStore

__all__ = ["task_in"]


def task_in(folder: Path, config: LoopConfig, sequence: int = 0) -> PartitionTask:
    """Return the task of partition 0 on a new store, before the step of this number."""
    rules, store = rules_text(config), RocksStore(folder, list(config.labels))
    partition = Partition(read_rules(rules).policy, store)
    return PartitionTask(0, partition, store, StoredCheckpoint(sequence, 0, partition.checkpoint, rules))
