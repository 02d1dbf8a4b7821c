"""Rules as text, and a partition whose rules change."""

from pathlib import Path

import pytest

from joins import Batch, KindPolicy, LabelRecord, MemoryStore, Op, Partition, Policy, PredictionRecord, policy_from
from schemas.config.loop import LoopConfig
from schemas.errors import ConfigError
from streams.ledger.rules import check_kinds, differences, read_rules, refused_change, rules_text
from truthloop.config.settings import load_settings

NOW_MS = 10_000
RULES = KindPolicy("d1", horizon_ms=10, retain_ms=500)

CONFIG = """\
version: 1
loop: l
lake: {uri: lake}
disorder: 10m
predictions:
  outputs: {sale: {task: binary}, topic: {task: multiclass}}
labels:
  sale: {definition: paid, horizon: 3h, retain: 1d, on_timeout: {imply: 0}}
  topic: {definition: judged, horizon: 1d, retain: 2d, on_timeout: {imply: other}}
"""


@pytest.fixture(name="config")
def read_config(tmp_path: Path) -> LoopConfig:
    """Return a config with a binary and a multiclass kind."""
    path = tmp_path / "truthloop.yaml"
    path.write_text(CONFIG)
    return load_settings(path).config


def prediction(offset: int, time_ms: int) -> PredictionRecord:
    """Return a prediction with a key of its own."""
    return PredictionRecord(offset, f"k{offset}", f"k{offset}", time_ms, 1, eligible=True, projection=None)


def label(offset: int, time_ms: int) -> LabelRecord:
    """Return a label that joins nothing."""
    return LabelRecord(offset, f"z{offset}", "sale", "d1", Op.UPSERT, 1.0, time_ms, time_ms)


def test_a_longer_horizon_applies_to_a_late_prediction() -> None:
    """Its deadline under the old rules has passed, the one under the new rules has not."""
    partition = Partition(Policy({"sale": RULES}), MemoryStore(["sale"]))
    partition.step(Batch([prediction(n, 100) for n in range(3)], [label(n, 100 + n) for n in range(3)], 3, 3, NOW_MS))
    assert partition.checkpoint.cursors["sale"][0] == 89
    partition.change_rules(Policy({"sale": KindPolicy("d1", horizon_ms=50, retain_ms=500)}))
    late = partition.step(Batch([prediction(3, 80), prediction(4, 40)], [], 5, 3, NOW_MS))
    assert [(row.prediction_offset, row.known_at_ms) for row in late.outcomes] == [(4, 90)]
    after = partition.step(Batch([], [], 5, 3, NOW_MS, close_at_ms=140))
    assert [(row.prediction_offset, row.known_at_ms) for row in after.outcomes] == [(3, 130)]


@pytest.mark.parametrize(
    "kinds", [{"other": RULES}, {"sale": RULES, "other": RULES}, {"sale": KindPolicy("d2", 10, 500)}]
)
def test_a_partition_refuses_other_kinds_and_definitions(kinds: dict[str, KindPolicy]) -> None:
    """Its counts would mix different labels."""
    partition = Partition(Policy({"sale": RULES}), MemoryStore(["sale"]))
    with pytest.raises(ValueError, match="same definition"):
        partition.change_rules(Policy(kinds))
    assert partition.policy.kinds == {"sale": RULES}


def test_rules_survive_their_text(config: LoopConfig) -> None:
    """Numbers stay numbers and classes stay classes."""
    found = read_rules(rules_text(config))
    assert (found.partitions, found.policy) == (config.partitions, policy_from(config))
    assert [rules.implied for rules in found.policy.kinds.values()] == [0.0, "other"]


def test_differences_tell_which_rules_a_running_loop_can_change(config: LoopConfig) -> None:
    """Horizons can change; definitions and the number of partitions cannot."""
    old = rules_text(config)
    new = old.replace('"horizon_ms":10800000', '"horizon_ms":60000').replace('"judged"', '"another"')
    assert [(one.rule, bool(one.refusal)) for one in differences(old, new)] == [
        ("labels.sale.horizon_ms", False),
        ("labels.topic.definition", True),
    ]
    assert str(differences(old, new)[0]) == "labels.sale.horizon_ms was 10800000 and is 60000"
    assert "labels.topic.definition" in refused_change(old, new)
    assert refused_change(old, new.replace('"another"', '"judged"')) == ""
    assert "cannot be read" in refused_change(old, "{}")
    assert "partitions" in refused_change(old, old.replace('"partitions":8', '"partitions":16'))


def test_the_error_names_other_kinds(config: LoopConfig) -> None:
    """Labels of one set of kinds cannot be read under another."""
    text = rules_text(config)
    with pytest.raises(ConfigError, match=r"\['sale', 'topic'\], and the running loop has \['sold', 'topic'\]"):
        check_kinds(text.replace('"sale"', '"sold"'), text)
