"""Each record is written once, in whatever order records arrive, writers die between two tables, and others write."""

import random
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field

import msgspec
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from joins import Checkpoint
from streams.kafka.messages import PartitionMessages
from streams.lake_sink.buffer import LakePosition
from streams.lake_sink.cut import INPUTS, STEPPED, TABLES, Cut, PendingPartition
from streams.ledger.entry import LedgerRecord

KIND = "click"


class Topics:
    """Records of a join and an ingest in one partition: by table, (offset, value), with gaps between."""

    def __init__(self, chance: random.Random, steps: int) -> None:
        self.chance = chance
        self.records: dict[str, list[tuple[int, bytes]]] = {table: [] for table in TABLES}
        self.ends = dict.fromkeys(TABLES, 0)
        checkpoint = Checkpoint.start([KIND])
        for sequence in range(steps):
            ranges = {name: self._inputs(name, checkpoint) for name in INPUTS}
            counts = {table: chance.choice([0, 0, 1, 3]) for table in ("outcomes", "rejects")}
            for table, count in counts.items():
                for _ in range(count):
                    self._add(table, b'{"sequence": %d}' % sequence)
                    if table == "rejects" and chance.random() < 0.3:
                        self._add("rejects", b'{"by": "ingest"}')
            record = LedgerRecord(sequence, 0, 0, *ranges.values(), (0, 0), "{}", *counts.values(), checkpoint)
            self._add("ledger", record.encode())

    def _inputs(self, name: str, checkpoint: Checkpoint) -> tuple[int, int]:
        first = self.ends[name]
        for _ in range(self.chance.choice([0, 1, 4])):
            self._add(name, b"%s" % name.encode())
            if name == "predictions":
                checkpoint.counters.predictions.consumed += 1
            elif self.chance.random() < 0.8:
                checkpoint.counters.labels[KIND].consumed += 1
            else:
                checkpoint.counters.unreadable_labels += 1
        return first, self.ends[name]

    def _add(self, table: str, value: bytes) -> None:
        self.records[table].append((self.ends[table], value))
        self.ends[table] += 1 + self.chance.choice([0, 0, 2])


@dataclass
class FakeLake:
    """Tables with their positions."""

    rows: dict[str, list[int]] = field(default_factory=lambda: {table: [] for table in TABLES})
    written: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    held: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STEPPED, 0))
    last: LedgerRecord | None = None

    def writer(self, ledger: "FakeLake | None" = None) -> PendingPartition:
        """Return a writer at the tables' positions; it may have read that of the ledger before the others."""
        ledger = ledger or self
        last = ledger.last
        passed = {name: 0 if last is None else getattr(last, name)[1] for name in INPUTS}
        positions = self.written | {"ledger": ledger.written["ledger"]}
        starts = {
            table: LakePosition(written, max(written, passed.get(table, 0))) for table, written in positions.items()
        }
        held = self.held | {"ledger": ledger.held["ledger"]}
        return PendingPartition(0, starts, held, None if last is None else last.checkpoint)

    def append(self, table: str, pending: PendingPartition, cut: Cut) -> bool:
        """Add a cut's rows of one table; False if the table is at another position."""
        buffer, messages = pending.buffers[table], cut.messages[table]
        if not len(messages):
            return True
        claims = [(self.written[table], buffer.written)]
        if table in STEPPED:
            claims.append((self.held[table], pending.steps_held[table]))
        if any(actual != first for actual, first in claims):
            return False
        self.rows[table] += messages.offsets
        self.written[table] = cut.following[table]
        pending.mark_written(table, cut)
        if table in STEPPED:
            self.held[table] = pending.steps_held[table]
        if table == "ledger":
            self.last = cut.entries[-1]
        return True


def read(topics: Topics, pending: PendingPartition, table: str, count: int) -> None:
    """Let a writer read some more of one topic, and sometimes offsets without a record after it."""
    buffer = pending.buffers[table]
    new = [record for record in topics.records[table] if record[0] >= buffer.position][:count]
    if new:
        offsets, values = map(list, zip(*new, strict=True))
        pending.read(table, PartitionMessages(offsets, values, [0] * len(new)))
    following = [offset for offset, _ in topics.records[table] if offset >= buffer.position]
    buffer.position = min(following, default=topics.ends[table])


def write(lake: FakeLake, pending: PendingPartition, tables: int) -> bool:
    """Write what can be written to the first `tables` tables; False if it conflicts or is not complete."""
    cut = pending.cut()
    if cut is None:
        return True
    return all(lake.append(table, pending, cut) for table in TABLES[:tables]) and tables == len(TABLES)


def check_ledger(lake: FakeLake, topics: Topics) -> None:
    """Check that the lake has all records that its ledger counts."""
    if lake.last is None:
        return
    for name in INPUTS:
        wanted = {offset for offset, _ in topics.records[name] if offset < getattr(lake.last, name)[1]}
        assert wanted <= set(lake.rows[name])
    for table in ("outcomes", "rejects"):
        for offset, value in topics.records[table]:
            sequence = msgspec.json.decode(value).get("sequence")
            assert sequence is None or sequence > lake.last.sequence or offset in lake.rows[table]


@settings(max_examples=examples(300), deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 8), st.integers(1, 3))
def test_each_record_is_in_its_table_once(seed: int, steps: int, writers: int) -> None:
    """Several writers take turns, each with its own memory; in the end one of them finishes."""
    chance = random.Random(seed)
    topics, lake = Topics(chance, steps), FakeLake()
    pending = [lake.writer() for _ in range(writers)]
    earlier = deepcopy(lake)
    for _ in range(40):
        at = chance.randrange(writers)
        read(topics, pending[at], chance.choice(TABLES), chance.randrange(1, 6))
        if chance.random() < 0.4:
            tables = chance.choice([1, 2, 3, 4, 5, 5, 5, 5])
            if not write(lake, pending[at], tables):
                pending[at] = lake.writer(earlier if chance.random() < 0.5 else None)
            check_ledger(lake, topics)
        if chance.random() < 0.2:
            earlier = deepcopy(lake)
    last = lake.writer()
    for table in TABLES:
        read(topics, last, table, 1_000)
    assert write(lake, last, len(TABLES))
    check_ledger(lake, topics)
    for table in TABLES:
        assert Counter(lake.rows[table]) == Counter(offset for offset, _ in topics.records[table]), table
