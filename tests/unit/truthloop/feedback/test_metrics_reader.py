"""The feedback role's metrics are read from the lake, so they are the same after a restart; live metrics in parts."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest
from gate_case import DRIFT, ID, entry
from live_lake import LiveLake, settings_of
from prometheus_client import CollectorRegistry, generate_latest
from replay_case import CLOSE_MS, CONFIG, NOW_MS, run, write_files

from lake import Lake
from monitor.cells.plan import CellPlan
from monitor.metrics.table import metrics
from retrain.address_guard import parse_allowed
from retrain.decision_log import DecisionLog
from retrain.log_entries import EntryOrigin
from retrain.sender import Receiver
from retrain.signing import Secret
from schemas.config.retrain import RetrainConfig
from schemas.config.targets import WebhookConfig
from schemas.events.evidence import Event, GateState
from streams.replay import sorted_input
from truthloop.evidence.cells import read_evidence
from truthloop.feedback.deliveries import Deliveries
from truthloop.feedback.live_metrics import LiveMetricsReader
from truthloop.feedback.metrics import FeedbackMetrics
from truthloop.feedback.metrics_reader import MetricsReader
from truthloop.feedback.reconcile import Reconciler

Values = dict[tuple[str, str, str, str], float | None]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake that a replay has filled and closed, in many steps of few records."""
    folder = tmp_path_factory.mktemp("lake")
    files = write_files(folder, count=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_input, "ROWS_PER_SLICE", 12)
        run(folder / "replayed", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    return folder / "replayed"


def of_cells(lake: Path) -> Values:
    """Return the metrics of each version and definition computed from cells."""
    evidence = read_evidence(settings_of(lake))
    found = metrics(evidence.cells.whole(), evidence.plan, "version", {}).iter_rows(named=True)
    return {(row["version"], row["kind"], row["definition"], row["name"]): row["value"] for row in found}


def assert_same(reader: LiveMetricsReader, expected: Values) -> None:
    """Compare with the metrics of cells; River's are exact up to rounding."""
    values = reader.metrics.values()
    assert len([key for key, value in values.items() if value is not None and key in expected]) > 5
    for key in values.keys() & expected.keys():
        value, other = values[key], expected[key]
        assert value == (None if other is None else pytest.approx(other, abs=1e-7)), key


@pytest.mark.parametrize("outcomes_max", [1, 40, 1_000_000])
def test_live_metrics_of_a_replayed_lake_are_those_of_its_cells(replayed: Path, outcomes_max: int) -> None:
    """Whatever part each update reads; an update without new outcomes changes nothing."""
    reader = LiveMetricsReader(Lake.open(replayed), CellPlan.from_config(CONFIG), outcomes_max)
    updates = 1
    reader.update()
    while reader.unread:
        before = reader.unread
        reader.update()
        assert reader.unread < before
        updates += 1
    assert (updates > 3) is (outcomes_max < 100)
    assert_same(reader, of_cells(replayed))
    known = reader.metrics.values()
    reader.update()
    assert reader.metrics.values() == known


def test_live_metrics_keep_up_with_a_live_lake(replayed: Path, tmp_path: Path) -> None:
    """Partitions are at different steps; corrections come in later updates than the labels they replace."""
    live = LiveLake(replayed, tmp_path / "live", CONFIG)
    reader = LiveMetricsReader(live.lake, CellPlan.from_config(CONFIG), 10)
    iteration = 0
    while any(live.left(number) for number in live.partitions):
        iteration += 1
        live.advance({number: 2 for number in live.partitions if live.left(number) > 1 and number != iteration % 3})
        live.advance({number: 1 for number in live.partitions if live.left(number) == 1})
        reader.update()
    while reader.unread:
        reader.update()
    assert_same(reader, of_cells(live.lake.path))


def test_a_rewritten_ledger_resets_the_metrics(replayed: Path, tmp_path: Path) -> None:
    """After a restore from a backup nothing is counted twice."""
    reader = LiveMetricsReader(Lake.open(replayed), CellPlan.from_config(CONFIG))
    reader.update()
    older = LiveLake(replayed, tmp_path / "older", CONFIG)
    older.advance({number: older.left(number) // 2 for number in older.partitions})
    reader._lake = older.lake
    reader.update()
    assert_same(reader, of_cells(older.lake.path))


def scraped(replayed: Path) -> str:
    """Return what a process that starts now exports."""
    registry = CollectorRegistry()
    exported = FeedbackMetrics(registry)
    exported.set_active(lambda: True)
    reader = MetricsReader(settings_of(replayed), exported)
    reconciler = Reconciler(settings_of(replayed), lambda: NOW_MS)
    reader.update(reconciler)
    assert "truthloop_gate_state{" not in generate_latest(registry).decode()
    while reconciler.run().decisions:
        reader.update(reconciler)
    reader.update(reconciler)
    lines = generate_latest(registry).decode().splitlines()
    return "\n".join(line for line in lines if "_created" not in line)


def test_the_metrics_are_the_same_after_a_restart(replayed: Path) -> None:
    """Also those of days that were evaluated before it."""
    first = scraped(replayed)
    for kind in CONFIG.labels:
        for name in ("evidence_timestamp_seconds", "mature_labels", "observed_timestamp_seconds"):
            assert f'truthloop_{name}{{kind="{kind}"}}' in first
        assert f'truthloop_finding_level{{finding="coverage",kind="{kind}"}} 0.0' in first
        assert f'truthloop_coverage_state{{kind="{kind}",state="ok"}} 1.0' in first
        definition = CONFIG.labels[kind].definition
        assert f'truthloop_live_metric{{definition="{definition}",kind="{kind}"' in first
    assert "truthloop_live_unread_outcomes 0.0" in first
    assert scraped(replayed) == first


def test_delivery_attempts_are_counted_by_outcome(replayed: Path) -> None:
    """Nobody listens there, so the first attempt must be repeated; sending again before it is due adds none."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    lake = Lake.open(replayed)
    written = {"dataset": "file:///data", "manifest": "file:///data/m", "manifest_sha256": "0" * 64, "rows": 7}
    entries = [
        entry(0, Event.EVALUATED, GateState.PREPARING, decision=ID, findings=[DRIFT], version="v1"),
        entry(1, Event.PREPARED, GateState.REQUESTED, decision=ID, detail=written),
    ]
    assert DecisionLog(lake, "late").append(entries, NOW_MS)
    target = WebhookConfig(url=f"http://{address}/", allow=[address])
    receiver = Receiver(target.url, Secret.parse("whsec_" + "A" * 32), parse_allowed(target.allow))
    registry = CollectorRegistry()
    origins = [EntryOrigin("flights", "late", RetrainConfig(target=target))]
    deliveries = Deliveries(lake, origins, receiver, lambda: NOW_MS, FeedbackMetrics(registry).count_attempt)
    for _ in range(2):
        asyncio.run(deliveries.send_due())
        text = generate_latest(registry).decode()
        assert 'truthloop_delivery_attempts_total{outcome="retry"} 1.0' in text
        assert 'truthloop_delivery_attempts_total{outcome="delivered"} 0.0' in text
