"""Credentials that expire are renewed on every way to a bucket; while they cannot be, nothing is half-written.

Tests `lake.storage.client`: a proxy hands out credentials, and refuses a token that is past its end, as S3 does.
"""

import configparser
import json
import shlex
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import pytest
from lake_builder import LakeBuilder
from maintenance_case import add_predictions, maintain
from object_store import Bucket, FaultProxy

from lake import Lake, connect
from lake.failure import store_errors_told
from lake.storage.location import storage_at
from schemas.errors import LakeError

LIFETIME_MS, LONG_MS = 3_000, 600_000
CLIENTS = {"Botocore", "object_store", "polars"}
PROCESS = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1]).read().decode())"
WAY_OUT = "renew this process's credentials"


class Access:
    """A lake in a bucket with everything that holds on to it: a handle, a frame that is not read yet, a session.

    Args:
        place: of credentials: `container`, `process` or `file`.
    """

    def __init__(self, proxy: FaultProxy, bucket: Bucket, patch: pytest.MonkeyPatch, folder: Path, place: str) -> None:
        self._url = f"{proxy.url}/.credentials"
        self._bucket = bucket
        self._file = folder / "credentials" if place == "file" else None
        self.builder = LakeBuilder(bucket.place)
        proxy.set(lifetime_ms=LONG_MS if place == "file" else LIFETIME_MS)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            bucket.environ.pop(name)
        bucket.environ |= {"AWS_CONFIG_FILE": str(folder / "config")}
        bucket.environ |= {"AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials")}
        if place == "container":
            bucket.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = self._url
        command = shlex.join([sys.executable, "-S", "-E", "-c", PROCESS, self._url])
        _write(folder / "config", {"credential_process": command} if place == "process" else {})
        _write(folder / "credentials", {})
        self.provide()
        bucket.use(patch)
        self.builder.lake = Lake.open(bucket.place)
        self._rows = 0
        self.append()
        self.held = self.builder.lake.scan("predictions")
        self.session = connect(bucket.place)

    def provide(self) -> None:
        """Put new credentials where they are looked for, if that is a file."""
        if self._file is None:
            return
        with urllib.request.urlopen(self._url) as answer:  # noqa: S310 - a server of the test
            found = json.load(answer)
        names = {"aws_access_key_id": "AccessKeyId", "aws_secret_access_key": "SecretAccessKey"}
        names |= {"aws_session_token": "Token"}
        _write(self._file, {own: found[name] for own, name in names.items()})

    def append(self) -> None:
        """Append two rows."""
        add_predictions(self.builder, 1, first=self._rows // 2)
        self._rows += 2

    def read(self) -> list[int]:
        """Return the rows that there are: of a new frame, of an old one and of a new session."""
        frame = self.builder.lake.scan("predictions")
        with connect(self._bucket.place) as session:
            return [frame.collect().height, self.held.collect().height, _count(session)]

    @property
    def expected(self) -> list[int]:
        """What `read` returns if nothing is lost, doubled or half-written."""
        return [self._rows, 2, self._rows]

    def ways(self) -> dict[str, Callable[[], object]]:
        """Return each way to the store by itself."""
        place = self._bucket.place
        storage = storage_at(place)
        return {
            "append": self.append,
            "open": lambda: Lake.open(place),
            "frame": self.held.collect,
            "connect": lambda: connect(place),
            "session": lambda: _count(self.session),
            "maintain": lambda: maintain(place),
            "put": lambda: storage.put_if_absent("other", b"1"),
            "has": lambda: storage.has("truthloop.json"),
            "list": lambda: list(storage.list()),
        }


def _write(file: Path, options: Mapping[str, str]) -> None:
    """Write a file of the client's, with one profile."""
    config = configparser.RawConfigParser()
    config["default"] = dict(options)
    with file.open("w") as target:
        config.write(target)


def _count(session: duckdb.DuckDBPyConnection) -> int:
    [count] = session.execute("SELECT count(*) FROM all_predictions").fetchone() or (0,)
    return int(count)


@pytest.mark.parametrize("place", ["container", "process", "file"])
def test_temporary_credentials_are_renewed_or_their_end_is_told(
    bucket: Bucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    """What holds on to the store from the beginning goes on after a token has expired, as after a time without any.

    While there are none, each way says what to do and changes nothing.
    """
    access = Access(proxy, bucket, monkeypatch, tmp_path, place)
    while place != "file" and min(proxy.outlived().get(client, 0) for client in CLIENTS) < 1:
        access.append()
        assert access.read() == access.expected
    access.append()
    assert access.read() == access.expected
    proxy.set(lifetime_ms=None if place == "process" else -1, revoke=True)
    for name, way in access.ways().items():
        with pytest.raises(LakeError) as caught, store_errors_told():
            way()
        assert WAY_OUT in caught.value.hint, name
        assert "Traceback" not in caught.value.what or place == "process"
    proxy.set(lifetime_ms=LONG_MS)
    access.provide()
    access.append()
    assert access.read() == access.expected
    assert _count(access.session) == 2
