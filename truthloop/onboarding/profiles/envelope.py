"""Envelopes around records: Debezium's changes of database rows, CloudEvents, Kafka Connect's schema and payload.

Says where the record itself is, what tells a deletion, and which times the envelope has. Must not judge what the
record means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Envelope", "envelope_of"]

SHARE: Final = 0.9
"""Of the records that must have an envelope for it to be the topic's."""


@dataclass(frozen=True)
class Envelope:
    """What stands around records.

    Attributes:
        name: for people; empty where nothing stands around them.
        inner: path of the record, with a dot behind; empty for the whole.
        before: the same of what a deletion's record was; empty where there is none.
        op: path that tells a deletion.
        deleted: what it says then.
        times: paths of times that the envelope has, best first.
        own: paths that are the envelope's, though the record itself lies no deeper.
    """

    name: str = ""
    inner: str = ""
    before: str = ""
    op: str = ""
    deleted: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Tell whether a path is the record's, and not only its envelope's."""
        return path.startswith(self.inner) and not any(path == one or path.startswith(f"{one}.") for one in self.own)


def envelope_of(objects: Sequence[dict[str, Any]]) -> Envelope:
    """Return what stands around most of the objects."""
    wrapped = _share(objects, lambda one: "payload" in one and set(one) <= {"schema", "payload"})
    outer = "payload." if wrapped else ""
    inner = [one["payload"] for one in objects if type(one.get("payload")) is dict] if wrapped else list(objects)
    if _share(inner, lambda one: "op" in one and ("after" in one or "before" in one)):
        # its source's time is the row's own change; the other one is when the connector came to see it
        times = (f"{outer}source.ts_ms", f"{outer}ts_ms")
        return Envelope(
            name="Debezium, with schema and payload" if outer else "Debezium",
            inner=f"{outer}after.",
            before=f"{outer}before.",
            op=f"{outer}op",
            deleted=("d",),
            times=times,
        )
    if _share(inner, lambda one: "__op" in one or "__deleted" in one):
        own = tuple(f"{outer}{name}" for one in inner[:1] for name in one if name.startswith("__"))
        is_flagged = any("__deleted" in one for one in inner)
        return Envelope(
            name="Debezium, flattened",
            inner=outer,
            op=f"{outer}__deleted" if is_flagged else f"{outer}__op",
            deleted=("true",) if is_flagged else ("d",),
            times=tuple(f"{outer}__{name}" for name in ("source_ts_ms", "source.ts_ms", "ts_ms")),
            own=own,
        )
    if _share(inner, lambda one: type(one.get("specversion")) is str and type(one.get("data")) is dict):
        return Envelope(name="CloudEvents", inner=f"{outer}data.", times=(f"{outer}time",))
    return Envelope(name="Kafka Connect's schema and payload", inner=outer) if outer else Envelope()


def _share(objects: Sequence[Any], test: Any) -> bool:  # noqa: ANN401 - a lambda over decoded JSON
    """Tell whether most of them are objects that pass the test."""
    return bool(objects) and sum(1 for one in objects if type(one) is dict and test(one)) >= SHARE * len(objects)
