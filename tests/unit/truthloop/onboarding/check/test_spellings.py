"""What `truthloop check --live` says about spellings, classes, and the keys of each source.

Tests `truthloop.onboarding.check.classes` and `truthloop.onboarding.trial.spellings`.
"""

import json
from typing import Any

import pytest
from ingest_case import TIME, loop_with

from schemas.config.loop import LoopConfig
from streams.kafka.messages import SourceMessages
from streams.kafka.sample import Cluster, TopicFacts, TopicSample
from streams.mapping.redaction import Redaction
from streams.mapping.tools import MappingTools
from truthloop.onboarding.check.inspection import Inspection, inspect
from truthloop.onboarding.check.report import report_document, report_lines

NOW_MS = 1_795_000_000_000
HOUR_MS = 3_600_000
GOOD = {"retention.ms": "604800000", "cleanup.policy": "delete", "max.message.bytes": "1048588"}
PREDICTIONS = {
    "topic": "scores", "as": "predictions",
    "map": {"key": "k", "time": TIME, "version": "v", "outputs.fraud": "s", "slices.country": "c"},
}  # fmt: skip
LABELS = {"topic": "disputes", "as": "labels", "kind": "fraud", "map": {"key": "k", "time": TIME, "value": "y"}}

Record = dict[str, Any]


def sample(name: str, records: list[Record]) -> TopicSample:
    """Return a whole topic with these records."""
    count = len(records)
    messages = SourceMessages(
        name,
        [json.dumps(record).encode() for record in records],
        [0] * count,
        [*range(count)],
        [record["t"] for record in records],
        [None] * count,
        [None] * count,
    )
    return TopicSample(TopicFacts(name, 1, 3, GOOD), {0: (0, count)}, messages, count)


def made(count: int = 40, **parts: Any) -> list[Record]:
    """Return predictions; of a list among the parts, each gets the next value."""
    start = NOW_MS - 10 * HOUR_MS
    good: Record = {"v": "m", "s": 0.5, "c": "DE"}
    return [good | {"k": f"{n}", "t": start + n * 60_000} | _nth(parts, n) for n in range(count)]


def known(count: int = 40, **parts: Any) -> list[Record]:
    """Return labels of those predictions."""
    return [{"k": f"{n}", "t": NOW_MS - 9 * HOUR_MS + n * 60_000, "y": n % 2} | _nth(parts, n) for n in range(count)]


def _nth(parts: Record, number: int) -> Record:
    return {name: value[number % len(value)] if isinstance(value, list) else value for name, value in parts.items()}


def inspected(config: LoopConfig, **topics: list[Record]) -> Inspection:
    """Inspect topics with these records."""
    samples = {name: sample(name, records) for name, records in topics.items()}
    cluster = Cluster(3, {name: one.facts for name, one in samples.items()}, tuple(sorted(samples)))
    return inspect(config, cluster, samples, MappingTools(Redaction(config)), NOW_MS)


def issues(found: Inspection, *codes: str) -> list[str]:
    """Return the texts of issues of these codes."""
    return [f"{one.where}: {one.text}" for one in found.issues if one.code in codes]


def test_the_spellings_of_compared_values_are_shown_with_what_becomes_of_them() -> None:
    """So that a person sees at once that 'deleted' has another word for true."""
    fields = LABELS["map"] | {"retract": {"path": "d", "in": [True]}, "value": {"path": "y", "values": {1: 1, "0": 0}}}
    config = loop_with(PREDICTIONS, LABELS | {"map": fields, "where": {"test": False}})
    labels = known(d=["f", "f", "T", "f", "perhaps"], test=[False, "N", "yes", False], y=[1, "x", 0, 1])
    found = inspected(config, scores=made(), disputes=labels)
    report = "\n".join(report_lines(found, config))
    assert 'where <- test: false 20 (taken), "N" 10 (taken), "yes" 10 (left out)' in report
    assert 'retract <- d: "f" 18 (no), "T" 6 (yes), "perhaps" 6 (neither true nor false)' in report
    assert 'value <- y: 1 20 (1), "x" 10 (not listed)' in report
    document: Any = report_document(found, config)["topics"][1]["spellings"]
    assert [(one["field"], one["path"], one["different"]) for one in document] == [
        ("where", "test", 3),
        ("value", "y", 2),
        ("retract", "d", 3),
    ]
    assert document[2]["values"][1] == {"value": '"T"', "count": 6, "becomes": "yes"}
    [rejects] = [text for text in issues(found, "rejects") if "bad_op" in text]
    assert "retract: reads neither as true nor as false" in rejects


def test_answers_that_cannot_be_read_are_warned_of() -> None:
    """They count as eligible, which nobody may have meant."""
    source = PREDICTIONS | {"map": PREDICTIONS["map"] | {"eligible": {"path": "e", "in": [True]}}}  # type: ignore[operator]
    found = inspected(loop_with(source, LABELS), scores=made(e=["Y", "n", "-", None]), disputes=known())
    assert issues(found, "eligible_invalid") == ["topic scores, eligible: 25.0 % read neither as true nor as false"]
    found = inspected(loop_with(source, LABELS), scores=made(e=["Y", "n", None]), disputes=known())
    assert issues(found, "eligible_invalid") == []


def test_many_and_long_spellings_are_cut_and_personal_ones_are_not_shown() -> None:
    """A path that a personal feature is read from may hold anything."""
    source = PREDICTIONS | {
        "map": PREDICTIONS["map"] | {"eligible": {"path": "a", "in": ["x"]}, "features.mail": "m"},  # type: ignore[operator]
        "where": {"m": [f"{n}@example.com" for n in range(40)]},
    }
    config = loop_with(source, LABELS, features={"mail": {"type": "string", "pii": "drop"}})
    records = made(a=[f"{n}" * 100 for n in range(40)], m=[f"{n}@example.com" for n in range(40)])
    report = "\n".join(report_lines(inspected(config, scores=records, disputes=known()), config))
    assert "@example.com" not in report
    [line] = [line for line in report.splitlines() if line.startswith("  eligible <- a: ")]
    assert line.endswith(", and 32 more")
    assert len(line) < 800


@pytest.mark.parametrize(
    ("target", "part"), [("version", {"v": [1.5, 2.0]}), ("slices.country", {"c": [10.4]}), ("outputs.fraud", {})]
)
def test_codes_that_are_numbers_are_warned_of(target: str, part: Record) -> None:
    """A number 10.40 in JSON is 10.4; a score may be one."""
    found = issues(inspected(loop_with(PREDICTIONS, LABELS), scores=made(**part), disputes=known()), "number_as_text")
    assert [text.split(":")[0] for text in found] == ([f"topic scores, {target}"] if part else [])


def test_keys_like_floats_are_warned_of_with_the_option_that_helps() -> None:
    """The predictions have the same whole numbers."""
    found = inspected(loop_with(PREDICTIONS, LABELS), scores=made(), disputes=known(k=[f"{n}.0" for n in range(40)]))
    assert issues(found, "like_a_float") == ["topic disputes, key: 100 % are text like 101.0"]
    [issue] = [one for one in found.issues if one.code == "no_common_keys"]
    assert "if both were whole numbers (key: {path: ..., type: int})" in issue.hint
    fixed = LABELS | {"map": LABELS["map"] | {"key": {"path": "k", "type": "int"}}}  # type: ignore[operator]
    found = inspected(loop_with(PREDICTIONS, fixed), scores=made(), disputes=known(k=[f"{n}.0" for n in range(40)]))
    assert issues(found, "like_a_float", "no_common_keys") == []


@pytest.mark.parametrize(
    ("outputs", "labels", "is_said"),
    [(["3", "4"], ["3.0", "4.0"], False), ([3, 4], ["a", "b"], True), (["a"], ["a", "b"], False), (["a"], ["A"], True)],
)
def test_classes_that_never_meet_are_warned_of(outputs: list[Any], labels: list[str], is_said: bool) -> None:
    """Spelled as floats they do meet."""
    config = loop_with(
        PREDICTIONS, LABELS, predictions={"outputs": {"fraud": {"task": "multiclass"}}, "slices": ["country"]}
    )
    found = issues(inspected(config, scores=made(s=outputs), disputes=known(y=labels)), "other_classes")
    assert [text.split(":")[0] for text in found] == (["kind fraud, classes"] if is_said else [])


def test_the_overlap_of_each_source_is_reported() -> None:
    """One source of labels joins everything, so the other one's wrong path would not show in the sum."""
    other = LABELS | {"topic": "calls", "source": "desk"}
    config = loop_with(PREDICTIONS, LABELS, other)
    calls = known(k=[f"call-{n}" for n in range(40)])
    found = inspected(config, scores=made(), disputes=known(), calls=calls)
    report = "\n".join(report_lines(found, config))
    assert "100 % of 40 label keys of disputes have their prediction in the topic" in report
    assert "0 % of 40 label keys of desk have their prediction in the topic" in report
    assert [text.split(":")[0] for text in issues(found, "no_common_keys")] == ["kind fraud of desk, keys"]
    document: Any = report_document(found, config)["kinds"]["fraud"]
    assert {title: one["share"] for title, one in document["sources"].items()} == {"disputes": 1.0, "desk": 0.0}
    assert document["keys"]["labels"] == 80
