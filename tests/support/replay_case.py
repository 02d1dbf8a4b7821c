"""Small file replays for tests: seeded files in the canonical form, and the lake's tables afterwards."""

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from oracle import Final, final_outcomes

from joins import LabelRecord, Op, PredictionRecord, policy_from
from lake import Lake
from schemas.base.location import Location
from schemas.config.loop import LoopConfig
from streams.mapping.record_file import open_record_file
from streams.replay.replay import Places, ReplaySummary, replay

__all__ = [
    "CLOSE_MS",
    "CONFIG",
    "NOW_MS",
    "START_MS",
    "Files",
    "finals",
    "lose_state",
    "oracle_of",
    "places_of",
    "run",
    "table",
    "write_files",
]

MINUTE_MS = 60_000
START_MS = 1_700_000_000_000
NOW_MS = START_MS + 400 * 86_400_000
CLOSE_MS = START_MS + 30 * 86_400_000

CONFIG = LoopConfig.model_validate(
    {
        "version": 1,
        "loop": "test",
        "clock": "event",
        "partitions": 3,
        "disorder": "0s",
        "predictions": {
            "outputs": {"click": {"task": "binary"}, "sale": {"task": "regression"}},
            "slices": ["country"],
            "features": {"amount": {"type": "float", "min": 0}},
        },
        "labels": {
            "click": {"definition": "c1", "horizon": "1h", "retain": "6h", "on_timeout": {"imply": 0}},
            "sale": {"definition": "s1", "horizon": "4h", "retain": "8h"},
        },
    }
)


@dataclass(frozen=True)
class Files:
    """The records of a case, and their files: one of predictions and one of labels per night."""

    predictions: list[dict]
    labels: list[dict]
    prediction_files: list[Path]
    label_files: list[Path]


def write_files(folder: Path, *, seed: int = 1, count: int = 60, nights: int = 1) -> Files:
    """Write seeded predictions and labels as JSON lines, cut into nights by time."""
    rng = random.Random(seed)
    end_ms = 48 * 60 * MINUTE_MS
    predictions = [
        {
            "key": f"k{rng.randrange(count // 2)}",
            "id": f"p{i}",
            "time": START_MS + rng.randrange(end_ms),
            "version": rng.choice(["v1", "v2"]),
            "outputs": {"click": rng.random(), "sale": rng.random() * 100},
            "slices": {"country": rng.choice(["DE", "FR", None])},
            "features": {"amount": rng.choice([1, 2.5, -1, None, "x"]), "other": 3},
            "eligible": rng.random() < 0.9,
        }
        for i in range(count)
    ]
    predictions += [dict(p) for p in rng.sample(predictions, 3)]
    labels = []
    for p in predictions:
        for _ in range(rng.choice([0, 1, 1, 2])):
            kind = rng.choice(["click", "sale"])
            labels.append(
                {
                    "key": rng.choice([p["key"], p["key"], "nobody"]),
                    "kind": kind,
                    "time": p["time"] + rng.randrange(-30, 600) * MINUTE_MS,
                    "op": rng.choice(["upsert", "upsert", "upsert", "retract"]),
                    "value": rng.choice([0, 1]),
                    "definition": rng.choice([None, None, None, "other"]),
                }
            )
    labels = [
        {k: v for k, v in m.items() if v is not None and not (k == "value" and m["op"] == "retract")} for m in labels
    ]
    labels += [{"kind": kind, "op": "heartbeat", "time": START_MS + end_ms // 2} for kind in ("click", "sale")]
    predictions.sort(key=lambda row: row["time"])
    labels.sort(key=lambda row: row["time"])
    cut_ms = [START_MS + end_ms * (night + 1) // nights for night in range(nights - 1)] + [1 << 60]
    return Files(
        predictions,
        labels,
        _write_nights(folder, "predictions", predictions, cut_ms),
        _write_nights(folder, "labels", labels, cut_ms),
    )


def _write_nights(folder: Path, name: str, rows: list[dict], cut_ms: Sequence[int]) -> list[Path]:
    paths, first = [], 0
    for night, until_ms in enumerate(cut_ms):
        last = sum(row["time"] < until_ms for row in rows)
        path = folder / f"{name}-{night}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[first:last]), "utf-8")
        paths.append(path)
        first = last
    return paths


def run(
    lake: Location,
    predictions: Sequence[Path],
    labels: Sequence[Path],
    *,
    close_at_ms: int | None = None,
    config: LoopConfig = CONFIG,
) -> ReplaySummary:
    """Replay files into a lake."""
    files = [open_record_file(path, "predictions", config.ingest) for path in predictions]
    files += [open_record_file(path, "labels", config.ingest) for path in labels]
    places = places_of(lake, predictions[0].parent if predictions else None)
    return replay(places, config, files, now_ms=NOW_MS, close_at_ms=close_at_ms)


def places_of(lake: Location, folder: Path | None = None) -> Places:
    """Return a lake, and the folder for the state of the replays that fill it: beside it, or in `folder`."""
    if isinstance(lake, Path):
        return Places(lake, lake.parent / f"state of {lake.name}")
    assert folder is not None
    return Places(lake, folder / "state of a bucket")


def lose_state(lake: Path) -> None:
    """Remove the state of a lake's replays: the next one restores it."""
    shutil.rmtree(places_of(lake).state)


def table(lake: Path, name: str) -> pl.DataFrame:
    """Return a table's rows without the time of recording, in a fixed order."""
    rows = Lake.open(lake).scan(name).drop("recorded_on", "recorded_at").collect()
    return rows.sort(pl.all().exclude("flags") if "flags" in rows.columns else pl.all())


def finals(lake: Path) -> dict[tuple[str, str, str, str], Final]:
    """Return the newest revision of every chain: (status, value, known_at in ms)."""
    rows = (
        table(lake, "outcomes")
        .sort("revision")
        .unique(["key", "id", "kind", "definition"], keep="last", maintain_order=True)
    )
    rows = rows.with_columns(pl.col("known_at").dt.epoch("ms"))
    return {
        (row["key"], row["id"], row["kind"], row["definition"]): (
            row["status"],
            row["value"],
            row["known_at"],
        )
        for row in rows.iter_rows(named=True)
    }


def oracle_of(files: Files) -> dict[tuple[str, str, str, str], Final]:
    """Return the outcomes of a naive join of the same records."""
    predictions = [
        PredictionRecord(i, p["key"], p["id"], p["time"], 0, p["eligible"], None)
        for i, p in enumerate(files.predictions)
    ]
    labels = [
        LabelRecord(
            i,
            m.get("key", ""),
            m["kind"],
            m.get("definition", CONFIG.labels[m["kind"]].definition),
            Op(m["op"]),
            None if m["op"] != "upsert" else float(m["value"]),
            m["time"],
            m["time"],
        )
        for i, m in enumerate(files.labels)
    ]
    return final_outcomes(policy_from(CONFIG), predictions, labels)
