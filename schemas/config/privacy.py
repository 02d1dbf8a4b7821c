"""Features that are personal data: which they are, and what in a config would carry them past their redaction.

Must not know how they are redacted.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from schemas.base.problem import Problem
from schemas.config.mapping import SourceMap

if TYPE_CHECKING:
    from schemas.config.loop import LoopConfig

__all__ = ["PII_KEY_VARIABLE", "has_personal_features", "privacy_problems", "redacted_features"]

PII_KEY_VARIABLE = "TRUTHLOOP_PII_KEY"
"""Holds the secret of `pii: hash`; with `_FILE` behind, names a file that holds it."""


def redacted_features(config: "LoopConfig") -> dict[str, str]:
    """Return what is done (hash, drop) to the features that are not kept as they are."""
    found = {name: feature.pii for name, feature in config.predictions.features.items()}
    return {name: pii for name, pii in found.items() if pii in ("hash", "drop")}


def has_personal_features(config: "LoopConfig") -> bool:
    """Tell whether records hold personal data at all, kept or not: then no record is passed on as it came."""
    return any(feature.pii is not None for feature in config.predictions.features.values())


def privacy_problems(config: "LoopConfig") -> Iterator[Problem]:
    """Find fields that would repeat what a feature hides: the same path, or one above or below it."""
    redacted = redacted_features(config)
    for at, source in enumerate(config.ingest):
        if source.is_canonical or source.as_ != "predictions":
            continue
        hidden = {path: name for name in redacted for path in _paths(source, f"features.{name}")}
        for target, field in source.map.items():
            group, _, name = target.partition(".")
            if group not in ("slices", "features") or not name or (group == "features" and name in redacted):
                continue
            for path in field.paths:
                for other, feature in hidden.items():
                    if _meet(path, other):
                        message = f"{path!r} holds the feature {feature!r}, which is hidden (pii: {redacted[feature]})"
                        yield Problem(("ingest", at, "map", target), message)


def _paths(source: SourceMap, target: str) -> list[str]:
    """Return where a feature comes from, also if only `features: x.*` takes it."""
    if target in source.map:
        return source.map[target].paths
    group = source.map.get("features")
    if group is None or not isinstance(group.path, str):
        return []
    return [f"{group.path.removesuffix('*')}{target.removeprefix('features.')}"]


def _meet(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
