"""Which schemas the values of a topic have, by their names in the registry, and what the newest versions declare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streams.readers.declared_field import DeclaredField
from streams.readers.format import ValueFormat, values_by_schema

__all__ = ["RegistryCatalog", "SchemaNames", "SchemaUse", "SchemaVersion"]


@dataclass(frozen=True)
class SchemaVersion:
    """A schema under one of its names.

    Attributes:
        number: its id.
    """

    subject: str
    version: int
    number: int


class SchemaNames(Protocol):
    """Names of schemas; `RegistryClient` is one."""

    def versions(self, number: int) -> list[SchemaVersion]:
        """Return the names of a schema."""

    def newest(self, subject: str) -> SchemaVersion | None:
        """Return the newest version of a subject; None if there is none."""


@dataclass(frozen=True)
class SchemaUse:
    """A schema of a topic's values.

    Attributes:
        number: its id.
        records: number of values that have it.
        names: in the registry.
        fields: that it declares, by path.
        newer: the newest version of each of its subjects that is another schema, and the fields that it declares.
    """

    number: int
    records: int
    names: Sequence[SchemaVersion]
    fields: Mapping[str, DeclaredField]
    newer: Sequence[tuple[SchemaVersion, Mapping[str, DeclaredField]]] = ()


class RegistryCatalog:
    """The schemas of one registry.

    Args:
        form: reads values by the same schemas.
    """

    def __init__(self, names: SchemaNames, form: ValueFormat) -> None:
        self._names = names
        self._form = form

    def uses(self, values: Sequence[bytes | None]) -> list[SchemaUse]:
        """Return the schemas of values that begin with an id; those that the registry does not know are left out.

        Raises:
            RegistryAway: the registry does not answer.
        """
        found = []
        schemas = {one: what for one, what in values_by_schema(values).items() if isinstance(one, int)}
        for number, (count, payload) in sorted(schemas.items()):
            names = self._names.versions(number)
            if not names:
                continue
            newest = [self._names.newest(subject) for subject in dict.fromkeys(one.subject for one in names)]
            newer = [one for one in newest if one is not None and one.number != number]
            fields_of = self._form.fields_of
            declared = [(one, fields_of(one.number, payload)) for one in newer]
            found.append(SchemaUse(number, count, names, fields_of(number, payload), declared))
        return found
