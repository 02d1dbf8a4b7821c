"""Slots by frequency in a lake that grows night by night: the same after one count, after many, and counted anew.

Covers `truthloop.evidence.spans.counter_of_values` and `truthloop.evidence.recount`.
"""

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from live_lake import settings_of
from polars.testing import assert_frame_equal
from replay_case import CONFIG, NOW_MS, places_of

from lake import Lake
from monitor.cells import slot_admission, slots
from schemas.config.label import CohortConfig
from schemas.config.loop import LoopConfig
from streams.mapping.record_file import open_record_file
from streams.replay.replay import replay
from truthloop.evidence import recount
from truthloop.evidence.cells import Evidence, read_evidence

DAY_MS = 86_400_000
START_MS = 1_699_920_000_000
"""14 November 2023, 00:00 UTC."""
NIGHTS = 12
BY_COUNTRY = CONFIG.model_copy(update={"cohorts": CohortConfig.model_validate({"by": ["version", "country"]})})


@pytest.fixture(autouse=True)
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three values have a slot, and keep it down to rank 4."""
    for module in (slots, slot_admission):
        monkeypatch.setattr(module, "SLOTS_MAX", 3)
    monkeypatch.setattr(slots, "_KEPT_RANK", 4)


def nights(folder: Path) -> Iterator[list[Path]]:
    """Yield the two files of each night. Countries come and go: C0 to C2 on the first day, another one every day."""
    rng = random.Random(5)
    for night in range(NIGHTS):
        weights = [8 >> max(0, abs(number - night // 2) - 1) for number in range(8)]
        predictions, labels = [], []
        for index in range(40):
            made = START_MS + night * DAY_MS + index * 30 * 60_000
            country = f"C{rng.choices(range(8), weights)[0] if night else index % 3}"
            outputs = {"click": rng.random(), "sale": 1.0}
            row = {"key": f"{night}-{index}", "time": made, "version": "v1", "outputs": outputs}
            predictions.append(row | {"slices": {"country": country}})
            labels.append({"key": row["key"], "kind": "click", "time": made + 20 * 60_000, "value": index % 2})
        for name, rows in (("predictions", predictions), ("labels", labels)):
            (folder / f"{name}-{night}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
        yield [folder / f"predictions-{night}.jsonl", folder / f"labels-{night}.jsonl"]


def evidence_of(lake: Path, config: LoopConfig = BY_COUNTRY) -> Evidence:
    """Return the evidence of a lake."""
    return read_evidence(replace(settings_of(lake), config=config))


def counted_by_country(evidence: Evidence) -> pl.DataFrame:
    """Return the predictions by day and country."""
    return evidence.cells.whole(pl.col("kind") == "click", pl.col("measure") == "predictions", pl.col("slice") != "")


def test_slots_are_the_same_after_each_night_after_all_and_counted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lake that is counted for another plan keeps the slots that were decided: it asks for no frequencies again."""
    lake = tmp_path / "lake"
    for paths in nights(tmp_path):
        files = [
            open_record_file(path, name, CONFIG.ingest)
            for path, name in zip(paths, ("predictions", "labels"), strict=True)
        ]
        replay(places_of(lake), BY_COUNTRY, files, now_ms=NOW_MS)
        nightly = evidence_of(lake)
    copy = tmp_path / "copy"
    shutil.copytree(lake, copy)
    shutil.rmtree(copy / "cells")
    Lake.create(copy, BY_COUNTRY)
    assert_frame_equal(evidence_of(copy).cells.whole(), nightly.cells.whole(), check_exact=True)

    by_country = counted_by_country(nightly)
    per_day = by_country.filter(~pl.col("slice").str.ends_with("other")).group_by("day").len().sort("day")
    assert (per_day.height, per_day["len"].max()) == (NIGHTS, 3)
    assert nightly.cells.summary.slots.filter(measure="slot")["amount"].unique().sort().to_list() == [-1, 1]
    assert by_country.filter(pl.col("slice") == "country=*other")["amount"].sum() > 0

    monkeypatch.setattr(recount, "counter_of_values", lambda *_: pytest.fail)
    cohorts = CohortConfig.model_validate({"by": ["version", "country"], "ages": ["30m"]})
    other_ages = BY_COUNTRY.model_copy(update={"cohorts": cohorts})
    anew = evidence_of(lake, other_ages)
    assert anew.plan.digest != nightly.plan.digest
    assert_frame_equal(counted_by_country(anew), by_country, check_exact=True)
    assert anew.plan.slots == nightly.plan.slots
