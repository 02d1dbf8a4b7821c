"""The jars of the local broker: only the pinned bytes are kept, whatever a server, a disk or a kill does."""

import hashlib
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pooch.core
import pytest

from schemas.errors import BrokerError
from truthloop.broker import jars as kafka_jars
from truthloop.broker.jars import Jar, cache_folder, fetch_jars, maven_url, missing_jars, pinned_jars

CONTENTS = {f"org/example/part-{i}/1.0/part-{i}-1.0.jar": bytes([i]) * (50_000 + i) for i in range(6)}
JARS = [Jar(hashlib.sha256(content).hexdigest(), len(content), path) for path, content in CONTENTS.items()]
FIRST = JARS[0]

FETCHING = """
import json, pathlib, sys
from truthloop.broker.jars import Jar, fetch_jars
print("begins", flush=True)
print(fetch_jars(pathlib.Path(sys.argv[1]), jars=[Jar(**jar) for jar in json.loads(sys.argv[2])]))
"""


@dataclass
class Maven:
    """A Maven repository on loopback that fails on demand.

    Attributes:
        url: its address.
        contents: bytes by path.
        failures: statuses that a path is answered with before it is served.
        cut_short: paths whose last byte is never sent.
        asked: requests by path.
        open: no request is answered before it is set.
    """

    url: str = ""
    contents: dict[str, bytes] = field(default_factory=lambda: dict(CONTENTS))
    failures: dict[str, list[int]] = field(default_factory=dict)
    cut_short: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    open: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def maven(monkeypatch: pytest.MonkeyPatch) -> Iterator[Maven]:
    """A repository with all of `JARS`, which the environment names as the mirror; retries do not wait."""
    repository = Maven()
    repository.open.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/maven2/")
            repository.asked[path] += 1
            repository.open.wait(60)
            if failures := repository.failures.get(path):
                self.send_error(failures.pop(0))
                return
            content = repository.contents[path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:-1] if path in repository.cut_short else content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        repository.url = f"http://127.0.0.1:{server.server_port}/maven2"
        monkeypatch.setenv("TRUTHLOOP_MAVEN_URL", f"{repository.url}/")
        monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=lambda _s: None))
        yield repository
        server.shutdown()
        thread.join()


def held(libs: Path) -> dict[str, bytes]:
    """Return the files in the folder of jars."""
    return {path.name: path.read_bytes() for path in libs.iterdir()}


ALL = {jar.name: CONTENTS[jar.path] for jar in JARS}


def test_the_list_pins_kafka_and_everything_it_needs_to_run() -> None:
    """A sha256, a size and a path each; no jar twice, under whatever version."""
    jars = pinned_jars()
    assert {"kafka_2.13-4.1.0.jar", "kafka-clients-4.1.0.jar", "slf4j-simple-1.7.36.jar"} <= {jar.name for jar in jars}
    assert all(len(bytes.fromhex(jar.sha256)) == 32 and jar.size > 0 for jar in jars)
    assert [jar.path for jar in jars] == sorted({jar.path for jar in jars})
    assert len({jar.path.rsplit("/", 2)[0] for jar in jars}) == len(jars)
    assert sum(jar.size for jar in jars) < 50_000_000


def test_what_is_missing_is_fetched_once(maven: Maven, tmp_path: Path) -> None:
    """The second time nothing is requested; the progress ends at the total."""
    reports: list[tuple[int, int]] = []
    libs = fetch_jars(tmp_path / "new" / "cache", lambda done, total: reports.append((done, total)), jars=JARS)
    assert held(libs) == ALL
    assert reports[-1] == (sum(map(len, CONTENTS.values())),) * 2
    assert fetch_jars(tmp_path / "new" / "cache", jars=JARS) == libs
    assert set(maven.asked.values()) == {1}


@pytest.mark.parametrize("damage", [b"", CONTENTS[FIRST.path][:-1], CONTENTS[FIRST.path][:-1] + b"x"])
def test_a_damaged_jar_in_the_cache_is_fetched_again(maven: Maven, tmp_path: Path, damage: bytes) -> None:
    """Empty, cut short, or with another byte: only that one is requested again."""
    libs = fetch_jars(tmp_path, jars=JARS)
    maven.asked.clear()
    (libs / FIRST.name).write_bytes(damage)
    assert missing_jars(tmp_path, JARS) == [FIRST]
    fetch_jars(tmp_path, jars=JARS)
    assert held(libs) == ALL
    assert maven.asked == {FIRST.path: 1}


def test_a_jar_that_is_fetched_again_has_the_same_modification_time(maven: Maven, tmp_path: Path) -> None:
    """Java would drop its start-up cache otherwise."""
    assert maven.url
    jar = fetch_jars(tmp_path, jars=JARS) / FIRST.name
    before = jar.stat().st_mtime_ns
    jar.unlink()
    fetch_jars(tmp_path, jars=JARS)
    assert jar.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "served",
    [
        CONTENTS[FIRST.path][:-1] + b"x",
        CONTENTS[FIRST.path] + b"x",
        CONTENTS[FIRST.path] * 100,
        b"<html>Please log in</html>",
    ],
)
def test_a_wrong_file_is_refused_and_deleted(maven: Maven, tmp_path: Path, served: bytes) -> None:
    """However often the server sends it."""
    maven.contents[FIRST.path] = served
    with pytest.raises(BrokerError, match=f"not the pinned {FIRST.name}") as refused:
        fetch_jars(tmp_path, jars=[FIRST])
    assert refused.value.where == f"{maven.url}/{FIRST.path}"
    assert refused.value.exit_code == 4
    assert held(tmp_path / "libs") == {}


@pytest.mark.parametrize("statuses", [[503], [429, 500]])
def test_a_download_from_a_busy_server_is_retried(maven: Maven, tmp_path: Path, statuses: list[int]) -> None:
    """Three attempts in all."""
    maven.failures[FIRST.path] = list(statuses)
    assert held(fetch_jars(tmp_path, jars=[FIRST])) == {FIRST.name: CONTENTS[FIRST.path]}
    assert maven.asked == {FIRST.path: len(statuses) + 1}


@pytest.mark.parametrize("status", [503, 404, 403])
def test_a_server_that_refuses_is_named(maven: Maven, tmp_path: Path, status: int) -> None:
    """With the status, the URL and how to name another server."""
    maven.failures[FIRST.path] = [status] * 3
    with pytest.raises(BrokerError, match=f"cannot be downloaded: {status}") as refused:
        fetch_jars(tmp_path, jars=[FIRST])
    assert refused.value.where == f"{maven.url}/{FIRST.path}"
    assert "TRUTHLOOP_MAVEN_URL" in refused.value.hint
    assert maven.asked == {FIRST.path: 3}


def test_a_broken_connection_is_not_reported_as_a_wrong_file(maven: Maven, tmp_path: Path) -> None:
    """The download is retried, and its part is deleted."""
    maven.cut_short.add(FIRST.path)
    with pytest.raises(BrokerError, match="cannot be downloaded"):
        fetch_jars(tmp_path, jars=[FIRST])
    assert maven.asked == {FIRST.path: 3}
    assert held(tmp_path / "libs") == {}


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens on port 9 of loopback."""
    monkeypatch.setenv("TRUTHLOOP_MAVEN_URL", "http://127.0.0.1:9/maven2")
    monkeypatch.setattr(kafka_jars, "RETRIES", 0)
    with pytest.raises(BrokerError, match="refused") as refused:
        fetch_jars(tmp_path, jars=[FIRST])
    assert refused.value.where.startswith("http://127.0.0.1:9/maven2/org/example")


@pytest.mark.parametrize("url", ["repo.example", "file:///srv/maven", "ftp://repo.example/maven2", "https:///maven2"])
def test_a_mirror_has_an_http_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that reads local files is refused."""
    monkeypatch.setenv("TRUTHLOOP_MAVEN_URL", url)
    with pytest.raises(BrokerError, match="not the URL of a Maven repository"):
        maven_url()


def test_without_a_mirror_it_is_maven_central_over_https(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as unset."""
    monkeypatch.setenv("TRUTHLOOP_MAVEN_URL", "")
    assert maven_url() == "https://repo1.maven.org/maven2"


def test_several_processes_at_once_fetch_everything_once(maven: Maven, tmp_path: Path) -> None:
    """The server answers once all of them have begun; the others wait for the first and find all jars."""
    maven.open.clear()
    command = [sys.executable, "-c", FETCHING, str(tmp_path), json.dumps([asdict(jar) for jar in JARS])]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
    maven.open.set()
    assert [process.communicate(timeout=60)[0] for process in running] == [f"{tmp_path / 'libs'}\n"] * 3
    assert held(tmp_path / "libs") == ALL
    assert set(maven.asked.values()) == {1}


def test_unfinished_downloads_of_a_killed_process_are_deleted(maven: Maven, tmp_path: Path) -> None:
    """They have pooch's temporary names."""
    assert maven.url
    libs = tmp_path / "libs"
    libs.mkdir()
    (libs / "tmpx3k0a1b2").write_bytes(b"half")
    fetch_jars(tmp_path, jars=JARS)
    assert held(libs) == ALL


def test_a_cache_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    """There is a file in its place."""
    (tmp_path / "cache").write_text("mine", "utf-8")
    with pytest.raises(BrokerError, match="not writable") as refused:
        fetch_jars(tmp_path / "cache", jars=JARS)
    assert refused.value.where == str(tmp_path / "cache")
    assert "XDG_CACHE_HOME" in refused.value.hint


def test_only_a_download_needs_pooch(maven: Maven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, jars that are in the cache are used, and others name the package."""
    assert maven.url
    libs = fetch_jars(tmp_path, jars=JARS)
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert fetch_jars(tmp_path, jars=JARS) == libs
    (libs / FIRST.name).unlink()
    with pytest.raises(BrokerError, match="not installed") as refused:
        fetch_jars(tmp_path, jars=JARS)
    assert "pooch" in refused.value.hint


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("/var/caches", "/var/caches"), ("", "{home}/.cache"), ("relative", "{home}/.cache")],
)
def test_the_cache_is_where_users_keep_caches(
    variable: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is ignored, as the XDG specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == Path(expected.format(home=tmp_path)) / "truthloop" / "kafka-4.1.0"
