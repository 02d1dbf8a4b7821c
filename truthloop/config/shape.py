"""Which keys a config can have at which place, taken from the config's own JSON Schema.

So that unknown keys get a suggestion and environment variables find their field, without a second list of
names. This module must not judge values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from schemas.base.problem import Path, nearest
from schemas.config.loop import LoopConfig

__all__ = ["Misnomer", "Shape", "config_shape", "keep_known"]

Schema = Mapping[str, Any]

MISNOMERS_MAX = 100
"""More unknown keys than this get no suggestion: the file is no config at all."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What can stand at one place of a config.

    Attributes:
        variants: JSON Schemas of which one must fit, references followed.
        definitions: what references refer to.
    """

    variants: tuple[Schema, ...]
    definitions: Mapping[str, Schema]

    @property
    def names(self) -> frozenset[str]:
        """Keys that are known by name."""
        return frozenset(name for variant in self.variants for name in variant.get("properties", {}))

    @property
    def is_mapping(self) -> bool:
        """Whether keys can stand here at all."""
        return any(variant.get("type") == "object" for variant in self.variants)

    @property
    def is_open(self) -> bool:
        """Whether keys are free to choose here, as in `labels`."""
        return any(True for variant in self.variants for _ in _free(variant))

    def below(self, part: str | int) -> "Shape":
        """Return what can stand under a key, or at a position of a list."""
        found: list[Schema] = []
        for variant in self.variants:
            if isinstance(part, int):
                schemas = [variant["items"]] if "items" in variant else []
            elif part in variant.get("properties", {}):
                schemas = [variant["properties"][part]]
            else:
                schemas = list(_free(variant))
            found.extend(concrete for schema in schemas for concrete in _concrete(schema, self.definitions))
        return Shape(tuple(found), self.definitions)


@dataclass(frozen=True, slots=True)
class Misnomer:
    """A key that does not exist.

    Attributes:
        path: of the mapping that holds it.
        key: as written.
        meant: the name that it most probably stands for, or None.
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


def keep_known(value: object, shape: Shape, misnomers: list[Misnomer], path: Path = ()) -> object:
    """Return a copy of `value` without unknown keys, which are added to `misnomers`.

    A misspelt key stands under its right name in the copy, so that what is below it is judged as well and
    the right name is not called missing.
    """
    if isinstance(value, list):
        return [keep_known(item, shape.below(at), misnomers, (*path, at)) for at, item in enumerate(value)]
    if not isinstance(value, dict) or not shape.is_mapping:
        return value
    kept: dict[str, object] = {}
    for key, item in value.items():
        name = key
        if key not in shape.names and not shape.is_open:
            meant = nearest(key, shape.names) if len(misnomers) < MISNOMERS_MAX else None
            misnomers.append(Misnomer(path, key, meant, shape.names))
            if meant is None or meant in value:
                continue
            name = meant
        kept[name] = keep_known(item, shape.below(name), misnomers, (*path, key))
    return kept


def _free(variant: Schema) -> Iterator[Schema]:
    """Give the schemas that keys of one's own choice must follow."""
    yield from variant.get("patternProperties", {}).values()
    if isinstance(extra := variant.get("additionalProperties"), Mapping):
        yield extra


def _concrete(schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[Schema]:
    if "$ref" in schema:
        yield from _concrete(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    elif variants := schema.get("anyOf") or (schema.get("oneOf") if "properties" not in schema else None):
        for variant in variants:
            yield from _concrete(variant, definitions)
    else:
        yield schema
