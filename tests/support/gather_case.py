"""A small real lake for the page: forty days of two versions and three label kinds, replayed from files."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from lake import Claim, Lake
from retrain.decision_log import DecisionLog
from schemas.config.loop import LoopConfig
from schemas.events.evidence import Decision, Event, FindingKind, GateState, Level
from streams.mapping.record_file import open_record_file
from streams.replay.replay import Places, replay
from truthloop.config.settings import Settings
from truthloop.page.gather import Gatherer
from truthloop.page.panels.view import Selection

__all__ = [
    "DAYS",
    "DAY_MS",
    "NOW_MS",
    "START_MS",
    "Clock",
    "Record",
    "append_log",
    "config_of",
    "entry",
    "finding_row",
    "gatherer_of",
    "make_lake",
    "records",
    "selections",
    "settings_of",
]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_767_225_600_000
"""1 January 2026, 00:00 UTC."""

DAYS = 40
NOW_MS = START_MS + (DAYS - 1) * DAY_MS + 15 * HOUR_MS
"""The newest day is fifteen hours old."""

Record = dict[str, Any]


@dataclass
class Clock:
    """A clock that moves a minute with each call, so that the lake is checked again."""

    at_ms: int = NOW_MS

    def __call__(self) -> int:
        """Return the time."""
        self.at_ms += 60_000
        return self.at_ms


def config_of(**changes: Any) -> LoopConfig:
    """Return a loop with a kind of each task, in UTC."""
    document: dict[str, Any] = {
        "version": 1,
        "loop": "shop",
        "clock": "event",
        "partitions": 2,
        "disorder": "0s",
        "predictions": {
            "outputs": {
                "bought": {"task": "binary"},
                "price": {"task": "regression"},
                "route": {"task": "multiclass"},
            },
            "slices": ["country"],
            "features": {"amount": {"type": "float", "min": 0, "max": 10}, "device": {"type": "string"}},
        },
        "labels": {
            "bought": {"definition": "b-1", "horizon": "30h", "retain": "60h"},
            "price": {"definition": "p-1", "horizon": "30h", "retain": "60h"},
            "route": {"definition": "r-1", "horizon": "30h", "retain": "60h"},
        },
        "cohorts": {"by": ["version", "country"], "ages": ["6h", "12h"]},
        "coverage": [{"label": "bought", "age": "12h", "min": 0.5}],
        "retrain": {"target": {"kind": "webhook", "url": "https://example.invalid/retrain"}},
    }
    return LoopConfig.model_validate(document | changes)


def records(
    versions: Sequence[str] = ("v1", "v2"), countries: Sequence[str | None] = ("DE", "FR", None), days: int = DAYS
) -> tuple[list[Record], list[Record]]:
    """Return predictions and labels up to now: the first version predicts every day, the others the last twelve."""
    rng = random.Random(7)
    predictions: list[Record] = []
    labels: list[Record] = []
    for day in range(DAYS - days, DAYS):
        for number in range(24):
            at_ms = START_MS + day * DAY_MS + number * HOUR_MS + rng.randrange(HOUR_MS)
            if at_ms > NOW_MS:
                continue
            key, share, price = f"k{day}-{number}", rng.random(), rng.random() * 50
            truth = {"bought": int(rng.random() < share), "price": price, "route": rng.choice(["land", "sea"])}
            shared = {
                "key": key,
                "time": at_ms,
                "slices": {"country": rng.choice(countries)},
                "features": {"amount": rng.choice([1.5, 3.0, 20.0, None]), "device": rng.choice(["iOS", "web"])},
            }
            for index, version in enumerate(versions):
                if index and day < DAYS - 12:
                    continue
                # later versions predict better
                score = min(max(share + rng.gauss(0, 0.02 if index else 0.3), 0.01), 0.99)
                outputs = {"bought": score, "price": price + rng.gauss(0, 5), "route": rng.choice(["land", "sea"])}
                predictions.append(shared | {"id": f"{key}/{version}", "version": version, "outputs": outputs})
            for kind, value in truth.items():
                known_ms = at_ms + int(rng.lognormvariate(1.2 if value else 0.5, 0.5) * HOUR_MS)
                if rng.random() < 0.95 and known_ms <= NOW_MS:
                    labels.append({"key": key, "kind": kind, "value": value, "time": known_ms, "source": "till"})
    return predictions, sorted(labels, key=lambda row: row["time"])


def settings_of(folder: Path, config: LoopConfig) -> Settings:
    """Return settings of a loop in a folder."""
    return Settings(config, folder / "truthloop.yaml", folder / "lake", folder / "state", folder / "datasets")


def make_lake(
    folder: Path, config: LoopConfig, predictions: Iterable[Record] = (), labels: Iterable[Record] = ()
) -> Settings:
    """Create a lake in a folder, fill it with records, and return its settings."""
    settings = settings_of(folder, config)
    Lake.create(settings.lake, config)
    files = []
    for name, rows in (("predictions", list(predictions)), ("labels", list(labels))):
        if rows:
            path = folder / f"{name}-{len(list(folder.glob('*.jsonl')))}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
            files.append(open_record_file(path, "predictions" if name == "predictions" else "labels", config.ingest))
    if files:
        replay(Places(settings.lake, settings.state / "replay"), config, files, now_ms=NOW_MS, close_at_ms=None)
    return settings


def gatherer_of(settings: Settings, clock: Clock | None = None) -> Gatherer:
    """Return a gatherer that waits for values computed in the background."""
    return Gatherer(settings, clock or Clock(), wait_s=60.0)


def entry(number: int, event: Event, state: GateState, at_ms: int, **other: Any) -> Decision:
    """Return an entry of the log of `bought`."""
    usual: dict[str, Any] = {"loop": "shop", "kind": "bought", "reason": "because", "version": "v2"}
    return Decision(number=number, event=event, state=state, at=at_ms, **usual | other)


def append_log(settings: Settings, entries: Sequence[Decision], findings: Sequence[Record] = ()) -> None:
    """Append entries to the gate's log, and findings to the table `evidence`."""
    lake = Lake.open(settings.lake)
    assert DecisionLog(lake, entries[0].kind).append(entries, NOW_MS)
    if findings:
        schema = {name: dtype for name, dtype in lake.schema("evidence").items() if not name.startswith("recorded_")}
        rows = pl.DataFrame(list(findings), schema=schema, orient="row")
        first = lake.applied("evidence", "test")
        recorded_at = datetime.fromtimestamp(NOW_MS / 1000, UTC)
        lake.append("evidence", rows, [Claim("test", first, first + 1)], recorded_at=recorded_at)


def finding_row(at_ms: int, kind: FindingKind, level: Level = Level.ALARM, **other: Any) -> Record:
    """Return a row of the table `evidence`: a finding at the end of a day."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    usual: Record = {
        "evidence_at": at,
        "day": datetime.fromtimestamp(at_ms / 1000 - 1, UTC).date(),
        "kind": "bought",
        "version": "v2",
        "name": kind.value,
        "subject": "bought",
        "level": level.value,
        "value": 0.5,
        "limit": 0.1,
        "text": f"{kind.value} was found",
    }
    return usual | other


def selections(gatherer: Gatherer, days: int = 60) -> list[Selection]:
    """Return selections with every kind, version, slice and metric at least once."""
    choices = gatherer.choices()
    found = []
    for kind in choices.kinds:
        found += [Selection(kind, "", "", metric, days) for metric in choices.metrics_of(kind)]
        first = next(iter(choices.metrics_of(kind)), "")
        found += [Selection(kind, version, "", first, days) for version in choices.versions]
        found += [Selection(kind, "", slice_, first, days) for slice_ in choices.slices]
    return found
