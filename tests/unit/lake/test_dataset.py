"""Training data sets: leak-free by known_at, purged at the split, accounted for, and reproducible."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from lake_builder import LakeBuilder, hour, loop_config, ms

from lake.dataset import Dataset, read_dataset, write_dataset
from lake.dataset_selection import DatasetOrder, count_rows
from lake.maintenance.maintainer import Maintainer
from lake.storage.folder import FolderStorage
from schemas.errors import LakeError
from schemas.events.backfill import Cause, Episode, Verdict
from schemas.events.evidence import Decision, Event, GateState

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
    assert (found.counts.rows, found.folder.name) == (1, "rt-1")


def test_nothing_that_became_known_later_is_in_it(builder: LakeBuilder, tmp_path: Path) -> None:
    """Neither a label nor a correction: boundary pairs around `as_of_ms`."""
    builder.predict("in time", 0, 0).label("in time", 19.999, 0, value=1.0, known_at=hour(20))
    builder.predict("too late", 0, 1).label("too late", 20, 1, value=1.0, known_at=hour(20.001))
    builder.predict("corrected", 0, 2).label("corrected", 1, 2, value=0.0)
    builder.label("corrected", 2, 3, value=1.0, known_at=hour(21))
    found = write_dataset(builder.lake, CONFIG, DatasetOrder("rt-1", "fraud", ms(20), 3_600_000, 0), tmp_path)
    rows = pl.read_parquet(found.folder / "train.parquet").select("key", "value").rows()
    assert rows == [("corrected", 0.0)]
    assert found.manifest["left_out"] == {"pending": 1, "purged_at_the_split": 1}


def test_a_label_that_was_known_before_its_prediction_is_a_leak(builder: LakeBuilder, tmp_path: Path) -> None:
    """It is left out, and counted."""
    builder.predict("a", 0, 0).label("a", -0.5, 0, value=1.0)
    builder.predict("b", 0, 1).label("b", 0.5, 1, value=1.0)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    assert keys(found.folder, "train") == ["b"]
    assert found.manifest["left_out"] == {"known_before_the_prediction": 1}


def test_the_split_purges_labels_known_after_it(builder: LakeBuilder, tmp_path: Path) -> None:
    """The split is at hour 10: a model of that hour could not have been trained on them."""
    builder.predict("early", 9, 0).label("early", 10, 0, value=1.0)
    builder.predict("purged", 9, 1).label("purged", 10.5, 1, value=1.0)
    builder.predict("held out", 10, 2).label("held out", 14, 2, value=0.0)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    assert (keys(found.folder, "train"), keys(found.folder, "holdout")) == (["early"], ["held out"])
    assert found.manifest["left_out"] == {"purged_at_the_split": 1}
    assert found.manifest["rows"] == {"train": 1, "holdout": 1}


def test_younger_predictions_are_left_out(builder: LakeBuilder, tmp_path: Path) -> None:
    """At hour 20, those younger than five hours: made after hour 15."""
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
    """Written twice, into two folders; a complete one is returned as it is."""
    for number in range(40):
        builder.predict(f"k{number % 7}", number / 8, number, feature_amount=number / 3)
        builder.label(f"k{number % 7}", 6, number, value=float(number % 2))
    first = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "one")
    second = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "two")
    assert first.manifest_sha256 == second.manifest_sha256
    assert first.counts.rows > 0
    for name in first.manifest["files"]:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
    builder.predict("later", 1, 900).label("later", 2, 900, value=1.0)
    assert write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "one").manifest_sha256 == first.manifest_sha256


def test_parts_and_maintenance_change_no_byte(
    builder: LakeBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the time is cut into parts, and however the lake's files lie."""
    for number in range(60):
        builder.predict(f"k{number % 7}", number - 55, number).label(
            f"k{number % 7}", 6 + number % 5, number, value=1.0
        )
    whole = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "whole")
    assert whole.counts.rows > 0
    monkeypatch.setattr("lake.dataset_selection.ROWS_PER_PART", 1)
    assert list(Maintainer(builder.lake.path, 1).steps(lambda: ms(1_000)))
    parts = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "parts")
    assert parts.manifest_sha256 == whole.manifest_sha256
    assert not (parts.folder / "spill").exists()


def test_a_changed_file_or_another_order_is_refused(builder: LakeBuilder, tmp_path: Path) -> None:
    """The pipeline gets the data set that was decided on."""
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    with pytest.raises(LakeError, match="another order"):
        write_dataset(builder.lake, CONFIG, DatasetOrder("rt-1", "fraud", ms(21), None, 0), tmp_path)
    (found.folder / "train.parquet").write_bytes(b"other")
    with pytest.raises(LakeError, match="not the file that was written"):
        read_dataset(found.folder)


def test_a_killed_run_leaves_nothing_that_looks_complete(builder: LakeBuilder, tmp_path: Path) -> None:
    """The next run removes its draft."""
    draft = tmp_path / ".rt-1.unfinished"
    draft.mkdir()
    (draft / "train.parquet").write_bytes(b"half")
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    assert not draft.exists()
    assert json.loads((found.folder / "manifest.json").read_text())["rows"] == {"train": 0, "holdout": 0}
    assert keys(found.folder, "train") == []


def test_of_two_writers_the_slower_one_finds_the_set_of_the_faster(
    builder: LakeBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if its draft is removed just before it writes the manifest."""
    put = FolderStorage.put
    faster: list[Dataset] = []

    def overtaken(self: FolderStorage, path: str, content: bytes) -> None:
        monkeypatch.setattr(FolderStorage, "put", put)
        faster.append(write_dataset(builder.lake, CONFIG, ORDER, tmp_path))
        put(self, path, content)

    monkeypatch.setattr(FolderStorage, "put", overtaken)
    slower = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    assert [slower.manifest_sha256] == [one.manifest_sha256 for one in faster]
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".rt-1")] == []


EVENTS = {Verdict.APPROVED: Event.APPROVED, Verdict.REJECTED: Event.REJECTED}


def backfill_of(cause: Cause, since: float, until: float, number: int = 1, **other: Any) -> Episode:
    """Return a backfill of some hours, by default of the config's own definition."""
    definition = "other" if cause is Cause.REDEFINED else "chargeback-1"
    times = {"since": ms(since), "until": ms(until)}
    named = {"id": f"bf-{number:032x}", "kind": "fraud", "definition": definition, "causes": [cause]}
    return Episode(**named | times | {"labels": 1, "fingerprint": 1} | other)


def rule(builder: LakeBuilder, number: int, verdict: Verdict, about: Episode, at: float) -> None:
    """Add an entry of the gate's log."""
    event = EVENTS.get(verdict, Event.BACKFILLED)
    entry = Decision(
        number=number,
        loop="card-fraud",
        kind="fraud",
        at=ms(at),
        event=event,
        state=GateState.WAITING,
        reason="so",
        episode=about,
        verdict=verdict,
    )
    row = {"number": number, "kind": "fraud", "evidence_at": hour(at), "event": event.value, "state": "waiting"}
    builder.add("decisions", row | {"reason": "so", "document": entry.model_dump_json()})


def corrected(builder: LakeBuilder, key: str, offset: int, at: float, known: tuple[float, float], **other: Any) -> None:
    """Add a prediction whose label 0 is corrected to 1, by labels at offsets 10 n and 10 n + 1."""
    builder.predict(key, at, offset, **other)
    place = {"prediction_offset": offset, "predicted_at": hour(at), **other}
    for step, when in enumerate(known):
        label_offset = 10 * offset + step
        builder.label(key, when, label_offset, value=float(step))
        reason = "correction" if step else "first"
        made = {"reason": reason, "value": float(step), "label_offset": label_offset}
        builder.outcome(key, "joined", when, label_offset, **made, **place)


def test_a_cohort_that_waits_for_a_ruling_is_left_out_as_a_whole(builder: LakeBuilder, tmp_path: Path) -> None:
    """All predictions of the version and day of any label of the backfill; after the ruling none is left out."""
    corrected(builder, "a", 0, 0, (1, 3))
    builder.predict("b", 0.5, 1).label("b", 1, 500, value=1.0)
    builder.predict("c", 0, 2, version="v2").label("c", 1, 501, value=1.0)
    about = backfill_of(Cause.CORRECTED, 2, 4)
    rule(builder, 0, Verdict.QUARANTINED, about, 5)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "waiting")
    assert keys(found.folder, "train") == ["c"]
    assert found.manifest["left_out"] == {"quarantined": 2}
    assert found.manifest["backfills"] == [{"episode": about.id, "verdict": "quarantined"}]
    assert found.manifest["coverage"] == {"predictions": 3, "labelled": 3, "share": 1.0}
    for number, (verdict, value) in enumerate({Verdict.APPROVED: 1.0, Verdict.REJECTED: 0.0}.items(), start=1):
        rule(builder, number, verdict, about, 5 + number)
        found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / verdict.value)
        rows = pl.read_parquet(found.folder / "train.parquet").select("key", "value").sort("key").rows()
        assert rows == [("a", value), ("b", 1.0), ("c", 1.0)]
        assert found.manifest["left_out"] == {}
        counted = {} if verdict is Verdict.REJECTED else {"rows": {"train": 1, "holdout": 0}, "left_out": {}}
        assert found.manifest["backfills"] == [{"episode": about.id, "verdict": verdict.value} | counted]


def test_later_rulings_are_not_known_yet(builder: LakeBuilder, tmp_path: Path) -> None:
    """A data set follows the rulings up to its `as_of_ms`, to the millisecond."""
    corrected(builder, "a", 0, 0, (1, 3))
    about = backfill_of(Cause.CORRECTED, 2, 4)
    rule(builder, 0, Verdict.QUARANTINED, about, 12)
    order = DatasetOrder("rt-1", "fraud", ms(12), 3_600_000, 0)
    assert write_dataset(builder.lake, CONFIG, order, tmp_path / "then").manifest["left_out"] == {"quarantined": 1}
    before = DatasetOrder("rt-1", "fraud", ms(12) - 1, 3_600_000, 0)
    found = write_dataset(builder.lake, CONFIG, before, tmp_path / "before")
    assert (found.counts.rows, found.manifest["left_out"], found.manifest["backfills"]) == (1, {}, [])


@pytest.mark.parametrize("is_newest", [True, False])
def test_one_data_set_has_one_definition(builder: LakeBuilder, tmp_path: Path, *, is_newest: bool) -> None:
    """That of the newest labelled prediction, which future live labels will have, too; others are counted."""
    builder.predict("own", 1, 0).label("own", 2, 0, value=0.0)
    at = 2.0 if is_newest else 0.5
    builder.predict("both", at, 1).label("both", 3, 1, value=0.0).label("both", 4, 2, value=1.0, definition="other")
    place = {"prediction_offset": 1, "predicted_at": hour(at)}
    builder.outcome("both", "joined", 3, 1, value=0.0, label_offset=1, **place)
    builder.outcome("both", "joined", 4, 2, value=1.0, label_offset=2, definition="other", **place)
    rule(builder, 0, Verdict.APPROVED, backfill_of(Cause.REDEFINED, 4, 4), 5)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    rows = pl.read_parquet(found.folder / "train.parquet").select("key", "value").rows()
    assert rows == ([("both", 1.0)] if is_newest else [("own", 0.0)])
    assert found.manifest["definition"] == ("other" if is_newest else "chargeback-1")
    assert found.manifest["left_out"] == {"other_definition": 1}


def test_a_correction_of_record_of_a_label_from_before_the_split_is_kept(builder: LakeBuilder, tmp_path: Path) -> None:
    """Its first label was known before the split; corrections outside of backfills are purged."""
    corrected(builder, "restated", 0, 9, (9.5, 15))
    corrected(builder, "corrected", 1, 9, (9.5, 17))
    corrected(builder, "late", 2, 9, (10.5, 15))
    before = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "before")
    assert before.manifest["left_out"] == {"purged_at_the_split": 3}
    rule(builder, 0, Verdict.PASSED, backfill_of(Cause.CORRECTED, 14, 16), 16)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path / "after")
    assert pl.read_parquet(found.folder / "train.parquet").select("key", "value").rows() == [("restated", 1.0)]
    assert found.manifest["left_out"] == {"purged_at_the_split": 2}


def test_with_backfills_the_same_order_gives_the_same_bytes(builder: LakeBuilder, tmp_path: Path) -> None:
    """Whatever order the engine reads rows in."""
    for number in range(30):
        corrected(builder, f"k{number}", number, number / 10, (4, 5), version=f"v{number % 3}")
    rule(builder, 0, Verdict.WARNED, backfill_of(Cause.CORRECTED, 4, 6), 6)
    rule(builder, 1, Verdict.QUARANTINED, backfill_of(Cause.DECLARED, 4, 6, 2, batch="b1"), 6)
    sets = [write_dataset(builder.lake, CONFIG, ORDER, tmp_path / name) for name in ("one", "two")]
    assert sets[0].manifest_sha256 == sets[1].manifest_sha256
    assert sets[0].counts.rows == 30
    assert [one["verdict"] for one in sets[0].manifest["backfills"]] == ["warned", "quarantined"]
    for name in sets[0].manifest["files"]:
        assert (sets[0].folder / name).read_bytes() == (sets[1].folder / name).read_bytes()


def test_what_a_backfill_of_record_brings_is_counted_by_reason(builder: LakeBuilder, tmp_path: Path) -> None:
    """Its rows, and why others are left out; before the ruling the same is counted as if it was approved."""
    corrected(builder, "kept", 0, 8, (9, 17))
    corrected(builder, "first known behind the split", 1, 9, (10.5, 17))
    corrected(builder, "held out", 2, 12, (13, 17))
    corrected(builder, "young", 3, 16, (16.5, 17))
    corrected(builder, "no member", 4, 8, (9, 9.5))
    about = backfill_of(Cause.CORRECTED, 17, 17)
    rule(builder, 0, Verdict.QUARANTINED, about, 18)
    waiting = count_rows(builder.lake, CONFIG, ORDER)
    assert (waiting.rows, waiting.holdout_rows, waiting.left_out) == (0, 0, {"quarantined": 4})
    assert (waiting.holdout_left_out, waiting.backfills) == ({"quarantined": 1}, [])
    if_approved = count_rows(builder.lake, CONFIG, ORDER, approving=about.id)
    rule(builder, 1, Verdict.APPROVED, about, 19)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    [own] = found.counts.backfills
    assert (own.episode, own.rows, own.holdout_rows) == (about.id, 1, 1)
    assert own.left_out == {"not_mature": 1, "purged_at_the_split": 1}
    assert own.predictions == 4
    assert (found.counts.rows, found.counts.holdout_rows) == (2, 1)
    assert if_approved == found.counts == count_rows(builder.lake, CONFIG, ORDER)


def test_an_approved_definition_that_no_live_label_has_is_left_out_and_counted(
    builder: LakeBuilder, tmp_path: Path
) -> None:
    """The data set has the definition of the newest labelled prediction: nothing of what was approved is in it."""
    builder.predict("own", 1, 0).label("own", 2, 0, value=0.0)
    builder.predict("both", 0.5, 1).label("both", 3, 1, value=0.0).label("both", 4, 2, value=1.0, definition="other")
    place = {"prediction_offset": 1, "predicted_at": hour(0.5)}
    builder.outcome("both", "joined", 4, 2, value=1.0, label_offset=2, definition="other", **place)
    about = backfill_of(Cause.REDEFINED, 4, 4)
    rule(builder, 0, Verdict.APPROVED, about, 5)
    counts = write_dataset(builder.lake, CONFIG, ORDER, tmp_path).counts
    [own] = counts.backfills
    assert (counts.rows, own.rows, own.left_out) == (1, 0, {"other_definition": 1})


def test_a_data_set_of_an_older_version_has_no_counts_of_backfills(builder: LakeBuilder, tmp_path: Path) -> None:
    """A process may have been killed between writing it and logging it, and a newer version has taken over."""
    corrected(builder, "a", 0, 0, (1, 3))
    rule(builder, 0, Verdict.APPROVED, backfill_of(Cause.CORRECTED, 2, 4), 5)
    found = write_dataset(builder.lake, CONFIG, ORDER, tmp_path)
    manifest = json.loads((found.folder / "manifest.json").read_text())
    del manifest["holdout_left_out"], manifest["backfills"][0]["rows"], manifest["backfills"][0]["left_out"]
    (found.folder / "manifest.json").write_text(json.dumps(manifest))
    older = write_dataset(builder.lake, CONFIG, ORDER, tmp_path).counts
    assert (older.rows, older.left_out, older.holdout_left_out, older.backfills) == (1, {}, {}, [])
