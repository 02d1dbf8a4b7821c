"""The demo's files, made once from the real year: complete, ordered, reproducible, and mapped by the config.

Two months are restated after the end of the year, with another definition of the label.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from schemas.config.loop import LoopConfig
from schemas.config.mapping import FieldMap
from schemas.errors import TruthloopError
from truthloop.config.settings import load_settings
from truthloop.demo import prepare as demo_prepare
from truthloop.demo.features import FEATURES, features_at_prediction
from truthloop.demo.flights import FLIGHT_KEY, NEW_YORK, data_folder, read_flights, read_weather
from truthloop.demo.model import TRAINED_AT, _matrix, known_labels, train
from truthloop.demo.prepare import Prepared, labels_of, prepare, restatements_of

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
TYPES = {"float": pl.Float64, "int": pl.Int64, "string": pl.String, "bool": pl.Boolean}


class Demo(NamedTuple):
    """The files of one run of `prepare`, read back."""

    prepared: Prepared
    predictions: pl.DataFrame
    labels: pl.DataFrame
    restatements: pl.DataFrame
    config: LoopConfig
    reports: list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo's files, prepared in a new folder."""
    reports: list[tuple[str, int, int]] = []
    folder = tmp_path_factory.mktemp("demo") / "flights"
    prepared = prepare(folder, lambda *report: reports.append(report))
    return Demo(
        prepared,
        pl.read_parquet(prepared.predictions),
        pl.read_csv(prepared.labels),
        pl.read_csv(prepared.restatements),
        load_settings(prepared.config).config,
        reports,
    )


@pytest.fixture(scope="module")
def joined(demo: Demo) -> pl.DataFrame:
    """Predictions with their label (late; null: none), joined on the key of the config's mapping."""
    predictions = demo.predictions.select(
        key=key_of(demo.predictions, demo.config, "predictions"),
        origin=pl.col("flight").struct["origin"],
        scored_at="scored_at",
        score=pl.col("score_percent") / 100,
    )
    labels = demo.labels.select(
        key=key_of(demo.labels, demo.config, "labels"),
        arrived_at=pl.from_epoch("arrived_at_utc", "s").dt.replace_time_zone("UTC"),
        late=pl.col("status") == "late",
    )
    local = pl.col("scored_at").dt.convert_time_zone(NEW_YORK)
    return predictions.join(labels, on="key", how="left", validate="1:1").with_columns(
        age_ms=(pl.col("arrived_at") - pl.col("scored_at")).dt.total_milliseconds(),
        day=local.dt.date(),
        month=local.dt.month(),
    )


def field(frame: pl.DataFrame, path: str) -> pl.Expr:
    """The column at a dotted path of `frame`; fails if there is none."""
    first, *rest = path.split(".")
    dtype: object = frame.schema[first]
    found = pl.col(first)
    for name in rest:
        assert isinstance(dtype, pl.Struct)
        dtype = {inner.name: inner.dtype for inner in dtype.fields}[name]
        found = found.struct[name]
    return found


def source_map(config: LoopConfig, role: str) -> dict[str, FieldMap]:
    """The config's mapping of the predictions, the labels or the restatements."""
    (source,) = [source for source in config.ingest if str(source.files).split(".")[0] == role]
    return source.map


def key_of(frame: pl.DataFrame, config: LoopConfig, role: str) -> pl.Series:
    """The key of every row by the config's mapping."""
    paths = source_map(config, role)["key"].path
    assert isinstance(paths, list)
    return frame.select(key=pl.concat_str([field(frame, path) for path in paths], separator="|"))["key"]


def test_every_flight_from_february_on_is_predicted_once(demo: Demo) -> None:
    """January is training data; the flights after it are in both files."""
    assert (demo.prepared.prediction_rows, demo.prepared.label_rows) == (309_772, 300_948)
    assert (demo.predictions.height, demo.labels.height) == (309_772, 300_948)
    assert demo.prepared.training_rows == 26_308
    key = key_of(demo.predictions, demo.config, "predictions")
    assert key.is_unique().all()
    assert key[0] == "2013-02-01|US1117|EWR|05:00"
    first, last = demo.predictions["scored_at"].min(), demo.predictions["scored_at"].max()
    assert first == datetime(2013, 2, 1, 8, 0, tzinfo=UTC)
    assert last == datetime(2014, 1, 1, 2, 59, tzinfo=UTC)


def test_the_files_have_the_companys_columns(demo: Demo) -> None:
    """Nested as of a scoring service, flat as the CSV of an airport."""
    assert dict(demo.predictions.drop("features").schema) == {
        "flight": pl.Struct(dict.fromkeys(("date", "number", "origin", "scheduled", "haul"), pl.String)),
        "scored_at": pl.Datetime("us", "UTC"),
        "model": pl.Struct({"name": pl.String, "version": pl.String}),
        "score_percent": pl.Float64,
    }
    assert demo.labels.columns == [*FLIGHT_KEY, "arrived_at_utc", "delay_min", "status"]
    assert demo.labels.schema["scheduled"] == pl.String  # read as a number, it would not join
    assert demo.predictions["model"].struct["version"].unique().to_list() == ["v1"]


def test_both_files_are_in_order_of_time_then_key(demo: Demo) -> None:
    """The order of rows reveals nothing."""
    flat = demo.predictions.select("scored_at", pl.col("flight").struct.unnest())
    assert flat.equals(flat.sort("scored_at", "date", "number", "origin", "scheduled"))
    assert demo.labels.equals(demo.labels.sort("arrived_at_utc", *FLIGHT_KEY))


def test_every_label_follows_its_prediction_within_the_horizon(demo: Demo, joined: pl.DataFrame) -> None:
    """No label without a prediction, none before it, none after the horizon; 2.85 % never come."""
    assert joined["late"].count() == demo.labels.height
    ages = joined["age_ms"].drop_nulls()
    assert ages.min() == (120 + 18) * 60_000
    assert ages.max() == (120 + 1_392) * 60_000
    assert ages.max() < demo.config.labels["arrived_late"].horizon  # type: ignore[operator]
    assert round(joined["late"].null_count() / joined.height, 4) == 0.0285


def test_the_status_is_late_after_fifteen_minutes(demo: Demo) -> None:
    """Fifteen minutes are on time, sixteen are late."""
    assert set(demo.labels.filter(delay_min=15)["status"]) == {"on_time"}
    assert set(demo.labels.filter(delay_min=16)["status"]) == {"late"}
    assert set(demo.labels["status"]) == {"late", "on_time"}


def test_october_and_november_are_restated_flight_by_flight(demo: Demo) -> None:
    """Every label of both months once, and no other, with the keys of their predictions."""
    restated = key_of(demo.restatements, demo.config, "restatements")
    labelled = demo.labels.with_columns(key=key_of(demo.labels, demo.config, "labels"))
    expected = labelled.filter(pl.col("flight_date").str.slice(5, 2).is_in(["10", "11"]))
    assert restated.is_unique().all()
    assert set(restated) == set(expected["key"])
    months = demo.restatements["flight_date"].str.slice(0, 7).value_counts().sort("flight_date")
    assert months.rows() == [("2013-10", 28_618), ("2013-11", 26_971)]
    assert demo.restatements.columns == [*FLIGHT_KEY, "told_at_utc", "delay_min", "status", "definition"]


def test_restated_late_is_more_than_half_an_hour(demo: Demo) -> None:
    """Under another definition than the config's; the delays are unchanged."""
    late = demo.restatements.select(is_late=pl.col("status") == "late", is_over=pl.col("delay_min") > 30)
    assert late["is_late"].equals(late["is_over"], check_names=False)
    assert {*demo.restatements["status"]} == {"late", "on_time"}
    assert {*demo.restatements.filter(delay_min=30)["status"]} == {"on_time"}
    assert {*demo.restatements.filter(delay_min=31)["status"]} == {"late"}
    assert {*demo.restatements["definition"]} == {"arr-delay-over-30min"}
    assert demo.config.labels["arrived_late"].definition != "arr-delay-over-30min"
    both = demo.restatements.join(demo.labels, on=FLIGHT_KEY, validate="1:1")
    assert both.height == demo.restatements.height
    assert both["delay_min"].equals(both["delay_min_right"], check_names=False)
    flips = both.filter(pl.col("status") != pl.col("status_right"))
    assert set(flips["status"]) == {"on_time"}
    assert flips["delay_min"].is_between(16, 30).all()


def test_each_month_is_restated_within_an_hour_after_the_end_of_the_year(demo: Demo) -> None:
    """In order, long after the last arrival, and within retain."""
    told_at = pl.from_epoch("told_at_utc", "s").dt.replace_time_zone("UTC")
    frame = demo.restatements.select(
        month=pl.col("flight_date").str.slice(5, 2),
        told_at=told_at,
        told_ms=pl.col("told_at_utc") * 1_000,
        key=key_of(demo.restatements, demo.config, "restatements"),
    )
    spans = frame.group_by("month").agg(first=pl.col("told_at").min(), last=pl.col("told_at").max()).sort("month")
    assert spans["first"].to_list() == [datetime(2014, 2, 1, hour, tzinfo=UTC) for hour in (12, 18)]
    assert spans.select(
        (pl.col("last") - pl.col("first")).dt.total_milliseconds().is_between(59 * MINUTE_MS, HOUR_MS - 1)
    )["last"].all()
    assert frame["told_at"].is_sorted()
    assert demo.labels["arrived_at_utc"].max() < demo.restatements["told_at_utc"].min()  # type: ignore[operator]
    scored = demo.predictions.select(
        key=key_of(demo.predictions, demo.config, "predictions"), scored_ms=pl.col("scored_at").dt.epoch("ms")
    )
    ages = frame.join(scored, on="key", validate="1:1").select(age=pl.col("told_ms") - pl.col("scored_ms"))["age"]
    assert len(ages) == frame.height
    assert ages.max() < demo.config.labels["arrived_late"].retain  # type: ignore[operator]


def test_months_without_a_flight_have_no_restatements(demo: Demo) -> None:
    """Labels of February have none."""
    february = demo.labels.filter(pl.col("flight_date").str.starts_with("2013-02"))
    assert restatements_of(february).rows() == []


def test_no_flight_that_was_cancelled_or_diverted_has_a_label() -> None:
    """Not even one that landed elsewhere."""
    flights = read_flights(data_folder())
    gone = flights.filter(pl.col("arr_delay_min").is_null())
    assert gone.height == 9_430
    assert labels_of(gone).height == 0


def test_the_same_flights_in_any_order_give_the_same_bytes(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run over shuffled input; an edited config is kept."""

    def shuffled(folder: Path) -> pl.DataFrame:
        return read_flights(folder).sample(fraction=1, shuffle=True, seed=7)

    monkeypatch.setattr(demo_prepare, "read_flights", shuffled)
    (tmp_path / "truthloop.yaml").write_text("version: 1 # mine\n")
    again = prepare(tmp_path)
    assert again.predictions.read_bytes() == demo.prepared.predictions.read_bytes()
    assert again.labels.read_bytes() == demo.prepared.labels.read_bytes()
    assert again.restatements.read_bytes() == demo.prepared.restatements.read_bytes()
    assert again.config.read_text() == "version: 1 # mine\n"
    names = ["labels.csv", "predictions.parquet", "restatements.csv", "truthloop.yaml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_progress_is_reported_before_every_step_and_at_the_end(demo: Demo) -> None:
    """With the number of steps."""
    titles, done, steps = zip(*demo.reports, strict=True)
    assert done == tuple(range(6))
    assert set(steps) == {5}
    assert len(set(titles)) == 6


def test_the_model_is_trained_on_nothing_that_became_known_later() -> None:
    """Without everything that happened from February on, the model is the same."""
    flights, weather = read_flights(data_folder()), read_weather(data_folder())
    labels = known_labels(flights, TRAINED_AT)
    assert labels.join(flights, on=FLIGHT_KEY)["arrived_at"].max() < TRAINED_AT  # type: ignore[operator]
    unknown = flights.with_columns(
        pl.when(pl.col(at) < TRAINED_AT).then(name)
        for at, names in {
            "departed_at": ("dep_delay_min", "departed_at"),
            "arrived_at": ("arr_delay_min", "arrived_at"),
        }.items()
        for name in names
    )
    scores = []
    for known in (flights, unknown):
        features = features_at_prediction(known, weather).filter(pl.col("predicted_at") < TRAINED_AT)
        model = train(features, known_labels(known, TRAINED_AT), version="v1")
        scores.append(model.percent_late(features))
    assert scores[0].equals(scores[1])


def test_the_model_does_not_depend_on_the_order_of_its_training_rows() -> None:
    """The rounding of sums depends on their order, so training sorts its rows."""
    flights = read_flights(data_folder())
    labels = known_labels(flights, TRAINED_AT)
    features = features_at_prediction(flights, read_weather(data_folder()))
    january = features.filter(pl.col("predicted_at") < TRAINED_AT)
    mixed = january.sample(fraction=1, shuffle=True, seed=7)
    one, other = (train(frame, labels, version="v1") for frame in (january, mixed))
    exact = [model.classifier.predict_proba(_matrix(features, model.categories))[:, 1] for model in (one, other)]
    assert (exact[0] == exact[1]).all()


def test_training_uses_the_definition_of_the_labels() -> None:
    """Late is more than fifteen minutes."""
    flights = read_flights(data_folder())
    labels = known_labels(flights, TRAINED_AT).join(flights, on=FLIGHT_KEY)
    assert set(labels.filter(arr_delay_min=15)["late"]) == {False}
    assert set(labels.filter(arr_delay_min=16)["late"]) == {True}


def test_the_model_is_useful_and_gets_worse_over_the_year(joined: pl.DataFrame) -> None:
    """Better than chance in every month, far from perfect, and too low when more flights are late."""
    labelled = joined.filter(pl.col("late").is_not_null())
    ranks = pl.col("score").rank("average")
    positives = pl.col("late").sum()
    months = (
        labelled.group_by("month")
        .agg(
            auc=(ranks.filter("late").sum() - positives * (positives + 1) / 2) / (positives * (pl.len() - positives)),
            late=pl.col("late").mean(),
            predicted=pl.col("score").mean(),
        )
        .sort("month")
    )
    assert months["month"].to_list() == list(range(2, 13))
    assert months["auc"].is_between(0.62, 0.76).all()
    excess = dict(months.select("month", pl.col("late") - pl.col("predicted")).iter_rows())
    assert excess[2] < 0.03
    assert min(excess[7], excess[12]) > 0.03
    assert excess[9] < -0.03
    assert joined["score"].is_between(0.01, 0.99).all()
    assert (joined["score"] >= 0.5).mean() == pytest.approx(0.065, abs=0.02)


def test_the_config_maps_the_columns_of_the_files(demo: Demo) -> None:
    """Every path exists, and the features are those of the contract, with their types."""
    files = {"predictions": demo.predictions, "labels": demo.labels, "restatements": demo.restatements}
    for role, frame in files.items():
        for target, one in source_map(demo.config, role).items():
            for path in one.path if isinstance(one.path, list) else [str(one.path)]:
                if target != "features":
                    frame.select(field(frame, path))
    features = demo.predictions["features"].struct.unnest()
    contract = demo.config.predictions.features
    assert features.columns == list(FEATURES) == list(contract)
    assert dict(features.schema) == {name: TYPES[one.type] for name, one in contract.items()}
    for role in ("labels", "restatements"):
        values = source_map(demo.config, role)["value"].values
        assert values == {"late": 1, "on_time": 0}
        assert set(files[role]["status"]) == set(values)


def test_only_the_impossible_wind_is_outside_the_contract(demo: Demo) -> None:
    """Limits and categories hold for the year, except for a wind of 1,048 miles an hour at EWR."""
    features = demo.predictions["features"].struct.unnest()
    outside = {}
    for name, one in demo.config.predictions.features.items():
        column = pl.col(name)
        wrong = pl.lit(False)  # noqa: FBT003 - a value, not a switch
        if one.min is not None:
            wrong |= column < one.min
        if one.max is not None:
            wrong |= column > one.max
        if one.categories is not None:
            wrong |= ~column.is_in(one.categories)
        outside[name] = features.filter(wrong)
    assert {name for name, rows in outside.items() if rows.height} == {"wind_mph"}
    assert outside["wind_mph"].select("origin", pl.col("wind_mph").round(0)).unique().rows() == [("EWR", 1048.0)]


def test_coverage_by_age_and_the_goal_are_as_the_config_says(demo: Demo, joined: pl.DataFrame) -> None:
    """A usual day meets the goal; days of snow and storm do not."""
    ages_h = [age // HOUR_MS for age in demo.config.cohorts.ages]
    assert ages_h == [3, 4, 5, 6, 8, 10, 12, 24]
    reached = [round((joined["age_ms"] <= age).sum() / joined.height, 3) for age in demo.config.cohorts.ages]
    assert reached == [0.036, 0.240, 0.542, 0.721, 0.879, 0.963, 0.968, 0.972]
    (goal,) = demo.config.coverage
    days = joined.group_by("day").agg(reached=(pl.col("age_ms") <= goal.age).sum() / pl.len())
    missed = days.filter(pl.col("reached") < goal.min)
    assert (days.height, missed.height) == (334, 23)
    worst = [str(day) for day in missed.sort("reached")["day"][:2]]
    assert worst == ["2013-02-09", "2013-02-08"]


def test_the_loop_is_set_up_as_its_comments_say(demo: Demo) -> None:
    """The config's values match its comments."""
    label = demo.config.labels["arrived_late"]
    assert demo.config.loop == "flights"
    assert (demo.config.timezone, demo.config.clock) == (NEW_YORK, "event")
    assert demo.config.predictions.slices == ["carrier", "origin", "haul"]
    assert (label.horizon, label.retain, label.early) == (36 * HOUR_MS, 130 * 24 * HOUR_MS, HOUR_MS)
    assert label.on_timeout == "expire"
    assert demo.config.predictions.outputs["arrived_late"].threshold == 0.5


def test_a_folder_that_cannot_be_created_is_reported_at_once(tmp_path: Path) -> None:
    """Before anything is read or trained."""
    (tmp_path / "taken").write_text("a file")
    reports: list[str] = []
    with pytest.raises(TruthloopError, match="cannot be written") as caught:
        prepare(tmp_path / "taken", lambda what, _done, _steps: reports.append(what))
    assert caught.value.hint == "choose another folder"
    assert reports == []


def test_without_scikit_learn_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an optional dependency, like the flights."""
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(TruthloopError) as caught:
        train(pl.DataFrame(), pl.DataFrame(), version="v1")
    assert caught.value.hint == "pip install 'scikit-learn>=1.6'"
