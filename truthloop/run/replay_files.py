"""Replays files into the loop's lake with a progress bar, and writes the accounting identities as text."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joins.accounting import Counters
from lake import Lake
from schemas.errors import InputError, LakeError
from streams.mapping.record_file import RecordFile, open_record_file
from streams.mapping.tools import mapping_tools
from streams.replay.replay import Places, ReplaySummary, withdraw
from streams.replay.replay import replay as replay_records
from truthloop.config.settings import Settings
from truthloop.evidence.withdrawals import due_withdrawals
from truthloop.terminal.console import note
from truthloop.terminal.progress import progress_bar

__all__ = ["accounting_lines", "open_record_files", "replay_files"]


def replay_files(
    settings: Settings,
    predictions: list[Path],
    labels: list[Path],
    *,
    now_ms: int,
    close_at_ms: int | None,
    total: int | None = None,
) -> ReplaySummary:
    """Replay files into the loop's lake; see `streams.replay.replay.replay` for the arguments.

    Raises:
        InputError: there is neither a file nor a time to close at, or a file cannot be used.
        ConfigError: a hook function of the mapping, or the key for personal data, is missing.
    """
    files = open_record_files(settings, predictions, labels)
    places = Places(settings.lake, settings.state / "replay")
    withdrawn = _withdraw_rejected(settings, places, now_ms)
    if not files and close_at_ms is None and not withdrawn:
        raise InputError("no files were given", hint="truthloop replay --predictions FILE --labels FILE")
    with _without_garbage_collection(), progress_bar(total, settings.config.timezone) as bar:
        return replay_records(places, settings.config, files, now_ms=now_ms, close_at_ms=close_at_ms, progress=bar)


def _withdraw_rejected(settings: Settings, places: Places, now_ms: int) -> int:
    """Have the join withdraw the labels of backfills that were rejected since the last run; return their number."""
    try:
        lake = Lake.open(settings.lake)
    except LakeError:
        return 0  # there is none yet, or not all of it: the replay makes it, or says what is wrong
    due = due_withdrawals(lake, settings.config)
    if not due or not withdraw(places, settings.config, due, now_ms=now_ms):
        return 0
    count = sum(len(labels) for labels in due.values())
    note(f"{count:,} labels of rejected backfills are withdrawn.")
    return count


def open_record_files(settings: Settings, predictions: list[Path], labels: list[Path]) -> list[RecordFile]:
    """Open files with the mapping that the loop's config has for them.

    Raises:
        InputError: a file cannot be used.
        ConfigError: a hook function of the mapping, or the key for personal data, is missing.
    """
    sources = settings.config.ingest
    tools = mapping_tools(settings.config, os.environ, settings.path.parent)
    files = [open_record_file(path, "predictions", sources, tools) for path in predictions]
    return files + [open_record_file(path, "labels", sources, tools) for path in labels]


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Switch Python's cyclic garbage collector off: the join's state has millions of objects and no cycles."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def accounting_lines(counters: Counters) -> list[str]:
    """Return both accounting identities as text: a line of predictions and a line of labels for each kind."""
    lines = []
    p = counters.predictions
    for kind, o in counters.outcomes.items():
        named = {
            "joined": o.joined,
            "pending": o.pending,
            "implied": o.implied,
            "expired": o.expired,
            "retracted": o.retracted,
            "aged out": o.aged_out,
            "duplicate": p.duplicate,
            "conflicting": p.conflict,
            "rejected": p.rejected,
        }
        lines.append(f"{kind}: {p.consumed:,} predictions = {_sum(named)}")
    for kind, c in counters.labels.items():
        named = {
            "of record": c.heads,
            "superseded": c.superseded,
            "stale": c.stale,
            "withdrawn": c.withdrawn,
            "duplicate": c.duplicate,
            "that found no prediction": c.aged_out,
            "rejected": c.rejected,
            "heartbeats (one to each partition)": c.heartbeats,
        }
        lines.append(f"{kind}: {c.consumed:,} labels = {_sum(named)}")
        if c.other_definition:
            lines.append(f"{kind}: {c.other_definition:,} of these have another definition than the config's")
        if c.early:
            lines.append(f"{kind}: {c.early:,} were known before their prediction was made")
    return lines


def _sum(named: dict[str, int]) -> str:
    return " + ".join(f"{count:,} {name}" for name, count in named.items() if count) or "0"
