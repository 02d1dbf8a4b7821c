"""Retraining policies on a year of flights: how often a model is deployed, and what it is worth.

Every Monday at midnight in New York the demo's model may be trained again on what is known by then; the first one is
the demo's own of January. The policies:

- never; weekly, 3-weekly and 4-weekly: every model that is due takes over at once, whatever it is worth.
- weekly, 3-weekly without the holdout: the same models, trained without the newest 14 mature days. Nothing that is
  judged on these days and ships as it was judged can know more than they do.
- best 12: of the same models those twelve that turn out best, at the right weeks: what no rule can know.
- gate: a model is trained without the newest 14 mature days, as the data set of a request has them (`train` and
  `holdout`), and judged on these days by `monitor.versions.candidate.judge_candidate` against what the running version
  said of the same flights when it ran. If it may ship, it takes over as it was judged, never fitted again; else
  another one is trained a week later. A version that has not yet decided on 14 mature days cannot be compared, so
  nothing is trained for three weeks after a deployment.
- gate by the verdict alone: the same, and checks of segments, calibration and weeks are not asked.
- superior: the same, but the whole interval of the difference must be below zero.
- not worse: the same, but only an inferior one is dropped.
- fitted again: the gate, but what takes over is not what was judged: a model fitted anew on all that is known.
- shadow: the gate, but a model is trained on all that is known and scores alongside the running one until it has been
  judged on 14 mature days; dropped if inferior, or undecided after four weeks.

All are charged with the log loss of what decided, on the flights from the first Monday on that got a label. With
`--bad N`, N of the weeks, evenly spread, give faulty models: half the logit too high, whoever trains then. `--window`
has other days than 14 in a holdout.

Prints a table in Markdown. The same options give the same figures.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.versions.candidate import CandidateLimits, judge_candidate
from schemas.events.candidate import CandidateJudgement
from truthloop.demo.features import features_at_prediction
from truthloop.demo.flights import FLIGHT_KEY, NEW_YORK, data_folder, read_flights, read_weather
from truthloop.demo.model import LATE_AFTER_MIN, TRAINED_AT, known_labels, train

WEEK = timedelta(days=7)
FIRST_MONDAY = date(2013, 4, 15)
WEEKS = 37
MATURE_AFTER = timedelta(days=2)
"""The last flight of a day is judged a day after the day's end, as the demo's config has it (24 h)."""
WAIT_WEEKS = 3
"""So many Mondays pass until a version has decided on as many mature days."""
PATIENCE_WEEKS = 4
FAULT = 0.5

Floats = npt.NDArray[np.float64]
Rule = Callable[[CandidateJudgement], bool]


@dataclass(frozen=True)
class Year:
    """The flights that got a label, and what each model says of them.

    Model 0 is that of January, 1 to `WEEKS` are trained on all that is known on a Monday, and those from `WEEKS` + 1 on
    without the newest mature days.
    """

    day: npt.NDArray[np.datetime64]
    late: Floats
    origin: list[str]
    scores: list[Floats]
    window: int

    def loss(self, model: int, rows: npt.NDArray[np.bool_]) -> Floats:
        """Return the log losses of a model on rows."""
        score = np.clip(self.scores[model][rows], 1e-15, 1 - 1e-15)
        return -np.log(np.where(self.late[rows] == 1, score, 1 - score))

    def pairs(self, running: int, candidate: int, rows: npt.NDArray[np.bool_]) -> pl.DataFrame:
        """Return rows as `judge_candidate` takes them."""
        return pl.DataFrame(
            {
                "day": self.day[rows],
                "truth": self.late[rows],
                "running": self.scores[running][rows],
                "candidate": self.scores[candidate][rows],
                "slice_origin": np.array(self.origin)[rows],
            }
        ).with_columns(pl.col("day").cast(pl.Date))


@dataclass
class Run:
    """What a policy has done: which model decided in each week."""

    deployed: list[int] = field(default_factory=list)
    trainings: int = 0
    deployments: int = 0
    verdicts: list[str] = field(default_factory=list)


def main() -> None:
    """Read, train, try every policy, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bad", type=int, default=0, help="so many of the models are faulty")
    parser.add_argument("--verbose", action="store_true", help="tell every verdict")
    parser.add_argument("--window", type=int, default=14, help="days of the holdout; 14 is the product's default")
    arguments = parser.parse_args()
    year = read_year(arguments.bad, arguments.window)
    runs = {
        "never": Run([0] * WEEKS),
        "weekly, ungated": ungated(1),
        "3-weekly, ungated": ungated(3),
        "4-weekly, ungated": ungated(4),
        "weekly, ungated, without the holdout": ungated(1, WEEKS),
        "3-weekly, ungated, without the holdout": ungated(3, WEEKS),
        "best 12 with hindsight, without the holdout": best(year, 12, WEEKS),
        "gate: may ship": gated(year, may_ship),
        "gate by the verdict alone": gated(year, lambda found: found.verdict == "non_inferior"),
        "superior": gated(year, is_superior),
        "not worse": gated(year, lambda found: found.verdict != "inferior"),
        "fitted again": gated(year, may_ship, is_fitted_again=True),
        "shadow": shadowed(year, may_ship),
    }
    show(year, runs)
    if arguments.verbose:
        for name, run in runs.items():
            print("", name, *run.verdicts, sep="\n  ")


def may_ship(found: CandidateJudgement) -> bool:
    """Return what the product says."""
    return found.may_ship


def is_superior(found: CandidateJudgement) -> bool:
    """Return whether the candidate certainly loses less."""
    return found.upper is not None and found.upper < 0


def monday(week: int) -> datetime:
    """Return the beginning of a week."""
    day = FIRST_MONDAY + week * WEEK
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(NEW_YORK)).astimezone(UTC)


def last_mature(week: int) -> date:
    """Return the newest day that is mature when a week begins."""
    return FIRST_MONDAY + week * WEEK - MATURE_AFTER


def holdout_begin(week: int, window: int) -> datetime:
    """Return where the newest mature days begin."""
    day = last_mature(week) - timedelta(days=window - 1)
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(NEW_YORK)).astimezone(UTC)


def read_year(bad: int, window: int) -> Year:
    """Return the year, scored by the model of January and by one of each Monday from its Monday on."""
    source = data_folder()
    flights = read_flights(source)
    features = features_at_prediction(flights, read_weather(source))
    own = flights.select(*FLIGHT_KEY, late=(pl.col("arr_delay_min") > LATE_AFTER_MIN).cast(pl.Float64))
    later = features.filter(pl.col("predicted_at") >= holdout_begin(0, window)).join(
        own, on=FLIGHT_KEY, how="left", validate="1:1"
    )
    later = later.filter(pl.col("late").is_not_null()).sort("predicted_at", *FLIGHT_KEY)
    faulty = set(np.linspace(0, WEEKS, bad + 2)[1:-1].round().astype(int).tolist())
    models = [(TRAINED_AT, 0), *((monday(week), week + 1) for week in range(WEEKS))]
    models += [(holdout_begin(week, window), week + 1) for week in range(WEEKS)]
    scores = []
    for at, number in models:
        known = features.filter(pl.col("predicted_at") < at)
        trained = train(known, known_labels(flights, at), version=f"v{number}")
        score = (trained.percent_late(later) / 100).to_numpy().clip(1e-4, 1 - 1e-4)
        logit = np.log(score / (1 - score)) + (FAULT if number in faulty else 0.0)
        scores.append(1 / (1 + np.exp(-logit)))
    day = later["predicted_at"].dt.convert_time_zone(NEW_YORK).dt.date()
    return Year(day.to_numpy(), later["late"].to_numpy(), later["origin"].to_list(), scores, window)


def ungated(every: int, offset: int = 0) -> Run:
    """Deploy every model that is due; those from `offset` on are meant."""
    due = range(0, WEEKS, every)
    return Run([offset + week // every * every + 1 for week in range(WEEKS)], len(due), len(due))


def best(year: Year, deployments: int, offset: int) -> Run:
    """Return the deployments that turn out to be best, found by trying the way to each model, week by week."""
    ways: dict[tuple[int, int], tuple[float, Run]] = {(0, 0): (0.0, Run())}
    for week in range(WEEKS):
        longer: dict[tuple[int, int], tuple[float, Run]] = {}
        costs = {model: week_loss(year, model, week) for model in {model for model, _ in ways} | {offset + week + 1}}
        for (current, count), (cost, run) in ways.items():
            for model in {current, offset + week + 1}:
                after = (model, count + (model != current))
                total = cost + costs[model]
                if after[1] <= deployments and (after not in longer or total < longer[after][0]):
                    longer[after] = (total, Run([*run.deployed, model], after[1], after[1]))
        ways = longer
    return min(ways.values(), key=lambda way: way[0])[1]


def judged(year: Year, models: tuple[int, int], days: tuple[date, date], run: Run) -> CandidateJudgement:
    """Judge the second model against the first one on some days, and note it."""
    since, until = (np.datetime64(day) for day in days)
    rows = (year.day >= since) & (year.day <= until)
    found = judge_candidate(year.pairs(*models, rows), "binary", ["origin"], CandidateLimits(days=year.window))
    failed = ", ".join(check.name for check in found.checks if check.passed is False)
    run.verdicts.append(
        f"{days[1]}: model {models[1]} against {models[0]}: {found.verdict}: {found.text}; failed: {failed}"
    )
    return found


def gated(year: Year, rule: Rule, *, is_fitted_again: bool = False) -> Run:
    """Judge a new model each week on the newest mature days, once the running one has decided on all of them."""
    run, current, since = Run(), 0, -WAIT_WEEKS
    for week in range(WEEKS):
        if week - since >= WAIT_WEEKS:
            candidate = WEEKS + 1 + week
            run.trainings += 1
            last = last_mature(week)
            found = judged(year, (current, candidate), (last - timedelta(days=year.window - 1), last), run)
            if rule(found):
                current, since = week + 1 if is_fitted_again else candidate, week
                run.deployments += 1
        run.deployed.append(current)
    return run


def shadowed(year: Year, rule: Rule) -> Run:
    """Let one model at a time score alongside the running one, and deploy it where the rule says so."""
    run, current, candidate = Run(), 0, 0
    for week in range(WEEKS):
        begun = candidate - 1
        if candidate and week - begun >= WAIT_WEEKS:
            found = judged(year, (current, candidate), (FIRST_MONDAY + begun * WEEK, last_mature(week)), run)
            if rule(found):
                current, candidate = candidate, 0
                run.deployments += 1
            elif found.verdict == "inferior" or week - begun >= PATIENCE_WEEKS:
                candidate = 0
        if not candidate:
            candidate = week + 1
            run.trainings += 1
        run.deployed.append(current)
    return run


def in_week(year: Year, week: int) -> npt.NDArray[np.bool_]:
    """Return which flights are of a week."""
    begin = np.datetime64(FIRST_MONDAY + week * WEEK)
    return (year.day >= begin) & (year.day < begin + np.timedelta64(7, "D"))


def week_loss(year: Year, model: int, week: int) -> float:
    """Return the summed log loss of a model in a week."""
    return float(year.loss(model, in_week(year, week)).sum())


def log_loss(year: Year, run: Run) -> float:
    """Return the mean log loss of what decided."""
    total = sum(week_loss(year, model, week) for week, model in enumerate(run.deployed))
    return total / sum(int(in_week(year, week).sum()) for week in range(WEEKS))


def show(year: Year, runs: dict[str, Run]) -> None:
    """Print the table."""
    losses = {name: log_loss(year, run) for name, run in runs.items()}
    worst, best = losses["never"], losses["weekly, ungated"]
    count = int((year.day >= np.datetime64(FIRST_MONDAY)).sum())
    print(f"{count:,} labelled flights from {FIRST_MONDAY} on, {WEEKS} weeks\n")
    print("| policy | log loss | of weekly's gain | trainings | deployments |")
    print("|---|---|---|---|---|")
    for name, run in runs.items():
        gain = (worst - losses[name]) / (worst - best)
        print(f"| {name} | {losses[name]:.4f} | {gain:.0%} | {run.trainings} | {run.deployments} |")


if __name__ == "__main__":
    main()
