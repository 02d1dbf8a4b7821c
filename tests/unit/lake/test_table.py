"""Creating, opening and extending a lake: names, columns, its marker (`lake.marker`), and refusals."""

import json
from pathlib import Path

import polars as pl
import pytest
from lake_builder import RECORDED_AT, LakeBuilder, loop_config

from lake.append import Claim
from lake.session import connect
from lake.store import Lake
from lake.table import TABLES, TYPES, required_columns, schemas_of
from schemas.config.loop import LoopConfig
from schemas.errors import LakeError, LakeTooNew

BINARY = {"outputs": {"fraud": {"task": "binary"}}}


def test_a_new_lake_has_every_table_with_the_columns_of_its_config(tmp_path: Path) -> None:
    """Names in the config become columns, and the Delta schema agrees with `schemas_of`."""
    config = loop_config(
        predictions={
            **BINARY,
            "slices": ["country"],
            "features": {"amount": {"type": "float"}, "count": {"type": "int"}, "new": {"type": "bool"}},
        }
    )
    lake = Lake.create(tmp_path / "lake", config)
    schemas = schemas_of(config)
    assert {table: lake.schema(table) for table in TABLES} == dict(schemas)
    assert schemas["predictions"]["slice_country"] == pl.String
    assert schemas["outcomes"]["slice_country"] == pl.String
    assert schemas["predictions"]["feature_count"] == pl.Int64
    assert schemas["predictions"]["feature_new"] == pl.Boolean
    assert all(lake.scan(table).collect().is_empty() for table in TABLES)


def test_the_output_of_a_multiclass_kind_is_text(tmp_path: Path) -> None:
    """A class is not a number."""
    config = loop_config(predictions={"outputs": {"fraud": {"task": "multiclass"}}})
    assert Lake.create(tmp_path, config).schema("predictions")["output_fraud"] == pl.String


def test_every_required_column_is_a_column() -> None:
    """The required names are a difference of sets, in which a misspelt name would go unnoticed."""
    schemas = schemas_of(loop_config())
    for table in TABLES:
        assert required_columns(table) <= set(schemas[table])
        assert all(any(dtype == known.polars for known in TYPES) for dtype in schemas[table].values())


def test_a_lake_from_before_source_partitions_is_taken_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its views work as they are; the next writer adds the column, and older rejects have null in it."""

    def before(config: LoopConfig) -> dict[str, pl.Schema]:
        tables = dict(schemas_of(config))
        columns = tables["rejects"].items()
        return tables | {"rejects": pl.Schema({name: one for name, one in columns if name != "source_partition"})}

    with monkeypatch.context() as patched:
        patched.setattr("lake.store.schemas_of", before)
        patched.setattr("lake_builder.schemas_of", before)
        LakeBuilder(tmp_path).reject("labels", 0, "stale")
    with connect(tmp_path) as connection:
        assert connection.sql("SELECT reason FROM rejects").fetchall() == [("stale",)]
    lake = Lake.create(tmp_path, loop_config())
    row = {"input": "labels", "stage": "mapping", "reason": "bad_key", "source": "topic", "source_row": 7}
    frame = pl.DataFrame([row | {"source_partition": 3}], schema=dict(lake.schema("rejects")))
    frame = frame.drop("recorded_on", "recorded_at")
    lake.append("rejects", frame, [Claim("builder", 1, 2)], recorded_at=RECORDED_AT)
    with connect(tmp_path) as connection:
        found = connection.sql("SELECT source_row, source_partition FROM rejects ORDER BY ALL").fetchall()
    assert found == [(1, None), (7, 3)]


def test_creating_a_lake_twice_changes_nothing(tmp_path: Path) -> None:
    """Every command calls `create`; it must not commit anything."""
    lake = Lake.create(tmp_path / "lake", loop_config())
    again = Lake.create(tmp_path / "lake", loop_config())
    assert [again.version(table) for table in TABLES] == [lake.version(table) for table in TABLES] == [0] * len(TABLES)


def test_a_new_slice_becomes_a_column_and_old_rows_have_null_there(tmp_path: Path) -> None:
    """Older rows are read as before."""
    LakeBuilder(tmp_path).predict("a", 0, 0)
    grown = LakeBuilder(tmp_path, loop_config(predictions={**BINARY, "slices": ["country"]}))
    grown._written["predictions"] = 1
    grown.predict("b", 1, 1, slice_country="DE")
    rows = grown.lake.scan("predictions").select("key", "slice_country").sort("key").collect().rows()
    assert rows == [("a", None), ("b", "DE")]


def test_a_column_is_never_removed(tmp_path: Path) -> None:
    """A slice that left the config stays in the lake, and rows without it are accepted."""
    LakeBuilder(tmp_path, loop_config(predictions={**BINARY, "slices": ["country"]}))
    lake = LakeBuilder(tmp_path).predict("a", 0, 0).lake
    assert lake.scan("predictions").select("slice_country").collect().item() is None


def test_a_column_never_changes_its_type(tmp_path: Path) -> None:
    """The message names the column, both types and the remedy."""
    Lake.create(tmp_path, loop_config(predictions={**BINARY, "features": {"amount": {"type": "float"}}}))
    with pytest.raises(LakeError, match=r"'feature_amount' holds DOUBLE in the lake.*VARCHAR(.|\n)*rename it"):
        Lake.create(tmp_path, loop_config(predictions={**BINARY, "features": {"amount": {"type": "string"}}}))


def test_a_new_name_that_differs_only_in_case_from_an_old_one_is_refused(tmp_path: Path) -> None:
    """Delta and DuckDB ignore case."""
    Lake.create(tmp_path, loop_config(predictions={**BINARY, "slices": ["country"]}))
    with pytest.raises(LakeError, match=r"'slice_Country' would be a second 'slice_country'"):
        Lake.create(tmp_path, loop_config(predictions={**BINARY, "slices": ["Country"]}))


def test_opening_a_missing_lake_says_how_to_create_one(tmp_path: Path) -> None:
    """The error names the folder and the command."""
    with pytest.raises(LakeError, match=r"no lake here\n.*truthloop replay"):
        Lake.open(tmp_path)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written into it."""
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(LakeError, match=r"other files, for instance 'thesis.tex'"):
        Lake.create(tmp_path, loop_config())
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A misspelt lake.uri overwrites nothing."""
    (tmp_path / "lake").write_text("x")
    with pytest.raises(LakeError, match="is a file"):
        Lake.create(tmp_path / "lake", loop_config())


def test_the_lake_of_another_loop_is_refused(tmp_path: Path) -> None:
    """Two loops in one folder would mix their labels."""
    Lake.create(tmp_path, loop_config(loop="other-loop"))
    with pytest.raises(LakeError, match=r"loop 'other-loop', not of 'card-fraud'"):
        Lake.create(tmp_path, loop_config())


@pytest.mark.parametrize("way", ["open", "create"])
def test_a_lake_of_a_newer_format_is_refused(tmp_path: Path, way: str) -> None:
    """An old program must not write into a layout that it does not know."""
    Lake.create(tmp_path, loop_config())
    (tmp_path / "truthloop.json").write_text(json.dumps({"format": 2, "loop": "card-fraud"}))
    with pytest.raises(LakeTooNew, match="format 2"):
        Lake.open(tmp_path) if way == "open" else Lake.create(tmp_path, loop_config())


def test_an_invalid_marker_is_a_lake_error(tmp_path: Path) -> None:
    """Half a file, a list, or a missing field."""
    Lake.create(tmp_path, loop_config())
    for text in ("", "[]", '{"format": 1}', '{"format": "x", "loop": "card-fraud"}'):
        (tmp_path / "truthloop.json").write_text(text)
        with pytest.raises(LakeError, match="is not a valid marker"):
            Lake.open(tmp_path)


def test_an_interrupted_creation_can_be_continued(tmp_path: Path) -> None:
    """The marker is written first; `open` names what is missing and `create` completes it."""
    (tmp_path / "truthloop.json").write_text(json.dumps({"format": 1, "loop": "card-fraud"}))
    with pytest.raises(LakeError, match="has no table 'rejects'"):
        Lake.open(tmp_path)
    Lake.create(tmp_path, loop_config())
    assert Lake.open(tmp_path).loop == "card-fraud"


def test_a_draft_of_the_marker_is_no_foreign_file(tmp_path: Path) -> None:
    """A process that was killed while writing the marker leaves a folder that can still become a lake."""
    (tmp_path / "truthloop.json.draft").write_text("{")
    assert Lake.create(tmp_path, loop_config()).loop == "card-fraud"


def test_folders_are_closed_to_others(tmp_path: Path) -> None:
    """Labels and features are not for other users."""
    Lake.create(tmp_path / "lake", loop_config())
    for folder in (tmp_path / "lake", tmp_path / "lake" / "labels", tmp_path / "lake" / "views"):
        assert folder.stat().st_mode & 0o777 == 0o750


def test_the_log_is_kept_and_changes_can_be_followed(tmp_path: Path) -> None:
    """Retention and change data feed are set, not left to defaults."""
    configuration = Lake.create(tmp_path, loop_config())._writers["outcomes"].handle.metadata().configuration
    assert configuration["delta.enableChangeDataFeed"] == "true"
    assert configuration["delta.logRetentionDuration"] == "interval 172800 seconds"


def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    """A table's name becomes a path only if it is one of the lake's."""
    lake = LakeBuilder(tmp_path).lake
    with pytest.raises(LakeError, match=r"no table '../x'"):
        lake.scan("../x")
    with pytest.raises(LakeError, match="no table"):
        lake.append("x", pl.DataFrame(), [Claim("a", 0, 1)], recorded_at=RECORDED_AT)
