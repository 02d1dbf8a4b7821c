"""The roles of a simulated loop, driven through its days: live ones that run on, and nightly jobs.

Both set the wall clock, approve the backfills that wait, maintain the lake, and give what they write the age that it
should have.
"""

from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from years_clock import age_files, now_ms, set_clock
from years_live import LiveJoin, LiveLake
from years_traffic import HOUR_MS, World, day_start_ms, is_backfill_day

from lake import Lake
from lake.closed_days import close_days
from lake.maintenance.maintainer import Maintainer
from retrain.approval import Person, RulingOutcome, RulingRequest
from schemas.events.backfill import Verdict
from streams.ledger.retention import drop_old_rows
from truthloop.config.settings import Settings
from truthloop.evidence.approvals import open_approvals
from truthloop.feedback.reconcile import Reconciler
from truthloop.run.replay_files import replay_files

__all__ = ["LiveRoles", "NightlyJobs", "look", "maintain", "maintainer_of", "settings_of"]

AGE_EVERY = 500
"""Rounds after which what they have written gets its age, on a day that has more."""

MAINTAIN_EVERY = 40
"""Rounds between two looks at what is due of maintenance; the lake role makes as many files between its own."""


def settings_of(world: World, folder: Path) -> Settings:
    """Return the settings of a loop whose folders are all in `folder`."""
    paths = (folder / "truthloop.yaml", folder / "lake", folder / "state", folder / "datasets")
    return Settings(world.config(), *paths)


class LiveRoles:
    """Join, lake writer with its maintenance, and feedback role, as long as one process lives."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._settings = world, settings_of(world, folder)
        self.join = LiveJoin(world, self._settings.state, folder)
        self._lake: LiveLake | None = None
        self._maintainer: Maintainer | None = None
        self._reconciler: Reconciler | None = None

    def live(self, day: int, first: int = 0, following: int | None = None, *, is_looking: bool = True) -> None:
        """Live through the rounds [first, following) of a day; the feedback role looks some times, and at its end."""
        count = self._world.rounds(day)
        every = -(-count // self._world.looks)
        for number, (end_ms, messages) in enumerate(self.join.rounds(day, first, following), first):
            set_clock(end_ms)
            self._lake = self._lake or LiveLake(self._world, self._settings.lake)
            self._lake.write(self._lake.cut(messages), end_ms)
            if is_looking and ((number + 1) % every == 0 or number + 1 == count):
                self._reconciler = self._reconciler or Reconciler(self._settings, now_ms)
                look(self._reconciler, self._settings, day)
            if (number + 1) % MAINTAIN_EVERY == 0 or number + 1 == count:
                self._maintainer = self._maintainer or maintainer_of(self._settings)
                maintain(self._maintainer, self._settings)
            if number % AGE_EVERY == AGE_EVERY - 1:
                age_files(self._settings.lake)
        age_files(self._settings.lake)

    def close(self) -> None:
        """End the roles."""
        self.join.close()


class NightlyJobs:
    """The jobs of a loop that is fed from files, in the night after each day: replay, evaluation, maintenance."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder, self._settings = world, folder, settings_of(world, folder)
        self._reconciler: Reconciler | None = None

    def live(self, day: int) -> None:
        """Live through a day and the night after it."""
        self.replay(day)
        self._reconciler = self._reconciler or Reconciler(self._settings, now_ms)
        look(self._reconciler, self._settings, day)
        maintain(maintainer_of(self._settings), self._settings)
        self.finish(day)

    def replay(self, day: int) -> None:
        """Replay the files of a day."""
        set_clock(day_start_ms(day + 1) + HOUR_MS)
        predictions, labels = self.files(day)
        replay_files(self._settings, [predictions], [labels], now_ms=now_ms(), close_at_ms=None)

    def files(self, day: int) -> tuple[Path, Path]:
        """Return the files of a day, written if they are not there yet."""
        return self._world.write(day, self._folder)

    def finish(self, day: int) -> None:
        """Remove the files of a day, and age what the night has written."""
        for file in self.files(day):
            file.unlink()
        age_files(self._settings.lake)


def look(reconciler: Reconciler, settings: Settings, day: int) -> None:
    """Let the feedback role do what is due; on the day of a backfill a person approves it once it is found."""
    reconciler.run()
    if is_backfill_day(day) and _approve(settings):
        reconciler.run()


def maintainer_of(settings: Settings) -> Maintainer:
    """Return the maintainer of a loop's lake."""
    return Maintainer(settings.lake, settings.config.lake.keep_readable)


def maintain(maintainer: Maintainer, settings: Settings) -> None:
    """Do what is due of maintenance, as `truthloop lake maintain` does."""
    for _ in maintainer.sweep(now_ms()):
        pass
    left = drop_old_rows(maintainer, Lake.open(settings.lake), settings.config, now_ms)
    closed = close_days(settings.lake, datetime.fromtimestamp(now_ms() / 1000, UTC))
    for _ in chain(left, maintainer.steps(now_ms), closed):
        pass


def _approve(settings: Settings) -> int:
    """Approve the backfills that wait; return their number."""
    approvals = open_approvals(settings, now_ms)
    person = Person("bench", "attested", "terminal")
    waiting = [status for status in approvals.statuses() if status.is_waiting]
    for status in waiting:
        request = RulingRequest(status.episode.id, status.diff_sha256, Verdict.APPROVED, "they are right", person)
        assert approvals.rule(request).outcome is RulingOutcome.DONE
    return len(waiting)
