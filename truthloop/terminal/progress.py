"""The progress bar of a replay on stderr: records so far, records a second, event time."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from schemas.base.figures import zone_of
from streams.replay.replay import ReplayProgress
from truthloop.terminal.console import notes

__all__ = ["ReplayBar", "progress_bar"]


class _Rate(ProgressColumn):
    """Records a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:>9,.0f}/s")


class ReplayBar(ReplayProgress):
    """The bar of one replay.

    Args:
        bar: what is shown.
        total: number of records, if known.
        zone: the days that are shown are those of this time zone.
    """

    def __init__(self, bar: Progress, total: int | None, zone: tzinfo) -> None:
        self._bar, self._zone = bar, zone
        self._joining = bar.add_task("reading ...", total=total)
        self._restoring: TaskID | None = None

    def joined(self, records: int, event_time_ms: int | None) -> None:
        """Show how many records have been joined, and the day that has been reached."""
        if event_time_ms is None:
            self._bar.update(self._joining, completed=records)
            return
        day = f"{datetime.fromtimestamp(event_time_ms / 1000, self._zone):%Y-%m-%d}"
        self._bar.update(self._joining, completed=records, description=day)

    def restored(self, rows: int, total: int) -> None:
        """Show how much of the state has been restored from the lake."""
        if self._restoring is None:
            self._restoring = self._bar.add_task("restoring the state from the lake ...", total=total)
        self._bar.update(self._restoring, completed=rows, visible=rows < total)


@contextmanager
def progress_bar(total: int | None, timezone: str = "UTC") -> Iterator[ReplayBar]:
    """Show a progress bar while the block runs.

    Args:
        total: number of records, if known.
        timezone: of the loop; the day that is shown is one of its days.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:>11,.0f} records"),
        _Rate(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notes.console, transient=True) as bar:
        yield ReplayBar(bar, total, zone_of(timezone))
