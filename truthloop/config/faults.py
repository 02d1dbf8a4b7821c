"""What pydantic found wrong with a config, in words that a person understands.

This module must not know files or lines: it gives paths.
"""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.base.problem import Path, Problem, ProblemsError, nearest
from schemas.config.loop import LOOP_PATTERN, NAME_PATTERN

__all__ = ["explain_fault"]

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping (lines of `key: value`)",
    "model_type": "a mapping (lines of `key: value`)",
}
_PATTERN_WORDS = {
    NAME_PATTERN: "a plain name: letters, digits and _, not starting with a digit, at most 63",
    LOOP_PATTERN: "lower-case letters, digits and -, not starting with -, at most 63",
}
_TEXT_MAX = 60


def explain_fault(error: ValidationError, value: object) -> list[Problem]:
    """Return one problem for each wrong place of `value`, which is what was validated.

    Where several types were possible (a union), pydantic reports each that failed; that becomes one
    sentence, and is left out where something below the same place says it better.
    """
    found: list[Problem] = []
    by_path: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        path = _path_in(value, detail)
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, ProblemsError):
            found.extend(Problem((*path, *problem.path), problem.message) for problem in cause.problems)
        else:
            by_path.setdefault(path, []).append(detail)
    above = {path[:length] for path in by_path for length in range(len(path))}
    for path, details in by_path.items():
        if not (path in above and all(_is_choice(detail) for detail in details)):
            found.append(Problem(path, _in_words(details)))
    return found


def _path_in(value: object, detail: ErrorDetails) -> Path:
    """Return where in the value an error is: pydantic's location without the names of union members."""
    path: list[str | int] = []
    here: Any = value
    for part in detail["loc"]:
        in_list = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if in_list or (isinstance(here, dict) and part in here):
            here = here[part]
        elif not (detail["type"] == "missing" and part == detail["loc"][-1]):
            continue
        path.append(part)
    return tuple(path)


def _is_choice(detail: ErrorDetails) -> bool:
    return detail["type"] in _EXPECTED or detail["type"] == "literal_error"


def _in_words(details: Sequence[ErrorDetails]) -> str:
    """Say in one sentence what is wrong at one place."""
    choices = [detail for detail in details if _is_choice(detail)]
    if len(choices) < len(details):  # one type fitted, and its value broke a rule: the others do not matter
        return _broken_rule(next(detail for detail in details if not _is_choice(detail)))
    given = choices[0]["input"]
    expected: list[str] = []
    names: list[str] = []
    for detail in choices:
        if detail["type"] == "literal_error":
            literals = detail.get("ctx", {}).get("expected", "")
            names += re.findall(r"'([^']*)'", literals)
            expected.append(literals)
        elif (words := _EXPECTED[detail["type"]]) not in expected:
            expected.append(words)
    if "a number" in expected and "a whole number" in expected:
        expected.remove("a whole number")
    one_of = " or ".join([", ".join(expected[:-1]), expected[-1]]) if len(expected) > 1 else expected[0]
    if given is None:
        return f"must be {one_of}, and is empty"
    hint = ""
    if isinstance(given, str) and (best := nearest(given, names)):
        hint = f"; did you mean {best!r}?"
    elif "text" in expected and isinstance(given, (bool, int, float)):
        hint = f'; quote it if it is text: "{_shown(given)}"'
    return f"must be {one_of}, not {_shown(given)}{hint}"


def _broken_rule(detail: ErrorDetails) -> str:  # noqa: PLR0911 - a table of sentences, one for each kind of rule
    ctx = detail.get("ctx", {})
    given = _shown(detail["input"])
    match detail["type"]:
        case "missing":
            return "is missing"
        case "value_error":
            return str(ctx["error"])
        case "string_pattern_mismatch":
            return f"{given} must be {_PATTERN_WORDS.get(ctx['pattern'], ctx['pattern'])}"
        case "greater_than":
            return f"must be greater than {ctx['gt']:g}, not {given}"
        case "greater_than_equal":
            return f"must be at least {ctx['ge']:g}, not {given}"
        case "less_than_equal":
            return f"must be at most {ctx['le']:g}, not {given}"
        case "string_too_short" | "too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {ctx['max_length']} characters"
    return detail["msg"][:1].lower() + detail["msg"][1:]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= _TEXT_MAX else f"{text[: _TEXT_MAX - 3]}..."
