"""A loop on a real broker: generated traffic, roles as processes that are killed, and an oracle in SQL.

The oracle shares no code with the join: from the records in the topics alone, it computes the outcome of every
prediction in DuckDB.
"""

import copy
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Self

import duckdb
import msgspec
import polars as pl
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from processes import end_all

from lake import connect
from schemas.base.location import BucketUri
from schemas.config.topic_names import TopicNames

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
KINDS = ("fraud", "click")
HORIZON_MS = 6 * HOUR_MS
SPAN_MS = 12 * HOUR_MS
RETAIN_MS = 5 * DAY_MS
DEADLINE_S = 150

CONFIG = """\
version: 1
loop: {loop}
topics: {topics}
clock: event
kafka: {{bootstrap_servers: "{servers}", client: {client}}}
lake: {{uri: "{lake}", freshness: 1s}}
state: {{dir: {folder}/state}}
partitions: {partitions}
disorder: 10m
predictions:
  outputs: {{fraud: {{task: binary}}, click: {{task: binary}}}}
  slices: [country]
  features: {{amount: {{type: float}}}}
labels:
  fraud: {{definition: chargeback, horizon: 6h, retain: 5d}}
  click: {{definition: clicked, horizon: 6h, retain: 5d, on_timeout: {{imply: 0}}}}
"""


class Traffic:
    """Predictions and labels, the same for the same seed: with duplicates, corrections, disorder and broken records.

    Args:
        seed: of everything.
        count: number of predictions.
        start_ms: time of the first.
    """

    def __init__(self, seed: int, count: int, start_ms: int) -> None:
        self.random = random.Random(seed)
        self.end_ms = start_ms + SPAN_MS + 2 * HORIZON_MS
        step = SPAN_MS / count
        self.records: list[tuple[str, str | None, dict[str, Any] | bytes, int]] = []
        for number in range(count):
            self._prediction(f"k{number}", int(start_ms + number * step))
        self.records.sort(key=lambda record: record[3])

    def _prediction(self, key: str, at_ms: int) -> None:
        draw = self.random.random
        value = {
            "v": 1,
            "key": key,
            "time": at_ms,
            "version": "v1",
            "outputs": {"fraud": round(draw(), 6), "click": 0.5},
            "slices": {"country": self.random.choice(["DE", "FR"])},
            "features": {"amount": round(draw() * 100, 2)},
            "eligible": draw() > 0.05,
        }
        self._send("predictions", key, value, at_ms)
        if draw() < 0.1:
            self._send("predictions", key, value, at_ms + 1000)
        if draw() < 0.03:
            self._send("predictions", key, value | {"id": "shadow", "version": "v2"}, at_ms + 5)
        if draw() < 0.01:
            self._send("predictions", key, value | {"weight": 2.0}, at_ms + 2000)
        for kind in KINDS:
            if draw() < 0.7:
                self._labels(key, kind, at_ms)
        if draw() < 0.005:
            self.records.append((self.random.choice(["predictions", "labels"]), key, b'{"v": 1, "key": ', at_ms))

    def _labels(self, key: str, kind: str, at_ms: int) -> None:
        draw = self.random.random
        delay = int(self.random.expovariate(1 / (2 * HOUR_MS))) if draw() > 0.02 else -60_000
        value = {"v": 1, "key": key, "kind": kind, "value": int(draw() < 0.4), "time": at_ms + min(delay, 20 * HOUR_MS)}
        arrival = value["time"] + int(draw() * 300_000)
        self._send("labels", key, value, arrival)
        if draw() < 0.1:
            self._send("labels", key, value, arrival + 10)
        if draw() < 0.05:
            later = value | {"value": 1 - value["value"], "time": value["time"] + 60_000}
            self._send("labels", key, later, arrival + (60_000 if draw() < 0.7 else -200_000))
        if draw() < 0.02:
            retract = {"v": 1, "key": key, "kind": kind, "op": "retract", "time": value["time"] + 90_000}
            self._send("labels", key, retract, arrival + 95_000)
        if draw() < 0.02:
            self._send("labels", key, value | {"definition": "other", "value": 1}, arrival + 5)
        if draw() < 0.01:
            self._send("labels", f"orphan-{key}", value | {"key": f"orphan-{key}"}, arrival)

    def _send(self, topic: str, key: str, value: dict[str, Any], at_ms: int) -> None:
        self.records.append((topic, key, value, at_ms))


class Loop:
    """A loop in a folder, on a broker."""

    def __init__(
        self,
        folder: Path,
        servers: str,
        *,
        partitions: int = 4,
        session_ms: int = 10_000,
        client: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        place: BucketUri | None = None,
        names: TopicNames | None = None,
        prefix: str = "",
    ) -> None:
        """Write the config; `client` goes into it, `secrets` only into the test's clients, `prefix` into its name."""
        self.folder = folder
        self.servers = servers
        self.client = {**(client or {}), **(secrets or {}), "bootstrap.servers": servers, "log_level": 0}
        self.partitions = partitions
        self.place = place or folder / "lake"
        self.name = f"{prefix}t-{os.getpid()}-{random.getrandbits(32):08x}"
        self.names = names or TopicNames()
        self._properties = msgspec.json.encode({"session.timeout.ms": session_ms, **(client or {})}).decode()
        self._write_config()
        self.environ = {"PYTHONFAULTHANDLER": "1"}  # for all its processes, in addition to this one's
        self.processes: list[subprocess.Popen[bytes]] = []

    def elsewhere(self, folder: Path) -> Self:
        """Return the same loop in another folder: what runs there shares broker and lake with this one, and no file."""
        other = copy.copy(self)
        other.folder, other.processes = folder, []
        other._write_config()
        return other

    def _write_config(self) -> None:
        self.config = self.folder / "truthloop.yaml"
        text = CONFIG.format(
            loop=self.name,
            topics=self.names.model_dump_json(),
            servers=self.servers,
            lake=self.place.as_uri() if isinstance(self.place, BucketUri) else self.place,
            folder=self.folder,
            partitions=self.partitions,
            client=self._properties,
        )
        self.config.write_text(text)

    def command(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the product to its end."""
        return subprocess.run(
            [sys.executable, "-m", "truthloop", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            env=os.environ | self.environ | environ,
        )

    def begin(self) -> None:
        """Create topics and lake."""
        done = self.command("start", "--from", "earliest")
        assert done.returncode == 0, done.stderr

    def run(self, role: str, slot: str = "0", **environ: str) -> subprocess.Popen[bytes]:
        """Start a role as a process."""
        arguments = ["run", role, "--slot", slot, "--port", "0", "--config", str(self.config)]
        with (self.folder / f"{role}-{slot}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "truthloop", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | self.environ | environ,
            )
        self.processes.append(process)
        return process

    def log(self, role: str, slot: str = "0") -> str:
        """Return the log of a role."""
        return (self.folder / f"{role}-{slot}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End every process that was started."""
        end_all(self.processes, 60)

    def produce(self, traffic: Traffic, piece: Callable[[int], None] = lambda _sent: None, pieces: int = 1) -> None:
        """Send traffic to the canonical topics in some pieces, calling `piece` after each with the number sent."""
        producer = Producer(self.client | {"partitioner": "murmur2_random", "compression.type": "lz4"})
        size = -(-len(traffic.records) // pieces)
        for start in range(0, len(traffic.records), size):
            for topic, key, value, _ in traffic.records[start : start + size]:
                raw = value if isinstance(value, bytes) else msgspec.json.encode(value)
                while True:
                    try:
                        producer.produce(self.names.topic(self.name, topic), value=raw, key=key)
                        break
                    except BufferError:
                        producer.poll(0.1)
            assert producer.flush(60) == 0
            piece(start + size)

    def rows(self, topic: str, *, committed: bool = True) -> list[dict[str, Any]]:
        """Return all records of one of the loop's topics, with partition and offset."""
        reader = Consumer(
            self.client
            | {
                "group.id": "oracle",
                "enable.auto.commit": False,
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        name = self.names.topic(self.name, topic)
        reader.assign([TopicPartition(name, partition, 0) for partition in range(self.partitions)])
        ended, found = set(), []
        deadline = time.monotonic() + DEADLINE_S
        while len(ended) < self.partitions:
            assert time.monotonic() < deadline, f"{name} cannot be read to its end"
            for message in reader.consume(10_000, timeout=1):
                if message.error() is not None:
                    assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                    ended.add(message.partition())
                    continue
                try:
                    value = msgspec.json.decode(message.value())
                except msgspec.DecodeError:
                    value = {"broken": True}
                found.append({"_partition": message.partition(), "_offset": message.offset(), **value})
        reader.close()
        return found

    def wait(self, what: str, is_done: Callable[[], bool], every_s: float = 0.5) -> None:
        """Wait for a condition; the error shows the ends of all logs."""
        deadline = time.monotonic() + DEADLINE_S
        event = Event()
        while not is_done():
            if time.monotonic() > deadline:
                self._dump_stacks()
                logs = "\n".join(path.read_text(errors="replace")[-8000:] for path in self.folder.glob("*.log"))
                raise AssertionError(f"{what} did not happen; the roles' logs:\n{logs}")
            event.wait(every_s)

    def _dump_stacks(self) -> None:
        """End the running processes so that each writes to its log where all of its threads are."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGABRT)
                process.wait(30)

    def lag(self, group: str, topics: tuple[str, ...]) -> int:
        """Return how many offsets a group has not committed of these topics; 1 while the broker does not know."""
        reader = Consumer(self.client | {"group.id": self.names.group_of(self.name, group)})
        places = [TopicPartition(self.names.topic(self.name, t), p) for t in topics for p in range(self.partitions)]
        try:
            committed = reader.committed(places, timeout=30)
            highs = [reader.get_watermark_offsets(place, timeout=10)[1] for place in committed]
        except KafkaException:
            return 1
        finally:
            reader.close()
        return sum(high - max(place.offset, 0) for place, high in zip(committed, highs, strict=True))

    def lake(self) -> duckdb.DuckDBPyConnection:
        """Return a connection with the lake's views."""
        return connect(self.place)


EXPECTED = """
WITH p AS (
  SELECT _partition, _offset, key, coalesce(id, key) AS id, time, row_number() OVER (
    PARTITION BY _partition, key, coalesce(id, key) ORDER BY _offset) AS nth
  FROM predictions WHERE broken IS NULL
), l AS (
  SELECT _partition, _offset, key, kind, op, value, time,
    coalesce(definition, CASE kind WHEN 'fraud' THEN 'chargeback' ELSE 'clicked' END) AS definition
  FROM labels WHERE broken IS NULL
), pairs AS (
  SELECT p._partition, p._offset, p.key, p.id, p.time AS predicted, l.kind, l.definition, l.value, l.op,
    l.time AS known, row_number() OVER (
      PARTITION BY p._partition, p._offset, l.kind, l.definition ORDER BY l.time DESC, l._offset DESC) AS nth
  FROM p JOIN l ON p._partition = l._partition AND p.key = l.key
  WHERE p.nth = 1 AND abs(l.time - p.time) <= $retain
), joined AS (
  SELECT _partition, _offset, key, id, kind, definition,
    CASE op WHEN 'retract' THEN 'retracted' ELSE 'joined' END AS status,
    CASE op WHEN 'retract' THEN NULL ELSE value END AS value, known AS known_at, predicted AS predicted_at
  FROM pairs WHERE nth = 1
), kinds AS (FROM (VALUES ('fraud', 'chargeback'), ('click', 'clicked')) AS k(kind, definition))
SELECT * FROM joined
UNION ALL
SELECT p._partition, p._offset, p.key, p.id, k.kind, k.definition,
  CASE WHEN p.time + $horizon >= $closed THEN 'pending'
    WHEN k.kind = 'click' AND coalesce(pr.eligible, true) THEN 'implied' ELSE 'expired' END,
  CASE WHEN p.time + $horizon < $closed AND k.kind = 'click' AND coalesce(pr.eligible, true) THEN 0 END,
  CASE WHEN p.time + $horizon < $closed THEN p.time + $horizon END, p.time
FROM p JOIN predictions pr ON pr._partition = p._partition AND pr._offset = p._offset, kinds k
WHERE p.nth = 1 AND NOT EXISTS (
  SELECT 1 FROM joined j WHERE j._partition = p._partition AND j._offset = p._offset
    AND j.kind = k.kind AND j.definition = k.definition)
"""

FOUND = """
SELECT _partition, prediction_offset AS _offset, key, id, kind, definition,
  arg_max(status, revision) AS status, arg_max_null(value, revision) AS value,
  CASE WHEN arg_max(status, revision) IN ('expired', 'implied')
    AND arg_max(known_at, revision) = any_value(predicted_at) + $another
    THEN any_value(predicted_at) + $horizon ELSE arg_max(known_at, revision) END AS known_at,
  any_value(predicted_at) AS predicted_at
FROM outcomes GROUP BY ALL
"""

_INPUT = {
    "_partition": pl.Int64,
    "_offset": pl.Int64,
    "key": pl.String,
    "id": pl.String,
    "kind": pl.String,
    "op": pl.String,
    "value": pl.Float64,
    "time": pl.Int64,
    "definition": pl.String,
    "eligible": pl.Boolean,
    "broken": pl.Boolean,
}


def differences(loop: Loop, closed_ms: int, another_horizon_ms: int = HORIZON_MS) -> list[str]:
    """Return every way in which the outcomes in the topics differ from those that the records demand.

    Where the horizon was another for a while, deadlines may have passed under either.
    """
    con = duckdb.connect()
    for topic in ("predictions", "labels"):
        con.register(topic, pl.DataFrame(loop.rows(topic), schema=_INPUT, strict=False).to_arrow())
    outcomes = loop.rows("outcomes")
    con.register("outcomes", pl.DataFrame(outcomes, infer_schema_length=None).to_arrow())
    con.register(
        "ledger",
        pl.DataFrame(
            [{k: row[k] for k in ("_partition", "sequence", "outcomes", "rejects")} for row in loop.rows("ledger")]
        ).to_arrow(),
    )
    values = {"retain": RETAIN_MS, "horizon": HORIZON_MS, "closed": closed_ms}
    con.execute("CREATE TABLE expected AS " + EXPECTED, values)
    con.execute("CREATE TABLE found AS " + FOUND, {"horizon": HORIZON_MS, "another": another_horizon_ms})
    con.execute("INSERT INTO found SELECT * FROM expected WHERE status = 'pending'")
    checks = {
        "expected and not found": "FROM expected EXCEPT ALL FROM found",
        "found and not expected": "FROM found EXCEPT ALL FROM expected",
        "the same revision twice": "SELECT _partition, prediction_offset, kind, definition, revision FROM outcomes "
        "GROUP BY ALL HAVING count(*) > 1",
        "a revision that does not follow the one before": "SELECT * FROM (SELECT *, lag(status, 1, 'pending') OVER w "
        "AS before, lag(value) OVER w AS value_before FROM outcomes WINDOW w AS (PARTITION BY _partition, "
        "prediction_offset, kind, definition ORDER BY revision)) WHERE before <> previous_status "
        "OR value_before IS DISTINCT FROM previous",
        "steps that are missing or duplicated": "SELECT _partition FROM ledger GROUP BY ALL "
        "HAVING count(*) <> max(sequence) + 1 OR count(DISTINCT sequence) <> count(*)",
        "rows of outcomes that the ledger does not count": "SELECT * FROM (SELECT sum(outcomes) AS n FROM ledger) "
        "WHERE n <> (SELECT count(*) FROM outcomes)",
    }
    problems = []
    for name, query in checks.items():
        rows = con.sql(query).limit(3).fetchall()
        if rows:
            problems.append(f"{name}: {rows}")
    return problems


def lake_differences(loop: Loop) -> list[str]:
    """Return every way in which the lake differs from the topics, row by row."""
    lake = loop.lake()
    outcomes = pl.DataFrame(loop.rows("outcomes"), infer_schema_length=None)
    columns = ["_partition", "prediction_offset", "kind", "definition", "revision", "status", "reason", "sequence"]
    topic = outcomes.select(columns).rename({"_partition": "partition"})
    table = lake.sql(
        "SELECT partition, prediction_offset, kind, definition, revision, status, reason, sequence FROM all_outcomes"
    ).pl()
    problems = []
    for name, one, other in (("missing in the lake", topic, table), ("only in the lake", table, topic)):
        rest = one.cast({"partition": pl.Int64}).join(
            other.cast({"partition": pl.Int64}), on=list(one.columns), how="anti"
        )
        if rest.height:
            problems.append(f"outcomes {name}: {rest.height}, for instance {rest.row(0)}")
    if topic.height != table.height:
        problems.append(f"{topic.height} outcomes in the topic and {table.height} rows in the lake")
    return problems


def moment(time_ms: int) -> str:
    """Return a time as ISO 8601."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()


def finish(loop: Loop, traffic: Traffic, another_horizon_ms: int = HORIZON_MS) -> list[str]:
    """Wait until the join has read everything, close the inputs, and return all differences."""
    loop.wait("the join's end", lambda: loop.lag("join", ("predictions", "labels")) == 0)
    closed = loop.command("close", moment(traffic.end_ms))
    assert closed.returncode == 0, closed.stderr
    loop.wait("the close", lambda: loop.lag("join", ("commands",)) == 0)
    loop.wait("the last outcomes", lambda: not differences(loop, traffic.end_ms, another_horizon_ms))
    return differences(loop, traffic.end_ms, another_horizon_ms)


@contextmanager
def running(loop: Loop) -> Iterator[Loop]:
    """Stop the loop's processes at the end of the block."""
    try:
        yield loop
    finally:
        loop.stop()
