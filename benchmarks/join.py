"""The live join and its peers: `make bench`, or `python benchmarks/join.py --runs 3 --latency 20000`.

On one local broker, with the same records: a bare transactional pass-through, Truthloop's join, Kafka Streams (values
as bytes, and as JSON) and Quix Streams, each with one worker, exactly once. Two mixes: in the hot one a label comes
seconds after its prediction, in the cold one a whole topic later. Results are checked, pair by pair. Settings and
method: `benchmarks/join.md`. `--quick` ends in five minutes.

Prints a table in Markdown, or with `--json` everything that was measured. Exit code 1: an engine failed, or its
result was wrong.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import KafkaException
from join_cluster import Cluster
from join_engine import ENGINES, WARM_PREDICTIONS
from join_latency import Latency, measure_latency
from join_measure import Throughput, measure
from join_report import Findings, Round, machine, markdown, plain
from join_traffic import LABELLED, OF, PER_SECOND, Traffic
from worker_program import EngineError

from truthloop.broker.local_broker import LocalBroker

MIXES = ("hot", "cold")
WITH_LATENCY = ("truthloop", "streams")
BROKER_OPTIONS = ("-Xmx1g",)
WARM_RECORDS = 500_000
"""What passes through the broker before anything is measured: its Java, too, becomes warm."""

QUICK_EVENTS = 200_000

BEFORE_NOW_MS = 1_800_000
"""The last event times lie so far in the past; some labels come after the rest."""


class Bench:
    """A broker, engines that are ready, and what was measured so far."""

    def __init__(self, folder: Path, broker: LocalBroker, names: list[str], records: int) -> None:
        cluster = Cluster(broker.bootstrap_servers, folder / "kafka")
        warm = min(WARM_PREDICTIONS, _predictions_of(records))
        self.engines = [ENGINES[name](cluster, folder, warm) for name in names]
        self._records = records
        self.rounds: list[Round] = []
        self.latencies: list[Latency] = []
        self.failures: list[str] = []
        self._broker = broker
        self._cluster = cluster
        self._folder = folder
        self._loops = 0

    def warm(self) -> None:
        """Let the broker do some of everything."""
        self._cluster.wake()
        engine = ENGINES["passthrough"](self._cluster, self._folder)
        loads = _loads("hot", min(self._records, WARM_RECORDS))
        measure(engine, self._broker.pid, self._loop("warm"), "hot", loads)

    def throughput(self, mixes: list[str]) -> None:
        """Measure each engine once with each mix."""
        done: list[Throughput] = []
        self.rounds.append(done)
        for mix in mixes:
            for engine in self.engines:
                what = f"round {len(self.rounds)}, {mix}, {engine.title}"
                _say(f"{what} ...")
                try:
                    one = measure(engine, self._broker.pid, self._loop(engine.name), mix, _loads(mix, self._records))
                except (EngineError, KafkaException) as error:
                    self._fail(f"{what}: {error}")
                    continue
                done.append(one)
                _say(f"{what}: {one.per_s:,.0f} records a second")
                if one.fault:
                    self._fail(f"{what}: {one.fault}")

    def latency(self, per_second: int, seconds: int) -> None:
        """Measure the latency of the engines that have one to speak of."""
        for engine in self.engines:
            if engine.name not in WITH_LATENCY:
                continue
            what = f"latency at {per_second:,} a second, {engine.title}"
            _say(f"{what} ...")
            try:
                one = measure_latency(engine, self._broker.pid, self._loop(engine.name), per_second, seconds)
            except (EngineError, KafkaException) as error:
                self._fail(f"{what}: {error}")
                continue
            self.latencies.append(one)
            _say(f"{what}: p50 {one.ages['p50_ms']:.0f} ms, p99 {one.ages['p99_ms']:.0f} ms")
            if one.fault:
                self._fail(f"{what}: {one.fault}")

    def _loop(self, name: str) -> str:
        self._loops += 1
        return f"bench-{self._loops}-{name}"

    def _fail(self, what: str) -> None:
        self.failures.append(what)
        _say(f"FAILED: {what}")


def main() -> int:
    """Measure and print."""
    arguments = _arguments()
    assert Path("/proc/self/stat").exists(), "CPU time and memory of other processes are read as Linux shows them"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which stops the broker and removes its folder
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="truthloop-bench-", dir=arguments.folder) as name:
        folder = Path(name)
        with LocalBroker(folder / "kafka", java_options=BROKER_OPTIONS) as broker:
            bench = Bench(folder, broker, arguments.only, arguments.events)
            for engine in bench.engines:
                _say(f"preparing {engine.title} ...")
                engine.prepare()
            bench.warm()
            for _ in range(arguments.runs):
                if arguments.mix:
                    bench.throughput(arguments.mix)
                if arguments.latency:
                    bench.latency(arguments.latency, arguments.latency_seconds)
        found = Findings(bench.rounds, bench.latencies, bench.failures, bench.engines, facts)
        print(json.dumps(plain(found), indent=1) if arguments.json else markdown(found))
    return int(bool(bench.failures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_800_000, help="predictions and labels of a measurement")
    parser.add_argument("--only", type=_names(ENGINES), default=list(ENGINES), help=", ".join(ENGINES))
    parser.add_argument("--mix", type=_names(MIXES), default=list(MIXES), help="hot, cold, or `` for latency alone")
    parser.add_argument("--runs", type=int, default=1, help="rounds; the engines take turns, the median counts")
    parser.add_argument(
        "--latency", type=int, default=0, metavar="RATE", help="also measure it, at RATE events a second"
    )
    parser.add_argument("--latency-seconds", type=int, default=30, help="how long")
    parser.add_argument("--quick", action="store_true", help="five minutes: fewer events, without Quix Streams")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--folder", type=Path, help="where to keep topics and states; default: a temporary folder")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.events, arguments.only = QUICK_EVENTS, [name for name in arguments.only if name != "quix"]
    return arguments


def _names(known: object) -> object:
    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return names

    return read


def _loads(mix: str, records: int) -> list[Traffic]:
    """Return a mix's loads, the last of which holds so many records and ends a while ago."""
    count = _predictions_of(records)
    first_ms = int(time.time() * 1000) - BEFORE_NOW_MS - 2 * count * 1000 // PER_SECOND
    return (Traffic.hot if mix == "hot" else Traffic.cold)(count, first_ms)


def _predictions_of(records: int) -> int:
    return records * OF // (OF + LABELLED)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
