"""Parses YAML text into plain values with their line numbers; strict and bounded.

Scalars follow the YAML 1.2 core schema, so `on`, `no`, `12:30:00` and `2013-01-01` are text; numbers with leading zeros
stay text too, because they are mostly ids. Keys are text that knows what it reads as (`ScalarKey`). Duplicate keys,
merge keys, foreign tags and several documents in one file are refused. Aliases are resolved up to a limit.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from schemas.base.problem import Path, Problem
from schemas.base.scalar_key import ScalarKey

__all__ = ["YamlDocument", "YamlError", "is_plain_text", "read_scalar", "read_yaml"]

DEPTH_MAX = 64
"""Deeper nesting is not a config but an attack on the parser's stack."""

VALUES_MAX = 50_000
"""Values after aliases are resolved. Ten lines of aliases can expand to billions ("billion laughs")."""

DIGITS_MAX = 400
"""No number that fits a float has more digits; longer ones would only take time."""

_TAG = "tag:yaml.org,2002:"
_PATTERNS = {
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
}

_MESSAGES: Mapping[str, str] = {
    "mapping values are not allowed": "a ':' does not fit here; indent like the line above, or quote text",
    "found character '\\t'": "there is a tab here; YAML is indented with spaces",
    "that cannot start any token": "text cannot start with this character; put it in quotes",
    "expected <block end>": "the indentation does not fit the lines above",
    "expected the node content": "a value is missing here",
    "could not find expected ':'": "a key without its ':'",
    "found unexpected end of stream": "a quote is not closed",
    "found undefined alias": "this alias has no anchor",
    "expected ',' or ']'": "a '[' is not closed, or a ',' is missing",
    "expected ',' or '}'": "a '{' is not closed, or a ',' is missing",
    "found another document": "a second document starts here ('---'); a config is one document",
    "special characters are not allowed": "there is a control character here",
    "expected alphabetic or numeric character": "'&' or '*' starts an anchor or alias; put text in quotes",
}
"""Plain messages by a part of PyYAML's own message."""


class YamlError(Exception):
    """The text is not YAML, or exceeds a limit.

    Args:
        message: what is wrong.
        line: 1-based.
    """

    def __init__(self, message: str, line: int) -> None:
        self.message = message
        self.line = line
        super().__init__(f"line {line}: {message}")


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A parsed document.

    Attributes:
        value: dicts with text keys, lists, text, ints, finite floats, bools, None.
        lines: the 1-based line of the key, or of the list item, by the path of the value.
        problems: errors that leave the rest readable, each with its line, such as a duplicate key (of which the first
            counts).
    """

    value: object
    lines: dict[Path, int]
    problems: list[tuple[Problem, int]] = field(default_factory=list)


class _CoreLoader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2, and a limit on depth."""

    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise YamlError(f"more than {DEPTH_MAX} levels deep", self.line + 1)
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_CoreLoader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _PATTERNS.items():
    # "" is the empty scalar, which is null
    _CoreLoader.add_implicit_resolver(
        _TAG + _name, re.compile(rf"^(?:{_pattern})\Z"), [*_first, *([""] if _name == "null" else [])]
    )


def read_yaml(text: str) -> YamlDocument:
    """Read one YAML document.

    Raises:
        YamlError: not YAML, nested too deep, or too large with its aliases resolved.
    """
    try:
        loader = _CoreLoader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"the character U+{ord(text[error.position]):04X} is not allowed in YAML", line) from None
    except yaml.MarkedYAMLError as error:
        raise _plain_error(error) from None
    document = YamlDocument(None, {})
    return document if node is None else _Builder(document).build(node)


def read_scalar(text: str) -> object:
    """Read `text` as an unquoted YAML scalar.

    >>> [read_scalar(text) for text in ("90d", "0.5", "true", "no", "")]
    ['90d', 0.5, True, 'no', None]

    Raises:
        YamlError: a number that is too long or not finite.
    """
    mark = yaml.Mark("", 0, 0, 0, "", 0)
    return _scalar(ScalarNode(_tag_of(text), text, mark, mark))


def is_plain_text(text: str) -> bool:
    """Return whether a scalar without quotes would be read as text, if it is valid at all."""
    return _tag_of(text) == _TAG + "str"


def _tag_of(text: str) -> str:
    for name, (pattern, _) in _PATTERNS.items():
        if re.fullmatch(pattern, text):
            return _TAG + name
    return _TAG + "str"


class _Builder:
    """Turns the nodes of one document into values."""

    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self._values_left = VALUES_MAX
        self._open: set[int] = set()

    def build(self, root: Node) -> YamlDocument:
        value = self._value(root, ())
        self._document.lines[()] = _line(root.start_mark)
        return replace(self._document, value=value)

    def _value(self, node: Node, path: Path) -> object:
        self._values_left -= 1
        if self._values_left < 0:
            message = f"more than {VALUES_MAX:,} values, including those that aliases (*name) repeat"
            raise YamlError(message, _line(node.start_mark))
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            raise YamlError("an alias (*name) that contains itself", _line(node.start_mark))
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                self._expect_tag(node, "seq", path)
                return [self._item(child, (*path, at)) for at, child in enumerate(node.value)]
            self._expect_tag(node, "map", path)
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _item(self, node: Node, path: Path) -> object:
        self._document.lines[path] = _line(node.start_mark)
        return self._value(node, path)

    def _mapping(self, node: Node, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value if isinstance(node, MappingNode) else []:
            line = _line(key_node.start_mark)
            if not isinstance(key_node, ScalarNode):
                self._report(path, "a key must be a single word, not a list or a mapping", line)
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                message = "merge keys are not part of YAML 1.2; write the keys out"
                self._report((*path, key), message, line)
            elif key in found:
                first = self._document.lines[(*path, key)]
                self._report((*path, key), f"this key occurs twice, first in line {first}", line)
            else:
                self._document.lines[(*path, key)] = line
                found[_key(key_node)] = self._value(value_node, (*path, key))
        return found

    def _scalar(self, node: ScalarNode, path: Path) -> object:
        try:
            return _scalar(node)
        except YamlError as error:
            self._report(path, error.message, error.line)
            return None

    def _expect_tag(self, node: Node, name: str, path: Path) -> None:
        if node.tag != _TAG + name:
            self._report(path, f"the tag {_shown(node.tag)} is not supported", _line(node.start_mark))

    def _report(self, path: Path, message: str, line: int) -> None:
        self._document.problems.append((Problem(path, message), line))


def _scalar(node: ScalarNode) -> object:
    """Return the value of a scalar.

    Raises:
        YamlError: an unknown tag, a number that is too long or not finite.
    """
    text, line = node.value, _line(node.start_mark)
    match node.tag.removeprefix(_TAG):
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int" | "float" as name if re.fullmatch(_PATTERNS[name][0], text):
            return _number(text, name, line)
    raise YamlError(f"the tag {_shown(node.tag)} is not supported", line)


def _key(node: ScalarNode) -> str:
    """Return a key as text, with its value where it reads as a number or boolean."""
    try:
        value = _scalar(node)
    except YamlError:
        return str(node.value)
    return ScalarKey(node.value, value) if isinstance(value, (bool, int, float)) else str(node.value)


def _number(text: str, name: str, line: int) -> int | float:
    if len(text) > DIGITS_MAX:
        raise YamlError(f"a number of {len(text)} digits; put it in quotes if it is text", line)
    if name == "int":
        return int(text, 0)
    number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(number):
        raise YamlError(f"{_cut(text)} is not a finite number", line)
    return number


def _plain_error(error: yaml.MarkedYAMLError) -> YamlError:
    """Return PyYAML's error with a plain message and the line where it can be fixed."""
    original = error.problem or error.context or "not YAML"
    message = next((ours for theirs, ours in _MESSAGES.items() if theirs in original), original)
    at, began = error.problem_mark or error.context_mark, error.context_mark
    if began is not None and ("unexpected end" in original or "<stream end>" in original):
        at = began  # a quote or bracket that is never closed is fixed where it begins
    line = 1 if at is None else _line(at)
    since = f" (it began in line {_line(began)})" if began is not None and _line(began) < line else ""
    column = "" if at is None else f", column {at.column + 1}"
    return YamlError(f"not valid YAML{column}: {message}{since}", line)


def _line(mark: yaml.Mark) -> int:
    return int(mark.line) + 1


def _shown(tag: str) -> str:
    return _cut(tag.replace(_TAG, "!!"))


def _cut(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."  # noqa: PLR2004 - about half a line
