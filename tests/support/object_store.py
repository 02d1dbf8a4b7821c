"""Object stores for tests: moto's server, and a proxy before it. Both are processes of their own.

What opens a lake in a bucket reads the store's address from the environment, so `Bucket.use` sets it.
"""

import json
import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lake.storage import client as store_client
from schemas.base.location import BucketUri

__all__ = ["Bucket", "FaultProxy", "bucket", "new_bucket", "proxy"]

_MOTO = """
import threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
lock, app = threading.Lock(), DomainDispatcherApplication(create_backend_app)
def one_at_a_time(environ, start_response):
    with lock:
        return app(environ, start_response)
server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""
"""One request at a time: under load moto alone lets two conditional writes at once both succeed; the probe found it."""


@contextmanager
def _process(*command: str) -> Iterator[str]:
    """Start a server that prints its port; give its address."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@contextmanager
def moto_server() -> Iterator[str]:
    """Run moto's S3; give its address."""
    with _process("-c", _MOTO) as url:
        yield url


class FaultProxy:
    """The proxy of `fault_proxy`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def set(
        self, *faults: Mapping[str, Any], seed: int = 0, lifetime_ms: int | None = None, revoke: bool = False
    ) -> None:
        """Let some requests go wrong, hand out credentials that live so long, and count anew; end those of before."""
        self._call("PUT", {"faults": faults, "seed": seed, "lifetime_ms": lifetime_ms, "revoke": revoke})

    def requests(self) -> list[str]:
        """Return the requests since `set`, METHOD PATH each."""
        return list(self._call("GET", None)["requests"])

    def faults(self) -> dict[str, int]:
        """Return how often each fault was made since `set`."""
        return dict(self._call("GET", None)["faults"])

    def outlived(self) -> dict[str, int]:
        """Return how many tokens each client has used since `set` that have expired by now."""
        return dict(self._call("GET", None)["outlived"])

    def _call(self, method: str, document: object) -> Any:
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}/.proxy", body, method=method)  # noqa: S310 - a server of the test
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
            return json.load(answer)


@contextmanager
def proxied(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy before a store."""
    with _process(str(Path(__file__).with_name("fault_proxy.py")), upstream) as url:
        yield FaultProxy(url)


class Bucket:
    """A new bucket of a store.

    Attributes:
        environ: the variables by which a process reaches it.
        place: a prefix in it.
    """

    def __init__(self, url: str) -> None:
        self.environ = {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.place = BucketUri(f"truth-{uuid.uuid4().hex}", "loops/fraud")

    def use(self, patch: pytest.MonkeyPatch) -> BucketUri:
        """Let this process reach the store as it reaches any; return a prefix."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in self.environ.items():
            patch.setenv(name, value)
        forget_the_client()
        return self.place


def forget_the_client() -> None:
    """Let the next request read the environment again."""
    store_client._session.cache_clear()
    store_client.client.cache_clear()


@contextmanager
def new_bucket(url: str, patch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Make a bucket in a store and let this process reach it."""
    bucket = Bucket(url)
    bucket.use(patch)
    store_client.client().create_bucket(Bucket=bucket.place.bucket)
    yield bucket
    forget_the_client()


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    """A store behind a proxy."""
    with moto_server() as url, proxied(url) as found:
        yield found


@pytest.fixture
def bucket(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A new bucket in it; no request goes wrong yet."""
    proxy.set()
    with new_bucket(proxy.url, monkeypatch) as found:
        yield found
    proxy.set()
