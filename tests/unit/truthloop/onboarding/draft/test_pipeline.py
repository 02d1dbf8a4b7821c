"""Drafts from topics of many shapes: the right fields are found, nothing is rejected, no value of a record gets out.

Tests `truthloop.onboarding.draft.canonical`, `truthloop.onboarding.draft.config_draft`,
`truthloop.onboarding.draft.contract`, `truthloop.onboarding.draft.keys`, `truthloop.onboarding.draft.kinds`,
`truthloop.onboarding.draft.source`, `truthloop.onboarding.draft.suggestions`, `truthloop.onboarding.profiles.describe`,
`truthloop.onboarding.profiles.envelope`, `truthloop.onboarding.profiles.field`, `truthloop.onboarding.profiles.names`,
`truthloop.onboarding.profiles.time_format`, `truthloop.onboarding.profiles.topic`, `truthloop.onboarding.trial.delays`
and `truthloop.onboarding.trial.mapped`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from topic_shapes import (
    HOUR_MS,
    Event,
    Record,
    Shape,
    avro_record,
    bare_debezium_label,
    canonical_label,
    canonical_prediction,
    changed,
    cloud_event_label,
    cloud_event_prediction,
    corrupted,
    debezium_label,
    encode,
    flat_label,
    flat_prediction,
    iso,
    key_only_label,
    key_only_prediction,
    known,
    naive_prediction,
    nested_label,
    nested_prediction,
    sampled,
    world,
)

from schemas.config.mapping import FieldMap
from schemas.errors import ConfigError, InputError
from truthloop.config.advice import advise
from truthloop.onboarding.draft.builder import DraftOptions
from truthloop.onboarding.draft.pipeline import DraftResult, draft_from_samples
from truthloop.onboarding.draft.roles import parse_roles
from truthloop.onboarding.draft.yaml_text import DraftOrigin

NOW_MS = 1_795_000_000_000
EVENTS = world(NOW_MS, count=600)
LABELLED = list(known(EVENTS, NOW_MS))
ORIGIN = DraftOrigin("broker:9092", {"security.protocol": "SSL"}, "2026-11-18 10:00 UTC")


def draft(*topics: tuple[str, Shape, Sequence[Event]], given: Sequence[str] = (), **options: Any) -> DraftResult:
    """Draft a config from topics of these shapes."""
    samples = [sampled(name, map(shape, events)) for name, shape, events in topics]
    roles = parse_roles(given, [name for name, *_ in topics])
    return draft_from_samples(samples, roles, DraftOptions(**options), ORIGIN, NOW_MS)


def pair(prediction: Shape, label: Shape, names: tuple[str, str] = ("risk.scoring", "fraud.outcomes")) -> DraftResult:
    """Draft from a topic of predictions and one of labels; the labels are given first."""
    return draft((names[1], label, LABELLED), (names[0], prediction, EVENTS))


def maps(found: DraftResult) -> dict[str, dict[str, FieldMap]]:
    """Return the map of each topic."""
    return {source.topic or "": source.map for source in found.config.ingest}


def unkeyed(shape: Shape) -> Shape:
    """Write records without a Kafka key."""
    return lambda event: replace(shape(event), key=None)


def plain(field: FieldMap) -> dict[str, Any]:
    """Return the options of a field's map."""
    return field.model_dump(exclude_none=True, by_alias=True)


@dataclass(frozen=True)
class Case:
    """Two shapes, and the maps that they need."""

    prediction: Shape
    label: Shape
    predictions: dict[str, dict[str, Any]]
    labels: dict[str, dict[str, Any]]


CASES = {
    "flat": Case(
        flat_prediction,
        flat_label,
        {
            "key": {"path": "transaction_id"},
            "time": {"path": "scored_at", "unit": "ms"},
            "version": {"path": "model_version"},
            "outputs.fraud": {"path": "fraud_score"},
            "slices.country": {"path": "country"},
        },
        {
            "key": {"path": "transaction_id"},
            "value": {"path": "is_fraud"},
            "time": {"path": "resolved_at", "unit": "ms"},
        },
    ),
    "nested, percent, seconds, keyed by customer": Case(
        nested_prediction,
        nested_label,
        {
            "key": {"path": "tx.id"},
            "time": {"path": "ts"},
            "version": {"path": "model.version"},
            "outputs.fraud": {"path": "scores.fraud", "scale": 0.01},
            "features": {"path": "f.*"},
        },
        {
            "key": {"path": "tx.id"},
            "value": {"path": "outcome.status", "values": {"fraud": 1, "legit": 0}},
            "time": {"path": "known_at", "unit": "s"},
        },
    ),
    "Debezium with payload": Case(
        flat_prediction,
        debezium_label,
        {"key": {"path": "transaction_id"}, "outputs.chargeback": {"path": "fraud_score"}},
        {
            "key": {"path": "payload.after.transaction_id", "otherwise": "payload.before.transaction_id"},
            "value": {"path": "payload.after.chargeback"},
            "time": {"path": "payload.source.ts_ms", "unit": "ms"},
            "retract": {"path": "payload.op", "in": ["d"]},
        },
    ),
    "Debezium without payload": Case(
        flat_prediction,
        bare_debezium_label,
        {"key": {"path": "transaction_id"}},
        {
            "key": {"path": "after.transaction_id", "otherwise": "before.transaction_id"},
            "value": {"path": "after.chargeback"},
            "time": {"path": "source.ts_ms", "unit": "ms"},
            "retract": {"path": "op", "in": ["d"]},
        },
    ),
    "CloudEvents": Case(
        cloud_event_prediction,
        cloud_event_label,
        {
            "key": {"path": "data.orderId"},
            "time": {"path": "time"},
            "version": {"path": "data.modelVersion"},
        },
        {"key": {"path": "data.orderId"}, "value": {"path": "data.verdict", "values": {"yes": 1, "no": 0}}},
    ),
    "the key in Kafka's key only, µs, version in a header": Case(
        key_only_prediction,
        key_only_label,
        {
            "key": {"path": "$key"},
            "time": {"path": "time_us", "unit": "us"},
            "version": {"path": "$headers.model_version"},
            "outputs.clicked": {"path": "p"},
        },
        {"key": {"path": "$key"}, "value": {"path": "clicked"}},
    ),
    "local times without zone": Case(
        naive_prediction(-5),
        flat_label,
        {"time": {"path": "scored_at", "zone": "Etc/GMT+5"}},
        {},
    ),
    "ns as text, five percent broken": Case(
        corrupted(changed(flat_prediction, scored_at=lambda event: str(event.made_ms * 1_000_000))),
        corrupted(flat_label),
        {"key": {"path": "transaction_id"}, "time": {"path": "scored_at", "unit": "ns"}},
        {"value": {"path": "is_fraud"}},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_fields_of_a_shape_are_found(name: str) -> None:
    """Key, times with unit or zone, version, output with scale, label value."""
    case = CASES[name]
    found = maps(pair(case.prediction, case.label))
    for topic, wanted in (("risk.scoring", case.predictions), ("fraud.outcomes", case.labels)):
        assert {target: plain(found[topic][target]) for target in wanted} == wanted


@pytest.mark.parametrize("name", [name for name in CASES if "broken" not in name])
def test_what_was_sampled_is_mapped_without_rejects(name: str) -> None:
    """And `truthloop check` has no advice on the config."""
    found = pair(CASES[name].prediction, CASES[name].label)
    assert [topic.rejects for topic in found.topics] == [{}, {}]
    assert [topic.mapped.filtered for topic in found.topics] == [0, 0]
    assert [source.frame.height for topic in found.topics for source in topic.mapped.sources] == [len(LABELLED), 600]
    assert advise(found.config) == []


def test_broken_records_are_counted_and_nothing_else() -> None:
    """Of thirty broken ones of 600, half are no JSON and half lack the key; no condition hides them."""
    found = pair(corrupted(flat_prediction), flat_label)
    assert found.topics[1].rejects == {"bad_key": 15, "not_json": 15}
    assert all(not source.where for source in found.config.ingest)


def test_delays_suggest_ages() -> None:
    """Half of the labels took less than an hour; horizon and retain leave room."""
    found = pair(flat_prediction, flat_label)
    assert found.delays is not None
    assert found.delays.pairs == len(LABELLED)
    label = found.config.labels["fraud"]
    assert (label.expected_delay, label.horizon, label.retain) == (3 * HOUR_MS, 12 * HOUR_MS, 24 * HOUR_MS)
    assert f"of {len(LABELLED)} labels, half came within 4" in found.text


def test_no_value_of_a_record_gets_into_the_file() -> None:
    """Except category names: no keys, addresses, amounts or prose."""
    prose = changed(flat_prediction, note=lambda event: f"please call Mr. {event.customer} back about this, it is late")
    text = pair(prose, flat_label).text + pair(nested_prediction, debezium_label).text
    secrets = {event.tx for event in EVENTS} | {event.email for event in EVENTS} | {"Mr."}
    secrets |= {text for event in EVENTS for text in (f"{event.amount}", f"{event.score}") if len(text) >= 6}
    assert not [secret for secret in secrets if secret in text]
    assert "categories: [Android, iOS, web]" in text


def test_what_looks_personal_is_dropped() -> None:
    """And features that are not listed are dropped, too."""
    found = pair(nested_prediction, nested_label)
    assert found.config.predictions.features["email"].pii == "drop"
    assert found.config.predictions.unknown_features == "drop"


def test_records_of_other_kinds_are_left_out_by_the_field_that_tells_them() -> None:
    """Heartbeats of the service in the same topic have neither key nor score."""

    def mixed(event: Event) -> Record:
        if event.number % 4:
            return changed(flat_prediction, eventType=lambda _: "scored")(event)
        return Record(None, encode({"eventType": "alive", "host": "a"}), event.made_ms)

    found = pair(mixed, flat_label)
    (source,) = (source for source in found.config.ingest if source.as_ == "predictions")
    assert source.where == {"eventType": "scored"}
    assert found.topics[1].rejects == {}
    assert found.topics[1].mapped.filtered == 150


def test_several_predictions_of_a_key_get_an_id() -> None:
    """A shadow version scores the same transactions."""
    both = [event for event in EVENTS for _ in range(2)]
    versions: Iterator[str] = iter(["v1", "v2"] * len(EVENTS))
    shape = changed(flat_prediction, model_version=lambda _: next(versions))
    found = draft(("risk.scoring", shape, both), ("fraud.outcomes", flat_label, LABELLED))
    assert plain(maps(found)["risk.scoring"]["id"]) == {"path": ["transaction_id", "model_version"]}


def test_records_that_were_sent_again_change_no_id() -> None:
    """The join takes them for duplicates; the id is what tells the other predictions of a key apart."""
    again = [event for event in EVENTS for _ in range(2)]
    found = draft(("risk.scoring", flat_prediction, again), ("fraud.outcomes", flat_label, LABELLED))
    assert "id" not in maps(found)["risk.scoring"]
    versions: Iterator[str] = iter(["v1", "v2", "v2"] * len(EVENTS))
    shape = changed(flat_prediction, model_version=lambda _: next(versions))
    thrice = [event for event in EVENTS for _ in range(3)]
    found = draft(("risk.scoring", shape, thrice), ("fraud.outcomes", flat_label, LABELLED))
    assert plain(maps(found)["risk.scoring"]["id"]) == {"path": ["transaction_id", "model_version"]}
    scored: Iterator[str] = iter([f"s-{number // 2}" for number in range(4 * len(EVENTS))])
    shape = changed(flat_prediction, scoring_id=lambda _: next(scored), model_version=lambda _: "v1")
    twice = [event for event in EVENTS for _ in range(4)]
    found = draft(("risk.scoring", shape, twice), ("fraud.outcomes", flat_label, LABELLED))
    assert plain(maps(found)["risk.scoring"]["id"]) == {"path": "scoring_id"}


def binary_mode(shape: Shape, event_type: str) -> Shape:
    """Write CloudEvents in binary mode: the transaction is the event's subject, in a header alone."""

    def headed(event: Event) -> Record:
        record = changed(shape, transaction_id=lambda _: None)(event)
        attributes = {"id": f"{event_type}-{event.number}", "type": event_type, "source": "/risk", "subject": event.tx}
        return replace(record, key=None, headers=[(f"ce_{name}", text.encode()) for name, text in attributes.items()])

    return headed


def test_a_header_may_be_the_key() -> None:
    """As in CloudEvents in binary mode, also where each event has an id of its own."""
    found = pair(binary_mode(flat_prediction, "scored"), binary_mode(flat_label, "disputed"))
    assert [plain(one["key"]) for one in maps(found).values()] == [{"path": "$headers.ce_subject"}] * 2
    assert [topic.rejects for topic in found.topics] == [{}, {}]
    assert found.delays is not None


@pytest.mark.parametrize(
    ("encoded", "form"),
    [
        (lambda event: (10_000 + event.number).to_bytes(4, "big"), "int32"),
        (lambda event: (10_000 + event.number).to_bytes(8, "big"), "int64"),
        (lambda event: UUID(int=event.number << 64).bytes, "uuid"),
        (lambda event: f"{event.number:08d}".encode(), "text"),
        (lambda event: encode({"tx": {"id": event.number + 10_000}, "tenant": "a"}), "json"),
    ],
)
def test_keys_that_are_no_text_are_decoded(encoded: Callable[[Event], bytes], form: str) -> None:
    """The draft says how Kafka's keys are written if its map reads them."""
    prediction, label = (
        lambda event, shape=shape: replace(shape(event), key=encoded(event))
        for shape in (key_only_prediction, key_only_label)
    )
    found = pair(prediction, label)
    path = "$key.tx.id" if form == "json" else "$key"
    assert [plain(one["key"]) for one in maps(found).values()] == [{"path": path}] * 2
    assert [source.key_format for source in found.config.ingest] == [form, form]
    assert [topic.rejects for topic in found.topics] == [{}, {}]


def test_the_field_of_a_condition_is_no_slice() -> None:
    """It is the same for all records that are taken."""

    def mixed(event: Event) -> Record:
        kind = ("scored", "rescored", "alive")[event.number % 3]
        if kind != "alive":
            return changed(flat_prediction, eventType=lambda _: kind)(event)
        return Record(None, encode({"eventType": kind, "host": "a"}), event.made_ms)

    found = pair(mixed, flat_label)
    (source,) = (source for source in found.config.ingest if source.as_ == "predictions")
    assert source.where == {"eventType": ["rescored", "scored"]}
    assert "country" in found.config.predictions.slices
    assert "eventType" not in [path for how in source.map.values() for path in how.paths]


def test_labels_that_may_mean_the_opposite_are_for_a_person_to_decide() -> None:
    """Of two topics one says that it was fraud, the other that it was legitimate."""
    legit = changed(flat_label, is_fraud=lambda _: None, is_legit=lambda event: not event.is_fraud)
    topics = (("risk.scoring", flat_prediction, EVENTS), ("fraud.outcomes", flat_label, LABELLED))
    found = draft(*topics, ("fraud.reviews", legit, LABELLED))
    above, _, _ = found.text.partition("      value: is_legit")
    comment = " ".join(line.strip(" #") for line in above.splitlines()[-2:])
    assert "DECIDE: does 1 mean the same as with is_fraud of fraud.outcomes, or the opposite" in comment
    (line,) = (line for line in found.text.splitlines() if "value: is_fraud" in line)
    assert "DECIDE" not in line
    again = draft(*topics, ("fraud.reviews", flat_label, LABELLED))
    assert not [line for line in again.text.splitlines() if "value: is_fraud" in line and "DECIDE" in line]


def test_a_customer_is_no_key() -> None:
    """It is in both topics, too, but then some labels would come before their predictions."""
    with_customer = changed(flat_label, customer_id=lambda event: event.customer)
    for events in (EVENTS, EVENTS[::-1]):
        found = draft(("risk.scoring", flat_prediction, events), ("fraud.outcomes", with_customer, LABELLED))
        assert plain(maps(found)["fraud.outcomes"]["key"]) == {"path": "transaction_id"}


def test_whole_numbers_are_keys_too() -> None:
    """Ids that count up match whatever they mean; names and times decide."""
    prediction = changed(flat_prediction, transaction_id=lambda event: 10_000 + event.number)
    label = changed(flat_label, transaction_id=lambda _: None, tx=lambda event: {"id": 10_000 + event.number})
    found = maps(pair(unkeyed(prediction), unkeyed(label)))
    assert plain(found["fraud.outcomes"]["key"]) == {"path": "tx.id"}
    assert plain(found["risk.scoring"]["key"]) == {"path": "transaction_id"}


def test_canonical_records_need_no_map() -> None:
    """Kinds, slices and features are those of the records."""
    found = pair(canonical_prediction, canonical_label, ("a", "b"))
    assert [source.map for source in found.config.ingest] == [{}, {}]
    assert list(found.config.labels) == ["fraud"]
    assert found.config.predictions.slices == ["country"]
    assert set(found.config.predictions.features) == {"amount", "device"}
    assert [topic.rejects for topic in found.topics] == [{}, {}]


def test_the_loops_own_topics_need_no_source() -> None:
    """The loop has their name and their number of partitions."""
    found = pair(canonical_prediction, canonical_label, ("card-fraud.predictions", "card-fraud.labels"))
    assert (found.config.loop, found.config.partitions, found.config.ingest) == ("card-fraud", 6, [])
    assert [topic.rejects for topic in found.topics] == [{}, {}]


def test_a_loops_name_that_would_take_a_topic_is_refused() -> None:
    """The topic has foreign records and the name of one of the loop's own topics."""
    with pytest.raises(ConfigError, match="would be the loop's own"):
        draft(("risk.predictions", flat_prediction, EVENTS), ("fraud.outcomes", flat_label, LABELLED), loop="risk")


def test_classes_in_both_topics_make_a_multiclass_kind() -> None:
    """The output is a class, and the label is the true one."""
    kinds = ("card", "bank", "wire", "cash")
    prediction = changed(
        flat_prediction, predicted_class=lambda event: kinds[event.number % 4], fraud_score=lambda _: None
    )
    label = changed(flat_label, true_class=lambda event: kinds[event.number % 3], is_fraud=lambda _: None)
    found = pair(prediction, label)
    (output,) = found.config.predictions.outputs.values()
    assert output.task == "multiclass"
    assert plain(maps(found)["fraud.outcomes"]["value"]) == {"path": "true_class"}
    assert [topic.rejects for topic in found.topics] == [{}, {}]


def test_records_without_a_value_are_positive_labels() -> None:
    """Clicks have no field for a result, so a prediction without a click is negative at the horizon."""
    label = changed(flat_label, is_fraud=lambda _: None)
    found = pair(flat_prediction, label, ("ads.scored", "ads.clicks"))
    assert plain(maps(found)["ads.clicks"]["value"]) == {"constant": 1}
    (kind,) = found.config.labels.values()
    assert not isinstance(kind.on_timeout, str)


def test_history_that_was_loaded_takes_the_events_clock() -> None:
    """All records arrived in Kafka at once, days after their times."""

    def loaded(shape: Shape) -> Shape:
        return lambda event: Record(shape(event).key, shape(event).value, NOW_MS + 5 * 24 * HOUR_MS)

    found = pair(loaded(flat_prediction), loaded(flat_label))
    assert found.config.clock == "event"
    assert plain(maps(found)["risk.scoring"]["time"]) == {"path": "scored_at", "unit": "ms"}
    assert found.delays is not None
    assert found.delays.p50 < HOUR_MS


def test_offsets_in_times_are_kept_as_they_are() -> None:
    """ISO with an offset needs no zone."""
    found = pair(changed(flat_prediction, scored_at=lambda event: iso(event.made_ms, 5.5)), flat_label)
    assert plain(maps(found)["risk.scoring"]["time"]) == {"path": "scored_at"}


def test_without_labels_half_a_config_is_drafted() -> None:
    """It is valid, and names what is missing."""
    found = draft(("risk.scoring", flat_prediction, EVENTS))
    assert [source.as_ for source in found.config.ingest] == ["predictions"]
    assert "labels are not given" in found.text


def test_roles_can_be_given() -> None:
    """A given role is not guessed."""
    found = draft(("a", flat_prediction, EVENTS), ("b", flat_label, LABELLED), given=["a=labels", "b=predictions"])
    assert {source.topic: source.as_ for source in found.config.ingest} == {"a": "labels", "b": "predictions"}


@pytest.mark.parametrize(
    ("text", "message"), [("a", "write TOPIC=predictions"), ("a=x", "write TOPIC"), ("c=labels", "not given with")]
)
def test_invalid_roles_are_refused(text: str, message: str) -> None:
    """With the valid form."""
    with pytest.raises(ConfigError, match=message):
        parse_roles([text], ["a", "b"])


def test_given_names_are_used() -> None:
    """Of the loop and of the kind."""
    found = draft(
        ("risk.scoring", flat_prediction, EVENTS), ("fraud.outcomes", flat_label, LABELLED), loop="mine", kind="bad"
    )
    assert (found.config.loop, list(found.config.labels)) == ("mine", ["bad"])


def test_avro_is_named_and_refused() -> None:
    """Nothing can be drafted from it."""
    with pytest.raises(InputError, match="none of 600 sampled records is a JSON object: Confluent's wire format with"):
        draft(("risk.scoring", avro_record, EVENTS))


def test_an_empty_topic_is_refused() -> None:
    """With its name."""
    with pytest.raises(InputError, match="topic empty: it has no records"):
        draft_from_samples([sampled("empty", [])], {}, DraftOptions(), ORIGIN, NOW_MS)


def test_a_topic_without_anything_like_a_key_is_refused() -> None:
    """It has categories and scores only."""
    shape: Callable[[Event], Record] = lambda event: Record(  # noqa: E731 - short
        None, encode({"country": event.country, "score": event.score}), event.made_ms
    )
    with pytest.raises(InputError, match="no field of its records could be a key"):
        draft(("risk.scoring", shape, EVENTS))
