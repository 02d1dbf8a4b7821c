"""The whole loop: `PYTHONPATH=. .venv/bin/python benchmarks/loop.py --records 900000`; nothing else may run.

One broker and `truthloop run all`, one worker a role, on the cores of this machine. A company's topics, in the
company's own JSON, hold three days of predictions of one model and their labels, as a transaction that becomes visible
at a stroke once the roles wait for it. The clock stops when every record is joined and in the lake, and again when the
last whole day is judged. CPU seconds are those of each role, and of the broker, in that time.

Prints a table in Markdown. Exit code 1: counts are not what went in.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import chain
from pathlib import Path

import numpy as np
from confluent_kafka.admin import AdminClient, NewTopic
from join_cluster import open_transaction
from join_report import machine
from process_usage import cpu_s, rss_mb, tree
from worker_program import EngineError, WorkerProgram

from joins.accounting import Counters
from lake import Lake
from monitor.evaluation import end_of_day_ms
from retrain.decision_log import DecisionLog
from schemas.errors import TruthloopError
from streams.ingest.role import commit_start
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics, create_topics
from streams.status import read_loop_status
from truthloop.broker.local_broker import LocalBroker
from truthloop.config.settings import Settings, load_settings
from truthloop.run.roles import kafka_clients

ROLES = ("ingest", "join", "lake", "feedback")
PORTS = range(8_080, 8_084)
SCORES, TRUTHS = "company.scores", "company.truths"
PARTITIONS = 4
DAYS = 3
DAY_MS = 86_400_000
LABELLED = 0.8
"""Share of the predictions that get a label, an hour later on average."""

COUNTRIES = ("DE", "FR", "US", "BR", "IN")
CHUNK = 25_000
READY_S = 60
STANDSTILL_S = 120
LOOK_EVERY_S = 0.5
SETTLE_S = 5.0

CONFIG = f"""\
version: 1
loop: bench
clock: event
kafka: {{bootstrap_servers: "{{servers}}"}}
lake: {{uri: ./lake}}
state: {{dir: ./state}}
partitions: {PARTITIONS}
predictions:
  outputs: {{click: {{task: binary}}}}
  slices: [country]
  features: {{amount: {{type: float, min: 0}}, hour: {{type: int, min: 0, max: 23}}}}
labels:
  click: {{definition: click-1, horizon: 12h, retain: 1d}}
ingest:
  - topic: {SCORES}
    as: predictions
    map:
      {{key: request, time: {{path: at, unit: ms}}, version: model, outputs.click: score, slices.country: country,
       features: features.*}}
  - topic: {TRUTHS}
    as: labels
    kind: click
    map: {{key: request, time: {{path: at, unit: ms}}, value: clicked}}
"""


@dataclass(frozen=True)
class Company:
    """What a company writes: records of `DAYS` whole days up to a time, each topic in order of time."""

    predictions: int
    until_ms: int

    @property
    def _first_ms(self) -> int:
        return self.until_ms - DAYS * DAY_MS

    def scores(self) -> Iterator[tuple[str, str, int, bytes]]:
        """Yield topic, key, time and value of each prediction."""
        rng = np.random.default_rng(1)
        for start in range(0, self.predictions, CHUNK):
            numbers = np.arange(start, min(start + CHUNK, self.predictions))
            amounts = rng.gamma(2.0, 20.0, numbers.size).round(2).tolist()
            scores = rng.random(numbers.size).round(4).tolist()
            for number, amount, score in zip(numbers.tolist(), amounts, scores, strict=True):
                at_ms = self._time_ms(number)
                record = {"request": _key(number), "at": at_ms, "model": "v1", "score": score}
                record |= {"country": COUNTRIES[number % len(COUNTRIES)]}
                record |= {"features": {"amount": amount, "hour": at_ms // 3_600_000 % 24}}
                yield SCORES, _key(number), at_ms, json.dumps(record).encode()

    def truths(self) -> Iterator[tuple[str, str, int, bytes]]:
        """Yield topic, key, time and value of each label."""
        rng = np.random.default_rng(2)
        numbers = np.flatnonzero(rng.random(self.predictions) < LABELLED)
        times = np.array([self._time_ms(number) for number in numbers.tolist()])
        times += rng.exponential(3_600_000, numbers.size).astype(np.int64)
        within = times < self.until_ms
        numbers, times = numbers[within], times[within]
        for index in np.argsort(times, kind="stable").tolist():
            number, at_ms = int(numbers[index]), int(times[index])
            record = {"request": _key(number), "at": at_ms, "clicked": number % 3 % 2}
            yield TRUTHS, _key(number), at_ms, json.dumps(record).encode()

    def _time_ms(self, number: int) -> int:
        return self._first_ms + number * DAYS * DAY_MS // self.predictions


def _key(number: int) -> str:
    return f"r{number:09}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=900_000, help="predictions and labels together, about")
    arguments = parser.parse_args()
    now_ms = int(time.time() * 1_000)
    company = Company(round(arguments.records / (1 + LABELLED)), now_ms - now_ms % DAY_MS)
    with (
        tempfile.TemporaryDirectory(prefix="truthloop-loop-") as name,
        LocalBroker(Path(name) / "kafka", java_options=("-Xmx1g",)) as broker,
    ):
        config = Path(name) / "truthloop.yaml"
        config.write_text(CONFIG.replace("{servers}", broker.bootstrap_servers), "utf-8")
        settings = load_settings(config)
        clients = kafka_clients(settings, "bench")
        prepare(settings, clients, broker.bootstrap_servers)
        program = WorkerProgram(
            [sys.executable, "-m", "truthloop", "run", "all", "-c", str(config)], config.parent / "log"
        )
        try:
            wait_until_ready(program)
            return measure(settings, clients, program, broker, company)
        finally:
            program.stop(by_signal=True)


def prepare(settings: Settings, clients: KafkaClients, servers: str) -> None:
    """Make topics and lake, and let ingest begin with the first record."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    wanted = [NewTopic(one, PARTITIONS, 1, config={"retention.ms": "-1"}) for one in (SCORES, TRUTHS)]
    for future in admin.create_topics(wanted).values():
        future.result()
    create_topics(clients, Topics.of(settings.config))
    Lake.create(settings.lake, settings.config)
    commit_start(clients, settings.config, "earliest")


def wait_until_ready(program: WorkerProgram) -> None:
    """Wait until all roles say so."""
    deadline_s = time.monotonic() + READY_S
    waiting = set(PORTS)
    while waiting:
        program.check()
        waiting = {port for port in waiting if not is_ready(port)}
        if time.monotonic() > deadline_s:
            raise EngineError(f"ports {sorted(waiting)} are not ready; the log ends:\n{program.said()}")
        time.sleep(0.2)
    time.sleep(SETTLE_S)


def is_ready(port: int) -> bool:
    """Tell whether the role at a port is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def measure(
    settings: Settings, clients: KafkaClients, program: WorkerProgram, broker: LocalBroker, company: Company
) -> int:
    """Let the roles see the load; print what it took."""
    truths = [*company.truths()]
    producer = open_transaction(broker.bootstrap_servers, "company", chain(company.scores(), truths))
    sent = company.predictions, len(truths)
    pids = role_pids(program.pid) | {"broker": broker.pid}
    before = {name: cpu_s(tree(pid)) for name, pid in pids.items()}
    log = DecisionLog(Lake.open(settings.lake), "click")
    started_s = moved_s = time.monotonic()
    producer.commit_transaction(60)
    judged_ms = last_judged_ms(settings, company.until_ms)
    joined_s, last = None, None
    memory = dict.fromkeys(pids, 0.0)
    while True:
        status, now_s = read_loop_status(clients, settings.config, settings.lake), time.monotonic()
        memory = {name: max(memory[name], rss_mb(tree(pid))) for name, pid in pids.items()}
        evaluated_ms = log.gate().evaluated_ms or 0
        counted = Counters.sum_of(["click"], (entry.checkpoint.counters for entry in status.entries.values()))
        consumed = counted.predictions.consumed, counted.labels["click"].consumed
        if joined_s is None and consumed == sent and status.lake_behind == 0:
            joined_s = now_s - started_s
        if joined_s is not None and evaluated_ms >= judged_ms:
            break
        now = (*consumed, status.lake_behind, evaluated_ms)
        if now != last:
            last, moved_s = now, now_s
        program.check()
        if now_s - moved_s > STANDSTILL_S:
            raise EngineError(f"stands still at {now}; the log ends:\n{program.said()}")
        time.sleep(LOOK_EVERY_S)
    judged_s = time.monotonic() - started_s
    spent = {name: cpu_s(tree(pid)) - before[name] for name, pid in pids.items()}
    records = sum(sent)
    print(machine())
    rate = f"{records / joined_s:,.0f} a second"
    print(f"\n{records:,} records: joined and in the lake in {joined_s:.1f} s, {rate}; judged after {judged_s:.1f} s\n")
    print("| | CPU s | CPU s/million | peak memory |\n|---|---|---|---|")
    for name, seconds in spent.items():
        print(f"| {name} | {seconds:.1f} | {seconds / records * 1e6:.1f} | {memory[name]:,.0f} MB |")
    total = sum(spent.values())
    print(f"| all | {total:.1f} | {total / records * 1e6:.1f} | {sum(memory.values()):,.0f} MB |")
    return int(counted.outcomes["click"].joined != sent[1] or bool(counted.violations()))


def last_judged_ms(settings: Settings, until_ms: int) -> int:
    """Return the end of the last day but one: the records go beyond it by more than `disorder`."""
    day = datetime.fromtimestamp(until_ms / 1_000, UTC).date() - timedelta(days=2)
    return end_of_day_ms(day, settings.config.timezone)


def role_pids(supervisor: int) -> dict[str, int]:
    """Return the process of each role."""
    found = {}
    for pid in tree(supervisor):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        role = next((role for role in ROLES if role.encode() in words), None)
        if role is not None and pid != supervisor:
            found[role] = pid
    assert set(found) == set(ROLES), f"roles that run: {sorted(found)}"
    return {role: found[role] for role in ROLES}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (EngineError, TruthloopError) as error:
        sys.exit(f"error: {error}")
