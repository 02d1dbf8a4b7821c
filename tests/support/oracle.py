"""The join, naively, over complete lists: what the outcomes must be once everything is over.

Shares no code with `joins` beyond its record types. Quadratic, and proud of it.
"""

from collections.abc import Collection, Sequence

from joins.policy import Policy
from joins.record import LabelRecord, Op, PredictionRecord

__all__ = ["Final", "final_outcomes"]

Final = tuple[str, float | str | None, int]
"""(status, value, known_at_ms)."""


def final_outcomes(
    policy: Policy,
    predictions: list[PredictionRecord],
    labels: list[LabelRecord],
    withdrawals: Sequence[tuple[int, Collection[int]]] = (),
) -> dict[tuple[str, str, str, str], Final]:
    """Return (key, id, kind, definition) -> (status, value, known_at) after every deadline has passed.

    Args:
        withdrawals: how many labels had been read, and which offsets were then taken off the list.
    """
    first: dict[tuple[str, str], PredictionRecord] = {}
    for p in predictions:
        first.setdefault((p.key, p.id), p)
    distinct: list[LabelRecord] = []
    for number, label in enumerate([*labels, None]):
        gone = {offset for position, offsets in withdrawals if position == number for offset in offsets}
        distinct = [m for m in distinct if m.offset not in gone]
        if label is None or label.op is Op.HEARTBEAT:
            continue
        before = [m for m in distinct if (m.key, m.kind, m.definition) == (label.key, label.kind, label.definition)]
        newest = max(before, key=lambda m: (m.time_ms, m.offset), default=None)
        if newest is None or (newest.time_ms, newest.op, newest.value) != (
            label.time_ms,
            label.op,
            label.value,
        ):
            distinct.append(label)
    final: dict[tuple[str, str, str, str], Final] = {}
    for p in first.values():
        for kind, rules in policy.kinds.items():
            near = [
                m
                for m in distinct
                if m.key == p.key
                and m.kind == kind
                and p.time_ms - rules.retain_ms <= m.known_at_ms <= p.time_ms + rules.retain_ms
            ]
            for definition in {m.definition for m in near} | {rules.definition}:
                candidates = [m for m in near if m.definition == definition]
                chain = (p.key, p.id, kind, definition)
                if candidates:
                    of_record = max(candidates, key=lambda m: (m.time_ms, m.offset))
                    status = "retracted" if of_record.op is Op.RETRACT else "joined"
                    final[chain] = (status, of_record.value, of_record.known_at_ms)
                elif rules.implies and p.eligible:
                    final[chain] = ("implied", rules.implied, p.time_ms + rules.horizon_ms)
                else:
                    final[chain] = ("expired", None, p.time_ms + rules.horizon_ms)
    return final
