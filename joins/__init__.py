"""The pure join: which label belongs to which prediction, what happens when none comes, and the accounting.

A batch of canonical records comes in through `Partition.step`; revisions of outcomes and rejects go out as `Effects`,
and the checkpoint moves on. No IO, no clock, no randomness, no logging: `streams` brings records and takes effects.
"""

from joins.checkpoint import Checkpoint
from joins.effect import Effects, OutcomeRow, RejectRow
from joins.partition import Partition
from joins.policy import KindPolicy, Policy, policy_from
from joins.rebuild import KeptLabel, RebuildError, rebuild
from joins.record import Batch, DecidedOutcome, Idle, LabelRecord, Op, PredictionRecord, Withdrawal
from joins.store import MemoryStore, Store

__all__ = [
    "Batch",
    "Checkpoint",
    "DecidedOutcome",
    "Effects",
    "Idle",
    "KeptLabel",
    "KindPolicy",
    "LabelRecord",
    "MemoryStore",
    "Op",
    "OutcomeRow",
    "Partition",
    "Policy",
    "PredictionRecord",
    "RebuildError",
    "RejectRow",
    "Store",
    "Withdrawal",
    "policy_from",
    "rebuild",
]
