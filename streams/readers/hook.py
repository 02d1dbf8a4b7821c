"""A function of the user's that makes canonical messages of whole records, where paths cannot say how.

It is called with the record as a dict and with what is known beside it, and returns one message, a list of
them, or None to leave the record out. What it raises is a reject, without the words of the exception, which may
hold the record's. Must not know canonical fields: what is returned is judged like a record of a file.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.base.problem import did_you_mean
from schemas.base.status import RejectReason
from schemas.errors import ConfigError
from streams.columns.raw import ROW, Reject
from streams.columns.scalar import MARK
from streams.readers.json_lines import ParsedLines, parse_lines

__all__ = ["HEADERS", "Hook", "apply_hook", "load_hook"]

Hook = Callable[[dict[str, Any], Mapping[str, Any]], Any]
"""(record, meta) -> message, list of messages, or None."""

HEADERS: Final = "$headers"
"""Under this, `beside` has each record's headers as a dict."""

_META: Final = ("key", "timestamp", "topic", "partition", "offset")
_NAME_MAX: Final = 100


def load_hook(name: str, folder: Path) -> Hook:
    """Import a function.

    Args:
        name: 'module:function'.
        folder: where modules are looked for, too: after everything that Python knows by itself.

    Raises:
        ConfigError: there is no such module or function, or the module cannot be imported.
    """
    module_name, _, function_name = name.partition(":")
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.append(place)
    hint = f"Modules are looked for in {place} (the config's folder) and on sys.path; PYTHONPATH adds to it."
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
        near = did_you_mean(function_name, [known for known in vars(module) if callable(vars(module)[known])])
        raise ConfigError(
            f"python: {name}: the module has no function {function_name!r}{near}",
            where=f"module {module_name}",
            hint=f"The module is {getattr(module, '__file__', None) or 'built in'}. {hint}",
        )
    return function


def apply_hook(
    hook: Hook,
    parsed: ParsedLines,
    beside: Mapping[str, Sequence[Any]],
    digest: Callable[[int], int],
    first: int,
) -> tuple[ParsedLines, int]:
    """Return what the function makes of the records, and how many it leaves out.

    Args:
        hook: the function.
        parsed: the records.
        beside: columns of what is known beside them.
        digest: of the record at a position, for rejects.
        first: record number of the first position.
    """
    texts: list[bytes] = []
    owners: list[int] = []
    rejects = parsed.rejects
    dropped = 0
    for record, position in zip(parsed.objects, parsed.positions, strict=True):
        try:
            result = hook(record, _meta(beside, position, first))
            found = result if isinstance(result, list) else [] if result is None else [result]
            made = [msgspec.json.encode(one) for one in found]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever their function does is about this record
            detail = _printable(type(error).__name__)
            rejects.append(Reject(first + position, RejectReason.HOOK_FAILED, detail, digest(position)))
            continue
        dropped += not made
        texts += made
        owners += [position] * len(made)
    returned = parse_lines(texts, 0)
    rejects += [
        Reject(first + owners[one.row], one.reason, f"returned: {one.detail}", digest(owners[one.row]))
        for one in returned.rejects
    ]
    positions = [owners[position] for position in returned.positions]
    return ParsedLines(returned.objects, positions, rejects, parsed.rows_read), dropped


def _meta(beside: Mapping[str, Sequence[Any]], position: int, first: int) -> dict[str, Any]:
    """Return what a function is told beside a record; of a file's record only its number."""
    if HEADERS not in beside:
        row = beside[ROW][position] if ROW in beside else first + position
        return dict.fromkeys(_META) | {"headers": {}, "row": row}
    found = {name: beside[f"${name}"][position] for name in _META}
    if isinstance(found["key"], str) and found["key"].startswith(MARK):
        found["key"] = None
    return found | {"headers": beside[HEADERS][position], "row": None}


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:_NAME_MAX])
