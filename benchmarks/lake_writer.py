"""How fast the lake writer takes in what the join has committed: `python benchmarks/lake_writer.py --records 1000000`.

A real broker, the records of `replay.py` joined by the pure join and written to the loop's topics as the join does,
in transactions. Then one lake writer, a process of its own, reads five topics with 8 partitions into an empty lake.
All records of the topics are counted: predictions, labels, outcomes, rejects, ledger entries.

Prints one line of JSON: records a second by the wall clock, CPU seconds a million, the greatest memory; in addition
the same for a consumer that reads the same topics and throws everything away, in the same run.

With `--rate 20000` predictions and labels come at this rate while the writer runs, and what counts is how long after
the join's step its rows are in the lake.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from replay import CONFIG, generate

from joins import Batch, MemoryStore, Partition, policy_from
from lake import Lake
from schemas.config.connection import KafkaConfig
from schemas.config.loop import LakeConfig, LoopConfig
from streams.join_worker.task import StepResult, join_rejects
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics, create_topics
from streams.lake_sink.cut import TABLES
from streams.lake_sink.role import LakeRole
from streams.ledger.entry import LedgerRecord
from streams.ledger.rules import rules_text
from streams.mapping.mapper import Mapper
from streams.mapping.record_file import open_record_file
from streams.messages.canonical import CanonicalReader
from streams.messages.outcome import OutcomeWire
from streams.messages.records import Projection, partition_of
from streams.messages.wire import encode_records
from streams.runtime.health import Health
from streams.runtime.worker import Worker
from truthloop.broker.local_broker import LocalBroker

STEP_RECORDS = 20_000
NOW_MS = 1_900_000_000_000
INPUTS = ("predictions", "labels")


def main() -> None:
    """Fill, read, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000, help="predictions and labels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=0, help="predictions and labels a second, while the writer runs")
    parser.add_argument("--profile", action="store_true", help="say where the writer's time goes")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, is_profiled=arguments.profile)
        return
    with tempfile.TemporaryDirectory(prefix="truthloop-bench-") as name, broker(Path(name)) as servers:
        folder = Path(name)
        more = {"kafka": KafkaConfig(bootstrap_servers=servers), "lake": LakeConfig(freshness=3_000)}
        config = CONFIG.model_copy(update=more)
        (folder / "config.json").write_text(config.model_dump_json(by_alias=True, exclude_unset=True), "utf-8")
        filler = Filler(config, folder, arguments.records, arguments.seed)
        if arguments.rate:
            print(json.dumps(live(filler, folder, arguments.rate)))
            return
        filler.fill()
        consumed = start(folder, "consume", filler.written)
        os.environ["ROWS_WANTED"] = str(filler.written - filler.counts["ledger"])
        written = start(folder, "write", filler.written, "--profile" if arguments.profile else "")
        lake = Lake.open(folder / "lake")
        rows = {table: lake.scan(table).select(pl.len()).collect().item() for table in TABLES}
        assert rows["outcomes"] == filler.counts["outcomes"], rows
        assert rows["rejects"] == filler.counts["rejects"], rows
        assert rows["predictions"] + rows["labels"] == filler.counts["predictions"] + filler.counts["labels"], rows
        size = sum(file.stat().st_size for file in (folder / "lake").rglob("*") if file.is_file())
        print(json.dumps({"topics": filler.counts, **written, "lake_mb": round(size / 1e6), "consume_only": consumed}))


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Give the broker that is named in the environment, or start one."""
    if given := os.environ.get("TRUTHLOOP_TEST_BOOTSTRAP_SERVERS"):
        yield given
        return
    with LocalBroker(folder / "broker", java_options=["-Xmx1g"]) as local:
        yield local.bootstrap_servers


class Filler:
    """Generated records, the pure join, and transactions that write what it says.

    Attributes:
        counts: records written, by topic.
    """

    def __init__(self, config: LoopConfig, folder: Path, records: int, seed: int) -> None:
        assert config.kafka is not None
        self.config = config
        self.topics = Topics.of(config)
        self.clients = KafkaClients(config.kafka, os.environ, "bench")
        create_topics(self.clients, self.topics)
        self.counts = dict.fromkeys(TABLES, 0)
        self._producer = self.clients.transactional_producer(f"{config.loop}-filler")
        self._producer.init_transactions(60)
        policy = policy_from(config)
        self._policy = rules_text(config)
        self._wire = OutcomeWire(Projection.of(config))
        self._reader = CanonicalReader(config)
        self._partitions = [Partition(policy, MemoryStore(list(policy.kinds))) for _ in range(config.partitions)]
        self._ends = {name: [0] * config.partitions for name in INPUTS}
        generate(folder, records, seed)
        self._frames = {name: self._canonical(folder, name) for name in INPUTS}

    @property
    def written(self) -> int:
        """How many records were written in all."""
        return sum(self.counts.values())

    def fill(self) -> None:
        """Write everything."""
        for at in range(self.steps):
            self.step(at, NOW_MS)

    @property
    def steps(self) -> int:
        """How many transactions there are."""
        return -(-sum(frame.height for frame in self._frames.values()) // STEP_RECORDS)

    def step(self, at: int, now_ms: int) -> None:
        """Write one transaction: its share of the inputs, and what the join makes of it in each partition."""
        self._producer.begin_transaction()
        read = {name: self._inputs(name, at) for name in INPUTS}
        for number, partition in enumerate(self._partitions):
            self._join(at, number, partition, {name: read[name][number] for name in INPUTS}, now_ms)
        self._producer.flush()
        self._producer.commit_transaction()
        for name in INPUTS:  # the mark of the transaction takes an offset
            for number, values in enumerate(read[name]):
                self._ends[name][number] += bool(values[1])

    def _canonical(self, folder: Path, name: str) -> pl.DataFrame:
        file = open_record_file(folder / f"{name}.parquet", name, [])
        frame = pl.concat([chunk.records for chunk in Mapper(file, self.config).chunks()])
        arrived = pl.col("time_ms").alias("arrived_at_ms")
        return frame.with_columns(arrived, partition_of(frame["key"], self.config.partitions)).sort("time_ms")

    def _inputs(self, name: str, at: int) -> list[tuple[list[int], list[bytes]]]:
        """Send a step's share of an input; return offsets and values by partition."""
        frame = self._frames[name]
        share = frame[frame.height * at // self.steps : frame.height * (at + 1) // self.steps]
        found = []
        for number in range(self.config.partitions):
            values = encode_records(name, share.filter(pl.col("partition") == number).drop("partition"))
            first = self._ends[name][number]
            found.append((list(range(first, first + len(values))), values))
            self._ends[name][number] += len(values)
            self._send(name, number, values)
        return found

    def _join(
        self, at: int, number: int, partition: Partition, read: dict[str, tuple[list[int], list[bytes]]], now_ms: int
    ) -> None:
        checkpoint = partition.checkpoint
        first = {"predictions": checkpoint.predictions_next, "labels": checkpoint.labels_next}
        following = {name: self._ends[name][number] for name in INPUTS}
        predictions = self._reader.prediction_records(*read["predictions"], [0] * len(read["predictions"][0]))
        labels = self._reader.label_records(*read["labels"], [0] * len(read["labels"][0]))
        effects = partition.step(Batch(predictions.records, labels.records, *following.values(), NOW_MS))
        ranges = [(first[name], following[name]) for name in INPUTS]
        counts = (len(effects.outcomes), len(effects.rejects))
        record = LedgerRecord(at, number, now_ms, ranges[0], ranges[1], (0, 0), self._policy, *counts, checkpoint)
        self._send("outcomes", number, self._wire.encode(number, at, effects.outcomes))
        self._send(
            "rejects", number, list(join_rejects(StepResult(effects, ([], []), record, set()), self.topics, now_ms))
        )
        self._send("ledger", number, [record.encode()])

    def _send(self, table: str, number: int, values: list[bytes]) -> None:
        waiting = [{"value": value} for value in values]
        while waiting:
            # a partition that stands in the messages is ignored
            self._producer.produce_batch(f"{self.config.loop}.{table}", waiting, number)
            waiting = [message for message in waiting if message.pop("_error", None) is not None]
            self._producer.poll(0.05 if waiting else 0)
        self.counts[table] += len(values)


def live(filler: Filler, folder: Path, rate: int) -> dict[str, float]:
    """Write at a rate while the writer runs; return how far behind the lake is."""
    process = spawn(folder, "write", 1 << 60)
    assert process.stdout is not None
    process.stdout.readline()  # it has partitions
    began = time.monotonic()
    clock = threading.Event()
    for at in range(filler.steps):
        clock.wait(max(0.0, began + at * STEP_RECORDS / rate - time.monotonic()))
        filler.step(at, int(time.time() * 1000))
    lake = Lake.open(folder / "lake")
    while lake.scan("ledger").select(pl.col("sequence").max()).collect().item() != filler.steps - 1:
        clock.wait(0.2)
    process.terminate()
    result = json.loads(process.communicate()[0])
    lag = lake.scan("ledger").select((pl.col("recorded_at") - pl.col("now")).dt.total_milliseconds()).collect()
    seconds = lag.to_series() / 1000
    spread = {f"p{share}": round(float(seconds.quantile(share / 100) or 0), 2) for share in (50, 99)}
    cpu = {"cpu_share": round(result["cpu_s"] / (time.monotonic() - began), 2)}
    return {"rate": rate, "behind_s": {**spread, "max": round(float(seconds.max()), 2)}, **cpu}  # type: ignore[dict-item, arg-type]


def start(folder: Path, what: str, records: int, *options: str) -> dict[str, float]:
    """Run a child to its end and return what it says."""
    process = spawn(folder, what, records, *options)
    text, _ = process.communicate()
    assert process.returncode == 0
    return dict(json.loads(text.splitlines()[-1]))


def spawn(folder: Path, what: str, records: int, *options: str) -> "subprocess.Popen[str]":
    """Start a child."""
    command = [sys.executable, __file__, *filter(None, options), "--child", what, str(folder), str(records)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very program


def child(what: str, where: str, count: str, *, is_profiled: bool) -> None:
    """Read the topics until this many records are in."""
    folder, records = Path(where), int(count)
    config = LoopConfig.model_validate_json((folder / "config.json").read_bytes())
    assert config.kafka is not None
    clients = KafkaClients(config.kafka, os.environ, "bench")
    run = write if what == "write" else consume
    if is_profiled:
        import cProfile  # noqa: PLC0415 - only here
        import pstats  # noqa: PLC0415 - the same

        profile = cProfile.Profile()
        result = profile.runcall(run, clients, config, folder, records)
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(35)
    else:
        result = run(clients, config, folder, records)
    result["peak_rss_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    print(json.dumps(result))


def write(clients: KafkaClients, config: LoopConfig, folder: Path, records: int) -> dict[str, float]:
    """Run the lake writer until all rows are there; the ledger's are fewer than its entries."""
    rows_wanted = int(os.environ.get("ROWS_WANTED", str(1 << 60)))
    health = Health("lake")
    began: list[tuple[float, float]] = []

    def note(step: str) -> None:
        if step == "assigned" and not began:
            began.append((time.perf_counter(), time.process_time()))
            print("assigned", flush=True)

    def is_done() -> bool:
        sample = health.registry.get_sample_value
        assert "stopped" not in health.unready(), health.unready()
        rows = [sample("truthloop_records_total", {"role": "lake", "input": table}) or 0 for table in TABLES[:-1]]
        return sum(rows) >= rows_wanted

    worker = Worker("0", folder / "state", folder / "lake", health, lambda: int(time.time() * 1000), note)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    LakeRole(clients, config, worker).run(lambda: stop.is_set() or is_done())
    wall, cpu = time.perf_counter() - began[0][0], time.process_time() - began[0][1]
    return figures(records, wall, cpu)


def consume(clients: KafkaClients, config: LoopConfig, _folder: Path, records: int) -> dict[str, float]:
    """Read the same topics and throw everything away."""
    consumer = clients.member(f"{config.loop}-bench")
    consumer.subscribe([f"{config.loop}.{table}" for table in TABLES], on_assign=_from_the_start)
    while not consumer.assignment():
        consumer.consume(1, timeout=0.1)
    wall, cpu, seen = time.perf_counter(), time.process_time(), 0
    while seen < records:
        seen += sum(message.error() is None for message in consumer.consume(20_000, timeout=0.1))
    result = figures(records, time.perf_counter() - wall, time.process_time() - cpu)
    consumer.close()
    return result


def _from_the_start(consumer, places) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the library's
    for place in places:
        place.offset = 0
    consumer.assign(places)


def figures(records: int, wall: float, cpu: float) -> dict[str, float]:
    """Return the figures of a run."""
    return {
        "records": records,
        "records_per_s": round(records / wall),
        "cpu_s": round(cpu, 2),
        "cpu_s_per_million": round(cpu / records * 1e6, 2),
    }


if __name__ == "__main__":
    main()
