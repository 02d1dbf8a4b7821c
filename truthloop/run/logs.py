"""The log of a process that runs a role: one handler on stderr for our lines and those of all libraries.

Each line has time with zone, level, role and loop, as text or, with TRUTHLOOP_LOG=json, as a JSON object. Libraries may
write a few lines in some minutes: while a cluster is away, aiokafka writes eighty a second. No secret is written, and
of an exception in the HTTP server only its type: its text may be bytes that somebody sent.
"""

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from schemas.base.figures import plain_text
from schemas.errors import ConfigError

__all__ = ["FORMAT_VARIABLE", "LEVEL_VARIABLE", "LogSettings", "RoleHandler", "log_to_stderr"]

FORMAT_VARIABLE: Final = "TRUTHLOOP_LOG"
LEVEL_VARIABLE: Final = "TRUTHLOOP_LOG_LEVEL"

FORMATS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error")

OURS: Final = "truthloop"

WINDOW_S: Final = 300.0
LIBRARY_LINES_MAX: Final = 3
"""Of one library in a window. With level debug there is no limit."""

OUR_LINES_MAX: Final = 60
"""Of one of our own messages in a window: what others send us, such as callbacks, can cause any number."""

MESSAGES_MAX: Final = 2_000
"""Different messages that are counted; beyond that counting begins anew."""

_SERVER: Final = ("aiohttp", "asyncio")
"""Libraries that hold what a client has sent."""

LENGTH_MAX: Final = 4_000
"""Characters of a line; more is cut."""

_SECRET_NAME: Final = re.compile(r"(?:TOKEN|SECRET|PASSWORD|KEY|KEY_PEM)(?P<file>_FILE)?$")
"""Variables with a secret, or with the name of its file: ours, a target's, and those of other libraries."""

_SECRET_LENGTH_MIN: Final = 8
_REDACTED: Final = re.compile(
    r"(?P<kept>(?i:authorization|cookie|sasl\.password|password|token|secret)[\"']?\s*[:=]\s*[\"']?"
    r"(?:(?i:bearer|basic)\s+)?|(?i:bearer|basic)\s+|\bv1,|\bwhsec_)[^\s\"',;]{6,}"
    r"|(?<=://)[^/\s@]+(?=@)"
)


@dataclass(frozen=True)
class LogSettings:
    """How a process logs, from its environment.

    Attributes:
        level: lines below it are not written.
        is_json: one JSON object a line, instead of text.
        secrets: values that no line may have.
    """

    level: int = logging.INFO
    is_json: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            ConfigError: a variable has none of its values.
        """
        form = _choice(environ, FORMAT_VARIABLE, FORMATS, "text")
        level = _choice(environ, LEVEL_VARIABLE, LEVELS, "info")
        found = {_secret(name, value) for name, value in environ.items()}
        secrets = tuple(sorted((one for one in found if len(one) >= _SECRET_LENGTH_MIN), key=len, reverse=True))
        return cls(logging.getLevelNamesMapping()[level.upper()], form == "json", secrets)


def log_to_stderr(role: str, loop: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send every line of this process, and every exception that nobody catches, to one handler on stderr.

    Raises:
        ConfigError: see `LogSettings.of`.
    """
    settings = LogSettings.of(environ)
    handler = RoleHandler(role, loop, settings)
    root = logging.getLogger()
    for before in list(root.handlers):
        root.removeHandler(before)
    root.addHandler(handler)
    # never lower: at level debug aiokafka writes the messages themselves
    root.setLevel(max(settings.level, logging.WARNING) if settings.level > logging.DEBUG else logging.INFO)
    logging.getLogger(OURS).setLevel(settings.level)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
    sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)


class RoleHandler(logging.StreamHandler[TextIO]):
    """Writes lines of one role: limited, redacted, each on one line.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self, role: str, loop: str, settings: LogSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(sys.stderr)
        self._role = role
        self._loop = loop
        self._settings = settings
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written; of those that are not, the next one tells the number."""
        if self._settings.level <= logging.DEBUG:
            return True
        library = _library(record)
        key, most = (library, LIBRARY_LINES_MAX) if library else (str(record.msg), OUR_LINES_MAX)
        now_s = self._clock()
        if len(self._windows) > MESSAGES_MAX:
            self._windows.clear()
        began_s, count = self._windows.get(key, (now_s, 0))
        if now_s - began_s >= WINDOW_S:
            record.left_out = max(0, count - most)
            began_s, count = now_s, 0
        self._windows[key] = (began_s, count + 1)
        return count < most

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        message = self._message(record)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._settings.is_json:
            document = {
                "time": at,
                "level": record.levelname.lower(),
                "role": self._role,
                "loop": self._loop,
                "logger": record.name,
                "message": message,
            }
            return json.dumps(document, ensure_ascii=False)
        source = f" {record.name}:" if _library(record) else ""
        line = message.replace("\n  ", " ")  # a hint
        return plain_text(f"{at} {record.levelname} {self._role} {self._loop}:{source} {line}")

    def _message(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            is_told = _library(record) not in _SERVER
            told = logging.Formatter().formatException(record.exc_info) if is_told else record.exc_info[0].__name__
            text = f"{text}: {told}"
        if left_out := getattr(record, "left_out", 0):
            text = f"{text} ({left_out:,} lines like this were left out)"
        return self._redacted(text)[:LENGTH_MAX]

    def _redacted(self, text: str) -> str:
        for secret in self._settings.secrets:
            text = text.replace(secret, "***")
        return _REDACTED.sub(lambda found: f"{found['kept'] or ''}***", text)


def _library(record: logging.LogRecord) -> str:
    """Return the name of the library that has made a record; '' for our own."""
    name = record.name.split(".", 1)[0]
    return "" if name == OURS else name


def _secret(name: str, value: str) -> str:
    """Return the secret of a variable, or of the file that it names; '' if it holds none."""
    found = _SECRET_NAME.search(name)
    if found is None or found["file"] is None:
        return value if found is not None else ""
    try:
        return Path(value).read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""


def _choice(environ: Mapping[str, str], name: str, choices: Sequence[str], default: str) -> str:
    value = environ.get(name, "").lower() or default
    if value not in choices:
        raise ConfigError(f"is {value!r}, not one of {', '.join(choices)}", where=f"environment variable {name}")
    return value


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger(OURS).critical("ended by an error", exc_info=(kind, error, trace))
