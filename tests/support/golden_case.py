"""The loop whose lake is kept as older versions of Truthloop wrote it, in `tests/golden`.

To keep the lake of a version, run this module's `write_lake` with that version's code, pack the folder `lake` as
`tests/golden/VERSION.tar.xz`, and write what `facts` returns beside it as `VERSION.json`.
"""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from truthloop.__main__ import app
from truthloop.config.settings import Settings, load_settings
from truthloop.feedback.reconcile import Reconciler

__all__ = ["NIGHTS", "facts", "make_config", "read_night", "write_lake"]

NIGHTS = 3
"""Files of so many nights are in a golden lake; each is of a week."""

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
START_MS = round(datetime(2024, 3, 4, tzinfo=UTC).timestamp() * 1_000)
ROWS = 40

CONFIG = """\
version: 1
loop: golden
timezone: Europe/Berlin
clock: event
disorder: 0s
partitions: 2
lake: {{uri: {folder}/lake}}
state: {{dir: {folder}/state}}
predictions:
  outputs: {{paid: {{task: binary}}, days: {{task: regression}}}}
  slices: [country]
  features: {{amount: {{type: float, min: 0}}}}
labels:
  paid: {{definition: p1, horizon: 2d, retain: 20d}}
  days: {{definition: d1, horizon: 3d, retain: 20d, on_timeout: {{imply: 9}}}}
cohorts: {{by: [version, country], ages: [1d]}}
evaluate_at: [12h]
"""

_QUERIES = {
    "scored": """
        SELECT kind, status, slice_country, count(*) AS n, round(sum(value), 6) AS total, max(known_at)::VARCHAR AS last
        FROM scored GROUP BY ALL ORDER BY ALL
    """,
    "scored_at": """
        SELECT kind, status, count(*) AS n, round(sum(value), 6) AS total
        FROM scored_at(TIMESTAMPTZ '2024-03-20 12:00:00Z') GROUP BY ALL ORDER BY ALL
    """,
    "revisions": """
        SELECT kind, reason, count(*) AS n, round(sum(value), 6) AS total FROM revisions GROUP BY ALL ORDER BY ALL
    """,
    "rejects": "SELECT input, reason, count(*) AS n FROM rejects GROUP BY ALL ORDER BY ALL",
}


def make_config(folder: Path) -> Settings:
    """Write the loop's config, with its lake in a folder."""
    (folder / "truthloop.yaml").write_text(CONFIG.format(folder=folder))
    return load_settings(folder / "truthloop.yaml", {})


def read_night(settings: Settings, night: int) -> None:
    """Replay the files of a night, and evaluate the days that have ended."""
    predictions, labels = _records(night)
    paths = []
    for name, rows in (("predictions", predictions), ("labels", labels)):
        paths.append(settings.path.parent / f"{name}-{night}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in sorted(rows, key=lambda row: int(row["time"]))))
    words = ["replay", "--predictions", str(paths[0]), "--labels", str(paths[1]), "--config", str(settings.path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    reconciler = Reconciler(settings, lambda: START_MS + 7 * (night + 1) * DAY_MS)
    while reconciler.run().decisions:
        pass


def write_lake(folder: Path) -> Settings:
    """Write the lake of all nights."""
    settings = make_config(folder)
    for night in range(NIGHTS):
        read_night(settings, night)
    return settings


def facts(settings: Settings) -> dict[str, Any]:
    """Return what the lake says, in figures that every version has to give."""
    found: dict[str, Any] = {name: _json(settings, "sql", query) for name, query in _QUERIES.items()}
    metrics = _json(settings, "metrics")["metrics"]
    shown = ("month", "kind", "definition", "name", "value", "n", "labelled", "predictions", "status")
    found["metrics"] = [{name: row[name] for name in shown} for row in metrics]
    return found


def _json(settings: Settings, *words: str) -> Any:
    result = CliRunner().invoke(app, [*words, "--json", "--config", str(settings.path)])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _records(night: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the predictions of a week, and the labels that became known in it, a backfill of the week before too."""
    begin_ms, end_ms = START_MS + 7 * night * DAY_MS, START_MS + 7 * (night + 1) * DAY_MS
    predictions, own = _drawn(night)
    labels = [*(_drawn(night - 1)[1] if night else []), *own]
    labels = [row for row in labels if begin_ms <= row["time"] < end_ms]
    if night:
        past = {"kind": "paid", "value": 1, "origin": "backfill", "batch_id": f"b{night}", "source": "desk"}
        labels += [past | {"key": f"{night - 1}-{number}", "time": begin_ms + number} for number in range(0, 200, 3)]
    return predictions, labels


def _drawn(night: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a week's predictions, some of them twice, and their labels: late, corrected, retracted, or none at all."""
    rng = random.Random(f"golden {night}")
    predictions, labels = [], []
    for number in range(7 * ROWS):
        at_ms = START_MS + 7 * night * DAY_MS + number * (DAY_MS // ROWS)
        key, paid, days = f"{night}-{number}", rng.random() < 0.4, round(rng.gauss(5, 2), 3)
        score = round(rng.uniform(0.55, 0.95), 6)
        right = rng.random() < 0.85
        prediction = {
            "key": key,
            "time": at_ms,
            "version": "v2" if night and number % 2 else "v1",
            "outputs": {"paid": score if paid is right else round(1 - score, 6), "days": days + 1},
            "slices": {"country": rng.choice(["DE", "FR", "IT"])},
            "features": {"amount": round(rng.uniform(1, 99), 2)},
        }
        predictions += [prediction] * (2 if number % 50 == 0 else 1)
        for kind, value in (("paid", int(paid)), ("days", days)):
            known_ms = at_ms + round(rng.expovariate(1 / (9 * HOUR_MS)))
            label = {"key": key, "kind": kind, "value": value, "time": known_ms, "source": "desk"}
            if rng.random() < 0.9:
                labels.append(label)
            if rng.random() < 0.06:
                labels.append(label | {"value": 0, "time": known_ms + 30 * HOUR_MS})
            if rng.random() < 0.03:
                labels.append({"key": key, "kind": kind, "op": "retract", "time": known_ms + 50 * HOUR_MS})
    return predictions, labels
