"""What many small files cost, and what it costs to make few of them: `python benchmarks/maintenance.py --files 30000`.

One table of outcomes with so many files of one day that has ended, as a writer leaves them that commits every few
seconds and is never maintained. The files are copies of one append, named in the log as appends are, so that the
lake is made in seconds. All of the work runs in this process; CPU time counts, because it depends less on other load.

Prints one line of JSON: CPU milliseconds of an append and of a look (open the table, count its rows by status) before
and after, the greatest of ten appends beside their median; CPU seconds of the rewrite, rows a second, greatest memory.
"""

import argparse
import json
import resource
import shutil
import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from lake import Claim, Lake
from lake.disk import log_file
from lake.maintenance.maintainer import Maintainer
from schemas.config.loop import LoopConfig

CONFIG = LoopConfig.model_validate(
    {
        "version": 1,
        "loop": "maintenance",
        "predictions": {"outputs": {"fraud": {"task": "binary"}}, "slices": ["country"]},
        "labels": {"fraud": {"definition": "d", "horizon": "30d", "retain": "60d"}},
    }
)
RECORDED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_MS = round(datetime(2026, 3, 3, tzinfo=UTC).timestamp() * 1000)
TABLE = "outcomes"
PER_ENTRY = 500
REPEATS = 10


def main() -> None:
    """Fill, measure, maintain, measure again, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=30_000, help="of the table's one day")
    parser.add_argument("--rows", type=int, default=50, help="in each file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.create(Path(folder) / "lake", CONFIG)
        rows = outcomes(lake, options.rows)
        lake.append(TABLE, rows, [Claim("first", 0, 1)], recorded_at=RECORDED_AT)
        copy_files(lake.path / TABLE, options.files - 1)
        before = measure(lake.path, rows, 0)
        began_s, wall_s = time.process_time(), time.monotonic()
        done = list(Maintainer(lake.path, CONFIG.lake.keep_readable).steps(lambda: NOW_MS))
        cpu_s, wall_s = time.process_time() - began_s, time.monotonic() - wall_s
        rewritten = sum(step.group.rows for step in done)
        after = measure(lake.path, rows, REPEATS)
    result = {
        "files": options.files,
        "rows": options.files * options.rows,
        "before": before,
        "after": after,
        "rewrites": len(done),
        "cpu_s": round(cpu_s, 1),
        "cpu_s_per_10000_files": round(cpu_s * 10_000 / options.files, 1),
        "rows_rewritten_per_cpu_s": round(rewritten / cpu_s),
        "wall_s": round(wall_s, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(result))


def outcomes(lake: Lake, count: int) -> pl.DataFrame:
    """Return rows of the table with distinct keys."""
    number = pl.int_range(count, dtype=pl.Int64)
    at = pl.lit(RECORDED_AT).cast(pl.Datetime("us", "UTC"))
    values = {
        **dict.fromkeys(("kind", "definition", "status", "reason", "previous_status", "version"), pl.lit("fraud")),
        **dict.fromkeys(("key", "id", "slice_country"), pl.format("tx-{}", number * 7_919 % 1_000_003)),
        **dict.fromkeys(("predicted_at", "known_at"), at - pl.duration(hours=number % 720)),
        **dict.fromkeys(("revision", "prediction_offset", "sequence"), number),
        **dict.fromkeys(("weight", "value"), number / 7),
        "partition": number % 8,
        "eligible": pl.lit(value=True),
    }
    schema = {name: dtype for name, dtype in lake.schema(TABLE).items() if name in values}
    return pl.select(number.alias("n")).select(values[name].cast(dtype).alias(name) for name, dtype in schema.items())


def copy_files(folder: Path, count: int) -> None:
    """Copy the table's one file, and name the copies in log entries of the same form."""
    lines = [json.loads(line) for line in log_file(folder, 1).read_text().splitlines()]
    (add,) = (line["add"] for line in lines if "add" in line)
    (info,) = (line for line in lines if "commitInfo" in line)
    for version, first in enumerate(range(0, count, PER_ENTRY), start=2):
        entries = [info]
        for _ in range(min(PER_ENTRY, count - first)):
            path = f"{Path(add['path']).parent}/part-00000-{uuid.uuid4()}-c000.zstd.parquet"
            shutil.copyfile(folder / add["path"], folder / path)
            entries.append({"add": add | {"path": path}})
        log_file(folder, version).write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def measure(path: Path, rows: pl.DataFrame, first: int) -> dict[str, float]:
    """Return CPU milliseconds of an append and of a look, by a process that has just opened the lake."""
    lake = Lake.open(path)
    appends = []
    for at in range(first, first + REPEATS):
        began_s = time.process_time()
        lake.append(TABLE, rows, [Claim("measured", at, at + 1)], recorded_at=RECORDED_AT)
        appends.append((time.process_time() - began_s) * 1000)
    began_s = time.process_time()
    Lake.open(path).scan(TABLE).group_by("status").len().collect()
    look_ms = (time.process_time() - began_s) * 1000
    return {
        "append_ms": round(statistics.median(appends), 1),
        "append_greatest_ms": round(max(appends), 1),
        "look_ms": round(look_ms, 1),
    }


if __name__ == "__main__":
    main()
