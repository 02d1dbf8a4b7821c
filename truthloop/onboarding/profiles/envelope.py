"""Envelopes around records: Debezium's row changes, CloudEvents, Kafka Connect's schema and payload.

An `Envelope` says where the record itself is, how deletions are marked, and which times the envelope has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Envelope", "envelope_of"]

SHARE: Final = 0.9
"""Share of a topic's records that must have an envelope for it to be the topic's."""


@dataclass(frozen=True)
class Envelope:
    """An envelope; all paths are from the root of the message.

    Attributes:
        name: shown to people; empty for messages without an envelope.
        inner: path prefix of the record, with its dot; empty if the record is the whole message.
        before: path prefix of the row before a change; empty if the envelope has none.
        op: path of the field that marks deletions.
        deleted: its values that mark one.
        times: paths of the envelope's own times, best first.
        metadata: paths of the envelope's fields that lie next to the record's.
    """

    name: str = ""
    inner: str = ""
    before: str = ""
    op: str = ""
    deleted: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()

    def is_record_path(self, path: str) -> bool:
        """Return whether a path leads to a field of the record, not of its envelope."""
        is_metadata = any(path == one or path.startswith(f"{one}.") for one in self.metadata)
        return path.startswith(self.inner) and not is_metadata


def envelope_of(objects: Sequence[dict[str, Any]]) -> Envelope:
    """Return the envelope that most of the objects have."""
    wrapped = _most(objects, lambda one: "payload" in one and set(one) <= {"schema", "payload"})
    outer = "payload." if wrapped else ""
    inner = [one["payload"] for one in objects if type(one.get("payload")) is dict] if wrapped else list(objects)
    if _most(inner, lambda one: "op" in one and ("after" in one or "before" in one)):
        # source.ts_ms is the time of the change itself; ts_ms is when the connector processed it
        return Envelope(
            name="Debezium, with schema and payload" if outer else "Debezium",
            inner=f"{outer}after.",
            before=f"{outer}before.",
            op=f"{outer}op",
            deleted=("d",),
            times=(f"{outer}source.ts_ms", f"{outer}ts_ms"),
        )
    if _most(inner, lambda one: "__op" in one or "__deleted" in one):
        is_flagged = any("__deleted" in one for one in inner)
        return Envelope(
            name="Debezium, flattened",
            inner=outer,
            op=f"{outer}__deleted" if is_flagged else f"{outer}__op",
            deleted=("true",) if is_flagged else ("d",),
            times=tuple(f"{outer}__{name}" for name in ("source_ts_ms", "source.ts_ms", "ts_ms")),
            metadata=tuple(f"{outer}{name}" for one in inner[:1] for name in one if name.startswith("__")),
        )
    if _most(inner, lambda one: type(one.get("specversion")) is str and type(one.get("data")) is dict):
        return Envelope(name="CloudEvents", inner=f"{outer}data.", times=(f"{outer}time",))
    return Envelope(name="Kafka Connect's schema and payload", inner=outer) if outer else Envelope()


def _most(objects: Sequence[Any], test: Any) -> bool:  # noqa: ANN401 - a lambda over decoded JSON
    return bool(objects) and sum(1 for one in objects if type(one) is dict and test(one)) >= SHARE * len(objects)
