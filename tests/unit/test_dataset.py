"""Data sets: leak-free by known_at, purged at the split, accounted for, and the same bytes again."""

import json
from pathlib import Path

import polars as pl
import pytest
from lake_builder import LakeBuilder, hour, loop_config, ms

from lake.dataset import DatasetOrder, read_dataset, write_dataset
from schemas.errors import LakeError

CONFIG = loop_config(
    predictions={
        "outputs": {"fraud": {"task": "binary"}},
        "slices": ["country"],
        "features": {"amount": {"type": "float"}},
    }
)
ORDER = DatasetOrder(name="rt-1", kind="fraud", as_of_ms=ms(20), at_age_ms=5 * 3_600_000, holdout_ms=5 * 3_600_000)
"""What is older than five hours at hour 20; the split is at hour 10."""


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return an empty lake."""
    return LakeBuilder(tmp_path / "lake", CONFIG)


def keys(folder: Path, part: str) -> list[str]:
    """Return the keys of a part, in order."""
    return pl.read_parquet(folder / f"{part}.parquet")["key"].to_list()


def test_a_row_has_its_features_and_the_label_that_was_known(builder: LakeBuilder, tmp_path: Path) -> None:
    """Columns in their order, the target last."""
    builder.predict("a", 0, 0, feature_amount=2.5, slice_country="DE").label("a", 3, 0, value=1.0)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "sets")
    (row,) = pl.read_parquet(found.folder / "train.parquet").to_dicts()
    assert list(row) == [
        *("key", "id", "version", "predicted_at", "known_at", "weight", "status"),
        *("slice_country", "feature_amount", "value"),
    ]
    assert (row["feature_amount"], row["slice_country"], row["value"], row["known_at"]) == (2.5, "DE", 1.0, hour(3))
    assert (found.rows, found.folder.name) == (1, "rt-1")


def test_nothing_that_became_known_later_is_in_it(builder: LakeBuilder, tmp_path: Path) -> None:
    """Neither a label nor a correction: boundary pairs around the moment."""
    builder.predict("in time", 0, 0).label("in time", 19.999, 0, value=1.0, known_at=hour(20))
    builder.predict("too late", 0, 1).label("too late", 20, 1, value=1.0, known_at=hour(20.001))
    builder.predict("corrected", 0, 2).label("corrected", 1, 2, value=0.0)
    builder.label("corrected", 2, 3, value=1.0, known_at=hour(21))
    found = write_dataset(builder.lake, CONFIG, DatasetOrder("rt-1", "fraud", ms(20), 3_600_000, 0), tmp_path)
    rows = pl.read_parquet(found.folder / "train.parquet").select("key", "value").rows()
    assert rows == [("corrected", 0.0)]
    assert found.manifest["left_out"] == {"pending": 1, "purged_at_the_split": 1}


def test_a_label_that_was_known_before_its_prediction_is_a_leak(builder: LakeBuilder, tmp_path: Path) -> None:
    """It is counted, and left out."""
    builder.predict("a", 0, 0).label("a", -0.5, 0, value=1.0)
    builder.predict("b", 0, 1).label("b", 0.5, 1, value=1.0)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    assert keys(found.folder, "train") == ["b"]
    assert found.manifest["left_out"] == {"known_before_the_prediction": 1}


def test_the_split_purges_what_was_known_only_behind_it(builder: LakeBuilder, tmp_path: Path) -> None:
    """The split is at hour 10: a model of that hour could not have learned from it."""
    builder.predict("early", 9, 0).label("early", 10, 0, value=1.0)
    builder.predict("purged", 9, 1).label("purged", 10.5, 1, value=1.0)
    builder.predict("held out", 10, 2).label("held out", 14, 2, value=0.0)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    assert (keys(found.folder, "train"), keys(found.folder, "holdout")) == (["early"], ["held out"])
    assert found.manifest["left_out"] == {"purged_at_the_split": 1}
    assert found.manifest["rows"] == {"train": 1, "holdout": 1}


def test_only_what_is_old_enough_is_looked_at(builder: LakeBuilder, tmp_path: Path) -> None:
    """Five hours at hour 20: made at hour 15, not later."""
    builder.predict("old", 15, 0).label("old", 16, 0, value=1.0)
    builder.predict("young", 15.001, 1).label("young", 16, 1, value=1.0)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    assert keys(found.folder, "holdout") == ["old"]
    assert found.manifest["coverage"]["predictions"] == 1


def test_every_row_is_accounted_for(builder: LakeBuilder, tmp_path: Path) -> None:
    """Ineligible, unlabelled, retracted and shadow predictions have a reason each."""
    builder.predict("a", 0, 0).label("a", 1, 0, value=1.0)
    builder.predict("a", 0, 1, id="shadow", version="v0")
    builder.predict("b", 0, 2, eligible=False).label("b", 1, 1, value=1.0)
    builder.predict("c", 0, 3)
    builder.predict("d", 0, 4).label("d", 1, 2, op="retract")
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    assert found.manifest["left_out"] == {"ineligible": 1, "pending": 1, "retracted": 1, "the_same_moment_again": 1}
    assert found.manifest["coverage"] == {"predictions": 4, "labelled": 2, "share": 0.5}


def test_the_same_order_gives_the_same_bytes(builder: LakeBuilder, tmp_path: Path) -> None:
    """Written twice, into two folders; and given back where it is whole already."""
    for number in range(200):
        builder.predict(f"k{number % 7}", number / 40, number, feature_amount=number / 3)
        builder.label(f"k{number % 7}", 6, number, value=float(number % 2))
    first = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "one")
    second = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "two")
    assert first.manifest_sha256 == second.manifest_sha256
    assert first.rows > 0
    for name in first.manifest["files"]:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
    builder.predict("later", 1, 900).label("later", 2, 900, value=1.0)
    assert write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "one").manifest_sha256 == first.manifest_sha256


def test_a_changed_file_or_another_order_is_refused(builder: LakeBuilder, tmp_path: Path) -> None:
    """What was decided on is what is given."""
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    with pytest.raises(LakeError, match="another order"):
        write_dataset(builder.lake, CONFIG, DatasetOrder("rt-1", "fraud", ms(21), None, 0), tmp_path)
    (found.folder / "train.parquet").write_bytes(b"other")
    with pytest.raises(LakeError, match="not the file that was written"):
        read_dataset(found.folder)


def test_a_run_that_was_killed_leaves_nothing_that_looks_whole(builder: LakeBuilder, tmp_path: Path) -> None:
    """The draft of an earlier run is swept away."""
    draft = tmp_path / ".rt-1.unfinished"
    draft.mkdir()
    (draft / "train.parquet").write_bytes(b"half")
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    assert not draft.exists()
    assert json.loads((found.folder / "manifest.json").read_text())["rows"] == {"train": 0, "holdout": 0}
    assert keys(found.folder, "train") == []
