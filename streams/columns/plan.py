"""From a source map, or the canonical form, to the plan of a file: which path feeds which canonical field.

A plan names paths only; how a path is found in a Parquet file, a CSV file or a JSON object is the work of
the three readers. This module must not read data.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.config.loop import LoopConfig
from schemas.config.mapping import FieldMap, Scalar, SourceMap
from schemas.config.privacy import redacted_features
from streams.columns.scalar import scalar_text
from streams.columns.schema import Role

__all__ = ["Field", "Plan", "Slot", "canonical_plan", "conditions", "mapped_plan", "plan_of"]

IDENTITIES: Final = frozenset({"key", "id"})
_TIMES: Final = ("time", "arrived_at", "happened_at")


@dataclass(frozen=True, slots=True)
class Slot:
    """One raw column that a reader has to deliver.

    Attributes:
        name: of the column in the raw frame; ours, so that hostile names in a file stay outside.
        path: where the value is in the record.
        is_identity: the value identifies something, so only texts and whole numbers are taken.
        is_required: a file with columns must have it.
    """

    name: str
    path: str
    is_identity: bool
    is_required: bool


@dataclass(frozen=True, slots=True)
class Field:
    """How one canonical field is made.

    Attributes:
        slots: raw columns; several make a composite; none: `constant` for every record.
        otherwise: raw columns that are taken where nothing is in `slots`.
        is_optional: a missing value means the field's default (canonical form), not a fault.
    """

    slots: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    constant: Scalar | None = None
    values: Mapping[str, str] | None = None
    scale: float | None = None
    unit: str | None = None
    zone: str | None = None
    allowed: tuple[str, ...] | None = None
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a reader and the conversion need to know of one file.

    Attributes:
        fields: canonical field -> how it is made; what is absent has its default.
        where: raw column -> texts that are taken.
        each: path of the list whose elements are the records.
        group: path of the object that holds features by name, known and unknown; empty for the record itself.
        known: names in `group` that are no unknown features.
        strays: mapped features that the contract does not have: name -> their entry in `fields`.
        kind: label kind of every record, where the map fixes it.
        label_source: name of the source, where the map gives one.
    """

    role: Role
    is_canonical: bool
    slots: tuple[Slot, ...]
    fields: Mapping[str, Field]
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    each: str | None = None
    group: str | None = None
    known: frozenset[str] = frozenset()
    strays: Mapping[str, str] = field(default_factory=dict)
    kind: str | None = None
    label_source: str | None = None


class _Slots:
    """Gives each path one column, shared by all fields that read it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, bool], Slot] = {}

    def take(self, path: str, *, is_identity: bool = False, is_required: bool = True) -> str:
        known = self._found.get((path, is_identity))
        name = known.name if known else f"c{len(self._found)}"
        required = is_required or (known is not None and known.is_required)
        self._found[path, is_identity] = Slot(name, path, is_identity, required)
        return name

    def all(self) -> tuple[Slot, ...]:
        return tuple(self._found.values())

    def conditions(self, source: SourceMap) -> dict[str, tuple[str, ...]]:
        return {self.take(path): _texts(wanted) for path, wanted in source.where.items()}


def conditions(source: SourceMap | None) -> dict[str, tuple[str, ...]]:
    """Return the texts that a source takes of whole records, by path; not those of the elements of a list."""
    if source is None:
        return {}
    below = None if source.each is None else f"{source.each}."
    return {
        path: _texts(wanted)
        for path, wanted in source.where.items()
        if below is None or not (path == source.each or path.startswith(below))
    }


def plan_of(source: SourceMap | None, role: Role, config: LoopConfig, *, is_selected: bool) -> Plan:
    """Return the plan of records that a source map covers, or of canonical ones where none does.

    Args:
        source: the map; where it names a function, the plan is that of what the function returns.
        role: what they are.
        config: the loop's.
        is_selected: the conditions on whole records have been looked at already.
    """
    if source is None:
        return canonical_plan(role, config)
    if is_selected:
        done = conditions(source)
        source = source.model_copy(update={"where": {p: w for p, w in source.where.items() if p not in done}})
    return canonical_plan(role, config, source) if source.is_canonical else mapped_plan(source, config)


def canonical_plan(role: Role, config: LoopConfig, source: SourceMap | None = None) -> Plan:
    """Return the plan of records whose fields are the messages' own.

    Args:
        role: what they are.
        config: the loop's.
        source: where only some of them are taken, or they need a name for where they come from.
    """
    slots = _Slots()
    if role == "predictions":
        contract = config.predictions
        names = ["key", "id", "time", "arrived_at", "version", "eligible", "weight"]
        names += [f"outputs.{kind}" for kind in contract.outputs] + [f"slices.{name}" for name in contract.slices]
        names += [f"features.{name}" for name in contract.features]
        required = {"key", "time"}
    else:
        names = ["key", "kind", "value", "op", "time", "happened_at", "arrived_at"]
        names += ["definition", "source", "origin", "batch_id"]
        required = {"key", "time"} if len(config.labels) == 1 else {"key", "time", "kind"}
    fields = {
        name: Field(
            slots=(slots.take(name, is_identity=name in IDENTITIES, is_required=name in required),),
            unit="ms" if name in _TIMES else None,
            is_optional=name not in required,
        )
        for name in names
    }
    where = {} if source is None else slots.conditions(source)
    return Plan(
        role=role,
        is_canonical=True,
        slots=slots.all(),
        fields=fields,
        where=where,
        label_source=None if source is None else source.source,
        group="features" if role == "predictions" else None,
        known=frozenset(config.predictions.features),
    )


def mapped_plan(source: SourceMap, config: LoopConfig) -> Plan:
    """Return the plan of a file that a source map covers."""
    slots = _Slots()
    fields: dict[str, Field] = {}
    strays: dict[str, str] = {}
    contract = config.predictions.features
    group = None
    for target, how in source.map.items():
        name = target.removeprefix("features.")
        if target == "features":
            group = str(how.path).removesuffix("*").removesuffix(".")
        elif target.startswith("features.") and name not in contract:
            fields[target] = _field(how, slots, target)
            strays[name] = target
        else:
            fields[target] = _field(how, slots, target)
    if group is not None:
        for name in contract:
            if f"features.{name}" not in fields:
                slot = slots.take(f"{group}.{name}" if group else name, is_required=False)
                fields[f"features.{name}"] = Field(slots=(slot,), is_optional=True)
    where = slots.conditions(source)
    # where every field of the record is a feature, those that became something else are not
    taken = {slot.path.partition(".")[0] for slot in slots.all()} | {source.each or ""} if group == "" else set()
    taken |= _hidden_names(group, source, redacted_features(config))
    return Plan(
        role=source.as_,
        is_canonical=False,
        slots=slots.all(),
        fields=fields,
        where=where,
        each=source.each,
        group=group,
        known=frozenset(contract) | frozenset(strays) | taken,
        strays=strays,
        kind=source.kind,
        label_source=source.source,
    )


def _hidden_names(group: str | None, source: SourceMap, redacted: Iterable[str]) -> set[str]:
    """Return the names in a group of features under which a hidden one stands, whatever it is called there."""
    if group is None:
        return set()
    prefix = f"{group}." if group else ""
    maps = [source.map[f"features.{name}"] for name in redacted if f"features.{name}" in source.map]
    found = set()
    for path in [path for how in maps for path in how.paths if path.startswith(prefix)]:
        parts = path.removeprefix(prefix).split(".")
        # a name may itself have dots, as columns do
        found |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return found


def _field(how: FieldMap, slots: _Slots, target: str) -> Field:
    def take(path: str | list[str] | None) -> tuple[str, ...]:
        paths = [] if path is None else [path] if isinstance(path, str) else path
        is_identity = target in IDENTITIES or len(paths) > 1
        # with a second path, a file with columns may do without either
        return tuple(slots.take(one, is_identity=is_identity, is_required=how.otherwise is None) for one in paths)

    return Field(
        slots=take(how.path),
        otherwise=take(how.otherwise),
        constant=how.constant,
        values=None if how.values is None else {key: scalar_text(value) for key, value in how.values.items()},
        scale=how.scale,
        unit=how.unit,
        zone=how.zone,
        allowed=None if how.in_ is None else _texts(how.in_),
    )


def _texts(wanted: Scalar | list[Scalar]) -> tuple[str, ...]:
    return tuple(scalar_text(value) for value in (wanted if isinstance(wanted, list) else [wanted]))
