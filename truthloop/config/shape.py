"""The keys that a config may have at each path, read from the config's JSON Schema.

Used to suggest a name for an unknown key and to find the field that an environment variable sets. pydantic validates
the values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from schemas.base.problem import Path, nearest
from schemas.config.loop import LoopConfig

__all__ = ["Shape", "UnknownKey", "config_shape", "drop_unknown_keys"]

Schema = Mapping[str, Any]

SUGGESTIONS_MAX = 100
"""A file with more unknown keys is not a config: the rest gets no suggestions."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a config may contain at one path.

    Attributes:
        variants: JSON Schemas of which the value must match one, with references resolved.
        definitions: the schemas that references name.
    """

    variants: tuple[Schema, ...]
    definitions: Mapping[str, Schema]

    @property
    def names(self) -> frozenset[str]:
        """The keys that the schema names."""
        return frozenset(name for variant in self.variants for name in variant.get("properties", {}))

    @property
    def is_mapping(self) -> bool:
        """Whether a mapping is allowed here."""
        return any(variant.get("type") == "object" for variant in self.variants)

    @property
    def takes_any_key(self) -> bool:
        """Whether the user chooses the keys here, as in `labels`."""
        return any(True for variant in self.variants for _ in _any_key_schemas(variant))

    def child(self, part: str | int) -> "Shape":
        """Return the shape under a key, or of a list item."""
        found: list[Schema] = []
        for variant in self.variants:
            if isinstance(part, int):
                schemas = [variant["items"]] if "items" in variant else []
            elif part in variant.get("properties", {}):
                schemas = [variant["properties"][part]]
            else:
                schemas = list(_any_key_schemas(variant))
            found.extend(concrete for schema in schemas for concrete in _concrete(schema, self.definitions))
        return Shape(tuple(found), self.definitions)


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """A key of a config that does not exist.

    Attributes:
        path: of the mapping that contains it.
        key: as written.
        meant: the nearest name that exists, or None.
        known: all names that exist there.
    """

    path: Path
    key: str
    meant: str | None
    known: frozenset[str]


@cache
def config_shape() -> Shape:
    """Return the shape of a whole `truthloop.yaml`."""
    schema = LoopConfig.model_json_schema()
    return Shape((schema,), schema.get("$defs", {}))


def drop_unknown_keys(value: object, shape: Shape, unknown: list[UnknownKey], path: Path = ()) -> object:
    """Return a copy of `value` without unknown keys, and append them to `unknown`.

    A misspelt key is renamed in the copy, so that its value is validated too and the right name does not count as
    missing.
    """
    if isinstance(value, list):
        return [drop_unknown_keys(item, shape.child(at), unknown, (*path, at)) for at, item in enumerate(value)]
    if not isinstance(value, dict) or not shape.is_mapping:
        return value
    kept: dict[str, object] = {}
    for key, item in value.items():
        name = key
        if key not in shape.names and not shape.takes_any_key:
            meant = nearest(key, shape.names) if len(unknown) < SUGGESTIONS_MAX else None
            unknown.append(UnknownKey(path, key, meant, shape.names))
            if meant is None or meant in value:
                continue
            name = meant
        kept[name] = drop_unknown_keys(item, shape.child(name), unknown, (*path, key))
    return kept


def _any_key_schemas(variant: Schema) -> Iterator[Schema]:
    """Yield the schemas for the values of keys that the user chooses."""
    yield from variant.get("patternProperties", {}).values()
    if isinstance(extra := variant.get("additionalProperties"), Mapping):
        yield extra


def _concrete(schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[Schema]:
    """Yield the alternatives of a schema, with references resolved."""
    if "$ref" in schema:
        yield from _concrete(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    elif variants := schema.get("anyOf") or (schema.get("oneOf") if "properties" not in schema else None):
        for variant in variants:
            yield from _concrete(variant, definitions)
    else:
        yield schema
