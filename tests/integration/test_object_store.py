"""A lake in a bucket is the lake on a disk: through faults of the store, and with the requests that are promised."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lake_builder import RECORDED_AT, LakeBuilder, ms
from maintenance_case import KEEP_READABLE_MS, add_predictions, content, fill, maintain, now_ms
from object_store import Bucket, FaultProxy
from polars.testing import assert_frame_equal
from replay_case import CLOSE_MS, CONFIG, finals, oracle_of, run, table, write_files

from lake import Claim, Lake, append_records, connect
from lake.dataset import read_dataset, write_dataset
from lake.dataset_selection import DatasetOrder
from lake.failure import store_errors_told
from lake.maintenance.backup import back_up, check_files
from lake.maintenance.maintainer import Maintainer
from lake.storage.client import client
from lake.storage.location import storage_at
from lake.table import TABLES
from schemas.base.location import BucketUri, location_of_uri
from schemas.errors import LakeError
from truthloop.config.settings import Settings
from truthloop.evidence.cells import read_evidence
from truthloop.feedback.reconcile import LOOKED_AT, Reconciler, ReconcileResult

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_ENTRY = r"^PUT .*_delta_log/\d{20}\.json"
FAULTS = (
    {"kind": "lost", "share": 0.01, "match": "^PUT"},
    {"kind": "unavailable", "share": 0.01},
    {"kind": "cut", "share": 0.01},
    {"kind": "half", "share": 0.01},
    {"kind": "slow", "share": 0.01},
)
"""One request in twenty."""


def kinds(requests: list[str]) -> dict[str, int]:
    """Return the number of requests of each kind."""
    return dict(Counter("LIST" if "list-type" in one else one.partition(" ")[0] for one in requests))


def settings_in(place: Path | BucketUri, folder: Path) -> Settings:
    """Return settings with a lake."""
    return Settings(CONFIG, folder / "truthloop.yaml", place, folder / "state", folder / "datasets")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_replay_through_faults_is_the_replay_on_a_disk(
    bucket: Bucket, proxy: FaultProxy, tmp_path: Path, seed: int
) -> None:
    """Rows, outcomes, cells and views; if the store is too bad for one run, the same command goes on."""
    files = write_files(tmp_path, seed=seed)
    paths = files.prediction_files, files.label_files
    run(tmp_path / "lake", *paths, close_at_ms=CLOSE_MS)
    proxy.set(*FAULTS, seed=seed)
    for _ in range(5):
        try:
            run(bucket.place, *paths, close_at_ms=CLOSE_MS)
            read_evidence(settings_in(bucket.place, tmp_path))
            break
        except LakeError:
            continue
    assert sum(proxy.faults().values()) > 10
    proxy.set()
    assert finals(bucket.place) == finals(tmp_path / "lake") == oracle_of(files)
    for name in ("predictions", "labels", "outcomes", "rejects"):
        assert_frame_equal(table(bucket.place, name), table(tmp_path / "lake", name))
    mine, theirs = (read_evidence(settings_in(one, tmp_path)) for one in (bucket.place, tmp_path / "lake"))
    assert_frame_equal(mine.cells.whole(), theirs.cells.whole(), check_exact=True)
    query = "SELECT * FROM scored ORDER BY ALL"
    with connect(bucket.place) as one, connect(tmp_path / "lake") as two:
        assert one.sql(query).fetchall() == two.sql(query).fetchall() != []


@pytest.mark.parametrize("kind", ["lost", "unavailable", "cut"])
def test_an_entry_whose_answer_is_lost_is_written_once(bucket: Bucket, proxy: FaultProxy, kind: str) -> None:
    """Its writer is told that it has written, and so is the writer of a log that compares and sets."""
    builder = LakeBuilder(bucket.place)
    lake = builder.lake
    for number in range(3):
        frame = builder.frame("predictions", [_prediction(number)])
        proxy.set({"kind": kind, "match": LOG_ENTRY, "count": 1})
        assert lake.append("predictions", frame, [Claim("w", number, number + 1)], recorded_at=RECORDED_AT)
        assert proxy.faults() == {kind: 1}
    record = {"number": 0, "decision": "rt-1", "attempt": 1, "attempted_at": RECORDED_AT, "outcome": "sent"}
    proxy.set({"kind": kind, "match": LOG_ENTRY, "count": 1})
    assert append_records(lake, "deliveries", [record], Claim("log", 0, 1), 0)
    assert not append_records(Lake.open(bucket.place), "deliveries", [record], Claim("log", 0, 1), 0)
    found = Lake.open(bucket.place)
    assert found.scan("predictions").collect()["offset"].sort().to_list() == [0, 1, 2]
    assert found.scan("deliveries").collect().height == 1


def _prediction(number: int) -> dict[str, object]:
    at = {"key": f"k{number}", "id": "p", "predicted_at": RECORDED_AT, "source": "f" * 64, "source_row": 1}
    return at | {
        "partition": 0,
        "offset": number,
        "version": "v",
        "eligible": True,
        "weight": 1.0,
        "digest": 1,
        "flags": [],
    }


def test_a_look_at_an_unchanged_table_is_one_list(bucket: Bucket, proxy: FaultProxy) -> None:
    """The figures of docs/operations.md, Object storage."""
    builder = LakeBuilder(bucket.place)
    add_predictions(builder, 3)
    proxy.set()
    for table_name in TABLES:
        builder.lake.version(table_name)
    assert kinds(proxy.requests()) == {"LIST": len(TABLES)}
    proxy.set()
    add_predictions(builder, 1, first=3)
    assert kinds(proxy.requests()) == {"LIST": 5, "GET": 2, "PUT": 2}


def test_a_look_of_the_feedback_role_at_an_unchanged_lake_is_one_list_a_table(
    bucket: Bucket, proxy: FaultProxy, tmp_path: Path
) -> None:
    """The figures of docs/operations.md, Object storage; the first looks read it."""
    files = write_files(tmp_path, seed=1)
    run(bucket.place, files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    reconciler = Reconciler(settings_in(bucket.place, tmp_path), lambda: 0)
    while reconciler.run() != ReconcileResult([], [], 0):
        pass
    reconciler.run()
    proxy.set()
    assert reconciler.run().decisions == []
    assert kinds(proxy.requests()) == {"LIST": len(LOOKED_AT)}


WRITER = """
import sys
import polars as pl
from lake import Claim, Lake
from lake_builder import RECORDED_AT
from schemas.base.location import BucketUri
from schemas.errors import LakeError
lake = Lake.open(BucketUri.parse(sys.argv[1]))
frame = pl.read_parquet(sys.argv[2])
app, rounds = sys.argv[3], int(sys.argv[4])
while (number := lake.applied("predictions", app)) < rounds:
    print(number, flush=True)
    sys.stdin.readline()
    row = frame.with_columns(offset=pl.lit(number, pl.Int64), source=pl.lit(app))
    lake.append("predictions", row, [Claim(app, number, number + 1)], recorded_at=RECORDED_AT)
"""
MAINTAINER = """
import sys
from lake.maintenance.maintainer import Maintainer
from maintenance_case import KEEP_READABLE_MS, now_ms, KEEP_READABLE_MS, moment
from schemas.base.location import BucketUri
while True:
    list(Maintainer(BucketUri.parse(sys.argv[1]), KEEP_READABLE_MS).steps(moment))
"""


def start(bucket: Bucket, program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that shares nothing with any other but the bucket."""
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", program, str(bucket.place), *map(str, arguments)],
        env=bucket.environ | {"PYTHONPATH": f"{root}:{root / 'tests' / 'support'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def may_write(process: subprocess.Popen[str]) -> bool:
    """Wait until a writer asks for its next round, and let it begin; return False if it ended instead."""
    assert process.stdin is not None
    assert process.stdout is not None
    if not process.stdout.readline():
        return False
    process.stdin.write("\n")
    process.stdin.flush()
    return True


def ended(process: subprocess.Popen[str]) -> int:
    """Wait for its end; return its code."""
    with process:
        return process.wait()


def test_writers_and_maintainers_that_are_killed_lose_and_double_nothing(
    bucket: Bucket, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Two of each, through a bad store, ended by SIGKILL again and again: every row is there once."""
    builder = LakeBuilder(bucket.place)
    file = tmp_path / "frame.parquet"
    builder.frame("predictions", [_prediction(0)]).write_parquet(file)
    proxy.set(*FAULTS)
    rounds = 40
    programs = [(WRITER, file, "a", rounds), (WRITER, file, "b", rounds), (MAINTAINER,), (MAINTAINER,)]
    running = [start(bucket, *program) for program in programs]
    begun = kills = 0
    while any(process.poll() != 0 for process in running[:2]):
        for at in [at for at in range(2) if running[at].poll() != 0]:
            if not may_write(running[at]):
                if ended(running[at]):
                    running[at] = start(bucket, *programs[at])
                continue
            begun += 1
            if begun % 9 == 0:
                victim = begun // 9 % 4
                running[victim].kill()
                if ended(running[victim]):
                    kills += 1
                    running[victim] = start(bucket, *programs[victim])
    for process in running:
        process.kill()
        ended(process)
    proxy.set()
    maintain(bucket.place)
    lake = Lake.open(bucket.place)
    rows = lake.scan("predictions").collect()
    assert Counter(rows.select("source", "offset").rows()) == {(app, at): 1 for app in "ab" for at in range(rounds)}
    assert kills > 5  # both maintainers twice; each writer once, long before its last round
    assert any("level-" in path for path in lake._files("predictions")["path"])


def test_maintenance_changes_no_row(bucket: Bucket) -> None:
    """It rewrites, writes checkpoints, and the change feed stays silent; what is old is swept; verify finds nothing."""
    builder = fill(bucket.place)
    before = content(builder.lake)
    assert maintain(bucket.place)
    assert storage_at(bucket.place / "predictions").has("_delta_log/_last_checkpoint")
    after = Lake.open(bucket.place)
    assert after._files("predictions").height < 70
    assert {name: frame.to_dicts() for name, frame in content(after).items()} == {
        name: frame.to_dicts() for name, frame in before.items()
    }
    assert [fault for one in check_files(bucket.place) for fault in one.faults] == []


def test_a_backup_goes_from_a_bucket_to_a_folder_and_back(bucket: Bucket, tmp_path: Path) -> None:
    """A lake in either place has the same rows, and verify names what is missing."""
    builder = fill(bucket.place, 10)
    back_up(bucket.place, tmp_path / "backup")
    back_up(tmp_path / "backup", restored := BucketUri(bucket.place.bucket, "restored"))
    for place in (tmp_path / "backup", restored):
        assert_frame_equal(content(Lake.open(place))["predictions"], content(builder.lake)["predictions"])
    lost = next(one.path for one in storage_at(restored / "labels").list() if one.path.endswith(".parquet"))
    storage_at(restored / "labels").delete(lost)
    (fault,) = [fault for one in check_files(restored) for fault in one.faults]
    assert fault == f"{restored}/labels/{lost} is missing"


def test_a_data_set_in_a_bucket_is_visible_by_its_manifest(bucket: Bucket, tmp_path: Path) -> None:
    """It has the same bytes as in a folder; the second of two writers finds it, and half of one is none."""
    builder = LakeBuilder(bucket.place)
    builder.predict("a", 0, 0).predict("b", 0, 1).label("a", 3, 0, value=1.0).outcome("a", "joined", 3, 0, value=1.0)
    builder.entry(0, 0, predictions_next=2, labels_next=1)
    order = DatasetOrder("rt-1", "fraud", ms(20), 5 * 3_600_000, 0)
    root = BucketUri(bucket.place.bucket, "sets")
    storage_at(root / "rt-1").put("0123/train.parquet", b"of a writer that was killed")
    found = write_dataset(builder.lake, builder.config, order, root)
    local = write_dataset(builder.lake, builder.config, order, tmp_path)
    assert found.manifest == local.manifest
    assert found.manifest_sha256.startswith(found.folder.name)
    again = write_dataset(Lake.open(bucket.place), builder.config, order, root)
    assert again == found == read_dataset(location_of_uri(found.folder.as_uri()))
    storage_at(found.folder).put("train.parquet", b"changed")
    with pytest.raises(LakeError, match=r"train\.parquet is not the file that was written"):
        read_dataset(found.folder)


def test_a_sweep_gives_up_uploads_that_were_never_finished(bucket: Bucket) -> None:
    """Old ones, of the lake alone; moto says of every upload that it began in 2010."""
    builder = LakeBuilder(bucket.place)
    builder.predict("k", 0, 0)
    for place in (bucket.place / "predictions", BucketUri(bucket.place.bucket, "other")):
        client().create_multipart_upload(Bucket=place.bucket, Key=f"{place.key}/part.parquet")
    storage_at(bucket.place / "predictions").abandon(0)
    assert uploads(bucket) == ["loops/fraud/predictions/part.parquet", "other/part.parquet"]
    list(Maintainer(bucket.place, KEEP_READABLE_MS).sweep(now_ms()))
    assert uploads(bucket) == ["other/part.parquet"]


def uploads(bucket: Bucket) -> list[str]:
    """Return the keys of uploads that were begun."""
    found = client().list_multipart_uploads(Bucket=bucket.place.bucket)
    return sorted(one["Key"] for one in found.get("Uploads", []))


@pytest.mark.parametrize(
    ("kind", "hint"), [("expired", "renew this process's credentials"), ("gone", "bucket is gone")]
)
def test_a_store_that_refuses_is_told_with_the_way_out(bucket: Bucket, proxy: FaultProxy, kind: str, hint: str) -> None:
    """A token has expired, the bucket has vanished; afterwards the same lake goes on, and nothing is half-written."""
    builder = LakeBuilder(bucket.place)
    builder.predict("a", 0, 0)
    lake, storage = builder.lake, storage_at(bucket.place)
    held, session = lake.scan("predictions"), connect(bucket.place)
    frame = builder.frame("predictions", [_prediction(7)])
    ways: list[Callable[[], object]] = [
        lambda: lake.append("predictions", frame, [Claim("w", 0, 1)], recorded_at=RECORDED_AT),
        lambda: Lake.open(bucket.place),
        lambda: connect(bucket.place),
        lambda: maintain(bucket.place),
        lambda: Lake.create(bucket.place, builder.config),
        held.collect,
        lambda: session.execute("SELECT count(*) FROM all_predictions").fetchall(),
        lambda: storage.has("x"),
        lambda: storage.read("x"),
        storage.exists,
        lambda: storage.stage("x", lambda file: Path(file).write_bytes(b"1")),
    ]
    proxy.set({"kind": kind})
    for way in ways:
        with pytest.raises(LakeError) as caught, store_errors_told():
            way()
        assert hint in caught.value.hint
    proxy.set()
    assert not storage.has("x")
    for way in ways[:4]:
        way()
    assert held.collect().height == 1
    assert Lake.open(bucket.place).scan("predictions").collect().height == 2
