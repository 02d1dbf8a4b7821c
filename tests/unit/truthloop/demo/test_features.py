"""The features of the demo's model: known two hours before departure, and nothing later."""

import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from truthloop.demo.features import FEATURES, LEAD, features_at_prediction
from truthloop.demo.flights import FLIGHT_KEY, data_folder, read_flights, read_weather

WEATHER = FEATURES[FEATURES.index("temp_f") : FEATURES.index("visibility_mi") + 1]
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    """All flights of 2013."""
    return read_flights(data_folder())


@pytest.fixture(scope="module")
def weather() -> pl.DataFrame:
    """All weather of 2013."""
    return read_weather(data_folder())


@pytest.fixture(scope="module")
def features(flights: pl.DataFrame, weather: pl.DataFrame) -> pl.DataFrame:
    """The features of each flight of 2013."""
    return features_at_prediction(flights, weather)


def flight(number: int, departs: datetime, delay_min: int | None, origin: str = "JFK") -> dict[str, object]:
    """One flight as `read_flights` returns it."""
    left = None if delay_min is None else departs + timedelta(minutes=delay_min)
    return {
        "flight_date": f"{departs:%Y-%m-%d}",
        "flight": f"UA{number}",
        "origin": origin,
        "scheduled": f"{departs:%H:%M}",
        "carrier": "UA",
        "dest": "ATL",
        "distance_mi": 760,
        "scheduled_departure": departs,
        "scheduled_arrival": departs + 2 * HOUR,
        "departed_at": left,
        "dep_delay_min": delay_min,
        "arrived_at": None,
        "arr_delay_min": None,
    }


def flights_of(*rows: dict[str, object]) -> pl.DataFrame:
    """A frame of flights."""
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        list(rows),
        schema_overrides={"departed_at": instant, "scheduled_departure": instant, "scheduled_arrival": instant}
        | {"dep_delay_min": pl.Int64},
    )


def weather_at(*hours: datetime, origin: str = "JFK") -> pl.DataFrame:
    """Weather whose temperature is the number of its hour."""
    rows = [
        {"origin": origin, "hour_start": hour} | dict.fromkeys(WEATHER, 1.0) | {"temp_f": float(hour.hour)}
        for hour in hours
    ]
    return pl.DataFrame(rows, schema_overrides={"hour_start": pl.Datetime("us", "UTC")})


NO_WEATHER = weather_at(datetime(2013, 1, 1, tzinfo=UTC)).clear()


def other_future(flights: pl.DataFrame, weather: pl.DataFrame, moment: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Change everything that happened after `moment`: departures, cancellations, arrivals, weather."""
    chance = pl.int_range(pl.len()).hash(3) % 4
    left_later = pl.col("departed_at").is_null() | (pl.col("departed_at") > moment)
    delay_min = pl.when(chance > 0).then(pl.int_range(pl.len()).hash(5) % 600).cast(pl.Int64)
    # A later departure may move, but not before `moment`.
    least_min = (moment - pl.col("scheduled_departure")).dt.total_minutes().clip(0) + 1
    new_flights = flights.with_columns(
        dep_delay_min=pl.when(left_later).then(delay_min + least_min).otherwise("dep_delay_min")
    ).with_columns(
        departed_at=pl.col("scheduled_departure") + pl.duration(minutes="dep_delay_min"),
        arrived_at=pl.when(pl.col("arrived_at") <= moment).then("arrived_at"),
        arr_delay_min=pl.when(pl.col("arrived_at") <= moment).then("arr_delay_min"),
    )
    later_hour = pl.col("hour_start") + HOUR > moment
    new_weather = weather.with_columns(pl.when(later_hour).then(pl.col(name) + 7).otherwise(name) for name in WEATHER)
    return new_flights, new_weather


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2013, 1, 20, 17, 0, tzinfo=UTC),
        datetime(2013, 2, 9, 15, 30, tzinfo=UTC),
        datetime(2013, 3, 10, 8, 59, tzinfo=UTC),
        datetime(2013, 7, 10, 21, 15, tzinfo=UTC),
        datetime(2013, 11, 3, 13, 1, tzinfo=UTC),
    ],
    ids=str,
)
def test_nothing_that_happens_later_changes_what_was_known(
    flights: pl.DataFrame, weather: pl.DataFrame, features: pl.DataFrame, moment: datetime
) -> None:
    """A different future after any instant changes no prediction made up to that instant."""
    other = features_at_prediction(*other_future(flights, weather, moment))
    known = pl.col("predicted_at") <= moment
    assert_frame_equal(other.filter(known), features.filter(known), check_exact=True)
    after, other_after = features.filter(~known), other.filter(~known)
    for name in (*WEATHER, "origin_departures", "origin_delay_min"):  # the future did change
        assert not after[name].equals(other_after[name])


def test_a_flights_own_delay_is_in_none_of_its_features(
    flights: pl.DataFrame, weather: pl.DataFrame, features: pl.DataFrame
) -> None:
    """Late or cancelled, its features are the same; arrivals are not used at all."""
    without = features_at_prediction(flights.drop("arrived_at", "arr_delay_min"), weather)
    assert without.equals(features)
    departs = datetime(2013, 7, 1, 18, 0, tzinfo=UTC)
    late, gone = (features_at_prediction(flights_of(flight(1, departs, d)), NO_WEATHER) for d in (300, None))
    assert late.equals(gone)


def test_the_weather_is_that_of_the_last_complete_hour() -> None:
    """The current hour is not known yet, and the one before the last is too old."""
    hours = [datetime(2013, 7, 1, hour, tzinfo=UTC) for hour in range(24)]
    departures = [
        datetime(2013, 7, 1, 17, 59, tzinfo=UTC),
        datetime(2013, 7, 1, 18, 0, tzinfo=UTC),
        datetime(2013, 7, 1, 18, 1, tzinfo=UTC),
    ]
    rows = flights_of(*(flight(number, at, 0) for number, at in enumerate(departures)))
    found = features_at_prediction(rows, weather_at(*hours))
    assert found["predicted_at"].to_list() == [at - LEAD for at in departures]
    assert found["temp_f"].to_list() == [14.0, 15.0, 15.0]


def test_weather_that_is_missing_is_null_and_not_that_of_another_hour_or_airport() -> None:
    """A model can handle missing values, but not wrong ones."""
    departs = datetime(2013, 7, 1, 18, 0, tzinfo=UTC)
    others = pl.concat(
        [weather_at(departs - 4 * HOUR, departs - 2 * HOUR), weather_at(departs - 3 * HOUR, origin="EWR")]
    )
    found = features_at_prediction(flights_of(flight(1, departs, 0)), others)
    assert found.select(WEATHER).row(0) == (None,) * len(WEATHER)


def test_delays_at_the_airport_are_of_departures_in_the_two_hours_before_both_ends_included() -> None:
    """A minute earlier is too old, a minute later is not known yet, and other airports do not count."""
    departs = datetime(2013, 7, 1, 18, 0, tzinfo=UTC)
    start, end, minute = departs - 4 * HOUR, departs - 2 * HOUR, timedelta(minutes=1)
    rows = flights_of(
        flight(1, departs, 0),
        flight(2, start - minute, 0),
        flight(3, start - 10 * minute, 10),
        flight(4, end - 80 * minute, 80),
        flight(5, end, 1),
        flight(6, end, None),
        flight(7, end - minute, 0, origin="EWR"),
    )
    found = features_at_prediction(rows, NO_WEATHER).filter(flight="UA1")
    assert found.select("origin_departures", "origin_delay_min").row(0) == (2, 45.0)


def test_an_airport_without_departures_has_no_mean_delay() -> None:
    """Not a delay of zero."""
    found = features_at_prediction(flights_of(flight(1, datetime(2013, 7, 1, 10, 0, tzinfo=UTC), 0)), NO_WEATHER)
    assert found.select("origin_departures", "origin_delay_min").row(0) == (0, None)


def test_delays_at_the_airport_equal_a_plain_count(flights: pl.DataFrame, features: pl.DataFrame) -> None:
    """Differences of cumulative sums equal plain counts, on 300 flights of the year."""
    picked = random.Random(11).sample(range(features.height), 300)
    columns = ("origin", "predicted_at", "origin_departures", "origin_delay_min")
    for origin, at, count, mean in features[picked].select(columns).iter_rows():
        left = flights.filter(
            pl.col("origin") == origin, pl.col("departed_at").is_between(at - 2 * HOUR, at, closed="both")
        )
        assert count == left.height
        assert mean == (left["dep_delay_min"].sum() / left.height if left.height else None)


def test_almost_every_flight_has_its_weather(features: pl.DataFrame) -> None:
    """99.6 % of the flights have the weather of the last complete hour; all have timetable and counts."""
    assert round(1 - features["visibility_mi"].null_count() / features.height, 3) == 0.996
    complete = [name for name in FEATURES if name not in (*WEATHER, "origin_delay_min")]
    assert features.select(complete).null_count().row(0) == (0,) * len(complete)


def test_there_is_one_row_per_flight_in_order_of_prediction(
    flights: pl.DataFrame, weather: pl.DataFrame, features: pl.DataFrame
) -> None:
    """The order of the input does not matter."""
    assert features.select("predicted_at", *FLIGHT_KEY).equals(
        features.select("predicted_at", *FLIGHT_KEY).sort("predicted_at", *FLIGHT_KEY)
    )
    assert features.select(FLIGHT_KEY).is_duplicated().sum() == 0
    assert features.height == flights.height
    mixed = [frame.sample(fraction=1, shuffle=True, seed=7) for frame in (flights, weather)]
    assert features_at_prediction(*mixed).equals(features)


@pytest.mark.parametrize(("day", "weekday"), [("2013-03-10", 7), ("2013-11-03", 7), ("2013-03-11", 1)])
def test_hours_are_new_yorks_also_when_the_clocks_change(features: pl.DataFrame, day: str, weekday: int) -> None:
    """Hour and weekday are those of the timetable, and the prediction is two elapsed hours earlier."""
    found = features.filter(flight_date=day)
    assert found["hour"].to_list() == [int(clock[:2]) for clock in found["scheduled"]]
    assert set(found["weekday"]) == {weekday}
    first = found.filter(scheduled="06:00")["predicted_at"].unique().to_list()
    assert first == [datetime.fromisoformat(f"{day}T{9 if day[5:7] == '11' else 8:02d}:00:00+00:00")]
