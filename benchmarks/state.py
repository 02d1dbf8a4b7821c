"""What the join's durable store costs: `python benchmarks/state.py`, or with `--entries 10000000`.

Eight partitions in one process, as one worker has them, and the join itself on top. Predictions fill the store up to
the wanted number of live entries; then come

- hot: predictions, and the labels of those of the step before (seconds ago);
- cold: predictions, and labels of random old ones;
- sweep: a tenth of the entries pass their deadline, nothing else.

Then that process is gone as if killed, and another opens all partitions. Costs are microseconds of CPU time of the
calling thread a record (an entry passed in the sweep), by what was called: the step, which reads the store, and the
flush after every fourth; RocksDB's own threads come on top. The last column is the step on a store in memory, in the
same run, with at most 200,000 entries.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from joins import Batch, KindPolicy, LabelRecord, MemoryStore, Op, Partition, Policy, PredictionRecord
from streams.state_store.store import RocksStore

PARTITIONS = 8
STEP = 1_250
"""Predictions of one partition in a step: 10,000 in all."""

STEPS_PER_FLUSH = 4
ROUNDS = 24
BASELINE_ENTRIES = 200_000
START_MS = 1_760_000_000_000
PER_MS = 20
"""Predictions in a millisecond of event time, all partitions together."""

HORIZON_MS = 3_600_000_000
POLICY = Policy({"click": KindPolicy("click-1", HORIZON_MS, 2 * HORIZON_MS)}, expiry_limit=10_000)


class Lane:
    """One partition, the records it is given, and what each call has cost."""

    def __init__(self, number: int, store: RocksStore | MemoryStore) -> None:
        self.number = number
        self.store = store
        self.partition = Partition(POLICY, store)
        self.made = 0
        self.random = np.random.default_rng(number)
        self.spent_s = {"step": 0.0, "flush": 0.0}
        self.records = 0

    def key(self, n: int) -> str:
        """Return the key of the n-th prediction: 16 digits without order, as ids are."""
        return f"{(n * PARTITIONS + self.number) * 0x9E3779B97F4A7C15 % (1 << 64):016x}"

    def predictions(self) -> list[PredictionRecord]:
        """Make the next predictions."""
        first, made = self.partition.checkpoint.predictions_next, self.made
        outputs, digests = self.random.random(STEP).tolist(), self.random.integers(0, 1 << 62, STEP).tolist()
        keys = [self.key(made + i) for i in range(STEP)]
        self.made += STEP
        return [
            PredictionRecord(
                first + i,
                key,
                key,
                START_MS + (made + i) * PARTITIONS // PER_MS,
                digests[i],
                eligible=True,
                projection=["v1", 1.0, outputs[i], "DE", "ios"],
            )
            for i, key in enumerate(keys)
        ]

    def labels(self, mix: str) -> list[LabelRecord]:
        """Make labels: of the predictions of the step before, or of random old ones."""
        if mix not in {"hot", "cold"}:
            return []
        first, known_ms = self.partition.checkpoint.labels_next, START_MS + self.made * PARTITIONS // PER_MS
        before = range(self.made - 2 * STEP, self.made - STEP)
        of = before if mix == "hot" else self.random.integers(0, self.made // 2, STEP).tolist()
        return [
            LabelRecord(first + i, self.key(n), "click", "click-1", Op.UPSERT, float(n % 2), known_ms, known_ms)
            for i, n in enumerate(of)
        ]

    def step(
        self, predictions: list[PredictionRecord], labels: list[LabelRecord], close_at_ms: int | None = None
    ) -> None:
        """Take a step."""
        checkpoint = self.partition.checkpoint
        ends = (checkpoint.predictions_next + len(predictions), checkpoint.labels_next + len(labels))
        batch = Batch(predictions, labels, *ends, now_ms=START_MS + HORIZON_MS, close_at_ms=close_at_ms)
        started = time.thread_time()
        self.partition.step(batch)
        self.spent_s["step"] += time.thread_time() - started
        self.records += len(predictions) + len(labels)

    def flush(self) -> None:
        """Flush, where the store can."""
        if isinstance(self.store, RocksStore):
            started = time.thread_time()
            self.store.flush(msgspec.msgpack.encode(self.partition.checkpoint))
            self.spent_s["flush"] += time.thread_time() - started


def measured(lanes: list[Lane], mix: str, rounds: int) -> dict[str, float]:
    """Run one mix; return what a record cost, by call."""
    for lane in lanes:
        lane.records, lane.spent_s = 0, dict.fromkeys(lane.spent_s, 0.0)
    for number in range(1, rounds + 1):
        for lane in lanes:
            labels = lane.labels(mix)  # of what is made before these predictions
            lane.step(lane.predictions(), labels)
            if number % STEPS_PER_FLUSH == 0:
                lane.flush()
    return costs(lanes)


def swept(lanes: list[Lane], entries: int) -> dict[str, float]:
    """Let a tenth of the entries pass their deadline; return what each cost."""
    close_at_ms = START_MS + entries // 10 // PER_MS + HORIZON_MS
    for lane in lanes:
        lane.records, lane.spent_s = entries // 10 // PARTITIONS, dict.fromkeys(lane.spent_s, 0.0)
        is_caught_up = False
        while not is_caught_up:
            lane.step([], [], close_at_ms)
            lane.flush()
            is_caught_up = lane.partition.is_caught_up
    return costs(lanes)


def costs(lanes: list[Lane]) -> dict[str, float]:
    """Return microseconds a record, by call."""
    records = sum(lane.records for lane in lanes)
    return {call: sum(lane.spent_s[call] for lane in lanes) / records * 1e6 for call in lanes[0].spent_s}


def rss_mb() -> float:
    """Return this process's resident memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def disk_mb(folder: Path) -> float:
    """Return what the folder takes on disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) / 1e6


def work(folder: Path, entries: int) -> dict[str, Any]:
    """Fill and use the stores; return all figures."""
    rounds = max(1, entries // (PARTITIONS * STEP))
    figures: dict[str, Any] = {"rss_idle_mb": rss_mb()}
    lanes = [Lane(number, RocksStore(folder / str(number), list(POLICY.kinds))) for number in range(PARTITIONS)]
    started = time.perf_counter()
    figures["fill"] = measured(lanes, "fill", rounds)
    figures["fill_s"] = time.perf_counter() - started
    figures["rss_full_mb"], figures["disk_mb"] = rss_mb(), disk_mb(folder)
    figures["live"] = sum(len(lane.store) for lane in lanes)
    for mix in ("hot", "cold"):
        figures[mix] = measured(lanes, mix, ROUNDS)
    figures["sweep"] = swept(lanes, entries)
    figures["rss_after_mb"] = rss_mb()
    figures["rss_peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    figures["own_threads_s"] = time.process_time() - time.thread_time()
    figures["disk_after_mb"], figures["live_after"] = disk_mb(folder), sum(len(lane.store) for lane in lanes)
    return figures


def baseline(entries: int) -> dict[str, Any]:
    """Run the same on stores in memory."""
    before = rss_mb()
    lanes = [Lane(number, MemoryStore(list(POLICY.kinds))) for number in range(PARTITIONS)]
    figures: dict[str, Any] = {"fill": measured(lanes, "fill", max(1, entries // (PARTITIONS * STEP)))}
    figures["bytes_per_entry"] = (rss_mb() - before) * 1e6 / sum(len(lane.store) for lane in lanes)
    for mix in ("hot", "cold"):
        figures[mix] = measured(lanes, mix, ROUNDS)
    figures["sweep"] = swept(lanes, entries)
    return figures


def restart(folder: Path) -> dict[str, Any]:
    """Open all partitions and look something up in each."""
    started = time.perf_counter()
    stores = [RocksStore(folder / str(number), list(POLICY.kinds)) for number in range(PARTITIONS)]
    opened = time.perf_counter()
    for number, store in enumerate(stores):
        assert store.checkpoint() is not None
        assert store.get(Lane(number, store).key(0)) is not None
        assert store.by_prediction.between(None, START_MS + HORIZON_MS, 1)
    done = time.perf_counter()
    return {"open_s": opened - started, "first_get_ms": (done - opened) * 1e3 / PARTITIONS, "rss_mb": rss_mb()}


def in_process(*arguments: str) -> dict[str, Any]:
    """Run one of the above in a process of its own, which ends as if killed."""
    run = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, check=True)  # noqa: S603
    figures: dict[str, Any] = json.loads(run.stdout)
    return figures


def table(done: dict[str, Any], again: dict[str, Any], memory: dict[str, Any]) -> None:
    """Print the figures."""
    print("| us a record | step | flush | all | step in memory |\n|---|---|---|---|---|")
    for mix in ("fill", "hot", "cold", "sweep"):
        cells = [f"{done[mix][call]:.2f}" for call in ("step", "flush")]
        print(f"| {mix} | {' | '.join(cells)} | {sum(done[mix].values()):.2f} | {memory[mix]['step']:.2f} |")
    live, live_after = done["live"], done["live_after"]
    print("\n| what | figure |\n|---|---|")
    print(f"| live entries after the fill, and at the end | {live:,}, {live_after:,} |")
    print(f"| filled in, wall time | {done['fill_s']:.1f} s |")
    print(f"| CPU time of RocksDB's own threads, in all | {done['own_threads_s']:.1f} s |")
    print(f"| bytes per live entry on disk, after the fill | {done['disk_mb'] * 1e6 / live:.0f} |")
    print(f"| the same at the end | {done['disk_after_mb'] * 1e6 / live_after:.0f} |")
    print(f"| bytes per entry of a store in memory | {memory['bytes_per_entry']:.0f} |")
    rss = (done["rss_idle_mb"], done["rss_full_mb"], done["rss_after_mb"], done["rss_peak_mb"])
    print(f"| RSS idle, full, at the end, peak | {', '.join(f'{mb:.0f}' for mb in rss)} MB |")
    print(f"| restart: open all, then first look-ups | {again['open_s']:.2f} s, {again['first_get_ms']:.1f} ms each |")
    print(f"| RSS after the restart | {again['rss_mb']:.0f} MB |")


def main() -> None:
    """Run everything, or one part in a process that was started for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--part", choices=["work", "restart", "baseline"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where to put the databases; default: a temporary folder")
    given = parser.parse_args()
    if given.part is not None:
        figures = {
            "work": lambda: work(given.folder, given.entries),
            "restart": lambda: restart(given.folder),
            "baseline": lambda: baseline(min(given.entries, BASELINE_ENTRIES)),
        }[given.part]()
        print(json.dumps(figures), flush=True)
        os._exit(0)  # as if killed: nothing is closed
    with tempfile.TemporaryDirectory(prefix="truthloop-bench-", dir=given.folder) as name:
        size = ("--entries", str(given.entries), "--folder", name)
        memory = in_process("--part", "baseline", *size)
        done = in_process("--part", "work", *size)
        table(done, in_process("--part", "restart", *size), memory)


if __name__ == "__main__":
    main()
