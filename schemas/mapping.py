"""The mapping of foreign records: how fields of somebody's file or topic become canonical messages.

These models say *what* maps to what; `streams.mapping` does it. This module must not read data.
"""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from schemas.problem import Problem, ProblemsError, nearest

__all__ = ["FieldMap", "Scalar", "SourceMap", "is_target", "known_zone"]

Scalar = bool | int | float | str

PREDICTION_TARGETS = frozenset({"key", "id", "time", "arrived_at", "version", "eligible", "weight"})
LABEL_TARGETS = frozenset(
    {"key", "kind", "value", "time", "arrived_at", "happened_at", "definition", "source", "origin"}
    | {"batch_id", "retract", "heartbeat"}
)
_PREDICTION_GROUPS = ("outputs.", "slices.", "features.")


_TIMES = frozenset({"time", "arrived_at", "happened_at"})
_TESTS = frozenset({"eligible", "retract", "heartbeat"})
_ONE_ORIGIN: JsonDict = {"oneOf": [{"required": ["path"]}, {"required": ["constant"]}]}


def known_zone(name: str) -> str:
    """Return `name` if it is an IANA time zone.

    Raises:
        ValueError: it is none; the message names the nearest.
    """
    if name in _zones():
        return name
    best = nearest(name, _zones())
    hint = f"did you mean {best!r}?" if best else "write UTC or Area/City, for instance Europe/Berlin"
    raise ValueError(f"{name!r} is not an IANA time zone; {hint}")


@cache
def _zones() -> frozenset[str]:
    """Return all zones; finding them reads hundreds of files, so it happens once."""
    return frozenset(available_timezones())


def _not_empty(path: str | list[str]) -> str | list[str]:
    """Refuse a composite of nothing. An empty *name* is fine: spreadsheets and pandas write such columns."""
    if isinstance(path, list) and not path:
        raise ValueError("a list of paths cannot be empty")
    return path


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False)


class FieldMap(_Strict):
    """Where one canonical field comes from, and what is done to it on the way.

    A bare string is short for `{path: ...}`, a bare list for a composite `{path: [...]}`.
    """

    model_config = ConfigDict(json_schema_extra=_ONE_ORIGIN)

    path: Annotated[str | list[str], AfterValidator(_not_empty)] | None = Field(
        default=None,
        description="Dotted path into the record, or several that are joined with '|' (composite ids). "
        "A trailing '.*' takes every field below (features only).",
    )
    constant: Scalar | None = Field(default=None, description="The same value for every record.")
    values: dict[str, Scalar] | None = Field(
        default=None,
        min_length=1,
        description="Value map, by the value's text. What is not listed counts as missing.",
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
        description="True where the value is one of these (eligible, retract, heartbeat). A prediction that does "
        "not say whether it is eligible is.",
    )

    @model_validator(mode="after")
    def _has_one_origin(self) -> "FieldMap":
        if (self.path is None) == (self.constant is None):
            raise ValueError("give either `path` or `constant`")
        return self


def _widen(value: object) -> object:
    if isinstance(value, (str, list)):
        return {"path": value}
    if not isinstance(value, (dict, FieldMap)):
        raise ValueError("must be a path, a list of paths, or a mapping such as {path: ts, unit: ms}")  # noqa: TRY004 - pydantic turns only ValueError into a message with a place
    return value


ShortFieldMap = Annotated[FieldMap, BeforeValidator(_widen, json_schema_input_type=str | list[str] | FieldMap)]


class SourceMap(_Strict):
    """One source of records: which files it covers, what they become, and how their fields map."""

    files: str = Field(description="Glob on the file's name, for instance 'scores-*.parquet'.", min_length=1)
    as_: Literal["predictions", "labels"] = Field(alias="as", description="What the records are.")
    kind: str | None = Field(default=None, description="Label kind of every record of this source.")
    source: str | None = Field(default=None, description="Name of this source, kept with each label.")
    where: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict,
        description="Only records whose field has this value, or one of these, are taken.",
    )
    each: str | None = Field(
        default=None, min_length=1, description="Path of a list; every element makes a record of its own."
    )
    map: dict[str, ShortFieldMap] = Field(description="Where each canonical field comes from.")

    @model_validator(mode="after")
    def _targets_exist(self) -> "SourceMap":
        if problems := [*_target_problems(self), *_missing_problems(self)]:
            raise ProblemsError(problems)
        return self


def _target_problems(source: SourceMap) -> Iterator[Problem]:
    """Find fields that do not exist, and ways of mapping that do not fit their field."""
    for target, field in source.map.items():
        path = ("map", target)
        if not is_target(target, source.as_):
            best = nearest(target, _names(source))
            listed = [f"{name}NAME" if name.endswith(".") else name for name in sorted(_names(source))]
            hint = f"did you mean {best!r}?" if best else f"{source.as_} have {', '.join(listed)}"
            yield Problem(path, f"unknown field; {hint}")
            continue
        for option in ("unit", "zone"):
            if getattr(field, option) is not None and target not in _TIMES:
                yield Problem((*path, option), f"is for times ({', '.join(sorted(_TIMES))}) only")
        if field.in_ is not None and target not in _TESTS:
            yield Problem((*path, "in"), f"is for {', '.join(sorted(_TESTS))} only")
        paths = field.path if isinstance(field.path, list) else [field.path or ""]
        if target != "features" and any(part.endswith(".*") for part in paths):
            yield Problem(path, "only `features` can take every field below a path ('.*')")


def _names(source: SourceMap) -> frozenset[str]:
    if source.as_ == "labels":
        return LABEL_TARGETS
    return PREDICTION_TARGETS | {*_PREDICTION_GROUPS, "features"}


def _missing_problems(source: SourceMap) -> Iterator[Problem]:
    """Find what a source needs and does not say, and what it says in vain."""
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
        yield Problem(("map", "value"), "is missing; where the record itself is the label, {constant: 1}")
    if source.kind is None and "kind" not in given:
        yield Problem((), "labels need `kind: NAME`, or `map.kind` where a file holds several kinds")


def is_target(name: str, as_: str) -> bool:
    """Tell whether `name` is a canonical field that `as_` ('predictions' or 'labels') can be mapped to."""
    if as_ == "labels":
        return name in LABEL_TARGETS
    if name in PREDICTION_TARGETS or name == "features":
        return True
    return any(name.startswith(group) and len(name) > len(group) for group in _PREDICTION_GROUPS)
