"""The jars of Apache Kafka that the local broker runs: fetched from Maven Central, each pinned by its sha256.

Which jars they are stands in `jars.txt`. No file counts as a jar of ours before its sha256 was seen to be
right, on every use. This module must not run anything of what it fetches, nor look at jars that are not pinned.
"""

import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
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
    "MAVEN_URL_VARIABLE",
    "Jar",
    "Progress",
    "cache_folder",
    "cache_lock",
    "fetch_jars",
    "maven_url",
    "missing_jars",
    "pinned_jars",
]

KAFKA_VERSION: Final = "4.1.0"
MAVEN_URL_VARIABLE: Final = "TRUTHLOOP_MAVEN_URL"
"""Environment variable with the address of a mirror of Maven Central."""

MAVEN_CENTRAL: Final = "https://repo1.maven.org/maven2"
DOWNLOADS_AT_ONCE: Final = 4
"""The jars are small: one at a time would mostly wait for connections."""
TIMEOUT_S: Final = 60
RETRY_PAUSES_S: Final = (1.0, 4.0)
"""Waits before the second and third attempt: a busy server is asked again, a wrong file never."""
LOCK_TIMEOUT_S: Final = 600
"""Long enough for another process to fetch everything over a slow line."""
CHUNK_BYTES: Final = 1 << 20
MTIME_S: Final = 1_756_684_800
"""Every jar's time of change. Java drops its start-up cache when a jar's time is another than when it was made,
and a jar that is fetched again must not do that."""

Progress = Callable[[int, int], None]
"""Is called with the bytes fetched so far and the bytes to fetch in all."""


@dataclass(frozen=True, slots=True)
class Jar:
    """A jar as it must be.

    Attributes:
        sha256: hex, of its bytes.
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
    """Return the jars of the local broker, in the order in which Java looks into them."""
    text = files("truthloop.broker").joinpath("jars.txt").read_text("utf-8")
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return [Jar(sha256, int(size), path) for sha256, size, path in rows]


def cache_folder() -> Path:
    """Return where jars are kept for all projects of this user; `XDG_CACHE_HOME` moves it."""
    base = os.environ.get("XDG_CACHE_HOME")
    caches = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return caches / "truthloop" / f"kafka-{KAFKA_VERSION}"


def maven_url() -> str:
    """Return the address of the Maven repository to fetch from: Maven Central, or the mirror in the environment.

    Raises:
        BrokerError: the environment names something that is no http address.
    """
    url = os.environ.get(MAVEN_URL_VARIABLE) or MAVEN_CENTRAL
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.netloc:
        raise BrokerError(
            f"{url!r} is no address of a Maven repository",
            where=f"environment variable {MAVEN_URL_VARIABLE}",
            hint=f"It looks like {MAVEN_CENTRAL}; without the variable that is used.",
        )
    return url.rstrip("/")


def missing_jars(cache: Path, jars: Sequence[Jar] | None = None) -> list[Jar]:
    """Return which of the jars are not in the cache as they must be, and would be fetched.

    Args:
        cache: as `cache_folder` tells it.
        jars: which; the pinned ones when left out.
    """
    return [jar for jar in (pinned_jars() if jars is None else jars) if not _is_right(_libs(cache) / jar.name, jar)]


def fetch_jars(cache: Path, progress: Progress | None = None, *, jars: Sequence[Jar] | None = None) -> Path:
    """Bring all jars into the cache that are not there as they must be.

    Any number of processes may do this at once: one fetches, the others wait for it.

    Args:
        cache: as `cache_folder` tells it; made if it is not there.
        progress: is told after each jar.
        jars: which; the pinned ones when left out.

    Returns:
        The folder with the jars. Others may lie in it: run only what is pinned.

    Raises:
        BrokerError: a jar cannot be fetched or is not the pinned one, or the cache cannot be written.
    """
    jars = pinned_jars() if jars is None else jars
    libs = _libs(cache)
    if missing_jars(cache, jars):
        with cache_lock(cache):
            libs.mkdir(exist_ok=True)
            for torn in libs.glob("*.part"):  # of a process that was killed: whoever holds the lock is alone
                torn.unlink()
            _fetch(maven_url(), missing_jars(cache, jars), libs, progress)
    return libs


@contextmanager
def cache_lock(cache: Path) -> Iterator[None]:
    """Keep other processes from changing the cache while the block runs.

    Args:
        cache: the folder, made if it is not there.

    Raises:
        BrokerError: the folder cannot be written, or another process keeps the lock for longer than a download takes.
    """
    lock = FileLock(cache / ".lock", timeout=LOCK_TIMEOUT_S)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise BrokerError(
            "another process has been changing the cache of Kafka's jars for ten minutes",
            where=str(cache),
            hint="Look for a hanging process; its lock ends with it.",
        ) from None
    except OSError as error:
        raise _unwritable(cache, error) from error
    try:
        yield
    except OSError as error:
        raise _unwritable(cache, error) from error
    finally:
        lock.release()


def _libs(cache: Path) -> Path:
    return cache / "libs"


def _is_right(path: Path, jar: Jar) -> bool:
    """Return whether a file holds exactly the jar's bytes."""
    try:
        if path.stat().st_size != jar.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def _fetch(url: str, jars: Sequence[Jar], libs: Path, progress: Progress | None) -> None:
    total = sum(jar.size for jar in jars)
    done = 0
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        running = {pool.submit(_fetch_one, f"{url}/{jar.path}", jar, libs): jar for jar in jars}
        try:
            for future in as_completed(running):
                future.result()
                done += running[future].size
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_one(url: str, jar: Jar, libs: Path) -> None:
    """Fetch one jar: under another name first, so that a file with a jar's name is whole."""
    part = libs / f"{jar.name}.part"
    try:
        for pause_s in (*RETRY_PAUSES_S, None):
            try:
                _download(url, jar, part)
                break
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()  # it holds the connection
                if pause_s is None or not _may_pass(error):
                    raise _unreachable(url, error) from error
                time.sleep(pause_s)
        os.utime(part, (MTIME_S, MTIME_S))
        part.replace(libs / jar.name)
    finally:
        part.unlink(missing_ok=True)


def _download(url: str, jar: Jar, part: Path) -> None:
    """Write what the server sends into `part`, but not more than the jar has.

    Raises:
        BrokerError: it is not the pinned jar.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "truthloop"})  # noqa: S310 - http(s), see maven_url
    digest, size = hashlib.sha256(), 0
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, part.open("wb") as file:  # noqa: S310 - the same
        while size <= jar.size and (chunk := answer.read(CHUNK_BYTES)):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        cut_short = bool(answer.length) and size <= jar.size
    if cut_short:
        raise http.client.IncompleteRead(b"", jar.size - size)
    if size > jar.size or digest.hexdigest() != jar.sha256:
        raise BrokerError(
            f"what the server sent is not the pinned {jar.name}: sha256 {digest.hexdigest()} of {size:,} bytes "
            f"in place of {jar.sha256} of {jar.size:,} bytes; nothing of it was kept",
            where=url,
            hint=f"A proxy or the mirror in {MAVEN_URL_VARIABLE} may answer with a page or a file of its own.",
        )


def _may_pass(error: Exception) -> bool:
    """Return whether asking again could help: the server was busy or the line broke, nothing was refused."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code == http.HTTPStatus.TOO_MANY_REQUESTS or error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR
    return not isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)


def _unreachable(url: str, error: Exception) -> BrokerError:
    reason = str(getattr(error, "reason", "") or error)
    status = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
    return BrokerError(
        f"a jar of Apache Kafka cannot be fetched: {status}{reason}",
        where=url,
        hint=f"Set {MAVEN_URL_VARIABLE} to a mirror of Maven Central that can be reached, or HTTPS_PROXY to a proxy; "
        f"or copy {cache_folder()} from a machine that has it.",
    )


def _unwritable(folder: Path, error: OSError) -> BrokerError:
    return BrokerError(
        f"the cache of Kafka's jars cannot be written: {(error.strerror or str(error)).lower()}",
        where=str(folder),
        hint="Make room there, or set XDG_CACHE_HOME to a folder that can be written.",
    )
