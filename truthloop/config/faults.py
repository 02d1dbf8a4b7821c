"""Turns pydantic's validation errors of a config into plain sentences, each with the path of the value."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.base.problem import Path, Problem, ProblemsError, nearest
from schemas.config.loop import LOOP_PATTERN
from schemas.config.prediction import NAME_PATTERN

__all__ = ["describe_errors"]

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping (lines of `key: value`)",
    "model_type": "a mapping (lines of `key: value`)",
}
_PATTERN_TEXTS = {
    NAME_PATTERN: "a plain name: letters, digits and _, not starting with a digit, at most 63",
    LOOP_PATTERN: "letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 63",
}
_TEXT_MAX = 60


def describe_errors(error: ValidationError, value: object) -> list[Problem]:
    """Return one problem for each invalid path of `value`, which is what was validated.

    For a union, pydantic reports every member that failed; that becomes one sentence, and is left out if there is a
    problem at a path below.
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
        if not (path in above and all(_is_type_error(detail) for detail in details)):
            found.append(Problem(path, _sentence(details)))
    return found


def _path_in(value: object, detail: ErrorDetails) -> Path:
    """Return the path of an error in the value: pydantic's location without the names of union members."""
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


def _is_type_error(detail: ErrorDetails) -> bool:
    return detail["type"] in _EXPECTED or detail["type"] == "literal_error"


def _sentence(details: Sequence[ErrorDetails]) -> str:
    """Return one sentence for all errors at one path."""
    type_errors = [detail for detail in details if _is_type_error(detail)]
    if len(type_errors) < len(details):  # one type matched and its value broke a rule: the other types do not matter
        return _broken_rule(next(detail for detail in details if not _is_type_error(detail)))
    given = type_errors[0]["input"]
    expected: list[str] = []
    names: list[str] = []
    for detail in type_errors:
        if detail["type"] == "literal_error":
            literals = detail.get("ctx", {}).get("expected", "")
            names += re.findall(r"'([^']*)'", literals)
            expected.append(literals)
        elif (text := _EXPECTED[detail["type"]]) not in expected:
            expected.append(text)
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


def _broken_rule(detail: ErrorDetails) -> str:  # noqa: PLR0911 - a table: one sentence for each kind of rule
    ctx = detail.get("ctx", {})
    given = _shown(detail["input"])
    match detail["type"]:
        case "missing":
            return "is missing"
        case "value_error":
            return str(ctx["error"])
        case "string_pattern_mismatch":
            return f"{given} must be {_PATTERN_TEXTS.get(ctx['pattern'], ctx['pattern'])}"
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
