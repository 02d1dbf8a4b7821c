"""A small loop with backfills: a real lake with diffs and the gate's log, and the forms that rule about them."""

import atexit
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from backfill_case import Row, diff, episode_of
from gate_case import START_MS

from lake import Lake
from retrain.approval import Approvals, Person, RulingRequest
from retrain.decision_log import DecisionLog
from retrain.gate import gate_of
from retrain.log_entries import EntryOrigin, backfilled
from schemas.events.backfill import Ruling, Verdict
from schemas.events.backfill_diff import BackfillDiff
from schemas.events.evidence import Decision
from truthloop.config.settings import Settings, load_settings
from truthloop.evidence.approvals import open_approvals
from truthloop.evidence.diff_log import DiffLog

__all__ = [
    "ANN",
    "BODY",
    "EPISODE",
    "NOW_MS",
    "REASON",
    "Clock",
    "Fields",
    "approvals",
    "backfill_diff",
    "grown",
    "log_backfill",
    "log_of",
    "make_loop",
    "statement",
]

NOW_MS = START_MS + 90 * 86_400_000
EPISODE = f"bf-{7:032x}"
REASON = "The labels are of another definition than the config's."
ANN = Person("Ann", "attested", "page")
ROWS = [Row(0.0, 1.0), Row(1.0, 1.0), Row(None, 1.0), Row(1.0, 0.0, touched=False)]
BODY = "application/x-www-form-urlencoded"

CONFIG_TEXT = """\
version: 1
loop: flights
clock: event
partitions: 1
timezone: America/New_York
predictions: {outputs: {late: {task: binary}, fare: {task: regression}}}
labels:
  late: {definition: late-15, horizon: 30h, retain: 60h}
  fare: {definition: fare-1, horizon: 30h, retain: 60h}
"""


@dataclass
class Clock:
    """A clock that tests set."""

    at_ms: int = NOW_MS

    def __call__(self) -> int:
        """Return the time."""
        return self.at_ms


def make_loop(folder: Path, more: str = "") -> Settings:
    """Make a loop with an empty lake."""
    (folder / "truthloop.yaml").write_text(CONFIG_TEXT + more)
    settings = load_settings(folder / "truthloop.yaml", {})
    shutil.copytree(_empty_lake(), settings.lake)
    return settings


@cache
def _empty_lake() -> Path:
    """Create an empty lake once; copying it is faster."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "truthloop.yaml").write_text(CONFIG_TEXT)
    settings = load_settings(folder / "truthloop.yaml", {})
    Lake.create(settings.lake, settings.config)
    return settings.lake


def backfill_diff(kind: str = "late", **changes: object) -> BackfillDiff:
    """Return the diff of a backfill of another definition than the config's."""
    return diff(ROWS, kind).model_copy(update={"episode": episode_of(kind, definition="late-30", labels=3, **changes)})


def grown(before: BackfillDiff) -> BackfillDiff:
    """Return the diff of the same backfill with one label more."""
    episode = before.episode
    more = {"labels": episode.labels + 1, "fingerprint": 99, "until": episode.until + 1_000}
    return before.model_copy(update={"episode": episode.model_copy(update=more)})


def log_backfill(settings: Settings, found: BackfillDiff, verdict: Verdict = Verdict.QUARANTINED) -> str:
    """Log that a backfill was found, or has grown, and return the digest of its diff."""
    lake = Lake.open(settings.lake)
    assert DiffLog(lake).add(found, NOW_MS)
    log = DecisionLog(lake, found.episode.kind)
    gate = gate_of(log.entries())
    ruling = Ruling(episode=found.episode, verdict=verdict)
    origin = EntryOrigin(settings.config.loop, found.episode.kind, None)
    entry = backfilled(origin, gate, ruling, [REASON, "More."], {"diff_sha256": found.sha256()})
    assert log.append([entry], NOW_MS)
    return found.sha256()


def log_of(settings: Settings, kind: str = "late") -> list[Decision]:
    """Return the gate's log, as another process reads it."""
    return DecisionLog(Lake.open(settings.lake), kind).entries()


def approvals(settings: Settings, now_ms: int = NOW_MS) -> Approvals:
    """Return the approvals that people rule through."""
    return open_approvals(settings, lambda: now_ms)


def statement(sha256: str, **changes: Any) -> RulingRequest:
    """Return Ann's ruling about the backfill."""
    usual: dict[str, Any] = {
        "episode": EPISODE,
        "diff_sha256": sha256,
        "verdict": Verdict.APPROVED,
        "reason": "checked with the desk",
        "person": ANN,
        "token_sha256": None,
    }
    return RulingRequest(**usual | changes)


class Fields(HTMLParser):
    """The hidden fields of the form on a page, with the values that a browser sends."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self.action = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element."""
        given = dict(attrs)
        if tag == "form":
            self.action = given["action"] or ""
        if tag in ("input", "textarea") and re.fullmatch("token|diff", given.get("name") or ""):
            self.values[given["name"] or ""] = given.get("value") or ""
