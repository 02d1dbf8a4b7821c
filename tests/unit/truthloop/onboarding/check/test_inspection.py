"""Issues that `truthloop check --live` finds in topics of many shapes, and no others.

Every test changes one thing of two healthy topics and names all issues that are worse than a note.

Tests `truthloop.onboarding.check.clocks`, `truthloop.onboarding.check.delays`, `truthloop.onboarding.check.examples`,
`truthloop.onboarding.check.forecast`, `truthloop.onboarding.check.keys`, `truthloop.onboarding.check.mapping` and
`truthloop.onboarding.check.topics`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import consistent, fnv1a, murmur2
from topic_shapes import (
    HOUR_MS,
    Event,
    Record,
    Shape,
    avro_record,
    canonical_label,
    canonical_prediction,
    changed,
    corrupted,
    flat_label,
    flat_prediction,
    iso,
    known,
    naive_prediction,
    sampled,
    world,
)

from schemas.config.loop import LoopConfig
from streams.kafka.sample import Cluster, TopicFacts, TopicSample
from streams.kafka.topics import Topics
from streams.mapping.redaction import Redaction
from streams.mapping.tools import MappingTools
from truthloop.config.yaml_source import read_yaml
from truthloop.onboarding.check.inspection import Inspection, inspect, plan_inspection
from truthloop.onboarding.check.issue import Issue, Severity
from truthloop.onboarding.check.report import report_document, report_lines, verdict_lines

NOW_MS = 1_795_000_000_000
EVENTS = world(NOW_MS, count=600)
LABELLED = list(known(EVENTS, NOW_MS))
GOOD = {
    "retention.ms": "604800000",
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "min.insync.replicas": "2",
}

CONFIG = """\
version: 1
loop: card-fraud
kafka: {bootstrap_servers: "broker:9092"}
partitions: 6
predictions:
  outputs: {fraud: {task: binary, threshold: 0.5}}
  slices: [country]
  features:
    amount: {type: float}
    device: {type: string, categories: [iOS, Android, web]}
    email: {type: string, pii: drop}
labels:
  fraud: {definition: fraud-v1, expected_delay: 3h, horizon: 12h, retain: 2d}
ingest:
  - topic: scores
    as: predictions
    map:
      key: transaction_id
      time: {path: scored_at, unit: ms}
      version: model_version
      outputs.fraud: fraud_score
      slices.country: country
      features.amount: amount
      features.device: device
      features.email: email
  - topic: outcomes
    as: labels
    kind: fraud
    map: {key: transaction_id, value: is_fraud, time: {path: resolved_at, unit: ms}}
"""
CANONICAL = CONFIG[: CONFIG.index("ingest:")]


def config_of(text: str, *changes: tuple[str, str]) -> LoopConfig:
    """Return a config with some texts replaced."""
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    return LoopConfig.model_validate(read_yaml(text).value)


def inspected(
    config: LoopConfig, *samples: TopicSample, others: Sequence[TopicFacts] = (), brokers: int = 3, now_ms: int = NOW_MS
) -> Inspection:
    """Inspect samples under a config."""
    facts = {sample.topic: sample.facts for sample in samples} | {one.name: one for one in others}
    cluster = Cluster(brokers, facts, tuple(sorted(facts)))
    tools = MappingTools(Redaction(config))
    return inspect(config, cluster, {sample.topic: sample for sample in samples}, tools, now_ms)


def topic(name: str, shape: Shape, events: Sequence[Event], **settings: str) -> TopicSample:
    """Return a sample of a topic with good settings, some of them replaced."""
    sample = sampled(name, map(shape, events))
    return replace(sample, facts=replace(sample.facts, settings=GOOD | settings))


def scores(shape: Shape = flat_prediction, **settings: str) -> TopicSample:
    """Return the topic of predictions."""
    return topic("scores", shape, EVENTS, **settings)


def outcomes(shape: Shape = flat_label, events: Sequence[Event] = LABELLED, **settings: str) -> TopicSample:
    """Return the topic of labels."""
    return topic("outcomes", shape, events, **settings)


def codes(found: Inspection) -> list[tuple[Severity, str]]:
    """Return the issues that are worse than a note."""
    return [(one.severity, one.code) for one in found.issues if one.severity is not Severity.NOTE]


def only(found: Inspection, severity: Severity, code: str) -> Issue:
    """Return the only issue that is worse than a note."""
    assert codes(found) == [(severity, code)]
    return found.issues[0]


def moved(shape: Shape, ms: int) -> Shape:
    """Send records later, or earlier."""
    return lambda event: replace(shape(event), at_ms=shape(event).at_ms + ms)


def test_healthy_topics_have_no_issues() -> None:
    """Three replicas, seven days, common keys, clocks that agree: not even a note."""
    found = inspected(config_of(CONFIG), scores(), outcomes())
    assert found.issues == []
    overlap, delays = found.overlaps["fraud"], found.delays["fraud"]
    assert (overlap.share, delays.pairs, delays.before) == (1.0, len(LABELLED), 0.0)
    assert found.forecast.predictions_per_day == pytest.approx(300, rel=0.02)
    assert found.forecast.entries == pytest.approx(1_200, rel=0.05)


def test_healthy_canonical_topics_have_no_issues() -> None:
    """The config has no source, so the loop's own topics are inspected."""
    pair = [
        topic("card-fraud.predictions", canonical_prediction, EVENTS),
        topic("card-fraud.labels", canonical_label, LABELLED),
    ]
    assert inspected(config_of(CANONICAL), *pair).issues == []


def test_rejects_are_forecast_with_an_example_each() -> None:
    """Five percent are broken in two ways; each reason names a record that has it."""
    found = inspected(config_of(CONFIG), scores(corrupted(flat_prediction)), outcomes())
    assert codes(found) == [(Severity.WARNING, "rejects")] * 2
    sample = found.topics[0].sample
    for issue, reason, start in zip(found.issues, ("bad_key", "not_json"), (b'{"note', b'{"oops'), strict=True):
        assert f"2.5 % would be rejected: {reason}, for instance partition" in issue.text
        partition, offset = (int(part.split()[1]) for part in issue.text.split("instance ")[1].split(":")[0].split(","))
        rows = zip(sample.messages.partitions, sample.messages.offsets, sample.messages.values, strict=True)
        (value,) = (value for number, at, value in rows if (number, at) == (partition, offset))
        assert value is not None
        assert value.startswith(start)


@pytest.mark.parametrize(
    ("shape", "reason", "hint"),
    [
        (changed(flat_prediction, scored_at=lambda event: iso(event.made_ms, None)), "naive_time", "Name their zone"),
        (changed(flat_prediction, scored_at=lambda event: event.made_ms * 1000), "bad_time", "`unit` the right one"),
        (changed(flat_prediction, transaction_id=lambda _: None), "bad_key", "Is `map.key` the right path?"),
        (changed(flat_prediction, model_version=lambda _: None), "bad_version", "{constant: v1} sets a version"),
        (avro_record, "avro_or_protobuf", "Give `schema_registry`, if"),
    ],
)
def test_a_config_that_fits_no_record_is_an_error(shape: Shape, reason: str, hint: str) -> None:
    """All records of one side are rejected, so there are no keys to compare."""
    issue = only(inspected(config_of(CONFIG), scores(shape), outcomes()), Severity.ERROR, "rejects")
    assert f"100 % would be rejected: {reason}" in issue.text
    assert hint in issue.hint


@pytest.mark.parametrize("tombstone", ["skip", "retract"])
def test_tombstones_are_counted_and_explained(tombstone: str) -> None:
    """Where they are left out, a note says how they would retract; where they retract, they are mapped."""
    labels = outcomes()
    for at in (3, 7):
        labels.messages.values[at] = None
        labels.messages.keys[at] = b"tx-1"
    how = f"tombstone: {tombstone}\n    map: {{key: {{path: transaction_id, otherwise: $key}},"
    config = config_of(CONFIG, ("map: {key: transaction_id,", how))
    found = inspected(config, scores(), labels)
    notes = [one for one in found.issues if one.code == "tombstones"]
    lines = "\n".join(report_lines(found, config))
    if tombstone == "skip":
        assert "2 sampled records have no value" in notes[0].text
        assert "without a value (tombstones): 2, which are left out" in lines
    else:
        assert not notes
        assert "without a value (tombstones): 2, which retract the labels of their keys" in lines
    (topic_found,) = [one for one in found.topics if one.topic == "outcomes"]
    assert topic_found.filtered == (2 if tombstone == "skip" else 0)
    assert (topic_found.sources[0].frame["op"] == "delete").sum() == (0 if tombstone == "skip" else 2)


def test_a_condition_that_selects_nothing_is_an_error() -> None:
    """Values are compared as text."""
    config = config_of(CONFIG, ("as: predictions\n", "as: predictions\n    where: {country: PL}\n"))
    issue = only(inspected(config, scores(), outcomes()), Severity.ERROR, "all_filtered")
    assert issue.where == "topic scores"


def test_percentages_without_scale_are_an_error() -> None:
    """Most scores lie above 1."""
    shape = changed(flat_prediction, fraud_score=lambda event: round(event.score * 100 + 1, 2))
    issue = only(inspected(config_of(CONFIG), scores(shape), outcomes()), Severity.ERROR, "output_invalid")
    assert "scale: 0.01" in issue.hint


def test_an_output_that_no_record_has_is_an_error() -> None:
    """Its path is wrong."""
    config = config_of(CONFIG, ("outputs.fraud: fraud_score", "outputs.fraud: score"))
    assert "100 %" in only(inspected(config, scores(), outcomes()), Severity.ERROR, "output_missing").text


def test_slices_and_features_that_no_record_has_are_warned_of() -> None:
    """They become null; the records are not rejected."""
    config = config_of(CONFIG, ("slices.country: country", "slices.country: land"), (": amount\n", ": price\n"))
    found = inspected(config, scores(), outcomes())
    assert codes(found) == [(Severity.WARNING, "slice_missing"), (Severity.WARNING, "feature_missing")]
    assert "amount" in found.issues[1].text


def test_values_outside_the_contract_are_a_note() -> None:
    """They are kept and flagged."""
    config = config_of(CONFIG, ("[iOS, Android, web]", "[iOS, Android]"))
    found = inspected(config, scores(), outcomes())
    assert codes(found) == []
    assert [one.code for one in found.issues] == ["feature_unseen"]


def test_several_predictions_of_a_key_without_id_are_warned_of() -> None:
    """The first counts, the others would be conflicts."""
    sample = sampled("scores", [record for event in EVENTS for record in (flat_prediction(event), _shadow(event))])
    sample = replace(sample, facts=replace(sample.facts, settings=GOOD))
    assert "100 %" in only(inspected(config_of(CONFIG), sample, outcomes()), Severity.WARNING, "conflicts").text


def _shadow(event: Event) -> Record:
    return changed(flat_prediction, model_version=lambda _: "shadow")(event)


def test_labels_of_one_class_are_warned_of() -> None:
    """Unless on_timeout assigns the other class at the horizon."""
    shape = changed(flat_label, is_fraud=lambda _: True)
    issue = only(inspected(config_of(CONFIG), scores(), outcomes(shape)), Severity.WARNING, "one_class")
    assert "imply: 0" in issue.hint
    config = config_of(CONFIG, ("retain: 2d", "retain: 2d, on_timeout: {imply: 0}"))
    assert codes(inspected(config, scores(), outcomes(shape))) == []


@pytest.mark.parametrize(
    ("zone", "local_h", "right"),
    [("UTC", -5, "Etc/GMT+5"), ("UTC", 5.5, "Asia/Kolkata"), ("Asia/Tokyo", -5, "Etc/GMT+5"), ("Asia/Tokyo", 0, "UTC")],
)
def test_a_wrong_zone_is_named_with_one_that_fits(zone: str, local_h: float, right: str) -> None:
    """All times are off by the same whole hours, and the other side's are not."""
    config = config_of(CONFIG, ("{path: scored_at, unit: ms}", f"{{path: scored_at, zone: {zone}}}"))
    found = inspected(config, scores(naive_prediction(local_h)), outcomes())
    errors = [one for one in found.issues if one.code == "time_zone"]
    assert [one.severity for one in errors] == [Severity.ERROR]
    assert f"zone: {zone} is wrong. {right} fits" in errors[0].hint


@pytest.mark.parametrize(("offset_h", "severity"), [(5, Severity.ERROR), (-5, Severity.ERROR)])
def test_local_time_that_is_written_as_utc_is_an_error(offset_h: int, severity: Severity) -> None:
    """Numbers have no zone, so the producer has to write UTC."""
    shape = changed(flat_prediction, scored_at=lambda event: event.made_ms + offset_h * HOUR_MS)
    issue = next(
        one for one in inspected(config_of(CONFIG), scores(shape), outcomes()).issues if one.code == "time_zone"
    )
    assert issue.severity is severity
    assert f"5 h {'ahead of' if offset_h > 0 else 'behind'} Kafka's clock" in issue.text


def test_records_held_back_for_hours_on_both_sides_are_only_warned_of() -> None:
    """A mirror that is five hours behind looks like a wrong zone, but shifts both sides alike."""
    found = inspected(
        config_of(CONFIG), scores(moved(flat_prediction, 5 * HOUR_MS)), outcomes(moved(flat_label, 5 * HOUR_MS))
    )
    assert codes(found) == [(Severity.WARNING, "time_zone")] * 2


def test_seconds_that_are_read_as_milliseconds_are_an_error() -> None:
    """The times are in 1970, so every record is a reject that says so."""
    shape = changed(flat_prediction, scored_at=lambda event: event.made_ms // 1000)
    found = inspected(config_of(CONFIG), scores(shape), outcomes())
    rejects = next(one for one in found.issues if one.code == "rejects")
    assert rejects.severity is Severity.ERROR
    assert "looks like seconds, and the unit is ms" in rejects.text
    assert not [one for one in found.issues if one.code in ("time_zone", "history")]


def test_some_times_in_the_future_are_warned_of() -> None:
    """One phone in a hundred has a wrong clock."""
    shape = changed(flat_prediction, scored_at=lambda event: event.made_ms + (event.number % 100 == 0) * 9 * HOUR_MS)
    found = inspected(config_of(CONFIG), scores(shape), outcomes())
    assert (Severity.WARNING, "future") in codes(found)


def test_history_under_the_clock_of_arrival_is_warned_of() -> None:
    """Days after their times, all at once."""

    def loaded(shape: Shape) -> Shape:
        return lambda event: replace(shape(event), at_ms=NOW_MS + 72 * HOUR_MS)

    found = inspected(config_of(CONFIG), scores(loaded(flat_prediction)), outcomes(loaded(flat_label)))
    assert [code for _, code in codes(found)].count("history") == 2
    config = config_of(CONFIG, ("loop: card-fraud", "loop: card-fraud\nclock: event"))
    assert codes(inspected(config, scores(loaded(flat_prediction)), outcomes(loaded(flat_label)))) == []


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda event: event.tx.upper(), "if upper and lower case were the same"),
        (lambda event: event.tx.removeprefix("tx-"), "if only digits were compared"),
        (lambda event: event.tx.replace("-", ""), "if only letters and digits were compared"),
    ],
)
def test_keys_in_another_notation_are_an_error_with_the_change_that_helps(
    change: Callable[[Event], str], hint: str
) -> None:
    """No key is in common, though every label has its prediction."""
    shape = changed(flat_label, transaction_id=change)
    issue = only(inspected(config_of(CONFIG), scores(), outcomes(shape)), Severity.ERROR, "no_common_keys")
    assert hint in issue.hint


def test_keys_of_other_things_are_an_error() -> None:
    """The same pattern, but none in common where all should be."""
    shape = changed(flat_label, transaction_id=lambda event: f"tx-9{event.tx[3:]}")
    assert only(inspected(config_of(CONFIG), scores(), outcomes(shape)), Severity.ERROR, "no_common_keys")


def test_a_small_sample_of_a_large_topic_proves_nothing() -> None:
    """Ten of a million predictions: no common key is to be expected, and the issue says so."""
    few = sampled("scores", map(flat_prediction, EVENTS[:10]))
    few = replace(few, facts=replace(few.facts, settings=GOOD), ranges={0: (0, 1_000_000)}, covered=10)
    late = [event for event in LABELLED if event.number > 300]
    issue = only(inspected(config_of(CONFIG), few, outcomes(events=late)), Severity.WARNING, "overlap_unknown")
    assert "Raise --sample" in issue.hint


def test_labels_of_which_most_have_no_prediction_are_warned_of() -> None:
    """Two of three belong to other models."""
    shape = changed(flat_label, transaction_id=lambda event: event.tx if event.number % 3 == 0 else f"{event.tx}9")
    issue = only(inspected(config_of(CONFIG), scores(), outcomes(shape)), Severity.WARNING, "few_common_keys")
    assert "`where`" in issue.hint


def test_labels_that_were_known_before_their_predictions_are_an_error() -> None:
    """Roles or times are swapped."""
    shape = changed(moved(flat_label, -8 * HOUR_MS), resolved_at=lambda event: event.made_ms - HOUR_MS)
    found = inspected(config_of(CONFIG), scores(), outcomes(shape))
    assert (Severity.ERROR, "labels_before_predictions") in codes(found)


@pytest.mark.parametrize(
    ("ages", "code"),
    [
        ("expected_delay: 30m, horizon: 1h, retain: 2d", "horizon_too_short"),
        ("expected_delay: 30m, horizon: 1h, retain: 2h", "retain_too_short"),
    ],
)
def test_ages_that_are_too_short_for_the_labels_are_warned_of(ages: str, code: str) -> None:
    """Half of the labels take about 40 minutes, a tenth more than two hours."""
    config = config_of(CONFIG, ("expected_delay: 3h, horizon: 12h, retain: 2d", ages))
    only(inspected(config, scores(), outcomes()), Severity.WARNING, code)


def partitioned_by(partitioner: Callable[[bytes, int], int]) -> TopicSample:
    """Return canonical predictions in the partitions of another partitioner."""
    sample = topic("card-fraud.predictions", canonical_prediction, EVENTS)
    partitions = [partitioner(key or b"", 6) for key in sample.messages.keys]
    return replace(sample, messages=replace(sample.messages, partitions=partitions))


@pytest.mark.parametrize(
    ("partitioner", "name"),
    [
        (consistent, "CRC32, librdkafka's default"),
        (fnv1a, "FNV-1a"),
        (lambda key, _: key[-1] % 6, "no known partitioner"),
    ],
)
def test_another_partitioner_is_named_with_the_setting_to_change(
    partitioner: Callable[[bytes, int], int], name: str
) -> None:
    """In canonical topics that others write."""
    labels = topic("card-fraud.labels", canonical_label, LABELLED)
    issue = only(inspected(config_of(CANONICAL), partitioned_by(partitioner), labels), Severity.ERROR, "partitioner")
    assert name in issue.text
    assert "partitioner=murmur2_random" in issue.hint


def test_partitions_that_were_added_are_named() -> None:
    """The older keys are where murmur2 with fewer partitions put them."""
    labels = topic("card-fraud.labels", canonical_label, LABELLED)
    found = inspected(config_of(CANONICAL), partitioned_by(lambda key, _: murmur2(key, 4)), labels)
    assert (
        "murmur2 with 4 partitions, so partitions were added later" in only(found, Severity.ERROR, "partitioner").text
    )


def test_kafka_keys_that_are_not_the_key_are_an_error() -> None:
    """Predictions and labels would be in different partitions."""
    shape: Shape = lambda event: replace(canonical_label(event), key=str(event.customer).encode())  # noqa: E731 - short
    pair = [topic("card-fraud.predictions", canonical_prediction, EVENTS), topic("card-fraud.labels", shape, LABELLED)]
    issue = only(inspected(config_of(CANONICAL), *pair), Severity.ERROR, "kafka_key")
    assert "100 % have another Kafka key than `key`" in issue.text


def test_a_canonical_topic_that_ingest_fills_is_probed_too() -> None:
    """Somebody else may write to it."""
    found = inspected(config_of(CONFIG), scores(), outcomes(), partitioned_by(consistent))
    assert only(found, Severity.ERROR, "partitioner").where.startswith("topic card-fraud.predictions")


@pytest.mark.parametrize(
    ("setting", "value", "severity", "code"),
    [
        ("retention.ms", "86400000", Severity.WARNING, "retention"),
        ("retention.ms", "604799999", Severity.WARNING, "retention"),
        ("retention.ms", "604800000", None, ""),
        ("retention.ms", "-1", None, ""),
        ("retention.bytes", "1000", Severity.WARNING, "retention"),
        ("cleanup.policy", "compact", Severity.WARNING, "compacted"),
        ("cleanup.policy", "compact,delete", Severity.WARNING, "compacted"),
        ("max.message.bytes", "100000", None, ""),
    ],
)
def test_settings_of_a_source(setting: str, value: str, severity: Severity | None, code: str) -> None:
    """Seven days at least, and no compaction."""
    found = inspected(config_of(CONFIG), scores(**{setting: value}), outcomes())
    assert codes(found) == ([] if severity is None else [(severity, code)])


@pytest.mark.parametrize(
    ("change", "severity", "code"),
    [
        ({"retention.ms": "3600000"}, Severity.WARNING, "retention"),
        ({"cleanup.policy": "compact"}, Severity.ERROR, "compacted"),
        ({"max.message.bytes": "999999"}, Severity.ERROR, "message_size"),
        ({"max.message.bytes": "1000000"}, None, ""),
    ],
)
def test_settings_of_the_loops_own_topics(change: dict[str, str], severity: Severity | None, code: str) -> None:
    """They carry what the join and the lake still need."""
    own = TopicFacts("card-fraud.rejects", 6, 3, GOOD | change)
    found = inspected(config_of(CONFIG), scores(), outcomes(), others=[own])
    assert codes(found) == ([] if severity is None else [(severity, code)])


def test_another_number_of_partitions_is_an_error() -> None:
    """Fixed for the loop's life, the same for all of its topics."""
    own = TopicFacts("card-fraud.ledger", 8, 3, GOOD)
    issue = only(inspected(config_of(CONFIG), scores(), outcomes(), others=[own]), Severity.ERROR, "partition_count")
    assert "has 8 partitions, and the loop has 6" in issue.text


def test_the_leaders_topic_has_one_partition() -> None:
    """By design: of several feedback workers one is active."""
    config = config_of(CONFIG)
    found = inspected(config, scores(), outcomes(), others=[TopicFacts(Topics.of(config).leader, 1, 3, GOOD)])
    assert codes(found) == []


def test_few_replicas_are_a_note() -> None:
    """A cluster of one broker is fine for a trial."""
    single = scores()
    single = replace(single, facts=replace(single.facts, replicas=1))
    found = inspected(config_of(CONFIG), single, outcomes(), brokers=1)
    assert codes(found) == []
    assert "has 1 replica, min.insync.replicas=2; the cluster has 1 broker" in found.issues[0].text


def test_settings_that_may_not_be_read_are_a_note() -> None:
    """They are not guessed."""
    unknown = replace(scores(), facts=replace(scores().facts, settings={}))
    found = inspected(config_of(CONFIG), unknown, outcomes())
    assert [one.code for one in found.issues] == ["settings_unknown"]


def test_a_missing_topic_is_an_error_and_the_other_is_still_inspected() -> None:
    """With the nearest name that exists."""
    found = inspected(config_of(CONFIG), scores(corrupted(flat_prediction)), others=[TopicFacts("outcome", 1, 3, GOOD)])
    assert codes(found) == [(Severity.ERROR, "missing_topic"), *[(Severity.WARNING, "rejects")] * 2]
    assert "did you mean 'outcome'?" in found.issues[0].text


def test_canonical_topics_that_nobody_fills_are_an_error() -> None:
    """The loop would have no input."""
    found = inspected(config_of(CANONICAL))
    assert codes(found) == [(Severity.ERROR, "missing_topic")] * 2
    assert "truthloop start" in found.issues[0].hint


def test_an_empty_topic_is_warned_of_and_two_are_an_error() -> None:
    """Nothing can be checked without records."""
    assert only(inspected(config_of(CONFIG), scores(), outcomes(events=[])), Severity.WARNING, "empty_topic")
    empty = topic("scores", flat_prediction, [])
    assert only(inspected(config_of(CONFIG), empty, outcomes(events=[])), Severity.ERROR, "no_records")


def test_topics_are_chosen_by_what_fills_them() -> None:
    """Sources are sampled; topics that they fill are probed; topics that no source fills are inputs."""
    plan = plan_inspection(config_of(CONFIG))
    assert (plan.sources, plan.inputs) == (["scores", "outcomes"], {})
    assert plan.probed == {"predictions": "card-fraud.predictions", "labels": "card-fraud.labels"}
    labels_only = config_of(CONFIG[: CONFIG.index("  - topic: scores")] + CONFIG[CONFIG.index("  - topic: outcomes") :])
    assert plan_inspection(labels_only).inputs == {"predictions": "card-fraud.predictions"}


def lines(found: Inspection, config: LoopConfig) -> str:
    """Return the whole report."""
    verdict = (line for _, line in verdict_lines(found.issues, is_started=False))
    return "\n".join([*report_lines(found, config), *verdict])


def test_the_report_shows_records_and_their_paths_without_personal_values() -> None:
    """With the delays in the table of ages and the verdict at the end."""
    config = config_of(CONFIG)
    found = inspected(config, scores(corrupted(flat_prediction)), outcomes())
    report = lines(found, config)
    assert "@example.com" not in report + str(report_document(found, config))
    for text in (
        "scores -> predictions",
        "6 partitions, about 600 records; all were read",
        "mapped 95.0 %, rejected 5.0 %, not selected 0 %",
        "features.email   <- email",
        "(personal: not shown)",
        "time             <- scored_at (in ms)  2026-11-",
        "retain  seen p10  seen p50  seen p90",
        "predictions a day and",
        "No errors (2 warnings). Next: truthloop start",
    ):
        assert text in report, text


def test_a_key_that_is_personal_as_a_feature_is_not_shown() -> None:
    """The config marks its path as personal."""
    config = config_of(CONFIG, ("features.email: email", "features.email: transaction_id"))
    document: Any = report_document(inspected(config, scores(), outcomes()), config)
    (key,) = (row for row in document["topics"][0]["examples"][0]["fields"] if row["field"] == "key")
    assert key["value"] == "(personal: not shown)"


def test_issues_are_sorted_by_severity() -> None:
    """Errors first, whatever was found first."""
    found = inspected(
        config_of(CONFIG, ("slices.country: country", "slices.country: land")),
        scores(corrupted(flat_prediction)),
        others=[TopicFacts("card-fraud.ledger", 8, 1, GOOD)],
    )
    severities = [one.severity for one in found.issues]
    assert severities == sorted(severities)
    assert set(severities) == set(Severity)
    assert lines(found, config_of(CONFIG)).endswith("\nNot ready: 2 errors, 3 warnings, 1 note.")
