"""What the page and the feedback role read of a lake does not depend on how old it is."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lake_builder import LABEL, MORNING, RECORDED_AT, LakeBuilder, loop_config
from opened_files import opened_files

from lake import Claim, Lake
from monitor.coverage.source import SourceArrivals
from retrain.gate import Gate
from truthloop.config.settings import Settings
from truthloop.evidence.arrivals import newest_arrivals
from truthloop.evidence.diff_log import DiffLog
from truthloop.feedback.delivery_log import LakeDeliveryLog
from truthloop.page.gather.snapshot import read_snapshot

YOUNG, OLD = 60, 120
"""Commits of a lake, of which there is one in ten days."""


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Lakes of less than two and of more than three years: a finding, a label and two rejects in each commit."""
    return {commits: lived(tmp_path_factory.mktemp("lakes") / "lake", commits) for commits in (YOUNG, OLD)}


def lived(path: Path, commits: int) -> Path:
    """Return the path of a lake with so many commits to each table."""
    builder = LakeBuilder(path)
    for number in range(commits):
        at = MORNING + timedelta(days=10 * number)
        texts = {"name": "shift", "subject": "amount", "level": "warn", "text": "so"}
        position = {"partition": 0, "offset": number, "source_row": number + 1, "source": "f" * 64}
        label = {**LABEL, **position, "key": "a", "label_time": at, "known_at": at, "label_source": "desk"}
        attempt = {"attempt": 1, "outcome": "delivered", "http_status": 202}
        texts_of_diff = {"sha256": "0" * 64, "document": "{}"}
        reject = {**position, "stage": "join", "input": "labels", "reason": "stale", "sequence": number}
        rows: dict[str, list[dict[str, Any]]] = {
            "evidence": [{**texts, "evidence_at": at, "day": at.date(), "kind": "fraud"}],
            "labels": [label],
            "rejects": [reject, {**reject, "input": "predictions", "reason": "conflict"}],
            "deliveries": [{**attempt, "number": number, "decision": decision_of(number), "attempted_at": at}],
            "diffs": [{"number": number, "kind": "fraud", "episode": f"bf-{number:032x}", **texts_of_diff}],
        }
        recorded_at = RECORDED_AT + timedelta(days=10 * number)
        for table, own in rows.items():
            claim = Claim("lived", number, number + 1)
            builder.lake.append(table, builder.frame(table, own), [claim], recorded_at=recorded_at)
    return path


def decision_of(number: int) -> str:
    """Return the id of a retrain of which one attempt was made."""
    return f"rt-{number:032x}"


def opened_by(read: Callable[[Lake], object], lake: Path) -> Counter[str]:
    """Return how many files of each table a process that has just opened the lake gives to its scans."""
    opened = Lake.open(lake)
    with opened_files() as found:
        read(opened)
    return found


def snapshot(lake: Lake) -> object:
    """Read what the page shows."""
    folder = lake.path.parent
    settings = Settings(loop_config(), folder / "truthloop.yaml", lake.path, folder, folder)
    return read_snapshot(settings, lake, None, lambda _what: None)


def test_the_page_reads_what_it_can_show(lakes: dict[int, Path]) -> None:
    """Findings of 400 days, rejects of 90, arrivals of six weeks; and nothing again if nothing is new."""
    young, old = (opened_by(snapshot, lakes[commits]) for commits in (YOUNG, OLD))
    assert young == old
    assert {table: old[table] for table in ("evidence", "rejects", "labels")} == {
        "evidence": 41,
        "rejects": 10,
        "labels": 5,
    }
    lake = Lake.open(lakes[OLD])
    snapshot(lake)
    with opened_files() as again:
        snapshot(lake)
    assert (again["evidence"], again["rejects"]) == (0, 0)


def test_sources_are_looked_for_as_far_back_as_they_are_known(lakes: dict[int, Path]) -> None:
    """One that has been silent for longer than the look back is looked for in 400 days before it, and no further."""
    label = loop_config().labels["fraud"]

    def known(lake: Lake) -> dict[str, SourceArrivals]:
        return dict(newest_arrivals(lake, "fraud", label, Gate(sources=("desk", "gone"))))

    young, old = (opened_by(known, lakes[commits]) for commits in (YOUNG, OLD))
    assert young == old
    assert old["labels"] == 5 + 45


def test_of_a_delivery_and_of_a_backfill_their_own_files_are_read(lakes: dict[int, Path]) -> None:
    """Those of others stay in the lake for ever."""
    for commits in (YOUNG, OLD):
        lake = Lake.open(lakes[commits])
        with opened_files() as opened:
            [attempt] = LakeDeliveryLog(lake, lambda: 0).attempts([decision_of(commits // 2)])
            assert DiffLog(lake).find(f"bf-{commits // 3:032x}", "1" * 64) is None
        assert (attempt.decision, attempt.outcome) == (decision_of(commits // 2), "delivered")
        assert opened == {"deliveries": 1, "diffs": 1}
    with opened_files() as opened:
        assert LakeDeliveryLog(lake, lambda: 0).attempts([]) == []
    assert opened == {}
