"""A deletion is a retraction if its key has a label that is not retracted; else it is as if it had never come."""

from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from joins import Batch, KindPolicy, LabelRecord, MemoryStore, Op, Partition, Policy, PredictionRecord

POLICY = Policy({"click": KindPolicy("own", horizon_ms=100, retain_ms=1_000, implies=True, implied=0.0)})
NOW_MS = 10_000
PREDICTED_MS = 1_000

drawn_labels = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from([Op.UPSERT, Op.DELETE, Op.DELETE, Op.RETRACT]),
        st.integers(PREDICTED_MS, PREDICTED_MS + 8),
        st.sampled_from([0.0, 1.0]),
    ),
    max_size=12,
)


def records_of(drawn: list[tuple[str, Op, int, float]]) -> list[LabelRecord]:
    """Return label records of one partition, in the order of their offsets."""
    return [
        LabelRecord(offset, key, "click", "own", op, value if op is Op.UPSERT else None, time_ms, time_ms)
        for offset, (key, op, time_ms, value) in enumerate(drawn)
    ]


def resolved(labels: list[LabelRecord]) -> tuple[list[LabelRecord], int]:
    """Return the records with deletions as retractions, without those that delete nothing, and how many these are."""
    heads: dict[str, tuple[int, int, float | str | None]] = {}
    kept = []
    for label in labels:
        head = heads.get(label.key)
        if label.op is Op.DELETE and (head is None or head[2] is None):
            continue
        kept.append(label._replace(op=Op.RETRACT) if label.op is Op.DELETE else label)
        is_duplicate = head is not None and head[0] == label.time_ms and head[2] == label.value
        if not is_duplicate:
            mine = (label.time_ms, label.offset, label.value)
            heads[label.key] = mine if head is None else max(head, mine, key=lambda one: one[:2])
    return kept, len(labels) - len(kept)


def played(labels: list[LabelRecord], count: int, cut: int) -> tuple[Partition, list[tuple]]:
    """Join predictions of both keys with the labels in two steps; return the partition and all revisions."""
    partition = Partition(POLICY, MemoryStore(["click"]))
    predictions = [
        PredictionRecord(at, key, key, PREDICTED_MS, 0, eligible=True, projection=None) for at, key in enumerate("ab")
    ]
    first = [label for label in labels if label.offset < cut]
    rest = [label for label in labels if label.offset >= cut]
    effects = [
        partition.step(Batch(predictions, first, 2, cut, now_ms=NOW_MS)),
        partition.step(Batch([], rest, 2, count, now_ms=NOW_MS, close_at_ms=PREDICTED_MS + 500)),
    ]
    return partition, [tuple(row) for step in effects for row in step.outcomes]


@given(drawn=drawn_labels, data=st.data())
@settings(max_examples=examples(600), deadline=None)
def test_a_deletion_is_a_retraction_or_nothing(drawn: list[tuple[str, Op, int, float]], data: st.DataObject) -> None:
    """Revisions and state are those of the resolved records, and every deletion is accounted for."""
    labels = records_of(drawn)
    kept, ineffective = resolved(labels)
    cut = data.draw(st.integers(0, len(labels)))
    partition, revisions = played(labels, len(labels), cut)
    expected, expected_revisions = played(kept, len(labels), cut)
    assert revisions == expected_revisions
    assert partition.checkpoint.fingerprint == expected.checkpoint.fingerprint
    counts, plain = partition.checkpoint.counters.labels["click"], expected.checkpoint.counters.labels["click"]
    assert partition.checkpoint.counters.violations() == []
    assert counts.rejected + counts.duplicate - plain.duplicate == ineffective
