"""The jars of Apache Kafka that the local broker runs: pooch downloads them from Maven Central, pinned by their sha256.

`jars.txt` lists them. Every use checks the sha256 of every jar first; a jar that is missing or damaged is downloaded.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from schemas.errors import BrokerError

__all__ = [
    "KAFKA_VERSION",
    "DownloadProgress",
    "Jar",
    "cache_folder",
    "cache_lock",
    "fetch_jars",
    "maven_url",
    "missing_jars",
    "pinned_jars",
]

KAFKA_VERSION: Final = "4.1.0"
MAVEN_URL_VARIABLE: Final = "TRUTHLOOP_MAVEN_URL"
"""Environment variable with the URL of a mirror of Maven Central."""

MAVEN_CENTRAL: Final = "https://repo1.maven.org/maven2"
DOWNLOADS_AT_ONCE: Final = 4
"""The jars are small: one at a time would mostly wait for connections."""
RETRIES: Final = 2
"""After a failed download, for a busy server or a broken connection."""
LOCK_TIMEOUT_S: Final = 600
"""Long enough for another process to download everything over a slow connection."""
MTIME_S: Final = 1_756_684_800
"""Modification time of every jar. Java drops its start-up cache when a jar's time is not the one it was made with, and
a jar that is downloaded again must not cause that."""

_INSTALL: Final = "pip install 'pooch>=1.8'"
_OTHER_FILE: Final = f"A proxy or the mirror in {MAVEN_URL_VARIABLE} may answer with a file of its own."

DownloadProgress = Callable[[int, int], None]
"""Called with the bytes downloaded so far and the bytes to download in all."""


@dataclass(frozen=True, slots=True)
class Jar:
    """A pinned jar.

    Attributes:
        sha256: hex.
        size: in bytes.
        path: below a Maven repository.
    """

    sha256: str
    size: int
    path: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rsplit("/", 1)[-1]


def pinned_jars() -> list[Jar]:
    """Return the jars of the local broker, in the order of Java's class path."""
    text = files("truthloop.broker").joinpath("jars.txt").read_text("utf-8")
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return [Jar(sha256, int(size), path) for sha256, size, path in rows]


def cache_folder() -> Path:
    """Return the folder of the jars, shared by all projects of this user; `XDG_CACHE_HOME` moves it."""
    base = os.environ.get("XDG_CACHE_HOME")
    caches = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return caches / "truthloop" / f"kafka-{KAFKA_VERSION}"


def maven_url() -> str:
    """Return the URL of the Maven repository to download from: Maven Central, or the mirror that the environment names.

    Raises:
        BrokerError: the environment names something that is not an http(s) URL.
    """
    url = os.environ.get(MAVEN_URL_VARIABLE) or MAVEN_CENTRAL
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.netloc:
        raise BrokerError(
            f"{url!r} is not the URL of a Maven repository",
            where=f"environment variable {MAVEN_URL_VARIABLE}",
            hint=f"Give an http(s) URL such as {MAVEN_CENTRAL}, which is the default.",
        )
    return url.rstrip("/")


def missing_jars(cache: Path, jars: Sequence[Jar] | None = None) -> list[Jar]:
    """Return those of `jars`, by default the pinned ones, that are not in the cache with the right sha256."""
    return [jar for jar in (pinned_jars() if jars is None else jars) if not _is_intact(cache / "libs" / jar.name, jar)]


def fetch_jars(cache: Path, progress: DownloadProgress | None = None, *, jars: Sequence[Jar] | None = None) -> Path:
    """Download the missing jars into the cache. Of several processes at once, one downloads and the others wait for it.

    Args:
        cache: as `cache_folder` returns it; created if it does not exist.
        progress: called after each jar.
        jars: which to fetch; default: the pinned ones.

    Returns:
        The folder with the jars. It may hold other files too: run only the jars that are pinned.

    Raises:
        BrokerError: a jar cannot be downloaded or has another sha256, or the cache is not writable.
    """
    libs = cache / "libs"
    if missing_jars(cache, jars):
        with cache_lock(cache):
            libs.mkdir(exist_ok=True)
            for unfinished in libs.glob("tmp*"):  # left by a killed process: only the holder of the lock downloads
                unfinished.unlink()
            _download(missing_jars(cache, jars), libs, progress)
    return libs


@contextmanager
def cache_lock(cache: Path) -> Iterator[None]:
    """Create the cache folder and keep other processes from changing it while the block runs.

    Raises:
        BrokerError: the folder is not writable, or another process holds the lock for longer than a download takes.
    """
    lock = FileLock(cache / ".lock", timeout=LOCK_TIMEOUT_S)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with lock:
            yield
    except Timeout:
        raise BrokerError(
            f"another process has held the lock on the cache of Kafka's jars for {LOCK_TIMEOUT_S // 60} minutes",
            where=str(cache),
            hint="Find the process that hangs and end it: that releases the lock.",
        ) from None
    except OSError as error:
        raise BrokerError(
            f"the cache of Kafka's jars is not writable: {(error.strerror or str(error)).lower()}",
            where=str(cache),
            hint="Free some space there, or set XDG_CACHE_HOME to a writable folder.",
        ) from error


def _is_intact(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def _download(jars: Sequence[Jar], libs: Path, progress: DownloadProgress | None) -> None:
    """Download jars under temporary names; pooch renames each once its sha256 is right."""
    try:
        import pooch  # noqa: PLC0415 - of the extra `demo`, needed only for a download
        from requests import RequestException  # noqa: PLC0415 - pooch's client
    except ImportError:
        raise BrokerError("Kafka's jars are downloaded by pooch, which is not installed", hint=_INSTALL) from None
    pooch.get_logger().setLevel("WARNING")  # it would log a line for each jar
    url = maven_url()
    read_whole = pooch.HTTPDownloader(stream=False)  # a stream that fails would leave its connection open

    def fetch(jar: Jar) -> int:
        where = f"{url}/{jar.path}"
        store = pooch.create(libs, "", registry={jar.name: jar.sha256}, urls={jar.name: where}, retry_if_failed=RETRIES)
        try:
            os.utime(store.fetch(jar.name, downloader=read_whole), (MTIME_S, MTIME_S))
        except RequestException as error:
            hint = (
                f"Set {MAVEN_URL_VARIABLE} to a mirror of Maven Central that this machine reaches, or HTTPS_PROXY to a "
                f"proxy; or copy {libs} from another machine."
            )
            raise BrokerError(f"a jar of Apache Kafka cannot be downloaded: {error}", where=where, hint=hint) from error
        except ValueError as error:
            what = f"the server sent a file that is not the pinned {jar.name}, and it was deleted: {error}"
            raise BrokerError(what, where=where, hint=_OTHER_FILE) from error
        return jar.size

    done, total = 0, sum(jar.size for jar in jars)
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        for size in pool.map(fetch, jars):
            done += size
            if progress is not None:
                progress(done, total)
