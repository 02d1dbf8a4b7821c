"""Hooks: a user's function that maps whole records to canonical messages, for mappings that paths cannot express.

It gets the record as a dict (None for a message without a value, with `tombstone: hook`) and the record's metadata, and
returns one message, a list of messages, or None to leave the record out. Returned messages are checked like any
canonical record. If it raises, the record is a reject; the exception's message is not kept, because it may contain
parts of the record.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.base.problem import did_you_mean
from schemas.base.status import RejectReason
from schemas.config.record_metadata import HEADERS_PATH
from schemas.errors import ConfigError
from streams.columns.raw import ROW, Reject
from streams.columns.scalar import NON_SCALAR
from streams.readers.json_lines import ParsedLines, parse_lines

__all__ = ["Hook", "apply_hook", "load_hook"]

Hook = Callable[[dict[str, Any] | None, Mapping[str, Any]], Any]
"""(record, meta) -> message, list of messages, or None."""

_META: Final = ("key", "timestamp", "topic", "partition", "offset")
_NAME_MAX: Final = 100


def load_hook(name: str, folder: Path) -> Hook:
    """Import a hook.

    Args:
        name: 'module:function'.
        folder: appended to sys.path, so that a module in it cannot shadow an installed one.

    Raises:
        ConfigError: there is no such module or function, or the module cannot be imported.
    """
    module_name, _, function_name = name.partition(":")
    search_path = str(folder.resolve())
    if search_path not in sys.path:
        sys.path.append(search_path)
    hint = f"Modules are searched in {search_path} (the config's folder) and on sys.path; PYTHONPATH adds to it."
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"python: {name}: there is no module {error.name!r}", where=f"module {module_name}", hint=hint
        ) from None
    except Exception as error:
        raise ConfigError(
            f"python: {name}: importing it raised {type(error).__name__}: {error}",
            where=f"module {module_name}",
            hint=hint,
        ) from error
    function: Hook | None = getattr(module, function_name, None)
    if not callable(function):
        suggestion = did_you_mean(function_name, [known for known in vars(module) if callable(vars(module)[known])])
        raise ConfigError(
            f"python: {name}: the module has no function {function_name!r}{suggestion}",
            where=f"module {module_name}",
            hint=f"The module is {getattr(module, '__file__', None) or 'built in'}. {hint}",
        )
    return function


def apply_hook(
    hook: Hook,
    parsed: ParsedLines,
    metadata: Mapping[str, Sequence[Any]],
    digest: Callable[[int], int],
    first: int,
) -> tuple[ParsedLines, int]:
    """Return the messages that a hook makes of the records, and the number of records that it leaves out.

    Args:
        hook: called once per record.
        parsed: the records; its rejects are extended.
        metadata: of the records, by `$` path or `row`, indexed by position.
        digest: returns the digest of the record at a position, for rejects.
        first: record number of the first position.
    """
    texts: list[bytes] = []
    origins: list[int] = []
    rejects = parsed.rejects
    dropped = 0
    for record, position in zip(parsed.objects, parsed.positions, strict=True):
        try:
            result = hook(record, _meta(metadata, position, first))
            messages = result if isinstance(result, list) else [] if result is None else [result]
            encoded = [msgspec.json.encode(message) for message in messages]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a hook raises rejects this one record
            detail = _printable(type(error).__name__)
            rejects.append(Reject(first + position, RejectReason.HOOK_FAILED, detail, digest(position)))
            continue
        dropped += not encoded
        texts += encoded
        origins += [position] * len(encoded)
    returned = parse_lines(texts, 0)
    rejects += [
        Reject(first + origins[reject.row], reject.reason, f"returned: {reject.detail}", digest(origins[reject.row]))
        for reject in returned.rejects
    ]
    positions = [origins[position] for position in returned.positions]
    return ParsedLines(returned.objects, positions, rejects, parsed.rows_read), dropped


def _meta(metadata: Mapping[str, Sequence[Any]], position: int, first: int) -> dict[str, Any]:
    """Return a hook's second argument: the Kafka metadata of a message, or the row number of a file's record."""
    if HEADERS_PATH not in metadata:
        row = metadata[ROW][position] if ROW in metadata else first + position
        return dict.fromkeys(_META) | {"headers": {}, "row": row}
    found = {name: metadata[f"${name}"][position] for name in _META}
    if isinstance(found["key"], str) and found["key"].startswith(NON_SCALAR):
        found["key"] = None
    return found | {"headers": metadata[HEADERS_PATH][position], "row": None}


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:_NAME_MAX])
