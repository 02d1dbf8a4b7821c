"""Errors of the lake writer on a real broker: full disks, recreated topics, removed records, and other writers."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic
from join_case import JoinCase, live_config, table_of
from kafka_fixture import QUICK_START
from lake_worker import RunningRole, wait_until

from lake import Claim, Lake
from schemas.errors import BrokerError, LakeError
from streams.lake_sink import reader as lake_reader
from streams.lake_sink.progress import LakeProgress
from streams.ledger.table import REPLAY_APP
from truthloop.broker.local_broker import LocalBroker

_RECORDED_AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def case(kafka: str) -> JoinCase:
    """Return a loop with three partitions."""
    return JoinCase(live_config(kafka))


def test_a_full_disk_is_reported_and_is_no_reason_for_a_restart(
    case: JoinCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role reports the error as long as it lasts, and is ready afterwards."""
    lake = Lake.create(tmp_path / "lake", case.config)
    is_full = threading.Event()
    append = Lake.append

    def refuse(self: Lake, *arguments: object, **options: object) -> bool:
        if is_full.is_set():
            raise LakeError("could not be written: no space left", where="table rejects")
        return append(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Lake, "append", refuse)
    is_full.set()
    case.send()
    case.step()
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        role.wait_for("no space left")
        assert role.health.stalled() == ""
        is_full.clear()
        role.wait("the lake's ledger", lambda: case.is_written(lake))
        role.wait("readiness", lambda: role.health.unready() == "")
    assert case.differences(lake) == []


def test_a_recreated_topic_is_an_error(case: JoinCase, tmp_path: Path) -> None:
    """Its offsets would be taken for those of the topic before; nothing of it is written."""
    lake = Lake.create(tmp_path / "lake", case.config)
    case.send()
    case.step()
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        role.wait("the lake's ledger", lambda: case.is_written(lake))
    _recreate(case, case.topics.predictions)
    versions = {table: lake.version(table) for table in ("predictions", "ledger")}
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        role.wait_for("partition 2 is stopped")
        assert (
            role.health.unready().count("was recreated: the lake holds records of an earlier topic of this name") == 3
        )
        assert case.topics.predictions in role.health.unready()
    assert versions == {table: lake.version(table) for table in versions}


def test_nothing_is_written_of_a_topic_that_was_recreated_meanwhile(
    case: JoinCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where it has grown beyond the offsets of the one before, so that Kafka reports no error."""
    lake = Lake.create(tmp_path / "lake", case.config)
    case.send()
    case.step()
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        role.wait("the lake's ledger", lambda: case.is_written(lake))
        versions = {table: lake.version(table) for table in ("rejects", "predictions", "ledger")}
        ids = LakeProgress._topic_ids
        monkeypatch.setattr(LakeProgress, "_topic_ids", lambda self: ids(self) | {"labels": "another id"})
        case.send()
        case.step()
        role.wait_for("was recreated", case.topics.labels)
    assert versions == {table: lake.version(table) for table in versions}


def test_a_cluster_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    """The role keeps running, and continues where it was."""
    with LocalBroker(tmp_path / "broker", java_options=QUICK_START) as broker:
        case = JoinCase(live_config(broker.bootstrap_servers))
        lake = Lake.create(tmp_path / "lake", case.config)
        with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
            case.send()
            case.step()
            role.wait("the lake's ledger", lambda: case.is_written(lake))
            broker.kill()
            broker.start()
            case.send()
            case.step()
            role.wait("the lake's ledger", lambda: case.is_written(lake))
            assert role.health.stalled() == ""
            role.wait("readiness", lambda: role.health.unready() == "")
    assert case.differences(lake) == []


def test_records_that_retention_removed_stop_their_partition_only(case: JoinCase, tmp_path: Path) -> None:
    """The join has read them, so the lake must have them; the error names their offsets."""
    lake = Lake.create(tmp_path / "lake", case.config)
    case.send()
    case.step()
    low = max(entry.predictions[1] for entry in case.entries if entry.partition == 1) - 3
    _remove(case, case.topics.predictions, 1, low)
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        role.wait_for("partition 1 is stopped")
        assert f"offsets [0, {low}) were removed before the lake had them" in role.health.unready()
        role.wait("the others", lambda: _steps(lake) == {0: 0, 2: 0})
    assert _steps(lake) == {0: 0, 2: 0}


@pytest.mark.parametrize("table", ["rejects", "outcomes", "ledger"])
def test_lost_rows_of_the_join_are_an_error(case: JoinCase, tmp_path: Path, table: str) -> None:
    """Rows that the ledger counts, or the ledger itself, were removed before the lake had them."""
    Lake.create(tmp_path / "lake", case.config)
    for _ in range(3):
        case.send()
        case.step()
    low = case.end(table, 1) - 2
    _remove(case, f"{case.config.loop}.{table}", 1, low)
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        role.wait_for("partition 1 is stopped")
        assert f"[0, {low})" in role.health.unready()


def test_records_that_retention_removed_after_the_lake_had_them_are_no_loss(case: JoinCase, tmp_path: Path) -> None:
    """A quiet topic is emptied, with transaction markers and aborted rows after the last row."""
    lake = Lake.create(tmp_path / "lake", case.config)
    case.send()
    case.step()
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        role.wait("the lake's ledger", lambda: case.is_written(lake))
    case.abort()
    case.abort()
    for table in ("rejects", "outcomes", "ledger", "predictions", "labels"):
        for number in range(3):
            _remove(case, f"{case.config.loop}.{table}", number, -1)
    case.send()
    case.step()
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        role.wait("the lake's ledger", lambda: case.is_written(lake))
    assert case.differences(lake) == []


def test_memory_is_bounded_however_far_the_inputs_are_ahead(
    case: JoinCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a share of a few records, topics are paused and resumed, and all rows are written."""
    lake = Lake.create(tmp_path / "lake", case.config)
    monkeypatch.setattr(lake_reader, "RECORDS_MAX", 60)
    monkeypatch.setattr(lake_reader, "MESSAGES_PER_READ", 10)
    most: list[int] = []
    apply_backpressure = lake_reader.LakeReader.apply_backpressure

    def watch(self: lake_reader.LakeReader) -> None:
        apply_backpressure(self)
        most.extend(len(one.buffers["predictions"].messages) for one in self.pending.values())

    monkeypatch.setattr(lake_reader.LakeReader, "apply_backpressure", watch)
    case.send(600)
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        role.wait("a pause", lambda: max(most, default=0) > 20)
        for _ in range(30):
            case.step(share=0.2)
        case.step()
        role.wait("the lake's ledger", lambda: case.is_written(lake))
    assert case.differences(lake) == []
    # the next step, as much again for each partition, and one more read
    step = max(entry.predictions[1] - entry.predictions[0] for entry in case.entries)
    assert max(most) <= max(20, step) + 20 + 10


def test_a_worker_whose_slot_another_one_takes_ends(case: JoinCase, tmp_path: Path) -> None:
    """Both would be one member of the group; the newer one stays."""
    lake = Lake.create(tmp_path / "lake", case.config)
    with RunningRole(case.clients, case.config, tmp_path / "lake") as older:
        older.wait("its partitions", lambda: older.health.unready() == "")
        with RunningRole(case.clients, case.config, tmp_path / "lake") as newer:
            with pytest.raises(BrokerError, match="no longer a member") as caught:
                older.wait_for("anything")
            assert "--slot" in caught.value.hint
            case.send()
            case.step()
            newer.wait("the lake's ledger", lambda: case.is_written(lake))
    assert case.differences(lake) == []


def test_a_lake_of_replays_is_refused(case: JoinCase, tmp_path: Path) -> None:
    """Offsets in files and in topics must not be mixed."""
    lake = Lake.create(tmp_path / "lake", case.config)
    rows = table_of(lake, "ledger")
    lake.append("ledger", rows, [Claim(REPLAY_APP, 0, 1)], recorded_at=_RECORDED_AT)
    with RunningRole(case.clients, case.config, tmp_path / "lake") as role:
        with pytest.raises(LakeError, match="replays of files fill this lake") as caught:
            role.wait_for("anything")
        assert "lake.uri" in caught.value.hint


def _steps(lake: Lake) -> dict[int, int]:
    rows = lake.scan("ledger").group_by("partition").agg(pl.col("sequence").max()).collect()
    return dict(rows.iter_rows())


def _recreate(case: JoinCase, topic: str) -> None:
    admin = case.clients.admin()
    admin.delete_topics([topic])[topic].result(30)
    wait_until("the end of the topic", lambda: topic not in admin.list_topics(timeout=10).topics)
    new = NewTopic(topic, num_partitions=case.config.partitions, replication_factor=-1)
    admin.create_topics([new])[topic].result(30)
    wait_until("the new topic", lambda: topic in admin.list_topics(timeout=10).topics)


def _remove(case: JoinCase, topic: str, number: int, before: int) -> None:
    """Remove the records before an offset, as retention does; -1 for all."""
    admin = case.clients.admin()
    for future in admin.delete_records([TopicPartition(topic, number, before)]).values():
        future.result(30)
