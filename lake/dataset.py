"""Training data sets: leak-free Parquet files with a manifest that accounts for every row.

A data set has no value that became known after its `as_of_ms`, and no row whose label was known before its prediction;
rows that are left out are counted by reason, and those of each backfill once more. The same lake, config and order give
the same bytes. Its files are copies, which a vacuum of the lake does not touch.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.metadata import version
from io import RawIOBase
from pathlib import Path
from string import Template
from typing import Any, BinaryIO

import duckdb

from lake.dataset_selection import PARTS, DatasetOrder, counts_of, select, split_ms
from lake.failure import lake_error
from lake.session import connect
from lake.storage.folder import make_folder
from lake.storage.location import storage_at
from lake.store import Lake
from lake.view import quote_name, quote_text
from schemas.base.location import Location
from schemas.config.loop import LoopConfig
from schemas.errors import LakeError
from schemas.events.dataset_rows import BackfillRows, DatasetRows

__all__ = ["MANIFEST", "Dataset", "read_dataset", "write_dataset"]

MANIFEST = "manifest.json"
FORMAT = 1
_SPILL = "spill"
_PACKAGES = ("joins", "lake", "monitor", "retrain", "schemas", "streams", "truthloop")
_DEPENDENCIES = ("truthloop", "duckdb", "deltalake", "polars")
ROWS_PER_GROUP = 122_880
BYTES_AT_ONCE = 1 << 23
_COPY = Template(
    "COPY (SELECT $columns FROM truthloop_old_enough WHERE place = $part ORDER BY predicted_at, key, id) "
    "TO $path (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE $rows_per_group)"
)

_RULINGS = "SELECT episode, verdict FROM truthloop_rulings_at(to_timestamp(? / 1000.0)) WHERE kind = ? ORDER BY number"


@dataclass(frozen=True)
class Dataset:
    """A data set that has been written.

    Attributes:
        folder: with `train.parquet`, `holdout.parquet` and the manifest.
        manifest: the manifest's document.
        manifest_sha256: digest of the manifest's bytes, in hex.
    """

    folder: Location
    manifest: Mapping[str, Any]
    manifest_sha256: str

    @property
    def counts(self) -> DatasetRows:
        """Numbers of its rows; manifests of an older version have none of backfills."""
        manifest = self.manifest
        return DatasetRows(
            rows=manifest["rows"]["train"],
            holdout_rows=manifest["rows"]["holdout"],
            left_out=manifest["left_out"],
            holdout_left_out=manifest.get("holdout_left_out", {}),
            backfills=[
                BackfillRows(
                    episode=one["episode"],
                    rows=one["rows"]["train"],
                    holdout_rows=one["rows"]["holdout"],
                    left_out=one["left_out"],
                )
                for one in manifest["backfills"]
                if "rows" in one
            ],
        )


def write_dataset(lake: Lake, config: LoopConfig, order: DatasetOrder, root: Location) -> Dataset:
    """Write a data set atomically into its own folder in `root`.

    A complete folder of that name is returned as it is: the second of two writers finds the first one's.

    Raises:
        LakeError: the lake cannot be read, the files cannot be written, or the folder holds another data set.
    """
    if isinstance(root, Path):
        return _write_folder(lake, config, order, root)
    storage = storage_at(root / order.name)
    manifests = sorted(file.path for file in storage.list() if file.path.endswith(f"/{MANIFEST}"))
    if manifests:
        return _of_the_same_order(read_dataset(root / order.name / manifests[0].rpartition("/")[0]), order)
    with tempfile.TemporaryDirectory(prefix="truthloop-dataset-") as local:
        written = Path(local) / order.name
        found = _write_folder(lake, config, order, Path(local))
        # two writers of different versions may be at it: each has a name of its own, and nothing is overwritten
        own = found.manifest_sha256[:16]
        for name in found.manifest["files"]:
            storage.stage(f"{own}/{name}", partial(shutil.copyfile, written / name))
        storage.put_if_absent(f"{own}/{MANIFEST}", (written / MANIFEST).read_bytes())
    return read_dataset(root / order.name / own)


def _write_folder(lake: Lake, config: LoopConfig, order: DatasetOrder, root: Path) -> Dataset:
    folder = root / order.name
    if folder.exists():
        return _of_the_same_order(read_dataset(folder), order)
    unfinished = f".{order.name}.unfinished"
    draft: Path | None = None
    try:
        make_folder(root)
        draft = Path(tempfile.mkdtemp(prefix=unfinished, dir=root))  # one per writer: two may write at the same time
        make_folder(draft)
        manifest = _write_parts(lake, config, order, draft)
        text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        storage_at(draft).put(MANIFEST, text.encode())
        draft.rename(folder)
        for abandoned in root.glob(f"{unfinished}*"):  # of a writer that was killed or is too late
            shutil.rmtree(abandoned, ignore_errors=True)
    except (OSError, duckdb.Error, LakeError) as error:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        if (folder / MANIFEST).exists():  # another writer has finished the same one meanwhile
            return _of_the_same_order(read_dataset(folder), order)
        hint = "Check that the disk has room and the folder is writable; it is tried again."
        raise lake_error("the data set could not be written", error, folder, hint) from error
    return read_dataset(folder)


def read_dataset(folder: Location) -> Dataset:
    """Read a data set, and verify every file against the manifest.

    Raises:
        LakeError: there is none, or a file has been changed.
    """
    storage = storage_at(folder)
    try:
        content = storage.read(MANIFEST)
        manifest = json.loads(content)
        for name, file in manifest["files"].items():
            if _sha256(storage.open(name)) != file["sha256"]:
                raise LakeError(f"{name} is not the file that was written", where=str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "Move the folder away; it is written again."
        raise lake_error("is not a complete data set", error, folder, hint) from error
    return Dataset(folder, manifest, hashlib.sha256(content).hexdigest())


def _write_parts(lake: Lake, config: LoopConfig, order: DatasetOrder, folder: Path) -> dict[str, Any]:
    """Write both files, and return the manifest. Of the lake it has nothing that maintenance changes."""
    columns = _columns(config, order.kind)
    session = connect(lake.path)
    try:
        select(session, config, order, folder / _SPILL)
        found = counts_of(session)
        (definition,) = session.execute("SELECT definition FROM truthloop_target").fetchone() or (None,)
        rulings = session.execute(_RULINGS, [order.as_of_ms, order.kind]).fetchall()
        for part in PARTS:
            session.execute(
                _COPY.substitute(
                    columns=", ".join(columns.values()),
                    part=quote_text(part),
                    path=quote_text(str(folder / f"{part}.parquet")),
                    rows_per_group=ROWS_PER_GROUP,
                )
            )
    finally:
        session.close()
        shutil.rmtree(folder / _SPILL, ignore_errors=True)
    rows = {"train": found.rows, "holdout": found.holdout_rows}
    eligible = found.predictions - found.left_out.get("ineligible", 0)
    labelled = eligible - sum(found.left_out.get(status, 0) for status in ("pending", "expired", "retracted"))
    return {
        "format": FORMAT,
        "loop": config.loop,
        "order": asdict(order),
        "split_ms": split_ms(config, order),
        "target": "value",
        "columns": list(columns),
        "rows": rows,
        "left_out": found.left_out,
        "holdout_left_out": found.holdout_left_out,
        "coverage": {"predictions": eligible, "labelled": labelled, "share": labelled / eligible if eligible else None},
        "files": {f"{part}.parquet": _file(folder / f"{part}.parquet", rows[part]) for part in PARTS},
        "contract_sha256": _digest(config.predictions.model_dump_json()),
        "config_sha256": _digest(config.model_dump_json()),
        "definition": definition or config.labels[order.kind].definition,
        "backfills": _backfills(rulings, found),
        "code_sha256": _code_sha256(),
        "dependencies": {name: version(name) for name in _DEPENDENCIES},
    }


def _backfills(rulings: Sequence[tuple[str, str]], found: DatasetRows) -> list[dict[str, Any]]:
    """Return the manifest's list of all backfills; those of record that have labelled predictions have their rows."""
    counted = {one.episode: one for one in found.backfills}
    listed = []
    for episode, verdict in rulings:
        own: dict[str, Any] = {"episode": episode, "verdict": verdict}
        if (rows := counted.get(episode)) is not None:
            own |= {"rows": {"train": rows.rows, "holdout": rows.holdout_rows}, "left_out": rows.left_out}
        listed.append(own)
    return listed


def _columns(config: LoopConfig, kind: str) -> dict[str, str]:
    """Return the SQL expression of each column, by name, in order."""
    value = "value_class" if config.predictions.outputs[kind].task == "multiclass" else "value"
    own = {name: quote_name(name) for name in ("key", "id", "version", "predicted_at", "known_at", "weight", "status")}
    slices = {f"slice_{name}": quote_name(f"slice_{name}") for name in config.predictions.slices}
    features = {f"feature_{name}": quote_name(f"feature_{name}") for name in config.predictions.features}
    return (
        own | slices | features | {"value": quote_name(value) if value == "value" else f"{quote_name(value)} AS value"}
    )


def _of_the_same_order(found: Dataset, order: DatasetOrder) -> Dataset:
    if found.manifest.get("order") != asdict(order):
        raise LakeError(
            "holds a data set of another order",
            where=str(found.folder),
            hint="Move the folder away, or give the loop's data sets a folder of their own (retrain.dataset.uri).",
        )
    return found


def _file(path: Path, rows: int) -> dict[str, object]:
    return {"sha256": _sha256(path.open("rb")), "bytes": path.stat().st_size, "rows": rows}


def _sha256(file: BinaryIO | RawIOBase) -> str:
    digest = hashlib.sha256()
    with file:
        while content := file.read(BYTES_AT_ONCE):
            digest.update(content)
    return digest.hexdigest()


@cache
def _code_sha256() -> str:
    """Return a digest of Truthloop's source code: it identifies the code that wrote a data set, released or not."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")) + sorted((root / package).rglob("*.template")):
            digest.update(f"{path.relative_to(root).as_posix()}\0{_sha256(path.open('rb'))}\n".encode())
    return digest.hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
