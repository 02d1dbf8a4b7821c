"""`truthloop check`: what is wrong with a config and where, or what it means, with its ages drawn to scale.

Must not open the lake or read data.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.config import LabelConfig, LoopConfig
from schemas.duration import format_duration
from schemas.mapping import FieldMap, SourceMap
from truthloop.console import print_json, reporting_errors, results, warn

if TYPE_CHECKING:
    from truthloop.settings import ConfigProblem

__all__ = ["check"]


def check(
    config: Annotated[Path, typer.Option("--config", "-c", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what is wrong with the config and where, or what it means."""
    from truthloop.config_advice import advise  # noqa: PLC0415 - keeps --help fast
    from truthloop.settings import InvalidConfigError, load_placed_settings  # noqa: PLC0415 - keeps --help fast

    with reporting_errors():
        try:
            settings, places = load_placed_settings(config)
        except InvalidConfigError as error:
            if as_json:
                print_json(
                    {"ok": False, "errors": [_json(found) for found in error.problems], "warnings": []}
                )
                raise typer.Exit(error.exit_code) from None
            raise
        remarks = [places.problem(problem.path, str(problem)) for problem in advise(settings.config)]
        if as_json:
            print_json({"ok": True, "errors": [], "warnings": [_json(remark) for remark in remarks]})
            return
        _say([f"{config} is valid.", "", *_summary(settings.config, settings.lake)])
        for remark in remarks:
            warn(f"{remark.where}: {remark.message}")


def _say(lines: list[str]) -> None:
    """Print lines as they are: the config's own words are no markup."""
    from truthloop.timeline import in_ascii  # noqa: PLC0415 - keeps --help fast

    for line in in_ascii(lines) if results.options.ascii_only else lines:
        results.print(line, markup=False, emoji=False, no_wrap=True, overflow="ignore", crop=False)


def _json(problem: "ConfigProblem") -> dict[str, object]:
    return {"file": problem.file, "line": problem.line, "message": problem.message}


def _summary(config: LoopConfig, lake: Path) -> Iterator[str]:
    """Say what the config means, in plain sentences."""
    from truthloop.timeline import draw_timeline  # noqa: PLC0415 - keeps --help fast

    known = (
        "once it has arrived here (clock: arrival)"
        if config.clock == "arrival"
        else "at its own time (clock: event)"
    )
    yield f"Loop {config.loop}: days are days in {config.timezone}; a label is known {known}."
    yield f"Lake {lake}, {config.partitions} partition{'s' if config.partitions > 1 else ''}."
    for kind, label in config.labels.items():
        yield ""
        yield from _kind(config, kind, label)
        yield ""
        drawing = draw_timeline(label, config.cohorts.ages, results.width - 2)
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
    yield f"  {source.files} -> {source.as_}{kind}{condition if source.where else ''}"
    width = max(map(len, source.map), default=0)
    for target, field in source.map.items():
        yield f"    {target.ljust(width)}  <- {_origin(field)}"


def _origin(field: FieldMap) -> str:
    """Say where a field comes from and what is done to it."""
    if field.path is None:
        return f"always {field.constant!r}"
    path = field.path if isinstance(field.path, str) else " | ".join(field.path)
    done = []
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
