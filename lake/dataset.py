"""Training data sets: leak-free Parquet files with a manifest that accounts for every row.

A data set has no value that became known after its `as_of_ms`, and no row whose label was known before its prediction;
rows that are left out are counted by reason. The same lake, config and order give the same bytes. Its files are copies,
which a vacuum of the lake does not touch.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import duckdb

from lake.disk import write_atomically
from lake.failure import lake_error
from lake.marker import make_folder
from lake.session import connect
from lake.store import Lake
from lake.table import TABLES
from lake.view import quote_name, quote_text
from schemas.config.loop import LoopConfig
from schemas.errors import LakeError

__all__ = ["MANIFEST", "Dataset", "DatasetOrder", "read_dataset", "write_dataset"]

MANIFEST = "manifest.json"
FORMAT = 1
PARTS = ("train", "holdout")
_TEMPLATE = Path(__file__).with_name("dataset.sql.template")
_SOURCES = tuple(name for name in TABLES if name in {"predictions", "labels", "outcomes", "rejects", "ledger"})
_PACKAGES = ("joins", "lake", "monitor", "retrain", "schemas", "streams", "truthloop")
_DEPENDENCIES = ("truthloop", "duckdb", "deltalake", "polars")
ROWS_PER_GROUP = 122_880
_COPY = Template(
    "COPY (SELECT $columns FROM truthloop_old_enough WHERE place = $part ORDER BY predicted_at, key, id) "
    "TO $path (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE $rows_per_group)"
)

_RULINGS = "SELECT episode, verdict FROM truthloop_rulings_at(to_timestamp(? / 1000.0)) WHERE kind = ? ORDER BY number"


@dataclass(frozen=True)
class DatasetOrder:
    """Specification of a data set.

    Attributes:
        name: name of its folder; the id of the decision that it belongs to.
        kind: label kind whose values are the target.
        as_of_ms: it contains only what was known by this time.
        at_age_ms: least age of its predictions at that time; None: their outcome is final.
        holdout_ms: length of the newest part of the predictions, which is written to `holdout`.
    """

    name: str
    kind: str
    as_of_ms: int
    at_age_ms: int | None
    holdout_ms: int


@dataclass(frozen=True)
class Dataset:
    """A data set that has been written.

    Attributes:
        folder: with `train.parquet`, `holdout.parquet` and the manifest.
        manifest: the manifest's document.
        manifest_sha256: digest of the manifest's bytes, in hex.
    """

    folder: Path
    manifest: Mapping[str, Any]
    manifest_sha256: str

    @property
    def rows(self) -> int:
        """Number of training rows, without the holdout."""
        return int(self.manifest["rows"]["train"])


def write_dataset(lake: Lake, config: LoopConfig, order: DatasetOrder, root: Path) -> Dataset:
    """Write a data set atomically into its own folder in `root`.

    A complete folder of that name is returned as it is: the second of two writers finds the first one's.

    Raises:
        LakeError: the lake cannot be read, the files cannot be written, or the folder holds another data set.
    """
    folder = root / order.name
    if folder.exists():
        return _of_the_same_order(read_dataset(folder), order)
    unfinished = f".{order.name}.unfinished"
    draft: Path | None = None
    try:
        make_folder(root)
        draft = Path(tempfile.mkdtemp(prefix=unfinished, dir=root))  # one per writer: two may write at the same time
        make_folder(draft)
        versions = {table: lake.version(table) for table in _SOURCES}
        manifest = _write_parts(lake, config, order, draft) | {"table_versions": versions}
        text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        write_atomically(draft / MANIFEST, text)
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


def read_dataset(folder: Path) -> Dataset:
    """Read a data set, and verify every file against the manifest.

    Raises:
        LakeError: there is none, or a file has been changed.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = json.loads(content)
        for name, file in manifest["files"].items():
            if _sha256(folder / name) != file["sha256"]:
                raise LakeError(f"{name} is not the file that was written", where=str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "Move the folder away; it is written again."
        raise lake_error("is not a complete data set", error, folder, hint) from error
    return Dataset(folder, manifest, hashlib.sha256(content).hexdigest())


def _write_parts(lake: Lake, config: LoopConfig, order: DatasetOrder, folder: Path) -> dict[str, Any]:
    """Write both files, and return the manifest without the versions of the tables."""
    split_ms = order.as_of_ms - order.holdout_ms
    if order.at_age_ms is not None:
        split_ms -= order.at_age_ms
    else:
        split_ms -= config.labels[order.kind].horizon
    columns = _columns(config, order.kind)
    session = connect(lake.path)
    try:
        session.execute("SET threads = 1")  # the order of rows and groups is part of the bytes
        session.execute(
            Template(_TEMPLATE.read_text("utf-8")).substitute(
                split_ms=split_ms,
                as_of_ms=order.as_of_ms,
                kind=quote_text(order.kind),
                at_age_ms=-1 if order.at_age_ms is None else order.at_age_ms,
            )
        )
        counts = dict(session.execute("SELECT place, count(*) FROM truthloop_old_enough GROUP BY place").fetchall())
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
    left_out = {reason: count for reason, count in sorted(counts.items()) if reason not in PARTS}
    rows = {part: counts.get(part, 0) for part in PARTS}
    eligible = sum(counts.values()) - counts.get("ineligible", 0)
    labelled = eligible - sum(left_out.get(status, 0) for status in ("pending", "expired", "retracted"))
    return {
        "format": FORMAT,
        "loop": config.loop,
        "order": asdict(order),
        "split_ms": split_ms,
        "target": "value",
        "columns": list(columns),
        "rows": rows,
        "left_out": left_out,
        "coverage": {"predictions": eligible, "labelled": labelled, "share": labelled / eligible if eligible else None},
        "files": {f"{part}.parquet": _file(folder / f"{part}.parquet", rows[part]) for part in PARTS},
        "contract_sha256": _digest(config.predictions.model_dump_json()),
        "config_sha256": _digest(config.model_dump_json()),
        "definition": definition or config.labels[order.kind].definition,
        "backfills": [{"episode": episode, "verdict": verdict} for episode, verdict in rulings],
        "code_sha256": _code_sha256(),
        "dependencies": {name: version(name) for name in _DEPENDENCIES},
    }


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
    return {"sha256": _sha256(path), "bytes": path.stat().st_size, "rows": rows}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _code_sha256() -> str:
    """Return a digest of Truthloop's source code: it identifies the code that wrote a data set, released or not."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")) + sorted((root / package).rglob("*.template")):
            digest.update(f"{path.relative_to(root).as_posix()}\0{_sha256(path)}\n".encode())
    return digest.hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
