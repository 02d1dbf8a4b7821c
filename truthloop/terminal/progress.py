"""The progress bar of a replay on stderr: records so far, records a second, event time."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from schemas.base.figures import zone_of
from streams.replay.replay import Progress as Report
from truthloop.terminal.console import notes

__all__ = ["progress_bar"]


class _Rate(ProgressColumn):
    """Records a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:>9,.0f}/s")


@contextmanager
def progress_bar(total: int | None, timezone: str = "UTC") -> Iterator[Report]:
    """Show a progress bar while the block runs; yields the callback for `streams.replay.replay.replay`.

    Args:
        total: number of records, if known.
        timezone: of the loop; the day that is shown is one of its days.
    """
    zone = zone_of(timezone)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:>11,.0f} records"),
        _Rate(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notes.console, transient=True) as bar:
        task = bar.add_task("reading ...", total=total)

        def report(records: int, event_time_ms: int | None) -> None:
            if event_time_ms is not None:
                day = f"{datetime.fromtimestamp(event_time_ms / 1000, zone):%Y-%m-%d}"
                bar.update(task, completed=records, description=day)
            else:
                bar.update(task, completed=records)

        yield report
