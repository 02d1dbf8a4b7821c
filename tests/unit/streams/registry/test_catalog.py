"""The schemas of a topic's values by their names, and what newer versions of them declare."""

import json

from schemas.base.status import RejectReason
from streams.readers.avro import AvroDecoder
from streams.readers.declared_field import DeclaredField
from streams.readers.format import Decoder, Unusable, ValueFormat
from streams.readers.schema_id import SchemaId
from streams.registry.catalog import RegistryCatalog, SchemaUse, SchemaVersion


def schema(**fields: str) -> AvroDecoder:
    """Return the decoder of a record."""
    named = [{"name": name, "type": one} for name, one in fields.items()]
    return AvroDecoder(json.dumps({"type": "record", "name": "R", "fields": named}))


DECODERS: dict[SchemaId, Decoder] = {1: schema(id="string"), 2: schema(id="string", n="long"), 3: schema(n="long")}


def decoder_of(number: SchemaId) -> Decoder | Unusable:
    """Return one of the decoders."""
    return DECODERS.get(number, Unusable(RejectReason.UNKNOWN_SCHEMA, ""))


class Names:
    """Two subjects, one of which has a newer version."""

    def versions(self, number: int) -> list[SchemaVersion]:
        """Return the names of a schema."""
        known = {
            1: [SchemaVersion("a", 1, 1), SchemaVersion("b", 1, 1)],
            2: [SchemaVersion("a", 2, 2)],
            3: [SchemaVersion("a", 3, 3)],
        }
        return known.get(number, [])

    def newest(self, subject: str) -> SchemaVersion | None:
        """Return the newest version."""
        return {"a": SchemaVersion("a", 3, 3)}.get(subject)


def value(number: int) -> bytes:
    """Return a value in Confluent's wire format."""
    return b"\0" + number.to_bytes(4, "big")


def test_the_newest_version_has_no_newer_one() -> None:
    """It is what it would be compared with."""
    (found,) = RegistryCatalog(Names(), ValueFormat(decoder_of)).uses([value(3)])
    assert found.newer == []


def test_schemas_by_their_names() -> None:
    """Each once with its records; text, nothing, and an id that nobody knows are left out."""
    found = RegistryCatalog(Names(), ValueFormat(decoder_of)).uses(
        [value(2), value(1), None, b"{}", value(2), value(9)]
    )
    newer = [(SchemaVersion("a", 3, 3), {"n": DeclaredField("whole number")})]
    assert found == [
        SchemaUse(1, 1, [SchemaVersion("a", 1, 1), SchemaVersion("b", 1, 1)], {"id": DeclaredField("text")}, newer),
        SchemaUse(
            2,
            2,
            [SchemaVersion("a", 2, 2)],
            {"id": DeclaredField("text"), "n": DeclaredField("whole number")},
            newer,
        ),
    ]
