"""One step of a simulation, in a process of its own, called by `years.py`: `years_steps.py FOLDER MODE STEP DAY`.

Steps that measure something print one line of JSON: CPU seconds of user and system, all threads together, from
`process_time`; and the greatest memory of the process, in MB. What a role that runs on has in memory already is read
before the measurement; a nightly job has nothing.
"""

import argparse
import cProfile
import gc
import json
import pstats
import resource
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
from years_clock import age_files, now_ms, set_clock
from years_lake import check_counts, sizes
from years_live import LiveLake, Round
from years_roles import LiveRoles, NightlyJobs, look, maintain, maintainer_of, settings_of
from years_traffic import HOUR_MS, World, day_start_ms

from lake.key_history import read_key_history
from lake.session import connect
from truthloop.evidence.cells import read_evidence
from truthloop.feedback.reconcile import Reconciler
from truthloop.page.gather.gatherer import Gatherer
from truthloop.page.panels.view import Selection

LOOKS = 5
"""Looks at an unchanged lake that are measured together: one is short."""

APPEND_ROUNDS = 25
"""The last rounds of a day: the first of them opens the tables, the last one is folded, those between are measured."""

QUERY = """
SELECT status, count(*), avg(value) FROM scored
WHERE predicted_at >= epoch_ms(CAST(? AS BIGINT)) AND predicted_at < epoch_ms(CAST(? AS BIGINT))
GROUP BY status
"""

Figures = dict[str, float]


def main() -> None:
    """Take the step that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("mode", choices=["live", "nightly"])
    parser.add_argument("step")
    parser.add_argument("days", type=int, nargs="+", metavar="DAY")
    parser.add_argument("--profile", action="store_true", help="say where the time of what is measured goes")
    arguments = parser.parse_args()
    kind = LiveSteps if arguments.mode == "live" else NightlySteps
    steps = kind(arguments.folder, arguments.mode, is_profiled=arguments.profile)
    steps.set_clock(arguments.days[0])
    figures = getattr(steps, arguments.step)(*arguments.days)
    print(json.dumps(figures))


class _Steps:
    """The steps that are the same in both modes; each one is a method's name."""

    def __init__(self, folder: Path, mode: str, *, is_profiled: bool) -> None:
        self._is_profiled = is_profiled
        self.world = msgspec.json.decode((folder / "world.json").read_bytes(), type=World)
        self.folder = folder / mode
        self.settings = settings_of(self.world, self.folder)

    def set_clock(self, day: int) -> None:
        """Set the clock to when the records of a day are there."""
        set_clock(day_start_ms(day + 1))

    def maintenance(self, _day: int) -> Figures:
        """Measure what is due of maintenance."""
        maintainer = maintainer_of(self.settings)
        figures = self._measured(lambda: maintain(maintainer, self.settings))
        age_files(self.settings.lake)
        return figures

    def look(self, _day: int) -> Figures:
        """Measure looks at an unchanged lake."""
        reconciler = Reconciler(self.settings, now_ms)
        reconciler.run()
        return self._measured(reconciler.run, LOOKS)

    def page(self, _day: int) -> Figures:
        """Measure the first page of a process, all its panels filled."""
        gatherer = Gatherer(self.settings, now_ms, wait_s=600)
        figures = self._measured(lambda: gatherer.view(Selection("click")))
        gatherer.close()
        return figures

    def explain(self, day: int) -> Figures:
        """Measure the history of one key of the day before."""
        key = self.world.predictions(day - 1)["key"][0]

        def history() -> None:
            with connect(self.settings.lake) as connection:
                assert read_key_history(connection, key) is not None

        return self._measured(history)

    def query(self, day: int) -> Figures:
        """Measure the counts by status of the predictions of one day, three days ago."""
        bounds = [day_start_ms(day - 3), day_start_ms(day - 2)]
        found: list[tuple[str, int, float]] = []

        def ask() -> None:
            with connect(self.settings.lake) as connection:
                found.extend(connection.execute(QUERY, bounds).fetchall())

        figures = self._measured(ask)
        assert sum(count for _, count, _ in found) == self.world.predictions(day - 3).height
        return figures

    def check(self, day: int) -> Figures:
        """Compare what the views count with what was fed."""
        check_counts(self.world, self.settings.lake, day)
        return {}

    def sizes(self, _day: int) -> Figures:
        """Return the sizes of lake and state."""
        return sizes(self.settings)

    def _measured(self, work: Callable[[], object], times: int = 1) -> Figures:
        """Return the CPU seconds of doing something once, and the process's greatest memory, in MB."""
        gc.collect()
        profile = cProfile.Profile(time.process_time)
        began = time.process_time()
        for _ in range(times):
            if self._is_profiled:
                profile.runcall(work)
            else:
                work()
        cpu_s = (time.process_time() - began) / times
        if self._is_profiled:
            pstats.Stats(profile, stream=sys.stderr).sort_stats("cumtime").print_stats(60)
        return {"cpu_s": cpu_s, "rss_mb": rss_mb()}

    def _measured_evaluation(self, reconciler: Reconciler) -> Figures:
        """Measure a look that evaluates one day."""
        days: list[int] = []
        figures = self._measured(lambda: days.append(len(reconciler.run().evaluations)))
        assert days == [1], f"{days} days were evaluated, and one has ended"
        return figures


class LiveSteps(_Steps):
    """The steps of a live loop."""

    def advance(self, day: int, until: int) -> Figures:
        """Live through the days from `day` to before `until`."""
        roles = LiveRoles(self.world, self.folder)
        for one in range(day, until):
            roles.live(one)
        roles.close()
        return {}

    def evaluation(self, day: int) -> Figures:
        """Live through the morning of a day, and measure the feedback role's look at its end."""
        set_clock(day_start_ms(day))
        reconciler = Reconciler(self.settings, now_ms)
        reconciler.run()
        roles = LiveRoles(self.world, self.folder)
        roles.live(day, 0, self._morning(day), is_looking=False)
        roles.close()
        return self._measured_evaluation(reconciler)

    def live_on(self, day: int) -> Figures:
        """Live through a day after its morning, up to the last rounds."""
        roles = LiveRoles(self.world, self.folder)
        roles.live(day, self._morning(day), self.world.rounds(day) - APPEND_ROUNDS)
        roles.close()
        return {}

    def join(self, day: int) -> Figures:
        """Let the join read the last rounds of a day; what the topics get is kept in a file."""
        roles = LiveRoles(self.world, self.folder)
        count = self.world.rounds(day)
        rounds = list(roles.join.rounds(day, count - APPEND_ROUNDS, count))
        roles.close()
        self._messages.write_bytes(msgspec.msgpack.encode(rounds))
        return {}

    def append(self, _day: int) -> Figures:
        """Measure every append of the last rounds but the first, which opens the tables, and the last."""
        marks: list[float] = []
        lake = LiveLake(self.world, self.settings.lake, lambda _table: marks.append(time.process_time()))
        seconds: list[float] = []
        for at, (end_ms, messages) in enumerate(self._kept()[:-1]):
            set_clock(end_ms)
            parts = lake.cut(messages)
            marks[:] = [time.process_time()]
            lake.write(parts, end_ms)
            if at:
                seconds += [after - before for before, after in pairwise(marks)]
        age_files(self.settings.lake)
        return {"cpu_s": statistics.median(seconds), "rss_mb": rss_mb(), "greatest_cpu_s": max(seconds)}

    def fold(self, _day: int) -> Figures:
        """Append the last round, and measure how its rows become cells."""
        evidence = read_evidence(self.settings)
        end_ms, messages = self._kept()[-1]
        lake = LiveLake(self.world, self.settings.lake)
        lake.write(lake.cut(messages), end_ms)
        figures = self._measured(lambda: read_evidence(self.settings, evidence))
        age_files(self.settings.lake)
        self._messages.unlink()
        return figures

    def last_look(self, day: int) -> Figures:
        """Let the feedback role do what is due at the end of a day."""
        look(Reconciler(self.settings, now_ms), self.settings, day)
        age_files(self.settings.lake)
        return {}

    @property
    def _messages(self) -> Path:
        return self.folder / "messages"

    def _kept(self) -> list[tuple[int, Round]]:
        return msgspec.msgpack.decode(self._messages.read_bytes(), type=list[tuple[int, Round]])

    def _morning(self, day: int) -> int:
        """Return the number of rounds of the first three hours: by then every partition has had a label."""
        return self.world.rounds(day) // 8


class NightlySteps(_Steps):
    """The steps of a loop that is fed from files."""

    def set_clock(self, day: int) -> None:
        """Set the clock to the night after a day."""
        set_clock(day_start_ms(day + 1) + HOUR_MS)

    def advance(self, day: int, until: int) -> Figures:
        """Live through the days from `day` to before `until`."""
        jobs = NightlyJobs(self.world, self.folder)
        for one in range(day, until):
            jobs.live(one)
        return {}

    def night(self, day: int) -> Figures:
        """Measure a replay of one day."""
        jobs = NightlyJobs(self.world, self.folder)
        jobs.files(day)
        return self._measured(lambda: jobs.replay(day))

    def night_without_files(self, day: int) -> Figures:
        """Measure a replay that finds the files of the night before only."""
        jobs = NightlyJobs(self.world, self.folder)
        jobs.files(day)
        figures = self._measured(lambda: jobs.replay(day))
        jobs.finish(day)
        return figures

    def fold(self, _day: int) -> Figures:
        """Measure how the rows of a night become cells."""
        return self._measured(lambda: read_evidence(self.settings))

    def evaluation(self, _day: int) -> Figures:
        """Measure the evaluation of a day that has ended."""
        return self._measured_evaluation(Reconciler(self.settings, now_ms))

    def last_look(self, day: int) -> Figures:
        """Approve what waits."""
        look(Reconciler(self.settings, now_ms), self.settings, day)
        age_files(self.settings.lake)
        return {}


def rss_mb() -> float:
    """Return the greatest memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
