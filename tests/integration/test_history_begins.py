"""A lake whose history begins: older records leave it, what was counted stays, and nothing else changes.

Covers `streams.ledger.history`, `lake.maintenance.history` and `truthloop.evidence.recount`.
"""

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from live_lake import settings_of
from polars.testing import assert_frame_equal
from replay_case import CONFIG, places_of

from lake import Lake, connect
from lake.maintenance.maintainer import Maintainer
from monitor.cells.packing import CELL_SCHEMA
from schemas.config.label import CohortConfig
from schemas.config.loop import LoopConfig
from schemas.config.retention import RetentionConfig
from streams.ledger.history import advance_history, rows_leave_before_ms
from streams.mapping.record_file import open_record_file
from streams.replay.replay import replay
from truthloop.evidence.cells import Evidence, read_evidence
from truthloop.evidence.plan_change import count_change

DAY_MS = 86_400_000
START_MS = 1_699_920_000_000
"""14 November 2023, 00:00 UTC."""
NIGHTS = 13
KEPT_DAYS = 8
KEEPING = CONFIG.model_copy(
    update={
        "retention": RetentionConfig.model_validate({"lake": f"{KEPT_DAYS}d"}),
        "cohorts": CohortConfig.model_validate({"by": ["version", "country"]}),
    }
)
OTHER_AGES = CohortConfig.model_validate({"by": ["version", "country"], "ages": ["30m"]})


def files_of(folder: Path, night: int) -> list[Path]:
    """Write the files of a night; some labels come in the next night, and correct others."""
    rng = random.Random(night)
    rows: dict[str, list[dict[str, object]]] = {"predictions": [], "labels": []}
    for index in range(30):
        made = START_MS + night * DAY_MS + index * 45 * 60_000
        outputs = {"click": rng.random(), "sale": rng.random()}
        one = {"key": f"{night}-{index}", "time": made, "version": "v1", "outputs": outputs}
        rows["predictions"].append(one | {"slices": {"country": rng.choice(["DE", "FR"])}})
        if index % 10 == 3:
            rows["predictions"].append(dict(rows["predictions"][-1]))
        for later in rng.choices([20, 50, 300], k=rng.choice([0, 1, 2])):
            if (known := made + later * 60_000) < START_MS + (night + 1) * DAY_MS:
                value = rng.choice([0, 1])
                rows["labels"].append({"key": one["key"], "kind": "click", "time": known, "value": value})
    rows["labels"].append({"kind": "sale", "op": "heartbeat", "time": START_MS + (night + 1) * DAY_MS - 1})
    paths = []
    for name, found in rows.items():
        found.sort(key=lambda row: int(str(row["time"])))
        paths.append(folder / f"{name}-{night}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in found), "utf-8")
    return paths


def lived(lake: Path, folder: Path, config: LoopConfig, nights: Sequence[int]) -> Evidence:
    """Let nights pass, each at its own time; return the evidence after the last."""
    for night in nights:
        pairs = zip(files_of(folder, night), ("predictions", "labels"), strict=True)
        files = [open_record_file(path, name, config.ingest) for path, name in pairs]
        now_ms = START_MS + (night + 1) * DAY_MS + 3_600_000
        replay(places_of(lake), config, files, now_ms=now_ms)
        found = evidence_of(lake, config)
        if config.retention.lake is not None:
            begins_ms = advance_history(Lake.open(lake), config, now_ms)
            maintainer = Maintainer(lake, config.lake.keep_readable)
            before_ms = rows_leave_before_ms(begins_ms, config)
            assert all(step.group.rows for step in maintainer.drop_history(before_ms, partial(int, now_ms)))
    return found


def evidence_of(lake: Path, config: LoopConfig) -> Evidence:
    """Return the evidence of a lake."""
    return read_evidence(replace(settings_of(lake), config=config))


def cells_since(evidence: Evidence, since: date) -> pl.DataFrame:
    """Return the cells from a day on."""
    return evidence.cells.of_days(since, date.max)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two lakes of the same nights: `kept` loses its past, `whole` does not."""
    folder = tmp_path_factory.mktemp("history")
    lived(folder / "kept", folder, KEEPING, range(NIGHTS))
    lived(folder / "whole", folder, KEEPING.model_copy(update={"retention": RetentionConfig()}), range(NIGHTS))
    return folder


@pytest.fixture
def kept(folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the lake that lost its past."""
    return Path(shutil.copytree(folder / "kept", tmp_path / "kept"))


def begins_of(lake: Path) -> date:
    """Return the day on which history begins."""
    return datetime.fromtimestamp(Lake.open(lake).history_begins_ms / 1000, UTC).date()


def test_whole_records_leave_and_history_begins_at_a_day(folder: Path) -> None:
    """Rows that stay are those of the lake that keeps all; what leaves does so in all tables."""
    first = datetime.fromtimestamp(START_MS / 1000, UTC).date()
    begins = begins_of(folder / "kept")
    assert begins == first + timedelta(days=NIGHTS - 1 - KEPT_DAYS)
    kept, whole = Lake.open(folder / "kept"), Lake.open(folder / "whole")
    for table in ("predictions", "labels", "outcomes", "rejects"):
        days = [lake.scan(table).select("recorded_on").unique().collect()["recorded_on"] for lake in (kept, whole)]
        assert days[1].min() == first + timedelta(days=1)
        assert first + timedelta(days=1) < days[0].min() < begins
        some = [
            lake.scan(table).filter(pl.col("recorded_on") >= days[0].min()).drop("recorded_at").collect()
            for lake in (kept, whole)
        ]
        assert_frame_equal(*some, check_row_order=False)
    made = kept.scan("predictions").collect()
    assert made["predicted_at"].min() < datetime.combine(begins, datetime.min.time(), UTC)
    ledgers = [lake.scan("ledger").drop("recorded_at").collect() for lake in (kept, whole)]
    assert_frame_equal(*ledgers, check_row_order=False)


def test_what_was_counted_stays(folder: Path) -> None:
    """All days are in the cells."""
    kept, whole = (evidence_of(folder / name, KEEPING).cells.whole() for name in ("kept", "whole"))
    assert_frame_equal(kept, whole, check_exact=True)
    assert kept["day"].n_unique() == NIGHTS


def test_views_show_whole_records_since_history_began(folder: Path) -> None:
    """The same as a lake that keeps all, from that day on; and nothing of the days before, whose files are leaving."""
    begins = datetime.combine(begins_of(folder / "kept"), datetime.min.time(), UTC)
    found = []
    for name in ("kept", "whole"):
        with connect(folder / name) as connection:
            scored = connection.sql("SELECT * FROM scored ORDER BY key, kind").pl()
            revisions = connection.sql("SELECT * EXCLUDE (recorded_at) FROM revisions ORDER BY ALL").pl()
        assert (scored["predicted_at"].min() < begins) is (name == "whole")
        found.append([rows.filter(pl.col("predicted_at") >= begins) for rows in (scored, revisions)])
        assert revisions.height == found[-1][1].height or name == "whole"
    for kept, whole in zip(*found, strict=True):
        assert_frame_equal(kept, whole)


def test_another_plan_is_counted_for_the_days_that_have_records(folder: Path, kept: Path) -> None:
    """The others keep what was counted by the plan before, and show it again under that plan."""
    begins, before = begins_of(kept), evidence_of(kept, KEEPING).cells.whole()
    other = KEEPING.model_copy(update={"cohorts": OTHER_AGES})
    assert count_change(replace(settings_of(kept), config=KEEPING)) is None
    change = count_change(replace(settings_of(kept), config=other))
    read = [
        evidence_of(kept, KEEPING).lake.scan(table).select(pl.len()).collect().item()
        for table in ("predictions", "labels")
    ]
    assert change is not None
    assert (change.records > sum(read), change.sealed_before) == (True, begins)
    whole = evidence_of(Path(shutil.copytree(folder / "whole", kept.with_name("whole"))), other)
    anew = evidence_of(kept, other)
    assert_frame_equal(cells_since(anew, begins), cells_since(whole, begins), check_exact=True)
    assert anew.cells.whole()["day"].min() == begins
    assert not cells_since(anew, begins).equals(before.filter(pl.col("day") >= begins))
    back = evidence_of(kept, KEEPING)
    assert_frame_equal(back.cells.whole(), before, check_exact=True)
    assert (
        back.cells.summary.predictions("click")["amount"].sum()
        == whole.cells.summary.predictions("click")["amount"].sum()
    )


def test_a_loop_goes_on_after_its_past_has_left(folder: Path, kept: Path, tmp_path: Path) -> None:
    """State is restored, new records are joined and counted, history moves on: as in the lake that keeps all."""
    whole = Path(shutil.copytree(folder / "whole", tmp_path / "whole"))
    nights = range(NIGHTS, NIGHTS + 2)
    found = lived(kept, tmp_path, KEEPING, nights)
    wanted = lived(whole, tmp_path, KEEPING.model_copy(update={"retention": RetentionConfig()}), nights)
    assert_frame_equal(found.cells.whole(), wanted.cells.whole(), check_exact=True)
    assert begins_of(kept) == begins_of(folder / "kept") + timedelta(days=2)
    assert found.cells.whole().schema == CELL_SCHEMA


def test_history_waits_for_cells_that_are_behind(kept: Path, tmp_path: Path) -> None:
    """What was not counted yet does not leave."""
    begins = begins_of(kept)
    for night in range(NIGHTS, NIGHTS + 12):
        pairs = zip(files_of(tmp_path, night), ("predictions", "labels"), strict=True)
        files = [open_record_file(path, name, KEEPING.ingest) for path, name in pairs]
        replay(places_of(kept), KEEPING, files, now_ms=START_MS + (night + 1) * DAY_MS)
    advance_history(Lake.open(kept), KEEPING, START_MS + 40 * DAY_MS)
    assert begins < begins_of(kept) <= datetime.fromtimestamp(START_MS / 1000, UTC).date() + timedelta(days=NIGHTS)
