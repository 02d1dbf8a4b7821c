"""Config of the mapping: which fields of a source's records become which fields of canonical messages.

`streams.mapping.mapper` applies it.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from schemas.base.model import StrictModel
from schemas.base.problem import Path, Problem, ProblemsError, nearest
from schemas.base.scalar_key import typed_key
from schemas.base.time_zone import known_zone
from schemas.config.record_metadata import KeyFormat, key_problems, metadata_problems
from schemas.config.schema_file import SchemaFileConfig
from schemas.config.tombstone import Tombstone, tombstone_problems

__all__ = ["HOOK_TARGET", "FieldMap", "Scalar", "SourceMap", "is_target"]

Scalar = bool | int | float | str

PREDICTION_TARGETS = frozenset({"key", "id", "time", "arrived_at", "version", "eligible", "weight"})
LABEL_TARGETS = frozenset(
    {"key", "kind", "value", "time", "arrived_at", "happened_at", "definition", "source", "origin"}
    | {"batch_id", "retract", "heartbeat"}
)
_PREDICTION_GROUPS = ("outputs.", "slices.", "features.")
_TIMES = frozenset({"time", "arrived_at", "happened_at"})
_TESTS = frozenset({"eligible", "retract", "heartbeat"})
_IDENTITIES = frozenset({"key", "id", "value"})
_ONE_ORIGIN: JsonDict = {"oneOf": [{"required": ["path"]}, {"required": ["constant"]}]}

HOOK_TARGET = "python"
"""The only key of a map whose records are mapped by a function, which returns whole canonical messages."""

_HOOK_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def _not_empty(path: str | list[str]) -> str | list[str]:
    """Refuse an empty list of paths. An empty *name* is valid: spreadsheets and pandas write such columns."""
    if isinstance(path, list) and not path:
        raise ValueError("a list of paths cannot be empty")
    return path


def _typed_keys(values: object) -> object:
    """Return the keys of `values` by their type; two that are equal, such as 1 and 1.0, would hide one another."""
    if not isinstance(values, dict):
        return values
    found: dict[object, object] = {}
    for text, value in values.items():
        key = typed_key(text)
        if key in found:
            raise ValueError(f"{text} stands for a value that is listed before")
        found[key] = value
    return found


class FieldMap(StrictModel):
    """Source of one canonical field, and its conversion.

    A bare string is short for `{path: ...}`, a bare list for a composite `{path: [...]}`.
    """

    model_config = ConfigDict(json_schema_extra=_ONE_ORIGIN)

    path: Annotated[str | list[str], AfterValidator(_not_empty)] | None = Field(
        default=None,
        description="Dotted path into the record, or several that are joined with '|' (composite ids). "
        "A trailing '.*' takes every field below (features only). Metadata of a Kafka record: $key, $key.FIELD, "
        "$timestamp, $topic, $partition, $offset, $headers.NAME.",
    )
    otherwise: Annotated[str | list[str], AfterValidator(_not_empty)] | None = Field(
        default=None,
        description="Path (or several, as above) that is read if nothing is at the first one: the key of a deletion "
        "is in the row's old values.",
    )
    constant: Scalar | None = Field(default=None, description="The same value for every record.")
    values: Annotated[dict[Scalar, Scalar], Field(min_length=1), BeforeValidator(_typed_keys)] | None = Field(
        default=None,
        description="Values by the record's value, which is compared as `where` does. A value that is not listed "
        "counts as missing.",
    )
    type: Literal["int"] | None = Field(
        default=None,
        description="int: keys, ids and classes are whole numbers, also where text spells them 101.0 or 007.",
    )
    scale: float | None = Field(default=None, description="Numbers are multiplied by this.")
    unit: Literal["s", "ms", "us", "ns"] | None = Field(default=None, description="Unit of a numeric time.")
    zone: Annotated[str, AfterValidator(known_zone)] | None = Field(
        default=None, description="IANA time zone of times that carry none."
    )
    in_: list[Scalar] | None = Field(
        default=None,
        alias="in",
        min_length=1,
        description="True if the value is one of these (eligible, retract, heartbeat), compared as `where` does. A "
        "prediction without a value is eligible.",
    )

    @model_validator(mode="after")
    def _has_one_origin(self) -> "FieldMap":
        if (self.path is None) == (self.constant is None):
            raise ValueError("give either `path` or `constant`")
        if self.otherwise is not None and self.path is None:
            raise ProblemsError([Problem(("otherwise",), "goes with a `path`; a constant is never missing")])
        return self

    @property
    def ways(self) -> list[list[str]]:
        """The path, or paths of a composite, and those that are read instead."""
        return [_listed(one) for one in (self.path, self.otherwise) if one is not None]

    @property
    def paths(self) -> list[str]:
        """All paths that are read."""
        return [path for way in self.ways for path in way]


def _listed(path: str | list[str]) -> list[str]:
    return path if isinstance(path, list) else [path]


def _widen(value: object) -> object:
    if isinstance(value, (str, list)):
        return {"path": value}
    if not isinstance(value, (dict, FieldMap)):
        raise ValueError("must be a path, a list of paths, or a mapping such as {path: ts, unit: ms}")  # noqa: TRY004 - pydantic turns only ValueError into a message with a path
    return value


ShortFieldMap = Annotated[FieldMap, BeforeValidator(_widen, json_schema_input_type=str | list[str] | FieldMap)]


class SourceMap(StrictModel):
    """One source of records: its topic or files, what they become, and how their fields map."""

    topic: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9._-]{1,249}$", description="Kafka topic that holds such records."
    )
    files: str | None = Field(
        default=None, min_length=1, description="Glob on the name of files, for instance 'scores-*.parquet'."
    )
    as_: Literal["predictions", "labels"] = Field(alias="as", description="What the records are.")
    kind: str | None = Field(default=None, description="Label kind of every record of this source.")
    source: str | None = Field(default=None, description="Name of this source, kept with each label.")
    where: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict,
        description="Only records whose field has this value, or one of these, are taken. true equals true, t, yes, y "
        "and 1 in any case, false likewise; an unquoted number equals numbers and plain numeric text (10.40 is 10.4); "
        "quoted text equals the same text, or the number that it reads as in a column of numbers.",
    )
    key_format: KeyFormat = Field(
        default="text",
        description="How $key is written: text in UTF-8, a big-endian integer of 4 or 8 bytes, a UUID of 16 bytes, "
        "JSON, or registry: by the schema whose id it begins with (Avro, Protobuf, JSON Schema). $key.FIELD is a field "
        "of a key that is an object.",
    )
    value_schema: SchemaFileConfig | None = Field(
        default=None,
        description="Schema of the topic's values, if they are Avro or Protobuf and no registry has it.",
    )
    tombstone: Tombstone = Field(
        default="skip",
        description="What a message without a value is: compacted topics and Debezium have one for a deleted row. "
        "skip: left out; retract: it retracts the label of its key, if there is one; hook: the function under "
        "`python` is given None for it.",
    )
    each: str | None = Field(
        default=None, min_length=1, description="Path of a list; every element becomes a record of its own."
    )
    map: dict[str, ShortFieldMap] = Field(
        default_factory=dict,
        description="Source of each canonical field. {python: 'module:function'} passes whole records to your own "
        "function. Left out if the records are in the canonical form.",
    )

    @property
    def hook(self) -> str | None:
        """The function that maps whole records, as 'module:function'."""
        field = self.map.get(HOOK_TARGET)
        return None if field is None or not isinstance(field.path, str) else field.path

    @property
    def is_canonical(self) -> bool:
        """Whether the records, or what a hook makes of them, have the messages' own fields."""
        return not self.map or HOOK_TARGET in self.map

    @property
    def paths(self) -> list[str]:
        """Every path that its conditions and its map read; of a hook, the conditions' alone."""
        mapped = [] if self.hook is not None else [path for field in self.map.values() for path in field.paths]
        return [*self.where, *mapped]

    @property
    def title(self) -> str:
        """Name of the source for people: its topic, or its files' pattern."""
        return self.topic or self.files or ""

    @model_validator(mode="after")
    def _has_a_source(self) -> "SourceMap":
        if self.topic is None and self.files is None:
            raise ValueError("give `topic`, or `files`, or both if files hold the history of the topic")
        return self

    @model_validator(mode="after")
    def _targets_exist(self) -> "SourceMap":
        own = _canonical_problems(self) if self.is_canonical else (*_target_problems(self), *_missing_problems(self))
        keys = self.map["key"].ways if "key" in self.map and self.kind is not None else None
        own = (*own, *tombstone_problems(self.tombstone, self.as_, keys, has_hook=self.hook is not None))
        paths = [*_all_paths(self)]
        own = (*own, *key_problems(paths, self.key_format, self.topic))
        if self.value_schema is not None and self.topic is None:
            own = (*own, Problem(("value_schema",), "is for topics; files are read by their names"))
        if problems := [*own, *metadata_problems(paths, self.topic, self.files)]:
            raise ProblemsError(problems)
        return self


def _all_paths(source: SourceMap) -> Iterator[tuple[Path, str]]:
    """Yield every path that a source reads, with its position in the config."""
    for target, field in source.map.items():
        if target != HOOK_TARGET:
            yield from ((("map", target), path) for path in field.paths)
    yield from ((("where", path), path) for path in source.where)
    if source.each is not None:
        yield ("each",), source.each


def _canonical_problems(source: SourceMap) -> Iterator[Problem]:
    """Find options that do not go with records that are canonical, or become so in a hook."""
    for target, field in source.map.items():
        if target != HOOK_TARGET:
            yield Problem(("map", target), f"cannot be combined with `{HOOK_TARGET}`, which makes whole messages")
        elif not (isinstance(field.path, str) and _HOOK_NAME.fullmatch(field.path)):
            yield Problem(("map", target), "must be 'module:function'")
        elif field.model_fields_set != {"path"}:
            yield Problem(("map", target), "has no options: the function returns finished fields")
    if source.each is not None:
        yield Problem(("each",), f"goes with a `map` of paths; a function under `{HOOK_TARGET}` may return a list")
    if source.kind is not None:
        yield Problem(("kind",), "goes with a `map` of paths; canonical labels name their kind themselves")


def _target_problems(source: SourceMap) -> Iterator[Problem]:
    """Find fields that do not exist, and options that do not fit their field."""
    for target, field in source.map.items():
        path = ("map", target)
        if not is_target(target, source.as_):
            best = nearest(target, _names(source) | {HOOK_TARGET})
            listed = [f"{name}NAME" if name.endswith(".") else name for name in sorted(_names(source))]
            hint = f"did you mean {best!r}?" if best else f"{source.as_} have {', '.join(listed)}"
            yield Problem(path, f"unknown field; {hint}")
            continue
        for option in ("unit", "zone"):
            if getattr(field, option) is not None and target not in _TIMES:
                yield Problem((*path, option), f"is for times ({', '.join(sorted(_TIMES))}) only")
        if field.in_ is not None and target not in _TESTS:
            yield Problem((*path, "in"), f"is for {', '.join(sorted(_TESTS))} only")
        if field.type is not None and target not in _IDENTITIES and not target.startswith("outputs."):
            yield Problem((*path, "type"), "is for keys, ids and classes (key, id, value, outputs.NAME) only")
        if target != "features" and any(part.endswith(".*") for part in field.paths):
            yield Problem(path, "only `features` can take every field below a path ('.*')")
        if target == "features" and field.otherwise is not None:
            yield Problem((*path, "otherwise"), "is for single fields")


def _names(source: SourceMap) -> frozenset[str]:
    if source.as_ == "labels":
        return LABEL_TARGETS
    return PREDICTION_TARGETS | {*_PREDICTION_GROUPS, "features"}


def _missing_problems(source: SourceMap) -> Iterator[Problem]:
    """Find required fields that are missing, and options without effect."""
    given = set(source.map)
    given |= {nearest(target, _names(source)) or "" for target in given if not is_target(target, source.as_)}
    if "time" not in given:
        yield Problem(("map", "time"), "is missing")
    if "key" not in given and "heartbeat" not in given:
        yield Problem(("map", "key"), "is missing")
    if source.as_ == "predictions":
        if source.kind is not None:
            yield Problem(("kind",), "is for labels; predictions name their kinds in map.outputs.KIND")
        return
    if not given & {"value", "retract", "heartbeat"}:
        yield Problem(("map", "value"), "is missing; if the record itself is the label, write {constant: 1}")
    if source.kind is None and "kind" not in given:
        yield Problem((), "labels need `kind: NAME`, or `map.kind` if a file holds several kinds")


def is_target(name: str, as_: str) -> bool:
    """Tell whether `name` is a canonical field that `as_` ('predictions' or 'labels') can be mapped to."""
    if as_ == "labels":
        return name in LABEL_TARGETS
    if name in PREDICTION_TARGETS or name == "features":
        return True
    return any(name.startswith(group) and len(name) > len(group) for group in _PREDICTION_GROUPS)
