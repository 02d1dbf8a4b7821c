"""What a valid config means, in plain sentences. Pure: must not print or read files."""

from collections.abc import Iterator
from pathlib import Path

from schemas.base.duration import format_duration
from schemas.config.loop import LabelConfig, LoopConfig
from schemas.config.mapping import FieldMap, SourceMap
from truthloop.config.timeline import draw_timeline

__all__ = ["origin_text", "summarise"]


def summarise(config: LoopConfig, lake: Path, width: int) -> Iterator[str]:
    """Give lines that say what a config means, with one time line for each kind.

    Args:
        config: valid.
        lake: its lake's folder.
        width: columns of the terminal.
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
        drawing = draw_timeline(label, config.cohorts.ages, width - 2)
        yield from (f"  {line}".rstrip() for line in drawing)
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
        yield f"  At {horizon} a prediction without a label expires: it stays without one in the numbers."
    else:
        value = label.on_timeout.imply
        yield f"  At {horizon} a prediction without a label counts as {value!r}, if it is eligible and"
        yield "  the labels are known to be complete up to then."
    if label.retain > label.horizon:
        yield f"  Until {retain} a late label still joins, replaces or retracts."
    for goal in config.coverage:
        if goal.label == kind:
            yield f"  Coverage: {goal.min:.0%} of labels are wanted by {format_duration(goal.age)}."


def _source(source: SourceMap) -> Iterator[str]:
    kind = f" of kind {source.kind}" if source.kind else ""
    condition = f", where {', '.join(f'{path} = {value!r}' for path, value in source.where.items())}"
    yield f"  {source.title} -> {source.as_}{kind}{condition if source.where else ''}"
    if not source.map:
        yield "    in the canonical form"
    if source.hook is not None:
        yield f"    mapped by {source.hook}"
        return
    width = max(map(len, source.map), default=0)
    for target, field in source.map.items():
        yield f"    {target.ljust(width)}  <- {origin_text(field)}"


def origin_text(field: FieldMap) -> str:
    """Say where a field comes from and what is done to it."""
    if field.path is None:
        return f"always {field.constant!r}"
    path = _joined(field.path)
    done = []
    if field.otherwise is not None:
        done.append(f"otherwise {_joined(field.otherwise)}")
    if field.values is not None:
        done.append(f"{len(field.values)} value{'s' if len(field.values) > 1 else ''} mapped")
    if field.scale is not None:
        done.append(f"times {field.scale:g}")
    if field.unit is not None:
        done.append(f"in {field.unit}")
    if field.zone is not None:
        done.append(f"in {field.zone}")
    if field.in_ is not None:
        done.append(f"true where one of {', '.join(map(repr, field.in_))}")
    return f"{path} ({', '.join(done)})" if done else path


def _joined(path: str | list[str]) -> str:
    return path if isinstance(path, str) else " | ".join(path)
