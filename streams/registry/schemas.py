"""The schemas of a registry as decoders, by id. An id means the same schema for ever, so each is asked for once.

A producer may send its first record before the registry's other nodes know the schema: an id that is not known is asked
for again for a minute, in which ingest waits. Only then its records are rejected, and can be taken again later.
"""

import math
from collections.abc import Callable
from typing import Final, Protocol

from schemas.base.status import RejectReason
from schemas.errors import RegistryAway
from streams.readers.avro import AvroDecoder, AvroSchemaError
from streams.readers.format import Decoder, Unusable
from streams.readers.json_schema import JsonDecoder
from streams.readers.schema_id import GlobalId, SchemaId
from streams.registry import protobuf_compiler
from streams.registry.client import RegisteredSchema

__all__ = ["UNKNOWN_FOR_S", "RegistryDecoders", "SchemaSource"]

UNKNOWN_FOR_S: Final = 60.0
"""How long an id is asked for until its records are rejected, and how long that answer is kept."""


class SchemaSource(Protocol):
    """Where schemas come from; `RegistryClient` is one."""

    def schema(self, schema: SchemaId) -> RegisteredSchema | None:
        """Return the schema with an id; None if there is none."""


class RegistryDecoders:
    """Decoders by schema id.

    Args:
        clock: a monotonic clock, in seconds.
        patience_s: how long an id that is not known is asked for; 0 where nobody waits for it.
    """

    def __init__(self, source: SchemaSource, clock: Callable[[], float], patience_s: float = UNKNOWN_FOR_S) -> None:
        self._source = source
        self._clock = clock
        self._patience_s = patience_s
        self._known: dict[SchemaId, Decoder | Unusable] = {}
        self._unknown: dict[SchemaId, tuple[float, float]] = {}  # id -> when it was first and last asked for

    def __call__(self, schema: SchemaId) -> Decoder | Unusable:
        """Return the decoder of a schema, or why its values cannot be read.

        Raises:
            RegistryAway: the registry does not answer, or does not know the id yet, or the schema needs what is not
                installed: to be tried again.
        """
        found = self._known.get(schema)
        if found is not None:
            return found
        now_s = self._clock()
        unknown = Unusable(RejectReason.UNKNOWN_SCHEMA, f"the registry knows no schema {schema}")
        first_s, last_s = self._unknown.get(schema, (now_s, -math.inf))
        if last_s - first_s >= self._patience_s and now_s - last_s < UNKNOWN_FOR_S:
            return unknown
        registered = self._source.schema(schema)
        if registered is not None:
            self._unknown.pop(schema, None)
            self._known[schema] = found = _decoder(schema, registered)
            return found
        self._unknown[schema] = first_s, now_s
        if now_s - first_s < self._patience_s:
            raise RegistryAway(
                f"the registry does not know schema {schema} yet",
                hint=f"After {self._patience_s:.0f} s its records are rejected as `{RejectReason.UNKNOWN_SCHEMA}`.",
            )
        return unknown


def _decoder(schema: SchemaId, registered: RegisteredSchema) -> Decoder | Unusable:
    if registered.form == "JSON":
        return JsonDecoder(registered.text)
    try:
        if registered.form == "AVRO":
            return AvroDecoder(registered.text, [one.text for one in registered.referenced])
        if registered.form == "PROTOBUF" and isinstance(schema, GlobalId):
            detail = f"schema {schema} is Protobuf in Apicurio's own form, which is not read; its serializer can write"
            return Unusable(RejectReason.AVRO_OR_PROTOBUF, f"{detail} Confluent's")
        if registered.form == "PROTOBUF":
            return _protobuf_decoder(schema, registered)
    except (AvroSchemaError, protobuf_compiler.ProtobufTextError) as error:
        return Unusable(RejectReason.UNKNOWN_SCHEMA, f"schema {schema} of the registry is {error}")
    detail = f"schema {schema} of the registry is of the form {registered.form:.20}, which is not read"
    return Unusable(RejectReason.AVRO_OR_PROTOBUF, detail)


def _protobuf_decoder(schema: SchemaId, registered: RegisteredSchema) -> Decoder:
    if not protobuf_compiler.is_compiler_installed():
        raise RegistryAway(
            f"schema {schema} of the registry is Protobuf, which this installation does not read",
            hint="pip install 'truthloop[protobuf]', and start again.",
        )
    from streams.readers.protobuf import ProtobufDecoder  # noqa: PLC0415 - it needs the extra

    return ProtobufDecoder(protobuf_compiler.compiled(registered.text, registered.referenced), protobuf_compiler.FILE)
