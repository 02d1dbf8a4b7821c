"""Files in a bucket, through a proxy that lets answers go wrong: `lake.storage.client` reaches moto's server."""

from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from object_store import Bucket, FaultProxy
from storage_case import check_staging, created_at_once

from lake.storage.bucket import BucketStorage
from lake.storage.bucket_file import TAIL_BYTES
from lake.storage.duckdb_files import BucketFiles
from schemas.errors import LakeError


@pytest.fixture
def storage(bucket: Bucket) -> BucketStorage:
    """A prefix in the bucket."""
    return BucketStorage(bucket.place.bucket, bucket.place.key)


def test_files_are_listed_with_their_sizes_and_times(storage: BucketStorage, bucket: Bucket) -> None:
    """At any depth, with paths that begin at the prefix; what is beside it is not seen."""
    BucketStorage(bucket.place.bucket, "loops").put("fraudulent/x", b"1")
    assert not storage.exists()
    storage.put("a/b/one", b"123")
    storage.put("two", b"")
    assert storage.exists()
    found = {file.path: file for file in storage.list()}
    assert {path: file.size for path, file in found.items()} == {"a/b/one": 3, "two": 0}
    assert [file.path for file in storage.list("a")] == ["a/b/one"]
    assert list(storage.list("none")) == []


def test_of_many_who_create_a_file_one_succeeds(storage: BucketStorage) -> None:
    """One that has exactly the content that is there counts as the winner: its answer may have been lost."""
    (winner,) = created_at_once(storage, "log/1")
    assert storage.read("log/1") == winner
    assert not storage.put_if_absent("log/1", b"late")
    assert storage.put_if_absent("log/1", winner)


@pytest.mark.parametrize("kind", ["lost", "cut", "unavailable"])
def test_a_file_whose_answer_is_lost_is_created_once(storage: BucketStorage, proxy: FaultProxy, kind: str) -> None:
    """Every time, not only the first."""
    for count in (1, 3):
        proxy.set({"kind": kind, "match": "^PUT", "count": count})
        assert storage.put_if_absent(f"log/{count}", b"mine")
        assert proxy.faults() == {kind: count}
        assert not storage.put_if_absent(f"log/{count}", b"other")


def test_neighbours_are_looked_at_with_one_list(storage: BucketStorage, proxy: FaultProxy) -> None:
    """Another file of the same name has another identity; what lies between or behind them is not one of them."""
    names = [f"log/{number:020d}.json" for number in range(3)]
    storage.put(names[1], b"1")
    storage.put("log/00000000000000000001.checkpoint.parquet", b"")
    for number in range(5, 20):
        storage.put(f"log/{number:020d}.json", b"")
    proxy.set()
    first = storage.identities(names[1:])
    assert len(proxy.requests()) == 1
    assert (first[0] is not None, first[1]) == (True, None)
    assert storage.identities(names[1:]) == first
    storage.put(names[1], b"2")
    assert storage.identities(names[1:])[0] != first[0]


def test_what_is_gone_is_gone(storage: BucketStorage) -> None:
    """To delete it again is no error; to read it is one of its own."""
    storage.put("x", b"1")
    assert storage.has("x")
    storage.delete("x")
    storage.delete("x")
    assert not storage.has("x")
    for read in (storage.read, storage.open):
        with pytest.raises(FileNotFoundError):
            read("x")


def test_a_staged_file_is_whole_or_not_there(storage: BucketStorage) -> None:
    """What its writer raises is raised, and leaves nothing."""
    check_staging(storage)


def test_an_answer_that_is_cut_off_is_asked_for_again(
    storage: BucketStorage, proxy: FaultProxy, tmp_path: Path
) -> None:
    """The client does not do that for what is read in a stream."""
    content = bytes(range(256)) * 4_000
    storage.put("x", content)
    proxy.set({"kind": "half", "match": "^GET", "count": 2})
    assert storage.read("x") == content
    proxy.set({"kind": "half", "match": "^GET", "count": 2})
    storage.fetch("x", str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == content
    proxy.set({"kind": "half", "match": "^GET"})
    with pytest.raises(LakeError, match="cannot be read"):
        storage.read("x")


def test_a_large_file_is_read_in_ranges(storage: BucketStorage, proxy: FaultProxy) -> None:
    """Its end is read once; an empty one has no ranges."""
    frame = pl.DataFrame({"a": pl.int_range(500_000, eager=True).shuffle(1)})
    storage.stage("x.parquet", lambda file: frame.write_parquet(file, row_group_size=100_000))
    proxy.set()
    with storage.open("x.parquet") as file:
        assert file.tail.size > 4 * TAIL_BYTES
        assert pq.read_metadata(file).num_rows == 500_000
        assert len(proxy.requests()) == 1
    with storage.open("x.parquet") as file:
        assert pq.read_table(file).num_rows == 500_000
    storage.put("empty", b"")
    with storage.open("empty") as file:
        assert file.read() == b""


def test_duckdb_reads_without_an_extension(storage: BucketStorage, bucket: Bucket, proxy: FaultProxy) -> None:
    """Patterns, JSON, Parquet, with one slash where there is one; a file that was read is not asked for again."""
    storage.put("log/1.json", b'{"a": 1}\n')
    storage.put("log/2.json", b'{"a": 2}\n')
    storage.put("log/deeper/3.json", b'{"a": 3}\n')
    storage.stage("day=1/x.parquet", lambda file: pl.DataFrame({"a": range(10_000)}).write_parquet(file))
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as session:
        session.register_filesystem(BucketFiles())
        found = session.execute("SELECT file FROM glob(?) ORDER BY ALL", [f"{bucket.place}/log/*"]).fetchall()
        assert found == [(f"{bucket.place}/log/{number}.json",) for number in (1, 2)]
        files = [name for (name,) in found]
        query = "SELECT sum(a) FROM read_json(?, columns = {'a': 'BIGINT'})"
        for _ in range(2):
            assert session.execute(query, [files]).fetchone() == (3,)
            assert session.execute("SELECT max(a) FROM read_parquet(?)", [f"{bucket.place}/day=1/x.parquet"]).fetchall()
            before, requests = proxy.requests(), proxy.requests()
        assert before == requests
        with pytest.raises(duckdb.Error):
            session.execute("FROM read_parquet(?)", [f"{bucket.place}/none.parquet"])


def test_without_a_store_the_error_says_what_to_see_to(storage: BucketStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without credentials."""
    other = Bucket("http://127.0.0.1:9")
    other.environ.pop("AWS_ACCESS_KEY_ID")
    other.use(monkeypatch)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(LakeError) as caught:
        storage.read("x")
    assert "renew this process's credentials" in caught.value.hint
