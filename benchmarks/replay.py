"""How fast files become outcomes: `python benchmarks/replay.py --records 10000000`.

Generated predictions and labels in the canonical form, as Parquet: 50 predictions a second, delays lognormal with
a median of one hour, 2 % of labels twice, 3 % corrected, 22 % never. With a horizon of 6 and a retain of 12 hours,
a run of 10 million records (30 hours) goes through everything: waiting, deadlines, corrections, leaving.

Prints one line of JSON: records a second by the wall clock, CPU seconds a million records, the greatest memory, and the
wall time as a multiple of reading and mapping the same files alone, which can be compared between machines.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from schemas.config.loop import LoopConfig
from streams.mapping.mapper import Mapper
from streams.mapping.record_file import open_record_file
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.run.replay_files import replay_files

HOUR_MS = 3_600_000
START_MS = 1_760_000_000_000
PREDICTION_SHARE = 0.55
PREDICTIONS_PER_SECOND = 50


def main() -> None:
    """Generate, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="truthloop-bench-") as name:
        folder = Path(name)
        counts = generate(folder, arguments.records, arguments.seed)
        settings = Settings(CONFIG, folder / "truthloop.yaml", folder / "lake", folder / "state", folder / "datasets")
        read_s = read_only(folder)
        wall, cpu = time.perf_counter(), time.process_time()
        summary = replay_files(
            settings,
            [folder / "predictions.parquet"],
            [folder / "labels.parquet"],
            now_ms=now_ms(),
            close_at_ms=None,
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        lake_mb = sum(file.stat().st_size for file in (folder / "lake").rglob("*") if file.is_file()) / 1e6
    records = sum(counts)
    assert summary.counters.violations() == []
    result = {
        "records": records,
        "records_per_s": round(records / wall),
        "cpu_s_per_million": round(cpu / records * 1e6, 2),
        "wall_over_read_and_map_only": round(wall / read_s, 2),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "lake_mb": round(lake_mb),
    }
    print(json.dumps(result))


def generate(folder: Path, records: int, seed: int) -> tuple[int, int]:
    """Write both files; return how many predictions and labels."""
    rng = np.random.default_rng(seed)
    n = round(records * PREDICTION_SHARE)
    times = START_MS + np.arange(n) * 1_000 // PREDICTIONS_PER_SECOND
    keys = pl.Series(np.arange(n) * 2_654_435_761 % 2**40).cast(pl.String).str.zfill(13)
    scores = rng.beta(2, 5, n)
    predictions = pl.DataFrame({"key": keys, "time": times}).with_columns(
        pl.lit("v1").alias("version"),
        pl.struct(click=pl.Series(scores)).alias("outputs"),
        pl.struct(
            country=pl.Series(rng.choice(["DE", "FR", "US", "BR", "IN"], n)),
        ).alias("slices"),
        pl.struct(
            amount=pl.Series(rng.lognormal(3, 1, n).round(2)),
            age=pl.Series(rng.integers(18, 90, n)),
            device=pl.Series(rng.choice(["ios", "android", "web"], n)),
        ).alias("features"),
    )
    labelled = np.flatnonzero(rng.random(n) < 0.78)
    delays = rng.lognormal(np.log(HOUR_MS), 1.0, labelled.size).astype(np.int64)
    values = (rng.random(labelled.size) < scores[labelled]).astype(np.int64)
    labels = pl.DataFrame({"key": keys.gather(labelled), "value": values, "time": times[labelled] + delays})
    chance = pl.Series(rng.random(labelled.size))
    again = labels.filter(chance < 0.02)
    corrected = labels.filter(chance > 0.97).with_columns(value=1 - pl.col("value"), time=pl.col("time") + HOUR_MS)
    labels = pl.concat([labels, again, corrected]).sort("time")
    predictions.write_parquet(folder / "predictions.parquet")
    labels.write_parquet(folder / "labels.parquet")
    return n, labels.height


def read_only(folder: Path) -> float:
    """Return the seconds that reading and mapping both files takes alone."""
    started = time.perf_counter()
    for role in ("predictions", "labels"):
        file = open_record_file(folder / f"{role}.parquet", role, [])
        for chunk in Mapper(file, CONFIG).chunks():
            assert chunk.rejects.is_empty()
    return time.perf_counter() - started


CONFIG = LoopConfig.model_validate(
    {
        "version": 1,
        "loop": "bench",
        "clock": "event",
        "predictions": {
            "outputs": {"click": {"task": "binary"}},
            "slices": ["country"],
            "features": {
                "amount": {"type": "float", "min": 0},
                "age": {"type": "int"},
                "device": {"type": "string", "categories": ["ios", "android", "web"]},
            },
        },
        "labels": {"click": {"definition": "click-1", "horizon": "6h", "retain": "12h"}},
    }
)

if __name__ == "__main__":
    main()
