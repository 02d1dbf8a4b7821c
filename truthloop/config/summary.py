"""What a valid config means, in plain sentences and a table of ages. Pure: config in, lines out."""

from collections.abc import Iterator

from schemas.base.duration import format_duration
from schemas.base.figures import share
from schemas.base.location import Location
from schemas.config.label import LabelConfig
from schemas.config.loop import LoopConfig
from schemas.config.mapping import FieldMap, SourceMap
from truthloop.config.age_table import age_table

__all__ = ["origin_text", "summarise"]

_TOMBSTONES = {
    "retract": "a message without a value retracts the label of its key, at Kafka's time",
    "hook": "the function is given None for a message without a value",
}


def summarise(config: LoopConfig, lake: Location) -> Iterator[str]:
    """Yield lines that say what a valid config means.

    Args:
        config: valid.
        lake: where the lake is.
    """
    known = (
        "once it has arrived here (clock: arrival)" if config.clock == "arrival" else "at its own time (clock: event)"
    )
    yield f"Loop {config.loop}: days are days in {config.timezone}; a label is known {known}."
    yield f"Lake {lake}, {config.partitions} partition{'s' if config.partitions > 1 else ''}."
    for kind, label in config.labels.items():
        yield ""
        yield from _kind(config, kind, label)
    yield ""
    yield from age_table(config)
    yield ""
    if not config.ingest:
        yield "No sources in `ingest`: files are expected in the canonical form."
        return
    yield "Sources"
    for source in config.ingest:
        yield from _source(source)


def _kind(config: LoopConfig, kind: str, label: LabelConfig) -> Iterator[str]:
    output = config.predictions.outputs[kind]
    threshold = 0.5 if output.threshold is None else output.threshold
    task = f"binary, positive from {threshold:g}" if output.task == "binary" else output.task
    yield f"Kind {kind} ({task}), definition {label.definition}"
    horizon, retain = format_duration(label.horizon), format_duration(label.retain)
    if isinstance(label.on_timeout, str):
        yield f"  At {horizon} a prediction without a label expires: it counts as unlabelled."
    else:
        value = label.on_timeout.imply
        yield f"  At {horizon} a prediction without a label counts as {value!r}, if it is eligible and"
        yield "  the labels are known to be complete up to then."
    if label.retain > label.horizon:
        yield f"  Until {retain} a late label still joins, replaces or retracts."
    for goal in config.coverage:
        if goal.label == kind:
            yield f"  Coverage: {share(goal.min)} of labels are expected by {format_duration(goal.age)}."


def _source(source: SourceMap) -> Iterator[str]:
    kind = f" of kind {source.kind}" if source.kind else ""
    condition = f", where {', '.join(f'{path} = {value!r}' for path, value in source.where.items())}"
    yield f"  {source.title} -> {source.as_}{kind}{condition if source.where else ''}"
    if source.key_format != "text":
        yield f"    Kafka's keys are {source.key_format}"
    if source.value_schema is not None:
        named = f"{source.value_schema.message} of " if source.value_schema.message is not None else ""
        yield f"    read by the schema {named}{source.value_schema.file}"
    if not source.map:
        yield "    in the canonical form"
    if source.tombstone != "skip":
        yield f"    {_TOMBSTONES[source.tombstone]}"
    if source.hook is not None:
        yield f"    mapped by {source.hook}"
        return
    width = max(map(len, source.map), default=0)
    for target, field in source.map.items():
        yield f"    {target.ljust(width)}  <- {origin_text(field)}"


def origin_text(field: FieldMap) -> str:
    """Return where a field comes from and how it is converted.

    >>> origin_text(FieldMap(path="fraud.score", scale=0.01))
    'fraud.score (times 0.01)'
    >>> origin_text(FieldMap(path="id", type="int"))
    'id (a whole number)'
    """
    if field.path is None:
        return f"always {field.constant!r}"
    path = _joined(field.path)
    steps = []
    if field.otherwise is not None:
        steps.append(f"otherwise {_joined(field.otherwise)}")
    if field.values is not None:
        steps.append(f"{len(field.values)} value{'s' if len(field.values) > 1 else ''} mapped")
    if field.type is not None:
        steps.append("a whole number")
    if field.scale is not None:
        steps.append(f"times {field.scale:g}")
    if field.unit is not None:
        steps.append(f"in {field.unit}")
    if field.zone is not None:
        steps.append(f"in {field.zone}")
    if field.in_ is not None:
        steps.append(f"true where one of {', '.join(map(repr, field.in_))}")
    return f"{path} ({', '.join(steps)})" if steps else path


def _joined(path: str | list[str]) -> str:
    return path if isinstance(path, str) else " | ".join(path)
