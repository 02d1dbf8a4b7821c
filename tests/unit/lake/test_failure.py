"""What the system refuses is said as that, in one line: the lake is sound, and no hint sends to the backup."""

import errno
import os
import re
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake.exceptions import DeltaError
from join_case import live_config

from lake import Claim, Lake
from lake.failure import is_of_storage, is_refused_by_system, lake_error, store_error, store_errors_told
from schemas.errors import LakeError

PROGRAM = """
import sys
from pathlib import Path
import resource, os
sys.path.insert(0, sys.argv[3])
from test_failure import ask, exhaust
from lake import Lake
from schemas.errors import LakeError
path = Path(sys.argv[1])
lake = Lake.open(path)
lake.version("rejects")
lake.scan("labels").collect()  # starts the threads of Polars, as a role does before it reads anything
held = exhaust()
try:
    ask(lake, path, sys.argv[2])
except LakeError as error:
    os.closerange(held[0], held[-1] + 1)
    print(error)
"""


def exhaust() -> list[int]:
    """Use up all file descriptors of this process but one of each third, which a library may need to say so."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    held = []
    while True:
        try:
            held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return held


def ask(lake: Lake, path: Path, what: str) -> None:
    """Use a lake in one of its ways; a table that is open and has not changed needs no file."""
    match what:
        case "open":
            Lake.open(path)
        case "create":
            Lake.create(path, live_config("127.0.0.1:1"))
        case "version":
            lake.version("outcomes")
        case "position":
            lake.applied("labels", "a")
        case "scan":
            lake.scan("outcomes").collect()
        case "append":
            lake.append("rejects", pl.DataFrame(), [Claim("a", 0, 1)], recorded_at=datetime.now(UTC))


@pytest.mark.parametrize("what", ["open", "create", "version", "position", "scan", "append"])
def test_a_process_without_file_descriptors_has_a_sound_lake(tmp_path: Path, what: str) -> None:
    """One line and a hint; no panic, and no file is called torn."""
    Lake.create(tmp_path / "lake", live_config("127.0.0.1:1"))
    arguments = [str(tmp_path / "lake"), what, str(Path(__file__).parent)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False, env=environ
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    first, hint = done.stdout.splitlines()
    assert re.search(r"Too many open files|os error 24", first)
    assert hint == (
        "  The lake is sound: raise this process's limit of open files (ulimit -n, LimitNOFILE=) to 1,024 or more."
    )


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EMFILE, "limit of open files"),
        (errno.ENFILE, "limit of open files"),
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EACCES, "read and write the folder"),
        (errno.EROFS, "read and write the folder"),
        (errno.EAGAIN, "limit of memory or threads"),
        (errno.ENOMEM, "limit of memory or threads"),
    ],
)
def test_a_refusal_has_the_hint_of_its_cause(number: int, hint: str) -> None:
    """As Python, Rust and Arrow give it; anything else has the caller's hint."""
    text = os.strerror(number)
    for error in (OSError(number, text), DeltaError(f"x (os error {number})"), DeltaError(f"[errno {number}] {text}")):
        assert is_refused_by_system(error)
        found = lake_error("could not be written", error, Path("lake/labels"), "Restore it from a backup.")
        assert hint in found.hint
        assert "backup" not in found.hint
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert not is_refused_by_system(missing)
    assert lake_error("x", missing, Path("lake"), "Restore it from a backup.").hint == "Restore it from a backup."


EXPIRED = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


@pytest.mark.parametrize(
    "error",
    [
        OSError(f"object-store error: Generic S3 error: 400 Bad Request: {EXPIRED} (path: s3://b/x.parquet)"),
        duckdb.Error(
            'Traceback (most recent call last):\n  File "x.py"\nLakeError: s3://b/x.parquet: ExpiredToken\n  See.'
        ),
    ],
)
def test_what_is_read_late_of_a_store_is_told_with_the_way_out(error: Exception) -> None:
    """Polars raises where a frame is collected, DuckDB where a view is queried, with a traceback in its text."""
    with pytest.raises(LakeError, match=r"the lake cannot be read: .*s3://b/x\.parquet") as caught, store_errors_told():
        raise error
    assert caught.value.__cause__ is error
    assert "renew this process's credentials" in caught.value.hint
    assert "Traceback" not in str(caught.value)


def test_other_errors_are_not_those_of_a_store() -> None:
    """They are raised as they are."""
    for error in (OSError(errno.ENOENT, "No such file"), LakeError("LakeError: s3://b"), duckdb.Error("no such view")):
        assert store_error(error) is None
        with pytest.raises(type(error)) as caught, store_errors_told():
            raise error
        assert caught.value is error


def test_the_text_of_a_library_is_one_plain_line() -> None:
    """Delta draws a tree of causes, in colours."""
    error = DeltaError("Kernel error -> x\n   \x1b[31m↳\x1b[0m Unable to walk dir\n   \x1b[31m↳\x1b[0m too long\n")
    found = lake_error("the table cannot be read", error, Path("labels"), "")
    assert str(found) == "labels: the table cannot be read: Kernel error -> x: Unable to walk dir: too long"


def test_a_panic_of_delta_is_a_failure_of_storage() -> None:
    """Its class is below BaseException, and has no public name."""
    panic = type("PanicException", (BaseException,), {})
    assert is_of_storage(panic("Failed to create a tokio runtime"))
    assert is_of_storage(OSError())
    assert not is_of_storage(KeyboardInterrupt())
    assert not is_of_storage(None)


def test_a_file_that_could_not_be_opened_is_not_called_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever followed that advice would move sound commits away."""
    lake = Lake.create(tmp_path / "lake", live_config("127.0.0.1:1"))
    rows = pl.DataFrame({"partition": [0], "offset": [0], "input": ["labels"], "stage": ["join"], "reason": ["stale"]})
    schema = {name: kind for name, kind in lake.schema("rejects").items() if name not in ("recorded_at", "recorded_on")}
    rows = rows.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in rows.columns
    )
    rows = rows.select(pl.col(name).cast(kind) for name, kind in schema.items())
    lake.append("rejects", rows, [Claim("a", 0, 1)], recorded_at=datetime.now(UTC))

    def refuse(_path: Path) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("lake.disk.pq.read_metadata", refuse)
    with pytest.raises(LakeError, match="limit of open files") as caught:
        Lake.open(tmp_path / "lake")
    assert "torn" not in str(caught.value)


def test_a_file_that_is_not_the_place_itself_is_named() -> None:
    """A folder has many files: which of them is missing is said; of the place itself nothing is said twice."""
    folder = Path("/sets/rt-1")
    inside = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / "train.parquet"))
    itself = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    unnamed = OSError(errno.EIO, os.strerror(errno.EIO))
    texts = [lake_error("is not complete", error, folder, "").what for error in (inside, itself, unnamed)]
    assert texts == [
        "is not complete: No such file or directory: train.parquet",
        "is not complete: No such file or directory",
        "is not complete: Input/output error",
    ]
