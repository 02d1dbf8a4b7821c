"""Hypothesis strategies for the join: two inputs, out of order as far as is allowed, and ways to cut them."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from joins import (
    Batch,
    DecidedOutcome,
    Effects,
    KindPolicy,
    LabelRecord,
    MemoryStore,
    Op,
    Partition,
    Policy,
    PredictionRecord,
    Withdrawal,
)
from joins.policy import WAITING_BYTES_MAX

__all__ = ["FAR_MS", "History", "batch_of", "cuts", "decisions_of", "histories", "play", "policies"]

FAR_MS = 100_000
"""Later than everything in a history: closing here ends every outcome."""

KINDS = ("click", "sale")

DENSE_MS = 60
"""How long a dense history is: no longer than its labels are retained."""


@dataclass(frozen=True)
class History:
    """Both inputs of one partition in offset order."""

    policy: Policy
    predictions: list[PredictionRecord]
    labels: list[LabelRecord]
    later: Policy | None = None
    """Rules that hold from the second half of the steps on."""
    withdrawals: tuple[tuple[int, tuple[Withdrawal, ...]], ...] = ()
    """How many labels have been read, growing, and which of them are then withdrawn."""

    @property
    def withdrawn(self) -> list[tuple[int, set[int]]]:
        """The same with offsets, as the oracle takes them."""
        return [(position, {one.offset for one in some}) for position, some in self.withdrawals]

    def due(self, before: int, following: int) -> tuple[Withdrawal, ...]:
        """Return what is withdrawn in a step that reads the labels from `before` up to `following`."""
        return tuple(one for position, some in self.withdrawals if before < position <= following for one in some)


@st.composite
def policies(draw: st.DrawFn, waiting_bytes_max: int, *, is_dense: bool) -> Policy:
    """Draw rules with one or two kinds, short enough that deadlines pass within a history, and retain, if not dense."""
    kinds = {}
    for name in KINDS[: draw(st.integers(1, 2))]:
        horizon = draw(st.integers(1, DENSE_MS // 4 if is_dense else 60))
        implies = draw(st.booleans())
        kinds[name] = KindPolicy(
            definition=f"{name}-1",
            horizon_ms=horizon,
            retain_ms=horizon + draw(st.integers(DENSE_MS if is_dense else 0, 2 * DENSE_MS if is_dense else 60)),
            implies=implies,
            implied=0.0 if implies else None,
        )
    return Policy(
        kinds,
        disorder_ms=draw(st.integers(0, 20)),
        expiry_limit=draw(st.sampled_from([1, 3, 1000])),
        waiting_bytes_max=waiting_bytes_max,
    )


@st.composite
def histories(draw: st.DrawFn, beyond_ms: int = 0, waiting_bytes_max: int = WAITING_BYTES_MAX) -> History:
    """Draw a policy and two inputs; each is out of order by at most the policy's disorder and `beyond_ms`.

    With `beyond_ms` many records also have the same time, and labels are withdrawn at any time; without it, only while
    they, the others of their chain and the predictions that they reach are certainly still there.
    """
    is_dense = not beyond_ms and draw(st.booleans())  # several labels of each prediction, and nothing leaves
    policy = draw(policies(waiting_bytes_max, is_dense=is_dense))
    delay_ms = policy.disorder_ms + beyond_ms
    times = (
        st.integers(0, 20).map(lambda time: 20 * time) if beyond_ms else st.integers(0, DENSE_MS if is_dense else 400)
    )
    keys = st.sampled_from(["a", "b"] if is_dense else ["a", "b", "c", "d"])
    wanted = draw(
        st.lists(st.tuples(times, keys, st.sampled_from(["x", "y"]), st.integers(0, 1), st.booleans()), max_size=14)
    )
    predictions = [
        PredictionRecord(i, key, f"{id_}{time}", time, digest, eligible, None)
        for i, (time, key, id_, digest, eligible) in enumerate(_disordered(draw, wanted, delay_ms))
    ]
    kinds = st.sampled_from(sorted(policy.kinds))
    values = st.sampled_from([0.0, 1.0, None, 1.0, "heartbeat"])
    wanted_labels = draw(
        st.lists(
            st.tuples(times, keys, kinds, st.sampled_from(["1", "1", "2"]), values, st.integers(0, 30)),
            max_size=24,
        )
    )
    labels = []
    for i, (known, key, kind, definition, value, age) in enumerate(_disordered(draw, wanted_labels, delay_ms)):
        if value == "heartbeat":
            # A heartbeat promises that nothing older comes: it may not run ahead of the disorder.
            time = known - policy.disorder_ms
            labels.append(LabelRecord(i, "", kind, f"{kind}-1", Op.HEARTBEAT, None, time, time))
        else:
            op = Op.RETRACT if value is None else Op.UPSERT
            labels.append(LabelRecord(i, key, kind, f"{kind}-{definition}", op, value, known - age, known))
    later = draw(other_rules(policy)) if beyond_ms else None
    withdrawals = draw(_withdrawals(policy, predictions, labels, is_any=bool(beyond_ms)))
    return History(policy, predictions, labels, later, withdrawals)


@st.composite
def _withdrawals(
    draw: st.DrawFn, policy: Policy, predictions: list[PredictionRecord], labels: list[LabelRecord], *, is_any: bool
) -> tuple[tuple[int, tuple[Withdrawal, ...]], ...]:
    """Draw up to three times at which some labels are withdrawn; some of them are withdrawn twice."""
    found = []
    for position in sorted(draw(st.sets(st.integers(1, len(labels)), max_size=3))) if labels else []:
        known = [m for m in labels[:position] if m.op is not Op.HEARTBEAT]
        allowed = [m for m in known if is_any or _is_certainly_there(policy, predictions, labels[:position], m)]
        if allowed:
            some = draw(st.lists(st.sampled_from(allowed), min_size=1, max_size=6))
            found.append((position, tuple(Withdrawal(m.kind, m.known_at_ms, m.offset) for m in some)))
    return tuple(found)


def _is_certainly_there(
    policy: Policy, predictions: list[PredictionRecord], labels: list[LabelRecord], label: LabelRecord
) -> bool:
    """Tell whether nothing that a label's withdrawal touches can have left, whatever else was read."""
    chain = [m for m in labels if (m.key, m.kind, m.definition) == (label.key, label.kind, label.definition)]
    latest_ms = max(m.known_at_ms for m in labels)
    retain_ms = policy.kinds[label.kind].retain_ms
    reached = [
        p for p in predictions if p.key == label.key and any(abs(p.time_ms - m.known_at_ms) <= retain_ms for m in chain)
    ]
    return all(m.known_at_ms >= latest_ms - retain_ms for m in chain) and all(
        p.time_ms >= latest_ms - policy.retain_ms for p in reached
    )


@st.composite
def other_rules(draw: st.DrawFn, policy: Policy) -> Policy:
    """Draw rules for the same kinds and definitions."""
    kinds = {}
    for name, rules in policy.kinds.items():
        horizon, implies = draw(st.integers(1, 80)), draw(st.booleans())
        retain, implied = horizon + draw(st.integers(0, 60)), 1.0 if implies else None
        kinds[name] = replace(rules, horizon_ms=horizon, retain_ms=retain, implies=implies, implied=implied)
    return replace(policy, kinds=kinds, disorder_ms=draw(st.integers(0, 40)))


def _disordered(draw: st.DrawFn, rows: list[tuple], delay_ms: int) -> list[tuple]:
    """Order rows by time, each delayed by no more than `delay_ms`; some come twice, at once or much later."""
    delays = [draw(st.integers(0, delay_ms)) for _ in rows]
    ordered = [row for _, row in sorted(zip(delays, rows, strict=True), key=lambda pair: pair[0] + pair[1][0])]
    again = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=3)) if ordered else []
    for source, gap in again:
        position = source % len(ordered)
        ordered.insert(min(position + 1 + gap, len(ordered)), ordered[position])
    return ordered


def decisions_of(effects: list[Effects]) -> list[DecidedOutcome]:
    """Return what was decided, as a rebuild reads it."""
    return [
        DecidedOutcome(*(getattr(row, name) for name in DecidedOutcome._fields))
        for step in effects
        for row in step.outcomes
    ]


@st.composite
def cuts(draw: st.DrawFn, history: History) -> list[tuple[int, int]]:
    """Draw batch boundaries: growing pairs of (predictions read, labels read), however far apart.

    Where labels are withdrawn there is a boundary of the labels.
    """
    steps = draw(st.integers(1, 6))
    all_steps = steps + len(history.withdrawals)
    ends_p = sorted(draw(st.lists(st.integers(0, len(history.predictions)), min_size=all_steps, max_size=all_steps)))
    ends_l = draw(st.lists(st.integers(0, len(history.labels)), min_size=steps, max_size=steps))
    ends_l = sorted([*ends_l, *(position for position, _ in history.withdrawals)])
    return [*zip(ends_p, ends_l, strict=True), (len(history.predictions), len(history.labels))]


def batch_of(history: History, start: tuple[int, int], end: tuple[int, int]) -> Batch:
    """Return the batch that reads a history from one boundary to the next."""
    (p0, l0), (p1, l1) = start, end
    withdrawals = history.due(l0, l1)
    return Batch(history.predictions[p0:p1], history.labels[l0:l1], p1, l1, now_ms=FAR_MS, withdrawals=withdrawals)


def play(
    history: History, boundaries: list[tuple[int, int]], *, close_at_ms: int | None, settle: bool = True
) -> tuple[Partition, list[Effects]]:
    """Run a history through a partition in the given batches, then (`settle`) do what the limit has postponed."""
    partition = Partition(history.policy, MemoryStore(list(history.policy.kinds)))
    effects = []
    p0 = l0 = 0
    for number, (p1, l1) in enumerate(boundaries):
        if history.later is not None and number == len(boundaries) // 2:
            partition.change_rules(history.later)
        effects.append(partition.step(batch_of(history, (p0, l0), (p1, l1))))
        p0, l0 = p1, l1
    is_caught_up = not settle
    while not is_caught_up:
        effects.append(partition.step(Batch([], [], p0, l0, now_ms=FAR_MS, close_at_ms=close_at_ms)))
        is_caught_up = partition.is_caught_up
    return partition, effects
