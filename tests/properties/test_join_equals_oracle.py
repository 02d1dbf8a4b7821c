"""The most important properties of the product: the join against a naive oracle, cut up in every way."""

from history import FAR_MS, History, cuts, histories, play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import final_outcomes

from joins import Effects, MemoryStore, Op, needed_from_ms, rebuild
from joins.state import full_fingerprint

EXAMPLES = settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def newest(effects: list[Effects]) -> dict[tuple[str, str, str, str], tuple]:
    """Return each chain's outcome with the greatest revision."""
    found: dict[tuple[str, str, str, str], tuple] = {}
    revisions: dict[tuple[str, str, str, str], int] = {}
    for step in effects:
        for row in step.outcomes:
            chain = (row.key, row.id, row.kind, row.definition)
            assert row.revision > revisions.get(chain, -1), "revisions of a chain must grow"
            revisions[chain] = row.revision
            found[chain] = (str(row.status), row.value, row.known_at_ms)
    return found


@given(data=st.data(), history=histories())
@EXAMPLES
def test_final_outcomes_are_the_oracles_for_any_interleaving_and_batching(
    data: st.DataObject, history: History
) -> None:
    """However the inputs are cut and interleaved, closing them leaves exactly the oracle's outcomes."""
    _, effects = play(history, data.draw(cuts(history)), close_at_ms=FAR_MS)
    assert newest(effects) == final_outcomes(history.policy, history.predictions, history.labels)


@given(data=st.data(), history=histories())
@EXAMPLES
def test_state_does_not_depend_on_interleaving_or_batching(data: st.DataObject, history: History) -> None:
    """Two ways of reading the same records end in the same state, by fingerprint, cursors and floor."""
    one, _ = play(history, data.draw(cuts(history)), close_at_ms=None)
    two, _ = play(history, data.draw(cuts(history)), close_at_ms=None)
    assert one.point.fingerprint == two.point.fingerprint
    assert one.point.cursors == two.point.cursors
    assert (one.point.floor_ms, one.point.left_ms) == (two.point.floor_ms, two.point.left_ms)
    assert one.point.waiting_bytes == two.point.waiting_bytes


@given(data=st.data(), history=histories())
@EXAMPLES
def test_both_identities_hold_after_every_step_and_fingerprints_are_those_of_a_full_scan(
    data: st.DataObject, history: History
) -> None:
    """Every record consumed is in exactly one place, also counted independently from rows and records."""
    boundaries = data.draw(cuts(history))
    for end in range(1, len(boundaries) + 1):
        partition, effects = play(history, boundaries[:end], close_at_ms=None)
        assert partition.point.counters.violations() == []
        assert partition.point.fingerprint == full_fingerprint(state for _, state in partition.store.items())
    counts = partition.point.counters
    rows = [(row.input, row.offset) for step in effects for row in step.rejects]
    assert len(rows) == len(set(rows)), "a record has at most one reject row"
    refused = {offset for name, offset in rows if name == "predictions"}
    assert counts.predictions.accepted == len(history.predictions) - len(refused)
    refused = {offset for name, offset in rows if name == "labels"}
    kept = [m for m in history.labels if m.op is not Op.HEARTBEAT and m.offset not in refused]
    assert sum(c.heads + c.superseded for c in counts.labels.values()) == len(kept)
    finals = newest(effects)
    for kind, outcomes in counts.outcomes.items():
        own = [f[0] for (_, _, k, d), f in finals.items() if (k, d) == (kind, history.policy.kinds[kind].definition)]
        for status in ("joined", "implied", "retracted"):
            assert getattr(outcomes, status) == own.count(status)
        assert outcomes.expired + outcomes.aged_out == own.count("expired")


@given(data=st.data(), history=histories())
@EXAMPLES
def test_the_revision_history_is_a_function_of_the_recorded_ranges(data: st.DataObject, history: History) -> None:
    """The same ranges again give the same rows, in the same order: redo is exact."""
    boundaries = data.draw(cuts(history))
    _, one = play(history, boundaries, close_at_ms=FAR_MS)
    _, two = play(history, boundaries, close_at_ms=FAR_MS)
    assert one == two


@given(data=st.data(), history=histories())
@EXAMPLES
def test_rebuilding_from_accepted_records_and_cursors_gives_the_same_state(
    data: st.DataObject, history: History
) -> None:
    """A lost store comes back from what was accepted; the fingerprint agrees and nothing is decided again."""
    partition, effects = play(history, data.draw(cuts(history)), close_at_ms=None)
    since = needed_from_ms(history.policy, partition.point)
    gone = {(r.input, r.offset) for step in effects for r in step.rejects if r.reason != "stale"}
    predictions = [
        p
        for p in history.predictions
        if ("predictions", p.offset) not in gone and (since is None or p.time_ms >= since)
    ]
    labels = [
        m
        for m in history.labels
        if m.op is not Op.HEARTBEAT and ("labels", m.offset) not in gone and (since is None or m.known_at_ms >= since)
    ]
    store = MemoryStore(list(history.policy.kinds))
    again = rebuild(history.policy, store, partition.point, predictions, labels)
    assert again.point is partition.point
    assert dict(store.items()).keys() == dict(partition.store.items()).keys()


@given(data=st.data(), history=histories())
@EXAMPLES
def test_nothing_is_implied_or_expired_without_proof_that_the_label_input_has_passed(
    data: st.DataObject, history: History
) -> None:
    """A timeout row never comes before the label input itself has passed the deadline."""
    boundaries = data.draw(cuts(history))
    for end in range(1, len(boundaries) + 1):
        partition, effects = play(history, boundaries[:end], close_at_ms=None)
        for step in effects:
            for row in step.outcomes:
                if row.reason == "timeout":
                    mark = partition.point.marks[row.kind].reached_ms
                    assert mark is not None
                    assert row.known_at_ms < mark
