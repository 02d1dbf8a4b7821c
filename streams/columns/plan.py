"""Compiles a source map of the config, or the canonical form, to a plan: which paths are read, for which fields.

A plan names paths only; each reader finds them in its own format (Parquet columns, CSV header, JSON objects).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from schemas.config.loop import LoopConfig
from schemas.config.mapping import FieldMap, Scalar, SourceMap
from schemas.config.privacy import redacted_features
from schemas.config.record_metadata import is_metadata_path
from streams.columns.scalar import scalar_text
from streams.columns.scalar_match import ScalarMatch
from streams.columns.schema import Role

__all__ = ["MESSAGE_VERSION", "Field", "Plan", "Slot", "conditions", "deletion_conditions", "deletion_plan", "plan_of"]

MESSAGE_VERSION: Final = "v"
"""Path of the version of the message format in canonical records."""
_IDENTITIES: Final = frozenset({"key", "id"})
_TIMES: Final = ("time", "arrived_at", "happened_at")


@dataclass(frozen=True, slots=True)
class Slot:
    """One raw column that a reader has to deliver.

    Attributes:
        name: of the column in the raw frame; generated, so that hostile names in a file stay outside.
        path: dotted path of the value in the record.
        is_identity: the value is a key or id (or a part of one), so only texts and whole numbers are valid.
        is_matched: the value is compared with scalars of the config, so each keeps its type where types are mixed.
        is_required: a CSV or Parquet file without this column is refused.
        is_moment: the value is a time of the canonical form, which in JSON is no number written as text.
    """

    name: str
    path: str
    is_identity: bool
    is_required: bool
    is_matched: bool = False
    is_moment: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """How one canonical field is computed from raw columns; the options are those of `FieldMap` in the config.

    Attributes:
        slots: raw columns; several make a composite, none means `constant` for every record.
        otherwise: raw columns that are used where `slots` have no value.
        matched: scalars that are listed in `values`.
        values: the text that a value becomes, by the index of the matched scalar.
        allowed: scalars that `in` lists.
        is_identity: a key or id, read from slots that are such.
        is_whole: identities must be whole numbers (`type: int`).
        is_optional: a missing value means the field's default (canonical form) and is no error.
    """

    slots: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    constant: Scalar | None = None
    matched: ScalarMatch | None = None
    values: tuple[str, ...] = ()
    scale: float | None = None
    unit: str | None = None
    zone: str | None = None
    allowed: ScalarMatch | None = None
    is_identity: bool = False
    is_whole: bool = False
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a reader and the conversion need to know about one source.

    Attributes:
        fields: by canonical field; a field that is absent has its default.
        where: by raw column, the values of records that are kept.
        each: path of the list whose elements are the records.
        features_path: path of the object that holds features by name; empty for the record itself.
        known_names: names in that object that are no unknown features.
        extra_features: mapped features that are not in the contract: their name, and their key in `fields`.
        kind: label kind of every record, if the map fixes it.
        label_source: value of `source` for every label, if the map gives one.
    """

    role: Role
    is_canonical: bool
    slots: tuple[Slot, ...]
    fields: Mapping[str, Field]
    where: Mapping[str, ScalarMatch] = field(default_factory=dict)
    each: str | None = None
    features_path: str | None = None
    known_names: frozenset[str] = frozenset()
    extra_features: Mapping[str, str] = field(default_factory=dict)
    kind: str | None = None
    label_source: str | None = None


def conditions(source: SourceMap | None) -> dict[str, ScalarMatch]:
    """Return a source's `where` conditions on whole records: path and accepted values; not those on list elements."""
    if source is None:
        return {}
    below = None if source.each is None else f"{source.each}."
    return {
        path: _match(wanted)
        for path, wanted in source.where.items()
        if below is None or not (path == source.each or path.startswith(below))
    }


def plan_of(source: SourceMap | None, role: Role, config: LoopConfig, *, is_filtered: bool) -> Plan:
    """Return the plan for the records of a source.

    Args:
        source: None for records in the canonical form; with a hook, the plan is for the records that it returns.
        is_filtered: the reader applies the conditions on whole records itself, so the plan leaves them out.
    """
    if source is None:
        return _canonical_plan(role, config, None)
    if is_filtered:
        done = conditions(source)
        source = source.model_copy(update={"where": {p: w for p, w in source.where.items() if p not in done}})
    return _canonical_plan(role, config, source) if source.is_canonical else _mapped_plan(source, config)


def deletion_conditions(source: SourceMap) -> dict[str, ScalarMatch]:
    """Return the conditions of a source that a message without a value can fulfil: those on its metadata."""
    return {path: wanted for path, wanted in conditions(source).items() if is_metadata_path(path)}


def deletion_plan(source: SourceMap, config: LoopConfig) -> Plan:
    """Return the plan for messages without a value of a source with `tombstone: retract`.

    Key, kind and definition are the source's, the time is Kafka's.
    """
    fields = {"key": source.map["key"], "time": FieldMap(path="$timestamp", unit="ms")}
    if "definition" in source.map and source.map["definition"].path is None:
        fields["definition"] = source.map["definition"]
    plan = _mapped_plan(source.model_copy(update={"map": fields, "each": None, "where": {}}), config)
    return replace(plan, fields={**plan.fields, "op": Field(constant="delete")})


class _Slots:
    """Assigns raw columns to paths; fields that read a path in the same way share one."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, bool, bool], Slot] = {}

    def add(
        self,
        path: str,
        *,
        is_identity: bool = False,
        is_matched: bool = False,
        is_required: bool = True,
        is_moment: bool = False,
    ) -> str:
        """Return the name of the path's column."""
        way = (path, is_identity, is_matched)
        known = self._found.get(way)
        name = known.name if known else f"c{len(self._found)}"
        required = is_required or (known is not None and known.is_required)
        self._found[way] = Slot(name, path, is_identity, required, is_matched, is_moment)
        return name

    def all(self) -> tuple[Slot, ...]:
        return tuple(self._found.values())

    def conditions(self, source: SourceMap) -> dict[str, ScalarMatch]:
        return {self.add(path, is_matched=True): _match(wanted) for path, wanted in source.where.items()}


def _canonical_plan(role: Role, config: LoopConfig, source: SourceMap | None) -> Plan:
    slots = _Slots()
    if role == "predictions":
        contract = config.predictions
        names = [MESSAGE_VERSION, "key", "id", "time", "arrived_at", "version", "eligible", "weight"]
        names += [f"outputs.{kind}" for kind in contract.outputs] + [f"slices.{name}" for name in contract.slices]
        names += [f"features.{name}" for name in contract.features]
        required = {"key", "time"}
    else:
        names = [MESSAGE_VERSION, "key", "kind", "value", "op", "time", "happened_at", "arrived_at"]
        names += ["definition", "source", "origin", "batch_id"]
        required = {"key", "time"} if len(config.labels) == 1 else {"key", "time", "kind"}
    fields = {}
    for name in names:
        is_required, is_moment = name in required, name in _TIMES
        slot = slots.add(name, is_identity=name in _IDENTITIES, is_required=is_required, is_moment=is_moment)
        fields[name] = Field(slots=(slot,), unit="ms" if is_moment else None, is_optional=not is_required)
    where = {} if source is None else slots.conditions(source)
    return Plan(
        role=role,
        is_canonical=True,
        slots=slots.all(),
        fields=fields,
        where=where,
        label_source=None if source is None else source.source,
        features_path="features" if role == "predictions" else None,
        known_names=frozenset(config.predictions.features),
    )


def _mapped_plan(source: SourceMap, config: LoopConfig) -> Plan:
    slots = _Slots()
    fields: dict[str, Field] = {}
    extra_features: dict[str, str] = {}
    contract = config.predictions.features
    root = None
    for target, how in source.map.items():
        if target == "features":
            root = str(how.path).removesuffix("*").removesuffix(".")
            continue
        fields[target] = _field(how, slots, target)
        name = target.removeprefix("features.")
        if target.startswith("features.") and name not in contract:
            extra_features[name] = target
    if root is not None:
        for name in contract:
            if f"features.{name}" not in fields:
                slot = slots.add(f"{root}.{name}" if root else name, is_required=False)
                fields[f"features.{name}"] = Field(slots=(slot,), is_optional=True)
    where = slots.conditions(source)
    # if every field of the record is a feature, those that another field reads are none
    used = {slot.path.partition(".")[0] for slot in slots.all()} | {source.each or ""} if root == "" else set()
    used |= _redacted_names(root, source, redacted_features(config.predictions))
    return Plan(
        role=source.as_,
        is_canonical=False,
        slots=slots.all(),
        fields=fields,
        where=where,
        each=source.each,
        features_path=root,
        known_names=frozenset(contract) | frozenset(extra_features) | used,
        extra_features=extra_features,
        kind=source.kind,
        label_source=source.source,
    )


def _redacted_names(root: str | None, source: SourceMap, redacted: Iterable[str]) -> set[str]:
    """Return the names below `root` that a redacted feature is read from, so that they are not kept as unknown ones."""
    if root is None:
        return set()
    prefix = f"{root}." if root else ""
    maps = [source.map[f"features.{name}"] for name in redacted if f"features.{name}" in source.map]
    found = set()
    for path in [path for how in maps for path in how.paths if path.startswith(prefix)]:
        parts = path.removeprefix(prefix).split(".")
        # a name may itself contain dots, as column names do
        found |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return found


def _field(how: FieldMap, slots: _Slots, target: str) -> Field:
    def columns(path: str | list[str] | None) -> tuple[str, ...]:
        paths = [] if path is None else [path] if isinstance(path, str) else path
        is_matched = len(paths) == 1 and (how.values is not None or how.in_ is not None)
        is_identity = not is_matched and (target in _IDENTITIES or len(paths) > 1)
        # with an alternative path, a file may lack either column
        is_required = how.otherwise is None
        return tuple(
            slots.add(one, is_identity=is_identity, is_matched=is_matched, is_required=is_required) for one in paths
        )

    return Field(
        slots=columns(how.path),
        otherwise=columns(how.otherwise),
        constant=how.constant,
        matched=None if how.values is None else ScalarMatch(how.values),
        values=() if how.values is None else tuple(map(scalar_text, how.values.values())),
        scale=how.scale,
        unit=how.unit,
        zone=how.zone,
        allowed=None if how.in_ is None else ScalarMatch(how.in_),
        is_identity=target in _IDENTITIES and how.values is None,
        is_whole=how.type == "int",
    )


def _match(wanted: Scalar | list[Scalar]) -> ScalarMatch:
    return ScalarMatch(wanted if isinstance(wanted, list) else [wanted])
