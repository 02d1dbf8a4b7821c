"""Warnings about a valid config: settings that are allowed and probably not intended. Pure: config in, warnings out."""

import re
from collections.abc import Iterable, Iterator

from schemas.base.duration import format_duration
from schemas.base.metric_name import COMMON_METRICS, METRICS, RARE_METRICS
from schemas.base.problem import Path, Problem
from schemas.config.label import LabelConfig
from schemas.config.loop import LoopConfig
from schemas.config.mapping import Scalar
from schemas.config.privacy import redacted_features

__all__ = ["advise"]


def advise(config: LoopConfig) -> list[Problem]:
    """Return warnings about a valid config, in the order of its sections."""
    return [
        *(problem for kind in config.predictions.outputs for problem in _on_output(config, kind)),
        *(problem for kind, label in config.labels.items() for problem in _on_label(config, kind, label)),
        *_on_slices(config),
        *_on_sources(config),
        *_on_codes(config),
        *_on_personal_data(config),
        *_on_ages(config),
    ]


def _on_slices(config: LoopConfig) -> Iterator[Problem]:
    sources = [source for source in config.ingest if source.as_ == "predictions"]
    for name in config.predictions.slices:
        is_filled = not sources or any(f"slices.{name}" in source.map or source.is_canonical for source in sources)
        if is_filled and name not in config.cohorts.by:
            yield Problem(
                ("predictions", "slices"),
                f"{name} is kept with every outcome, but metrics are counted by it only if `cohorts.by` names it, too",
            )


def _on_output(config: LoopConfig, kind: str) -> Iterator[Problem]:
    output = config.predictions.outputs[kind]
    if output.task == "binary" and output.threshold is None:
        message = "is not set; scores of 0.5 and more count as positive"
        yield Problem(("predictions", "outputs", kind, "threshold"), message)
    if not config.metrics.get(kind):
        path = ("metrics", kind)
        if output.task == "binary":
            yield Problem(
                path,
                f"is not set; {', '.join(COMMON_METRICS)} are shown, and if less than a fifth of the labels are of the "
                f"rarer class, {', '.join(RARE_METRICS)}",
            )
        else:
            yield Problem(path, f"is not set; {', '.join(METRICS[output.task])} are shown")


def _on_label(config: LoopConfig, kind: str, label: LabelConfig) -> Iterator[Problem]:
    path = ("labels", kind)
    horizon, retain = format_duration(label.horizon), format_duration(label.retain)
    if label.retain == label.horizon:
        yield Problem(
            (*path, "retain"),
            f"equals the horizon, {horizon}: a later label neither joins nor corrects anything",
        )
    if label.early > label.retain and "early" in label.model_fields_set:
        yield Problem(
            (*path, "early"),
            f"{format_duration(label.early)} is longer than retain {retain}: a label without a prediction "
            "expires before it is reported as unmatched",
        )
    if not isinstance(label.on_timeout, str) and not _has_heartbeat(config, kind):
        yield Problem(
            (*path, "on_timeout"),
            f"imply {label.on_timeout.imply!r} takes effect once the labels are known to be complete up to the "
            "deadline. No source in `ingest` maps `heartbeat`, so only later labels (or `truthloop replay --close`) "
            "show that: until then predictions stay pending",
        )


def _has_heartbeat(config: LoopConfig, kind: str) -> bool:
    return any(
        source.as_ == "labels" and source.kind in (kind, None) and ("heartbeat" in source.map or source.is_canonical)
        for source in config.ingest
    )


def _on_sources(config: LoopConfig) -> Iterator[Problem]:
    """Find outputs, slices and features that no source delivers."""
    labelled = [source for source in config.ingest if source.as_ == "labels"]
    for kind in config.labels if labelled else ():
        if not any(source.kind in (kind, None) for source in labelled):
            yield Problem(("labels", kind), f"no source in `ingest` delivers labels of kind {kind!r}")
    sources = [source for source in config.ingest if source.as_ == "predictions"]
    targets = [source.map for source in sources]
    if not targets or any(source.is_canonical for source in sources):
        return
    mapped = {target for target_map in targets for target in target_map}
    for kind in config.predictions.outputs:
        if f"outputs.{kind}" not in mapped:
            yield Problem(("predictions", "outputs", kind), f"no source in `ingest` maps outputs.{kind}")
    for at, name in enumerate(config.predictions.slices):
        if f"slices.{name}" not in mapped:
            yield Problem(("predictions", "slices", at), f"no source in `ingest` maps slices.{name}")
    for name in config.predictions.features if "features" not in mapped else ():
        if f"features.{name}" not in mapped:
            yield Problem(("predictions", "features", name), f"no source in `ingest` maps features.{name}")


def _on_codes(config: LoopConfig) -> Iterator[Problem]:
    """Find texts such as '10.40' that records are compared with: as a number it has no trailing zero."""
    for at, source in enumerate(config.ingest):
        for path, wanted in source.where.items():
            yield from _codes(("ingest", at, "where", path), wanted if isinstance(wanted, list) else [wanted])
        for target, how in source.map.items():
            yield from _codes(("ingest", at, "map", target, "values"), how.values or ())
            yield from _codes(("ingest", at, "map", target, "in"), how.in_ or ())


def _codes(path: Path, scalars: Iterable[Scalar]) -> Iterator[Problem]:
    for scalar in scalars:
        if isinstance(scalar, str) and re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]*0", scalar):
            short = scalar.rstrip("0").removesuffix(".")
            yield Problem(
                path,
                f"{scalar!r} equals the text {scalar} and the number {short}, which is how every reader of JSON sees "
                f"{scalar} without quotes; it does not equal the text {short}",
            )


def _on_personal_data(config: LoopConfig) -> Iterator[Problem]:
    """Find personal data that redaction does not cover: features that are not listed, keys and ids."""
    hidden = redacted_features(config.predictions)
    if hidden and config.predictions.unknown_features == "keep":
        yield Problem(
            ("predictions", "unknown_features"),
            f"keep: features that are not listed are kept unchanged, while {', '.join(sorted(hidden))} are personal "
            "data; `drop` keeps only listed features",
        )
    for at, source in enumerate(config.ingest):
        paths = {path for name in hidden if (how := source.map.get(f"features.{name}")) for path in how.paths}
        for target in ("key", "id"):
            how = source.map.get(target)
            if how is not None and paths.intersection(how.paths):
                message = "is redacted as a feature, but keys and ids are kept unchanged"
                yield Problem(("ingest", at, "map", target), message)


def _on_ages(config: LoopConfig) -> Iterator[Problem]:
    """Find ages after which coverage cannot rise any more."""
    for at, age in enumerate(config.cohorts.ages):
        short = [kind for kind, label in config.labels.items() if age > label.horizon]
        if short:
            yield Problem(
                ("cohorts", "ages", at),
                f"{format_duration(age)} is beyond the horizon of {', '.join(short)}: everything is final before",
            )
    for at, goal in enumerate(config.coverage):
        if goal.age > config.labels[goal.label].horizon:
            reached, horizon = format_duration(goal.age), format_duration(config.labels[goal.label].horizon)
            yield Problem(
                ("coverage", at, "age"),
                f"{reached} is beyond the horizon {horizon} of {goal.label}: everything is final before",
            )
