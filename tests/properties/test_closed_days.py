"""With and without the table `scored` every view answers the same, whatever came in between.

The histories are of no real join, but worse: labels come for any day, of any definition, at any time. What the views
and the table rest on is kept: rows of later steps are recorded after the newest row of the ledger, and a timeout is
written by the step that passes its deadline, or never (one that a withdrawal brings back has a test of its own).
"""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from effort import some
from lake_builder import LABEL, LEDGER, OUTCOME, PREDICTION, LakeBuilder, loop_config

from lake.append import Claim
from lake.closed_days import ClosedStep, close_days
from lake.maintenance.maintainer import Maintainer
from lake.session import connect
from schemas.config.loop import LoopConfig

START = datetime(2026, 3, 6, 5, tzinfo=UTC)
"""In New York the clock is put forward two days later."""

RETAIN = timedelta(hours=50)
DEADLINE = timedelta(hours=20)
"""How far behind time the deadlines are that have passed."""
COMPARED = ("scored", "counts", "coverage", "metrics", "scored_at('2026-03-12')", "scored_at('2030-01-01')")
OTHER_DEFINITIONS = ("chargeback-2", "chargeback-3")


def config_of(zone: str, horizon: str = "20h") -> LoopConfig:
    """Return a config with an implied kind and one of classes, a slice and a feature."""
    common = {"horizon": horizon, "retain": "50h"}
    return loop_config(
        timezone=zone,
        predictions={
            "outputs": {"fraud": {"task": "binary"}, "cause": {"task": "multiclass"}},
            "slices": ["country"],
            "features": {"amount": {"type": "float"}},
        },
        labels={
            "fraud": {"definition": "chargeback-1", **common, "on_timeout": {"imply": 0}},
            "cause": {"definition": "cause-1", **common},
        },
    )


class RandomLoop:
    """A lake that grows by random steps of two partitions.

    Args:
        seed: of everything; with an odd one late predictions, withdrawals and rulings are rare, so that drafts live on.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.unrest = 0.1 if seed % 2 else 1.0
        self.zone = self.random.choice(["UTC", "America/New_York", "Asia/Kolkata"])
        self.builder = LakeBuilder(path / "lake", config_of(self.zone))
        self.path = path / "lake"
        self.now = START
        self.sequence = [0, 0]
        self.offset = [0, 0]
        self.label_offset = [0, 0]
        self.passed = [START - RETAIN] * 2
        self.revision = 0
        self.made: list[dict[str, Any]] = []
        self.labels: list[dict[str, Any]] = []
        self.rulings = 0
        self.writes: dict[str, int] = {}

    def step(self, *, is_torn: bool) -> None:
        """Append one step of one partition; a torn one lacks its row of the ledger."""
        choose = self.random
        self.now += timedelta(hours=choose.uniform(0, 8))
        partition = choose.randrange(2)
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("rejects", "labels", "predictions", "outcomes")}
        for _ in range(choose.randrange(6)):
            rows["predictions"].append(self._prediction(partition))
            if choose.random() < 0.2:
                rejected = {"input": "predictions", "reason": "duplicate", "stage": "join", "partition": partition}
                rows["rejects"].append({**rejected, "offset": self.made.pop()["prediction_offset"]})
        for row in choose.sample(self.made, min(len(self.made), choose.randrange(5 if self.unrest == 1 else 15))):
            if row["partition"] == partition:
                self._revise(row, rows)
        for table, new in rows.items():
            for row in new:
                if table in ("outcomes", "rejects"):
                    row["sequence"] = self.sequence[partition]
            self._append(table, new)
        if not is_torn:
            self._append("ledger", [self._ledger(partition)])
            self.sequence[partition] += 1
            self.passed[partition] = self.now - DEADLINE

    def _prediction(self, partition: int) -> dict[str, Any]:
        choose = self.random
        back = choose.uniform(0, 200) if choose.random() < 0.1 * self.unrest else choose.uniform(0, 10 * self.unrest)
        at = self.now - timedelta(hours=back)
        offset = self.offset[partition]
        self.offset[partition] += 1
        key = f"k{choose.randrange(40)}"
        common = {
            "partition": partition,
            "key": key,
            "id": f"{key}-{offset}",
            "predicted_at": at,
            "version": choose.choice(["v1", "v2"]),
            "eligible": choose.random() < 0.8,
            "slice_country": choose.choice(["DE", "FR"]),
        }
        score, guess = choose.choice([None, 0.2, 0.7]), choose.choice(["fire", "3", "3.0"])
        self.made.append({**common, "prediction_offset": offset, "output": score})
        own = {"offset": offset, "source_row": offset, "output_fraud": score, "output_cause": guess}
        return {**PREDICTION, **common, **own, "feature_amount": choose.uniform(0, 9)}

    def _revise(self, row: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> None:
        choose = self.random
        kind = choose.choice(["fraud", "fraud", "cause"])
        definition = choose.choice(["chargeback-1", *OTHER_DEFINITIONS]) if kind == "fraud" else "cause-1"
        definition = definition if choose.random() < self.unrest or kind == "cause" else "chargeback-1"
        partition, self.revision = row["partition"], self.revision + 1
        timeouts = [] if row["predicted_at"] <= self.passed[row["partition"]] else ["expired", "implied"]
        status = choose.choice(["joined", "joined", "retracted", "pending", *timeouts])
        known = row["predicted_at"] + timedelta(hours=choose.uniform(-2, 60))
        made = {**OUTCOME, **row, "kind": kind, "definition": definition, "status": status, "known_at": known}
        made |= {"revision": self.revision, "reason": "timeout"}
        if status in ("joined", "retracted"):
            truth = {"value": choose.choice([0.0, 1.0])} if kind == "fraud" else {"value_class": choose.choice("3x")}
            offset = self.label_offset[partition]
            self.label_offset[partition] += 1
            label = {"partition": partition, "offset": offset, "source_row": offset, "key": row["key"], "kind": kind}
            label |= {"definition": definition, "label_time": known, "known_at": known, **truth}
            label |= choose.choice([{}, {"origin": "backfill", "batch_id": choose.choice(["b1", "b2"])}])
            rows["labels"].append({**LABEL, **label})
            made |= {"label_offset": offset, "reason": choose.choice(["first", "correction", "late"])}
            made |= truth if status == "joined" else {}
            self.labels.append({"partition": partition, "offset": offset})
            if choose.random() < 0.1 * self.unrest:
                withdrawn = choose.choice(self.labels)
                rows["rejects"].append({"input": "labels", "reason": "withdrawn", "stage": "join", **withdrawn})
                if withdrawn["offset"] != offset or withdrawn["partition"] != partition:
                    rows["rejects"].pop()  # a withdrawal makes a revision of each outcome: only of this one
        rows["outcomes"].append(made)

    def _ledger(self, partition: int) -> dict[str, Any]:
        at_ms = round(self.now.timestamp() * 1000)
        cursor = [round((self.now - DEADLINE).timestamp() * 1000), self.offset[partition]]
        return {
            **LEDGER,
            "partition": partition,
            "sequence": self.sequence[partition],
            "now": self.now,
            "predictions_next": self.offset[partition],
            "floor": self.now - RETAIN,
            "marks": json.dumps({"predictions": at_ms, "fraud": at_ms, "cause": at_ms}),
            "cursors": json.dumps({"fraud": cursor, "cause": cursor}),
            "counters": json.dumps({"predictions": {"consumed": self.offset[partition]}}),
        }

    def rule(self) -> None:
        """Append a ruling about a random episode: a new one, or one of those before."""
        choose = self.random
        cause = choose.choice([["declared"], ["redefined"], ["corrected"], ["stale"]])
        own = cause in (["corrected"], ["stale"])
        since = START + timedelta(hours=choose.uniform(0, 200))
        episode = {
            "id": f"e{choose.randrange(4)}",
            "definition": "chargeback-1" if own else choose.choice(OTHER_DEFINITIONS),
            "batch": choose.choice(["b1", "b2"]) if cause == ["declared"] else None,
            "since": round(since.timestamp() * 1000),
            "until": round((since + timedelta(hours=choose.uniform(1, 100))).timestamp() * 1000),
            "stale_after_ms": 3_600_000,
            "causes": cause,
        }
        document = {"verdict": choose.choice(["approved", "rejected", "quarantined", "passed"]), "episode": episode}
        row = {"number": self.rulings, "kind": "fraud", "evidence_at": self.now, "event": "backfilled"}
        text = {"state": "watching", "reason": "A test.", "document": json.dumps(document)}
        self._append("decisions", [{**row, **text}])
        self.rulings += 1

    def redefine(self) -> None:
        """Change a horizon: all timeouts are at other times."""
        self.builder = LakeBuilder(self.path, config_of(self.zone, self.random.choice(["20h", "25h"])))

    def maintain(self) -> None:
        """Rewrite the files of all days that have ended."""
        now_ms = round((self.now + timedelta(days=2)).timestamp() * 1000)
        list(Maintainer(self.path, 10**9).steps(lambda: now_ms))

    def close(self, steps: int) -> list[ClosedStep]:
        """Take some steps of bringing the table up to date."""
        return [step for step, _ in zip(close_days(self.path, self.now), range(steps), strict=False)]

    def _append(self, table: str, rows: list[dict[str, Any]]) -> None:
        first = self.writes.get(table, 0)
        self.writes[table] = first + 1
        claim = Claim("test", first, first + 1)
        self.builder.lake.append(table, self.builder.frame(table, rows), [claim], recorded_at=self.now)


def bare(lake: Path) -> Path:
    """Return the same lake without the table."""
    folder = lake.parent / "bare"
    if not folder.exists():
        folder.mkdir()
        for entry in lake.iterdir():
            if entry.name != "scored":
                (folder / entry.name).symlink_to(entry)
    return folder


def answers(lake: Path) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Give the rows of every view, sorted; sums of real numbers to nine digits."""
    with connect(lake) as connection:
        for view in COMPARED:
            columns = (
                "* REPLACE (round(log_loss, 9) AS log_loss, round(brier, 9) AS brier)" if view == "metrics" else "*"
            )
            yield view, connection.sql(f"SELECT {columns} FROM {view} ORDER BY ALL").fetchall()  # noqa: S608 - ours


@pytest.mark.parametrize("seed", some(*range(16), at_least=2))
def test_the_table_changes_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Steps, torn ones, rulings, redefinitions and rewrites in any order, and the table anywhere behind."""
    monkeypatch.setattr("lake.due_days.ROWS_PER_FILE", 30)
    loop = RandomLoop(tmp_path, seed)
    written = 0
    for turn in range(5):
        for _ in range(12):
            loop.step(is_torn=loop.random.random() < 0.1)
        if loop.random.random() < 0.6 * loop.unrest and turn:
            loop.rule()
        if loop.random.random() < 0.3:
            loop.maintain()
        if loop.random.random() < 0.2 * loop.unrest:
            loop.redefine()
        wanted = list(answers(bare(loop.path)))
        assert list(answers(loop.path)) == wanted
        written += sum(step.rows for step in loop.close(loop.random.choice([1, 3, 100])))
        assert list(answers(loop.path)) == wanted
    assert written
