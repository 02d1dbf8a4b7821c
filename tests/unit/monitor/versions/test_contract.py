"""Contract of a new version: what breaks it is an alarm or a warning, what was usual before is not."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from cell_cases import HOUR_MS, OWN
from evaluation_case import Era, Story, day_of, in_one_go, one_by_one, plain_config

from monitor.cells.versions import Rollout, current_rollout, running_version
from monitor.versions.contract import TALLY_SCHEMA, ContractWatch, VersionCounts, contract_tally, judge_contract
from schemas.events.evidence import Finding, FindingKind, Level

SLOW = {"late": {"definition": OWN["late"], "horizon": "20d", "retain": "30d"}}
"""Panes are whole days then, which are read sooner."""


def tally(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Return a tally of (input, check, bad, n), with the share of a bad day as an optional fifth."""
    whole = [(*row, 0.0) if len(row) == 4 else row for row in rows]
    return pl.DataFrame(whole, schema=TALLY_SCHEMA, orient="row")


def level_of(new: tuple[Any, ...], former: tuple[Any, ...] | None) -> str:
    """Return the level of the only finding, or an empty text."""
    found = judge_contract(tally(new), None if former is None else tally(former))
    return found[0].level.value if found else ""


OLD_OUTPUT = ("output", "missing", 10, 10_000)
OLD_AMOUNT = ("amount", "missing", 10, 10_000)


@pytest.mark.parametrize(
    ("new", "former", "level"),
    [
        (("output", "missing", 0, 500), OLD_OUTPUT, ""),
        (("output", "missing", 2, 500), OLD_OUTPUT, ""),
        (("output", "missing", 30, 500), OLD_OUTPUT, "alarm"),
        (("output", "missing", 500, 500), OLD_OUTPUT, "alarm"),
        (("output", "missing", 15, 1_000), OLD_OUTPUT, "warn"),
        (("output", "outside", 30, 500), None, "alarm"),
        (("output", "missing", 30, 500), ("output", "missing", 600, 10_000), ""),
        (("output", "missing", 49, 49), OLD_OUTPUT, ""),
        (("amount", "missing", 200, 500), OLD_AMOUNT, "alarm"),
        (("amount", "missing", 500, 500), OLD_AMOUNT, "alarm"),
        (("amount", "missing", 40, 500), OLD_AMOUNT, "warn"),
        (("amount", "missing", 7, 500), OLD_AMOUNT, ""),
        (("amount", "missing", 1_200, 10_000), ("amount", "missing", 600, 10_000), "warn"),
        (("amount", "missing", 200, 500), ("amount", "missing", 4_000, 10_000), ""),
        (("amount", "missing", 200, 500), ("amount", "missing", 100, 10_000, 0.41), ""),
        (("amount", "missing", 200, 500), None, ""),
        (("amount", "missing", 500, 500), None, "warn"),
        (("amount", "outside", 200, 500), None, "alarm"),
        (("output", "new_class", 100, 500), ("output", "new_class", 0, 10_000), "warn"),
        (("output", "new_class", 300, 500), ("output", "new_class", 0, 10_000), "alarm"),
    ],
)
def test_a_share_is_compared_with_the_usual_one(
    new: tuple[Any, ...], former: tuple[Any, ...] | None, level: str
) -> None:
    """From 0.1 % to 40 % is an alarm; what the version before had too, or on a bad day, is not."""
    assert level_of(new, former) == level


def test_a_finding_states_the_check_the_share_and_the_usual_share() -> None:
    """As shown on the page."""
    [found] = judge_contract(tally(("amount", "missing", 200, 500)), tally(OLD_AMOUNT))
    assert (found.kind, found.subject, found.value, found.limit) == (FindingKind.CONTRACT, "amount", 0.4, 0.001)
    assert found.text == (
        "the new version's first predictions: 40.0 % of amount has no value (the version before: 0.1 %)"
    )
    [never] = judge_contract(tally(("amount", "missing", 500, 500)), tally(OLD_AMOUNT))
    assert "amount is always missing" in never.text


def test_random_variation_is_hardly_ever_reported() -> None:
    """None of two thousand features that are missing as often as before."""
    rng = np.random.default_rng(1)
    shares = rng.uniform(0.001, 0.5, 2_000)
    new = tally(*((f"f{n}", "missing", rng.binomial(500, one), 500) for n, one in enumerate(shares)))
    former = tally(*((f"f{n}", "missing", round(one * 1e5), 100_000) for n, one in enumerate(shares)))
    assert judge_contract(new, former) == []


def contract(found: list[Finding]) -> list[tuple[str, str]]:
    """Return subject and level of the findings about a contract."""
    return [(one.subject, one.level.value) for one in found if one.kind is FindingKind.CONTRACT]


def test_a_feature_out_of_range_is_reported_until_the_version_keeps_the_contract() -> None:
    """From the first day on; a week after its start, a version that has kept the contract is no longer checked."""
    broken = Era("v2", 30, 45, amount=lambda day: 50.0 if day >= 40 else 500.0)
    story = Story(plain_config(labels=SLOW), [Era("v1", 24, 30), broken], delay_ms=2 * HOUR_MS)
    # the story clips amounts at 100, so they are set beyond the limit here
    story._predictions = story._predictions.with_columns(
        feature_amount=pl.when(pl.col("feature_amount") >= 100).then(500.0).otherwise(pl.col("feature_amount"))
    )
    found = [contract(one.findings) for one in in_one_go(story, (28, 44))]
    assert found[:2] == [[], []]
    assert found[2:13] == [[("amount", "alarm")]] * 11  # 300 rows a day: the day before counts too
    assert found[13:] == [[]] * 4
    assert [contract(one.findings) for one in one_by_one(story, (36, 42))] == found[8:15]


def test_a_healthy_version_is_never_reported() -> None:
    """Neither the first one nor its successor."""
    story = Story(plain_config(labels=SLOW), [Era("v1", 0, 8), Era("v2", 8, 18)])
    assert not any(contract(one.findings) for one in in_one_go(story, (0, 17)))


def test_binary_outputs_that_are_no_probability_are_missing_in_cells() -> None:
    """Predictions without a score count as missing; multiclass bins show new classes."""
    day = day_of(0)
    counts = pl.DataFrame(
        {"input": ["output", "label"], "day": [day] * 2, "bin": [5, 1], "amount": [60, 10]},
        schema={"input": pl.String, "day": pl.Date, "bin": pl.Int64, "amount": pl.Int64},
    )
    made = pl.DataFrame({"version": ["v1"], "day": [day], "amount": [100]})
    found = contract_tally(VersionCounts(counts, made), "binary", (day, day))
    assert found.row(0) == ("output", "missing", 40, 100, 0.4)
    other = contract_tally(VersionCounts(counts, made), "multiclass", (day, day), [3])
    assert other.filter(pl.col("check") == "new_class").row(0)[2:4] == (60, 60)


def test_days_with_few_predictions_are_checked_together() -> None:
    """Twenty a day: from the third day on there are fifty."""
    days = [day_of(number) for number in range(6)]
    counts = pl.DataFrame({"input": "amount", "day": days, "bin": -3, "amount": [20] * 6}).cast({"bin": pl.Int64})
    made = pl.DataFrame({"version": "v2", "day": days, "amount": [20] * 6})
    old = [day_of(-number) for number in range(1, 10)]
    usual = pl.DataFrame({"input": "amount", "day": old, "bin": 3, "amount": 100}).cast({"bin": pl.Int64})
    own, former = VersionCounts(counts, made), VersionCounts(usual, made.with_columns(version=pl.lit("v1")))
    watch = ContractWatch("regression")
    rollout = Rollout("v2", days[0], days[0], "v1")
    levels = [[one.level for one in watch.findings(rollout, day, own, former)] for day in days]
    assert levels == [[], [], *[[Level.ALARM]] * 4]


def test_the_rollout_agrees_with_the_running_version_of_every_day() -> None:
    """Shadows, days without predictions, and a version that comes back."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        amounts = rng.choice([0, 50, 95, 100], (12, 3))
        rows = [
            (f"v{version}", day_of(day), int(amounts[day, version]))
            for day in range(12)
            for version in range(3)
            if amounts[day, version]
        ]
        made = pl.DataFrame(rows, schema={"version": pl.String, "day": pl.Date, "amount": pl.Int64}, orient="row")
        days = made["day"].unique().sort().to_list()
        ran = {day: running_version(made.filter(pl.col("day") <= day)) for day in days}
        rollout = current_rollout(made)
        assert rollout is not None
        assert rollout.version == ran[days[-1]]
        mine = [day for day in days if day >= rollout.since]
        assert {ran[day] for day in mine} == {rollout.version}
        before = [day for day in days if day < rollout.since]
        assert rollout.former == (ran[before[-1]] if before else None)
        assert rollout.former != rollout.version
    assert current_rollout(made.clear()) is None


def test_the_counts_of_an_old_version_are_not_read() -> None:
    """Once a week has passed and the contract was kept."""
    days = [day_of(number) for number in range(40)]
    made = pl.DataFrame({"version": "v1", "day": days, "amount": [600] * 40})
    good = VersionCounts(
        pl.DataFrame({"input": "amount", "day": days, "bin": 3, "amount": 600}).cast({"bin": pl.Int64}), made
    )
    watch, rollout = ContractWatch("regression"), Rollout("v1", days[0], days[0], None)
    assert watch.findings(rollout, days[0] + timedelta(days=8), good, None) == []
    unreadable = VersionCounts(pl.DataFrame(), pl.DataFrame())
    assert watch.findings(rollout, days[-1], unreadable, None) == []


def test_what_breaks_after_the_first_days_is_not_reported_also_after_a_restart() -> None:
    """A new process reads the first days again; later ones are checked by `quality`."""
    days = [day_of(number) for number in range(30)]
    made = pl.DataFrame({"version": "v2", "day": days, "amount": [600] * 30})
    bins = [3 if number < 20 else -3 for number in range(30)]
    own = VersionCounts(
        pl.DataFrame({"input": "amount", "day": days, "bin": bins, "amount": 600}).cast({"bin": pl.Int64}), made
    )
    rollout = Rollout("v2", days[0], days[0], None)
    kept_running = ContractWatch("regression")
    for day in days[18:]:
        assert (
            kept_running.findings(rollout, day, own, None)
            == ContractWatch("regression").findings(rollout, day, own, None)
            == []
        )
