"""A small loop on files that requests a retrain: days of traffic, and a model that gets worse."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path

from replay_case import run

from truthloop.config.settings import Settings, load_settings

__all__ = ["CONFIG_TEXT", "DAYS", "SECRET_TEXT", "START_MS", "make_loop", "write_days"]

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
START_MS = round(datetime(2023, 11, 20, tzinfo=UTC).timestamp() * 1_000)
DAYS = 34
WORSE_FROM = 24
ROWS = 200
SECRET_TEXT = "whsec_" + "c2VjcmV0" * 5

CONFIG_TEXT = """\
version: 1
loop: {name}
clock: event
disorder: 0s
partitions: 2
lake: {{uri: {folder}/lake}}
state: {{dir: {folder}/state}}
predictions: {{outputs: {{fraud: {{task: binary}}}}}}
labels: {{fraud: {{definition: f1, horizon: 1d, retain: 2d}}}}
evaluate_at: [6h]
retrain:
  require: {{mature_labels: 500, rarer_class: 50, cooldown: 3d}}
  dataset: {{uri: {folder}/datasets, holdout: 2d}}
  target: {{url: "{url}", allow: ["{place}"], overdue: 2d}}
"""


def make_loop(folder: Path, url: str = "http://127.0.0.1:9/hook", *, more: str = "", name: str = "fraud") -> Settings:
    """Write the config of a loop that sends requests to a URL of this machine."""
    place = url.split("/")[2]
    (folder / "truthloop.yaml").write_text(CONFIG_TEXT.format(folder=folder, url=url, place=place, name=name) + more)
    return load_settings(folder / "truthloop.yaml", {})


def write_days(settings: Settings, days: tuple[int, int], seed: int = 1) -> None:
    """Replay the records of some whole days into the loop's lake.

    Args:
        days: number of the first day, and of the day after the last.
        seed: of all random values, together with the day.
    """
    predictions, labels = [], []
    for day in range(*days):
        rng = random.Random(f"{seed} {day}")
        for number in range(ROWS):
            at_ms = START_MS + day * DAY_MS + number * (DAY_MS // ROWS)
            truth = rng.random() < 0.4
            wrong = rng.random() < (0.45 if day >= WORSE_FROM else 0.1)
            score = round(rng.uniform(0.6, 0.95), 6)
            output = score if truth != wrong else 1 - score
            key = f"{day}-{number}"
            predictions.append({"key": key, "time": at_ms, "version": "v1", "outputs": {"fraud": output}})
            # of the day itself, so that whole days can be replayed one after another
            known_ms = min(at_ms + rng.randrange(HOUR_MS), START_MS + (day + 1) * DAY_MS - 1)
            labels.append({"key": key, "kind": "fraud", "value": int(truth), "time": known_ms, "source": "desk"})
        end = {"kind": "fraud", "op": "heartbeat", "time": START_MS + (day + 1) * DAY_MS, "source": "desk"}
        labels = [*sorted(labels, key=lambda row: int(row["time"])), end]
    paths = []
    for name, rows in (("predictions", predictions), ("labels", labels)):
        paths.append(settings.path.parent / f"{name}-{days[0]}-{days[1]}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(settings.lake, paths[:1], paths[1:], close_at_ms=None, config=settings.config)
