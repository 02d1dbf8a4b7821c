"""Shift: which days differ from the days before them, and which of them alarm."""

from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from cell_cases import bins_of
from effort import THOROUGH, examples, some
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.special import ndtr

from monitor.cells.histogram import ABOVE, BELOW, COUNT_SCHEMA, MISSING, Histogram
from monitor.cells.inputs import LABEL
from monitor.drift.input_shift import judge_inputs
from monitor.drift.shift import SHIFT_LOOKBACK, SHIFT_SCHEMA, judge_shift, shift_windows
from schemas.events.memory import ShiftWindow

START = date(2013, 1, 1)
EDGES = np.linspace(-6, 6, 129)
CATEGORIES = tuple("abcdefgh")
Generator = np.random.Generator


def numeric(name: str) -> Histogram:
    """Return the histogram of a number from -6 to 6."""
    return Histogram(name, "equal", low=-6.0, high=6.0)


def rows_of(name: str, day: int, bins: Iterable[int], amounts: npt.NDArray[np.int64]) -> pl.DataFrame:
    """Return the counts of one input and day, without zeros."""
    rows = pl.DataFrame(
        {"input": name, "day": START + timedelta(days=day), "bin": list(bins), "amount": amounts}, schema=COUNT_SCHEMA
    )
    return rows.filter(pl.col("amount") > 0)


def normal_rows(rng: Generator, name: str, day: int, n: int, mean: float = 0.0, sd: float = 1.0) -> pl.DataFrame:
    """Draw the counts of n normal values."""
    tails = ndtr((np.array([EDGES[0], EDGES[-1]]) - mean) / sd)
    shares = np.concatenate([np.diff(ndtr((EDGES - mean) / sd)), [tails[0], 1 - tails[1]]])
    return rows_of(name, day, [*range(128), BELOW, ABOVE], rng.multinomial(n, shares / shares.sum()))


def judged(parts: Iterable[pl.DataFrame], *histograms: Histogram) -> pl.DataFrame:
    """Judge all days."""
    found = judge_shift(pl.concat(parts), histograms)
    assert found.schema == SHIFT_SCHEMA
    return found


def day_of(number: int) -> date:
    """Return the day so many days after the first."""
    return START + timedelta(days=number)


def steady(seed: int, days: int, n: int = 1_000, mean: dict[int, float] | None = None) -> list[pl.DataFrame]:
    """Return counts of one input, with another mean on some days."""
    rng = np.random.default_rng(seed)
    return [normal_rows(rng, "x", day, n, (mean or {}).get(day, 0.0)) for day in range(days)]


def healthy(seed: int, days: int) -> tuple[list[pl.DataFrame], list[Histogram]]:
    """Return a loop of 15 inputs in good health.

    Four follow the year and the weather (which lasts some days), three the week, four nothing; there are
    three texts, one of which follows the week, and a boolean.
    """
    rng = np.random.default_rng(seed)
    kinds = {"weather": 4, "week": 3, "calm": 4}
    numbers = [numeric(f"{kind}{number}") for kind, count in kinds.items() for number in range(count)]
    texts = [Histogram(name, "category", categories=CATEGORIES) for name in ("class", "class_of_week")]
    shares = {"class": rng.dirichlet(np.full(8, 3.0)), "hash": rng.dirichlet(np.ones(64)), "flag": np.array([0.7, 0.3])}
    weekend_share = rng.dirichlet(np.full(8, 3.0))
    weather = np.zeros(4)
    parts = []
    for day in range(days):
        is_weekend = day_of(day).weekday() >= 5
        n = int(3_000 * (0.6 if is_weekend else 1.0) * np.exp(rng.normal(0, 0.1)))
        weather = 0.7 * weather + rng.normal(0, 0.36, 4)
        for number in range(4):
            season = -1.2 * np.cos(2 * np.pi * (day + 40 * number) / 365)
            parts.append(normal_rows(rng, f"weather{number}", day, n, season + weather[number]))
            parts.append(normal_rows(rng, f"calm{number}", day, n, rng.normal(0, 0.02)))
            if number < 3:
                parts.append(normal_rows(rng, f"week{number}", day, n, 0.4 * is_weekend + rng.normal(0, 0.03)))
        of_week = 0.7 * shares["class"] + 0.3 * weekend_share if is_weekend else shares["class"]
        for name, share in {**shares, "class_of_week": of_week}.items():
            parts.append(rows_of(name, day, range(len(share)), rng.multinomial(n, share)))
    return parts, [*numbers, *texts, Histogram("hash", "hash"), Histogram("flag", "flag")]


@pytest.mark.parametrize("seed", some(0, 1, 2, 3))
def test_a_healthy_loop_of_15_inputs_has_at_most_one_alarm_episode_a_month(seed: int) -> None:
    """Seasons, weather and weekends are no shift; an alarm episode has fewer than three days between alarms."""
    days = 365 if THOROUGH else 110
    parts, histograms = healthy(seed, days)
    found = judged(parts, *histograms)
    alarmed = found.filter(pl.col("level") == "alarm").get_column("day").unique().sort()
    episodes = int((alarmed.diff().dt.total_days().fill_null(9) > 3).sum())
    assert found.height == 15 * days
    assert episodes <= days / 30
    assert len(alarmed) <= 0.1 * days
    beyond_limits = (pl.col("psi") > 0.1) & (pl.col("p_value") < 1e-3)
    assert found.filter(beyond_limits).height > 10 * len(alarmed)


def test_a_shift_alarms_on_its_second_day_and_ends_after_four_weeks() -> None:
    """One day is critical; two of three are an alarm; after four weeks the reference has followed."""
    found = judged(steady(1, 100, mean=dict.fromkeys(range(60, 100), 0.8)), numeric("x"))
    levels = found.get_column("level").to_list()
    assert set(levels[:37]) == {"calibrating"}
    assert set(levels[37:60]) == {"ok"}
    assert levels[60:63] == ["critical", "alarm", "alarm"]
    assert levels[95:] == ["ok"] * 5
    first = found.row(60, named=True)
    assert (first["n"], first["reference_n"], first["since"]) == (1_000, 28_000, first["day"])
    assert first["psi"] == pytest.approx(0.62, abs=0.1)
    assert first["w1"] == pytest.approx(0.8, abs=0.1)


def test_one_odd_day_is_flagged_and_no_alarm() -> None:
    """Two flagged days of three are an alarm, also with a calm day between; with two between they are not."""
    levels = judged(steady(2, 80, mean={50: 0.4, 60: 0.4, 62: 0.6, 70: 1.0}), numeric("x")).get_column("level")
    assert levels[48:54].to_list() == ["ok", "ok", "warn", "ok", "ok", "ok"]
    assert levels[60:65].to_list() == ["warn", "ok", "alarm", "ok", "ok"]
    assert levels[70:73].to_list() == ["critical", "ok", "ok"]


def test_while_calibrating_there_is_never_an_alarm() -> None:
    """Two weeks for the first reference, and twenty windows for the past; distant days are flagged all the same."""
    found = judged(steady(3, 40, mean=dict.fromkeys(range(25, 33), 1.0)), numeric("x"))
    assert found.get_column("psi").is_null().to_list() == [True] * 14 + [False] * 26
    assert found.get_column("level").to_list()[:37] == ["calibrating"] * 37
    assert found.get_column("flagged").to_list()[25:33] == [True] * 8


def test_a_day_must_be_more_distant_than_the_input_usually_is() -> None:
    """An input that jumps every other day has a higher limit."""
    jumpy = {day: (day % 2) * (2.0 if day == 71 else 1.0) for day in range(80)}
    found = judged(steady(4, 80, mean=jumpy), numeric("x"))
    assert "alarm" not in found.get_column("level")
    assert found.row(70, named=True)["threshold"] > 0.15
    flagged = found.filter("flagged", pl.col("level") != "calibrating").get_column("day").to_list()
    assert day_of(71) in flagged
    assert len(flagged) <= 3


def test_a_long_alarm_does_not_raise_the_limit() -> None:
    """A week of alarms adds one window to the past, and no more: half such a shift alarms again."""
    means = {**dict.fromkeys(range(50, 57), 1.0), **dict.fromkeys(range(145, 149), 0.6)}
    levels = judged(steady(5, 149, mean=means), numeric("x")).get_column("level").to_list()
    assert levels[51:56] == ["alarm"] * 5
    assert levels[145:] == ["critical", "alarm", "alarm", "alarm"]


def test_days_with_few_rows_are_judged_together_by_their_last_day() -> None:
    """Two days of 300 are a window of 600; a day that does not complete a window has no row."""
    found = judged(steady(6, 61, n=300), numeric("x"))
    assert found.get_column("day").to_list() == [day_of(day) for day in range(1, 60, 2)]
    assert found.select((pl.col("day") - pl.col("since")).dt.total_days()).to_series().unique().to_list() == [1]
    assert set(found.get_column("n")) == {600}
    assert found.filter(pl.col("psi").is_null()).height == 7


def test_the_reference_needs_500_rows_and_fourteen_days() -> None:
    """28 days of 17 rows are too few to compare with."""
    found = judged([*steady(7, 28, n=17), *steady(7, 60, n=900)[28:]], numeric("x"))
    few = found.filter(pl.col("reference_n") == 0)
    assert few.height == 1
    assert found.filter(pl.col("psi").is_not_null()).get_column("reference_n").min() == 476 + 900 - 17


def test_one_outlier_that_chance_explains_is_no_discovery() -> None:
    """It is so far out that the distance is large; a single row is not significant."""
    histogram = Histogram("x", "logarithmic")
    rng = np.random.default_rng(8)
    parts = []
    for day in range(60):
        values = rng.lognormal(size=600)
        values[:1] = 1e9 if day in (50, 51) else 1.0
        counted = bins_of(histogram, pl.Series(values)).value_counts(name="amount")
        parts.append(rows_of("x", day, counted.to_series(0), counted.get_column("amount").cast(pl.Int64).to_numpy()))
    found = judged(parts, histogram)
    assert found.row(50, named=True)["w1"] > 1_000
    assert found.filter("flagged").is_empty()


def test_far_outliers_are_found_by_distance_where_the_index_is_small() -> None:
    """Five percent of values at five deviations: an index below 0.1, a distance above 0.2."""
    rng = np.random.default_rng(9)
    parts = [normal_rows(rng, "x", day, 2_000) for day in range(60)]
    parts += [normal_rows(rng, "x", day, 300, 5.0, 0.1) for day in (50, 51)]
    found = judged(parts, numeric("x"))
    row = found.row(51, named=True)
    assert row["level"] == "alarm"
    assert row["w1"] > row["w1_threshold"] >= 0.3


def test_a_slow_change_never_alarms() -> None:
    """Half a percent of a deviation a day is close to the month before."""
    found = judged(steady(10, 150, n=2_000, mean={day: 0.008 * day for day in range(150)}), numeric("x"))
    assert set(found.get_column("level")[37:]) == {"ok"}


def test_a_window_is_of_eight_weeks_at_most() -> None:
    """Nine rows a day are never enough; ten are, and so are later days of more."""
    assert judged(steady(20, 90, n=8), numeric("x")).is_empty()
    found = judged([*steady(20, 90, n=8), *steady(21, 92, n=300)[90:]], numeric("x"))
    assert found.select("since", "day").rows() == [(day_of(35), day_of(90))]
    assert found.get_column("n").to_list() == [55 * 8 + 300]


def test_texts_have_no_distance_and_missing_values_count() -> None:
    """A feature that turns null is a shift."""
    rng = np.random.default_rng(11)
    shares = rng.dirichlet(np.ones(8))
    parts = [rows_of("x", day, range(8), rng.multinomial(1_000, shares)) for day in range(52)]
    parts += [rows_of("x", day, [MISSING], np.array([1_000])) for day in (52, 53)]
    found = judged(parts, Histogram("x", "category", categories=CATEGORIES))
    assert found.get_column("w1").is_null().all()
    assert found.get_column("level").to_list()[50:] == ["ok", "ok", "critical", "alarm"]


def test_an_input_of_one_value_is_ok_until_it_moves() -> None:
    """Without spread there is no distance; the index finds the move."""
    parts = [rows_of("x", day, [5 if day < 50 else 6], np.array([1_000_000])) for day in range(52)]
    found = judged(parts, numeric("x"))
    assert found.get_column("psi").to_list()[14:50] == pytest.approx([0.0] * 36, abs=1e-9)
    assert found.get_column("level").to_list()[48:] == ["ok", "ok", "critical", "alarm"]


def test_an_input_that_disappears_has_no_rows_and_the_others_go_on() -> None:
    """Its absence is a check of `quality`."""
    parts = [*steady(12, 60), *(part.with_columns(input=pl.lit("y")) for part in steady(13, 40))]
    found = judged(parts, numeric("x"), numeric("y"), numeric("z"))
    assert found.filter(pl.col("input") == "y").get_column("day").max() == day_of(39)
    assert found.filter(pl.col("input") == "x").height == 60
    assert judged(parts, numeric("x")).get_column("input").unique().to_list() == ["x"]


def test_no_days_and_one_day_are_no_error() -> None:
    """A version that has just been deployed."""
    assert judged([COUNT_SCHEMA.to_frame()], numeric("x")).is_empty()
    assert judge_shift(pl.concat(steady(14, 40)), []).is_empty()
    one = judged(steady(14, 1), numeric("x"))
    assert one.select("psi", "w1", "p_value", "flagged", "level").rows() == [(None, None, None, False, "calibrating")]
    assert judged(steady(14, 1, n=499), numeric("x")).is_empty()


def test_labels_are_judged_up_to_another_day_than_inputs_and_alone() -> None:
    """What is known of either is not judged again, even if its counts have changed."""
    before, after = (
        pl.concat([*steady(seed, 40), *(part.with_columns(input=pl.lit(LABEL)) for part in steady(seed + 1, 40))])
        for seed in (15, 17)
    )
    histograms = [numeric("x"), numeric(LABEL)]
    first = judge_inputs(before, histograms)
    known = [one for one in first if one.input == "x"]
    restated = judge_inputs(after, histograms, known, (day_of(39), date.min))
    assert {one.input for one in first} == {"x", LABEL}
    assert restated == [one for one in judge_inputs(after, histograms) if one.input == LABEL]
    [last] = judge_inputs(after, histograms, first[:-2] + known[-1:], (day_of(39), day_of(38)))
    assert (last.input, last.day) == (LABEL, day_of(39))


@settings(max_examples=examples(160), deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 59),
    st.lists(st.sampled_from([0, 40, 300, 900, 5_000]), min_size=60, max_size=60),
    st.dictionaries(st.integers(30, 59), st.sampled_from([0.3, 0.6, 1.5]), max_size=12),
)
def test_later_days_never_change_a_verdict(seed: int, until: int, sizes: list[int], means: dict[int, float]) -> None:
    """The rows of the first days are the same whatever follows them, and in any order of counts."""
    rng = np.random.default_rng(seed)
    parts = []
    for day, n in enumerate(sizes):
        parts.append(normal_rows(rng, "x", day, n, means.get(day, 0.0)))
        parts.append(rows_of("y", day, [*range(8), MISSING], rng.multinomial(n, rng.dirichlet(np.full(9, 30.0)))))
    histograms = [numeric("x"), Histogram("y", "category", categories=CATEGORIES)]
    counts = pl.concat(parts)
    last = day_of(until - 1)
    early = judge_shift(counts.filter(pl.col("day") <= last), histograms)
    late = judge_shift(counts.sample(fraction=1.0, shuffle=True, seed=1), histograms[::-1])
    assert_frame_equal(early, late.filter(pl.col("day") <= last), check_exact=False, abs_tol=1e-9)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from([0, 4, 40, 300, 900]), min_size=220, max_size=220),
    st.dictionaries(st.integers(30, 219), st.sampled_from([0.6, 1.5]), max_size=30),
    st.sets(st.integers(1, 219), min_size=1, max_size=6),
)
def test_judged_in_parts_from_what_is_remembered_verdicts_are_the_same_to_the_bit(
    seed: int, sizes: list[int], means: dict[int, float], cuts: set[int]
) -> None:
    """Of the days before a part, only as many are read as a window and its reference may have."""
    rng = np.random.default_rng(seed)
    parts = []
    for day, n in enumerate(sizes):
        parts.append(normal_rows(rng, "x", day, n, means.get(day, 0.0)))
        parts.append(rows_of("y", day, [*range(8), MISSING], rng.multinomial(n, rng.dirichlet(np.full(9, 30.0)))))
    histograms, counts = [numeric("x"), Histogram("y", "category", categories=CATEGORIES)], pl.concat(parts)
    found: list[ShiftWindow] = []
    until = date.min
    for cut in [*sorted(cuts), len(sizes)]:
        needed = until if until == date.min else until - SHIFT_LOOKBACK
        read = counts.filter(pl.col("day").is_between(needed, day_of(cut - 1))).sample(fraction=1.0, shuffle=True)
        known = [ShiftWindow.model_validate_json(one.model_dump_json()) for one in found]
        found += shift_windows(judge_shift(read, histograms, known, until))
        until = day_of(cut - 1)
    assert found == shift_windows(judge_shift(counts, histograms))


def test_a_past_reaches_back_a_year() -> None:
    """An alarm of two years is forgotten, and what was learned before it with it: the input is calibrated anew."""
    found = judged(steady(22, 800, n=600), numeric("x"))
    known = shift_windows(found)
    assert found.get_column("level").to_list()[-1] == "ok"
    again = judge_shift(pl.concat(steady(22, 800, n=600)[-90:]), [numeric("x")], known[:799][-365:], day_of(798))
    assert shift_windows(again) == known[-1:]
    alone = judge_shift(pl.concat(steady(22, 800, n=600)[-90:]), [numeric("x")], known[:799][-20:], day_of(798))
    assert alone.get_column("level").to_list() == ["calibrating"]
