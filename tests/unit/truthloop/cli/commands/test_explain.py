"""`truthloop explain KEY`: the history of a key as sentences and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from lake_builder import CONFIG_TEXT, LakeBuilder, hour
from typer.testing import CliRunner, Result

from truthloop.cli.commands.explain import explain

app = typer.Typer()
app.command()(explain)


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return the lake of the loop in this folder."""
    (tmp_path / "truthloop.yaml").write_text(CONFIG_TEXT)
    return LakeBuilder(tmp_path / "the lake")


def run(builder: LakeBuilder, *arguments: str) -> Result:
    """Run the command."""
    config = builder.lake.path.parent / "truthloop.yaml"
    return CliRunner().invoke(app, ["--config", str(config), *arguments])


def history(builder: LakeBuilder, key: str) -> dict[str, Any]:
    """Return the JSON document."""
    result = run(builder, key, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def texts(builder: LakeBuilder, key: str) -> list[str]:
    """Return the sentences of the events."""
    return [event["text"] for event in history(builder, key)["events"]]


def test_a_key_is_explained_in_order_of_time(builder: LakeBuilder) -> None:
    """Predictions, labels and what became of them, revisions, and the current outcome."""
    builder.predict("tx-1", 0, 0, output_fraud=0.83).predict("tx-1", 0, 1).reject("predictions", 1, "duplicate")
    builder.label("tx-1", 3, 0, value=1.0).outcome("tx-1", "joined", 3, 5, value=1.0, label_offset=0)
    builder.label("tx-1", 2, 1, value=0.0, known_at=hour(4)).reject("labels", 1, "stale")
    builder.label("tx-1", 3, 2, value=1.0, known_at=hour(5)).reject("labels", 2, "duplicate")
    builder.label("tx-1", 6, 3, value=0.0)
    change = {"previous": 1.0, "previous_status": "joined", "label_offset": 3}
    builder.outcome("tx-1", "joined", 6, 8, reason="correction", value=0.0, **change)
    document = history(builder, "tx-1")
    assert [event["what"] for event in document["events"]] == [
        *("prediction", "prediction", "label", "revision", "label", "label", "label", "revision")
    ]
    sentences = [event["text"] for event in document["events"]]
    assert sentences[0] == "prediction tx-1 by version v1: fraud 0.83"
    assert "does not count (duplicate)" in sentences[1]
    assert (
        sentences[2]
        == "label fraud = 1 (chargeback-1), of 2026-03-01 11:00:00 UTC; was of record until a newer label came"
    )
    assert sentences[3] == "fraud of tx-1 became joined (first): 1; 3h after the prediction, by chargeback-1"
    assert "stale: a label with a later time came before" in sentences[4]
    assert "duplicate: the same record came before" in sentences[5]
    assert sentences[6].endswith("of record for tx-1")
    assert "became joined (correction): 0; before it was joined 1; 6h after" in sentences[7]
    (outcome,) = document["outcomes"]
    assert (outcome["status"], outcome["value"], outcome["overdue"]) == ("joined", 0.0, False)
    assert outcome["label_of_record"]["offset"] == 3
    printed = run(builder, "tx-1")
    assert all(sentence in printed.stdout for sentence in [*sentences, outcome["text"]])


@pytest.mark.parametrize(("now", "overdue"), [(9, False), (10, False), (10.5, True)])
def test_a_pending_outcome_has_its_deadline(builder: LakeBuilder, now: float, *, overdue: bool) -> None:
    """Overdue by the time of the ledger, not of this machine."""
    builder.predict("tx-1", 0, 0).entry(1, now)
    (outcome,) = history(builder, "tx-1")["outcomes"]
    assert outcome["deadline"] == "2026-03-01 18:00:00Z"
    assert outcome["overdue"] is overdue
    assert ("overdue" in outcome["text"]) is overdue
    assert outcome["label_of_record"] is None


def test_a_waiting_label_has_its_deadline(builder: LakeBuilder) -> None:
    """Of several, only the one of record waits."""
    builder.label("tx-1", 1, 0, value=0.0).label("tx-1", 2, 1, value=1.0)
    first, second = texts(builder, "tx-1")
    assert first.endswith("a newer label came before it could join")
    assert second.endswith("waits for a prediction until 2026-03-02 06:00:00 UTC")


def test_sentences_have_the_times_of_the_loops_zone(builder: LakeBuilder) -> None:
    """As the page has; the times of the JSON document are in UTC."""
    config = builder.lake.path.parent / "truthloop.yaml"
    config.write_text(f"timezone: America/New_York\n{CONFIG_TEXT}")
    builder.label("tx-1", 2, 1, value=1.0)
    document = history(builder, "tx-1")
    assert document["events"][0]["at"] == "2026-03-01 10:00:00Z"
    assert "waits for a prediction until 2026-03-02 01:00:00 -05:00" in document["events"][0]["text"]
    assert run(builder, "tx-1").stdout.startswith("2026-03-01 05:00:00 -05:00  label fraud = 1")


@pytest.mark.parametrize("reason", ["too_late", "unknown_prediction", "waiting_limit", "future"])
def test_a_label_without_an_outcome_is_explained(builder: LakeBuilder, reason: str) -> None:
    """Every reason has its sentence."""
    builder.label("tx-1", 1, 0, value=0.0).reject("labels", 0, reason)
    (text,) = texts(builder, "tx-1")
    assert f"; {reason}: " in text
    assert "see the view" not in text


def test_retractions_timeouts_and_other_definitions_are_explained(builder: LakeBuilder) -> None:
    """And that a prediction is not eligible."""
    builder.predict("tx-1", 0, 0, eligible=False).outcome("tx-1", "expired", 10, 5, reason="timeout")
    builder.label("tx-1", 12, 0, op="retract")
    builder.outcome("tx-1", "retracted", 12, 6, reason="retraction", previous_status="expired", label_offset=0)
    builder.label("tx-1", -1, 1, value=1.0, definition="other")
    builder.outcome("tx-1", "joined", -1, 7, reason="early", value=1.0, definition="other", label_offset=1)
    sentences = texts(builder, "tx-1")
    assert sentences[1] == "fraud of tx-1 became joined (early): 1; 1h before the prediction, by other"
    assert "not eligible" in sentences[2]
    assert sentences[3] == "fraud of tx-1 became expired (timeout); 10h after the prediction, by chargeback-1"
    assert "label fraud = retraction" in sentences[4]
    assert "became retracted (retraction); before it was expired" in sentences[5]


def test_an_unknown_key_exits_1_with_similar_keys(builder: LakeBuilder) -> None:
    """Of predictions and labels."""
    builder.predict("tx-100", 0, 0).label("tx-101", 0, 0).predict("other", 0, 1)
    result = run(builder, "tx-10")
    assert result.exit_code == 1
    assert "tx-100" in result.stderr
    assert "tx-101" in result.stderr
    assert "other" not in result.stderr
    assert "There is no similar key" in run(builder, "zzz").stderr


@pytest.mark.parametrize("key", ["o'brien", "[bold]x[/]", "湖", "a b", "%"])
def test_keys_are_neither_sql_nor_markup(builder: LakeBuilder, key: str) -> None:
    """They are printed unchanged."""
    builder.predict(key, 0, 0)
    result = run(builder, key)
    assert result.exit_code == 0
    assert f"prediction {key} by version" in result.stdout


def test_infinity_is_null_in_json(builder: LakeBuilder) -> None:
    """It would not be valid JSON."""
    builder.predict("tx-1", 0, 0, output_fraud=float("inf"))
    assert history(builder, "tx-1")["events"][0]["output_fraud"] is None
