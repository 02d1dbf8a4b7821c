"""Where every consumed record ended.

Two identities hold at every commit:

    predictions consumed = pending + joined + implied + expired + retracted + aged out   (for every kind)
                         + duplicate + conflict + rejected
    labels consumed      = heads + superseded + stale + withdrawn + duplicate + aged out + rejected + heartbeats

A head is the newest label of its key, kind and definition that was not stale when it came, whether or not its
prediction exists; mostly the label of record. A label that is withdrawn leaves its counter, and what it had superseded
is the head again. All counters are cumulative over the partition's life.
"""

from collections.abc import Iterable, Mapping

import msgspec

from schemas.base.status import Reason, Status

__all__ = ["Counters", "LabelCounts", "OutcomeCounts", "PredictionCounts"]


# Looking up a member on its enum class costs more than comparing it (0.16 us on CPython 3.11).
_PENDING, _JOINED, _AGED_OUT = Status.PENDING, Status.JOINED, Reason.AGED_OUT


class PredictionCounts(msgspec.Struct):
    """Where prediction records ended. Accepted ones are counted once per kind by `OutcomeCounts`."""

    consumed: int = 0
    accepted: int = 0
    duplicate: int = 0
    conflict: int = 0
    rejected: int = 0


class OutcomeCounts(msgspec.Struct):
    """Accepted predictions of one kind by the status of their outcome, under the loop's own definition."""

    pending: int = 0
    joined: int = 0
    implied: int = 0
    expired: int = 0
    retracted: int = 0
    aged_out: int = 0

    def move(self, before: Status, after: Status, reason: Reason) -> None:
        """Count one outcome that changed from one status to another."""
        if before is _PENDING and after is _JOINED:  # by far the most frequent
            self.pending -= 1
            self.joined += 1
            return
        self.move_all({before: 1}, {_AGED_OUT if reason is _AGED_OUT else after: 1})

    def move_all(self, before: Mapping[Status, int], after: Mapping[Status | Reason, int]) -> None:
        """Count outcomes that changed, by their statuses before and after; those that aged out by that reason."""
        for status, count in before.items():
            setattr(self, status.value, getattr(self, status.value) - count)
        for counted, count in after.items():
            setattr(self, counted.value, getattr(self, counted.value) + count)


class LabelCounts(msgspec.Struct):
    """Where label records of one kind ended, all definitions together.

    `early` (known before the prediction was made) and `other_definition` count some of them a second time.
    """

    consumed: int = 0
    heads: int = 0
    superseded: int = 0
    stale: int = 0
    duplicate: int = 0
    aged_out: int = 0
    rejected: int = 0
    heartbeats: int = 0
    early: int = 0
    other_definition: int = 0
    withdrawn: int = 0


class Counters(msgspec.Struct):
    """All counters of one partition, as the ledger keeps them.

    Unreadable messages were never a prediction or label; they are in no identity.
    """

    predictions: PredictionCounts
    outcomes: dict[str, OutcomeCounts]
    labels: dict[str, LabelCounts]
    unreadable_predictions: int = 0
    unreadable_labels: int = 0

    @classmethod
    def zero(cls, kinds: list[str]) -> "Counters":
        """Return the counters of a partition that has read nothing."""
        return cls(
            PredictionCounts(),
            {kind: OutcomeCounts() for kind in kinds},
            {kind: LabelCounts() for kind in kinds},
        )

    @classmethod
    def sum_of(cls, kinds: Iterable[str], parts: "Iterable[Counters]") -> "Counters":
        """Return the counters of several partitions together."""
        total = cls.zero(list(kinds))
        for one in parts:
            total.add(one)
        return total

    def violations(self) -> list[str]:
        """Return a sentence for each identity that does not hold; a healthy partition has none.

        Example:
            >>> counters = Counters.zero(["click"])
            >>> counters.predictions.consumed = 1
            >>> counters.violations()
            ['1 predictions were consumed and 0 are accounted for (click)']
        """
        found = []
        p = self.predictions
        refused = p.duplicate + p.conflict + p.rejected
        for kind, o in self.outcomes.items():
            accounted = o.pending + o.joined + o.implied + o.expired + o.retracted + o.aged_out + refused
            if accounted != p.consumed:
                found.append(f"{p.consumed} predictions were consumed and {accounted} are accounted for ({kind})")
        for kind, c in self.labels.items():
            kept = c.heads + c.superseded + c.stale + c.withdrawn
            accounted = kept + c.duplicate + c.aged_out + c.rejected + c.heartbeats
            if accounted != c.consumed:
                found.append(f"{c.consumed} labels were consumed and {accounted} are accounted for ({kind})")
        return found

    def add(self, other: "Counters") -> None:
        """Add another partition's counters to these."""
        _add(self.predictions, other.predictions)
        self.unreadable_predictions += other.unreadable_predictions
        self.unreadable_labels += other.unreadable_labels
        for kind, outcomes in other.outcomes.items():
            _add(self.outcomes.setdefault(kind, OutcomeCounts()), outcomes)
        for kind, labels in other.labels.items():
            _add(self.labels.setdefault(kind, LabelCounts()), labels)


def _add(mine: msgspec.Struct, theirs: msgspec.Struct) -> None:
    for name in mine.__struct_fields__:
        setattr(mine, name, getattr(mine, name) + getattr(theirs, name))
