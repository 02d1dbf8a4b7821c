"""Every line of a role's process: whose it is, when, how many of them, and what it may never have."""

import json
import logging
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from schemas.errors import ConfigError, LakeError
from truthloop.run.logs import LIBRARY_LINES_MAX, OUR_LINES_MAX, WINDOW_S, LogSettings, RoleHandler

TOKEN = "tok-3f9a8c1e77"  # noqa: S105 - of this test alone


class Clock:
    """A clock that the test advances."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time of the test."""
        return self.now_s


def record(name: str, text: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    """Return a warning of a logger."""
    told = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord(name, logging.WARNING, "file.py", 1, text, args, told)


def handler(clock: Clock | None = None, **environ: str) -> RoleHandler:
    """Return the handler of a join worker of the loop `cards`."""
    return RoleHandler("join", "cards", LogSettings.of(environ), clock or Clock())


def test_a_line_has_time_with_zone_level_role_and_loop() -> None:
    """As text, with the hint of an error on the same line; a library's line also names the library."""
    error = LakeError("is full", where="table labels", hint="Make room.")
    line = handler().format(record("truthloop.join", "%s", error))
    found = re.fullmatch(r"(\S+) WARNING join cards: table labels: is full Make room\.", line)
    assert found is not None
    at = datetime.fromisoformat(found[1])
    assert at.utcoffset() is not None
    assert " WARNING join cards: aiokafka.conn: closed" in handler().format(record("aiokafka.conn", "closed"))


def test_a_line_as_json_has_the_same_facts() -> None:
    """One object a line, also where the message has line breaks."""
    text = handler(TRUTHLOOP_LOG="json").format(record("truthloop.join", "a\nb"))
    found = json.loads(text)
    assert "\n" not in text
    assert datetime.fromisoformat(found.pop("time")).utcoffset() is not None
    assert found == {"level": "warning", "role": "join", "loop": "cards", "logger": "truthloop.join", "message": "a\nb"}


def test_text_from_outside_cannot_begin_a_line_of_its_own() -> None:
    """Nor send commands to a terminal."""
    line = handler().format(record("truthloop.join", "key %s", "a\n2026 ERROR\x1b[2J"))
    assert "\n" not in line
    assert "\x1b" not in line


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {TOKEN}",
        f"{{'authorization': 'Basic {TOKEN}'}}",
        f"bearer {TOKEN} was sent",
        f"https://user:{TOKEN}@host/path",
        f"sasl.password={TOKEN}",
        f"webhook-signature v1,{TOKEN}",
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_has_credentials(text: str, form: str) -> None:
    """Whoever wrote it, and in the text of an error, too."""
    made = handler(TRUTHLOOP_LOG=form)
    assert TOKEN not in made.format(record("faust", text))
    assert TOKEN not in made.format(record("truthloop", "x", error=ValueError(text)))
    assert "***" in made.format(record("faust", text))


def test_what_is_no_secret_stays() -> None:
    """Addresses, versions, and words that only look like one."""
    text = "the page is at http://127.0.0.1:31167/, by ann@example.com; the token is missing; v1, v2"
    assert text in handler().format(record("truthloop", text))


def test_no_line_has_a_secret_of_the_environment(tmp_path: Path) -> None:
    """Wherever it stands, also one in a file, and one of a name that a target's config gives it."""
    (tmp_path / "secret").write_text("whole-file-secret\n")
    made = handler(TRUTHLOOP_WEBHOOK_SECRET_FILE=str(tmp_path / "secret"), AIRFLOW_TOKEN="token-of-airflow")  # noqa: S106 - the same
    line = made.format(record("truthloop", "whole-file-secret and token-of-airflow"))
    assert line.endswith("*** and ***")
    made = handler(TRUTHLOOP_HTTP_TOKEN=TOKEN, TRUTHLOOP_KAFKA_SASL_PASSWORD="pass-word-9")  # noqa: S106 - of this test alone
    line = made.format(record("aiokafka", "sent %r to us, and pass-word-9", TOKEN.encode()))
    assert TOKEN not in line
    assert "pass-word-9" not in line
    assert TOKEN not in repr(LogSettings.of({"TRUTHLOOP_HTTP_TOKEN": TOKEN}))


def test_of_an_error_in_the_http_server_only_the_type_is_written() -> None:
    """Its text quotes the request; that of other libraries tells what went wrong."""
    error = ValueError("GET /secret HTTP/9")
    assert "secret" not in handler().format(record("aiohttp.server", "Error", error=error))
    assert "Error: ValueError" in handler().format(record("aiohttp.server", "Error", error=error))
    assert "GET /secret" in handler().format(record("mode", "Crashed", error=error))


def test_libraries_write_a_few_lines_and_then_the_number_of_the_others() -> None:
    """Each library for itself; with level debug all of them."""
    clock = Clock()
    made = handler(clock)
    passed = [made.filter(record("aiokafka.conn", f"away {number}")) for number in range(1_000)]
    assert sum(passed) == LIBRARY_LINES_MAX
    assert made.filter(record("faust.app", "started"))
    clock.now_s = WINDOW_S
    later = record("aiokafka.cluster", "away")
    assert made.filter(later)
    assert "(997 lines like this were left out)" in made.format(later)
    verbose = handler(TRUTHLOOP_LOG_LEVEL="debug")
    assert all(verbose.filter(record("aiokafka", "away")) for _ in range(1_000))


def test_what_others_can_cause_is_limited_and_the_rest_is_not() -> None:
    """By message: a flood of refused callbacks hides no other line."""
    made = handler()
    refused = [made.filter(record("truthloop.feedback", "refused: %s", number)) for number in range(1_000)]
    assert sum(refused) == OUR_LINES_MAX
    assert made.filter(record("truthloop.feedback", "deliveries wait: %s", "disk"))


@pytest.mark.parametrize(("name", "value"), [("TRUTHLOOP_LOG", "xml"), ("TRUTHLOOP_LOG_LEVEL", "loud")])
def test_another_format_or_level_is_refused(name: str, value: str) -> None:
    """The message names the variable and its values."""
    with pytest.raises(ConfigError, match=f"{name}: is '{value}', not one of"):
        LogSettings.of({name: value})


PROGRAM = """
import gc, logging, threading, warnings
import duckdb
from truthloop.run.logs import log_to_stderr
from truthloop.run.roles import _rare_garbage_collection
log_to_stderr("join", "cards")
logging.getLogger("aiokafka").error("away")
logging.getLogger("truthloop").debug("too much")
warnings.warn("old")
def fail():
    raise ValueError("in a thread")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
with _rare_garbage_collection():
    duckdb.connect().sql("SELECT 1").fetchall()
    raise ValueError("at the end")
"""


def test_every_line_of_a_process_goes_the_same_way() -> None:
    """Libraries, warnings, errors of threads, and the last error; DuckDB adds nothing when Python ends."""
    environ = os.environ | {"TRUTHLOOP_LOG": "json"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 1
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert {(one["role"], one["loop"]) for one in found} == {("join", "cards")}
    told = [one["message"] for one in found]
    assert len(told) == 4
    for text, message in zip(("away", "UserWarning: old", "in a thread", "at the end"), told, strict=True):
        assert text in message
