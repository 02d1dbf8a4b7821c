"""A partition on a durable store that is flushed, restarted and killed between steps."""

from collections.abc import Callable

import msgspec

from joins import Batch, Checkpoint, Effects, Partition, Policy
from streams.state_store.store import RocksStore

__all__ = ["DurablePartition"]


class DurablePartition:
    """A partition, its store, and the steps since the last flush, which are redone after a restart.

    Args:
        store: new.
        policy: rules at the start.
        again: closes a store without a flush, as a crash would, and returns it open again.
    """

    def __init__(self, store: RocksStore, policy: Policy, again: Callable[[RocksStore], RocksStore]) -> None:
        self.store = store
        self.partition = Partition(policy, store)
        self._again = again
        self._policy_flushed = policy
        self._unflushed: list[tuple[Batch, Effects, Policy]] = []

    def step(self, batch: Batch) -> Effects:
        """Take a step."""
        policy = self.partition.policy
        effects = self.partition.step(batch)
        self._unflushed.append((batch, effects, policy))
        return effects

    def flush(self) -> None:
        """Flush."""
        self.store.flush(msgspec.msgpack.encode(self.partition.checkpoint))
        self._policy_flushed = self.partition.policy
        self._unflushed.clear()

    def reopen(self) -> None:
        """Open the store again and redo the steps since its last flush: they must give the same rows."""
        policy_now = self.partition.policy
        self.store = self._again(self.store)
        raw = self.store.checkpoint()
        checkpoint = None if raw is None else msgspec.msgpack.decode(raw, type=Checkpoint)
        self.partition = Partition(self._policy_flushed, self.store, checkpoint)
        for batch, effects, policy in [*self._unflushed]:
            self._change_rules(policy)
            assert self.partition.step(batch) == effects
        self._change_rules(policy_now)

    def _change_rules(self, policy: Policy) -> None:
        if policy is not self.partition.policy:
            self.partition.change_rules(policy)
